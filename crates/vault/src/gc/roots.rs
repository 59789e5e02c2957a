//! What the head logs of all disks say: read in full, in one pass.

use crate::error::{Result, VaultError};
use crate::head::{HeadEntry, HeadLog, Refusal, Stage};
use crate::key;
use crate::tree::Root;
use crate::vault::Vault;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::collections::BTreeMap;
use std::rc::Rc;
use tidemark_env::UnixMillis;
use tidemark_units::{DiskId, SnapshotId};

/// Logs read at the same time.
const WIDTH: usize = 8;

impl Vault {
    /// Every disk's head log, with all entries that were there when this was called, durable. Any doubt is an error.
    pub(crate) async fn all_head_logs(&self) -> Result<Vec<Rc<HeadLog>>> {
        let step = "read head logs";
        let known = self.known_head_lengths();
        let mut counts: BTreeMap<DiskId, u64> = BTreeMap::new();
        for object in self.store().list(step, key::DISKS).await? {
            let Some((disk, seq)) = key::parse_head(&object.key) else {
                let cause = "it is no head entry: what it may refer to is unknown";
                return Err(VaultError::corrupt(step, object.key, cause));
            };
            let count = counts.entry(disk.clone()).or_default();
            if *count != seq {
                let cause = "an entry is missing";
                return Err(VaultError::corrupt(step, key::head(&disk, *count), cause));
            }
            *count += 1;
        }
        // Logs only grow: a listing without what was there before is not to be believed, whatever else it says.
        for (disk, length) in known {
            let listed = counts.get(&disk).copied().unwrap_or_default();
            if listed < length {
                let cause = "the entry was there, and the listing lacks it";
                return Err(VaultError::corrupt(step, key::head(&disk, listed), cause));
            }
        }
        let logs = counts.into_iter().map(|(disk, count)| async move {
            let log = self.known_head_log(&disk);
            log.read_up_to(count).await?;
            // What a power cut could still take back must not cost a pack.
            log.settle().await?;
            Ok(log)
        });
        stream::iter(logs).buffered(WIDTH).try_collect().await
    }

    /// Every content that is needed, each once.
    pub(crate) fn needed_roots(logs: &[Rc<HeadLog>]) -> Vec<Root> {
        let mut roots: Vec<Root> = Vec::new();
        for log in logs {
            roots.extend(log.state().needed().filter(|root| root.top().is_some()));
        }
        roots.sort_by_key(Root::to_bytes);
        roots.dedup();
        roots
    }

    /// Purges deleted snapshots whose time has come; all of them without a `now`. Says which.
    pub(crate) async fn purge(
        &self,
        logs: &[Rc<HeadLog>],
        now: Option<UnixMillis>,
    ) -> Result<Vec<SnapshotId>> {
        let is_due = |until_ms: Option<UnixMillis>| match (until_ms, now) {
            (Some(until), Some(now)) => until <= now,
            _ => true,
        };
        let mut purged = Vec::new();
        for log in logs {
            let due = log
                .state()
                .deleted()
                .into_iter()
                .filter(|gone| is_due(gone.until_ms));
            let due: Vec<SnapshotId> = due.map(|gone| gone.id).collect();
            for id in due {
                let why_not = |log: &HeadLog| match log.snapshot(&id) {
                    Some((_, Stage::Deleted(until_ms))) if is_due(until_ms) => None,
                    _ => Some(String::new()),
                };
                match log
                    .append_unless(HeadEntry::Purge { id: id.clone() }, why_not)
                    .await
                {
                    Ok(_) => purged.push(id),
                    Err(Refusal::Because(_)) => {}
                    Err(Refusal::Failed(error)) => return Err(error),
                }
            }
        }
        Ok(purged)
    }
}
