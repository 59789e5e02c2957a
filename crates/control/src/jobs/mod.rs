//! The worker: does what job rows promise, one job per lane at a time, until each is done.
//!
//! What must stay true: (1) a job's row is removed in the same transaction that commits its effect,
//! so a crash at any point repeats a job or has finished it; every step is therefore repeatable;
//! (2) jobs of one lane run alone and oldest first; a lane is the resource whose state they change
//! together: an instance for all that happens to its disks' exports, else the resource itself;
//! (3) when the exports of an instance's disks change, its lane is held, so Stopped means no export.
//!
//! A job that fails is tried again with growing pauses; one that cannot succeed takes its change back
//! and keeps the reason for the action that may still be waiting.
//! Not here: which jobs an action starts (`actions`), the captures themselves (`node`).

pub(crate) mod disk;
mod guest;
pub(crate) mod image;
pub(crate) mod instance;
pub(crate) mod snapshot;

use crate::Control;
use crate::catalogue::jobs::{self, JobKind, JobRow};
use crate::store::StoreError;
use crate::webhooks;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidemark_node::{NodeError, NodeErrorKind};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// First and longest pause before a failed job is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(100);
const RETRY_LONGEST: Duration = Duration::from_secs(30);
/// How often work that can be taken back is tried before it is.
const ATTEMPTS_MAX: i64 = 5;
/// Ends of jobs that are remembered for waiting actions.
const ENDS_MAX: usize = 4096;

/// What one run of a job came to.
pub(crate) enum Step {
    /// Its row is gone, with its effect.
    Done,
    /// Its row is gone, with its change taken back.
    Failed(NodeError),
    /// Not yet: run it again after this pause, or when something happens to its lane.
    Again(Duration),
}

/// Why one run did not get through; it will be tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobError {
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The guests that run leave too little memory for this one.
    #[error(transparent)]
    NoRoom(NodeError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("webhook {0}: {1}")]
    Undelivered(String, String),
    #[error("catalogue: job {0}: {1}")]
    Unusable(i64, String),
}

/// Shared between actions and the worker.
#[derive(Default)]
pub(crate) struct Jobs {
    state: Mutex<State>,
    wake: Notify,
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    busy: HashSet<String>,
    /// Not before this; for jobs that wait or have failed.
    due: HashMap<i64, Instant>,
    /// When a job was first run by this process, of those that count from then.
    begun: HashMap<i64, Instant>,
    ends: VecDeque<(i64, Result<(), NodeError>)>,
}

/// A held lane: no job of it runs until this is dropped.
pub(crate) struct LaneGuard {
    control: Control,
    lane: String,
}

impl Drop for LaneGuard {
    fn drop(&mut self) {
        let jobs = self.control.jobs();
        jobs.state().busy.remove(&self.lane);
        jobs.ended.send_modify(|generation| *generation += 1);
        jobs.wake.notify_one();
    }
}

impl Jobs {
    fn state(&self) -> MutexGuard<'_, State> {
        // Every change under this lock is a single insertion or removal.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks for work now.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Something has happened: what waits need not wait any longer.
    pub(crate) fn hurry(&self) {
        self.state().due.clear();
        self.wake();
    }

    /// How long ago the job asked this first.
    pub(crate) fn running_for(&self, id: i64) -> Duration {
        self.state()
            .begun
            .entry(id)
            .or_insert_with(Instant::now)
            .elapsed()
    }

    /// Waits until the jobs have ended, at most `patience`; answers which were taken back, and why.
    pub(crate) async fn linger(&self, ids: &[i64], patience: Duration) -> Vec<(i64, NodeError)> {
        let deadline = Instant::now() + patience;
        let mut ended = self.ended.subscribe();
        let mut open = ids.to_vec();
        let mut failed = Vec::new();
        loop {
            ended.mark_unchanged();
            let ends = |id: &i64| {
                self.state()
                    .ends
                    .iter()
                    .rev()
                    .find(|(ended, _)| ended == id)
                    .cloned()
            };
            open.retain(|id| match ends(id) {
                None => true,
                Some((_, Ok(()))) => false,
                Some((_, Err(error))) => {
                    failed.push((*id, error));
                    false
                }
            });
            if open.is_empty() || tokio::time::timeout_at(deadline, ended.changed()).await.is_err() {
                return failed;
            }
        }
    }

    /// Waits until no lane is held.
    pub(crate) async fn idle(&self) {
        let mut ended = self.ended.subscribe();
        loop {
            ended.mark_unchanged();
            if self.state().busy.is_empty() || ended.changed().await.is_err() {
                return;
            }
        }
    }

    fn end(&self, id: i64, result: Result<(), NodeError>) {
        let mut state = self.state();
        state.due.remove(&id);
        state.begun.remove(&id);
        state.ends.push_back((id, result));
        while state.ends.len() > ENDS_MAX {
            state.ends.pop_front();
        }
        drop(state);
        self.ended.send_modify(|generation| *generation += 1);
    }
}

impl Control {
    /// Keeps jobs off a lane; for work that an action does itself. `None`: one is running.
    pub(crate) fn hold_lane(&self, lane: &str) -> Option<LaneGuard> {
        let free = self.jobs().state().busy.insert(lane.to_owned());
        free.then(|| LaneGuard {
            control: self.clone(),
            lane: lane.to_owned(),
        })
    }
}

/// Runs until the process ends or the control plane is shut down.
pub(crate) async fn work(control: Control) {
    while !control.is_stopped() {
        let pause = match start_due(&control).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::error!(%error, "the list of jobs cannot be read");
                RETRY_LONGEST
            }
        };
        tokio::select! {
            () = control.jobs().wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
            () = control.stopped() => return,
        }
    }
}

