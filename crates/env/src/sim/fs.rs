//! The simulated file system behind [`Fs`] and [`File`].
//!
//! An operation starts at its first poll, takes effect once at a chosen moment, and completes at the
//! end of its latency. After the start it no longer needs its future: a dropped write still happens.
//! Which moment the effect takes is part of the test: what a sync covers is everything completed
//! before it started, and perhaps, but not surely, what came while it ran.

use super::fault::FaultOp;
use super::names::{Ino, Tree};
use super::rng::Rng;
use super::{Effect, World};
use crate::{DirEntry, DirLock, File, Fs, LocalFuture, OpenMode, Space};
use bytes::Bytes;
use rustix::io::Errno;
use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The total that a world without a limit shows.
const UNLIMITED_BYTES: u64 = 1 << 50;

/// The file system as one run sees it.
#[derive(Clone)]
pub(super) struct SimFs {
    world: Rc<World>,
    run: u64,
}

impl SimFs {
    pub(super) fn new(world: Rc<World>) -> Self {
        let run = world.run.get();
        Self { world, run }
    }

    fn check_alive(&self) -> io::Result<()> {
        if self.world.run.get() == self.run && self.world.running.get() {
            Ok(())
        } else {
            Err(io::Error::other("the run that this handle belongs to has ended"))
        }
    }

    /// An operation: starts, has its `effect` somewhere in its latency, completes.
    fn operation<T: 'static>(
        &self,
        effect: impl FnOnce(&World, &mut Tree) -> io::Result<T> + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        let this = self.clone();
        Box::pin(async move {
            this.check_alive()?;
            let world = &this.world;
            let latency = world.latency();
            let slot = Rc::new(RefCell::new(None));
            let filled = slot.clone();
            let effect: Effect = Box::new(move |world| {
                let done = effect(world, &mut world.tree.borrow_mut());
                *filled.borrow_mut() = Some(done);
            });
            let start = world.now.get();
            let at = world.rng.borrow_mut().below(3);
            if at == 0 {
                effect(world);
            } else {
                let number = world.effects_made.get();
                world.effects_made.set(number + 1);
                world
                    .effects
                    .borrow_mut()
                    .insert((start + latency * at as u32 / 2, number), effect);
            }
            world.timers.sleep_until(start + latency).await;
            let done = slot.borrow_mut().take();
            done.expect("effects come before the end of their operation")
        })
    }

    /// An operation on names, which a [`FaultOp::Name`] may strike.
    fn on_names<T: 'static>(
        &self,
        path: &Path,
        effect: impl FnOnce(&mut Tree, &Path) -> io::Result<T> + 'static,
    ) -> LocalFuture<'static, io::Result<T>> {
        let path = path.to_owned();
        self.operation(move |world, tree| {
            world.check_fault(FaultOp::Name, &path)?;
            effect(tree, &path)
        })
    }
}

impl World {
    fn check_fault(&self, op: FaultOp, path: &Path) -> io::Result<()> {
        if self.faults.borrow_mut().strikes(op, path) {
            Err(Errno::IO.into())
        } else {
            Ok(())
        }
    }

    fn available(&self, tree: &Tree) -> u64 {
        match self.capacity.get() {
            Some(capacity) => capacity.saturating_sub(tree.space_used()),
            None => UNLIMITED_BYTES - tree.space_used().min(UNLIMITED_BYTES),
        }
    }

    fn check_room(&self, tree: &Tree, needed: u64) -> io::Result<()> {
        if needed > 0 && self.capacity.get().is_some() && needed > self.available(tree) {
            return Err(Errno::NOSPC.into());
        }
        Ok(())
    }
}

