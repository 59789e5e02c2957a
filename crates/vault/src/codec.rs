//! Plain bytes to stored bytes and back.
//!
//! Compression must pay: a chunk that shrinks by less than 1/32 is stored raw, so that reading it
//! costs no decompression. Decoding never allocates more than the caller's limit, whatever a frame
//! claims about itself, and never trusts the result: callers hash it against its name.

use bytes::Bytes;
use std::cell::RefCell;

/// How stored bytes are made from plain ones; one byte in the formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Codec {
    /// As they are.
    Raw = 0,
    /// One zstd frame.
    Zstd = 1,
}

/// Why stored bytes could not be turned into plain ones.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// A codec that this version does not know.
    #[error("codec {0} is unknown")]
    UnknownCodec(u8),
    /// The frame is damaged or larger than what it can be.
    #[error("the zstd frame is damaged or unpacks to more than {limit} bytes")]
    Frame {
        /// The most that it may unpack to, in bytes.
        limit: usize,
    },
    /// The plain bytes are not what the name says.
    #[error("{0}")]
    Mismatch(String),
}

impl Codec {
    /// The codec of a byte read from a pack or node.
    pub fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0 => Ok(Codec::Raw),
            1 => Ok(Codec::Zstd),
            other => Err(DecodeError::UnknownCodec(other)),
        }
    }
}

const ZSTD_LEVEL: i32 = 1;

thread_local! {
    // A context is a megabyte that is worth keeping between chunks, and so is room for the worst case.
    static COMPRESSOR: RefCell<Option<Compressor>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    room: Vec<u8>,
}

impl Compressor {
    fn compress(&mut self, plain: &[u8]) -> Option<Bytes> {
        // No more room than what pays: more is a failure, and the chunk goes raw.
        self.room.resize(plain.len() - plain.len() / 32, 0);
        let packed = self
            .context
            .compress_to_buffer(plain, self.room.as_mut_slice())
            .ok()?;
        Some(Bytes::copy_from_slice(&self.room[..packed]))
    }
}

/// Compresses `plain` if that pays.
pub(crate) fn encode(plain: &Bytes) -> (Codec, Bytes) {
    let packed = COMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            let context = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok()?;
            *slot = Some(Compressor {
                context,
                room: Vec::new(),
            });
        }
        // A compressor that cannot be had costs space only.
        slot.as_mut()?.compress(plain)
    });
    match packed {
        Some(packed) => (Codec::Zstd, packed),
        None => (Codec::Raw, plain.clone()),
    }
}

/// The plain bytes, at most `limit` of them.
pub(crate) fn decode(codec: Codec, stored: &Bytes, limit: usize) -> Result<Bytes, DecodeError> {
    match codec {
        Codec::Raw if stored.len() <= limit => Ok(stored.clone()),
        Codec::Raw => Err(DecodeError::Mismatch(format!(
            "{} raw bytes, at most {limit} expected",
            stored.len()
        ))),
        Codec::Zstd => DECOMPRESSOR
            .with_borrow_mut(|slot| {
                if slot.is_none() {
                    *slot = zstd::bulk::Decompressor::new().ok();
                }
                slot.as_mut()?.decompress(stored, limit).ok()
            })
            .map(Bytes::from)
            .ok_or(DecodeError::Frame { limit }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compressible_shrinks_and_noise_stays_raw() {
        let text = Bytes::from(b"all work and no play ".repeat(3000));
        let (codec, stored) = encode(&text);
        assert_eq!(codec, Codec::Zstd);
        assert!(stored.len() < text.len() / 10);
        assert_eq!(decode(codec, &stored, text.len()).unwrap(), text);

        let mut noise = vec![0; 65536];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        let (codec, stored) = encode(&Bytes::from(noise.clone()));
        assert_eq!((codec, stored.as_ref()), (Codec::Raw, noise.as_slice()));
    }

    #[test]
    fn a_bomb_is_refused() {
        let bomb = Bytes::from(zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap());
        assert_eq!(
            decode(Codec::Zstd, &bomb, 65536),
            Err(DecodeError::Frame { limit: 65536 })
        );
        assert_eq!(
            decode(Codec::Zstd, &Bytes::from_static(b"junk"), 65536),
            Err(DecodeError::Frame { limit: 65536 })
        );
    }
}
