//! Getting stored chunks and tree nodes: few, large, verified reads, each done once.
//!
//! Wanted things that lie close together in a pack come in one ranged GET. A thing that somebody is
//! fetching already is waited for, not fetched again. A fetch is a task of its own: a caller that goes
//! away takes nothing with it. What arrives is decoded and checked against its name, one thing at a
//! time; when the hinted place does not have it, the packs' own footers are asked ([`crate::locate`]).
//! A capture writes the nodes of a path one shortly before the other, the upper ones last: the read of an inner node
//! brings the bytes before it, and the next step down often finds its node among them ([`Reach::Behind`]).
//!
//! Invariant: nothing leaves here, or enters the cache, that does not match its name.

use crate::codec::{self, DecodeError};
use crate::crypt::Naming;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::gc::FORWARDS_MAX;
use crate::id::{ChunkId, NodeId, PackId};
use crate::key;
use crate::locate::{Effort, Locator};
use crate::lru::Lru;
use crate::pack::{Location, PACK_BYTES_MAX, PackKind};
use crate::tree::{NODE_BYTES_MAX, TreeNode, decode_node};
use crate::vault::Store;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, join_all};
use futures_util::stream::{self, StreamExt};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use tidemark_units::{CHUNK_BYTES, KIB, MIB};

/// A name by which something can be fetched.
pub(crate) trait Name: Copy + Eq + Hash + Display + Debug + Send + 'static {
    /// What it names.
    type Value: Clone + Send + 'static;
    /// Where such things live.
    const KIND: PackKind;
    /// What to call it in an error.
    const WORD: &'static str;
    /// What two copies have in common if one may stand for the other.
    type Copy: Copy + Eq + Hash + 'static;
    /// Which copy this place holds.
    fn copy(self, at: &Location) -> Self::Copy;
    fn bytes(&self) -> [u8; 32];
    /// The thing, if `stored` (opened, where it was encrypted) holds what this names.
    fn decode(&self, naming: &Naming, at: &Location, stored: Bytes) -> Result<Self::Value, DecodeError>;
    fn memory_bytes(value: &Self::Value) -> u64;
}

impl Name for ChunkId {
    type Value = Bytes;
    const KIND: PackKind = PackKind::Data;
    const WORD: &'static str = "chunk";
    type Copy = ChunkId;

    fn copy(self, _: &Location) -> ChunkId {
        self
    }

    fn bytes(&self) -> [u8; 32] {
        self.0
    }

    fn decode(&self, naming: &Naming, at: &Location, stored: Bytes) -> Result<Bytes, DecodeError> {
        let plain = codec::decode(at.codec, &stored, CHUNK_BYTES as usize)?;
        let found = naming.chunk(&plain);
        if found != *self || plain.len() as u64 != CHUNK_BYTES {
            let text = format!("its {} plain bytes have the name {found}", plain.len());
            return Err(DecodeError::Mismatch(text));
        }
        // A raw chunk is a slice of a whole ranged read: kept as it is, it would pin all of that.
        Ok(if at.codec == codec::Codec::Raw {
            Bytes::copy_from_slice(&plain)
        } else {
            plain
        })
    }

    fn memory_bytes(value: &Bytes) -> u64 {
        value.len() as u64
    }
}

impl Name for NodeId {
    type Value = Arc<TreeNode>;
    const KIND: PackKind = PackKind::Tree;
    const WORD: &'static str = "tree node";
    /// Two copies of a node may name different packs, and one's may be garbage: a capture that built upon a copy that
    /// its parent does not reach would bring garbage back to life ([`crate::gc`]).
    type Copy = (NodeId, PackId, u32);

    fn copy(self, at: &Location) -> Self::Copy {
        (self, at.pack, at.offset)
    }

    fn bytes(&self) -> [u8; 32] {
        self.0
    }

    fn decode(&self, naming: &Naming, at: &Location, stored: Bytes) -> Result<Arc<TreeNode>, DecodeError> {
        let plain = codec::decode(at.codec, &stored, NODE_BYTES_MAX)?;
        decode_node(naming, *self, &plain).map(Arc::new)
    }

