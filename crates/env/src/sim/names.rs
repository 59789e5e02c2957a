//! The simulated tree of names: what programs see, and what a power cut would leave of it.
//!
//! Every directory has its names as seen and its names on the medium. A change (create, rename, link,
//! remove) is one operation that stays in a list until one of the directories it touches is synced; a
//! crash keeps any subset of that list. A rename is one operation, as in every journalling file
//! system: after a crash the file has its old name or its new one. Invariant: what is on the medium
//! plus the list, in order, gives what programs see. So a change that is made durable takes older
//! unsynced changes of the same name with it.

mod image;

use super::content::Content;
use super::process::ProcessId;
use super::rng::Rng;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

/// What a name leads to.
pub(super) type Ino = u64;
const ROOT: Ino = 0;
/// Changes of names that may wait for a sync: a file system writes its journal some day, unasked.
const UNSYNCED_MAX: usize = 512;

/// A directory or a file.
pub(super) enum Node {
    Dir(Dir),
    File(Content),
}

/// A directory's names.
#[derive(Default)]
pub(super) struct Dir {
    seen: BTreeMap<String, Ino>,
    durable: BTreeMap<String, Ino>,
}

struct Change {
    dir: Ino,
    name: String,
    to: Option<Ino>,
}

impl Change {
    /// What it leads to, and where it happens.
    fn inos(&self) -> impl Iterator<Item = Ino> + use<> {
        self.to.into_iter().chain([self.dir])
    }
}

/// The whole tree.
pub(super) struct Tree {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    unsynced: Vec<Vec<Change>>,
    /// Open handles by file and process.
    open: BTreeMap<(Ino, ProcessId), usize>,
}

fn failed<T>(errno: Errno) -> io::Result<T> {
    Err(io::Error::from(errno))
}

