//! Connected sockets on an engine thread. Accepting happens elsewhere; descriptors are handed over.
//!
//! What must stay true: bytes are neither lost nor reordered when a future is dropped. A dropped
//! `recv` leaves what it may have read to the next one. A `send` that did not end well (failed or
//! dropped) may have sent a part, so the stream refuses to send anything after it.

use super::op::{Op, Pieces};
use super::readiness::{Interest, Watched};
use super::runtime::Runtime;
use super::uring::RingOp;
use crate::Piece;
use bytes::{Buf, Bytes};
use futures_util::lock::Mutex;
use rustix::fs::OFlags;
use rustix::net::sockopt::Timeout;
use rustix::net::{SendFlags, Shutdown};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// How long a thread waits for a peer that takes nothing of what was lent, before it does other work.
const LENT_PATIENCE: Duration = Duration::from_millis(4);

/// Makes streams of one thread. Cheap to clone.
#[derive(Clone)]
pub struct Net {
    runtime: Rc<Runtime>,
}

impl Net {
    pub(super) fn new(runtime: Rc<Runtime>) -> Self {
        Self { runtime }
    }

    /// Waits for what is signalled by a descriptor. Whatever is wrong with it, the first use says so.
    pub fn watch(&self, fd: OwnedFd) -> Watch {
        let fd = Arc::new(fd);
        // Its mode stays as it is: others may share it.
        let watched = self.runtime.check_running().and_then(|()| self.watched(&fd));
        Watch {
            watched,
            runtime: self.runtime.clone(),
            fd,
        }
    }

    /// Takes over a connected socket, unix or TCP. Whatever is wrong with it, the first use says so.
    pub fn stream(&self, fd: OwnedFd) -> Stream {
        // Small replies must not wait for more; other sockets than TCP refuse, and need nothing.
        let _ = rustix::net::sockopt::set_tcp_nodelay(&fd, true);
        // For what is sent on another thread; what is sent on this one never waits in a call.
        let _ = rustix::net::sockopt::set_socket_timeout(&fd, Timeout::Send, Some(LENT_PATIENCE));
        let fd = Arc::new(fd);
        Stream {
            watched: self.prepare(&fd),
            runtime: self.runtime.clone(),
            fd,
            receiving: Cell::new(false),
            in_flight: RefCell::default(),
            ahead: RefCell::default(),
            spare: RefCell::default(),
            sending: Mutex::new(()),
            broken: Cell::new(false),
        }
    }

    fn prepare(&self, fd: &Arc<OwnedFd>) -> io::Result<Option<Watched>> {
        self.runtime.check_running()?;
        // The ring waits for us only on descriptors in blocking mode; calls of our own say "don't wait".
        let flags = rustix::fs::fcntl_getfl(fd)?;
        rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK)?;
        self.watched(fd)
    }

    fn watched(&self, fd: &Arc<OwnedFd>) -> io::Result<Option<Watched>> {
        self.runtime
            .readiness()
            .map(|readiness| readiness.watch(fd.clone()))
            .transpose()
    }
}

/// A descriptor that somebody else signals, such as an eventfd, or a socket whose bytes another reads.
pub struct Watch {
    runtime: Rc<Runtime>,
    fd: Arc<OwnedFd>,
    /// For the driver without a ring.
    watched: io::Result<Option<Watched>>,
}

impl Watch {
    /// Completes while there is something to read, or the other side is gone. Reads nothing; may be dropped at any time.
    ///
    /// # Errors
    /// Those of a descriptor that cannot be waited for.
    pub async fn readable(&self) -> io::Result<()> {
        self.runtime.check_running()?;
        self.runtime.pace().await;
        loop {
            let mut op = Op::Poll {
                fd: self.fd.clone(),
                interest: Interest::Read,
            };
            if let Some(done) = op.run_ready() {
                return done;
            }
            if let Some(ring) = self.runtime.ring() {
                return ring.start(op).await.1;
            }
            match &self.watched {
                Ok(Some(watched)) => watched.ready(Interest::Read).await,
                Ok(None) => return Ok(()),
                Err(error) => return Err(io::Error::new(error.kind(), error.to_string())),
            }
        }
    }

