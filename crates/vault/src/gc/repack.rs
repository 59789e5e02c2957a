//! Repacking: a pack of which less than half is live is replaced by one that holds just that.
//!
//! ```text
//! forward P -> Q (create-if-absent)   ->   put Q   ->   delete P
//! ```
//! While P is there, readers use P; once it is gone, the forward. The forward fixes Q's name and layout, so that every
//! collector that finds it builds the same Q: stopping after any step, or doing one twice, even after somebody else went
//! on, does no harm. Two collectors that begin at once: the second one's forward is refused, and it works on the first one's.
//!
//! Rows that are not live stay so (theory of [`super`]), so nothing will ask Q for what it does not have. A row is decoded
//! and compared with its name before it moves: damage is not carried on, and such a pack is left as it is.

use super::forward::{Forward, Moved};
use super::mark::LiveRows;
use super::{CollectReport, Found, Listed, REPACK_BYTES_MIN};
use crate::crypt::{BoxKind, Encrypter, nonce};
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::fetch::Name;
use crate::id::{ChunkId, NodeId, PackId};
use crate::key;
use crate::pack::{Entry, EntryKind, Footer, Location, PackBuilder, PackKind};
use crate::vault::{PutIfAbsent, Vault};
use bytes::Bytes;
use tidemark_env::mutant;

/// A pack in memory.
struct Source {
    footer: Footer,
    object: Bytes,
    encrypter: Encrypter,
}

impl Vault {
    /// Rewrites the emptiest of the packs that stay, and finishes what was begun before.
    pub(super) async fn repack(
        &self,
        found: &Found,
        kept: &[Listed],
        percent: u64,
        report: &mut CollectReport,
    ) {
        let share = (report.stored_bytes / 100 * percent).max(REPACK_BYTES_MIN);
        let mut left = if percent == 0 { 0 } else { share };
        let mut candidates: Vec<(&Listed, &LiveRows)> = kept
            .iter()
            .filter(|listed| !found.is_in_flight(&listed.pack))
            .filter_map(|listed| Some((listed, found.marked.live(&listed.pack)?)))
            .filter(|(listed, live)| {
                found.marked.has_forward(&listed.pack) || live.bytes.saturating_mul(2) < listed.bytes
            })
            .collect();
        // First what was begun, then what frees most for what it costs.
        candidates.sort_by_key(|(listed, live)| {
            let begun = found.marked.has_forward(&listed.pack);
            (!begun, live.bytes * 1000 / listed.bytes.max(1), listed.pack)
        });
        for (listed, live) in candidates {
            if listed.bytes > left {
                continue;
            }
            left -= listed.bytes;
            match self.repack_one(listed, live).await {
                Ok(Some(now)) => {
                    report.repacked_packs += 1;
                    report.repacked_bytes += listed.bytes.saturating_sub(now);
                    report.stored_bytes -= listed.bytes.saturating_sub(now);
                }
                Ok(None) => {}
                // Another collector was quicker, to its end.
                Err(error) if error.kind == VaultErrorKind::Missing => {}
                Err(error) => {
                    report.failed_packs += 1;
                    tracing::warn!(%error, "a pack that is mostly garbage stays as it is for now");
                }
            }
        }
    }

    /// Gives the size of the new pack; `None` when rewriting would free nothing.
    async fn repack_one(&self, listed: &Listed, live: &LiveRows) -> Result<Option<u64>> {
        let (kind, pack) = (listed.kind, listed.pack);
        let source = self.source(kind, pack).await?;
        let store = self.store();
        let forward = match store.forward(pack).await? {
            Some(begun) => begun,
            None => {
                let forward = self.plan(&source, live)?;
                let name = key::forward(pack);
                let object = store.encrypted(BoxKind::Forward, &name, forward.encode());
                match store.put_if_absent("put forward", &name, object).await? {
                    PutIfAbsent::Done => forward,
                    // Another collector was quicker.
                    PutIfAbsent::Exists(_) => match store.forward(pack).await? {
                        Some(theirs) => theirs,
                        None => return Ok(None),
                    },
                }
            }
        };
        // A forward that lacks something live would lose it: it cannot be, and if it is, nothing is done.
        let lacks = |entry: &&Entry| {
            let ordinal = entry.at.map(|at| at.ordinal);
            ordinal.is_some_and(|ordinal| is_own(entry, pack) && live.has(ordinal))
                && forward.find(&entry.id).is_none()
        };
        if let Some(entry) = source.footer.entries.iter().find(lacks) {
            let cause = format!("its forward lacks {}", ChunkId(entry.id));
            return Err(VaultError::corrupt("repack", format!("pack {pack}"), cause));
        }
        let body = self.rebuilt(source, &forward).await?;
        let bytes = body.iter().map(|piece| piece.len() as u64).sum();
        if !mutant::on("gc-forward-without-pack") {
            store
                .put("put repacked pack", &key::pack(kind, forward.to), body)
                .await?;
        }
        store.delete("free repacked pack", &key::pack(kind, pack)).await?;
        Ok(Some(bytes))
    }

