//! The kernel's side: FUSE requests become operations on the disk, its mounts come and go.
//!
//! What must stay true: once the power is off no request of that mount succeeds, also not one that
//! began before; a new mount begins with the kernel knowing nothing. So each mount is a generation, and
//! only the current one is served. Reads and writes are not held in the kernel: every write call
//! arrives here before it returns (no write-back cache). Locks are left to the kernel.

use crate::disk::{Disk, Entry, Kind, Result, Rights, Status, Toll};
use crate::rng::Rng;
use anyhow::Context;
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// How long the kernel may believe what it was told; only it makes changes, so it is never wrong.
const TTL: Duration = Duration::from_secs(1);
/// Requests served at once, so that a sync that takes its time holds up nobody else.
const THREADS: usize = 4;
/// Largest write that the kernel passes on in one piece.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// A sync takes up to this long, as on a real disk: so a cut finds some under way.
const SYNC_MAX: Duration = Duration::from_micros(1500);

struct Shared {
    disk: Disk,
    rng: Rng,
    /// The mount that is served; `None` while the power is off.
    powered: Option<u64>,
    generations: u64,
}

/// The disk in its machine: mounts it, cuts its power.
pub struct Machine {
    shared: Arc<Mutex<Shared>>,
    mountpoint: PathBuf,
    session: Option<BackgroundSession>,
}

impl Machine {
    pub fn new(disk: Disk, mountpoint: &Path, seed: u64) -> Self {
        let shared = Shared {
            disk,
            rng: Rng::new(seed ^ 0x5379_6e63),
            powered: None,
            generations: 0,
        };
        Self {
            shared: Arc::new(Mutex::new(shared)),
            mountpoint: mountpoint.to_owned(),
            session: None,
        }
    }

    /// Turns the power on: the file system appears at the mount point.
    pub fn mount(&mut self) -> anyhow::Result<()> {
        self.unmount()?;
        let generation = {
            let mut shared = lock(&self.shared);
            shared.generations += 1;
            shared.powered = Some(shared.generations);
            shared.generations
        };
        let layer = Layer {
            shared: self.shared.clone(),
            generation,
            listings: Mutex::default(),
        };
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("powercut".into()),
            MountOption::Subtype("powercut".into()),
            MountOption::DefaultPermissions,
        ];
        config.acl = fuser::SessionACL::All;
        config.n_threads = Some(THREADS);
        let session = fuser::Session::new(layer, &self.mountpoint, &config)
            .and_then(fuser::Session::spawn)
            .with_context(|| format!("mount on {}", self.mountpoint.display()))?;
        self.session = Some(session);
        Ok(())
    }

    /// Cuts the power, now. The mount stays, and answers EIO, until [`Machine::mount`].
    pub fn cut(&mut self) -> Toll {
        let mut shared = lock(&self.shared);
        shared.powered = None;
        shared.disk.cut()
    }

    /// One line for people and tests.
    pub fn status(&self) -> String {
        let shared = lock(&self.shared);
        let space = shared.disk.space();
        format!(
            "status power={} used_pages={} unsynced={}",
            if shared.powered.is_some() { "on" } else { "off" },
            space.total - space.free,
            shared.disk.is_dirty()
        )
    }

    /// Takes the file system away from the mount point; what is not synced stays as it is.
    pub fn unmount(&mut self) -> anyhow::Result<()> {
        lock(&self.shared).powered = None;
        let Some(session) = self.session.take() else {
            return Ok(());
        };
        // Lazily: a process that still holds a handle keeps a dead mount, not us.
        let done = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.mountpoint)
            .status()
            .context("start umount")?;
        anyhow::ensure!(
            done.success(),
            "umount {} failed: {done}",
            self.mountpoint.display()
        );
        drop(session);
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Err(error) = self.unmount() {
            eprintln!("powercut: {error:#}");
        }
    }
}

/// A panic in another request is no reason to stop: the disk's state is checked by its users.
fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One mount.
struct Layer {
    shared: Arc<Mutex<Shared>>,
    generation: u64,
    /// What an open directory lists, fixed when it was opened: removing entries meanwhile skips none.
    listings: Mutex<Listings>,
}

#[derive(Default)]
struct Listings {
    last: u64,
    open: HashMap<u64, Vec<Entry>>,
}

