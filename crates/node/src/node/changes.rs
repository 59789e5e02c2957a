//! What differs between two snapshots, chunk by chunk, from their trees alone: no data is read.
//!
//! Only subtrees that the two do not share are read, and the leaves in which something differs, so it costs what differs, not what the
//! disk holds. What is answered is bounded whatever differs: a picture of the disk in equal parts, and one page of the ranges. What runs
//! on the vault's thread between two reads costs the runs of what differs, not its chunks.

use super::Node;
use crate::types::{ChangesQuestion, NodeError, NodeErrorKind, SnapshotChanges};
use crate::vault::VaultHost;
use roaring::RoaringBitmap;
use std::ops::Range;
use std::rc::Rc;
use tidemark_units::{CHUNK_BYTES, SnapshotId};
use tidemark_vault::{Root, SnapshotRecord};

/// The chunks of a leaf of a tree: whoever looks for one of them has the others, too. Were leaves larger or smaller, answers would be
/// the same.
const LEAF_CHUNKS: u64 = 128;

impl Node {
    /// What differs between a snapshot and another one of the same disk, or the one before it. Missing: one of them is not
    /// in the vault (yet, or any more), and the message says which; Invalid: the two are of different disks.
    pub async fn changes(
        &self,
        snapshot: &SnapshotId,
        question: ChangesQuestion,
    ) -> Result<SnapshotChanges, NodeError> {
        let id = snapshot.clone();
        let asked = self
            .shared
            .vault
            .call(move |host| async move { changes(&host, &id, &question).await });
        asked.await?
    }
}

fn missing(id: &SnapshotId) -> NodeError {
    NodeError::new(NodeErrorKind::Missing, format!("the vault has no snapshot {id}"))
}

async fn known(host: &Rc<VaultHost>, id: &SnapshotId) -> Result<SnapshotRecord, NodeError> {
    host.record(id).await?.ok_or_else(|| missing(id))
}

async fn changes(
    host: &Rc<VaultHost>,
    id: &SnapshotId,
    question: &ChangesQuestion,
) -> Result<SnapshotChanges, NodeError> {
    // It is never closed.
    let _place = host.comparing.acquire().await.ok();
    let record = known(host, id).await?;
    let head = host.vault.head_log(&record.disk).await?;
    let live: Vec<(SnapshotId, Root)> = head.state().live();
    let place_of = |id: &SnapshotId| live.iter().position(|(other, _)| other == id);
    // Deleted in between: without its neighbours, it would look like the first one and the only one.
    let place = place_of(id).ok_or_else(|| missing(id))?;
    let before = place.checked_sub(1).and_then(|place| live.get(place));
    let after = live.get(place + 1);
    let base = match &question.base {
        None => before,
        Some(base) => {
            let other = known(host, base).await?;
            if other.disk != record.disk {
                let message = format!("the snapshots {id} and {base} are of different disks");
                return Err(NodeError::new(NodeErrorKind::Invalid, message));
            }
            let place = place_of(base).ok_or_else(|| missing(base))?;
            live.get(place)
        }
    };
    let own = record.root;
    let differing = host.vault.diff(base.map(|(_, root)| root), Some(&own)).await?;
    // What the one before it has not as it is here, and is no zeros.
    let added = match before {
        // All that differs from zeros is data.
        None if base.is_none() => differing.clone(),
        None => host.vault.diff(None, Some(&own)).await?,
        Some((id, _)) if base.is_some_and(|(base, _)| base == id) => {
            with_data(host, &own, &differing).await?
        }
        Some((_, root)) => {
            let unlike = host.vault.diff(Some(root), Some(&own)).await?;
            with_data(host, &own, &unlike).await?
        }
    };
    // Of that, what the one after it has not either.
    let alone = match after {
        Some((_, root)) if !added.is_empty() => {
            let mut unlike = host.vault.diff(Some(root), Some(&own)).await?;
            unlike &= &added;
            unlike.len()
        }
        _ => added.len(),
    };
    let chunks = own
        .chunk_count()
        .max(base.map_or(0, |(_, root)| root.chunk_count()));
    let parts = parts_of(chunks, question.parts).map(|part| differing.range_cardinality(part) * CHUNK_BYTES);
    let from = u32::try_from(question.from_bytes / CHUNK_BYTES).unwrap_or(u32::MAX);
    let mut found = runs(&differing, from).map(|run| run.start * CHUNK_BYTES..run.end * CHUNK_BYTES);
    let ranges: Vec<Range<u64>> = found.by_ref().take(question.ranges_max).collect();
    let next = found.next().map(|range| range.start);
    Ok(SnapshotChanges {
        base: base.map(|(id, _)| id.clone()),
        size_bytes: record.size_bytes,
        changed_bytes: differing.len() * CHUNK_BYTES,
        added_bytes: added.len() * CHUNK_BYTES,
        alone_bytes: alone * CHUNK_BYTES,
        parts: parts.collect(),
        ranges,
        next_bytes: next,
    })
}