    fn memory_bytes(value: &Arc<TreeNode>) -> u64 {
        value.memory_bytes()
    }
}

/// Unwanted bytes that a ranged GET may carry between two wanted ones.
const GAP_BYTES: u64 = 32 * KIB;
/// Most bytes of one ranged GET.
const SPAN_BYTES: u64 = MIB;
/// Most things of one ranged GET.
const SPAN_ITEMS: usize = 128;
/// Ranged GETs of one call at the same time.
const WIDTH: usize = 8;

/// How far before an inner node its read reaches: few inner nodes have more than 13 KiB.
const BEHIND_BYTES: u64 = 64 * KIB;
/// Reads of that kind whose bytes are kept.
const NEARBY_MAX: usize = 8;

/// Where the stored bytes of a thing may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// From the bucket, now.
    Exact,
    /// Or from what an earlier read brought.
    Near,
    /// As `Near`; a read brings what lies before the thing, too.
    Behind,
}

/// Bytes of a pack as they came from the bucket, unchecked.
struct Nearby {
    pack: PackId,
    from: u64,
    bytes: Bytes,
}

type Results<N> = Rc<HashMap<<N as Name>::Copy, Result<<N as Name>::Value>>>;
type Running<N> = Shared<LocalBoxFuture<'static, Results<N>>>;

/// Fetches things of one kind, and remembers some.
pub(crate) struct Fetcher<N: Name> {
    shared: Rc<Cache<N>>,
}

struct Cache<N: Name> {
    store: Store,
    locator: Rc<Locator>,
    cache: RefCell<Lru<N::Copy, N::Value>>,
    running: RefCell<HashMap<N::Copy, Running<N>>>,
    /// The latest reads that reached behind.
    nearby: RefCell<VecDeque<Nearby>>,
}

impl<N: Name> Fetcher<N> {
    pub(crate) fn new(store: Store, locator: Rc<Locator>, cache_bytes: u64) -> Self {
        Self {
            shared: Rc::new(Cache {
                store,
                locator,
                cache: RefCell::new(Lru::new(cache_bytes)),
                running: RefCell::default(),
                nearby: RefCell::default(),
            }),
        }
    }

    /// Bytes of decoded things in memory, and the most that there may be.
    pub(crate) fn cached_bytes(&self) -> (u64, u64) {
        let cache = self.shared.cache.borrow();
        (cache.weight(), cache.limit())
    }

    /// Things on their way.
    pub(crate) fn running(&self) -> usize {
        self.shared.running.borrow().len()
    }

    /// Whether it is in memory or on its way.
    pub(crate) fn is_near(&self, id: &N, at: &Location) -> bool {
        let copy = id.copy(at);
        self.shared.cache.borrow().contains(&copy) || self.shared.running.borrow().contains_key(&copy)
    }

    /// One answer for each, in the same order.
    pub(crate) async fn get_many(&self, wanted: &[(N, Location)]) -> Vec<Result<N::Value>> {
        self.get_within(wanted, Reach::Near).await
    }

    /// As [`Fetcher::get_many`]; `reach` says what a read that is needed brings.
    pub(crate) async fn get_within(&self, wanted: &[(N, Location)], reach: Reach) -> Vec<Result<N::Value>> {
        let mut found: HashMap<N::Copy, Result<N::Value>> = HashMap::new();
        let mut running: Vec<Running<N>> = Vec::new();
        let mut missing: Vec<(N, Location)> = Vec::new();
        let mut asked = HashSet::new();
        for &(id, at) in wanted {
            let copy = id.copy(&at);
            if !asked.insert(copy) {
                continue;
            }
            if let Some(value) = self.shared.cache.borrow_mut().get(&copy) {
                found.insert(copy, Ok(value));
            } else if let Some(there) = self.shared.running.borrow().get(&copy) {
                running.push(there.clone());
            } else {
                missing.push((id, at));
            }
        }
        let spans = stream::iter(into_spans(missing)).map(|span| self.start(span, reach));
        let mut done: Vec<_> = spans.buffer_unordered(WIDTH).collect().await;
        done.extend(join_all(running).await);
        for results in done {
            found.extend(results.iter().map(|(copy, value)| (*copy, value.clone())));
        }
        let answer = |(id, at): &(N, Location)| {
            found
                .get(&id.copy(at))
                .cloned()
                .expect("everything that was asked for was looked up")
        };
        wanted.iter().map(answer).collect()
    }

