//! File systems of a guest stand still while a snapshot's mark is made.
//!
//! A task of its own freezes and thaws; the caller only has a handle. The task thaws when it is told to, when the handle is dropped, and when
//! the limit is over, whichever is first, and does not rest until the guest has thawed or ended. The limit runs from before the
//! guest is asked to freeze. A file in the guest's directory says that it may be frozen, for whoever comes after us.
//! [`Frozen::thaw`] answers whether the guest stood still until then: only after that may a snapshot be called consistent.

use crate::agent::{AgentError, SYNC_LIMIT, Session};
use crate::error::{ComputeError, ComputeErrorKind};
use crate::guest::Guest;
use crate::guest_dir::GuestDir;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Thawing takes milliseconds; an agent that is still freezing answers only when it has done so.
const THAW_LIMIT: Duration = Duration::from_secs(5);
const THAW_EVERY: Duration = Duration::from_millis(500);
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// File systems of a guest that stand still. Dropped, they are thawed.
#[derive(Debug)]
pub struct Frozen {
    /// How many stand still.
    pub filesystems: u64,
    guest: String,
    thaw: oneshot::Sender<Asked>,
}

/// Who wants to know how the thaw went.
type Asked = oneshot::Sender<Result<(), ComputeError>>;

impl Frozen {
    /// Lets the guest go on.
    ///
    /// # Errors
    /// They did not stand still until now: the limit was over, or the guest did something else. They are thawed in this case too, or are
    /// being thawed.
    pub async fn thaw(self) -> Result<(), ComputeError> {
        let over = || {
            let text = format!(
                "guest {}: the limit for its frozen file systems was over before",
                self.guest
            );
            ComputeError::failed(text)
        };
        let (asked, answered) = oneshot::channel();
        self.thaw.send(asked).map_err(|_| over())?;
        answered.await.map_err(|_| over())?
    }
}

impl Guest {
    /// Freezes its file systems for `limit` at most.
    ///
    /// # Errors
    /// `NoAgent`; `Failed` when it refuses, has none, or takes longer than the limit. Nothing is left frozen, but an agent that does not
    /// answer is still being asked to thaw.
    pub async fn freeze(self: &Arc<Self>, limit: Duration) -> Result<Frozen, ComputeError> {
        let (begun, frozen) = oneshot::channel();
        let (thaw, asked) = oneshot::channel();
        let guest = Arc::clone(self);
        tokio::spawn(async move {
            let Ok(_agent) = timeout(limit, guest.agent.lock()).await else {
                let text = format!("guest {}: its agent has been busy for {limit:?}", guest.id);
                let _ = begun.send(Err(ComputeError::failed(text)));
                return;
            };
            tokio::select! {
                () = stand_still(&guest.dir, &guest.id, limit, begun, asked) => {}
                // It stands still for ever now, and nothing of its directory is ours any more.
                () = guest.process.gone() => {}
            }
        });
        let filesystems = frozen
            .await
            .unwrap_or_else(|_| Err(ComputeError::not_running(&self.id)))?;
        Ok(Frozen {
            filesystems,
            guest: self.id.clone(),
            thaw,
        })
    }

    /// Thaws what an earlier life of ours has left frozen. Goes on in the background.
    pub fn thaw_what_was_left(self: &Arc<Self>) {
        if !self.dir.frozen().exists() {
            return;
        }
        tracing::warn!(guest = self.id, "was left frozen and is thawed");
        let guest = Arc::clone(self);
        tokio::spawn(async move {
            let _agent = guest.agent.lock().await;
            tokio::select! {
                () = thaw(&guest.dir, None) => {}
                () = guest.process.gone() => {}
            }
        });
    }
}

