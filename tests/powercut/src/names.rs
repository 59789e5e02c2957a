//! The tree of names: what programs see, and what a power cut would leave of it.
//!
//! Every directory has its names as seen and its names on the medium. A change (create, rename, link,
//! remove) is one step: all of its edits survive a cut or none, as in every journalling file system. It
//! waits in a list until one of the directories it touches is synced. Invariants: (1) the medium plus
//! the list, in order, gives what programs see; so a change that becomes safe takes along the earlier
//! ones of the same name; (2) a directory never has two names, not after any cut: changes that move
//! one directory survive in order.
//! Syncing a file makes no name safe: the stricter reading of POSIX.

use crate::rng::Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::{OsStr, OsString};

/// The number of a file or directory.
pub type Ino = u64;
/// The root directory's.
pub const ROOT: Ino = 1;

type Directory = BTreeMap<OsString, Ino>;

/// One name gets another meaning.
struct Edit {
    dir: Ino,
    name: OsString,
    to: Option<Ino>,
}

struct Change {
    edits: Vec<Edit>,
    /// The directory that gets, changes or loses its name by this.
    moves: Option<Ino>,
}

/// What a cut did to changes of names.
#[derive(Default, Clone, Copy)]
pub struct Toll {
    pub kept: u64,
    pub lost: u64,
}

/// See the module.
#[derive(Default)]
pub struct Names {
    seen: HashMap<Ino, Directory>,
    medium: HashMap<Ino, Directory>,
    unsynced: Vec<Change>,
}

/// Where a name is: its directory and what it is called there.
pub type Place<'a> = (Ino, &'a OsStr);

fn edit((dir, name): Place, to: Option<Ino>) -> Edit {
    Edit {
        dir,
        name: name.to_owned(),
        to,
    }
}

fn apply(tree: &mut HashMap<Ino, Directory>, change: &Change) {
    for edit in &change.edits {
        let dir = tree.entry(edit.dir).or_default();
        match edit.to {
            Some(ino) => dir.insert(edit.name.clone(), ino),
            None => dir.remove(&edit.name),
        };
    }
}

impl Names {
    pub fn look_up(&self, (dir, name): Place) -> Option<Ino> {
        self.seen.get(&dir)?.get(name).copied()
    }

    /// The names in a directory, sorted.
    pub fn list(&self, dir: Ino) -> impl Iterator<Item = (&OsStr, Ino)> {
        let entries = self.seen.get(&dir).into_iter().flatten();
        entries.map(|(name, ino)| (name.as_os_str(), *ino))
    }

    /// Gives `ino` a name (a further one, if it has some), in place of what had it.
    pub fn set(&mut self, at: Place, ino: Ino, is_dir: bool) {
        self.change(vec![edit(at, Some(ino))], is_dir.then_some(ino));
    }

    /// Takes a name away.
    pub fn remove(&mut self, at: Place, dir: Option<Ino>) {
        self.change(vec![edit(at, None)], dir);
    }

    /// Moves `ino` from one name to another, in place of what had it.
    pub fn rename(&mut self, from: Place, to: Place, ino: Ino, is_dir: bool) {
        self.change(vec![edit(from, None), edit(to, Some(ino))], is_dir.then_some(ino));
    }

    fn change(&mut self, edits: Vec<Edit>, moves: Option<Ino>) {
        let change = Change { edits, moves };
        apply(&mut self.seen, &change);
        self.unsynced.push(change);
    }

    /// Makes the names in `dir` safe.
    pub fn sync(&mut self, dir: Ino) {
        let (mut places, mut moved) = (HashSet::new(), HashSet::new());
        let mut safe = vec![false; self.unsynced.len()];
        for (change, safe) in self.unsynced.iter().zip(&mut safe).rev() {
            let wanted = |edit: &Edit| edit.dir == dir || places.contains(&(edit.dir, edit.name.clone()));
            if change.edits.iter().any(wanted) || change.moves.is_some_and(|ino| moved.contains(&ino)) {
                *safe = true;
                places.extend(change.edits.iter().map(|edit| (edit.dir, edit.name.clone())));
                moved.extend(change.moves);
            }
        }
        let mut safe = safe.into_iter();
        self.unsynced.retain(|change| {
            let safe = safe.next().unwrap_or(false);
            if safe {
                apply(&mut self.medium, change);
            }
            !safe
        });
    }

    /// A power cut: half the time what a journal would leave, the changes up to some moment; else any
    /// subset that keeps the invariants.
    pub fn cut(&mut self, rng: &mut Rng) -> Toll {
        let unsynced = std::mem::take(&mut self.unsynced);
        let all = unsynced.len() as u64;
        let (journal, up_to, chance) = (rng.coin(1, 2), rng.below(all + 1), rng.below(5));
        let mut stuck = HashSet::new();
        let mut toll = Toll::default();
        for (number, change) in (0..).zip(unsynced) {
            let wanted = if journal {
                number < up_to
            } else {
                rng.coin(chance, 4)
            };
            if wanted && change.moves.is_none_or(|ino| !stuck.contains(&ino)) {
                apply(&mut self.medium, &change);
                toll.kept += 1;
            } else {
                stuck.extend(change.moves);
                toll.lost += 1;
            }
        }
        let reachable = reachable(&self.medium);
        self.medium.retain(|dir, _| reachable.contains_key(dir));
        self.seen.clone_from(&self.medium);
        toll
    }

    /// How many names each file and directory has now.
    pub fn links(&self) -> HashMap<Ino, u32> {
        reachable(&self.seen)
    }

    /// Everything that a name means now or may mean after a cut.
    pub fn referenced(&self) -> HashSet<Ino> {
        let trees = [&self.seen, &self.medium];
        let named = trees
            .into_iter()
            .flat_map(|tree| tree.values().flat_map(|dir| dir.values().copied()));
        let pending = self
            .unsynced
            .iter()
            .flat_map(|change| change.edits.iter().filter_map(|edit| edit.to));
        named.chain(pending).chain([ROOT]).collect()
    }

    /// Forgets the entries of a directory that nothing refers to.
    pub fn forget(&mut self, dir: Ino) {
        self.seen.remove(&dir);
        self.medium.remove(&dir);
        self.unsynced
            .retain(|change| change.edits.iter().any(|edit| edit.dir != dir));
    }

    /// Changes that a cut could undo.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }
}

/// What can be reached from the root, and by how many names.
fn reachable(tree: &HashMap<Ino, Directory>) -> HashMap<Ino, u32> {
    let mut found = HashMap::from([(ROOT, 1)]);
    let mut open = vec![ROOT];
    while let Some(dir) = open.pop() {
        for ino in tree.get(&dir).into_iter().flat_map(|names| names.values()) {
            let links = found.entry(*ino).or_insert(0);
            *links += 1;
            if *links == 1 {
                open.push(*ino);
            }
        }
    }
    found
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
