//! Windows: chunks gathered in the order of disks, read in the order of packs.
//!
//! What must stay true: what is noted as damaged was wanted by a snapshot that still existed *after* the failed read: a
//! pack that a collector freed in between is no damage. A thing that is not where the tree says is looked for elsewhere: one
//! whose pack is gone was moved, and is whole where it is; one whose pack is there is damaged, but not lost.

use super::read::{Span, follow, read_span, spans};
use super::union::{Member, Owners, Sink};
use super::{Damage, Part, Sample, Target, VerifyReport, Watch};
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::fetch::{Fetcher, Name};
use crate::id::{ChunkId, PackId};
use crate::key;
use crate::pack::{HEADER_BYTES, HeaderWire, Location, PackKind};
use crate::tree::{LeafEntry, TreeNode, chunks_of};
use crate::vault::Vault;
use crate::walk::Place;
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use tidemark_env::LocalFuture;
use tidemark_units::{CHUNK_BYTES, KIB};
use zerocopy::IntoBytes;

/// Leaves after which a window ends, however few chunks it has: the caller wants to hear something.
const WINDOW_LEAVES: u64 = 1 << 14;
/// What checking a pack's frame reads, about.
const FRAME_BYTES: u64 = 64 * KIB;

#[derive(Clone)]
struct Wanted {
    id: ChunkId,
    at: Location,
    index: u32,
    owners: Owners,
}

/// See the module.
pub(crate) struct Window<'a> {
    vault: &'a Vault,
    sample: Sample,
    /// Changes which chunks a sample has.
    salt: u64,
    watch: &'a dyn Watch,
    /// Where the roots come from, if they may go away meanwhile.
    targets: Option<&'a [Target]>,
    wanted: Vec<Wanted>,
    leaves: u64,
    /// Packs whose frames were checked.
    frames: HashSet<PackId>,
    /// Packs whose forwards were noted as damaged.
    forwards: HashSet<PackId>,
    /// Finds whose snapshots have not been asked for again yet.
    doubtful: Vec<Damage>,
    report: VerifyReport,
}

impl<'a> Window<'a> {
    pub(super) fn new(
        vault: &'a Vault,
        sample: Sample,
        watch: &'a dyn Watch,
        targets: Option<&'a [Target]>,
    ) -> Self {
        Self {
            salt: u64::from_le_bytes(vault.env().random()),
            vault,
            sample,
            watch,
            targets,
            wanted: Vec::new(),
            leaves: 0,
            frames: HashSet::new(),
            forwards: HashSet::new(),
            doubtful: Vec::new(),
            report: VerifyReport::default(),
        }
    }

    pub(super) fn into_report(self) -> VerifyReport {
        self.report
    }

    /// Whether the sample has what is named so. All who share it agree.
    fn chosen(&self, name: &[u8]) -> bool {
        match self.sample {
            Sample::All => true,
            Sample::TreeOnly => false,
            Sample::PerMillion(share) => {
                let mut hash = self.salt;
                for piece in name.chunks(8).take(2) {
                    let mut word = [0; 8];
                    word[..piece.len()].copy_from_slice(piece);
                    // The finaliser of SplitMix64: names are hashes or random already.
                    hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                    hash ^= hash >> 31;
                }
                hash % 1_000_000 < u64::from(share)
            }
        }
    }

    /// Reads all that was gathered.
    async fn flush(&mut self, part: f64) -> Result<()> {
        self.leaves = 0;
        let mut wanted = std::mem::take(&mut self.wanted);
        wanted.sort_unstable_by_key(|w| (w.at.pack, w.at.offset, w.at.stored_len, w.id, w.index));
        let mut places: Vec<(ChunkId, Location)> = wanted.iter().map(|w| (w.id, w.at)).collect();
        places.dedup();
        let (store, watch) = (self.vault.store(), self.watch);
        let mut failed: HashMap<(ChunkId, Location), VaultError> = HashMap::new();
        let spans = spans(places.into_iter());
        let bytes = |span: &Span<ChunkId>| span.range().end - span.range().start;
        watch.reading(spans.iter().map(bytes).sum(), part);
        {
            let mut reads = stream::iter(spans)
                .map(|span| async move {
                    let range = span.range();
                    let bytes = range.end - range.start;
                    watch.may_read(bytes).await;
                    (bytes, read_span(store, span, drop::<bytes::Bytes>).await)
                })
                .buffer_unordered(watch.width().max(1));
            while let Some((bytes, done)) = reads.next().await {
                self.report.read_bytes += bytes;
                for (id, at, result) in done {
                    match result {
                        Ok(()) => {
                            self.report.chunks += 1;
                            self.report.bytes += CHUNK_BYTES;
                        }
                        Err(error) => drop(failed.insert((id, at), error)),
                    }
                }
            }
        }
        let mut packs: BTreeSet<PackId> = wanted.iter().map(|w| w.at.pack).collect();
        let failed = failed
            .into_iter()
            .map(|((id, at), error)| (id, at, error))
            .collect();
        let (mut lost, mut unreadable) = (Vec::new(), BTreeMap::new());
        let followed = follow(self.vault, watch, failed, drop::<bytes::Bytes>, &mut unreadable).await;
        self.note_forwards(unreadable).await?;
        for (id, asked, at, read) in followed {
            packs.insert(at.pack);
            let Err(error) = read else {
                self.report.chunks += 1;
                self.report.bytes += CHUNK_BYTES;
                continue;
            };
            let object = key::pack(PackKind::Data, at.pack);
            let error = self.vault.as_damage(&object, error).await?;
            lost.push((id, asked, at, object, error));
        }
        let places: Vec<_> = lost.iter().map(|(id, _, at, ..)| (*id, *at)).collect();
        let elsewhere = self.vault.whole_elsewhere(&places).await?;
        for (id, asked, at, object, error) in &lost {
            let is_elsewhere = elsewhere.contains_key(&(*id, *at));
            if is_elsewhere && error.kind == VaultErrorKind::Missing {
                self.report.chunks += 1;
                self.report.bytes += CHUNK_BYTES;
                continue;
            }
            let first = wanted.partition_point(|w| (w.at.pack, w.at.offset) < (asked.pack, asked.offset));
            for hit in wanted[first..]
                .iter()
                .take_while(|w| w.at.offset == asked.offset && w.at.pack == asked.pack)
            {
                if (hit.id, hit.at) == (*id, *asked) {
                    self.doubtful.push(Damage {
                        object: object.clone(),
                        part: Part::Chunk(*id),
                        at: Some(*at),
                        chunks: u64::from(hit.index)..u64::from(hit.index) + 1,
                        hits: Arc::clone(&hit.owners),
                        lost: !is_elsewhere,
                        error: error.clone(),
                    });
                }
            }
        }
        for pack in packs {
            self.check_frame(PackKind::Data, pack).await?;
        }
        Ok(())
    }

