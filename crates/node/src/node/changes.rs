//! What differs between two snapshots, chunk by chunk, from their trees alone: no data is read.
//!
//! Only subtrees that the two do not share are read, so it costs what differs, not what the disk holds. What is answered is bounded
//! whatever differs: a picture of the disk in equal parts, and one page of the ranges.

use super::Node;
use crate::types::{ChangesQuestion, NodeError, NodeErrorKind, SnapshotChanges};
use crate::vault::VaultHost;
use std::ops::Range;
use std::rc::Rc;
use tidemark_units::{CHUNK_BYTES, SnapshotId};
use tidemark_vault::{Root, SnapshotRecord};

impl Node {
    /// What differs between a snapshot and another one of the same disk, or the one before it. Missing: there is no such
    /// snapshot in the vault (yet); Invalid: the two are of different disks.
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

async fn known(host: &Rc<VaultHost>, id: &SnapshotId) -> Result<SnapshotRecord, NodeError> {
    host.record(id)
        .await?
        .ok_or_else(|| NodeError::new(NodeErrorKind::Missing, format!("the vault has no snapshot {id}")))
}

async fn changes(
    host: &Rc<VaultHost>,
    id: &SnapshotId,
    question: &ChangesQuestion,
) -> Result<SnapshotChanges, NodeError> {
    let record = known(host, id).await?;
    let head = host.vault.head_log(&record.disk).await?;
    let live: Vec<(SnapshotId, Root)> = head.state().live();
    let place = live.iter().position(|(other, _)| other == id);
    let neighbour = |step: fn(usize) -> Option<usize>| {
        let place = step(place?)?;
        live.get(place).map(|(id, root)| (id.clone(), *root))
    };
    let before = neighbour(|place| place.checked_sub(1));
    let after = neighbour(|place| place.checked_add(1));
    let base = match &question.base {
        None => before.clone(),
        Some(base) => {
            let other = known(host, base).await?;
            if other.disk != record.disk {
                let message = format!("the snapshots {id} and {base} are of different disks");
                return Err(NodeError::new(NodeErrorKind::Invalid, message));
            }
            Some((base.clone(), other.root))
        }
    };
    let own = record.root;
    let differing = host
        .vault
        .diff(base.as_ref().map(|(_, root)| root), Some(&own))
        .await?;
    // What neither neighbour has as it is here, and is no zeros: that nobody would have any more.
    let end = u32::try_from(own.chunk_count()).unwrap_or(u32::MAX);
    let mut alone = host.vault.non_zero_chunks(&own, 0..end).await?;
    let mut added = alone.clone();
    if let Some((_, root)) = &before {
        let unlike = host.vault.diff(Some(root), Some(&own)).await?;
        added &= &unlike;
        alone &= &unlike;
    }
    if let Some((_, root)) = &after {
        let unlike = host.vault.diff(Some(root), Some(&own)).await?;
        alone &= &unlike;
    }
    let chunks = own
        .chunk_count()
        .max(base.as_ref().map_or(0, |(_, root)| root.chunk_count()));
    let parts = parts_of(chunks, question.parts).map(|part| differing.range_cardinality(part) * CHUNK_BYTES);
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut next = None;
    let from = u32::try_from(question.from_bytes / CHUNK_BYTES).unwrap_or(u32::MAX);
    for index in differing.range(from..) {
        let start = u64::from(index) * CHUNK_BYTES;
        if let Some(last) = ranges.last_mut()
            && last.end == start
        {
            last.end += CHUNK_BYTES;
            continue;
        }
        if ranges.len() >= question.ranges_max {
            next = Some(start);
            break;
        }
        ranges.push(start..start + CHUNK_BYTES);
    }
    Ok(SnapshotChanges {
        base: base.map(|(id, _)| id),
        size_bytes: record.size_bytes,
        changed_bytes: differing.len() * CHUNK_BYTES,
        added_bytes: added.len() * CHUNK_BYTES,
        alone_bytes: alone.len() * CHUNK_BYTES,
        parts: parts.collect(),
        ranges,
        next_bytes: next,
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