impl Fs for SimFs {
    fn open(&self, path: &Path, mode: OpenMode) -> LocalFuture<'_, io::Result<Rc<dyn File>>> {
        let fs = self.clone();
        self.on_names(path, move |tree, path| {
            let ino = match (mode, tree.find(path)) {
                (OpenMode::CreateNew, Ok(_)) => return Err(Errno::EXIST.into()),
                (OpenMode::Create | OpenMode::CreateNew, Err(error))
                    if error.kind() == io::ErrorKind::NotFound =>
                {
                    tree.create(path)?
                }
                (_, found) => found?,
            };
            if tree.is_dir(ino) {
                return Err(Errno::ISDIR.into());
            }
            tree.opened(ino);
            Ok(Rc::new(SimFile {
                fs,
                ino,
                path: path.to_owned(),
                writable: mode != OpenMode::Read,
            }) as Rc<dyn File>)
        })
    }

    fn list(&self, dir: &Path) -> LocalFuture<'_, io::Result<Vec<DirEntry>>> {
        self.on_names(dir, |tree, dir| {
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
        self.on_names(dir, |tree, dir| {
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
        self.on_names(dir, |tree, dir| tree.create_dir_all(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> LocalFuture<'_, io::Result<()>> {
        let to = to.to_owned();
        self.on_names(from, move |tree, from| tree.rename(from, &to))
    }

    fn link_new(&self, from: &Path, to: &Path) -> LocalFuture<'_, io::Result<()>> {
        let to = to.to_owned();
        self.on_names(from, move |tree, from| tree.link_new(from, &to))
    }

    fn remove_file(&self, path: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.on_names(path, |tree, path| tree.remove_file(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.on_names(dir, |tree, dir| tree.remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>> {
        let dir = dir.to_owned();
        self.operation(move |world, tree| {
            world.check_fault(FaultOp::SyncDir, &dir)?;
            tree.sync_dir(tree.find(&dir)?)
        })
    }

    fn exists(&self, path: &Path) -> LocalFuture<'_, io::Result<bool>> {
        self.on_names(path, |tree, path| match tree.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
    }

    fn lock_dir(&self, dir: &Path) -> LocalFuture<'_, io::Result<Box<dyn DirLock>>> {
        let (fs, dir) = (self.clone(), dir.to_owned());
        self.operation(move |world, tree| {
            let file = dir.join("lock");
            let ino = match tree.find(&file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => tree.create(&file)?,
                found => found?,
            };
            if !world.locks.borrow_mut().insert(ino) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(Box::new(SimLock { fs, ino }) as Box<dyn DirLock>)
        })
    }

    fn space(&self, dir: &Path) -> LocalFuture<'_, io::Result<Space>> {
        let dir = dir.to_owned();
        self.operation(move |world, tree| {
            tree.find(&dir)?;
            let total_bytes = world.capacity.get().unwrap_or(UNLIMITED_BYTES);
            Ok(Space {
                total_bytes,
                available_bytes: world.available(tree),
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
        if self.fs.check_alive().is_ok() {
            self.fs.world.locks.borrow_mut().remove(&self.ino);
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
        if self.fs.check_alive().is_ok() {
            self.fs.world.tree.borrow_mut().closed(self.ino);
        }
    }
}

impl SimFile {
    /// An operation that only a writable handle may do.
    fn changing(
        &self,
        effect: impl FnOnce(&World, &mut Tree, Ino, &mut Rng) -> io::Result<()> + 'static,
    ) -> LocalFuture<'static, io::Result<()>> {
        let (ino, writable) = (self.ino, self.writable);
        self.fs.operation(move |world, tree| {
            if !writable {
                return Err(Errno::BADF.into());
            }
            effect(world, tree, ino, &mut world.rng.borrow_mut())
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
        self.fs.operation(move |world, tree| {
            world.check_fault(FaultOp::Read, &path)?;
            let (content, end) = (tree.file(ino)?, end_of(offset, len as u64)?);
            if end > content.size() && len > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(content.read(offset..end))
        })
    }

    fn write_at(&self, offset: u64, data: Vec<Bytes>) -> LocalFuture<'_, io::Result<()>> {
        let path = self.path.clone();
        self.changing(move |world, tree, ino, rng| {
            let len: u64 = data.iter().map(|piece| piece.len() as u64).sum();
            let end = end_of(offset, len)?;
            let needed = tree.file(ino)?.space_needed(offset..end);
            let refused = world
                .check_fault(FaultOp::Write, &path)
                .and_then(|()| world.check_room(tree, needed));
            // What fails may have written a part: some pieces, as far as they need no more space.
            let pieces = if refused.is_ok() {
                data.len()
            } else {
                rng.below(data.len() as u64 + 1) as usize
            };
            let content = tree.file_mut(ino)?;
            let mut at = offset;
            for piece in &data[..pieces] {
                if refused.is_ok() || content.space_needed(at..at + piece.len() as u64) == 0 {
                    content.write(at, piece, rng);
                }
                at += piece.len() as u64;
            }
            refused
        })
    }

    fn sync(&self) -> LocalFuture<'_, io::Result<()>> {
        let (ino, path) = (self.ino, self.path.clone());
        self.fs.operation(move |world, tree| {
            let struck = world.check_fault(FaultOp::Sync, &path);
            let content = tree.file_mut(ino)?;
            match struck {
                Ok(()) => content.sync(),
                Err(_) => content.sync_failed(&mut world.rng.borrow_mut()),
            }
            struck
        })
    }

    fn set_size(&self, size: u64) -> LocalFuture<'_, io::Result<()>> {
        self.changing(move |_, tree, ino, rng| {
            end_of(size, 0)?;
            tree.file_mut(ino)?.set_size(size, rng);
            Ok(())
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        self.changing(move |world, tree, ino, _| {
            let end = end_of(offset, len)?;
            if len == 0 {
                return Err(Errno::INVAL.into());
            }
            world.check_room(tree, tree.file(ino)?.space_needed(offset..end))?;
            tree.file_mut(ino)?.reserve(offset..end);
            Ok(())
        })
    }

    fn punch(&self, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        self.changing(move |_, tree, ino, _| {
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
