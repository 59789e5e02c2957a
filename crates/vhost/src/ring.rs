//! One ring: takes requests, starts them, answers them.
//!
//! A ring's task takes heads one after the other. A request is first polled in place and becomes a task of its own only if it has to wait,
//! as in the NBD server. Notifications from the driver are off while heads are taken.
//!
//! An answer can be seen at once, but the driver is told of some together: an interrupt may cost it more than a request costs us.
//! It is told after [`UNTOLD_BYTES`], when no more heads are taken for now, once the other tasks that are ready have run, and always before
//! the ring is quiet.
//!
//! The life of a ring: started with its kick descriptor; enabled and disabled by messages; paused around a message
//! that changes what it stands on; stopped by a message or at the connection's end. What an earlier process left in flight is done first, once the
//! ring is enabled, also while it is paused, so that a stopped ring owes nothing.
//! A *broken* ring takes nothing more; what it has under way is still answered.

use crate::disk::Disk;
use crate::inflight::Account;
use crate::memory::Memory;
use crate::perform::perform;
use crate::request::{Broken, Buffers, IOERR, OK, Refusal, Request};
use crate::serve::ServeLimits;
use futures_util::future::{Either, select};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use tidemark_env::real::net::Watch;
use tidemark_env::{Env, LocalFuture};
use tokio::sync::Notify;
use virtio_bindings::bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{Bytes as _, GuestAddress};

/// Heads taken before other tasks get their turn.
const HEADS_PER_TURN: u32 = 64;

/// How much the requests moved, each at least [`BLOCK_BYTES`], that the driver is told of together: 16 small ones, or a single large one.
const UNTOLD_BYTES: u64 = 64 << 10;
/// See [`UNTOLD_BYTES`].
const BLOCK_BYTES: u64 = 4096;

/// What all rings of a connection share.
pub struct Shared {
    pub disk: Rc<dyn Disk>,
    pub env: Env,
    pub limits: ServeLimits,
    /// Writes are durable before their answer: the driver does not know flushes.
    pub write_through: Cell<bool>,
    /// Requests under way in all rings, and their bytes.
    under_way: Cell<(usize, u64)>,
    /// Something that a ring's task waits for has changed: one of the above, or its own state.
    pub changed: Notify,
    /// A ring may have become quiet.
    pub quieter: Notify,
}

impl Shared {
    pub fn new(disk: Rc<dyn Disk>, env: Env, limits: ServeLimits) -> Self {
        Self {
            disk,
            env,
            limits,
            write_through: Cell::new(true),
            under_way: Cell::new((0, 0)),
            changed: Notify::new(),
            quieter: Notify::new(),
        }
    }

    fn has_room(&self) -> bool {
        let (requests, bytes) = self.under_way.get();
        requests < self.limits.requests && bytes < self.limits.bytes
    }

    fn begin(&self, bytes: u64) {
        let (requests, held) = self.under_way.get();
        self.under_way.set((requests + 1, held + bytes));
    }

    fn end(&self, bytes: u64) {
        let was_full = !self.has_room();
        let (requests, held) = self.under_way.get();
        self.under_way.set((requests - 1, held - bytes));
        if was_full {
            self.changed.notify_waiters();
        }
    }
}

/// A started ring.
pub struct Ring {
    pub index: u32,
    shared: Rc<Shared>,
    memory: RefCell<Memory>,
    queue: RefCell<Queue>,
    account: RefCell<Account>,
    /// Left in flight by an earlier process, and not begun by this one.
    left: RefCell<VecDeque<u16>>,
    kick: Watch,
    call: RefCell<Option<File>>,
    error: RefCell<Option<File>>,
    pub enabled: Cell<bool>,
    /// Nothing new is taken.
    paused: Cell<bool>,
    stopped: Cell<bool>,
    broken: Cell<bool>,
    under_way: Cell<usize>,
    /// What the requests moved whose answers the driver was not told of.
    untold: Cell<u64>,
    /// A request is being polled in place: who does that tells.
    in_place: Cell<bool>,
    /// There is a task that will tell.
    will_tell: Cell<bool>,
}

/// What a ring is started with, besides its queue.
pub struct Start {
    pub index: u32,
    pub memory: Memory,
    pub account: Account,
    pub left: Vec<u16>,
    pub kick: Watch,
    pub call: Option<File>,
    pub error: Option<File>,
    pub enabled: bool,
}

enum Taken {
    /// Nothing is left in the ring, and the driver will kick.
    All,
    /// It stopped for another reason, which [`Shared::changed`] tells the end of.
    NotNow,
}

impl Ring {
    pub fn start(shared: &Rc<Shared>, queue: Queue, start: Start) -> Rc<Self> {
        let ring = Rc::new(Self {
            index: start.index,
            shared: Rc::clone(shared),
            memory: RefCell::new(start.memory),
            queue: RefCell::new(queue),
            account: RefCell::new(start.account),
            left: RefCell::new(start.left.into()),
            kick: start.kick,
            call: RefCell::new(start.call),
            error: RefCell::new(start.error),
            enabled: Cell::new(start.enabled),
            paused: Cell::new(false),
            stopped: Cell::new(false),
            broken: Cell::new(false),
            under_way: Cell::new(0),
            untold: Cell::new(0),
            in_place: Cell::new(false),
            will_tell: Cell::new(false),
        });
        // An answer that was given just before a death may not have been told.
        ring.interrupt();
        shared.env.spawn(Rc::clone(&ring).run());
        ring
    }