async fn stand_still(
    dir: &GuestDir,
    id: &str,
    limit: Duration,
    begun: oneshot::Sender<Result<u64, ComputeError>>,
    mut asked: oneshot::Receiver<Asked>,
) {
    let mut session = match Session::open(&dir.agent(), SYNC_LIMIT.min(limit)).await {
        Ok(session) => session,
        Err(error) => return drop(begun.send(Err(error.about(id)))),
    };
    if let Err(error) = fs::write(dir.frozen(), "") {
        let error = ComputeError::failed(format!("guest {id}: {}: {error}", dir.frozen().display()));
        return drop(begun.send(Err(error)));
    }
    let over = Instant::now() + limit;
    let freezing = session.call("guest-fsfreeze-freeze", json!({}), limit).await;
    let count = freezing
        .map_err(|error| error.about(id))
        .and_then(|count| match count.as_u64() {
            Some(count) if count > 0 => Ok(count),
            _ => Err(ComputeError::new(
                ComputeErrorKind::Failed,
                format!("guest {id} has no file system that can be frozen"),
            )),
        });
    let frozen = count.is_ok();
    // An error may have left some of them frozen, and who asked may be gone.
    if begun.send(count).is_err() || !frozen {
        // The channel has room for one.
        drop(session);
        return thaw(dir, None).await;
    }
    let asked = tokio::select! {
        asked = &mut asked => asked.ok(),
        () = sleep_until(over) => None,
    };
    let Some(answer) = asked else {
        tracing::warn!(guest = id, "frozen file systems are thawed without being told to");
        return thaw(dir, Some(session)).await;
    };
    let held = still_frozen(&mut session, id).await;
    let session = held.is_ok().then_some(session);
    let mut thawing = std::pin::pin!(thaw(dir, session));
    // Who asked hears of it when the guest goes on, but does not wait for an agent that has gone.
    let thawed = timeout(ANSWER_LIMIT, &mut thawing).await.is_ok();
    let _ = answer.send(held);
    if !thawed {
        thawing.await;
    }
}

/// A guest that was started anew, or thawed from inside, did not stand still.
async fn still_frozen(session: &mut Session, id: &str) -> Result<(), ComputeError> {
    let status = session.call("guest-fsfreeze-status", json!({}), THAW_LIMIT).await;
    match status.map_err(|error| error.about(id))? {
        status if status == "frozen" => Ok(()),
        status => Err(ComputeError::failed(format!(
            "guest {id} did not stand still: it says {status}"
        ))),
    }
}

/// Thaws, however often it takes.
async fn thaw(dir: &GuestDir, mut session: Option<Session>) {
    loop {
        match thaw_once(&dir.agent(), session.take()).await {
            Ok(()) => break,
            // It has answered: it does not know the command, has nothing to thaw, or could not now.
            Err(AgentError::Refused(text)) => {
                tracing::warn!(guest = %dir.path().display(), text, "thawing");
                if !says_frozen(&dir.agent()).await {
                    break;
                }
                sleep(THAW_EVERY).await;
            }
            Err(AgentError::Absent(_) | AgentError::Silent(_)) => sleep(THAW_EVERY).await,
        }
    }
    let _ = fs::remove_file(dir.frozen());
}

/// Whether the agent says that file systems stand still.
async fn says_frozen(socket: &Path) -> bool {
    let Ok(mut session) = Session::open(socket, THAW_LIMIT).await else {
        return true;
    };
    match session.call("guest-fsfreeze-status", json!({}), THAW_LIMIT).await {
        Ok(status) => status == "frozen",
        Err(AgentError::Refused(_)) => false,
        Err(AgentError::Absent(_) | AgentError::Silent(_)) => true,
    }
}

async fn thaw_once(socket: &Path, session: Option<Session>) -> Result<(), AgentError> {
    let mut session = match session {
        Some(session) => session,
        None => Session::open(socket, THAW_LIMIT).await?,
    };
    session
        .call("guest-fsfreeze-thaw", json!({}), THAW_LIMIT)
        .await
        .map(drop)
}

#[cfg(test)]
#[path = "freezing_tests.rs"]
mod tests;
