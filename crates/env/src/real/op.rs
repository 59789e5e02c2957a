//! Operations that move bytes, as values that own what the kernel works on.
//!
//! An operation is a small state machine: a driver carries it out once, tells it the answer, and does
//! it again until it is done. So short reads, short writes, EINTR and gathers longer than the kernel
//! takes are handled in one place, for both drivers, and also when nobody waits any more.

#![allow(unsafe_code)]

use super::readiness::Interest;
use bytes::Bytes;
use rustix::event::{PollFd, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

/// Pieces that one call may gather (the kernel's UIO_MAXIOV).
const GATHER_MAX: usize = 1024;
/// Pieces of a usual reply or record, for which no list is allocated.
const GATHER_ON_STACK: usize = 8;
/// Bytes asked for in one call; the kernel would cut at just below 2 GiB.
pub(super) const CALL_BYTES_MAX: usize = 1 << 30;

/// What is left of a gather.
pub(super) struct Pieces {
    pieces: Vec<Bytes>,
    /// The first piece that is not wholly done.
    first: usize,
    /// Bytes of it that are done.
    skip: usize,
}

impl Pieces {
    pub(super) fn new(pieces: Vec<Bytes>) -> Self {
        let mut this = Self {
            pieces,
            first: 0,
            skip: 0,
        };
        this.advance(0);
        this
    }

    pub(super) fn is_done(&self) -> bool {
        self.first == self.pieces.len()
    }

    /// How much is left.
    pub(super) fn bytes(&self) -> usize {
        self.pieces[self.first..].iter().map(Bytes::len).sum::<usize>() - self.skip
    }

    /// Takes `count` bytes off the front, and empty pieces after them.
    pub(super) fn advance(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.get(self.first) {
            let left = piece.len() - self.skip;
            if count < left {
                self.skip += count;
                return;
            }
            count -= left;
            self.first += 1;
            self.skip = 0;
        }
        assert!(count == 0, "the kernel took more bytes than there were");
    }

    /// What one call may take.
    pub(super) fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let pieces = self.pieces[self.first..].iter().take(GATHER_MAX).enumerate();
        pieces.map(|(index, piece)| {
            if index == 0 {
                &piece[self.skip..]
            } else {
                &piece[..]
            }
        })
    }

    /// Hands what one call may take to `call`.
    pub(super) fn gather<T>(&self, call: impl FnOnce(&[IoSlice<'_>]) -> T) -> T {
        let count = self.pieces.len() - self.first;
        if count > GATHER_ON_STACK {
            return call(&self.slices().map(IoSlice::new).collect::<Vec<_>>());
        }
        let mut slices = [IoSlice::new(&[]); GATHER_ON_STACK];
        self.slices()
            .zip(&mut slices)
            .for_each(|(slice, place)| *place = IoSlice::new(slice));
        call(&slices[..count])
    }

    /// Whether one piece is all that is left.
    pub(super) fn single(&self) -> Option<&[u8]> {
        (self.first + 1 == self.pieces.len()).then(|| &self.pieces[self.first][self.skip..])
    }
}

/// What the kernel is told of a read (`preadv2`).
pub(super) fn read_flags(once: bool) -> libc::c_int {
    /// Since Linux 6.14; the C library's headers may not know it.
    const RWF_DONTCACHE: libc::c_int = 0x80;
    if once { RWF_DONTCACHE } else { 0 }
}

fn is_missing_call(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL)
    )
}

/// `sync_file_range` that writes what is dirty and waits for it.
pub(super) const WRITE_OUT: libc::c_uint =
    libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE | libc::SYNC_FILE_RANGE_WAIT_AFTER;