    /// As [`Fetcher::get_many`], but past the cache and only where the locations say.
    pub(crate) async fn get_exact(&self, wanted: &[(N, Location)]) -> Vec<Result<N::Value>> {
        let spans = stream::iter(into_spans(wanted.to_vec()))
            .map(|span| self.shared.fetch_hinted(span, Reach::Exact));
        let spans: Vec<_> = spans.buffer_unordered(WIDTH).collect().await;
        let found: HashMap<(N, Location), Result<N::Value>> = spans
            .into_iter()
            .flatten()
            .map(|(id, at, result)| ((id, at), result))
            .collect();
        let answer = |name| {
            found
                .get(name)
                .cloned()
                .expect("everything that was asked for was looked up")
        };
        wanted.iter().map(answer).collect()
    }

    /// From any other place that the packs' footers name; `error` is the answer if there is none.
    pub(crate) async fn get_elsewhere(&self, id: N, hint: Location, error: VaultError) -> Result<N::Value> {
        self.shared.fetch_elsewhere(id, hint, error).await
    }

    /// Starts a fetch that runs to its end whoever waits for it.
    fn start(&self, span: Vec<(N, Location)>, reach: Reach) -> Running<N> {
        let shared = self.shared.clone();
        let copies: Vec<N::Copy> = span.iter().map(|(id, at)| id.copy(at)).collect();
        let running = async move { Rc::new(shared.fetch(span, reach).await) }
            .boxed_local()
            .shared();
        for copy in copies {
            self.shared.running.borrow_mut().insert(copy, running.clone());
        }
        self.shared.store.env.spawn(running.clone().map(drop));
        running
    }
}

/// Groups what one ranged GET can bring.
fn into_spans<N>(mut missing: Vec<(N, Location)>) -> Vec<Vec<(N, Location)>> {
    missing.sort_by_key(|(_, at)| (at.pack, at.offset));
    let mut spans: Vec<Vec<(N, Location)>> = Vec::new();
    for (id, at) in missing {
        if let Some(span) = spans.last_mut()
            && let (Some((_, first)), Some((_, last))) = (span.first(), span.last())
            && first.pack == at.pack
            && u64::from(at.offset) <= last.end() + GAP_BYTES
            && at.end() - u64::from(first.offset) <= SPAN_BYTES
            && span.len() < SPAN_ITEMS
        {
            span.push((id, at));
        } else {
            spans.push(vec![(id, at)]);
        }
    }
    spans
}

impl<N: Name> Cache<N> {
    async fn fetch(&self, span: Vec<(N, Location)>, reach: Reach) -> HashMap<N::Copy, Result<N::Value>> {
        let mut results = HashMap::new();
        let shared = span.len() > 1;
        for (id, (asked, tried), result) in self.fetch_forwarded(span, reach).await {
            let result = match result {
                // Where the pack ends too soon, or on a bad spot of its medium, is no fault of the others in the span.
                Err(error)
                    if shared && matches!(error.kind, VaultErrorKind::Other | VaultErrorKind::Corrupt) =>
                {
                    let alone = self.fetch_hinted(vec![(id, tried)], Reach::Exact).await.pop();
                    alone.map_or(Err(error), |(_, _, result)| result)
                }
                done => done,
            };
            let result = match result {
                Err(error) if error.kind != VaultErrorKind::Busy => {
                    self.fetch_elsewhere(id, tried, error).await
                }
                done => done,
            };
            results.insert(id.copy(&asked), result);
        }
        for (copy, result) in &results {
            self.running.borrow_mut().remove(copy);
            if let Ok(value) = result {
                self.cache
                    .borrow_mut()
                    .insert(*copy, value.clone(), N::memory_bytes(value));
            }
        }
        results
    }