/// The names on the way to `path`; relative paths start at the root.
fn names_of(path: &Path) -> io::Result<Vec<&str>> {
    let named = path
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir));
    named
        .map(|part| match part {
            Component::Normal(name) => name.to_str().ok_or_else(|| io::Error::from(Errno::INVAL)),
            _ => failed(Errno::INVAL),
        })
        .collect()
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            nodes: BTreeMap::from([(ROOT, Node::Dir(Dir::default()))]),
            next: ROOT + 1,
            unsynced: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Ino> {
        names_of(path)?.into_iter().try_fold(ROOT, |dir, name| {
            self.entry(dir, name)?.ok_or_else(|| Errno::NOENT.into())
        })
    }

    pub(super) fn is_dir(&self, ino: Ino) -> bool {
        matches!(self.nodes.get(&ino), Some(Node::Dir(_)))
    }

    pub(super) fn file(&self, ino: Ino) -> io::Result<&Content> {
        match self.nodes.get(&ino) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => failed(Errno::ISDIR),
            None => failed(Errno::STALE),
        }
    }

    pub(super) fn file_mut(&mut self, ino: Ino) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(content)) => Ok(content),
            Some(Node::Dir(_)) => failed(Errno::ISDIR),
            None => failed(Errno::STALE),
        }
    }

    /// The names in `dir`, sorted, and what they lead to.
    pub(super) fn names(&self, dir: Ino) -> io::Result<&BTreeMap<String, Ino>> {
        match self.nodes.get(&dir) {
            Some(Node::Dir(dir)) => Ok(&dir.seen),
            Some(Node::File(_)) => failed(Errno::NOTDIR),
            None => failed(Errno::STALE),
        }
    }

    /// Makes an empty file.
    pub(super) fn create(&mut self, path: &Path) -> io::Result<Ino> {
        let (dir, name) = self.parent(path)?;
        if self.entry(dir, &name)?.is_some() {
            return failed(Errno::EXIST);
        }
        Ok(self.add(dir, name, Node::File(Content::default())))
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for name in names_of(path)? {
            at = match self.entry(at, name)? {
                Some(found) => found,
                None => self.add(at, name.to_owned(), Node::Dir(Dir::default())),
            };
        }
        if self.is_dir(at) {
            Ok(())
        } else {
            failed(Errno::EXIST)
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.find(from)?;
        let (from, to) = (self.parent(from)?, self.parent(to)?);
        if from == to {
            return Ok(());
        }
        let replaced = self.entry(to.0, &to.1)?;
        match replaced.map(|other| (other, self.is_dir(ino), self.is_dir(other))) {
            Some((_, false, true)) => return failed(Errno::ISDIR),
            Some((_, true, false)) => return failed(Errno::NOTDIR),
            Some((other, true, true)) if !self.names(other)?.is_empty() => return failed(Errno::NOTEMPTY),
            _ => {}
        }
        self.change(vec![
            Change {
                dir: to.0,
                name: to.1,
                to: Some(ino),
            },
            Change {
                dir: from.0,
                name: from.1,
                to: None,
            },
        ]);
        self.forget(replaced);
        Ok(())
    }

    pub(super) fn link_new(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.find(from)?;
        if self.is_dir(ino) {
            return failed(Errno::PERM);
        }
        let (dir, name) = self.parent(to)?;
        if self.entry(dir, &name)?.is_some() {
            return failed(Errno::EXIST);
        }
        self.change(vec![Change {
            dir,
            name,
            to: Some(ino),
        }]);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find(path)?;
        if self.is_dir(ino) {
            return failed(Errno::ISDIR);
        }
        let (dir, name) = self.parent(path)?;
        self.change(vec![Change { dir, name, to: None }]);
        self.forget([ino]);
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find(path)?;
        let (dir, name) = self.parent(path)?;
        if !self.is_dir(ino) {
            return failed(Errno::NOTDIR);
        }
        let mut removed = Vec::new();
        self.empty(ino, &mut removed)?;
        self.change(vec![Change { dir, name, to: None }]);
        removed.push(ino);
        self.forget(removed);
        Ok(())
    }

    /// Makes all changes of names in `dir` durable.
    pub(super) fn sync_dir(&mut self, dir: Ino) -> io::Result<()> {
        self.names(dir)?;
        let mut at = 0;
        let mut released = Vec::new();
        while at < self.unsynced.len() {
            if self.unsynced[at].iter().all(|change| change.dir != dir) {
                at += 1;
                continue;
            }
            let operation = self.unsynced.remove(at);
            // An older change left behind would undo this one if a crash kept it.
            for change in &operation {
                let same = |other: &mut Change| (other.dir, &other.name) == (change.dir, &change.name);
                for older in &mut self.unsynced[..at] {
                    released.extend(older.extract_if(.., same).flat_map(|older| older.inos()));
                }
                released.extend(change.inos());
            }
            released.extend(self.make_durable(operation));
        }
        self.unsynced.retain(|operation| !operation.is_empty());
        self.forget(released);
        Ok(())
    }

    /// A power cut: any subset of the unsynced changes is kept, all handles are gone. In `misdirected` of
    /// 10,000 cases an unsynced sector that is kept gets the bytes of another one of its file: how many did.
    pub(super) fn crash(&mut self, misdirected: u32, rng: &mut Rng) -> u64 {
        let mut strays = 0;
        let chances = rng.below(5);
        for operation in std::mem::take(&mut self.unsynced) {
            if rng.coin(chances, 4) {
                self.make_durable(operation);
            }
        }
        self.open.clear();
        for node in self.nodes.values_mut() {
            match node {
                Node::Dir(dir) => dir.seen.clone_from(&dir.durable),
                Node::File(content) => strays += content.crash(misdirected, rng),
            }
        }
        let reachable = self.reachable();
        self.nodes.retain(|ino, _| reachable.contains(ino));
        strays
    }

    /// `process` opened a handle on `ino`.
    pub(super) fn opened(&mut self, ino: Ino, process: ProcessId) {
        *self.open.entry((ino, process)).or_default() += 1;
    }

    /// `process` closed a handle on `ino`.
    pub(super) fn closed(&mut self, ino: Ino, process: ProcessId) {
        if let Some(count) = self.open.get_mut(&(ino, process)) {
            *count -= 1;
            if *count == 0 {
                self.open.remove(&(ino, process));
                self.forget([ino]);
            }
        }
    }

    /// All handles of `process` are gone: it has ended.
    pub(super) fn all_closed(&mut self, process: ProcessId) {
        let closed = self.open.extract_if(.., |key, _| key.1 == process);
        let inos: Vec<Ino> = closed.map(|((ino, _), _)| ino).collect();
        self.forget(inos);
    }

    /// Bytes of space owned by files that programs can still reach.
    pub(super) fn space_used(&self) -> u64 {
        let mut seen: BTreeSet<Ino> = self.open.keys().map(|(ino, _)| *ino).collect();
        for node in self.nodes.values() {
            if let Node::Dir(dir) = node {
                seen.extend(dir.seen.values());
            }
        }
        let files = seen.iter().filter_map(|ino| match self.nodes.get(ino) {
            Some(Node::File(content)) => Some(content.space_bytes()),
            _ => None,
        });
        files.sum()
    }

    fn entry(&self, dir: Ino, name: &str) -> io::Result<Option<Ino>> {
        Ok(self.names(dir)?.get(name).copied())
    }

    fn parent(&self, path: &Path) -> io::Result<(Ino, String)> {
        let names = names_of(path)?;
        let Some((name, above)) = names.split_last() else {
            return failed(Errno::INVAL);
        };
        let find = |dir, name: &&str| {
            self.entry(dir, name)?
                .ok_or_else(|| io::Error::from(Errno::NOENT))
        };
        let dir = above.iter().try_fold(ROOT, find)?;
        self.names(dir)?;
        Ok((dir, (*name).to_owned()))
    }

    fn add(&mut self, dir: Ino, name: String, node: Node) -> Ino {
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, node);
        self.change(vec![Change {
            dir,
            name,
            to: Some(ino),
        }]);
        ino
    }

    fn empty(&mut self, dir: Ino, removed: &mut Vec<Ino>) -> io::Result<()> {
        for (name, ino) in self.names(dir)?.clone() {
            if self.is_dir(ino) {
                self.empty(ino, removed)?;
            }
            self.change(vec![Change { dir, name, to: None }]);
            removed.push(ino);
        }
        Ok(())
    }

    fn change(&mut self, operation: Vec<Change>) {
        for change in &operation {
            if let Some(Node::Dir(dir)) = self.nodes.get_mut(&change.dir) {
                apply(&mut dir.seen, change);
            }
        }
        self.unsynced.push(operation);
        if self.unsynced.len() > UNSYNCED_MAX {
            // The oldest, so that nothing on the medium overtakes what came before it.
            let oldest = self.unsynced.remove(0);
            let released: Vec<Ino> = oldest.iter().flat_map(Change::inos).collect();
            let replaced = self.make_durable(oldest);
            self.forget(released.into_iter().chain(replaced));
        }
    }

    /// Brings `operation` to the medium; what the names it changes led to there before.
    fn make_durable(&mut self, operation: Vec<Change>) -> Vec<Ino> {
        let mut replaced = Vec::new();
        for change in &operation {
            if let Some(Node::Dir(dir)) = self.nodes.get_mut(&change.dir) {
                replaced.extend(apply(&mut dir.durable, change));
            }
        }
        replaced
    }

    /// Drops those of `inos` that nothing leads to any more: no name, no handle, no unsynced change.
    fn forget(&mut self, inos: impl IntoIterator<Item = Ino>) {
        let mut candidates: BTreeSet<Ino> = inos.into_iter().filter(|ino| *ino != ROOT).collect();
        while !candidates.is_empty() {
            let changes = self.unsynced.iter().flatten().flat_map(Change::inos);
            let names = self.nodes.values().flat_map(|node| match node {
                Node::Dir(dir) => Some(dir.seen.values().chain(dir.durable.values()).copied()),
                Node::File(_) => None,
            });
            let open = self.open.keys().map(|(ino, _)| *ino);
            for used in open.chain(changes).chain(names.flatten()) {
                candidates.remove(&used);
            }
            let dropped = std::mem::take(&mut candidates).into_iter();
            for node in dropped.filter_map(|ino| self.nodes.remove(&ino)) {
                if let Node::Dir(dir) = node {
                    candidates.extend(dir.seen.into_values().chain(dir.durable.into_values()));
                }
            }
        }
    }

    fn reachable(&self) -> BTreeSet<Ino> {
        let mut found = BTreeSet::from([ROOT]);
        let mut waiting = vec![ROOT];
        while let Some(ino) = waiting.pop() {
            if let Some(Node::Dir(dir)) = self.nodes.get(&ino) {
                waiting.extend(dir.durable.values().filter(|below| found.insert(**below)));
            }
        }
        found
    }
}