/// Starts the oldest job of every free lane that is due; says when to look again.
async fn start_due(control: &Control) -> Result<Duration, StoreError> {
    let rows = control.store().read(jobs::all).await?;
    let now = Instant::now();
    let mut next = now + RETRY_LONGEST;
    let mut lanes = HashSet::new();
    for job in rows {
        if !lanes.insert(job.lane.clone()) {
            continue;
        }
        if let Some(due) = control.jobs().state().due.get(&job.id).copied()
            && due > now
        {
            next = next.min(due);
            continue;
        }
        if let Some(guard) = control.hold_lane(&job.lane) {
            tokio::spawn(run(control.clone(), job, guard));
        }
    }
    Ok(next.saturating_duration_since(now))
}

async fn run(control: Control, job: JobRow, guard: LaneGuard) {
    let id = job.id;
    // Between listing and holding the lane, another run may have ended this job.
    match control.store().read(move |t| JobRow::get(t, id)).await {
        Ok(Some(job)) => attempt(&control, &job).await,
        Ok(None) => {}
        Err(error) => tracing::error!(%error, job = id, "a job cannot be read"),
    }
    drop(guard);
}

async fn attempt(control: &Control, job: &JobRow) {
    let outcome = match job.kind {
        JobKind::CreateDisk => disk::create(control, job).await,
        JobKind::AttachDisk => disk::attach(control, job).await,
        JobKind::DetachDisk => disk::detach(control, job).await,
        JobKind::DeleteDisk => disk::delete(control, job).await,
        JobKind::ResetDisk => disk::reset(control, job).await,
        JobKind::ResizeDisk => disk::resize(control, job).await,
        JobKind::ReInitDisk => disk::reinit(control, job).await,
        JobKind::ReplaceSystemDisk => disk::replace(control, job).await,
        JobKind::CreateInstance => instance::create(control, job).await,
        JobKind::CompleteImage => image::complete(control, job).await,
        JobKind::RunInstance => instance::run(control, job).await,
        JobKind::StartInstance => instance::start(control, job).await,
        JobKind::StopInstance => instance::stop(control, job).await,
        JobKind::EndGuest => guest::end(control, job).await,
        JobKind::CompleteSnapshot => snapshot::complete(control, job).await,
        JobKind::CopySnapshot => snapshot::copy(control, job).await,
        JobKind::DeleteSnapshot => snapshot::delete(control, job).await,
        JobKind::UpdateRecord => snapshot::update_record(control, job).await,
        JobKind::DeliverEvents => webhooks::deliver(control, job).await,
    };
    let pause = match outcome {
        Ok(Step::Done) => return control.jobs().end(job.id, Ok(())),
        Ok(Step::Failed(error)) => {
            tracing::error!(kind = %job.kind, subject = %job.subject, %error, "job given up");
            return control.jobs().end(job.id, Err(error));
        }
        Ok(Step::Again(pause)) => pause,
        Err(error) => {
            tracing::warn!(kind = %job.kind, subject = %job.subject, attempts = job.attempts + 1, %error, "job failed, will be tried again");
            let (id, text) = (job.id, error.to_string());
            let noted = control
                .store()
                .write(move |t| jobs::note_failure(t, id, &text))
                .await;
            if let Err(error) = noted {
                tracing::error!(%error, "a failed attempt cannot be noted");
            }
            let doublings = u32::try_from(job.attempts.clamp(0, 10)).unwrap_or(10);
            RETRY_LONGEST.min(RETRY_FIRST * 2_u32.pow(doublings))
        }
    };
    control.jobs().state().due.insert(job.id, Instant::now() + pause);
}

/// Whether trying again is pointless: the answer would be the same, or it was tried often enough.
fn is_final(error: &NodeError, job: &JobRow) -> bool {
    match error.kind {
        NodeErrorKind::Missing | NodeErrorKind::Full | NodeErrorKind::Corrupt | NodeErrorKind::Invalid => {
            true
        }
        // A client or a capture goes away some time.
        NodeErrorKind::Busy => false,
        // What such a job has done by then is not known: it may be all of it, so "as it was" would be a lie. The disk is
        // opened again soon, and the job can be repeated.
        NodeErrorKind::Poisoned if changes_content(job.kind) => false,
        NodeErrorKind::Poisoned | NodeErrorKind::Other => job.attempts + 1 >= ATTEMPTS_MAX,
    }
}

/// Whether the job changes what is on a disk that was there before it, or how large that is.
fn changes_content(kind: JobKind) -> bool {
    matches!(
        kind,
        JobKind::ResetDisk | JobKind::ReInitDisk | JobKind::ResizeDisk
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(kind: JobKind, attempts: i64) -> JobRow {
        JobRow {
            id: 1,
            kind,
            subject: "d-1".into(),
            lane: "d-1".into(),
            arguments: String::new(),
            attempts,
            last_error: String::new(),
            created_ms: 0,
        }
    }

    #[test]
    fn what_may_have_changed_a_disk_is_never_said_to_have_left_it() {
        let error = |kind| NodeError {
            kind,
            message: "a sync failed".into(),
        };
        for kind in [JobKind::ResetDisk, JobKind::ReInitDisk, JobKind::ResizeDisk] {
            assert!(
                !is_final(&error(NodeErrorKind::Poisoned), &tried(kind, 1000)),
                "{kind}"
            );
            assert!(
                is_final(&error(NodeErrorKind::Missing), &tried(kind, 0)),
                "{kind}"
            );
        }
        let making = |attempts| {
            is_final(
                &error(NodeErrorKind::Poisoned),
                &tried(JobKind::CreateDisk, attempts),
            )
        };
        assert!(
            !making(0) && making(ATTEMPTS_MAX),
            "a disk that is being made can be taken back"
        );
    }
}
