//! Who looks on while parameters are read.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

/// As what a parameter is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Any text; its own rule may want more.
    Text,
    /// `true` or `false`.
    Boolean,
    /// A decimal integer, in a range if one is told.
    Integer(Option<RangeInclusive<i64>>),
    /// One of these words.
    Words(Vec<String>),
    /// A JSON array of strings, in one text.
    JsonList {
        /// Most items.
        most: usize,
    },
}

impl Kind {
    pub(crate) fn words(words: &[&str]) -> Self {
        Kind::Words(words.iter().map(|word| (*word).to_owned()).collect())
    }

    /// Whether it says more than `other`: one read may be general and the next exact.
    fn is_sharper_than(&self, other: &Kind) -> bool {
        let sharpness = |kind: &Kind| match kind {
            Kind::Text => 0,
            Kind::Integer(None) => 1,
            _ => 2,
        };
        sharpness(self) > sharpness(other)
    }
}

/// Remembers what is read of [`Params`](crate::Params); the default one does nothing and costs nothing.
///
/// Parameters are equal whoever looks on.
#[derive(Clone, Default)]
pub(crate) struct Watcher(Option<Watching>);

#[derive(Clone)]
struct Watching {
    seen: Arc<Mutex<Seen>>,
    /// Lists of structs hold one, so that their members are read.
    wants_items: bool,
}

/// Names in the order of their first reads.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) names: Vec<(String, Kind)>,
    places: HashMap<String, usize>,
}

impl Seen {
    pub(super) fn note(&mut self, name: &str, kind: Kind) {
        match self.places.get(&canonical(name)) {
            Some(&place) => {
                let known = &mut self.names[place].1;
                if kind.is_sharper_than(known) {
                    *known = kind;
                }
            }
            None => {
                self.places.insert(canonical(name), self.names.len());
                self.names.push((name.to_owned(), kind));
            }
        }
    }

    pub(super) fn merge(&mut self, other: Seen) {
        for (name, kind) in other.names {
            self.note(&name, kind);
        }
    }
}

/// Names that `Params` takes for the same are the same.
fn canonical(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('.') {
        let mut letters = part.chars();
        let first = letters.next().map(|c| c.to_ascii_uppercase());
        parts.push(first.into_iter().chain(letters).collect::<String>());
    }
    parts.join(".")
}

impl Watcher {
    pub(super) fn new(wants_items: bool) -> Self {
        let seen = Arc::default();
        Self(Some(Watching { seen, wants_items }))
    }

    pub(crate) fn saw(&self, prefix: &str, name: &str, kind: impl FnOnce() -> Kind) {
        let Some(watching) = &self.0 else { return };
        let mut seen = watching.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.note(&format!("{prefix}{name}"), kind());
    }

    /// Whether a list of structs of which none is given should hold one all the same.
    pub(crate) fn wants_items(&self) -> bool {
        self.0.as_ref().is_some_and(|watching| watching.wants_items)
    }

    pub(super) fn seen(&self) -> Seen {
        let Some(watching) = &self.0 else {
            return Seen::default();
        };
        watching
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl PartialEq for Watcher {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Watcher {}

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "watched" } else { "unwatched" })
    }
}