    /// The descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A connected socket. Closed when dropped.
pub struct Stream {
    runtime: Rc<Runtime>,
    fd: Arc<OwnedFd>,
    /// For the driver without a ring.
    watched: io::Result<Option<Watched>>,
    receiving: Cell<bool>,
    /// A receive on the ring; outlives the future that started it.
    in_flight: RefCell<Option<RingOp>>,
    /// Received, but more than was asked for.
    ahead: RefCell<Bytes>,
    /// A buffer to receive into.
    spare: RefCell<Vec<u8>>,
    sending: Mutex<()>,
    broken: Cell<bool>,
}

/// Lowers a flag when dropped.
struct Lower<'a>(&'a Cell<bool>);

impl Drop for Lower<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl Stream {
    /// What has arrived, `max` bytes at most; waits for the first. Empty: the peer sends no more.
    /// May be dropped and called again without losing anything. `max` must not be 0.
    ///
    /// # Errors
    /// Those of the connection; [`io::ErrorKind::ResourceBusy`] when another `recv` waits.
    pub async fn recv(&self, max: usize) -> io::Result<Bytes> {
        assert!(max > 0, "an empty answer means that the peer sends no more");
        self.check()?;
        if self.receiving.replace(true) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let _receiving = Lower(&self.receiving);
        self.runtime.pace().await;
        let ahead = self.take_ahead(max);
        if !ahead.is_empty() {
            return Ok(ahead);
        }
        let earlier = self.in_flight.borrow_mut().take();
        let buf = match earlier {
            Some(op) => self.recv_on_ring(op).await?,
            None => self.recv_new(max).await?,
        };
        *self.ahead.borrow_mut() = self.keep_or_copy(buf);
        Ok(self.take_ahead(max))
    }

    async fn recv_new(&self, max: usize) -> io::Result<Vec<u8>> {
        let mut buf = self.spare.take();
        buf.reserve_exact(max);
        let mut op = Op::Recv {
            fd: self.fd.clone(),
            buf,
            max,
        };
        if let Some(ring) = self.runtime.ring() {
            if let Some(done) = op.run_ready() {
                return received(op, done);
            }
            return self.recv_on_ring(ring.start(op)).await;
        }
        loop {
            if let Some(done) = op.run_ready() {
                return received(op, done);
            }
            self.ready(Interest::Read).await;
        }
    }

    /// Waits for `op` where it survives this future.
    async fn recv_on_ring(&self, op: RingOp) -> io::Result<Vec<u8>> {
        *self.in_flight.borrow_mut() = Some(op);
        let (op, done) = poll_fn(|context| {
            let mut in_flight = self.in_flight.borrow_mut();
            let op = in_flight
                .as_mut()
                .expect("one `recv` at a time, and it has put one there");
            let ended = Pin::new(op).poll(context);
            if ended.is_ready() {
                *in_flight = None;
            }
            ended
        })
        .await;
        received(op, done)
    }

    /// Hands a buffer on that is mostly full; copies out of one that is not, and keeps it.
    fn keep_or_copy(&self, mut buf: Vec<u8>) -> Bytes {
        if buf.len() > buf.capacity() / 2 {
            return buf.into();
        }
        let copy = Bytes::copy_from_slice(&buf);
        buf.clear();
        *self.spare.borrow_mut() = buf;
        copy
    }

    fn take_ahead(&self, max: usize) -> Bytes {
        let mut ahead = self.ahead.borrow_mut();
        let len = ahead.len().min(max);
        ahead.split_to(len)
    }

