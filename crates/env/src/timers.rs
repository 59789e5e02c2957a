//! Sleeping futures, ordered by deadline; both worlds wake theirs with it.
//!
//! A sleep ends when its entry has been fired, never by looking at a clock: so a test's virtual time
//! and the machine's time behave alike. A dropped sleep leaves nothing behind.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Sleeps that have not ended, by deadline and then in the order of their first poll.
#[derive(Default)]
pub(crate) struct Timers {
    sleeping: RefCell<BTreeMap<(Duration, u64), Waker>>,
    next: Cell<u64>,
}

impl Timers {
    /// Completes when the timers are fired at or after `deadline`.
    pub(crate) fn sleep_until(self: &Rc<Self>, deadline: Duration) -> Sleep {
        Sleep {
            timers: self.clone(),
            deadline,
            number: None,
        }
    }

    /// The earliest deadline.
    pub(crate) fn first(&self) -> Option<Duration> {
        self.sleeping.borrow().first_key_value().map(|(key, _)| key.0)
    }

    /// Ends every sleep whose deadline is at or before `now`.
    pub(crate) fn fire(&self, now: Duration) {
        let due = {
            let mut sleeping = self.sleeping.borrow_mut();
            if sleeping.first_key_value().is_none_or(|(key, _)| key.0 > now) {
                return;
            }
            let later = sleeping.split_off(&(now, u64::MAX));
            std::mem::replace(&mut *sleeping, later)
        };
        due.into_values().for_each(Waker::wake);
    }
}

/// See [`Timers::sleep_until`].
pub(crate) struct Sleep {
    timers: Rc<Timers>,
    deadline: Duration,
    number: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let mut sleeping = this.timers.sleeping.borrow_mut();
        match this.number {
            None => {
                let number = this.timers.next.get();
                this.timers.next.set(number + 1);
                this.number = Some(number);
                sleeping.insert((this.deadline, number), context.waker().clone());
                Poll::Pending
            }
            Some(number) => match sleeping.get_mut(&(this.deadline, number)) {
                Some(waker) => {
                    waker.clone_from(context.waker());
                    Poll::Pending
                }
                None => Poll::Ready(()),
            },
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.timers.sleeping.borrow_mut().remove(&(self.deadline, number));
            drop(waker);
        }
    }
}
