//! Ends connections from outside, as when an export is withdrawn.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// A switch that ends every [`super::serve`] that got a clone of it: no further request is read, those
/// under way are finished and answered, then the connection is closed. Lives on one thread.
#[derive(Clone, Default)]
pub struct Stop(Rc<Switch>);

#[derive(Default)]
struct Switch {
    pulled: Cell<bool>,
    waiting: RefCell<BTreeMap<u64, Waker>>,
    next: Cell<u64>,
}

impl Stop {
    /// A switch that is not pulled.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Pulls it, for good. The connections have ended once their [`super::serve`] has returned.
    pub fn stop(&self) {
        self.0.pulled.set(true);
        let waiting = std::mem::take(&mut *self.0.waiting.borrow_mut());
        waiting.into_values().for_each(Waker::wake);
    }

    /// Completes once it is pulled.
    pub fn stopped(&self) -> Stopped {
        Stopped {
            switch: self.0.clone(),
            key: None,
        }
    }
}

/// See [`Stop::stopped`].
pub struct Stopped {
    switch: Rc<Switch>,
    key: Option<u64>,
}

impl Future for Stopped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.switch.pulled.get() {
            return Poll::Ready(());
        }
        let key = *this
            .key
            .get_or_insert_with(|| this.switch.next.replace(this.switch.next.get() + 1));
        let mut waiting = this.switch.waiting.borrow_mut();
        match waiting.get_mut(&key) {
            Some(waker) => waker.clone_from(context.waker()),
            None => drop(waiting.insert(key, context.waker().clone())),
        }
        Poll::Pending
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.switch.waiting.borrow_mut().remove(&key);
        }
    }
}