    /// Sends all of `data`, one piece after the other. Several at once take turns.
    ///
    /// # Errors
    /// Those of the connection; [`io::ErrorKind::BrokenPipe`] also after a send that was dropped. Also those of a medium
    /// from which the system has to read again what was lent.
    pub async fn send(&self, data: Vec<Piece>) -> io::Result<()> {
        self.check()?;
        if data.iter().all(Piece::is_empty) {
            return Ok(());
        }
        self.runtime.pace().await;
        let _turn = match self.sending.try_lock() {
            Some(turn) => turn,
            None => self.sending.lock().await,
        };
        if self.broken.replace(true) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if data.iter().any(|piece| matches!(piece, Piece::Lent(_))) {
            self.send_elsewhere(data.into()).await?;
        } else {
            self.send_bytes(data.into_iter().filter_map(Piece::into_bytes).collect())
                .await?;
        }
        self.broken.set(false);
        Ok(())
    }

    async fn send_bytes(&self, data: Vec<Bytes>) -> io::Result<()> {
        let left = Pieces::new(data);
        if left.is_done() {
            return Ok(());
        }
        let mut op = Op::Send {
            fd: self.fd.clone(),
            left,
        };
        loop {
            if let Some(done) = op.run_ready() {
                return done;
            }
            if let Some(ring) = self.runtime.ring() {
                return ring.start(op).await.1;
            }
            self.ready(Interest::Write).await;
        }
    }

    /// On another thread: the calls may wait for the medium, and for the peer, in neither case for long.
    async fn send_elsewhere(&self, mut left: VecDeque<Piece>) -> io::Result<()> {
        loop {
            let fd = self.fd.clone();
            let (rest, sent) = self
                .runtime
                .call(move || {
                    let sent = send_blocking(&fd, &mut left);
                    (left, sent)
                })
                .await;
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable().await?,
                sent => return sent,
            }
            left = rest;
        }
    }

    async fn writable(&self) -> io::Result<()> {
        let mut op = Op::Poll {
            fd: self.fd.clone(),
            interest: Interest::Write,
        };
        loop {
            // Asked here first: the refusal came to another thread, and may be out of date.
            if let Some(done) = op.run_ready() {
                return done;
            }
            if let Some(ring) = self.runtime.ring() {
                return ring.start(op).await.1;
            }
            self.ready(Interest::Write).await;
        }
    }

    /// Ends the connection both ways: whoever waits, here or there, sees it closed.
    pub fn shutdown(&self) {
        // Refused only when there is no connection any more.
        let _ = rustix::net::shutdown(&*self.fd, Shutdown::Both);
    }

    fn check(&self) -> io::Result<()> {
        self.runtime.check_running()?;
        match &self.watched {
            Ok(_) => Ok(()),
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!("cannot watch the socket: {error}"),
            )),
        }
    }

    async fn ready(&self, interest: Interest) {
        if let Ok(Some(watched)) = &self.watched {
            watched.ready(interest).await;
        }
    }
}

/// Sends from the front of `left` and takes off what is sent, until nothing is left or the socket's patience ends
/// ([`io::ErrorKind::WouldBlock`]).
fn send_blocking(fd: &OwnedFd, left: &mut VecDeque<Piece>) -> io::Result<()> {
    while let Some(piece) = left.front_mut() {
        let sent = match piece {
            Piece::Bytes(bytes) if bytes.is_empty() => Ok(()),
            Piece::Bytes(bytes) => {
                let sent = rustix::net::send(fd, bytes, SendFlags::NOSIGNAL);
                sent.map(|count| bytes.advance(count)).map_err(io::Error::from)
            }
            Piece::Lent(lent) if lent.is_empty() => Ok(()),
            Piece::Lent(lent) => lent.send(fd.as_fd()),
        };
        match sent {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            sent => sent?,
        }
        if piece.is_empty() {
            left.pop_front();
        }
    }
    Ok(())
}

fn received(op: Op, done: io::Result<()>) -> io::Result<Vec<u8>> {
    done?;
    match op {
        Op::Recv { buf, .. } => Ok(buf),
        _ => Err(io::Error::other("a receive became something else")),
    }
}
