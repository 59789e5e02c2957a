//! The driver over io_uring: files and sockets in one ring, submitted in batches, reaped in batches.
//!
//! What must stay true: memory that the kernel may touch belongs to an entry of `ops` from before the
//! submission until the answer, whatever becomes of the future that waits for it; entries may move,
//! the heap blocks that the kernel was told about do not. The ring is used by one thread. It is
//! closed only when no operation is in flight.

#![allow(unsafe_code)]

use super::op::{self, CALL_BYTES_MAX, Op, Step};
use io_uring::{IoUring, opcode, squeue, types};
use rustix::io::Errno;
use slab::Slab;
use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Submissions that fit in the ring; a full ring is submitted early, so this only bounds a batch.
const ENTRIES: u32 = 256;
/// Answers that fit; more are kept by the kernel until there is room.
const ANSWERS: u32 = 4 * ENTRIES;
const WAKE: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;

/// The ring and all that is in flight on it.
pub(super) struct Uring {
    inner: RefCell<Inner>,
}

struct Inner {
    ring: IoUring,
    ops: Slab<InFlight>,
    /// Written to by other threads to end a wait.
    wake_fd: Arc<OwnedFd>,
    wake_buf: Box<[u8; 8]>,
    wake_armed: bool,
    answers: Vec<(u64, i32)>,
    /// Operations that the kernel has, or will get with the next batch.
    in_flight: usize,
    /// The run has ended: what may last is not started again.
    draining: bool,
}

struct InFlight {
    op: Op,
    /// What the kernel reads a gather's addresses from; empty while there is none.
    gather: Vec<libc::iovec>,
    header: Option<Box<libc::msghdr>>,
    state: State,
    /// Kept until the operation has ended; see [`Uring::hold`].
    held: Vec<Arc<OwnedFd>>,
}

enum State {
    Waited(Option<Waker>),
    Abandoned,
    Ended(io::Result<()>),
}

impl Uring {
    /// A ring, if the kernel has and allows one that can do what we need.
    pub(super) fn new(wake_fd: Arc<OwnedFd>) -> io::Result<Self> {
        let ring = build()?;
        let params = ring.params();
        if !(params.is_feature_ext_arg() && params.is_feature_nodrop() && params.is_feature_fast_poll()) {
            return Err(Errno::NOSYS.into());
        }
        let inner = Inner {
            ring,
            ops: Slab::new(),
            wake_fd,
            wake_buf: Box::new([0; 8]),
            wake_armed: false,
            answers: Vec::new(),
            in_flight: 0,
            draining: false,
        };
        Ok(Self {
            inner: RefCell::new(inner),
        })
    }

    /// Queues `op`; it is submitted with the next batch.
    pub(super) fn start(self: &Rc<Self>, op: Op) -> RingOp {
        let mut inner = self.inner.borrow_mut();
        let state = State::Waited(None);
        let in_flight = InFlight {
            op,
            gather: Vec::new(),
            header: None,
            state,
            held: Vec::new(),
        };
        let key = inner.ops.insert(in_flight);
        inner.queue(key);
        RingOp {
            ring: self.clone(),
            key: Some(key),
        }
    }

    /// Keeps `fd` open until every file operation that is in flight now has ended.
    pub(super) fn hold(&self, fd: &Arc<OwnedFd>) {
        for (_, in_flight) in &mut self.inner.borrow_mut().ops {
            if !in_flight.op.may_last() {
                in_flight.held.push(fd.clone());
            }
        }
    }

    /// Submits what is queued and takes in answers, without waiting.
    pub(super) fn poll(&self) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        let queue = inner.ring.submission();
        let enter = !queue.is_empty() || queue.taskrun() || queue.cq_overflow();
        drop(queue);
        if enter {
            settle_enter(inner.ring.submit())?;
        }
        drop(inner);
        self.reap();
        Ok(())
    }

    /// Submits what is queued and waits for an answer, a wake-up by another thread, or the time.
    pub(super) fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        inner.arm_wake();
        let entered = match time {
            _ if !inner.answers.is_empty() => inner.ring.submit(),
            None => inner.ring.submit_and_wait(1),
            Some(time) => {
                let time = types::Timespec::from(time);
                inner
                    .ring
                    .submitter()
                    .submit_with_args(1, &types::SubmitArgs::new().timespec(&time))
            }
        };
        settle_enter(entered)?;
        drop(inner);
        self.reap();
        Ok(())
    }

    /// Cancels what may last for ever, and waits until the kernel works on nothing of ours.
    pub(super) fn drain(&self) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        let lasting = inner.ops.iter().filter(|(_, in_flight)| in_flight.op.may_last());
        let lasting: Vec<usize> = lasting.map(|(key, _)| key).collect();
        lasting.into_iter().for_each(|key| inner.cancel(key));
        inner.draining = true;
        let cancel_wake = inner.wake_armed;
        if cancel_wake {
            inner.push(&opcode::AsyncCancel::new(WAKE).build().user_data(CANCEL));
        }
        drop(inner);
        loop {
            let inner = self.inner.borrow_mut();
            if inner.in_flight == 0 && !inner.wake_armed {
                return Ok(());
            }
            settle_enter(inner.ring.submit_and_wait(usize::from(inner.answers.is_empty())))?;
            drop(inner);
            self.reap();
        }
    }

    fn reap(&self) {
        let mut inner = self.inner.borrow_mut();
        inner.take_answers();
        let mut ended = Vec::new();
        // By index: going on with an operation may take in further answers.
        let mut next = 0;
        while let Some((user_data, result)) = inner.answers.get(next).copied() {
            next += 1;
            match user_data {
                WAKE => inner.wake_armed = false,
                CANCEL => {}
                key => ended.extend(inner.answered(key as usize, result)),
            }
        }
        inner.answers.clear();
        // Wakers and abandoned operations run foreign code when used or dropped: not while borrowed.
        drop(inner);
        for end in ended {
            match end {
                End::Wake(waker) => waker.wake(),
                End::Drop(in_flight) => drop(in_flight),
            }
        }
    }
}