/// Those of the chunks that are not zeros at the snapshot. Only leaves are looked at that such a chunk is in.
async fn with_data(
    host: &Rc<VaultHost>,
    own: &Root,
    chunks: &RoaringBitmap,
) -> Result<RoaringBitmap, NodeError> {
    let mut found = RoaringBitmap::new();
    // What differs past the end is the other one's.
    for range in leaves(chunks, own.chunk_count()).filter(|range| !range.is_empty()) {
        found |= host.vault.non_zero_chunks(own, range).await?;
    }
    found &= chunks;
    Ok(found)
}

/// The runs of a set of chunks from one on, in order. Each costs what it is made of, not a step for each chunk.
fn runs(chunks: &RoaringBitmap, from: u32) -> impl Iterator<Item = Range<u64>> {
    let mut rest = chunks.range(from..);
    std::iter::from_fn(move || {
        let run = rest.next_range()?;
        Some(u64::from(*run.start())..u64::from(*run.end()) + 1)
    })
}

/// The ranges of whole leaves that the chunks are in, in order, as far as the disk goes; none touches the next one.
fn leaves(chunks: &RoaringBitmap, disk_chunks: u64) -> impl Iterator<Item = Range<u32>> {
    let mut runs = runs(chunks, 0)
        .map(|run| run.start / LEAF_CHUNKS..run.end.div_ceil(LEAF_CHUNKS))
        .peekable();
    let cut = move |leaf: u64| u32::try_from((leaf * LEAF_CHUNKS).min(disk_chunks)).unwrap_or(u32::MAX);
    std::iter::from_fn(move || {
        let mut range = runs.next()?;
        while let Some(next) = runs.next_if(|next| next.start <= range.end) {
            range.end = range.end.max(next.end);
        }
        Some(cut(range.start)..cut(range.end))
    })
}

/// `chunks` cut into at most `parts` parts that differ by one chunk at most.
pub(super) fn parts_of(chunks: u64, parts: u32) -> impl Iterator<Item = Range<u32>> {
    let parts = u64::from(parts).min(chunks);
    let at = move |part: u64| {
        let place = u128::from(chunks) * u128::from(part) / u128::from(parts.max(1));
        u32::try_from(place).unwrap_or(u32::MAX)
    };
    (0..parts).map(move |part| at(part)..at(part + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_across_whatever_the_set_is_made_of() {
        let mut chunks = RoaringBitmap::new();
        // Over three containers, two of them full; single ones; the last chunk that there can be.
        chunks.insert_range(65_530..200_000);
        chunks.extend([3, 5, 6, u32::MAX]);
        let all: Vec<_> = runs(&chunks, 0).collect();
        let last = u64::from(u32::MAX);
        assert_eq!(all, [3..4, 5..7, 65_530..200_000, last..last + 1]);
        let rest: Vec<_> = runs(&chunks, 70_000).collect();
        assert_eq!(rest, [70_000..200_000, last..last + 1]);
        assert_eq!(runs(&RoaringBitmap::new(), 0).count(), 0);
    }

    #[test]
    fn leaves_are_looked_at_once_and_within_the_disk() {
        let chunks: RoaringBitmap = [0u32, 5, 127, 128, 600, 1000].into_iter().collect();
        let found: Vec<_> = leaves(&chunks, 1010).collect();
        assert_eq!(found, [0..256, 512..640, 896..1010]);
        // The one that is compared with was larger.
        assert!(leaves(&chunks, 300).all(|range| range.end <= 300));
    }

    #[test]
    fn parts_cover_the_disk_without_a_gap() {
        for (chunks, wanted) in [(0, 8), (1, 8), (8, 8), (10, 3), (1 << 24, 512)] {
            let parts: Vec<_> = parts_of(chunks, wanted).collect();
            assert!(parts.len() <= wanted as usize);
            let ends = parts.iter().map(|part| u64::from(part.end)).collect::<Vec<_>>();
            assert_eq!(ends.last().copied().unwrap_or(0), chunks);
            let mut at = 0;
            for part in &parts {
                assert!(part.start == at && part.end > at, "{chunks} {wanted}: {part:?}");
                at = part.end;
            }
        }
    }
}
