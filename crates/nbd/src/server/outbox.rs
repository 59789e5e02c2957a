//! Replies on their way out, and the limit on everything that a connection holds.
//!
//! A request is *held* from its admission until its reply has been handed to the socket; what is held
//! counts against [`Held`]'s limits, and no request is admitted over them. So a client that does not
//! read its replies stops being read itself. Replies that are ready together leave in one send.
//!
//! Once abandoned (the socket failed, or nobody read for too long after the end), replies are dropped
//! as they come; requests still run to their end.

use bytes::BytesMut;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use tidemark_env::Piece;

/// What is held, or allowed to be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    pub(super) requests: usize,
    pub(super) bytes: u64,
}

impl Held {
    fn add(&mut self, other: Held) {
        self.requests += other.requests;
        self.bytes += other.bytes;
    }

    fn remove(&mut self, other: Held) {
        self.requests -= other.requests;
        self.bytes -= other.bytes;
    }
}

/// Replies that leave together.
#[derive(Default)]
pub(super) struct Batch {
    /// Headers behind the last piece.
    pub(super) headers: BytesMut,
    pieces: Vec<Piece>,
    held: Held,
}

impl Batch {
    /// Appends data behind the headers written so far.
    pub(super) fn data(&mut self, data: Piece) {
        self.close_headers();
        self.pieces.push(data);
    }

    fn close_headers(&mut self) {
        if !self.headers.is_empty() {
            self.pieces.push(self.headers.split().freeze().into());
        }
    }
}

/// See the file's head.
pub(super) struct Outbox {
    limit: Held,
    held: Cell<Held>,
    batch: RefCell<Batch>,
    abandoned: Cell<bool>,
    /// Set while a request waits for room.
    full: Cell<bool>,
    /// Set while the reading half runs: the writing half is polled right after it anyway.
    quiet: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Outbox {
    pub(super) fn new(limit: Held) -> Outbox {
        Outbox {
            limit,
            held: Cell::default(),
            batch: RefCell::default(),
            abandoned: Cell::new(false),
            full: Cell::new(false),
            quiet: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Names the task that waits, in the polls below, for what changes here.
    pub(super) fn set_waker(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        match &mut *waker {
            Some(waker) => waker.clone_from(context.waker()),
            None => *waker = Some(context.waker().clone()),
        }
    }

    /// Runs `poll` without waking the task for what it does here.
    pub(super) fn quietly<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.quiet.set(true);
        let result = poll();
        self.quiet.set(false);
        result
    }

    fn wake(&self) {
        if !self.quiet.get()
            && let Some(waker) = &*self.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }

    /// Admits one request that holds `bytes`, once there is room for it. One alone always has room.
    pub(super) fn poll_admit(self: &Rc<Self>, bytes: u64) -> Poll<Permit> {
        let mut held = self.held.get();
        let fits =
            held.requests < self.limit.requests && held.bytes.saturating_add(bytes) <= self.limit.bytes;
        self.full.set(!fits && held.requests > 0);
        if self.full.get() {
            return Poll::Pending;
        }
        let own = Held { requests: 1, bytes };
        held.add(own);
        self.held.set(held);
        Poll::Ready(Permit {
            outbox: self.clone(),
            held: own,
        })
    }

    /// Whether something waits to be sent.
    pub(super) fn has_replies(&self) -> bool {
        let batch = self.batch.borrow();
        !batch.pieces.is_empty() || !batch.headers.is_empty()
    }

    /// What waits to be sent; pending while there is nothing, ready with `None` when there is nothing
    /// and, with `finishing`, nothing can come any more.
    pub(super) fn poll_batch(&self, finishing: bool) -> Poll<Option<Sending>> {
        let mut batch = self.batch.borrow_mut();
        batch.close_headers();
        if batch.pieces.is_empty() {
            return if finishing && self.held.get().requests == 0 {
                Poll::Ready(None)
            } else {
                Poll::Pending
            };
        }
        let held = std::mem::take(&mut batch.held);
        Poll::Ready(Some(Sending {
            pieces: std::mem::take(&mut batch.pieces),
            held,
        }))
    }

    /// Gives back what a batch held, once it is sent or given up.
    pub(super) fn release(&self, held: Held) {
        let mut now = self.held.get();
        now.remove(held);
        self.held.set(now);
        if self.full.get() {
            self.wake();
        }
    }

    /// Drops all replies from now on.
    pub(super) fn abandon(&self) {
        self.abandoned.set(true);
        let held = {
            let mut batch = self.batch.borrow_mut();
            batch.headers.clear();
            batch.pieces.clear();
            std::mem::take(&mut batch.held)
        };
        self.release(held);
        self.wake();
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.get()
    }
}

/// A batch taken for sending.
pub(super) struct Sending {
    pub(super) pieces: Vec<Piece>,
    pub(super) held: Held,
}

/// An admitted request's place; dropping it without a reply gives it back.
pub(super) struct Permit {
    outbox: Rc<Outbox>,
    held: Held,
}

impl Permit {
    /// Queues the request's reply, which `write` appends.
    pub(super) fn reply(mut self, write: impl FnOnce(&mut Batch)) {
        if self.outbox.abandoned.get() {
            return;
        }
        {
            let mut batch = self.outbox.batch.borrow_mut();
            write(&mut batch);
            batch.held.add(std::mem::take(&mut self.held));
        }
        self.outbox.wake();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.held.requests > 0 {
            self.outbox.release(self.held);
            self.outbox.wake();
        }
    }
}