enum End {
    Wake(Waker),
    Drop(Box<InFlight>),
}

/// A ring with the newest set-up that this kernel knows.
fn build() -> io::Result<IoUring> {
    // One thread submits and reaps, so the kernel may leave all its work to our next wait.
    let deferred = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_taskrun_flag()
        .setup_submit_all()
        .setup_cqsize(ANSWERS)
        .dontfork()
        .build(ENTRIES);
    match deferred {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            IoUring::builder().setup_cqsize(ANSWERS).dontfork().build(ENTRIES)
        }
        built => built,
    }
}

/// Which errors of entering the kernel are no errors: interrupted, timed out, or answers to take first.
fn settle_enter(entered: io::Result<usize>) -> io::Result<()> {
    match entered.map_err(|error| (Errno::from_io_error(&error), error)) {
        Ok(_) | Err((Some(Errno::INTR | Errno::TIME | Errno::BUSY | Errno::AGAIN), _)) => Ok(()),
        Err((_, error)) => Err(error),
    }
}

impl Inner {
    fn queue(&mut self, key: usize) {
        let entry = self.ops[key].entry().user_data(key as u64);
        self.in_flight += 1;
        self.push(&entry);
    }

    fn cancel(&mut self, key: usize) {
        self.push(&opcode::AsyncCancel::new(key as u64).build().user_data(CANCEL));
    }

    fn push(&mut self, entry: &squeue::Entry) {
        // SAFETY: whatever `entry` points to is owned by `ops` (or is `wake_buf`) until its answer.
        while unsafe { self.ring.submission().push(entry) }.is_err() {
            // Full: the kernel takes the batch, unless it is short of memory or of room for answers.
            if let Err(error) = self.ring.submit() {
                tracing::debug!(%error, "the ring takes no submissions for the moment");
                self.take_answers();
                std::thread::yield_now();
            }
        }
    }

    fn take_answers(&mut self) {
        self.answers.extend(
            self.ring
                .completion()
                .map(|answer| (answer.user_data(), answer.result())),
        );
    }

    fn arm_wake(&mut self) {
        if !std::mem::replace(&mut self.wake_armed, true) {
            let (fd, buf) = (types::Fd(self.wake_fd.as_raw_fd()), self.wake_buf.as_mut_ptr());
            self.push(&opcode::Read::new(fd, buf, 8).build().user_data(WAKE));
        }
    }

    fn answered(&mut self, key: usize, result: i32) -> Option<End> {
        self.in_flight -= 1;
        let in_flight = &mut self.ops[key];
        let answer = match usize::try_from(result) {
            Ok(count) => Ok(count),
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
        };
        if let (Op::Read { buf, .. } | Op::Recv { buf, .. }, Ok(count)) = (&mut in_flight.op, &answer) {
            // SAFETY: the kernel has filled that many bytes from the end of `buf` on.
            unsafe { op::grow(buf, *count) };
        }
        let abandoned = matches!(in_flight.state, State::Abandoned);
        // What may last for ever was cancelled when nobody waited any more; it must not start again.
        let may_go_on = !(in_flight.op.may_last() && (abandoned || self.draining));
        let done = match in_flight.op.answered(answer) {
            Step::Again if may_go_on => {
                self.queue(key);
                return None;
            }
            Step::Again => Err(Errno::CANCELED.into()),
            Step::Done(done) => done,
        };
        if abandoned {
            return Some(End::Drop(Box::new(self.ops.remove(key))));
        }
        in_flight.held.clear();
        match std::mem::replace(&mut in_flight.state, State::Ended(done)) {
            State::Waited(waker) => waker.map(End::Wake),
            State::Abandoned | State::Ended(_) => None,
        }
    }
}