    /// Whether nothing of it is under way, nor will be before it is enabled or goes on.
    pub fn is_quiet(&self) -> bool {
        let owes = !self.left.borrow().is_empty() && self.enabled.get() && !self.broken.get();
        self.under_way.get() == 0 && !owes
    }

    /// Takes nothing new until it goes on.
    pub fn pause(&self, paused: bool) {
        self.paused.set(paused);
        self.shared.changed.notify_waiters();
    }

    /// Ends its task. It must be quiet, or its connection at its end. The place in the available ring where it would have gone on.
    pub fn stop(&self) -> u16 {
        self.stopped.set(true);
        self.shared.changed.notify_waiters();
        self.queue.borrow().next_avail()
    }

    /// The guest's memory is another one now; the ring must be quiet.
    pub fn set_memory(&self, memory: Memory) {
        let valid = self.queue.borrow().is_valid(&*memory);
        *self.memory.borrow_mut() = memory;
        if !valid {
            self.break_off(Broken::Ring);
        }
    }

    pub fn set_call(&self, call: Option<File>) {
        *self.call.borrow_mut() = call;
        // What was answered while there was none.
        self.interrupt();
    }

    pub fn set_error(&self, error: Option<File>) {
        *self.error.borrow_mut() = error;
    }

    fn break_off(&self, why: Broken) {
        if !self.broken.replace(true) {
            tracing::warn!(
                disk = self.shared.disk.serial(),
                ring = self.index,
                %why,
                "a guest broke the rules of its ring, which is not served any more"
            );
            signal(self.error.borrow().as_ref());
        }
        self.shared.quieter.notify_waiters();
    }

    async fn run(self: Rc<Self>) {
        let shared = Rc::clone(&self.shared);
        loop {
            // Made before anything is looked at, so that no change is missed.
            let mut changed = pin!(shared.changed.notified());
            if self.stopped.get() {
                return;
            }
            if self.broken.get() || !self.enabled.get() {
                changed.await;
                continue;
            }
            let taken = self.take().await;
            match self.tell().and(taken) {
                Ok(Taken::All) => {}
                Ok(Taken::NotNow) => {
                    changed.await;
                    continue;
                }
                Err(why) => {
                    self.break_off(why);
                    continue;
                }
            }
            let kicked = pin!(self.kick.readable());
            match select(kicked, &mut changed).await {
                Either::Left((Ok(()), _)) => {
                    if let Err(e) = self.take_kick() {
                        tracing::warn!(disk = shared.disk.serial(), ring = self.index, error = %e, "the kick descriptor of a ring");
                        self.break_off(Broken::Ring);
                    }
                }
                Either::Left((Err(e), _)) => {
                    tracing::warn!(disk = shared.disk.serial(), ring = self.index, error = %e, "waiting for a ring's kick");
                    self.break_off(Broken::Ring);
                }
                Either::Right(_) => {}
            }
        }
    }

