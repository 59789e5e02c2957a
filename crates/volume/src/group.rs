//! Groups: one instant across several volumes; this volume's half (design 3.4).
//!
//! The coordinator, which owns the group, goes through these steps with every member:
//! 1. [`Volume::hold_acks`]: from here on no member acknowledges a write, zero, trim or flush; it goes on logging them.
//! 2. when all members hold: [`Volume::prepare`], which gives the mark its *place*: the record is queued, and records
//!    get their LSN in the order in which they are queued.
//! 3. when all members have their place: [`AckHold::release`]. A member whose lease ran out before that voids the group.
//! 4. [`Prepared::durable`] of every member, then the coordinator makes its decision durable (the group exists from
//!    then on), then [`Volume::commit_prepared`] everywhere. Whatever fails before the decision: [`Volume::abort_prepared`].
//!    The coordinator may forget its decision when every member's [`Decided::durable`] is there.
//!
//! What this gives: **if a write to B was issued after a write to A was acknowledged, no group has B's without A's.**
//! Let `a` and `b` be the records. A acknowledged `a`
//! - before A's hold began: `a` was written by then, A's PREPARE is queued later, so `a` is before A's mark; or
//! - while A held, because `a` waited for an earlier hold that has ended: `a` was written before this hold began, as above; or
//! - after A's hold ended, released: all members had their place by then. `b` was issued later, so it is queued
//!   behind B's PREPARE and is not in B's mark; or
//! - after A's hold ended because its lease ran out: A's `release` says so, and the group is void.
//!
//! An acknowledgement cannot slip through: [`AckGate::pass`] is the last thing that a request awaits, and when nothing is
//! held it completes in the poll that looked. A request waits for one hold at most, so never longer than a lease.
//! Reads are not held: what a reader sees of a write that is not acknowledged is not ordered with other disks.
//!
//! A prepared mark is kept like a pending one (the base keeps what it needs, superblocks carry it), but it is not one: nothing
//! captures it, and it blocks other marks, until the decision. A decision counts at once and its record follows when
//! the log has room: with a full log the record waits for a checkpoint, which waits for the mark's chunks to be captured
//! or given up, which waits for the decision. Nothing depends on the order: the record is queued before any other
//! mark can be, and a decision that a crash took is asked for again. After a crash [`Volume::prepared_marks`] names the
//! ones in doubt and their groups; a group without a durable decision is void (R7).
//! Not here: who is in a group, the group's record, time limits of a coordinator (the node).

use crate::error::{Result, VolumeError, VolumeErrorKind};
use crate::log::layout::RecordKind;
use crate::log::writer::Log;
use crate::notes::GROUP_BYTES_MAX;
use crate::tracking::Mark;
use crate::volume::Volume;
use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_units::{Lsn, SnapshotId};
use tokio::sync::{Notify, oneshot};

#[derive(Clone, Copy, PartialEq, Eq)]
enum HoldState {
    Holding,
    Released,
    Expired,
}

struct Hold {
    state: Cell<HoldState>,
    ended: Notify,
}

impl Hold {
    /// Ends the hold as `how`, unless it has ended before.
    fn end(&self, how: HoldState) {
        if self.state.get() == HoldState::Holding {
            self.state.set(how);
            self.ended.notify_waiters();
        }
    }
}

/// Where a volume's acknowledgements pass, one hold at a time.
#[derive(Default)]
pub(crate) struct AckGate {
    hold: RefCell<Weak<Hold>>,
}

impl AckGate {
    fn holding(&self) -> Option<Rc<Hold>> {
        let hold = self.hold.borrow().upgrade();
        hold.filter(|hold| hold.state.get() == HoldState::Holding)
    }

    /// Completes at once when nothing is held, otherwise when the present hold has ended.
    pub async fn pass(&self) {
        let Some(hold) = self.holding() else { return };
        if mutant::on("volume-prepare-not-held") {
            return;
        }
        // Registered before looking: nothing runs in between, but the order is then right by itself.
        let ended = hold.ended.notified();
        if hold.state.get() == HoldState::Holding {
            ended.await;
        }
    }
}

/// Holds a volume's acknowledgements until it is released or dropped, or its lease has run out.
#[must_use = "acknowledgements are held only as long as this lives"]
pub struct AckHold {
    hold: Rc<Hold>,
}

impl AckHold {
    /// Whether the lease has run out: acknowledgements have been passing since.
    pub fn expired(&self) -> bool {
        self.hold.state.get() == HoldState::Expired
    }

    /// Lets acknowledgements pass. Whether they were held from the start until now; if not, the group is void.
    pub fn release(self) -> bool {
        let held = !self.expired() || mutant::on("volume-expiry-untold");
        drop(self);
        held
    }
}

impl Drop for AckHold {
    fn drop(&mut self) {
        self.hold.end(HoldState::Released);
    }
}

/// A mark whose place in the log is fixed. It gets written and durable whether or not anybody waits for it; dropping this
/// decides nothing.
pub struct Prepared {
    durable: oneshot::Receiver<Result<Lsn>>,
}

