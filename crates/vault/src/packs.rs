//! Reading packs as objects: their footers, without any index.

use crate::error::{Result, VaultError};
use crate::id::PackId;
use crate::key;
use crate::pack::{Footer, PackKind};
use crate::vault::Store;
use std::fmt::Display;
use tidemark_units::KIB;

/// Read from the end of a pack at first: holds the footer of an ordinary pack whole.
const TAIL_READ_BYTES: u64 = 64 * KIB;

impl Store {
    /// A pack's footer, checked to be the one of that pack in this vault.
    pub(crate) async fn footer(&self, kind: PackKind, pack: PackId) -> Result<Footer> {
        let key = key::pack(kind, pack);
        let subject: &dyn Display = &format!("pack {pack}");
        let step = "read pack footer";
        let size = self.size(step, &key).await?;
        let from = size.saturating_sub(TAIL_READ_BYTES);
        let tail = self.get_range(step, &key, from, size).await?;
        let len = Footer::len_from_tail(subject, &tail, size)?;
        let start = size - len;
        let bytes = if start >= from {
            tail.slice((start - from) as usize..)
        } else {
            self.get_range(step, &key, start, size).await?
        };
        let footer = Footer::decode(subject, &bytes)?.expect(self.vault, kind, pack)?;
        if u64::from(footer.body_end) != start {
            let cause = format!(
                "its body ends at {} and its footer starts at {start}",
                footer.body_end
            );
            return Err(VaultError::corrupt(step, subject, cause));
        }
        Ok(footer)
    }
}
