//! The simulated file system behind [`Fs`] and [`File`].
//!
//! An operation starts at its first poll, takes effect once at a chosen moment, and completes at the
//! end of its latency. After the start it no longer needs its future: a dropped write still happens.
//! Which moment the effect takes is part of the test: what a sync covers is everything completed
//! before it started, and perhaps, but not surely, what came while it ran.

use super::counts::Injected;
use super::fault::FaultOp;
use super::names::{Ino, Tree};
use super::process::ProcessState;
use super::world::World;
use crate::{DirEntry, DirLock, File, Fs, LocalFuture, OpenMode, Space};
use bytes::Bytes;
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::btree_map::Entry;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What a failed write may have written is a number of these.
const SECTOR_BYTES: u64 = 512;
/// The total that a machine without a limit shows.
const UNLIMITED_BYTES: u64 = 1 << 50;

/// A machine's file system as one of its processes sees it.
#[derive(Clone)]
pub(super) struct SimFs {
    world: Rc<World>,
    process: Rc<ProcessState>,
}

impl SimFs {
    pub(super) fn new(world: Rc<World>, process: Rc<ProcessState>) -> Self {
        Self { world, process }
    }

    /// An operation: starts, has its `effect` somewhere in its latency, completes.
    fn operation<T: 'static>(
        &self,
        effect: impl FnOnce(&SimFs, &mut Tree) -> io::Result<T> + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        let this = self.clone();
        Box::pin(async move {
            this.process.check_alive()?;
            let world = &this.world;
            let latency = world.latency();
            let slot = Rc::new(RefCell::new(None));
            let (filled, on) = (slot.clone(), this.clone());
            let effect = move || {
                let done = effect(&on, &mut on.process.machine.tree.borrow_mut());
                *filled.borrow_mut() = Some(done);
            };
            let start = world.now.get();
            let at = world.rng.borrow_mut().below(3);
            world.at(
                start + latency * at as u32 / 2,
                Some(this.process.id),
                Box::new(effect),
            );
            world.timers.sleep_until(start + latency).await;
            this.process.check_alive()?;
            let done = slot.borrow_mut().take();
            done.expect("effects of a living process come before the end of their operation")
        })
    }

    /// An operation on names, which a [`FaultOp::Name`] may strike.
    fn on_names<T: 'static>(
        &self,
        path: &Path,
        effect: impl FnOnce(&SimFs, &mut Tree, &Path) -> io::Result<T> + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        let path = path.to_owned();
        self.operation(move |on, tree| {
            on.check_fault(FaultOp::Name, &path)?;
            let done = effect(on, tree, &path)?;
            on.process.changed(&path);
            Ok(done)
        })
    }

    /// As [`SimFs::on_names`], for what makes a name and so needs some space.
    fn making_name<T: 'static>(
        &self,
        path: &Path,
        effect: impl FnOnce(&mut Tree, &Path) -> io::Result<T> + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        self.on_names(path, |on, tree, path| {
            on.check_space(path)?;
            effect(tree, path)
        })
    }

    fn check_fault(&self, op: FaultOp, path: &Path) -> io::Result<()> {
        let mut faults = self.process.machine.faults.borrow_mut();
        if faults.strikes(op, path, &mut self.world.rng.borrow_mut()) {
            self.world.count(op.injected(), 1);
            return Err(Errno::IO.into());
        }
        Ok(())
    }

    /// Whether chance grants space to `path` now.
    fn check_space(&self, path: &Path) -> io::Result<()> {
        let faults = self.process.machine.faults.borrow();
        if faults.no_space(path, &mut self.world.rng.borrow_mut()) {
            return Err(self.no_space());
        }
        Ok(())
    }

    /// Whether `needed` bytes fit in.
    fn check_room(&self, tree: &Tree, needed: u64) -> io::Result<()> {
        if needed > 0 && self.process.machine.capacity.get().is_some() && needed > self.available(tree) {
            return Err(self.no_space());
        }
        Ok(())
    }

    fn no_space(&self) -> io::Error {
        self.world.count(Injected::NoSpace, 1);
        Errno::NOSPC.into()
    }

    fn available(&self, tree: &Tree) -> u64 {
        match self.process.machine.capacity.get() {
            Some(capacity) => capacity.saturating_sub(tree.space_used()),
            None => UNLIMITED_BYTES - tree.space_used().min(UNLIMITED_BYTES),
        }
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> LocalFuture<'_, io::Result<Rc<dyn File>>> {
        self.on_names(path, move |on, tree, path| {
            let ino = match (mode, tree.find(path)) {
                (OpenMode::CreateNew, Ok(_)) => return Err(Errno::EXIST.into()),
                (OpenMode::Create | OpenMode::CreateNew, Err(error))
                    if error.kind() == io::ErrorKind::NotFound =>
                {
                    on.check_space(path)?;
                    tree.create(path)?
                }
                (_, found) => found?,
            };
            if tree.is_dir(ino) {
                return Err(Errno::ISDIR.into());
            }
            tree.opened(ino, on.process.id);
            Ok(Rc::new(SimFile {
                fs: on.clone(),
                ino,
                path: path.to_owned(),
                writable: mode != OpenMode::Read,
            }) as Rc<dyn File>)
        })
    }

    fn list(&self, dir: &Path) -> LocalFuture<'_, io::Result<Vec<DirEntry>>> {
        self.on_names(dir, |_, tree, dir| {
            let names = tree.names(tree.find(dir)?)?;
            Ok(names
                .iter()
                .map(|(name, ino)| DirEntry {
                    name: name.clone(),
                    is_dir: tree.is_dir(*ino),
                })
                .collect())
        })
    }

    fn list_sizes(&self, dir: &Path) -> LocalFuture<'_, io::Result<Vec<(DirEntry, u64)>>> {
        self.on_names(dir, |_, tree, dir| {
            let names = tree.names(tree.find(dir)?)?.iter();
            let sized = names.map(|(name, ino)| {
                let is_dir = tree.is_dir(*ino);
                let bytes = if is_dir { 0 } else { tree.file(*ino)?.size() };
                Ok((
                    DirEntry {
                        name: name.clone(),
                        is_dir,
                    },
                    bytes,
                ))
            });
            sized.collect()
        })
    }

    fn create_dir_all(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.on_names(dir, |on, tree, dir| {
            if tree.find(dir).is_err() {
                on.check_space(dir)?;
            }
            tree.create_dir_all(dir)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> LocalFuture<'_, io::Result<()>> {
        let to = to.to_owned();
        self.making_name(from, move |tree, from| tree.rename(from, &to))
    }

    fn link_new(&self, from: &Path, to: &Path) -> LocalFuture<'_, io::Result<()>> {
        let to = to.to_owned();
        self.making_name(from, move |tree, from| tree.link_new(from, &to))
    }

    fn remove_file(&self, path: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.on_names(path, |_, tree, path| tree.remove_file(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.on_names(dir, |_, tree, dir| tree.remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>> {
        let dir = dir.to_owned();
        self.operation(move |on, tree| {
            on.check_fault(FaultOp::SyncDir, &dir)?;
            tree.sync_dir(tree.find(&dir)?)
        })
    }

    fn exists(&self, path: &Path) -> LocalFuture<'_, io::Result<bool>> {
        self.on_names(path, |_, tree, path| match tree.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
    }

    fn lock_dir(&self, dir: &Path) -> LocalFuture<'_, io::Result<Box<dyn DirLock>>> {
        let dir = dir.to_owned();
        self.operation(move |on, tree| {
            let file = dir.join("lock");
            let ino = match tree.find(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => tree.create(&file)?,
                found => found?,
            };
            match on.process.machine.locks.borrow_mut().entry(ino) {
                Entry::Occupied(_) => return Err(io::ErrorKind::WouldBlock.into()),
                Entry::Vacant(free) => free.insert(on.process.id),
            };
            Ok(Box::new(SimLock { fs: on.clone(), ino }) as Box<dyn DirLock>)
        })
    }

    fn space(&self, dir: &Path) -> LocalFuture<'_, io::Result<Space>> {
        let dir = dir.to_owned();
        self.operation(move |on, tree| {
            tree.find(&dir)?;
            let total_bytes = on.process.machine.capacity.get().unwrap_or(UNLIMITED_BYTES);
            Ok(Space {
                total_bytes,
                available_bytes: on.available(tree),
            })
        })
    }
}

struct SimLock {
    fs: SimFs,
    ino: Ino,
}

impl DirLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        // Those of an ended process are free already, perhaps taken by another.
        if !self.fs.process.has_ended() {
            self.fs.process.machine.locks.borrow_mut().remove(&self.ino);
        }
    }
}