impl Prepared {
    /// Completes when the mark is durable, with its position: a crash from here on leaves it prepared.
    pub async fn durable(self) -> Result<Lsn> {
        let lost = || VolumeError::new(VolumeErrorKind::Poisoned, "the volume was closed");
        self.durable.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// A decision about a prepared mark. It counts already; dropping this changes nothing.
pub struct Decided {
    volume: Volume,
    record: Option<oneshot::Receiver<Result<Lsn>>>,
}

impl Decided {
    /// Completes when a crash would not bring the question back: only then may the group's own record go. With a
    /// full log that can take as long as the mark's capture, so start the capture first.
    pub async fn durable(self) -> Result<()> {
        let log = &self.volume.inner.log;
        let lsn = match self.record {
            Some(record) => Log::appended(record).await?,
            None => {
                // Decided before: the record of that may still be on its way.
                log.barrier().await;
                self.volume.check_serving()?;
                log.written()
            }
        };
        log.sync(lsn).await
    }
}

impl Volume {
    /// From now on no write, zero, trim or flush is acknowledged, until the answer is released or dropped or `lease` has
    /// passed. They go on being logged, and never wait longer than `lease`. While another hold lasts:
    /// [`VolumeErrorKind::Busy`].
    pub fn hold_acks(&self, lease: Duration) -> Result<AckHold> {
        self.check_serving()?;
        let gate = &self.inner.acks;
        if gate.holding().is_some() {
            return Err(VolumeError::new(
                VolumeErrorKind::Busy,
                "another group is being prepared on this disk",
            ));
        }
        let hold = Rc::new(Hold {
            state: Cell::new(HoldState::Holding),
            ended: Notify::new(),
        });
        *gate.hold.borrow_mut() = Rc::downgrade(&hold);
        let clock = self.inner.env.clock.clone();
        let leased = Rc::clone(&hold);
        self.inner.env.spawn(async move {
            clock.sleep(lease).await;
            if mutant::on("volume-lease-ignored") {
                return;
            }
            // The only way to expire, so what `expired` says and what passed the gate are one fact.
            leased.end(HoldState::Expired);
        });
        Ok(AckHold { hold })
    }

    /// Fixes the place of a mark that counts once `group` (opaque here, at most 256 bytes) decides so. The place is fixed when
    /// this returns. While another mark is being made or waits for its capture or group: [`VolumeErrorKind::Busy`].
    pub fn prepare(&self, snapshot: &SnapshotId, group: &str) -> Result<Prepared> {
        if group.is_empty() || group.len() > GROUP_BYTES_MAX {
            return Err(VolumeError::invalid(format!(
                "a group's name has 1 to {GROUP_BYTES_MAX} bytes, not {}",
                group.len()
            )));
        }
        self.check_serving()?;
        let busy = |_| {
            VolumeError::new(
                VolumeErrorKind::Busy,
                "another snapshot of this disk is being made",
            )
        };
        let marking = self.inner.marking.clone().try_lock_owned().map_err(busy)?;
        self.inner.core.state.borrow().check_no_mark_waits()?;
        let placed = self.append_note(RecordKind::MarkPrepare, snapshot, group);
        let (done, durable) = oneshot::channel();
        let log = self.inner.log.clone();
        // A task of its own: the mark must not stay half made when the coordinator goes away.
        self.inner.env.spawn(async move {
            let outcome = match Log::appended(placed).await {
                Ok(lsn) => log.sync(lsn).await.map(|()| lsn),
                Err(e) => Err(e),
            };
            drop(marking);
            // An error: nobody waits, the coordinator has given up.
            let _ = done.send(outcome);
        });
        Ok(Prepared { durable })
    }

    /// Marks whose group has not decided, oldest first, each with its group. After a crash: ask the group, then
    /// [`Volume::commit_prepared`] or [`Volume::abort_prepared`].
    pub fn prepared_marks(&self) -> Vec<(Mark, String)> {
        self.inner.core.state.borrow().tracker.prepared()
    }

    /// The group exists: the prepared mark of `snapshot` is an ordinary pending one when this returns. One that is
    /// so already is fine.
    pub fn commit_prepared(&self, snapshot: &SnapshotId) -> Result<Decided> {
        self.check_serving()?;
        let undecided = self.is_prepared(snapshot);
        self.inner
            .core
            .state
            .borrow_mut()
            .tracker
            .commit_prepared(snapshot);
        if self.inner.core.state.borrow().tracker.mark_of(snapshot).is_none() {
            return Err(VolumeError::invalid(format!(
                "no prepared mark of snapshot {snapshot}"
            )));
        }
        Ok(self.decided(snapshot, RecordKind::MarkCommit, undecided))
    }

    /// The group is void: the changes before the prepared mark of `snapshot` belong to the disk's next snapshot when this
    /// returns (or when the mark is written, if that is still to come). One that is gone already, or never was, is
    /// fine; one that was committed is an error.
    pub fn abort_prepared(&self, snapshot: &SnapshotId) -> Result<Decided> {
        self.check_serving()?;
        if self.inner.core.state.borrow().tracker.mark_of(snapshot).is_some() {
            return Err(VolumeError::invalid(format!(
                "the mark of snapshot {snapshot} is committed: its group exists"
            )));
        }
        // A mark that has its place but is not written is not known here; the record that follows it will find it.
        let undecided = self.is_prepared(snapshot) || self.inner.marking.try_lock().is_err();
        self.inner
            .core
            .state
            .borrow_mut()
            .tracker
            .abort_prepared(snapshot);
        Ok(self.decided(snapshot, RecordKind::MarkAbort, undecided))
    }

    fn is_prepared(&self, snapshot: &SnapshotId) -> bool {
        self.prepared_marks()
            .iter()
            .any(|(mark, _)| &mark.snapshot == snapshot)
    }

    /// A decision was applied; logs it too, unless it was made before.
    fn decided(&self, snapshot: &SnapshotId, kind: RecordKind, log_it: bool) -> Decided {
        // A checkpoint that waits for the mark's chunks: they can be taken now, or nobody needs them.
        self.inner.core.taken.notify_waiters();
        Decided {
            volume: self.clone(),
            record: log_it.then(|| self.append_note(kind, snapshot, "")),
        }
    }
}