fn errno(kind: ErrorKind) -> Errno {
    match kind {
        ErrorKind::NotFound => Errno::ENOENT,
        ErrorKind::AlreadyExists => Errno::EEXIST,
        ErrorKind::IsADirectory => Errno::EISDIR,
        ErrorKind::NotADirectory => Errno::ENOTDIR,
        ErrorKind::DirectoryNotEmpty => Errno::ENOTEMPTY,
        ErrorKind::PermissionDenied => Errno::EPERM,
        ErrorKind::StorageFull => Errno::ENOSPC,
        ErrorKind::FileTooLarge => Errno::EFBIG,
        ErrorKind::Unsupported => Errno::EOPNOTSUPP,
        ErrorKind::InvalidInput => Errno::EINVAL,
        _ => Errno::EIO,
    }
}

fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Socket => FileType::Socket,
    }
}

fn attributes(status: &Status) -> FileAttr {
    FileAttr {
        ino: INodeNo(status.ino),
        size: status.size,
        blocks: status.allocated_bytes / 512,
        atime: status.modified,
        mtime: status.modified,
        ctime: status.modified,
        crtime: status.modified,
        kind: file_type(status.kind),
        perm: status.rights.mode,
        nlink: status.links,
        uid: status.rights.uid,
        gid: status.rights.gid,
        rdev: 0,
        blksize: crate::content::PAGE_BYTES as u32,
        flags: 0,
    }
}

fn rights(request: &Request, mode: u32, umask: u32) -> Rights {
    Rights {
        mode: (mode & !umask & 0o7777) as u16,
        uid: request.uid(),
        gid: request.gid(),
    }
}

/// The bytes from `offset` on, `length` of them.
fn range(offset: u64, length: u64) -> Result<std::ops::Range<u64>> {
    let end = offset.checked_add(length).ok_or(ErrorKind::FileTooLarge)?;
    Ok(offset..end)
}

impl Layer {
    /// An operation on the disk, if this mount still has power.
    fn with<T>(&self, operation: impl FnOnce(&mut Disk) -> Result<T>) -> std::result::Result<T, Errno> {
        let mut shared = lock(&self.shared);
        if shared.powered != Some(self.generation) {
            return Err(Errno::EIO);
        }
        operation(&mut shared.disk).map_err(errno)
    }

    /// The time that a sync takes; the power may go meanwhile.
    fn spin(&self) {
        let share = lock(&self.shared).rng.below(1 << 16) as u32;
        std::thread::sleep(SYNC_MAX * share / (1 << 16));
    }

    fn entry(&self, reply: ReplyEntry, operation: impl FnOnce(&mut Disk) -> Result<Status>) {
        match self.with(operation) {
            Ok(status) => reply.entry(&TTL, &attributes(&status), Generation(0)),
            Err(error) => reply.error(error),
        }
    }

    fn empty(&self, reply: ReplyEmpty, operation: impl FnOnce(&mut Disk) -> Result<()>) {
        match self.with(operation) {
            Ok(()) => reply.ok(),
            Err(error) => reply.error(error),
        }
    }

    fn attr(&self, reply: ReplyAttr, operation: impl FnOnce(&mut Disk) -> Result<Status>) {
        match self.with(operation) {
            Ok(status) => reply.attr(&TTL, &attributes(&status)),
            Err(error) => reply.error(error),
        }
    }