fn write_out(fd: &OwnedFd, offset: u64, len: u32) -> Result<(), Errno> {
    let at = libc::off64_t::try_from(offset).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: takes numbers only.
    match unsafe { libc::sync_file_range(fd.as_raw_fd(), at, len.into(), WRITE_OUT) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

/// Reads at most `max` bytes from `offset` on behind the end of `buf`, within its capacity; tells how many.
pub(super) fn read_into(
    fd: &OwnedFd,
    offset: u64,
    buf: &mut Vec<u8>,
    max: usize,
    flags: libc::c_int,
) -> Result<usize, Errno> {
    let spare = &mut buf.spare_capacity_mut()[..max.min(CALL_BYTES_MAX)];
    let vector = libc::iovec {
        iov_base: spare.as_mut_ptr().cast(),
        iov_len: spare.len(),
    };
    let at = libc::off_t::try_from(offset).map_err(|_| Errno::OVERFLOW)?;
    // SAFETY: the vector describes memory that we own and that nothing else uses meanwhile.
    let count = unsafe { libc::preadv2(fd.as_raw_fd(), &vector, 1, at, flags) };
    let Ok(count) = usize::try_from(count) else {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
    };
    // SAFETY: the kernel has just filled that many bytes of the spare capacity.
    unsafe { grow(buf, count) };
    Ok(count)
}

/// Lengthens `buf` by `count` bytes of its spare capacity.
///
/// # Safety
/// The first `count` bytes of the spare capacity must have been written.
pub(super) unsafe fn grow(buf: &mut Vec<u8>, count: usize) {
    assert!(
        count <= buf.capacity() - buf.len(),
        "the kernel filled more than there was room for"
    );
    // SAFETY: within the capacity by the check above, initialised by the caller's promise.
    unsafe { buf.set_len(buf.len() + count) }
}

fn advance_gather(left: &mut Pieces, count: usize) -> Step {
    left.advance(count);
    match (left.is_done(), count) {
        (true, _) => Step::Done(Ok(())),
        (false, 0) => Step::Done(Err(io::ErrorKind::WriteZero.into())),
        (false, _) => Step::Again,
    }
}

/// An operation; see the module.
pub(super) enum Op {
    /// Fills `buf` up to `len` bytes from `offset + buf.len()`. `once`: leaves nothing in the cache that was not there; lowered
    /// where the kernel or the file system cannot do that.
    Read {
        fd: Arc<OwnedFd>,
        offset: u64,
        buf: Vec<u8>,
        len: usize,
        once: bool,
    },
    /// Writes what is `left` at `offset`.
    Write {
        fd: Arc<OwnedFd>,
        offset: u64,
        left: Pieces,
    },
    /// Hands dirty pages to the medium and waits for that; `len` 0: all behind `offset`.
    WriteOut { fd: Arc<OwnedFd>, offset: u64, len: u32 },
    /// fdatasync.
    Sync { fd: Arc<OwnedFd> },
    /// Puts what has arrived into the empty `buf`, `max` bytes at most.
    Recv {
        fd: Arc<OwnedFd>,
        buf: Vec<u8>,
        max: usize,
    },
    /// Sends all that is `left`.
    Send { fd: Arc<OwnedFd>, left: Pieces },
    /// Waits until something can be read, or written, and does neither.
    Poll { fd: Arc<OwnedFd>, interest: Interest },
}

/// What comes after an answer of the kernel.
pub(super) enum Step {
    /// Carry the operation out again.
    Again,
    /// It has ended.
    Done(io::Result<()>),
}

impl Op {
    /// Whether its end depends on another party, so that it must be cancelled when nobody waits.
    pub(super) fn may_last(&self) -> bool {
        matches!(self, Self::Recv { .. } | Self::Send { .. } | Self::Poll { .. })
    }

    /// Takes in an answer. For `Read` and `Recv` the buffer already has the new length.
    pub(super) fn answered(&mut self, answer: io::Result<usize>) -> Step {
        let count = match answer {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Step::Again,
            Err(error) => {
                if let Self::Read { once, .. } = self
                    && Errno::from_io_error(&error) == Some(Errno::OPNOTSUPP)
                    && std::mem::take(once)
                {
                    return Step::Again;
                }
                // Where the kernel has no such call, nothing was tried and nothing can have failed: the sync does all the work.
                if matches!(self, Self::WriteOut { .. }) && is_missing_call(&error) {
                    return Step::Done(Ok(()));
                }
                return Step::Done(Err(error));
            }
        };
        match self {
            Self::Read { buf, len, .. } if buf.len() == *len => Step::Done(Ok(())),
            Self::Read { .. } if count == 0 => Step::Done(Err(io::ErrorKind::UnexpectedEof.into())),
            Self::Read { .. } => Step::Again,
            Self::Write { left, offset, .. } => {
                *offset += count as u64;
                advance_gather(left, count)
            }
            Self::Send { left, .. } => advance_gather(left, count),
            Self::WriteOut { .. } | Self::Sync { .. } | Self::Recv { .. } | Self::Poll { .. } => {
                Step::Done(Ok(()))
            }
        }
    }

    /// Carries a file operation out, blocking this thread.
    pub(super) fn run_blocking(&mut self) -> io::Result<()> {
        loop {
            let answer = self.call(SendFlags::empty(), RecvFlags::empty());
            if let Step::Done(done) = self.answered(answer) {
                return done;
            }
        }
    }

    /// Carries a socket operation out as far as it goes without waiting: `None` if it must wait.
    pub(super) fn run_ready(&mut self) -> Option<io::Result<()>> {
        loop {
            let answer = self.call(SendFlags::DONTWAIT, RecvFlags::DONTWAIT);
            if answer
                .as_ref()
                .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            {
                return None;
            }
            if let Step::Done(done) = self.answered(answer) {
                return Some(done);
            }
        }
    }

    fn call(&mut self, send: SendFlags, recv: RecvFlags) -> io::Result<usize> {
        let answer: Result<usize, Errno> = match self {
            Self::Read {
                fd,
                offset,
                buf,
                len,
                once,
            } => {
                let (at, missing) = (*offset + buf.len() as u64, *len - buf.len());
                read_into(fd, at, buf, missing, read_flags(*once))
            }
            Self::Write { fd, offset, left } => {
                left.gather(|slices| rustix::io::pwritev(&**fd, slices, *offset))
            }
            Self::WriteOut { fd, offset, len } => write_out(fd, *offset, *len).map(|()| 0),
            Self::Sync { fd } => rustix::fs::fdatasync(&**fd).map(|()| 0),
            Self::Recv { fd, buf, max } => {
                let spare = &mut buf.spare_capacity_mut()[..*max];
                let count = rustix::net::recv(&**fd, spare, recv).map(|((filled, _), _)| filled.len());
                // SAFETY: the kernel has just filled that many bytes of the spare capacity.
                count.inspect(|count| unsafe { grow(buf, *count) })
            }
            Self::Send { fd, left } => {
                let flags = send | SendFlags::NOSIGNAL;
                left.gather(|slices| {
                    rustix::net::sendmsg(&**fd, slices, &mut SendAncillaryBuffer::default(), flags)
                })
            }
            Self::Poll { fd, interest } => {
                let mut polled = [PollFd::new(&**fd, interest.flags())];
                match rustix::event::poll(&mut polled, Some(&Timespec::default())) {
                    Ok(0) => Err(Errno::AGAIN),
                    answer => answer,
                }
            }
        };
        answer.map_err(io::Error::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_cannot_write_out_is_no_failure_and_a_medium_that_fails_is_one() {
        let fd = Arc::new(OwnedFd::from(tempfile::tempfile().expect("a file")));
        let mut op = Op::WriteOut {
            fd,
            offset: 0,
            len: 0,
        };
        for (errno, fails) in [
            (Errno::NOSYS, false),
            (Errno::INVAL, false),
            (Errno::IO, true),
            (Errno::NOSPC, true),
        ] {
            let step = op.answered(Err(errno.into()));
            assert!(
                matches!(step, Step::Done(done) if done.is_err() == fails),
                "{errno}"
            );
        }
        assert!(op.run_blocking().is_ok());
    }
}