    /// What a failed read means: `None` if the thing is whole in another pack and its own is gone; else whether it is
    /// lost, and the error.
    async fn elsewhere<N: Name>(
        &self,
        fetcher: &Fetcher<N>,
        id: N,
        at: Location,
        object: &str,
        error: VaultError,
    ) -> Result<Option<(bool, VaultError)>> {
        let error = self.vault.as_damage(object, error).await?;
        let moved = error.kind == VaultErrorKind::Missing;
        match fetcher.get_elsewhere(id, at, error.clone()).await {
            Ok(_) if moved => Ok(None),
            Ok(_) => Ok(Some((false, error))),
            Err(other) => self
                .vault
                .as_damage(object, other)
                .await
                .map(|_| Some((true, error))),
        }
    }

    /// Notes forwards that are there and cannot be read. What they lead to is found in another, slower way.
    async fn note_forwards(&mut self, unreadable: BTreeMap<PackId, VaultError>) -> Result<()> {
        for (pack, error) in unreadable {
            let object = key::forward(pack);
            let error = self.vault.as_damage(&object, error).await?;
            if self.forwards.insert(pack) {
                self.report.note(Damage {
                    object,
                    part: Part::Forward,
                    at: None,
                    chunks: 0..0,
                    hits: Arc::from([]),
                    lost: false,
                    error,
                });
            }
        }
        Ok(())
    }

    /// Checks, once, a pack's header and footer. A pack that is not there is told of by what it should have.
    async fn check_frame(&mut self, kind: PackKind, pack: PackId) -> Result<()> {
        if !self.chosen(&pack.0) || !self.frames.insert(pack) {
            return Ok(());
        }
        self.watch.may_read(FRAME_BYTES).await;
        let (store, object) = (self.vault.store(), key::pack(kind, pack));
        let footer = match store.footer(kind, pack).await {
            Ok(_) => store
                .get_range("read pack header", &object, 0, HEADER_BYTES as u64)
                .await
                .and_then(|header| match header == HeaderWire::new(kind, pack).as_bytes() {
                    true => Ok(()),
                    false => Err(VaultError::corrupt(
                        "read pack header",
                        &object,
                        "it is not this pack's header",
                    )),
                }),
            Err(error) => Err(error),
        };
        let Err(error) = footer else { return Ok(()) };
        let error = self.vault.as_damage(&object, error).await?;
        if error.kind != VaultErrorKind::Missing {
            self.report.note(Damage {
                object,
                part: Part::Frame,
                at: None,
                chunks: 0..0,
                hits: Arc::from([]),
                lost: false,
                error,
            });
        }
        Ok(())
    }

    /// Notes what snapshots that still exist have lost.
    async fn settle(&mut self) -> Result<()> {
        let mut doubtful = std::mem::take(&mut self.doubtful);
        if doubtful.is_empty() {
            return Ok(());
        }
        doubtful.sort_by_key(|damage| (damage.chunks.start, damage.chunks.end));
        let live = match self.targets {
            None => None,
            Some(targets) => {
                let asked = doubtful
                    .iter()
                    .flat_map(|damage| damage.hits.iter().copied())
                    .collect();
                Some(self.vault.still_live(targets, &asked).await?)
            }
        };
        for mut damage in doubtful {
            if let Some(live) = &live {
                let left: Vec<u32> = damage
                    .hits
                    .iter()
                    .copied()
                    .filter(|hit| live.contains(hit))
                    .collect();
                match left.is_empty() {
                    true => continue,
                    false => damage.hits = left.into(),
                }
            }
            self.report.note(damage);
        }
        Ok(())
    }
}

