//! Ranges of files that a peer takes straight out of the system's cache, without a copy through memory of ours.
//!
//! A peer at a socket (`Lent::send`) or one that shares its memory with us ([`Lent::copy_to`]).
//!
//! The kernel hands the cache's pages to the socket (`sendfile`, which moves references for TCP, and since Linux 6.5 for unix
//! sockets). What the peer gets is therefore what the file holds when the peer *takes* it, not when it was lent.
//! Lending is only offered where `cachestat` (Linux 6.5) says that the whole range is in the cache: elsewhere a reader has to
//! wait for the medium, and learns of its errors, which is what [`crate::File::read_at`] is for.

#![allow(unsafe_code)]

use rustix::io::Errno;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// `cachestat(2)`: one number on every architecture.
const SYS_CACHESTAT: libc::c_long = 451;
/// The unit in which `cachestat` counts.
const PAGE_BYTES: u64 = 4096;

/// Set once the kernel has refused `cachestat`: it is older, or something forbids the call.
static REFUSED: AtomicBool = AtomicBool::new(false);

#[repr(C)]
struct CachestatRange {
    off: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Cachestat {
    cache: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// A range of an open file; see the module.
#[derive(Clone, Debug)]
pub struct Lent {
    file: Arc<OwnedFd>,
    offset: u64,
    len: usize,
}

impl Lent {
    /// The range, if all of it is in the system's cache.
    pub(super) fn of(file: &Arc<OwnedFd>, offset: u64, len: usize) -> Option<Self> {
        let pages = (offset + len as u64).div_ceil(PAGE_BYTES) - offset / PAGE_BYTES;
        (cached_pages(file, offset, len as u64)? == pages).then(|| Self {
            file: file.clone(),
            offset,
            len,
        })
    }

    /// Bytes in it.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is left of it.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Sends from its front what `socket` takes, and cuts that off. Waits as long as the socket's own time limit allows, or
    /// for the medium where the cache has lost a page meanwhile.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let Ok(mut at) = libc::off_t::try_from(self.offset) else {
            return Err(Errno::OVERFLOW.into());
        };
        // SAFETY: both descriptors are open, and the offset outlives the call.
        let count =
            unsafe { libc::sendfile(socket.as_raw_fd(), self.file.as_raw_fd(), &raw mut at, self.len) };
        match usize::try_from(count) {
            // The file has been cut: nothing here does that to a file that is lent.
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.cut(count);
                Ok(())
            }
            Err(_) => Err(io::Error::last_os_error()),
        }
    }
}

impl Lent {
    /// Copies from its front to memory that this process may not be alone in using, and cuts that off: how many bytes that were,
    /// at least one. Waits for the medium where the cache has lost a page meanwhile.
    ///
    /// # Safety
    /// `len` bytes from `to` on stay mapped and writable during the call, and no Rust reference to them is used.
    ///
    /// # Errors
    /// The medium's, and those of a file that has become shorter.
    pub unsafe fn copy_to(&mut self, to: *mut u8, len: usize) -> io::Result<usize> {
        let Ok(at) = libc::off_t::try_from(self.offset) else {
            return Err(Errno::OVERFLOW.into());
        };
        // SAFETY: the caller's promise; the kernel writes no more than `len` bytes.
        let count = unsafe { libc::pread(self.file.as_raw_fd(), to.cast(), len.min(self.len), at) };
        match usize::try_from(count) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                self.cut(count);
                Ok(count)
            }
            Err(_) => Err(io::Error::last_os_error()),
        }
    }

    fn cut(&mut self, count: usize) {
        self.offset += count as u64;
        self.len -= count;
    }
}

/// How many pages of the range are in the cache; `None` where the kernel does not tell.
fn cached_pages(file: &OwnedFd, offset: u64, len: u64) -> Option<u64> {
    if REFUSED.load(Ordering::Relaxed) {
        return None;
    }
    let range = CachestatRange { off: offset, len };
    let mut found = Cachestat::default();
    // SAFETY: the kernel reads the first and fills the second, both of the layout that it documents.
    let done = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut found,
            0,
        )
    };
    if done != 0 {
        REFUSED.store(true, Ordering::Relaxed);
        tracing::debug!(error = %io::Error::last_os_error(), "nothing is lent from the system's cache");
        return None;
    }
    Some(found.cache)
}
