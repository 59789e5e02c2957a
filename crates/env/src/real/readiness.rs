//! The driver without io_uring: epoll tells which sockets are ready; files are served by threads.
//!
//! Sockets are watched edge-triggered. That loses nothing, because waiting starts only after a call
//! said that it would block, and events are taken in only later, on the same thread.

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFlags, Timespec, epoll as calls};
use rustix::io::Errno;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

const WAKE: u64 = u64::MAX;
/// Events taken in at once; more stay with the kernel until the next time.
const EVENTS_MAX: usize = 256;

/// The sockets watched on one thread.
pub(super) struct Readiness {
    epoll: OwnedFd,
    wake_fd: Arc<OwnedFd>,
    watched: RefCell<Slab<Waiting>>,
    events: RefCell<Vec<Event>>,
}

#[derive(Default)]
struct Waiting {
    to_read: Option<Waker>,
    to_write: Option<Waker>,
}

impl Readiness {
    pub(super) fn new(wake_fd: Arc<OwnedFd>) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        calls::add(&epoll, &*wake_fd, EventData::new_u64(WAKE), EventFlags::IN)?;
        let events = RefCell::new(Vec::with_capacity(EVENTS_MAX));
        Ok(Self {
            epoll,
            wake_fd,
            watched: RefCell::default(),
            events,
        })
    }

    /// Starts watching a socket, until the answer is dropped.
    pub(super) fn watch(self: &Rc<Self>, fd: Arc<OwnedFd>) -> io::Result<Watched> {
        let key = self.watched.borrow_mut().insert(Waiting::default());
        let watched = Watched {
            readiness: self.clone(),
            fd,
            key,
            added: Cell::new(false),
        };
        let events = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        calls::add(
            &self.epoll,
            watched.fd.as_fd(),
            EventData::new_u64(key as u64),
            events,
        )?;
        watched.added.set(true);
        Ok(watched)
    }

    /// Takes in events, waiting for one at most for `time` (for ever if `None`).
    pub(super) fn wait(&self, time: Option<Duration>) -> io::Result<()> {
        let mut events = self.events.borrow_mut();
        events.clear();
        let time = time.and_then(|time| Timespec::try_from(time).ok());
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut events),
            time.as_ref(),
        ) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in events.iter() {
            let (key, flags) = (event.data.u64(), event.flags);
            if key == WAKE {
                let mut count = [0; 8];
                match rustix::io::read(&*self.wake_fd, &mut count) {
                    Ok(_) | Err(Errno::AGAIN | Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                }
            }
            let ends = EventFlags::HUP | EventFlags::ERR;
            let mut woken = [None, None];
            if let Some(waiting) = self.watched.borrow_mut().get_mut(key as usize) {
                if flags.intersects(EventFlags::IN | EventFlags::RDHUP | ends) {
                    woken[0] = waiting.to_read.take();
                }
                if flags.intersects(EventFlags::OUT | ends) {
                    woken[1] = waiting.to_write.take();
                }
            }
            woken.into_iter().flatten().for_each(Waker::wake);
        }
        Ok(())
    }
}

/// A watched socket.
pub(super) struct Watched {
    readiness: Rc<Readiness>,
    fd: Arc<OwnedFd>,
    key: usize,
    added: Cell<bool>,
}

/// What to wait for.
#[derive(Clone, Copy)]
pub(super) enum Interest {
    Read,
    Write,
}

impl Interest {
    /// For `poll`.
    pub(super) fn flags(self) -> PollFlags {
        match self {
            Self::Read => PollFlags::IN,
            Self::Write => PollFlags::OUT,
        }
    }
}

impl Watched {
    /// Completes with the next event, after a call has said that it would block.
    pub(super) async fn ready(&self, interest: Interest) {
        let mut waited = false;
        std::future::poll_fn(|context| {
            let mut watched = self.readiness.watched.borrow_mut();
            let waiting = &mut watched[self.key];
            let slot = match interest {
                Interest::Read => &mut waiting.to_read,
                Interest::Write => &mut waiting.to_write,
            };
            if waited && slot.is_none() {
                return Poll::Ready(());
            }
            waited = true;
            *slot = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let waiting = self.readiness.watched.borrow_mut().try_remove(self.key);
        drop(waiting);
        if self.added.get()
            && let Err(errno) = calls::delete(&self.readiness.epoll, self.fd.as_fd())
        {
            tracing::debug!(%errno, "a socket could not be unwatched");
        }
    }
}
