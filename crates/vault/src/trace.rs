//! Boot traces: which chunks a guest read first from a disk that had a snapshot's content, in that order.
//!
//! `traces/<snapshot-id>` is a hint for whoever fills the next such disk ([`crate::Reader::prefetch`]). Nothing depends on it:
//! one that is missing, damaged, hostile or of another disk costs some reads in another order, at most. What must stay true:
//! a trace has [`BootTrace::CHUNKS_MAX`] chunks at most, and its object [`OBJECT_BYTES_MAX`] bytes; it goes with its snapshot's
//! record, and one that is stored while the record goes does not stay.
//! Not here: when one is recorded (`node`).

use crate::crypt::BoxKind;
use crate::error::{Result, VaultError};
use crate::vault::Vault;
use crate::{key, text};
use bytes::Bytes;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use tidemark_units::SnapshotId;

const KIND: &str = "trace";
const VERSION: u32 = 1;
/// No trace's object is larger: runs of one chunk each have 16 bytes or less.
const OBJECT_BYTES_MAX: u64 = 128 << 10;
/// Snapshots before one without a trace whose traces are asked for.
const ANCESTORS_MAX: usize = 8;
/// How far a scan may step back: several of its reads in flight arrive slightly out of order.
const SCAN_BACK_MAX: u32 = 64;

/// `<vault>/traces/<id>`, as stored: runs of chunks, each its first and how many there are.
#[derive(Serialize, Deserialize)]
struct Stored {
    snapshot: SnapshotId,
    runs: Vec<(u32, u32)>,
}

/// Distinct chunks in the order in which they were first read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootTrace {
    chunks: Vec<u32>,
}

impl BootTrace {
    /// Most chunks of a trace: 256 MiB of disk, more than what systems read until they are up.
    pub const CHUNKS_MAX: usize = 4096;

    /// A trace of these chunks; what comes again, or past the bound, is left out.
    pub fn new(chunks: impl IntoIterator<Item = u32>) -> Self {
        let mut seen = RoaringBitmap::new();
        let fresh = chunks.into_iter().filter(|chunk| seen.insert(*chunk));
        Self {
            chunks: fresh.take(Self::CHUNKS_MAX).collect(),
        }
    }

    /// The chunks, the first read first.
    pub fn chunks(&self) -> &[u32] {
        &self.chunks
    }

    /// Whether it says nothing that reading in order does not: it is empty, or of somebody who read from front to back.
    pub fn is_scan(&self) -> bool {
        let mut furthest = 0;
        self.chunks.iter().all(|chunk| {
            let forward = chunk.saturating_add(SCAN_BACK_MAX) >= furthest;
            furthest = furthest.max(*chunk);
            forward
        })
    }

    /// The object of `snapshot`'s trace, before it is encrypted.
    pub(crate) fn encode(&self, snapshot: &SnapshotId) -> Result<Bytes> {
        let mut runs: Vec<(u32, u32)> = Vec::new();
        for &chunk in &self.chunks {
            match runs.last_mut() {
                Some((first, count)) if first.checked_add(*count) == Some(chunk) => *count += 1,
                _ => runs.push((chunk, 1)),
            }
        }
        let snapshot = snapshot.clone();
        text::encode(KIND, VERSION, &Stored { snapshot, runs })
    }

    /// Parses the object of `snapshot`'s trace, once it has been opened.
    pub(crate) fn decode(snapshot: &SnapshotId, object: &[u8]) -> Result<Self> {
        let key = key::trace(snapshot);
        let corrupt = |cause: String| VaultError::corrupt("read boot trace", &key, cause);
        if object.len() as u64 > OBJECT_BYTES_MAX {
            return Err(corrupt(format!(
                "{} bytes are too many for a trace",
                object.len()
            )));
        }
        let stored: Stored = text::decode(KIND, VERSION, &key, object)?;
        if &stored.snapshot != snapshot {
            return Err(corrupt(format!("it is the trace of {}", stored.snapshot)));
        }
        let mut total = 0u64;
        for &(first, count) in &stored.runs {
            total += u64::from(count);
            let end = u64::from(first) + u64::from(count);
            if count == 0 || end > 1 << 32 || total > Self::CHUNKS_MAX as u64 {
                return Err(corrupt(format!("{count} chunks at {first} are impossible")));
            }
        }
        let chunks = stored
            .runs
            .iter()
            .flat_map(|&(first, count)| (0..count).map(move |at| first + at));
        Ok(Self::new(chunks))
    }
}

impl Vault {
    /// The trace for a disk that has the content of `snapshot`: its own, or that of the nearest of its ancestors that has
    /// one (what the disk read when it was started last is the best guess there is). Empty when there is none.
    pub async fn boot_trace(&self, snapshot: &SnapshotId) -> Result<BootTrace> {
        let mut at = snapshot.clone();
        for _ in 0..=ANCESTORS_MAX {
            if let Some(trace) = self.trace_of(&at).await? {
                return Ok(trace);
            }
            let Some(parent) = self.record(&at).await?.and_then(|record| record.parent) else {
                break;
            };
            at = parent;
        }
        Ok(BootTrace::default())
    }

