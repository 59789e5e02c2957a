//! The file system in memory: files and directories, their space, and the power cut.
//!
//! Operations are those that the kernel asks for, with its numbers. What is synced is safe; what is not
//! is at the mercy of [`Disk::cut`]. Invariants: (1) a file lives as long as a name (now or after a
//! cut) or a handle refers to it; (2) `used` is the sum of all files' pages, at most `capacity`.
//! Kept simple: rights and times of a file count as safe at once, since nothing that is tested depends
//! on losing them. Not here: the kernel's protocol (`layer`).

use crate::content::{Content, PAGE_BYTES};
use crate::names::{Ino, Names, Place, ROOT};
use crate::rng::Rng;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::ops::Range;
use std::time::SystemTime;

/// One in so many writes brings some page to the medium before anybody asks for it.
const WRITE_BACK_EVERY: u64 = 16;
/// Files without a name that are kept before the next search for those that can go.
const NAMELESS_MAX: usize = 32;

/// What the kernel refuses to do has a kind; the layer turns it into an error number.
pub type Result<T> = std::result::Result<T, ErrorKind>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    File,
    Directory,
    Socket,
}

/// One line of a directory: the name, and what it means.
pub type Entry = (OsString, Ino, Kind);

/// Who may do what, as given by the creator.
#[derive(Clone, Copy)]
pub struct Rights {
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
}

/// What is known of a file beside its bytes.
pub struct Status {
    pub ino: Ino,
    pub kind: Kind,
    pub rights: Rights,
    pub modified: SystemTime,
    pub links: u32,
    pub size: u64,
    pub allocated_bytes: u64,
}

struct Node {
    kind: Kind,
    rights: Rights,
    modified: SystemTime,
    links: u32,
    handles: u64,
    content: Content,
}

/// What one cut did.
#[derive(Default, Clone, Copy)]
pub struct Toll {
    pub sectors_kept: u64,
    pub sectors_lost: u64,
    pub names_kept: u64,
    pub names_lost: u64,
}

/// See the module.
pub struct Disk {
    nodes: HashMap<Ino, Node>,
    names: Names,
    rng: Rng,
    next: Ino,
    used: u64,
    capacity: u64,
    nameless: usize,
}

/// Space of the whole file system, in pages.
pub struct Space {
    pub total: u64,
    pub free: u64,
}

impl Disk {
    /// An empty file system of `capacity_bytes`; `seed` decides what its cuts keep.
    pub fn new(capacity_bytes: u64, seed: u64) -> Self {
        let mut disk = Self {
            nodes: HashMap::new(),
            names: Names::default(),
            rng: Rng::new(seed),
            next: ROOT,
            used: 0,
            capacity: capacity_bytes / PAGE_BYTES,
            nameless: 0,
        };
        let rights = Rights {
            mode: 0o755,
            uid: 0,
            gid: 0,
        };
        let root = disk.make(Kind::Directory, rights);
        assert!(root == ROOT);
        disk
    }

    // Names.

    pub fn look_up(&self, at: Place) -> Result<Status> {
        self.status(self.named(at)?)
    }

    /// The entries of a directory.
    pub fn list(&self, dir: Ino) -> Result<Vec<Entry>> {
        self.node(dir)?;
        let entry = |(name, ino): (&OsStr, Ino)| Ok((name.to_owned(), ino, self.node(ino)?.kind));
        self.names.list(dir).map(entry).collect()
    }

    pub fn create(&mut self, at: Place, kind: Kind, rights: Rights) -> Result<Status> {
        self.node(at.0)?;
        if self.names.look_up(at).is_some() {
            return Err(ErrorKind::AlreadyExists);
        }
        let ino = self.make(kind, rights);
        self.names.set(at, ino, kind == Kind::Directory);
        self.status(ino)
    }

    pub fn link(&mut self, ino: Ino, at: Place) -> Result<Status> {
        if self.names.look_up(at).is_some() {
            return Err(ErrorKind::AlreadyExists);
        }
        let node = self.node_mut(ino)?;
        if node.kind == Kind::Directory {
            return Err(ErrorKind::PermissionDenied);
        }
        node.links += 1;
        self.names.set(at, ino, false);
        self.status(ino)
    }

    /// Takes a file's name away.
    pub fn unlink(&mut self, at: Place) -> Result<()> {
        let ino = self.named(at)?;
        if self.node(ino)?.kind == Kind::Directory {
            return Err(ErrorKind::IsADirectory);
        }
        self.names.remove(at, None);
        self.lose_name(ino)
    }

