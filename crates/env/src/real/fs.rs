//! Names of files and directories: calls that may block, each on another thread.

use super::file::{RealFile, retry};
use super::runtime::Runtime;
use crate::{DirEntry, DirLock, File, Fs, LocalFuture, OpenMode, Space};
use rustix::fs::{FlockOperation, Mode, OFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

/// Rights of new files, before the umask: what we keep is nobody else's business.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// The file systems of this machine.
#[derive(Clone)]
pub(super) struct RealFs {
    runtime: Rc<Runtime>,
}

impl RealFs {
    pub(super) fn new(runtime: Rc<Runtime>) -> Self {
        Self { runtime }
    }

    fn call<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> LocalFuture<'_, io::Result<T>> {
        let path = path.to_owned();
        Box::pin(async move {
            self.runtime.check_running()?;
            self.runtime.call(move || work(&path)).await
        })
    }
}

fn open(path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    Ok(retry(|| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, FILE_MODE)
    })?)
}

/// What `with` makes of the entries of `dir`, sorted; those that vanish meanwhile are left out.
fn list<T: Ord>(
    dir: &Path,
    with: impl Fn(&std::fs::DirEntry, DirEntry) -> io::Result<T>,
) -> io::Result<Vec<T>> {
    let mut entries = Vec::new();
    for found in std::fs::read_dir(dir)? {
        let found = found?;
        let name = found.file_name().into_string().map_err(|name| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{} holds the name {name:?}", dir.display()),
            )
        })?;
        let entry = found.file_type().and_then(|kind| {
            with(
                &found,
                DirEntry {
                    name,
                    is_dir: kind.is_dir(),
                },
            )
        });
        match entry {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            entry => entries.push(entry?),
        }
    }
    entries.sort();
    Ok(entries)
}

impl Fs for RealFs {
    fn open(&self, path: &Path, mode: OpenMode) -> LocalFuture<'_, io::Result<Rc<dyn File>>> {
        let flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::ReadWrite => OFlags::RDWR,
            OpenMode::Create => OFlags::RDWR | OFlags::CREATE,
            OpenMode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let opened = self.call(path, move |path| {
            let fd = open(path, flags)?;
            // Linux lets a directory be opened for reading; a file is what was asked for.
            if mode == OpenMode::Read
                && rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode).is_dir()
            {
                return Err(rustix::io::Errno::ISDIR.into());
            }
            Ok(fd)
        });
        Box::pin(
            async move { Ok(Rc::new(RealFile::new(self.runtime.clone(), opened.await?)) as Rc<dyn File>) },
        )
    }

    fn list(&self, dir: &Path) -> LocalFuture<'_, io::Result<Vec<DirEntry>>> {
        self.call(dir, |dir| list(dir, |_, entry| Ok(entry)))
    }

    fn list_sizes(&self, dir: &Path) -> LocalFuture<'_, io::Result<Vec<(DirEntry, u64)>>> {
        self.call(dir, |dir| {
            list(dir, |found, entry| {
                let bytes = if entry.is_dir { 0 } else { found.metadata()?.len() };
                Ok((entry, bytes))
            })
        })
    }

    fn create_dir_all(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.call(dir, |dir| std::fs::create_dir_all(dir))
    }

    fn rename(&self, from: &Path, to: &Path) -> LocalFuture<'_, io::Result<()>> {
        let to = to.to_owned();
        self.call(from, move |from| std::fs::rename(from, to))
    }

    fn link_new(&self, from: &Path, to: &Path) -> LocalFuture<'_, io::Result<()>> {
        let to = to.to_owned();
        self.call(from, move |from| std::fs::hard_link(from, to))
    }

    fn remove_file(&self, path: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.call(path, |path| std::fs::remove_file(path))
    }

    fn remove_dir_all(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.call(dir, |dir| std::fs::remove_dir_all(dir))
    }

    fn sync_dir(&self, dir: &Path) -> LocalFuture<'_, io::Result<()>> {
        self.call(dir, |dir| {
            let fd = open(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
            // Never repeated: after a failed sync a second one proves nothing.
            Ok(rustix::fs::fsync(fd)?)
        })
    }

    fn exists(&self, path: &Path) -> LocalFuture<'_, io::Result<bool>> {
        self.call(path, |path| path.try_exists())
    }

    fn lock_dir(&self, dir: &Path) -> LocalFuture<'_, io::Result<Box<dyn DirLock>>> {
        let locked = self.call(dir, |dir| {
            let fd = open(&dir.join("lock"), OFlags::RDWR | OFlags::CREATE)?;
            retry(|| rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive))?;
            Ok(fd)
        });
        Box::pin(async move {
            let fd = Arc::new(locked.await?);
            Ok(Box::new(RealLock {
                runtime: self.runtime.clone(),
                fd,
            }) as Box<dyn DirLock>)
        })
    }

    fn space(&self, dir: &Path) -> LocalFuture<'_, io::Result<Space>> {
        self.call(dir, |dir| {
            let stat = rustix::fs::statvfs(dir)?;
            let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
            Ok(Space {
                total_bytes: bytes(stat.f_blocks),
                available_bytes: bytes(stat.f_bavail),
            })
        })
    }
}

struct RealLock {
    runtime: Rc<Runtime>,
    fd: Arc<OwnedFd>,
}

impl DirLock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // A write that nobody waits for any more may still run; the next owner must not see it land.
        self.runtime.hold(&self.fd);
    }
}