    /// Fetches a span where its locations say it is or, if the pack is not there, where its forward does. Each answer has
    /// the location that was asked for and the one that was tried last.
    async fn fetch_forwarded(
        &self,
        span: Vec<(N, Location)>,
        reach: Reach,
    ) -> Vec<(N, (Location, Location), Result<N::Value>)> {
        // Who asked for what moved: two old places may lead to one new one.
        let mut asked: HashMap<(N, Location), Vec<Location>> = HashMap::new();
        let (mut done, mut trying) = (Vec::new(), vec![span]);
        for _ in 0..FORWARDS_MAX {
            let mut moved = Vec::new();
            for span in trying {
                for (id, at, result) in self.fetch_hinted(span, reach).await {
                    let first = asked.remove(&(id, at)).unwrap_or_else(|| vec![at]);
                    let is_missing = matches!(&result, Err(error) if error.kind == VaultErrorKind::Missing);
                    let next = match is_missing {
                        true => self.locator.forwarded(&self.store, &id.bytes(), &at).await,
                        false => None,
                    };
                    match next {
                        Some(next) => {
                            let there = asked.entry((id, next)).or_default();
                            if there.is_empty() {
                                moved.push((id, next));
                            }
                            there.extend(first);
                        }
                        None => done.extend(first.into_iter().map(|first| (id, (first, at), result.clone()))),
                    }
                }
            }
            if moved.is_empty() {
                return done;
            }
            trying = into_spans(moved);
        }
        for (id, at) in trying.into_iter().flatten() {
            let cause = "too many forwards lead from one to the next";
            let error =
                VaultError::corrupt("read pack", format!("{} {id}: pack {}", N::WORD, at.pack), cause);
            let first = asked.remove(&(id, at)).unwrap_or_else(|| vec![at]);
            done.extend(
                first
                    .into_iter()
                    .map(|first| (id, (first, at), Err(error.clone()))),
            );
        }
        done
    }

    /// Fetches and checks a span where its locations say it is.
    async fn fetch_hinted(
        &self,
        span: Vec<(N, Location)>,
        reach: Reach,
    ) -> Vec<(N, Location, Result<N::Value>)> {
        let Some(first) = span.first().map(|(_, at)| *at) else {
            return Vec::new();
        };
        let (from, to) = (
            u64::from(first.offset),
            span.iter().map(|(_, at)| at.end()).max().unwrap_or(0),
        );
        let bytes = match self.stored_bytes(first.pack, from..to, reach).await {
            Ok(bytes) => bytes,
            Err(error) => {
                let name = |id: N| error.clone().within(format!("{} {id}", N::WORD));
                return span.into_iter().map(|(id, at)| (id, at, Err(name(id)))).collect();
            }
        };
        // Here and not off the thread: a guest waits for this, and the helpers of `compute` run only when
        // the machine has nothing better to do. Others get their turn after each thing.
        let naming = self.store.crypt.naming();
        let mut decoded = Vec::with_capacity(span.len());
        for (id, at) in span {
            let start = (u64::from(at.offset) - from) as usize;
            let stored = bytes.slice(start..start + at.stored_len as usize);
            let subject = || format!("{} {id}: pack {} at {}", N::WORD, at.pack, at.offset);
            let result = match self.opened(&id, stored).await {
                Ok(stored) => id
                    .decode(&naming, &at, stored)
                    .map_err(|cause| VaultError::corrupt("read pack", subject(), cause)),
                Err(error) => Err(error.within(subject())),
            };
            if result.is_err() {
                // A read may have gone wrong once: the next one asks the bucket again.
                self.nearby.borrow_mut().retain(|near| near.pack != at.pack);
            }
            decoded.push((id, at, result));
            self.store.env.tasks.yield_now().await;
        }
        decoded
    }