impl Damage {
    /// A node that does not fit its parent.
    pub(super) fn of_node(place: Place, member: &Member, wrong: String) -> Self {
        let object = key::pack(PackKind::Tree, member.node.at.pack);
        let error = VaultError::corrupt("verify", format!("tree node {}", member.node.id), wrong);
        Self {
            object,
            part: Part::Node(place.level),
            at: Some(member.node.at),
            chunks: below(place),
            hits: Arc::clone(&member.owners),
            lost: true,
            error,
        }
    }
}

/// All chunks below a place, as if disks had no end.
fn below(place: Place) -> Range<u64> {
    chunks_of(place.level, place.position, u64::from(u32::MAX) + 1)
}

impl Sink for Window<'_> {
    fn chunk(&mut self, index: u32, entry: &LeafEntry, owners: &Owners) {
        if self.chosen(&entry.id.0) {
            self.wanted.push(Wanted {
                id: entry.id,
                at: entry.at,
                index,
                owners: Arc::clone(owners),
            });
        }
    }

    fn nodes<'a>(
        &'a mut self,
        wanted: &'a [(Place, Member)],
    ) -> LocalFuture<'a, Result<Vec<Option<Arc<TreeNode>>>>> {
        Box::pin(async move {
            let mut sorted: Vec<_> = wanted.iter().map(|(_, m)| (m.node.id, m.node.at)).collect();
            sorted.sort_unstable_by_key(|(_, at)| (at.pack, at.offset, at.stored_len));
            sorted.dedup();
            let (store, watch) = (self.vault.store(), self.watch);
            let mut found: HashMap<_, Result<Arc<TreeNode>>> = HashMap::new();
            {
                let mut reads = stream::iter(spans(sorted.into_iter()))
                    .map(|span| async move {
                        let range = span.range();
                        (range.end - range.start, read_span(store, span, |node| node).await)
                    })
                    .buffer_unordered(watch.width().max(1));
                while let Some((bytes, done)) = reads.next().await {
                    self.report.read_bytes += bytes;
                    found.extend(done.into_iter().map(|(id, at, node)| ((id, at), node)));
                }
            }
            let failed = found
                .iter()
                .filter_map(|((id, at), node)| Some((*id, *at, node.as_ref().err()?.clone())))
                .collect();
            let mut places: HashMap<_, Location> = HashMap::new();
            let mut unreadable = BTreeMap::new();
            let followed = follow(self.vault, watch, failed, |node| node, &mut unreadable).await;
            self.note_forwards(unreadable).await?;
            for (id, asked, place, node) in followed {
                places.insert((id, asked), place);
                found.insert((id, asked), node);
            }
            let packs = wanted.iter().map(|(_, m)| m.node.at.pack);
            let packs: BTreeSet<PackId> = packs.chain(places.values().map(|at| at.pack)).collect();
            let mut nodes = Vec::with_capacity(wanted.len());
            for (place, member) in wanted {
                let (id, at) = (member.node.id, member.node.at);
                let error = match found.get(&(id, at)) {
                    Some(Ok(node)) => {
                        self.report.nodes += 1;
                        nodes.push(Some(Arc::clone(node)));
                        continue;
                    }
                    Some(Err(error)) => error.clone(),
                    None => VaultError::other("verify", format!("tree node {id}"), "it was not read"),
                };
                let at = places.get(&(id, at)).copied().unwrap_or(at);
                let object = key::pack(PackKind::Tree, at.pack);
                let told = self.elsewhere(self.vault.nodes(), id, at, &object, error).await?;
                let lost = told.as_ref().is_some_and(|(lost, _)| *lost);
                if let Some((lost, error)) = told {
                    self.doubtful.push(Damage {
                        object,
                        part: Part::Node(place.level),
                        at: Some(at),
                        chunks: below(*place),
                        hits: Arc::clone(&member.owners),
                        lost,
                        error: error.within(place.name()),
                    });
                }
                if lost {
                    nodes.push(None);
                    continue;
                }
                self.report.nodes += 1;
                let again = self.vault.nodes().get_many(&[(id, at)]).await.pop();
                nodes.push(again.transpose()?);
            }
            for pack in packs {
                self.check_frame(PackKind::Tree, pack).await?;
            }
            Ok(nodes)
        })
    }

    fn damaged(&mut self, damage: Damage) {
        self.doubtful.push(damage);
    }

    fn passed(&mut self, next: u64, part: f64) -> LocalFuture<'_, Result<bool>> {
        Box::pin(async move {
            self.leaves += 1;
            let due = self.wanted.len() >= self.watch.window_chunks() || self.leaves >= WINDOW_LEAVES;
            if !due && next != u64::MAX {
                return Ok(true);
            }
            self.flush(part).await?;
            self.settle().await?;
            Ok(self.watch.passed(next, part, &self.report))
        })
    }
}
