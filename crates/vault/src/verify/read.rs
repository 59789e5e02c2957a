//! Large checked reads of stored chunks and nodes, where they are said to be and nowhere else.
//!
//! Unlike [`crate::fetch`], which has a guest waiting, this decodes and hashes off the thread, at idle priority, keeps
//! nothing, and reads further per request.

use super::Watch;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::fetch::Name;
use crate::gc::FORWARDS_MAX;
use crate::id::{ChunkId, PackId};
use crate::key;
use crate::locate::Effort;
use crate::pack::{EntryKind, Location, PACK_BYTES_MAX, PackKind};
use crate::vault::{Store, Vault};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use tidemark_units::{KIB, MIB};

/// Unwanted bytes that a read may carry between two wanted things.
const GAP_BYTES: u64 = 64 * KIB;
/// Most bytes of one read.
const SPAN_BYTES: u64 = 2 * MIB;
/// Most things of one read: they are kept in memory, decoded, until all are.
const SPAN_ITEMS: usize = 256;

/// Footers read at the same time.
const FOOTERS: usize = 8;

/// Things in one pack that one read brings.
pub(super) struct Span<N>(Vec<(N, Location)>);

impl<N> Span<N> {
    /// Which bytes of the pack.
    pub(super) fn range(&self) -> Range<u64> {
        let start = self.0.first().map_or(0, |(_, at)| u64::from(at.offset));
        let end = self.0.iter().map(|(_, at)| at.end()).max().unwrap_or(start);
        start..end
    }
}

/// What one read brings, of things sorted by pack and offset.
pub(super) fn spans<N: Copy>(sorted: impl Iterator<Item = (N, Location)>) -> Vec<Span<N>> {
    let mut spans: Vec<Span<N>> = Vec::new();
    for (id, at) in sorted {
        if let Some(Span(span)) = spans.last_mut()
            && let (Some((_, first)), Some((_, last))) = (span.first(), span.last())
            && first.pack == at.pack
            && u64::from(at.offset) <= last.end() + GAP_BYTES
            && at.end().saturating_sub(u64::from(first.offset)) <= SPAN_BYTES
            && span.len() < SPAN_ITEMS
        {
            span.push((id, at));
        } else {
            spans.push(Span(vec![(id, at)]));
        }
    }
    spans
}

/// Reads and checks one span; `keep` says what is wanted of each thing.
pub(super) async fn read_span<N: Name, T: Send + 'static>(
    store: &Store,
    span: Span<N>,
    keep: fn(N::Value) -> T,
) -> Vec<(N, Location, Result<T>)> {
    let (step, range) = ("read pack", span.range());
    let Some(pack) = span.0.first().map(|(_, at)| at.pack) else {
        return Vec::new();
    };
    let got = match range.end > PACK_BYTES_MAX {
        true => {
            let cause = format!("bytes {}..{} are impossible", range.start, range.end);
            Err(VaultError::corrupt(step, format!("pack {pack}"), cause))
        }
        false => {
            let key = key::pack(N::KIND, pack);
            store.get_range(step, &key, range.start, range.end).await
        }
    };
    let bytes = match got {
        Ok(bytes) => bytes,
        // One thing of several may be past the end of what is there: each is asked for alone.
        Err(error)
            if span.0.len() > 1 && matches!(error.kind, VaultErrorKind::Other | VaultErrorKind::Corrupt) =>
        {
            let mut all = Vec::with_capacity(span.0.len());
            for thing in span.0 {
                all.extend(Box::pin(read_span(store, Span(vec![thing]), keep)).await);
            }
            return all;
        }
        Err(error) => {
            let name = |id: N| error.clone().within(format!("{} {id}", N::WORD));
            return span
                .0
                .into_iter()
                .map(|(id, at)| (id, at, Err(name(id))))
                .collect();
        }
    };
    let stored = |at: &Location| -> Bytes {
        let start = (u64::from(at.offset) - range.start) as usize;
        bytes.slice(start..start + at.stored_len as usize)
    };
    let things: Vec<_> = span.0.iter().map(|(id, at)| (*id, *at, stored(at))).collect();
    for (_, _, stored) in &things {
        if let Some(key) = store.crypt.wanted(stored) {
            // One that is not there makes the thing fail, below; one that cannot be asked for, too.
            if let Err(error) = store.learn_key(key).await {
                return things
                    .into_iter()
                    .map(|(id, at, _)| (id, at, Err(error.clone())))
                    .collect();
            }
        }
    }
    let crypt = store.crypt.clone();
    let check = move || -> Vec<(N, Location, Result<T>)> {
        let naming = crypt.naming();
        let decode = |(id, at, stored): (N, Location, Bytes)| {
            let corrupt = |cause: String| {
                let subject = format!("{} {id}: pack {} at {}", N::WORD, at.pack, at.offset);
                VaultError::corrupt(step, subject, cause)
            };
            let opened = crypt
                .decrypt_stored(N::KIND, &id.bytes(), stored)
                .map_err(|e| corrupt(e.to_string()));
            let value = opened.and_then(|stored| {
                id.decode(&naming, &at, stored)
                    .map_err(|e| corrupt(e.to_string()))
            });
            (id, at, value.map(keep))
        };
        things.into_iter().map(decode).collect()
    };
    store.env.compute(check).await
}