struct SimFile {
    fs: SimFs,
    ino: Ino,
    path: PathBuf,
    writable: bool,
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let process = &self.fs.process;
        if !process.has_ended() {
            process.machine.tree.borrow_mut().closed(self.ino, process.id);
        }
    }
}

impl SimFile {
    /// An operation that only a writable handle may do.
    fn changing(
        &self,
        effect: impl FnOnce(&SimFs, &mut Tree, Ino) -> io::Result<()> + 'static,
    ) -> LocalFuture<'static, io::Result<()>> {
        let (ino, writable) = (self.ino, self.writable);
        self.fs.operation(move |on, tree| {
            if !writable {
                return Err(Errno::BADF.into());
            }
            effect(on, tree, ino)
        })
    }
}

/// The end of a range; one that does not fit is refused as the kernel does.
fn end_of(offset: u64, len: u64) -> io::Result<u64> {
    offset
        .checked_add(len)
        .filter(|end| *end <= i64::MAX as u64)
        .ok_or_else(|| Errno::FBIG.into())
}

impl File for SimFile {
    fn size(&self) -> LocalFuture<'_, io::Result<u64>> {
        let ino = self.ino;
        self.fs.operation(move |_, tree| Ok(tree.file(ino)?.size()))
    }

    fn read_at(&self, offset: u64, len: usize) -> LocalFuture<'_, io::Result<Bytes>> {
        let (ino, path) = (self.ino, self.path.clone());
        self.fs.operation(move |on, tree| {
            on.check_fault(FaultOp::Read, &path)?;
            let (content, end) = (tree.file(ino)?, end_of(offset, len as u64)?);
            if end > content.size() && len > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(content.read(offset..end))
        })
    }

    fn write_at(&self, offset: u64, data: Vec<Bytes>) -> LocalFuture<'_, io::Result<()>> {
        let path = self.path.clone();
        self.changing(move |on, tree, ino| {
            let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
            let end = end_of(offset, len)?;
            let needed = tree.file(ino)?.space_needed(offset..end);
            let room = on.check_room(tree, needed);
            let has_room = room.is_ok();
            let refused = on
                .check_fault(FaultOp::Write, &path)
                .and_then(|()| on.check_space(&path))
                .and(room);
            let rng = &mut on.world.rng.borrow_mut();
            // What fails may have written a part: some sectors, as far as they need no more space.
            let mut left = match refused {
                Ok(()) => len,
                Err(_) => len.min(rng.below(len / SECTOR_BYTES + 2) * SECTOR_BYTES),
            };
            let content = tree.file_mut(ino)?;
            let mut at = offset;
            for piece in &data {
                let part = &piece[..left.min(piece.len() as u64) as usize];
                if has_room || content.space_needed(at..at + part.len() as u64) == 0 {
                    content.write(at, part, rng);
                }
                left -= part.len() as u64;
                at += piece.len() as u64;
            }
            on.process.changed(&path);
            refused
        })
    }

    fn sync(&self) -> LocalFuture<'_, io::Result<()>> {
        let (ino, path) = (self.ino, self.path.clone());
        self.fs.operation(move |on, tree| {
            let struck = on.check_fault(FaultOp::Sync, &path);
            let content = tree.file_mut(ino)?;
            match struck {
                Ok(()) => content.sync(),
                Err(_) => content.sync_failed(&mut on.world.rng.borrow_mut()),
            }
            struck
        })
    }

    fn set_size(&self, size: u64) -> LocalFuture<'_, io::Result<()>> {
        self.changing(move |on, tree, ino| {
            end_of(size, 0)?;
            tree.file_mut(ino)?.set_size(size, &mut on.world.rng.borrow_mut());
            Ok(())
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        let path = self.path.clone();
        self.changing(move |on, tree, ino| {
            let end = end_of(offset, len)?;
            if len == 0 {
                return Err(Errno::INVAL.into());
            }
            on.check_space(&path)?;
            on.check_room(tree, tree.file(ino)?.space_needed(offset..end))?;
            tree.file_mut(ino)?.reserve(offset..end);
            Ok(())
        })
    }

    fn punch(&self, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        self.changing(move |_, tree, ino| {
            let end = end_of(offset, len)?;
            if len == 0 {
                return Err(Errno::INVAL.into());
            }
            tree.file_mut(ino)?.punch(offset..end);
            Ok(())
        })
    }

    fn next_data(&self, from: u64, limit: u64) -> LocalFuture<'_, io::Result<Option<(u64, u64)>>> {
        let ino = self.ino;
        self.fs
            .operation(move |_, tree| Ok(tree.file(ino)?.next_data(from..limit.max(from))))
    }
}
