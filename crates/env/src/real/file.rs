//! Files: what the page cache can answer is done at once, the rest goes to the driver.

#![allow(unsafe_code)]

use super::lend::Lent;
use super::op::{self, Op, Pieces};
use super::runtime::{Runtime, call_detached};
use crate::{File, LocalFuture};
use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::Errno;
use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;

/// Writes up to this size go into the page cache at once; larger ones go to the driver.
///
/// The kernel hands every buffered write on ext4 to a worker thread, whether it would wait or not.
/// Measured on ext4 (Linux 6.18, two busy cores; at once / ring, in microseconds per write): 4 KiB at
/// depth 1 takes 19 / 28, and 9.9 / 14.4 of processor time; at depth 32, 9.4 / 13.0 of processor time;
/// 64 KiB at depth 1 takes 42 / 54. So the ring never saves work. It saves the time of this thread (3
/// to 5 per write whatever the size, against 10 for 4 KiB, 24 for 64 KiB and 45 for 256 KiB), which
/// other guests' requests wait for: that decides for large writes.
const INLINE_WRITE_BYTES_MAX: usize = 64 << 10;

/// An open file.
pub(super) struct RealFile {
    runtime: Rc<Runtime>,
    fd: Arc<OwnedFd>,
    /// Whether the file system can say that a read would wait.
    reads_nowait: Cell<bool>,
    /// Whether it can leave what is read out of the cache.
    reads_once: Cell<bool>,
}

impl RealFile {
    pub(super) fn new(runtime: Rc<Runtime>, fd: OwnedFd) -> Self {
        Self {
            runtime,
            fd: Arc::new(fd),
            reads_nowait: Cell::new(true),
            reads_once: Cell::new(true),
        }
    }

    /// A call that may block, on another thread.
    fn call<T: Send + 'static>(
        &self,
        work: impl Fn(&OwnedFd) -> rustix::io::Result<T> + Send + 'static,
    ) -> LocalFuture<'_, io::Result<T>> {
        Box::pin(async move {
            self.runtime.check_running()?;
            let fd = self.fd.clone();
            Ok(self.runtime.call(move || retry(|| work(&fd))).await?)
        })
    }

    /// Reads into the empty `buf` what the page cache has of the range, perhaps nothing.
    fn read_cached(&self, offset: u64, buf: &mut Vec<u8>, len: usize) {
        match op::read_into(&self.fd, offset, buf, len, libc::RWF_NOWAIT) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.reads_nowait.set(false),
        }
    }

    async fn read(&self, offset: u64, len: usize, once: bool) -> io::Result<Bytes> {
        self.runtime.check_running()?;
        if len == 0 {
            return Ok(Bytes::new());
        }
        self.runtime.pace().await;
        let mut buf = Vec::with_capacity(len);
        if self.reads_nowait.get() {
            self.read_cached(offset, &mut buf, len);
            if buf.len() == len {
                return Ok(buf.into());
            }
        }
        let op = Op::Read {
            fd: self.fd.clone(),
            offset,
            buf,
            len,
            once: once && self.reads_once.get(),
        };
        match self.runtime.file_op(op).await {
            (Op::Read { buf, once: did, .. }, Ok(())) => {
                if once && !did {
                    self.reads_once.set(false);
                }
                Ok(buf.into())
            }
            (_, done) => Err(done
                .err()
                .unwrap_or_else(|| io::Error::other("a read became something else"))),
        }
    }
}

impl Drop for RealFile {
    fn drop(&mut self) {
        // The last close of a removed file frees all its space, which can take long.
        if rustix::fs::fstat(&*self.fd).is_ok_and(|stat| stat.st_nlink == 0) {
            let fd = self.fd.clone();
            call_detached(move || drop(fd));
        }
    }
}

/// Repeats a call that a signal interrupted.
pub(super) fn retry<T>(call: impl Fn() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    loop {
        match call() {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

impl File for RealFile {
    fn size(&self) -> LocalFuture<'_, io::Result<u64>> {
        // From the inode in memory: never waits on a local file system.
        let size = rustix::fs::fstat(&*self.fd).map(|stat| stat.st_size as u64);
        Box::pin(std::future::ready(size.map_err(io::Error::from)))
    }

    fn read_at(&self, offset: u64, len: usize) -> LocalFuture<'_, io::Result<Bytes>> {
        Box::pin(self.read(offset, len, false))
    }

    fn read_once(&self, offset: u64, len: usize) -> LocalFuture<'_, io::Result<Bytes>> {
        Box::pin(self.read(offset, len, true))
    }

    fn lend(&self, offset: u64, len: usize) -> Option<Lent> {
        Lent::of(&self.fd, offset, len)
    }

    fn write_at(&self, mut offset: u64, data: Vec<Bytes>) -> LocalFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.runtime.check_running()?;
            let mut left = Pieces::new(data);
            if left.is_done() {
                return Ok(());
            }
            self.runtime.pace().await;
            if left.bytes() <= INLINE_WRITE_BYTES_MAX {
                let count = left.gather(|slices| retry(|| rustix::io::pwritev(&*self.fd, slices, offset)))?;
                left.advance(count);
                if left.is_done() {
                    return Ok(());
                }
                offset += count as u64;
            }
            self.runtime
                .file_op(Op::Write {
                    fd: self.fd.clone(),
                    offset,
                    left,
                })
                .await
                .1
        })
    }

    fn write_background(&self, offset: u64, data: Vec<Bytes>) -> LocalFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.runtime.check_running()?;
            let left = Pieces::new(data);
            if left.is_done() {
                return Ok(());
            }
            let (fd, len) = (self.fd.clone(), left.bytes());
            let work = move || {
                let write = Op::Write {
                    fd: fd.clone(),
                    offset,
                    left,
                };
                let len = u32::try_from(len).unwrap_or(0);
                [write, Op::WriteOut { fd, offset, len }]
                    .iter_mut()
                    .try_for_each(Op::run_blocking)
            };
            self.runtime.call_idle(work).await
        })
    }

    fn write_out(&self, offset: u64, len: u32) -> LocalFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.runtime.check_running()?;
            let fd = self.fd.clone();
            self.runtime.file_op(Op::WriteOut { fd, offset, len }).await.1
        })
    }

    fn sync(&self) -> LocalFuture<'_, io::Result<()>> {
        Box::pin(async move {
            self.runtime.check_running()?;
            self.runtime.file_op(Op::Sync { fd: self.fd.clone() }).await.1
        })
    }

    fn set_size(&self, size: u64) -> LocalFuture<'_, io::Result<()>> {
        self.call(move |fd| rustix::fs::ftruncate(fd, size))
    }

    fn allocate(&self, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        self.call(move |fd| rustix::fs::fallocate(fd, FallocateFlags::KEEP_SIZE, offset, len))
    }

    fn punch(&self, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        self.call(move |fd| rustix::fs::fallocate(fd, flags, offset, len))
    }

    fn next_data(&self, from: u64, limit: u64) -> LocalFuture<'_, io::Result<Option<(u64, u64)>>> {
        // The file's own position is moved by this; nothing else uses it.
        self.call(move |fd| match rustix::fs::seek(fd, SeekFrom::Data(from)) {
            Ok(start) if start < limit => {
                let end = rustix::fs::seek(fd, SeekFrom::Hole(start))?;
                Ok(Some((start, end.min(limit))))
            }
            // NXIO: only a hole from there to the end.
            Ok(_) | Err(Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno),
        })
    }
}
