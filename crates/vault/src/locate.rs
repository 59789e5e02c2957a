//! Finding a chunk or node that is not where its parent says, from the packs' own footers.
//!
//! A pack that was rewritten has a forward ([`crate::gc`]), which is asked first.
//!
//! The rare way: a pack was lost, or a location damaged. Footers are read in bulk on
//! the first such miss and kept for a while, up to a bound; past the bound they are read for each miss. A
//! pack that cannot be read is skipped: this only ever adds an answer, and the answer is checked.

use crate::error::Result;
use crate::gc::forward::Forward;
use crate::id::PackId;
use crate::key;
use crate::lru::Lru;
use crate::pack::{EntryKind, Location, PackKind};
use crate::signal::Signal;
use crate::vault::Store;
use futures_util::stream::{self, StreamExt};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tidemark_units::MIB;

/// Most locations that are kept.
const KEPT_MAX: usize = 1 << 19;
/// Footers read at the same time.
const WIDTH: usize = 8;
/// How long an id that no pack has stays known as lost. A damaged pack asks for many at once.
const LOST_FOR: Duration = Duration::from_secs(30);

type Places = Vec<(PackKind, Location)>;

/// Most bytes of forwards that are kept.
const FORWARD_BYTES_MAX: u64 = 8 * MIB;

pub(crate) struct Locator {
    forwards: RefCell<Lru<PackId, Rc<Forward>>>,
    places: RefCell<HashMap<[u8; 32], Places>>,
    /// When all footers had been read last.
    complete_at: Cell<Option<Duration>>,
    scanning: Cell<bool>,
    scanned: Signal,
}

impl Default for Locator {
    fn default() -> Self {
        Self {
            forwards: RefCell::new(Lru::new(FORWARD_BYTES_MAX)),
            places: RefCell::default(),
            complete_at: Cell::new(None),
            scanning: Cell::new(false),
            scanned: Signal::default(),
        }
    }
}

/// Frees the turn even when the scan is dropped halfway.
struct Turn<'a>(&'a Locator);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.scanning.set(false);
        self.0.scanned.notify();
    }
}

/// How hard to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// Only what is known by now; it may be out of date.
    Known,
    /// Read the footers again, unless that was done just now.
    Scan,
}

impl Locator {
    /// Where the forward of the hinted pack, if there is one that can be read, says that `id` has gone.
    pub(crate) async fn forwarded(&self, store: &Store, id: &[u8; 32], hint: &Location) -> Option<Location> {
        let read = self.try_forwarded(store, id, hint).await;
        read.inspect_err(|error| tracing::warn!(%error, "a forward cannot be read"))
            .ok()
            .flatten()
    }

    /// As [`Locator::forwarded`]; a forward that is there and cannot be read is an error.
    pub(crate) async fn try_forwarded(
        &self,
        store: &Store,
        id: &[u8; 32],
        hint: &Location,
    ) -> Result<Option<Location>> {
        let known = self.forwards.borrow_mut().get(&hint.pack);
        let forward = match known {
            Some(forward) => forward,
            None => {
                let Some(forward) = store.forward(hint.pack).await? else {
                    return Ok(None);
                };
                let forward = Rc::new(forward);
                let bytes = forward.memory_bytes();
                self.forwards
                    .borrow_mut()
                    .insert(hint.pack, forward.clone(), bytes);
                forward
            }
        };
        Ok(forward.find(id))
    }

    /// Places other than `hint` where packs' footers say that `id` is stored.
    pub(crate) async fn find(
        &self,
        store: &Store,
        kind: PackKind,
        id: [u8; 32],
        hint: &Location,
        effort: Effort,
    ) -> Result<Vec<Location>> {
        self.scanned.until(|| (!self.scanning.get()).then_some(())).await;
        let fresh = |at: Duration| store.env.clock.now().saturating_sub(at) < LOST_FOR;
        if effort == Effort::Known || self.complete_at.get().is_some_and(fresh) {
            return Ok(self.known(kind, &id, hint));
        }
        self.scanning.set(true);
        let _turn = Turn(self);
        self.forget();
        self.scan(store, kind, id, hint).await
    }

    /// Packs were deleted: nothing that is known can be relied on.
    pub(crate) fn forget(&self) {
        self.places.borrow_mut().clear();
        self.complete_at.set(None);
    }

    fn known(&self, kind: PackKind, id: &[u8; 32], hint: &Location) -> Vec<Location> {
        let places = self.places.borrow();
        let places = places.get(id).into_iter().flatten();
        places
            .filter(|(of, at)| *of == kind && at != hint)
            .map(|(_, at)| *at)
            .collect()
    }

    async fn scan(
        &self,
        store: &Store,
        kind: PackKind,
        id: [u8; 32],
        hint: &Location,
    ) -> Result<Vec<Location>> {
        let mut packs = Vec::new();
        for kind in [PackKind::Data, PackKind::Tree] {
            let listed = store.list("list packs", key::pack_prefix(kind)).await?;
            packs.extend(
                listed
                    .iter()
                    .filter_map(|object| Some((kind, key::parse_pack(kind, &object.key)?))),
            );
        }
        let mut footers = stream::iter(packs)
            .map(|(kind, pack)| async move { (pack, store.footer(kind, pack).await) })
            .buffer_unordered(WIDTH);
        let mut past_bound = Vec::new();
        let mut all_kept = true;
        while let Some((pack, footer)) = footers.next().await {
            let footer = match footer {
                Ok(footer) => footer,
                Err(error) => {
                    tracing::warn!(%pack, %error, "skipped while looking for a lost chunk or node");
                    continue;
                }
            };
            let keep = self.places.borrow().len() + footer.entries.len() <= KEPT_MAX;
            all_kept &= keep;
            for entry in &footer.entries {
                let stored = matches!(entry.kind, EntryKind::Stored { .. } | EntryKind::Node { .. });
                let (true, Some(at)) = (stored, entry.at) else {
                    continue;
                };
                if keep {
                    self.places
                        .borrow_mut()
                        .entry(entry.id)
                        .or_default()
                        .push((footer.kind, at));
                } else if footer.kind == kind && entry.id == id && at != *hint {
                    past_bound.push(at);
                }
            }
        }
        if all_kept {
            self.complete_at.set(Some(store.env.clock.now()));
        }
        past_bound.extend(self.known(kind, &id, hint));
        Ok(past_bound)
    }
}