/// What the changed name led to before.
fn apply(names: &mut BTreeMap<String, Ino>, change: &Change) -> Option<Ino> {
    match change.to {
        Some(ino) => names.insert(change.name.clone(), ino),
        None => names.remove(&change.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One random change of names; what it cannot do it does not do.
    fn change_some(tree: &mut Tree, rng: &mut Rng) {
        let path = |rng: &mut Rng| -> String {
            let depth = 1 + rng.below(3);
            (0..depth).map(|_| format!("/{}", rng.below(3))).collect()
        };
        let (first, second) = (path(rng), path(rng));
        let (first, second) = (Path::new(&first), Path::new(&second));
        if second.starts_with(first) {
            return;
        }
        let _ = match rng.below(8) {
            0 | 1 => tree.create(first).map(drop),
            2 => tree.create_dir_all(first),
            3 => tree.rename(first, second),
            4 => tree.link_new(first, second),
            5 => tree.remove_file(first),
            6 => tree.remove_dir_all(first),
            _ => tree.find(first).and_then(|dir| tree.sync_dir(dir)),
        };
    }

    #[test]
    fn what_nothing_leads_to_is_forgotten_and_the_rest_is_kept() {
        for seed in 0..200 {
            let (mut tree, mut rng) = (Tree::new(), Rng::new(seed));
            (0..60).for_each(|_| change_some(&mut tree, &mut rng));
            let dirs: Vec<Ino> = tree
                .nodes
                .keys()
                .copied()
                .filter(|ino| tree.is_dir(*ino))
                .collect();
            for dir in dirs {
                // A directory without a name may be gone by now.
                let _ = tree.sync_dir(dir);
            }
            let kept: BTreeSet<Ino> = tree.nodes.keys().copied().collect();
            assert_eq!(kept, tree.reachable(), "seed {seed}");
        }
    }

    #[test]
    fn old_changes_reach_the_medium_unasked() {
        let mut tree = Tree::new();
        for number in 0..=UNSYNCED_MAX {
            tree.create(Path::new(&format!("/{number}"))).unwrap();
        }
        assert_eq!(tree.unsynced.len(), UNSYNCED_MAX);
        assert_eq!(tree.reachable().len(), 2);
    }
}
