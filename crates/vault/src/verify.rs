//! Reading a snapshot through, to know that it is whole.
//!
//! Every tree node is read; of the chunks all, or a sample. Damage is collected with the disk's chunk
//! ranges that it hits; a bucket that cannot be reached is an error, not damage.

use crate::error::{Result, VaultError, VaultErrorKind};
use crate::tree::{LeafEntry, NodeRef, Root, chunks_of, first_chunk};
use crate::vault::Vault;
use crate::walk::{Place, children, leaf_entries};
use std::ops::Range;
use tidemark_env::LocalFuture;
use tidemark_units::CHUNK_BYTES;

/// Chunks read together.
const BATCH_CHUNKS: usize = 64;
/// Damage that is listed; more is counted.
const DAMAGE_MAX: usize = 1000;

/// Which chunks to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sample {
    /// All of them.
    All,
    /// One of so many, each time other ones.
    OneIn(u32),
    /// None: tree nodes only.
    TreeOnly,
}

/// Something that cannot be read as it was written.
#[derive(Clone, Debug)]
pub struct Damage {
    /// Which chunks of the disk it hits.
    pub chunks: Range<u64>,
    /// What is wrong.
    pub error: VaultError,
}

/// What was read and found.
#[derive(Clone, Debug, Default)]
pub struct VerifyReport {
    /// Tree nodes read.
    pub nodes: u64,
    /// Chunks read.
    pub chunks: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// The first thousand finds.
    pub damage: Vec<Damage>,
    /// All finds.
    pub damage_count: u64,
}

impl VerifyReport {
    fn note(&mut self, chunks: Range<u64>, error: VaultError) -> Result<()> {
        if matches!(error.kind, VaultErrorKind::Busy | VaultErrorKind::Denied) {
            return Err(error);
        }
        self.damage_count += 1;
        if self.damage.len() < DAMAGE_MAX {
            self.damage.push(Damage { chunks, error });
        }
        Ok(())
    }
}

impl Vault {
    /// Reads a snapshot's tree and (some of) its chunks, and checks all that it reads.
    pub async fn verify(&self, root: &Root, sample: Sample) -> Result<VerifyReport> {
        let mut report = VerifyReport::default();
        if let Some(top) = root.top() {
            self.verify_nodes(root, vec![(Place::top_of(root), *top)], sample, &mut report)
                .await?;
        }
        Ok(report)
    }

    fn verify_nodes<'a>(
        &'a self,
        root: &'a Root,
        group: Vec<(Place, NodeRef)>,
        sample: Sample,
        report: &'a mut VerifyReport,
    ) -> LocalFuture<'a, Result<()>> {
        Box::pin(async move {
            for ((place, reference), node) in group.iter().zip(self.load(&group).await) {
                let all = chunks_of(place.level, place.position, root.chunk_count());
                let whole = node.and_then(|node| {
                    if node.chunks() == reference.chunks {
                        return Ok(node);
                    }
                    let cause = format!(
                        "{} chunks, where its parent says {}",
                        node.chunks(),
                        reference.chunks
                    );
                    Err(VaultError::corrupt(
                        "verify",
                        format!("tree node {}", reference.id),
                        cause,
                    ))
                });
                let node = match whole {
                    Ok(node) => node,
                    Err(error) => {
                        report.note(all, error)?;
                        continue;
                    }
                };
                report.nodes += 1;
                if place.level == 0 {
                    match leaf_entries(*place, &node) {
                        Ok(entries) => self.verify_leaf(*place, entries, sample, report).await?,
                        Err(error) => report.note(all, error)?,
                    }
                    continue;
                }
                match children(*place, &node) {
                    Ok(below) => {
                        let below = below.iter().enumerate();
                        let below = below.filter_map(|(slot, child)| Some((place.child(slot), (*child)?)));
                        self.verify_nodes(root, below.collect(), sample, report).await?;
                    }
                    Err(error) => report.note(all, error)?,
                }
            }
            Ok(())
        })
    }

    async fn verify_leaf(
        &self,
        place: Place,
        entries: &[Option<LeafEntry>],
        sample: Sample,
        report: &mut VerifyReport,
    ) -> Result<()> {
        let chosen = |_: &(u64, LeafEntry)| match sample {
            Sample::All => true,
            Sample::TreeOnly => false,
            Sample::OneIn(n) => u32::from_le_bytes(self.env().random()).is_multiple_of(n.max(1)),
        };
        let filled = (first_chunk(0, place.position)..).zip(entries);
        let wanted: Vec<(u64, LeafEntry)> = filled
            .filter_map(|(index, entry)| Some((index, (*entry)?)))
            .filter(chosen)
            .collect();
        for batch in wanted.chunks(BATCH_CHUNKS) {
            let names: Vec<_> = batch.iter().map(|(_, entry)| (entry.id, entry.at)).collect();
            // Past the cache: what is asked is what the bucket holds.
            for ((index, entry), chunk) in batch.iter().zip(self.chunks().get_exact(&names).await) {
                let chunk = match chunk {
                    Ok(chunk) => Ok(chunk),
                    // Elsewhere is as good, and the only place for a chunk that was moved.
                    Err(error) if error.kind != VaultErrorKind::Busy => {
                        self.chunks().get_elsewhere(entry.id, entry.at, error).await
                    }
                    Err(error) => Err(error),
                };
                match chunk {
                    Ok(_) => {
                        report.chunks += 1;
                        report.bytes += CHUNK_BYTES;
                    }
                    Err(error) => report.note(*index..index + 1, error.within(format!("chunk {index}")))?,
                }
            }
        }
        Ok(())
    }
}
