//! Headers of replies, in whichever dialect the connection speaks.
//!
//! A header announces the length of data that the caller sends right behind it; the data itself is
//! never copied here. In the simple dialect there are no chunks: an error has a number only, and data
//! comes in one piece.

use super::extent::Extent;
use super::handshake::clip;
use super::info::Dialect;
use super::wire::{Errno, MAGIC_REPLY_EXTENDED, MAGIC_REPLY_SIMPLE, MAGIC_REPLY_STRUCTURED, chunk};
use bytes::{BufMut, BytesMut};

/// The request that replies are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyTo {
    /// Headers in use.
    pub dialect: Dialect,
    /// The request's cookie.
    pub cookie: u64,
    /// The request's offset.
    pub offset: u64,
}

impl ReplyTo {
    /// Success of a request that has no data to send.
    pub fn done(&self, out: &mut BytesMut) {
        match self.dialect {
            Dialect::Simple => self.simple(out, 0),
            Dialect::Structured | Dialect::Extended => self.chunk(out, true, chunk::NONE, 0),
        }
    }

    /// The header of a read's data: `len` bytes from `offset` follow. In the simple dialect this is
    /// the whole reply, so `offset` and `len` are the request's and `last` is true.
    pub fn data(&self, out: &mut BytesMut, last: bool, offset: u64, len: u32) {
        match self.dialect {
            Dialect::Simple => {
                assert!(last && offset == self.offset, "a simple reply is whole");
                self.simple(out, 0);
            }
            Dialect::Structured | Dialect::Extended => {
                self.chunk(out, last, chunk::OFFSET_DATA, 8 + u64::from(len));
                out.put_u64(offset);
            }
        }
    }

    /// Part of a read: `len` zeros from `offset`.
    ///
    /// # Panics
    /// In the simple dialect, which has no such thing.
    pub fn hole(&self, out: &mut BytesMut, last: bool, offset: u64, len: u32) {
        assert!(self.dialect != Dialect::Simple, "a simple reply has no holes");
        self.chunk(out, last, chunk::OFFSET_HOLE, 12);
        out.put_u64(offset);
        out.put_u32(len);
    }

    /// Extents of the metadata context `context_id`, as [`super::fit_extents`] made them.
    ///
    /// # Panics
    /// In the simple dialect, which has no such thing, and without extents.
    pub fn block_status(&self, out: &mut BytesMut, last: bool, context_id: u32, extents: &[Extent]) {
        assert!(!extents.is_empty(), "a status has at least one extent");
        let count = extents.len() as u32;
        match self.dialect {
            Dialect::Simple => panic!("a simple reply has no block status"),
            Dialect::Structured => {
                self.chunk(out, last, chunk::BLOCK_STATUS, 4 + 8 * u64::from(count));
                out.put_u32(context_id);
                for extent in extents {
                    let len =
                        u32::try_from(extent.len).expect("extents end with the request, which has 32 bits");
                    out.put_u32(len);
                    out.put_u32(extent.status);
                }
            }
            Dialect::Extended => {
                self.chunk(out, last, chunk::BLOCK_STATUS_EXT, 8 + 16 * u64::from(count));
                out.put_u32(context_id);
                out.put_u32(count);
                for extent in extents {
                    out.put_u64(extent.len);
                    out.put_u64(u64::from(extent.status));
                }
            }
        }
    }

    /// The request failed, at the byte `at` if that is known to matter.
    pub fn error(&self, out: &mut BytesMut, errno: Errno, message: &str, at: Option<u64>) {
        if self.dialect == Dialect::Simple {
            return self.simple(out, errno.code());
        }
        let message = clip(message);
        let kind = if at.is_some() {
            chunk::ERROR_OFFSET
        } else {
            chunk::ERROR
        };
        let offset_bytes = if at.is_some() { 8 } else { 0 };
        self.chunk(out, true, kind, 6 + message.len() as u64 + offset_bytes);
        out.put_u32(errno.code());
        out.put_u16(message.len() as u16);
        out.put_slice(message.as_bytes());
        if let Some(at) = at {
            out.put_u64(at);
        }
    }

