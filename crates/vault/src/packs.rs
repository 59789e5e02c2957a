//! Reading packs as objects: their footers, without any index.

use crate::crypt::{KeyId, key_id_of};
use crate::error::{Result, VaultError};
use crate::id::PackId;
use crate::key;
use crate::pack::{Footer, PackKind};
use crate::vault::Store;
use bytes::Bytes;
use std::fmt::Display;
use tidemark_units::KIB;

/// Read from the end of a pack at first: holds the footer of an ordinary pack whole.
const TAIL_READ_BYTES: u64 = 64 * KIB;

impl Store {
    /// A pack's footer, checked to be the one of that pack in this vault.
    pub(crate) async fn footer(&self, kind: PackKind, pack: PackId) -> Result<Footer> {
        self.footer_and_key(kind, pack).await.map(|(footer, _)| footer)
    }

    /// The keys that a pack of an encrypted vault is encrypted under. What says so is believed once it has opened the footer.
    pub(crate) async fn footer_key(&self, kind: PackKind, pack: PackId) -> Result<Option<KeyId>> {
        self.footer_and_key(kind, pack).await.map(|(_, key)| key)
    }

    /// A pack's footer, and the keys that it is encrypted under; `None` in a vault that is not encrypted.
    async fn footer_and_key(&self, kind: PackKind, pack: PackId) -> Result<(Footer, Option<KeyId>)> {
        let subject: &dyn Display = &format!("pack {pack}");
        let (start, bytes) = self.footer_bytes(kind, pack).await?;
        if let Some(id) = self.crypt.wanted(&bytes) {
            self.learn_key(id).await?;
        }
        let footer = self.crypt.read_footer(subject, kind, pack, &bytes)?;
        let footer = footer.expect(self.vault, kind, pack)?;
        if u64::from(footer.body_end) != start {
            let cause = format!(
                "its body ends at {} and its footer starts at {start}",
                footer.body_end
            );
            return Err(VaultError::corrupt("read pack footer", subject, cause));
        }
        let key = self.crypt.is_on().then(|| key_id_of(&bytes).ok()).flatten();
        Ok((footer, key))
    }

    /// Where a pack's footer starts, and its bytes.
    async fn footer_bytes(&self, kind: PackKind, pack: PackId) -> Result<(u64, Bytes)> {
        let key = key::pack(kind, pack);
        let subject: &dyn Display = &format!("pack {pack}");
        let step = "read pack footer";
        let size = self.size(step, &key).await?;
        let from = size.saturating_sub(TAIL_READ_BYTES);
        let tail = self.get_range(step, &key, from, size).await?;
        let start = size - Footer::len_from_tail(subject, &tail, size)?;
        let bytes = if start >= from {
            tail.slice((start - from) as usize..)
        } else {
            self.get_range(step, &key, start, size).await?
        };
        Ok((start, bytes))
    }
}
