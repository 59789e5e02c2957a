//! The set of tasks of one single-threaded executor; both worlds run theirs with it.
//!
//! What must stay true: a task is polled and dropped only on the thread that made it. Wakers may be
//! used from anywhere: on the owner's thread they push to a plain queue, elsewhere to a locked one,
//! and then call `wake` if the owner said that it is about to sleep. [`TaskSet::clear`] drops every
//! task that has not ended, so that a waker left over afterwards keeps nothing alive. One thread may own
//! several sets, whose tasks wake each other: only the plain queue of the current one is used directly.
//! Not here: the order in which ready tasks run, and what to do when none is.

use crate::LocalFuture;
use async_task::Runnable;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Wake, Waker};

thread_local! {
    /// The set whose executor runs on this thread now.
    static CURRENT: RefCell<Option<Rc<TaskSet>>> = const { RefCell::new(None) };
}

/// What other threads see of a [`TaskSet`].
pub(crate) struct Remote {
    woken: Mutex<Vec<Runnable>>,
    asleep: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Remote {
    fn push(&self, runnable: Runnable) {
        self.woken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(runnable);
        self.interrupt();
    }

    /// Ends the owner's sleep, or keeps it from going to sleep.
    fn interrupt(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            (self.wake)();
        }
    }
}

/// All tasks of one executor.
pub(crate) struct TaskSet {
    ready: RefCell<VecDeque<Runnable>>,
    active: RefCell<Slab<Waker>>,
    closed: Cell<bool>,
    remote: Arc<Remote>,
}

/// Takes a task off the list of those to drop at the end.
struct Listed {
    set: Rc<TaskSet>,
    key: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let waker = self.set.active.borrow_mut().try_remove(self.key);
        drop(waker);
    }
}

impl TaskSet {
    /// An empty set; `wake` ends the sleep of its executor and is called from any thread.
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Rc<Self> {
        Rc::new(Self {
            ready: RefCell::default(),
            active: RefCell::default(),
            closed: Cell::new(false),
            remote: Arc::new(Remote {
                woken: Mutex::default(),
                asleep: AtomicBool::new(false),
                wake: Box::new(wake),
            }),
        })
    }

    /// Makes this the thread's current set until the guard is dropped, which clears the set.
    pub(crate) fn enter(self: &Rc<Self>) -> Entered {
        Entered {
            current: self.within(),
            set: self.clone(),
        }
    }

    /// Makes this the thread's current set until the guard is dropped.
    pub(crate) fn within(self: &Rc<Self>) -> Within {
        Within(CURRENT.replace(Some(self.clone())))
    }

    /// Adds a task; in a cleared set it is dropped at once.
    pub(crate) fn spawn(self: &Rc<Self>, task: LocalFuture<'static, ()>) {
        if self.closed.get() {
            return;
        }
        let key = self.active.borrow_mut().insert(Waker::noop().clone());
        let listed = Listed {
            set: self.clone(),
            key,
        };
        let remote = self.remote.clone();
        let (runnable, handle) = async_task::spawn_local(
            async move {
                let _listed = listed;
                task.await;
            },
            move |runnable| schedule(&remote, runnable),
        );
        self.active.borrow_mut()[key] = runnable.waker();
        handle.detach();
        runnable.schedule();
    }

    /// How many tasks are ready, those woken by other threads included.
    pub(crate) fn ready_count(&self) -> usize {
        let mut woken = self.remote.woken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ready = self.ready.borrow_mut();
        ready.extend(woken.drain(..));
        ready.len()
    }

    /// Takes the task that has been ready longest.
    pub(crate) fn pop(&self) -> Option<Runnable> {
        self.ready.borrow_mut().pop_front()
    }

    /// Takes the ready task at `index`, which must be below [`TaskSet::ready_count`].
    pub(crate) fn take(&self, index: usize) -> Option<Runnable> {
        self.ready.borrow_mut().remove(index)
    }

    /// Announces that the executor is about to sleep. `false`: something is ready, so it must not.
    pub(crate) fn prepare_sleep(&self) -> bool {
        self.remote.asleep.store(true, Ordering::SeqCst);
        if self.ready_count() == 0 {
            return true;
        }
        self.remote.asleep.store(false, Ordering::SeqCst);
        false
    }

    /// The executor is awake again.
    pub(crate) fn slept(&self) {
        self.remote.asleep.store(false, Ordering::SeqCst);
    }

    /// A flag and the waker that raises it, for a future that is polled outside the set.
    pub(crate) fn flag(&self) -> (Arc<Flag>, Waker) {
        let flag = Arc::new(Flag {
            raised: AtomicBool::new(true),
            remote: self.remote.clone(),
        });
        (flag.clone(), Waker::from(flag))
    }

    /// Drops all tasks; none can be added any more. Not for the set of a task that is being polled: that
    /// one would be ready again after its poll, with nobody left to drop it.
    pub(crate) fn clear(&self) {
        self.closed.set(true);
        loop {
            let wakers: Vec<Waker> = self.active.borrow_mut().drain().collect();
            let none_left = wakers.is_empty();
            // A task that sleeps is only reachable through its waker; woken, it enters the queue.
            wakers.into_iter().for_each(Waker::wake);
            let dropped = self.ready_count();
            while let Some(runnable) = self.pop() {
                drop(runnable);
            }
            if none_left && dropped == 0 {
                return;
            }
        }
    }
}

fn schedule(remote: &Arc<Remote>, runnable: Runnable) {
    let mut runnable = Some(runnable);
    // `try_with`: a thread's locals may be gone while its last wakers are dropped.
    let _ = CURRENT.try_with(|current| {
        if let Some(set) = &*current.borrow()
            && Arc::ptr_eq(&set.remote, remote)
        {
            set.ready.borrow_mut().extend(runnable.take());
        }
    });
    if let Some(runnable) = runnable {
        remote.push(runnable);
    }
}

/// See [`TaskSet::within`].
pub(crate) struct Within(Option<Rc<TaskSet>>);

impl Drop for Within {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// See [`TaskSet::enter`].
pub(crate) struct Entered {
    set: Rc<TaskSet>,
    // Left after the set is cleared.
    #[expect(dead_code, reason = "held for its drop")]
    current: Within,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.set.clear();
    }
}

/// Raised when its waker is woken; starts raised.
pub(crate) struct Flag {
    raised: AtomicBool,
    remote: Arc<Remote>,
}

impl Flag {
    /// Whether it is raised.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// Lowers it; whether it was raised.
    pub(crate) fn lower(&self) -> bool {
        self.raised.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raised.store(true, Ordering::SeqCst);
        self.remote.interrupt();
    }
}

/// Completes at its second poll, so that other ready tasks run first.
pub(crate) fn yield_now() -> LocalFuture<'static, ()> {
    let mut polled = false;
    Box::pin(std::future::poll_fn(move |context| {
        if std::mem::replace(&mut polled, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    }))
}