    /// Takes an empty directory's name away.
    pub fn remove_dir(&mut self, at: Place) -> Result<()> {
        let ino = self.named(at)?;
        if self.node(ino)?.kind != Kind::Directory {
            return Err(ErrorKind::NotADirectory);
        }
        if self.names.list(ino).next().is_some() {
            return Err(ErrorKind::DirectoryNotEmpty);
        }
        self.names.remove(at, Some(ino));
        self.lose_name(ino)
    }

    /// Moves a file or directory; with `replace`, in place of what has the name now.
    pub fn rename(&mut self, from: Place, to: Place, replace: bool) -> Result<()> {
        let ino = self.named(from)?;
        let replaced = self.names.look_up(to);
        if replaced == Some(ino) {
            return Ok(());
        }
        let is_dir = self.node(ino)?.kind == Kind::Directory;
        if let Some(other) = replaced {
            match (is_dir, self.node(other)?.kind == Kind::Directory) {
                _ if !replace => return Err(ErrorKind::AlreadyExists),
                (false, true) => return Err(ErrorKind::IsADirectory),
                (true, false) => return Err(ErrorKind::NotADirectory),
                (true, true) if self.names.list(other).next().is_some() => {
                    return Err(ErrorKind::DirectoryNotEmpty);
                }
                _ => {}
            }
        }
        self.names.rename(from, to, ino, is_dir);
        match replaced {
            Some(other) => self.lose_name(other),
            None => Ok(()),
        }
    }

    /// Makes the names in a directory safe.
    pub fn sync_dir(&mut self, dir: Ino) -> Result<()> {
        self.node(dir)?;
        self.names.sync(dir);
        Ok(())
    }

    // Files.

    pub fn status(&self, ino: Ino) -> Result<Status> {
        let node = self.node(ino)?;
        Ok(Status {
            ino,
            kind: node.kind,
            rights: node.rights,
            modified: node.modified,
            links: node.links,
            size: node.content.size(),
            allocated_bytes: node.content.allocated() * PAGE_BYTES,
        })
    }

    pub fn set_rights(
        &mut self,
        ino: Ino,
        mode: Option<u16>,
        uid: Option<u32>,
        gid: Option<u32>,
    ) -> Result<()> {
        let rights = &mut self.node_mut(ino)?.rights;
        *rights = Rights {
            mode: mode.unwrap_or(rights.mode),
            uid: uid.unwrap_or(rights.uid),
            gid: gid.unwrap_or(rights.gid),
        };
        Ok(())
    }

    pub fn set_modified(&mut self, ino: Ino, time: SystemTime) -> Result<()> {
        self.node_mut(ino)?.modified = time;
        Ok(())
    }

    pub fn opened(&mut self, ino: Ino) -> Result<()> {
        self.node_mut(ino)?.handles += 1;
        Ok(())
    }

    pub fn closed(&mut self, ino: Ino) -> Result<()> {
        let node = self.node_mut(ino)?;
        node.handles = node.handles.saturating_sub(1);
        if node.links == 0 && node.handles == 0 {
            self.sweep_sometimes();
        }
        Ok(())
    }

    pub fn read(&self, ino: Ino, range: Range<u64>) -> Result<Vec<u8>> {
        Ok(self.node(ino)?.content.read(range))
    }

    pub fn write(&mut self, ino: Ino, offset: u64, data: &[u8]) -> Result<()> {
        let end = offset
            .checked_add(data.len() as u64)
            .ok_or(ErrorKind::FileTooLarge)?;
        self.check_space(ino, &(offset..end))?;
        let early = self.rng.coin(1, WRITE_BACK_EVERY);
        self.with_content(ino, |content| content.write(offset, data))?;
        if early && let Some(node) = self.nodes.get_mut(&ino) {
            node.content.write_back_one(&mut self.rng);
        }
        Ok(())
    }

    pub fn set_size(&mut self, ino: Ino, size: u64) -> Result<()> {
        self.with_content(ino, |content| content.set_size(size))
    }

    /// Gives `range` space; with `extend` the file reaches to its end, too.
    pub fn reserve(&mut self, ino: Ino, range: Range<u64>, extend: bool) -> Result<()> {
        self.check_space(ino, &range)?;
        self.with_content(ino, |content| {
            content.reserve(range.clone());
            if extend && range.end > content.size() {
                content.set_size(range.end);
            }
        })
    }