    /// A pack, read whole.
    async fn source(&self, kind: PackKind, pack: PackId) -> Result<Source> {
        let store = self.store();
        let footer = store.footer(kind, pack).await?;
        let object = store.get("read pack", &key::pack(kind, pack)).await?;
        let encrypter = match store.footer_key(kind, pack).await? {
            Some(id) if store.crypt.is_on() => store.learn_key(id).await?,
            _ => None,
        };
        if store.crypt.is_on() && encrypter.is_none() {
            let cause = "it is encrypted under a key that is not there";
            return Err(VaultError::other("repack", format!("pack {pack}"), cause));
        }
        Ok(Source {
            footer,
            object,
            encrypter,
        })
    }

    /// Where the live rows of a pack will be.
    fn plan(&self, source: &Source, live: &LiveRows) -> Result<Forward> {
        let (kind, pack) = (source.footer.kind, source.footer.pack);
        let to = PackId(self.env().random());
        let mut open = PackBuilder::new(self.id(), kind, to, crate::pack::PACK_BYTES_TARGET);
        let mut rows = Vec::new();
        for entry in source.footer.entries.iter().filter(|entry| is_own(entry, pack)) {
            let Some(at) = entry.at.filter(|at| live.has(at.ordinal)) else {
                continue;
            };
            let stored = slice(source, &at)?;
            rows.push(Moved {
                id: entry.id,
                old_ordinal: at.ordinal,
                at: open.store(entry.id, entry.kind, at.codec, stored),
            });
        }
        if rows.len() as u64 != live.rows() {
            let cause = format!("{} of its {} live rows are in its table", rows.len(), live.rows());
            return Err(VaultError::corrupt("repack", format!("pack {pack}"), cause));
        }
        Ok(Forward::new(kind, pack, to, rows))
    }

    /// The new pack's object, as the forward wants it.
    async fn rebuilt(&self, source: Source, forward: &Forward) -> Result<Vec<Bytes>> {
        let (vault, forward, crypt) = (self.id(), forward.clone(), self.store().crypt.clone());
        let nonce = nonce(self.env());
        let build = move || -> Result<Vec<Bytes>> {
            let naming = crypt.naming();
            let kind = source.footer.kind;
            let corrupt =
                |cause: String| VaultError::corrupt("repack", format!("pack {}", source.footer.pack), cause);
            let mut open = PackBuilder::new(vault, kind, forward.to, crate::pack::PACK_BYTES_TARGET);
            for row in &forward.rows {
                let entry = source.footer.entries.get(usize::from(row.old_ordinal));
                let entry = entry.filter(|entry| entry.id == row.id && is_own(entry, source.footer.pack));
                let (entry, at) = entry.and_then(|entry| Some((entry, entry.at?))).ok_or_else(|| {
                    corrupt(format!("row {} is not what its forward says", row.old_ordinal))
                })?;
                let stored = slice(&source, &at)?;
                let plain = crypt.decrypt_stored(kind, &entry.id, stored.clone());
                let plain = plain.map_err(|e| corrupt(format!("row {}: {e}", row.old_ordinal)))?;
                let decoded = match kind {
                    PackKind::Data => ChunkId(entry.id).decode(&naming, &at, plain).map(drop),
                    PackKind::Tree => NodeId(entry.id).decode(&naming, &at, plain).map(drop),
                };
                decoded.map_err(|e| corrupt(format!("row {}: {e}", row.old_ordinal)))?;
                if open.store(entry.id, entry.kind, at.codec, stored) != row.at {
                    return Err(corrupt(format!(
                        "row {} does not fit its forward",
                        row.old_ordinal
                    )));
                }
            }
            Ok(open.finish(&source.encrypter, nonce).1)
        };
        self.env().compute(build).await
    }
}

/// Whether the row's bytes are stored in this pack.
fn is_own(entry: &Entry, pack: PackId) -> bool {
    let stored = matches!(entry.kind, EntryKind::Stored { .. } | EntryKind::Node { .. });
    stored && entry.at.is_some_and(|at| at.pack == pack)
}

fn slice(source: &Source, at: &Location) -> Result<Bytes> {
    let end = usize::try_from(at.end()).unwrap_or(usize::MAX);
    if end > source.object.len() {
        let cause = format!("a row ends at {end}, past its {} bytes", source.object.len());
        return Err(VaultError::corrupt(
            "repack",
            format!("pack {}", source.footer.pack),
            cause,
        ));
    }
    Ok(source.object.slice(at.offset as usize..end))
}