/// Where failed things are after all whose packs were rewritten: forwards are followed. With each thing the place that it was
/// asked at, the place that counts, and what is there. Forwards that are there and cannot be read go to `unreadable`, by pack.
pub(super) async fn follow<N: Name, T: Clone + Send + 'static>(
    vault: &Vault,
    watch: &dyn Watch,
    failed: Vec<(N, Location, VaultError)>,
    keep: fn(N::Value) -> T,
    unreadable: &mut BTreeMap<PackId, VaultError>,
) -> Vec<(N, Location, Location, Result<T>)> {
    let (store, locator) = (vault.store(), vault.locator());
    let mut done = Vec::new();
    let mut open: Vec<_> = failed
        .into_iter()
        .map(|(id, at, error)| (id, at, at, error))
        .collect();
    for _ in 0..FORWARDS_MAX {
        let mut moved: Vec<(N, Location, Location)> = Vec::new();
        for (id, asked, place, error) in std::mem::take(&mut open) {
            let to = match error.kind {
                VaultErrorKind::Missing => {
                    let to = locator.try_forwarded(store, &id.bytes(), &place).await;
                    to.unwrap_or_else(|error| {
                        unreadable.insert(place.pack, error);
                        None
                    })
                }
                _ => None,
            };
            match to {
                Some(to) => moved.push((id, asked, to)),
                None => done.push((id, asked, place, Err(error))),
            }
        }
        if moved.is_empty() {
            return done;
        }
        moved.sort_unstable_by_key(|(.., place)| *place);
        let mut places: Vec<_> = moved.iter().map(|(id, _, place)| (*id, *place)).collect();
        places.dedup();
        let mut there: HashMap<(N, Location), Result<T>> = HashMap::new();
        for span in spans(places.into_iter()) {
            watch.may_read(span.range().end - span.range().start).await;
            let read = read_span(store, span, keep).await;
            there.extend(read.into_iter().map(|(id, at, result)| ((id, at), result)));
        }
        for (id, asked, place) in moved {
            match there.get(&(id, place)).cloned() {
                Some(Err(error)) => open.push((id, asked, place, error)),
                Some(found) => done.push((id, asked, place, found)),
                None => {}
            }
        }
    }
    done.extend(
        open.into_iter()
            .map(|(id, asked, place, error)| (id, asked, place, Err(error))),
    );
    done
}

impl Vault {
    /// Other places where these chunks are whole, as far as there are any. The packs' footers are read once for all.
    pub(crate) async fn whole_elsewhere(
        &self,
        lost: &[(ChunkId, Location)],
    ) -> Result<HashMap<(ChunkId, Location), Location>> {
        let (store, mut found) = (self.store(), HashMap::new());
        for effort in [Effort::Known, Effort::Scan] {
            let open: Vec<_> = lost
                .iter()
                .filter(|thing| !found.contains_key(*thing))
                .copied()
                .collect();
            if open.is_empty() {
                break;
            }
            let mut places: Vec<((ChunkId, Location), Location)> = Vec::new();
            if effort == Effort::Known {
                for (id, at) in open {
                    let known = self
                        .locator()
                        .find(store, PackKind::Data, id.0, &at, effort)
                        .await?;
                    places.extend(known.into_iter().map(|place| ((id, at), place)));
                }
            } else {
                let ids: HashSet<[u8; 32]> = open.iter().map(|(id, _)| id.0).collect();
                let all = self.stored_chunks(&ids).await?;
                for (id, at) in open {
                    let others = all.get(&id.0).into_iter().flatten().filter(|place| **place != at);
                    places.extend(others.map(|place| ((id, at), *place)));
                }
            }
            places.sort_unstable_by_key(|(_, place)| *place);
            let mut asked: Vec<_> = places.iter().map(|((id, _), place)| (*id, *place)).collect();
            asked.dedup();
            let mut whole = HashSet::new();
            for span in spans(asked.into_iter()) {
                for (id, at, read) in read_span(store, span, drop::<Bytes>).await {
                    match read {
                        Ok(()) => drop(whole.insert((id, at))),
                        // It may be whole: nobody knows.
                        Err(error) if matches!(error.kind, VaultErrorKind::Busy | VaultErrorKind::Denied) => {
                            return Err(error);
                        }
                        Err(_) => {}
                    }
                }
            }
            for (thing, place) in places {
                if whole.contains(&(thing.0, place)) {
                    found.entry(thing).or_insert(place);
                }
            }
        }
        Ok(found)
    }

    /// Where the packs' footers say that these chunks are. All footers are read once, however many chunks are looked for.
    async fn stored_chunks(&self, wanted: &HashSet<[u8; 32]>) -> Result<HashMap<[u8; 32], Vec<Location>>> {
        let (store, kind) = (self.store(), PackKind::Data);
        let listed = store.list("list packs", key::pack_prefix(kind)).await?;
        let packs = listed
            .iter()
            .filter_map(|object| key::parse_pack(kind, &object.key));
        let mut footers = stream::iter(packs)
            .map(|pack| async move { (pack, store.footer(kind, pack).await) })
            .buffer_unordered(FOOTERS);
        let mut found: HashMap<[u8; 32], Vec<Location>> = HashMap::new();
        while let Some((pack, footer)) = footers.next().await {
            let footer = match footer {
                Ok(footer) => footer,
                // This only ever adds an answer.
                Err(error) => {
                    tracing::debug!(%pack, %error, "skipped while looking for lost chunks");
                    continue;
                }
            };
            for entry in &footer.entries {
                if let (EntryKind::Stored { .. }, Some(at)) = (entry.kind, entry.at)
                    && wanted.contains(&entry.id)
                {
                    found.entry(entry.id).or_default().push(at);
                }
            }
        }
        Ok(found)
    }
}