impl Drop for Uring {
    /// Does something only where a panic kept the run from its orderly end.
    fn drop(&mut self) {
        if let Err(error) = self.drain() {
            tracing::error!(%error, "operations are still in flight; their memory is given up");
            std::mem::forget(std::mem::take(&mut self.inner.get_mut().ops));
            std::mem::forget(std::mem::take(&mut self.inner.get_mut().wake_buf));
        }
    }
}

impl InFlight {
    /// The submission for what is left to do.
    fn entry(&mut self) -> squeue::Entry {
        match &mut self.op {
            Op::Read {
                fd,
                offset,
                buf,
                len,
                once,
            } => {
                let (at, missing) = (*offset + buf.len() as u64, (*len - buf.len()).min(CALL_BYTES_MAX));
                let spare = buf.spare_capacity_mut()[..missing].as_mut_ptr().cast();
                opcode::Read::new(types::Fd(fd.as_raw_fd()), spare, missing as u32)
                    .offset(at)
                    .rw_flags(op::read_flags(*once))
                    .build()
            }
            Op::Write { fd, offset, left } => {
                let fd = types::Fd(fd.as_raw_fd());
                if let Some(piece) = left.single() {
                    let len = piece.len().min(CALL_BYTES_MAX) as u32;
                    return opcode::Write::new(fd, piece.as_ptr(), len)
                        .offset(*offset)
                        .build();
                }
                gather(&mut self.gather, left.slices());
                let count = self.gather.len() as u32;
                opcode::Writev::new(fd, self.gather.as_ptr(), count)
                    .offset(*offset)
                    .build()
            }
            Op::WriteOut { fd, offset, len } => opcode::SyncFileRange::new(types::Fd(fd.as_raw_fd()), *len)
                .offset(*offset)
                .flags(op::WRITE_OUT)
                .build(),
            Op::Sync { fd } => {
                let flags = types::FsyncFlags::DATASYNC;
                opcode::Fsync::new(types::Fd(fd.as_raw_fd())).flags(flags).build()
            }
            Op::Recv { fd, buf, max } => {
                let spare = buf.spare_capacity_mut()[..*max].as_mut_ptr().cast();
                opcode::Recv::new(types::Fd(fd.as_raw_fd()), spare, *max as u32).build()
            }
            Op::Poll { fd, interest } => {
                opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), u32::from(interest.flags().bits())).build()
            }
            Op::Send { fd, left } => {
                gather(&mut self.gather, left.slices());
                // SAFETY: all-zero is a valid `msghdr`: null pointers with lengths of 0.
                let header = self
                    .header
                    .get_or_insert_with(|| Box::new(unsafe { std::mem::zeroed() }));
                header.msg_iov = self.gather.as_mut_ptr();
                header.msg_iovlen = self.gather.len() as _;
                let flags = libc::MSG_NOSIGNAL as u32;
                opcode::SendMsg::new(types::Fd(fd.as_raw_fd()), &raw const **header)
                    .flags(flags)
                    .build()
            }
        }
    }
}

fn gather<'a>(vectors: &mut Vec<libc::iovec>, slices: impl Iterator<Item = &'a [u8]>) {
    vectors.clear();
    // The kernel only reads through these; the type has no constant form.
    vectors.extend(slices.map(|s| libc::iovec {
        iov_base: s.as_ptr().cast_mut().cast(),
        iov_len: s.len(),
    }));
}

/// Waits for an operation on the ring and hands it back. Dropped: a file operation goes on to its
/// end, a socket operation is cancelled.
pub(super) struct RingOp {
    ring: Rc<Uring>,
    /// `None` once it has been handed back.
    key: Option<usize>,
}

impl Future for RingOp {
    type Output = (Op, io::Result<()>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let key = self.key.expect("polled after it had ended");
        let ring = self.ring.clone();
        let mut inner = ring.inner.borrow_mut();
        let in_flight = &mut inner.ops[key];
        if let State::Waited(waker) = &mut in_flight.state {
            *waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.key = None;
        let InFlight { op, state, .. } = inner.ops.remove(key);
        match state {
            State::Ended(done) => Poll::Ready((op, done)),
            State::Waited(_) | State::Abandoned => unreachable!("checked above; abandoned only by the drop"),
        }
    }
}

impl Drop for RingOp {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut inner = self.ring.inner.borrow_mut();
        let in_flight = &mut inner.ops[key];
        if let State::Ended(_) = in_flight.state {
            let ended = inner.ops.remove(key);
            drop(inner);
            drop(ended);
            return;
        }
        let before = std::mem::replace(&mut in_flight.state, State::Abandoned);
        if in_flight.op.may_last() {
            inner.cancel(key);
        }
        drop(inner);
        drop(before);
    }
}