    fn simple(&self, out: &mut BytesMut, code: u32) {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&MAGIC_REPLY_SIMPLE.to_be_bytes());
        header[4..8].copy_from_slice(&code.to_be_bytes());
        header[8..].copy_from_slice(&self.cookie.to_be_bytes());
        out.put_slice(&header);
    }

    fn chunk(&self, out: &mut BytesMut, last: bool, kind: u16, payload: u64) {
        let flags = if last { chunk::FLAG_DONE } else { 0 };
        let extended = self.dialect == Dialect::Extended;
        out.put_u32(if extended {
            MAGIC_REPLY_EXTENDED
        } else {
            MAGIC_REPLY_STRUCTURED
        });
        out.put_u16(flags);
        out.put_u16(kind);
        out.put_u64(self.cookie);
        if extended {
            out.put_u64(self.offset);
            out.put_u64(payload);
        } else {
            // Payloads are a request's 32-bit length at most, and a few bytes.
            out.put_u32(payload as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(dialect: Dialect, write: impl FnOnce(ReplyTo, &mut BytesMut)) -> Vec<u8> {
        let mut out = BytesMut::new();
        write(
            ReplyTo {
                dialect,
                cookie: 0x0102_0304_0506_0708,
                offset: 4096,
            },
            &mut out,
        );
        out.to_vec()
    }

    const COOKIE: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn simple_replies_are_sixteen_bytes() {
        let done = reply(Dialect::Simple, |to, out| to.done(out));
        assert_eq!(
            done,
            [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 0], &COOKIE[..]].concat()
        );
        let error = reply(Dialect::Simple, |to, out| {
            to.error(out, Errno::NoSpc, "full", Some(1))
        });
        assert_eq!(
            error,
            [&[0x67, 0x44, 0x66, 0x98, 0, 0, 0, 28], &COOKIE[..]].concat()
        );
    }

    #[test]
    fn structured_chunks() {
        let data = reply(Dialect::Structured, |to, out| to.data(out, true, 4096, 512));
        let header = [&[0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 1], &COOKIE[..], &[0, 0, 2, 8]].concat();
        assert_eq!(data, [&header[..], &4096u64.to_be_bytes()].concat());

        let hole = reply(Dialect::Structured, |to, out| to.hole(out, false, 8192, 512));
        let header = [&[0x66, 0x8e, 0x33, 0xef, 0, 0, 0, 2], &COOKIE[..], &[0, 0, 0, 12]].concat();
        assert_eq!(
            hole,
            [&header[..], &8192u64.to_be_bytes(), &512u32.to_be_bytes()].concat()
        );

        let error = reply(Dialect::Structured, |to, out| {
            to.error(out, Errno::Io, "bad", Some(5000))
        });
        let header = [
            &[0x66, 0x8e, 0x33, 0xef, 0, 1, 0x80, 2],
            &COOKIE[..],
            &[0, 0, 0, 17],
        ]
        .concat();
        assert_eq!(
            error,
            [&header[..], &[0, 0, 0, 5, 0, 3], b"bad", &5000u64.to_be_bytes()].concat()
        );
    }

    #[test]
    fn block_status_in_both_widths() {
        let extents = [
            Extent::allocation(4096, false, false),
            Extent::allocation(8192, true, true),
        ];
        let compact = reply(Dialect::Structured, |to, out| {
            to.block_status(out, true, 1, &extents)
        });
        let header = [&[0x66, 0x8e, 0x33, 0xef, 0, 1, 0, 5], &COOKIE[..], &[0, 0, 0, 20]].concat();
        let body = [0, 0, 0, 1, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 3];
        assert_eq!(compact, [&header[..], &body].concat());

        let extended = reply(Dialect::Extended, |to, out| {
            to.block_status(out, true, 1, &extents)
        });
        let head = [
            &[0x6e, 0x8a, 0x27, 0x8c, 0, 1, 0, 6],
            &COOKIE[..],
            &4096u64.to_be_bytes(),
            &40u64.to_be_bytes(),
            &[0, 0, 0, 1, 0, 0, 0, 2],
        ]
        .concat();
        assert_eq!(extended[..40], head);
        assert_eq!(
            extended[40..],
            [4096u64, 0, 8192, 3].map(u64::to_be_bytes).concat()
        );
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let error = reply(Dialect::Structured, |to, out| {
            to.error(out, Errno::Io, &"ä".repeat(4096), None)
        });
        assert_eq!(error.len(), 20 + 6 + 4096);
        let error = reply(Dialect::Structured, |to, out| {
            to.error(out, Errno::Io, &format!("x{}", "ä".repeat(4096)), None)
        });
        assert_eq!(error.len(), 20 + 6 + 4095);
    }
}