    /// The snapshot's own trace. One that cannot be used is as good as none.
    async fn trace_of(&self, snapshot: &SnapshotId) -> Result<Option<BootTrace>> {
        let (step, key) = ("read boot trace", key::trace(snapshot));
        let size = match self.store().size(step, &key).await {
            Ok(size) => size,
            Err(error) if error.kind == crate::VaultErrorKind::Missing => return Ok(None),
            Err(error) => return Err(error),
        };
        let unusable = |error: VaultError| {
            tracing::warn!(%snapshot, %error, "a boot trace cannot be used; going on without it");
            None
        };
        if size > OBJECT_BYTES_MAX + 1024 {
            let cause = format!("{size} bytes are too many for a trace");
            return Ok(unusable(VaultError::corrupt(step, &key, cause)));
        }
        let Some(object) = self.store().get_opt(step, &key).await? else {
            return Ok(None);
        };
        let opened = self.store().crypt.decrypt_object(BoxKind::Trace, &key, &object);
        let decoded = opened.and_then(|plain| BootTrace::decode(snapshot, &plain));
        Ok(decoded.map(Some).unwrap_or_else(unusable))
    }

    /// Keeps a trace with its snapshot, unless it says nothing, the snapshot is gone, or the one that is there is as
    /// long. Whether it was kept.
    pub async fn keep_trace(&self, snapshot: &SnapshotId, trace: &BootTrace) -> Result<bool> {
        let known = self
            .trace_of(snapshot)
            .await?
            .map_or(0, |known| known.chunks.len());
        if trace.is_scan() || known >= trace.chunks.len() || self.record(snapshot).await?.is_none() {
            return Ok(false);
        }
        let key = key::trace(snapshot);
        let plain = trace.encode(snapshot)?;
        let object = self.store().encrypted(BoxKind::Trace, &key, plain);
        self.store().put("store boot trace", &key, vec![object]).await?;
        // The record goes first: if it is still there, whoever removes it finds the trace, too.
        let kept = self.record(snapshot).await?.is_some();
        if !kept {
            self.remove_trace(snapshot).await?;
        }
        Ok(kept)
    }

    /// Removes a snapshot's trace, after its record; one that is not there is fine.
    pub(crate) async fn remove_trace(&self, snapshot: &SnapshotId) -> Result<()> {
        self.store()
            .delete("delete boot trace", &key::trace(snapshot))
            .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> SnapshotId {
        SnapshotId::new("s-1").unwrap()
    }

    fn sealed(runs: &str) -> Vec<u8> {
        text::seal(format!(r#"{{"tidemark":"trace","version":1,"snapshot":"s-1","runs":{runs}}}"#).as_bytes())
    }

    #[test]
    fn order_survives_and_repeats_do_not() {
        let trace = BootTrace::new([7, 8, 9, 3, 8, u32::MAX, 4]);
        assert_eq!(trace.chunks(), [7, 8, 9, 3, u32::MAX, 4]);
        let object = trace.encode(&snapshot()).unwrap();
        assert_eq!(BootTrace::decode(&snapshot(), &object).unwrap(), trace);
    }

    #[test]
    fn the_largest_trace_fits_its_object() {
        let scattered = (0..8000u32).map(|at| u32::MAX - at * 1000);
        let trace = BootTrace::new(scattered);
        assert_eq!(trace.chunks().len(), BootTrace::CHUNKS_MAX);
        let object = trace.encode(&snapshot()).unwrap();
        assert!(object.len() as u64 <= OBJECT_BYTES_MAX, "{} bytes", object.len());
        assert_eq!(BootTrace::decode(&snapshot(), &object).unwrap(), trace);
    }

    #[test]
    fn what_no_trace_can_say_is_refused() {
        assert!(BootTrace::decode(&snapshot(), &sealed("[[4294967295,1]]")).is_ok());
        for runs in [
            "[[4294967295,2]]",
            "[[0,0]]",
            "[[0,4097]]",
            "[[0,4000],[9000,97]]",
            "[[-1,1]]",
            "[[0]]",
        ] {
            assert!(BootTrace::decode(&snapshot(), &sealed(runs)).is_err(), "{runs}");
        }
        let other = SnapshotId::new("s-2").unwrap();
        let object = BootTrace::new([1]).encode(&other).unwrap();
        assert!(
            BootTrace::decode(&snapshot(), &object).is_err(),
            "another snapshot's"
        );
        let long = sealed(&format!("[{}[0,1]]", " ".repeat(OBJECT_BYTES_MAX as usize)));
        assert!(BootTrace::decode(&snapshot(), &long).is_err(), "too long");
    }

    #[test]
    fn a_boot_is_told_from_a_scan() {
        assert!(BootTrace::default().is_scan());
        assert!(BootTrace::new(0..4096).is_scan());
        assert!(
            BootTrace::new((0..1000).map(|at| at * 50)).is_scan(),
            "holes left out"
        );
        assert!(
            BootTrace::new((0..1000).map(|at| at ^ 7)).is_scan(),
            "out of order in flight"
        );
        assert!(!BootTrace::new([0, 1, 2, 16_000, 900, 901]).is_scan());
    }
}
