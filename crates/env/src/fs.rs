//! Files and directories, as a storage engine needs them: positions, gathers, syncs, holes.
//!
//! What may be relied on, and no more: bytes written and then covered by a successful [`File::sync`]
//! survive a power cut; a name made, renamed or removed and then covered by a successful
//! [`Fs::sync_dir`] of its directory does too. Anything else may or may not, in any subset of
//! 512-byte sectors and in any order. After a failed sync the state of unsynced bytes is unknown for
//! ever: asking again proves nothing.

use crate::real::Lent;
use crate::{LocalFuture, mutant};
use bytes::Bytes;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reads only.
    Read,
    /// Must exist; reads and writes.
    ReadWrite,
    /// Made empty if it does not exist; reads and writes.
    Create,
    /// Must not exist ([`io::ErrorKind::AlreadyExists`] otherwise); reads and writes.
    CreateNew,
}

/// An open file. All offsets and lengths are in bytes.
pub trait File {
    /// Current size.
    fn size(&self) -> LocalFuture<'_, io::Result<u64>>;
    /// Exactly `len` bytes from `offset`; past the end is [`io::ErrorKind::UnexpectedEof`].
    fn read_at(&self, offset: u64, len: usize) -> LocalFuture<'_, io::Result<Bytes>>;
    /// As [`File::read_at`], of bytes that will hardly be read again: what of them is not in the system's cache does not push others
    /// out of it, where the system can do that.
    fn read_once(&self, offset: u64, len: usize) -> LocalFuture<'_, io::Result<Bytes>> {
        self.read_at(offset, len)
    }
    /// The range for a peer to take from the system's cache, if all of it is there now ([`crate::real::net::Stream::send`]). The
    /// peer gets what the file holds when it takes it: only for places whose content may be replaced by newer
    /// content of the same place and by nothing else. `None`: read it.
    fn lend(&self, _offset: u64, _len: usize) -> Option<Lent> {
        None
    }
    /// Writes all of `data`, one piece after the other, from `offset` on. On an error any part of it
    /// may have been written. Dropping the future does not stop the write.
    fn write_at(&self, offset: u64, data: Vec<Bytes>) -> LocalFuture<'_, io::Result<()>>;
    /// Waits until what was written from `offset` on, `len` bytes or (0) to the end, has been handed to the medium. Nothing is
    /// durable by this: it only keeps a later sync, of this file or of another, from finding much to do at once. An error
    /// means what a failed sync means.
    fn write_out(&self, _offset: u64, _len: u32) -> LocalFuture<'_, io::Result<()>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// [`File::write_at`] and [`File::write_out`], for what can wait: done behind everything else that wants a processor.
    fn write_background(&self, offset: u64, data: Vec<Bytes>) -> LocalFuture<'_, io::Result<()>> {
        self.write_at(offset, data)
    }
    /// Makes all writes durable that completed before this call (fdatasync, size included).
    fn sync(&self) -> LocalFuture<'_, io::Result<()>>;
    /// Cuts or extends (with a hole) to `size`.
    fn set_size(&self, size: u64) -> LocalFuture<'_, io::Result<()>>;
    /// Reserves space for a range, within or past the size, which stays as it is; holes in it keep reading as zeros.
    fn allocate(&self, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>>;
    /// Gives a range's space back; it reads as zeros from now on. The size stays.
    fn punch(&self, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>>;
    /// The first range `start..end` in `from..limit` that may hold data (not a hole), or `None`.
    fn next_data(&self, from: u64, limit: u64) -> LocalFuture<'_, io::Result<Option<(u64, u64)>>>;
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name, without its directory.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Room in a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total_bytes: u64,
    /// Bytes that we may still use.
    pub available_bytes: u64,
}

/// An exclusive lock on a directory, held until dropped; a crash of the holder frees it.
pub trait DirLock {}

/// Names of files and directories.
pub trait Fs {
    /// Opens a file.
    fn open(&self, path: &Path, mode: OpenMode) -> LocalFuture<'_, io::Result<Rc<dyn File>>>;
    /// The directory's entries, sorted by name.
    fn list(&self, dir: &Path) -> LocalFuture<'_, io::Result<Vec<DirEntry>>>;
    /// As [`Fs::list`], with the size of every file in bytes (0 for directories).
    fn list_sizes(&self, dir: &Path) -> LocalFuture<'_, io::Result<Vec<(DirEntry, u64)>>>;
    /// Makes a directory and those above it; existing ones are fine. Durable once the *parents* are
    /// synced; [`crate::fs::create_dir_durable`] does both.
    fn create_dir_all(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>>;
    /// Renames, replacing what was at `to`.
    fn rename(&self, from: &Path, to: &Path) -> LocalFuture<'_, io::Result<()>>;
    /// Gives the file at `from` the further name `to`, which must not exist ([`io::ErrorKind::AlreadyExists`]).
    fn link_new(&self, from: &Path, to: &Path) -> LocalFuture<'_, io::Result<()>>;
    /// Removes a file.
    fn remove_file(&self, path: &Path) -> LocalFuture<'_, io::Result<()>>;
    /// Removes a directory and all below it.
    fn remove_dir_all(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>>;
    /// Makes earlier changes of names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>>;
    /// Whether something has that name.
    fn exists(&self, path: &Path) -> LocalFuture<'_, io::Result<bool>>;
    /// Takes the exclusive lock of `dir` (a file `lock` in it); held by another: [`io::ErrorKind::WouldBlock`].
    fn lock_dir(&self, dir: &Path) -> LocalFuture<'_, io::Result<Box<dyn DirLock>>>;
    /// Room left where `dir` lives.
    fn space(&self, dir: &Path) -> LocalFuture<'_, io::Result<Space>>;
}

/// Makes `dir` and every missing directory above it, each durable before this returns.
///
/// One level after the other, each synced into its parent before the next is made. So what exists is
/// durable, but for the deepest that exists, which is synced too: who made it may have been killed.
pub async fn create_dir_durable(fs: &dyn Fs, dir: &Path) -> io::Result<()> {
    let mut to_sync = Vec::new();
    let mut at = Some(dir);
    let mut existing = None;
    while let Some(path) = at.filter(|path| !path.as_os_str().is_empty()) {
        to_sync.push(path);
        if fs.exists(path).await? {
            existing = Some(path);
            break;
        }
        at = path.parent();
    }
    for path in to_sync.into_iter().rev() {
        let Some(parent) = path.parent() else { continue };
        if existing != Some(path) {
            fs.create_dir_all(path).await?;
        }
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        if mutant::on("env-create-dir-without-sync") {
            continue;
        }
        match fs.sync_dir(parent).await {
            // We did not make it: a place that others manage may not be ours to read.
            Err(error) if existing == Some(path) && error.kind() == io::ErrorKind::PermissionDenied => {}
            synced => synced?,
        }
    }
    fs.create_dir_all(dir).await
}

/// The whole of a small file, or `None` when there is none.
pub async fn read_small(fs: &dyn Fs, path: &Path) -> io::Result<Option<Bytes>> {
    let file = match fs.open(path, OpenMode::Read).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = usize::try_from(file.size().await?).map_err(io::Error::other)?;
    file.read_at(0, size).await.map(Some)
}

/// Puts `data` at `path` so that after a crash there is the old file or the new one, never a mixture:
/// written beside it, synced, renamed, directory synced.
pub async fn write_atomic(fs: &dyn Fs, path: &Path, data: Bytes) -> io::Result<()> {
    let dir = path
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?
        .to_owned();
    name.push(".tmp");
    let beside = dir.join(name);
    let file = fs.open(&beside, OpenMode::Create).await?;
    file.set_size(0).await?;
    file.write_at(0, vec![data]).await?;
    if !mutant::on("env-atomic-without-sync") {
        file.sync().await?;
    }
    fs.rename(&beside, path).await?;
    if mutant::on("env-atomic-without-dir-sync") {
        return Ok(());
    }
    fs.sync_dir(dir).await
}