    fn listings(&self) -> MutexGuard<'_, Listings> {
        self.listings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Filesystem for Layer {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        // The kernel may offer less; then pieces are smaller.
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, |disk| disk.look_up((parent.0, name)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.attr(reply, |disk| disk.status(ino.0));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.attr(reply, |disk| {
            disk.set_rights(ino.0, mode.map(|mode| (mode & 0o7777) as u16), uid, gid)?;
            if let Some(size) = size {
                disk.set_size(ino.0, size)?;
            }
            match mtime {
                Some(TimeOrNow::SpecificTime(time)) => disk.set_modified(ino.0, time)?,
                Some(TimeOrNow::Now) => disk.set_modified(ino.0, SystemTime::now())?,
                None => {}
            }
            disk.status(ino.0)
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        self.entry(reply, |disk| {
            let kind = match mode & libc::S_IFMT {
                libc::S_IFREG => Kind::File,
                libc::S_IFSOCK => Kind::Socket,
                _ => return Err(ErrorKind::Unsupported),
            };
            disk.create((parent.0, name), kind, rights(request, mode, umask))
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.entry(reply, |disk| {
            disk.create((parent.0, name), Kind::Directory, rights(request, mode, umask))
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |disk| disk.unlink((parent.0, name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty(reply, |disk| disk.remove_dir((parent.0, name)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.empty(reply, |disk| {
            if !(flags - RenameFlags::RENAME_NOREPLACE).is_empty() {
                return Err(ErrorKind::InvalidInput);
            }
            let replace = !flags.contains(RenameFlags::RENAME_NOREPLACE);
            disk.rename((parent.0, name), (newparent.0, newname), replace)
        });
    }

    fn link(&self, _: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        self.entry(reply, |disk| disk.link(ino.0, (newparent.0, newname)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let created = self.with(|disk| {
            let status = disk.create((parent.0, name), Kind::File, rights(request, mode, umask))?;
            disk.opened(status.ino)?;
            Ok(status)
        });
        match created {
            Ok(status) => {
                let attributes = attributes(&status);
                reply.created(
                    &TTL,
                    &attributes,
                    Generation(0),
                    FileHandle(0),
                    FopenFlags::empty(),
                );
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.with(|disk| disk.opened(ino.0)) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::empty()),
            Err(error) => reply.error(error),
        }
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.empty(reply, |disk| disk.closed(ino.0));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.with(|disk| disk.read(ino.0, range(offset, size.into())?)) {
            Ok(data) => reply.data(&data),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.with(|disk| disk.write(ino.0, offset, data)) {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // What close(2) asks for: nothing is held back here, and nothing becomes safe by it.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.spin();
        self.empty(reply, |disk| disk.sync(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.spin();
        self.empty(reply, |disk| disk.sync_dir(ino.0));
    }

    fn opendir(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.with(|disk| disk.list(ino.0)) {
            Ok(mut entries) => {
                // Parents are the kernel's business; any number will do for them.
                entries.insert(0, ("..".into(), ino.0, Kind::Directory));
                entries.insert(0, (".".into(), ino.0, Kind::Directory));
                let mut listings = self.listings();
                listings.last += 1;
                let handle = listings.last;
                listings.open.insert(handle, entries);
                reply.opened(FileHandle(handle), FopenFlags::empty());
            }
            Err(error) => reply.error(error),
        }
    }

    fn readdir(&self, _: &Request, _: INodeNo, handle: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listings = self.listings();
        let entries = listings.open.get(&handle.0).into_iter().flatten();
        for ((name, ino, kind), next) in entries.zip(1u64..).skip(offset as usize) {
            if reply.add(INodeNo(*ino), next, file_type(*kind), name) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.listings().open.remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.with(|disk| Ok(disk.space())) {
            Ok(space) => {
                let page = crate::content::PAGE_BYTES as u32;
                reply.statfs(space.total, space.free, space.free, 0, 0, page, 255, page);
            }
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        const KEEP_SIZE: i32 = libc::FALLOC_FL_KEEP_SIZE;
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        self.empty(reply, |disk| {
            let range = range(offset, length)?;
            match mode {
                0 | KEEP_SIZE => disk.reserve(ino.0, range, mode == 0),
                PUNCH => disk.punch(ino.0, range),
                _ => Err(ErrorKind::Unsupported),
            }
        });
    }

    fn lseek(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: i64, whence: i32, reply: ReplyLseek) {
        let found = self.with(|disk| {
            let from = u64::try_from(offset).map_err(|_| ErrorKind::InvalidInput)?;
            match whence {
                libc::SEEK_DATA => disk.seek(ino.0, from, true),
                libc::SEEK_HOLE => disk.seek(ino.0, from, false),
                _ => Err(ErrorKind::InvalidInput),
            }
        });
        match found.map(|found| found.and_then(|at| i64::try_from(at).ok())) {
            Ok(Some(at)) => reply.offset(at),
            Ok(None) => reply.error(Errno::ENXIO),
            Err(error) => reply.error(error),
        }
    }
}