    /// The bytes of a pack in `range`: from the bucket, or from what was read of the pack just before.
    async fn stored_bytes(&self, pack: PackId, range: Range<u64>, reach: Reach) -> Result<Bytes> {
        let Range { start: from, end: to } = range;
        if to > PACK_BYTES_MAX {
            let cause = format!("bytes {from}..{to} are impossible");
            return Err(VaultError::corrupt("read pack", format!("pack {pack}"), cause));
        }
        if reach != Reach::Exact {
            let nearby = self.nearby.borrow();
            let holds = |near: &&Nearby| {
                near.pack == pack && near.from <= from && to <= near.from + near.bytes.len() as u64
            };
            if let Some(near) = nearby.iter().find(holds) {
                return Ok(near
                    .bytes
                    .slice((from - near.from) as usize..(to - near.from) as usize));
            }
        }
        let start = match reach {
            Reach::Behind => from.saturating_sub(BEHIND_BYTES),
            Reach::Exact | Reach::Near => from,
        };
        let key = key::pack(N::KIND, pack);
        let bytes = self.store.get_range("read pack", &key, start, to).await?;
        if reach == Reach::Behind {
            let mut nearby = self.nearby.borrow_mut();
            nearby.truncate(NEARBY_MAX - 1);
            nearby.push_front(Nearby {
                pack,
                from: start,
                bytes: bytes.clone(),
            });
        }
        Ok(bytes.slice((from - start) as usize..))
    }

    /// Stored bytes as they were before they were encrypted. A disk's key is fetched when it is met first.
    async fn opened(&self, id: &N, stored: Bytes) -> Result<Bytes> {
        if let Some(key) = self.store.crypt.wanted(&stored) {
            self.store.learn_key(key).await?;
        }
        let opened = self.store.crypt.decrypt_stored(N::KIND, &id.bytes(), stored);
        opened.map_err(|cause| VaultError::corrupt("decrypt", "stored bytes", cause))
    }

    /// Asks the packs' footers where it is; `error` says why the hint did not help.
    async fn fetch_elsewhere(&self, id: N, hint: Location, error: VaultError) -> Result<N::Value> {
        if error.kind == VaultErrorKind::Missing
            && let Some((_, _, Ok(value))) = self.fetch_forwarded(vec![(id, hint)], Reach::Exact).await.pop()
        {
            return Ok(value);
        }
        for effort in [Effort::Known, Effort::Scan] {
            for at in self
                .locator
                .find(&self.store, N::KIND, id.bytes(), &hint, effort)
                .await?
            {
                if let Some((_, _, Ok(value))) = self.fetch_hinted(vec![(id, at)], Reach::Exact).await.pop() {
                    tracing::warn!(%id, hinted = %hint.pack, found = %at.pack, "{} is not where its parent says", N::WORD);
                    return Ok(value);
                }
            }
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pack: u8, offset: u32, stored_len: u32) -> Location {
        Location {
            pack: PackId([pack; 16]),
            offset,
            stored_len,
            ordinal: 0,
            codec: codec::Codec::Raw,
        }
    }

    #[test]
    fn neighbours_share_a_span_and_others_do_not() {
        let wanted = vec![
            (1, at(1, 32, 1000)),
            (2, at(1, 1032, 1000)),
            (3, at(1, 2032 + 32 * 1024, 8)),
            (4, at(1, 900_000, 8)),
            (5, at(2, 2032, 8)),
        ];
        let spans: Vec<Vec<u8>> = into_spans(wanted)
            .into_iter()
            .map(|span| span.into_iter().map(|(id, _)| id).collect())
            .collect();
        assert_eq!(spans, [vec![1, 2, 3], vec![4], vec![5]]);
    }

    #[test]
    fn a_span_is_bounded() {
        let wanted: Vec<_> = (0..64).map(|i| (i, at(1, i * 65536, 65536))).collect();
        let spans = into_spans(wanted);
        assert_eq!(spans.iter().map(Vec::len).collect::<Vec<_>>(), [16; 4]);
    }
}