    /// Lowers the kick; what it stands for is taken next.
    fn take_kick(&self) -> io::Result<()> {
        let mut count = [0; 8];
        match rustix::io::read(self.kick.fd(), &mut count) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Starts what there is: first what is left of an earlier process, then what is new.
    async fn take(self: &Rc<Self>) -> Result<Taken, Broken> {
        let invalid = |_| Broken::Ring;
        {
            let memory = self.memory.borrow();
            let mut queue = self.queue.borrow_mut();
            queue.disable_notification(&**memory).map_err(invalid)?;
        }
        let mut turn = HEADS_PER_TURN;
        loop {
            // Each time: it may be another one after others had their turn.
            let memory = self.memory.borrow().clone();
            if self.stopped.get() || self.broken.get() || !self.enabled.get() || !self.shared.has_room() {
                return Ok(Taken::NotNow);
            }
            let left = self.left.borrow_mut().pop_front();
            let head = match left {
                Some(head) => head,
                None if self.paused.get() => return Ok(Taken::NotNow),
                None => {
                    let Some(head) = self.next_head(&memory)? else {
                        return Ok(Taken::All);
                    };
                    if !self.account.borrow_mut().take(head) {
                        return Err(Broken::Head);
                    }
                    head
                }
            };
            self.begin(&memory, head)?;
            turn -= 1;
            if turn == 0 {
                turn = HEADS_PER_TURN;
                self.tell()?;
                self.shared.env.tasks.yield_now().await;
            }
        }
    }

    /// Takes the next head; `None`: there is none, and the driver will kick.
    fn next_head(&self, memory: &Memory) -> Result<Option<u16>, Broken> {
        let invalid = |_| Broken::Ring;
        let mut queue = self.queue.borrow_mut();
        for _ in 0..2 {
            let mut heads = queue.iter(&**memory).map_err(invalid)?;
            if let Some(chain) = heads.next() {
                return Ok(Some(chain.head_index()));
            }
            if !queue.enable_notification(&**memory).map_err(invalid)? {
                return Ok(None);
            }
            // One came in between.
            queue.disable_notification(&**memory).map_err(invalid)?;
        }
        // The index moved and has nothing to show for it.
        Err(Broken::Ring)
    }

    /// Starts the request at `head`, which is marked.
    fn begin(self: &Rc<Self>, memory: &Memory, head: u16) -> Result<(), Broken> {
        let (table, size) = {
            let queue = self.queue.borrow();
            (GuestAddress(queue.desc_table()), queue.size())
        };
        let buffers = Buffers::collect(memory, table, size, head)?;
        let request = buffers.request(memory, self.shared.disk.size_bytes());
        let bytes = request.as_ref().map_or(0, Request::bytes);
        self.under_way.set(self.under_way.get() + 1);
        self.shared.begin(bytes);
        let (ring, memory) = (Rc::clone(self), Memory::clone(memory));
        let mut task: LocalFuture<'static, ()> = Box::pin(async move {
            let used = ring.answer_to(&memory, &buffers, request).await;
            if let Err(why) = used.and_then(|used| ring.complete(&memory, head, used)) {
                ring.break_off(why);
            }
            ring.under_way.set(ring.under_way.get() - 1);
            ring.shared.end(bytes);
            ring.tell_in_time(bytes);
            if ring.is_quiet() {
                ring.shared.quieter.notify_waiters();
            }
        });
        self.in_place.set(true);
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.in_place.set(false);
        if polled.is_pending() {
            self.shared.env.tasks.spawn(task);
        }
        Ok(())
    }

    /// Carries a request out and writes its answer into the guest's memory; how many bytes were written there.
    async fn answer_to(
        &self,
        memory: &Memory,
        buffers: &Buffers,
        request: Result<Request, Refusal>,
    ) -> Result<u32, Broken> {
        let disk = &self.shared.disk;
        let filled = match request {
            Ok(request) => match perform(&**disk, request, self.shared.write_through.get()).await {
                Ok(pieces) => buffers.fill(memory, pieces),
                Err(e) => {
                    tracing::debug!(disk = disk.serial(), error = %e, "a guest's request failed");
                    Err(Refusal {
                        status: IOERR,
                        why: "the disk failed it",
                    })
                }
            },
            Err(refusal) => Err(refusal),
        };
        let (status, filled) = match filled {
            Ok(filled) => (OK, filled),
            Err(refusal) => {
                tracing::debug!(
                    disk = disk.serial(),
                    ring = self.index,
                    refusal.why,
                    "a guest's request was refused"
                );
                (refusal.status, 0)
            }
        };
        buffers.answer(memory, status)?;
        Ok(filled + 1)
    }

    /// Puts the answer into the used ring, and notes that it is there.
    fn complete(&self, memory: &Memory, head: u16, written: u32) -> Result<(), Broken> {
        let mut queue = self.queue.borrow_mut();
        let mut account = self.account.borrow_mut();
        account.answering(head);
        queue
            .add_used(&**memory, head, written)
            .map_err(|_| Broken::Ring)?;
        account.answered(head, queue.next_used());
        Ok(())
    }

    /// Sees to it that the driver is told of an answer, now or soon.
    fn tell_in_time(self: &Rc<Self>, bytes: u64) {
        self.untold.set(self.untold.get() + bytes.max(BLOCK_BYTES));
        let last = self.under_way.get() == 0 && !self.in_place.get();
        if last || self.untold.get() >= UNTOLD_BYTES {
            self.tell_or_break();
        } else if !self.in_place.get() && !self.will_tell.replace(true) {
            let ring = Rc::clone(self);
            self.shared.env.spawn(async move {
                ring.will_tell.set(false);
                ring.tell_or_break();
            });
        }
    }

    fn tell_or_break(&self) {
        if let Err(why) = self.tell() {
            self.break_off(why);
        }
    }

    /// Tells the driver of what it was not told of, if it wants to know.
    fn tell(&self) -> Result<(), Broken> {
        if self.untold.replace(0) == 0 {
            return Ok(());
        }
        let memory = self.memory.borrow();
        let mut queue = self.queue.borrow_mut();
        let wanted = if queue.event_idx_enabled() {
            queue.needs_notification(&**memory)
        } else {
            // The library does not look at the flag.
            std::sync::atomic::fence(Ordering::SeqCst);
            let flags = memory.load::<u16>(GuestAddress(queue.avail_ring()), Ordering::Relaxed);
            Ok(flags.is_ok_and(|flags| u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0))
        };
        drop((queue, memory));
        if wanted.map_err(|_| Broken::Ring)? {
            self.interrupt();
        }
        Ok(())
    }

    fn interrupt(&self) {
        signal(self.call.borrow().as_ref());
    }
}

/// Adds to an eventfd. Full, it is as good as signalled; broken, nobody waits.
fn signal(event: Option<&File>) {
    if let Some(event) = event {
        let _ = rustix::io::write(event, &1u64.to_ne_bytes());
    }
}
