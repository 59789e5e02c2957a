//! Filling a pack.

use super::{
    ENTRIES_MAX, Entry, EntryKind, Footer, HEADER_BYTES, HeaderWire, Location, PACK_BYTES_TARGET, PackKind,
};
use crate::codec::Codec;
use crate::crypt::{BoxKind, BoxNonce, Encrypter};
use crate::id::{PackId, VaultId};
use crate::key;
use bytes::Bytes;
use zerocopy::IntoBytes;

/// A pack that is still open, in memory.
pub(crate) struct PackBuilder {
    footer: Footer,
    body: Vec<Bytes>,
    target: u64,
}

impl PackBuilder {
    /// Full at `target` bytes of body; the format's own limits hold in any case.
    pub(crate) fn new(vault: VaultId, kind: PackKind, pack: PackId, target: u64) -> Self {
        let header = HeaderWire::new(kind, pack);
        Self {
            footer: Footer {
                vault,
                pack,
                kind,
                body_end: HEADER_BYTES as u32,
                entries: Vec::new(),
            },
            body: vec![Bytes::copy_from_slice(header.as_bytes())],
            target: target.min(PACK_BYTES_TARGET),
        }
    }

    pub(crate) fn id(&self) -> PackId {
        self.footer.pack
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.footer.entries.is_empty()
    }

    /// Whether it is time to close it.
    pub(crate) fn is_full(&self) -> bool {
        u64::from(self.footer.body_end) >= self.target || self.footer.entries.len() >= ENTRIES_MAX
    }

    /// Adds stored bytes and the row that describes them. The pack must not be full.
    pub(crate) fn store(&mut self, id: [u8; 32], kind: EntryKind, codec: Codec, stored: Bytes) -> Location {
        assert!(!self.is_full(), "a full pack is closed before more is added");
        let at = Location {
            pack: self.footer.pack,
            offset: self.footer.body_end,
            stored_len: stored.len() as u32,
            ordinal: self.footer.entries.len() as u16,
            codec,
        };
        self.footer.body_end += at.stored_len;
        self.body.push(stored);
        self.footer.entries.push(Entry {
            id,
            kind,
            at: Some(at),
        });
        at
    }

    /// Adds a row about bytes that are stored already.
    pub(crate) fn refer(&mut self, id: [u8; 32], kind: EntryKind, at: Location) {
        assert!(!self.is_full(), "a full pack is closed before more is added");
        self.footer.entries.push(Entry {
            id,
            kind,
            at: Some(at),
        });
    }

    /// Records that the chunk at `index` is zeros; neighbours share a row.
    pub(crate) fn zero(&mut self, index: u32) {
        assert!(!self.is_full(), "a full pack is closed before more is added");
        if let Some(Entry {
            kind: EntryKind::Zero { index: first, count },
            ..
        }) = self.footer.entries.last_mut()
            && first.checked_add(*count) == Some(index)
        {
            *count += 1;
            return;
        }
        self.footer.entries.push(Entry {
            id: [0; 32],
            kind: EntryKind::Zero { index, count: 1 },
            at: None,
        });
    }

    /// Closes it: its footer, and the object's bytes in pieces (the last is the footer's, encrypted if there is an encrypter).
    pub(crate) fn finish(self, encrypter: &Encrypter, nonce: BoxNonce) -> (Footer, Vec<Bytes>) {
        let mut body = self.body;
        let plain = self.footer.encode();
        body.push(match encrypter {
            None => plain,
            Some(keys) => {
                let name = key::pack(self.footer.kind, self.footer.pack);
                Footer::around(&keys.encrypt(BoxKind::Footer, name.as_bytes(), nonce, &plain))
            }
        });
        (self.footer, body)
    }
}
