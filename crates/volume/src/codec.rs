//! Bounded reading and plain writing of little-endian fields, for the structures this crate keeps on disk.
//!
//! A [`Reader`] never trusts a length: what is not there is an error, never a panic or an allocation.

use crate::error::{Result, VolumeError};
use roaring::RoaringBitmap;

/// Appends fields to a buffer.
#[derive(Default)]
pub struct Writer {
    /// What was written so far.
    pub bytes: Vec<u8>,
}

impl Writer {
    pub fn u16(&mut self, value: u16) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    pub fn u32(&mut self, value: u32) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    pub fn u64(&mut self, value: u64) {
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }
    /// A u32 length, then the bytes.
    pub fn blob(&mut self, value: &[u8]) {
        self.u32(u32::try_from(value.len()).expect("our own structures stay below 4 GiB"));
        self.bytes.extend_from_slice(value);
    }
    /// A bitmap in the portable Roaring format, as a blob.
    pub fn bitmap(&mut self, value: &RoaringBitmap) {
        let mut bytes = Vec::with_capacity(value.serialized_size());
        value
            .serialize_into(&mut bytes)
            .expect("writing to memory does not fail");
        self.blob(&bytes);
    }
}

/// Takes fields from a buffer.
pub struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// Reads `bytes`, which are (part of) a `what`.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        if self.bytes.len() < len {
            return Err(VolumeError::corrupt(format!("{} ends too early", self.what)));
        }
        let (head, rest) = self.bytes.split_at(len);
        self.bytes = rest;
        Ok(head)
    }
    pub fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.take(2)?.try_into().expect("two bytes")))
    }
    pub fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }
    pub fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }
    pub fn blob(&mut self) -> Result<&'a [u8]> {
        let len = self.u32()? as usize;
        self.take(len)
    }
    pub fn text(&mut self) -> Result<String> {
        let bytes = self.blob()?;
        String::from_utf8(bytes.to_vec())
            .map_err(|_| VolumeError::corrupt(format!("{} holds a text that is not UTF-8", self.what)))
    }
    pub fn bitmap(&mut self) -> Result<RoaringBitmap> {
        let bytes = self.blob()?;
        RoaringBitmap::deserialize_from(bytes)
            .map_err(|e| VolumeError::corrupt(format!("{} holds a damaged bitmap: {e}", self.what)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut w = Writer::default();
        let bits: RoaringBitmap = [1u32, 7, 100_000].into_iter().collect();
        w.u16(1);
        w.u32(2);
        w.u64(3);
        w.blob(b"four");
        w.bitmap(&bits);
        let mut r = Reader::new(&w.bytes, "test");
        assert_eq!((r.u16().unwrap(), r.u32().unwrap(), r.u64().unwrap()), (1, 2, 3));
        assert_eq!(r.text().unwrap(), "four");
        assert_eq!(r.bitmap().unwrap(), bits);
    }

    #[test]
    fn a_lying_length_is_an_error() {
        let mut r = Reader::new(&[0xff, 0xff, 0xff, 0xff, 1], "test");
        assert!(r.blob().unwrap_err().message.contains("ends too early"));
    }
}