    /// Makes `range` read as zeros and gives its whole pages back.
    pub fn punch(&mut self, ino: Ino, range: Range<u64>) -> Result<()> {
        self.with_content(ino, |content| content.punch(range))
    }

    /// Where data (`true`) or a hole is next; `None` past the end.
    pub fn seek(&self, ino: Ino, from: u64, data: bool) -> Result<Option<u64>> {
        Ok(self.node(ino)?.content.seek(from, data))
    }

    /// Makes a file's bytes and size safe; its names are another matter.
    pub fn sync(&mut self, ino: Ino) -> Result<()> {
        self.node_mut(ino)?.content.sync();
        Ok(())
    }

    // The whole.

    pub fn space(&self) -> Space {
        Space {
            total: self.capacity,
            free: self.capacity.saturating_sub(self.used),
        }
    }

    /// Whether a cut could change anything.
    pub fn is_dirty(&self) -> bool {
        self.names.unsynced() > 0 || self.nodes.values().any(|node| node.content.is_dirty())
    }

    /// The power goes: handles are gone, and of what was not synced only a part is left.
    pub fn cut(&mut self) -> Toll {
        let names = self.names.cut(&mut self.rng);
        let mut toll = Toll {
            names_kept: names.kept,
            names_lost: names.lost,
            ..Toll::default()
        };
        let links = self.names.links();
        self.nodes.retain(|ino, _| links.contains_key(ino));
        // In the order of their numbers, so that the seed decides and not the map's order.
        let mut inos: Vec<Ino> = self.nodes.keys().copied().collect();
        inos.sort_unstable();
        for ino in inos {
            if let Some(node) = self.nodes.get_mut(&ino) {
                let sectors = node.content.cut(&mut self.rng);
                toll.sectors_kept += sectors.kept;
                toll.sectors_lost += sectors.lost;
                node.handles = 0;
                node.links = links.get(&ino).copied().unwrap_or(0);
            }
        }
        self.used = self.nodes.values().map(|node| node.content.allocated()).sum();
        self.nameless = 0;
        toll
    }

    // Inside.

    fn named(&self, at: Place) -> Result<Ino> {
        self.names.look_up(at).ok_or(ErrorKind::NotFound)
    }

    fn node(&self, ino: Ino) -> Result<&Node> {
        self.nodes.get(&ino).ok_or(ErrorKind::NotFound)
    }

    fn node_mut(&mut self, ino: Ino) -> Result<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(ErrorKind::NotFound)
    }

    fn make(&mut self, kind: Kind, rights: Rights) -> Ino {
        let ino = self.next;
        self.next += 1;
        let node = Node {
            kind,
            rights,
            modified: SystemTime::now(),
            links: 1,
            handles: 0,
            content: Content::default(),
        };
        self.nodes.insert(ino, node);
        ino
    }

    /// Refuses what would not fit.
    fn check_space(&self, ino: Ino, range: &Range<u64>) -> Result<()> {
        match self.used + self.node(ino)?.content.missing(range) <= self.capacity {
            true => Ok(()),
            false => Err(ErrorKind::StorageFull),
        }
    }

    fn with_content(&mut self, ino: Ino, change: impl FnOnce(&mut Content)) -> Result<()> {
        let node = self.nodes.get_mut(&ino).ok_or(ErrorKind::NotFound)?;
        let before = node.content.allocated();
        change(&mut node.content);
        node.modified = SystemTime::now();
        self.used = self.used + node.content.allocated() - before;
        Ok(())
    }

    fn lose_name(&mut self, ino: Ino) -> Result<()> {
        let node = self.node_mut(ino)?;
        node.links = node.links.saturating_sub(1);
        if node.links == 0 {
            self.sweep_sometimes();
        }
        Ok(())
    }

    /// Frees what no name and no handle refers to, now or after a cut.
    fn sweep_sometimes(&mut self) {
        self.nameless += 1;
        if self.nameless < NAMELESS_MAX {
            return;
        }
        self.nameless = 0;
        let referenced = self.names.referenced();
        let gone: Vec<Ino> = self
            .nodes
            .iter()
            .filter(|(ino, node)| node.links == 0 && node.handles == 0 && !referenced.contains(ino))
            .map(|(ino, _)| *ino)
            .collect();
        for ino in gone {
            if let Some(node) = self.nodes.remove(&ino) {
                self.used -= node.content.allocated();
                self.names.forget(ino);
            }
        }
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
