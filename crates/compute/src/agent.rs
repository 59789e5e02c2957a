//! The QEMU guest agent: a program inside the guest that answers over a virtio-serial port.
//!
//! Nothing that it says is trusted: lines are bounded, answers are waited for with a limit. Whoever was there before may have left half a
//! talk in the channel, so each one begins with `guest-sync-delimited`: a byte that is never in JSON, and a number that comes back. Only
//! then is anything asked that changes the guest. Commands have no numbers: after a missing answer a talk is over.
//! Source: QEMU's "Guest Agent Protocol Reference".

use crate::error::{ComputeError, ComputeErrorKind};
use crate::guest::Guest;
use crate::lines::Lines;
use data_encoding::BASE64;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{Instant, sleep, timeout};

/// An agent that is there answers the first word in this time, also in an emulated guest under load.
pub const SYNC_LIMIT: Duration = Duration::from_secs(5);
/// What a program printed comes in one line, in base64.
const LINE_BYTES_MAX: usize = 4 << 20;
const SENTINEL: u8 = 0xff;
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AgentError {
    /// Nobody there, or nobody who knows the protocol.
    #[error("no guest agent answers: {0}")]
    Absent(String),
    /// The agent's own answer.
    #[error("the guest agent says: {0}")]
    Refused(String),
    /// It has answered before, and does not now: what it does is not known.
    #[error("the guest agent has not answered {0}")]
    Silent(String),
}

impl AgentError {
    pub fn about(&self, id: &str) -> ComputeError {
        let kind = match self {
            Self::Absent(_) => ComputeErrorKind::NoAgent,
            Self::Refused(_) | Self::Silent(_) => ComputeErrorKind::Failed,
        };
        ComputeError::new(kind, format!("guest {id}: {self}"))
    }
}

/// A talk with an agent that is there.
pub struct Session {
    lines: Lines<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Session {
    pub async fn open(socket: &Path, limit: Duration) -> Result<Self, AgentError> {
        let opened = timeout(limit, Self::synced(socket)).await;
        opened.unwrap_or_else(|_| Err(AgentError::Absent(format!("no word within {limit:?}"))))
    }

    async fn synced(socket: &Path) -> Result<Self, AgentError> {
        let absent = |error: std::io::Error| AgentError::Absent(error.to_string());
        let (reader, writer) = UnixStream::connect(socket).await.map_err(absent)?.into_split();
        let mut session = Self {
            lines: Lines::new(reader, LINE_BYTES_MAX),
            writer,
        };
        let number = new_number();
        let hello = json!({ "execute": "guest-sync-delimited", "arguments": { "id": number } });
        let bytes = [&[SENTINEL], format!("{hello}\n").as_bytes()].concat();
        session.writer.write_all(&bytes).await.map_err(absent)?;
        loop {
            let line = session.lines.next().await.map_err(absent)?;
            let line = line.ok_or_else(|| AgentError::Absent("the channel has closed".to_owned()))?;
            // In front of it is what the agent still had to say to somebody else.
            let Some(at) = line.iter().rposition(|byte| *byte == SENTINEL) else {
                // Others have their turn, and the limit is looked at, however much there is.
                tokio::task::yield_now().await;
                continue;
            };
            let said: Option<Value> = serde_json::from_slice(&line[at + 1..]).ok();
            if said.is_some_and(|said| said["return"] == number) {
                return Ok(session);
            }
        }
    }

    /// Asks one thing. After any other error than `Refused` the talk is over.
    pub async fn call(
        &mut self,
        command: &str,
        arguments: Value,
        limit: Duration,
    ) -> Result<Value, AgentError> {
        let silent = || AgentError::Silent(command.to_owned());
        let mut asked = json!({ "execute": command });
        if arguments
            .as_object()
            .is_some_and(|arguments| !arguments.is_empty())
        {
            asked["arguments"] = arguments;
        }
        let talk = async {
            let line = format!("{asked}\n");
            self.writer
                .write_all(line.as_bytes())
                .await
                .map_err(|_| silent())?;
            let line = self
                .lines
                .next()
                .await
                .map_err(|_| silent())?
                .ok_or_else(silent)?;
            serde_json::from_slice::<Value>(&line).map_err(|_| silent())
        };
        let said = timeout(limit, talk).await.unwrap_or_else(|_| Err(silent()))?;
        match (said.get("return"), said.get("error")) {
            (Some(value), _) => Ok(value.clone()),
            (None, Some(error)) => {
                let text = words(error["desc"].as_str().unwrap_or("no, without a reason"));
                Err(AgentError::Refused(format!("{command}: {text}")))
            }
            (None, None) => Err(silent()),
        }
    }
}

/// As much of a guest's words as people read; it may say anything.
pub fn words(text: &str) -> String {
    const CHARACTERS_MAX: usize = 300;
    text.chars()
        .filter(|c| !c.is_control())
        .take(CHARACTERS_MAX)
        .collect()
}

/// Different for each talk of this process; those of an earlier one are unlikely to be the same.
fn new_number() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    (std::process::id() << 12).wrapping_add(count) & 0x7fff_ffff
}

/// What a program in a guest came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// None if a signal ended it.
    pub exit_code: Option<i64>,
    /// What it printed, as far as the agent kept it.
    pub output: Vec<u8>,
    /// What it printed as errors.
    pub errors: Vec<u8>,
}

/// How far a program in a guest has come that was begun.
#[derive(Debug)]
pub enum Execution {
    Ended(Executed),
    /// It was not seen to end: its number, if the agent has told it, and why.
    RunsOn(Option<i64>, AgentError),
}

impl Guest {
    /// Runs a program in the guest, as its agent does: as root, found in its `PATH`.
    ///
    /// # Errors
    /// `NoAgent`; `Failed` also when it has not ended within `limit`: it then runs on.
    pub async fn exec(
        &self,
        path: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Executed, ComputeError> {
        match self.begin(path, arguments, limit).await? {
            Execution::Ended(executed) => Ok(executed),
            Execution::RunsOn(_, error) => Err(error.about(&self.id)),
        }
    }

    /// The same, for who has to know whether the program was begun.
    ///
    /// # Errors
    /// `NoAgent`, `Failed`: it was not.
    pub async fn begin(
        &self,
        path: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Execution, ComputeError> {
        let deadline = Instant::now() + limit;
        let Ok(_agent) = timeout(limit, self.agent.lock()).await else {
            return Err(self.agent_is_busy(limit));
        };
        let done = execute(&self.dir.agent(), path, arguments, deadline).await;
        done.map_err(|error| error.about(&self.id))
    }

    /// Whether a program that was begun has ended. One that the agent does not know any more has.
    ///
    /// # Errors
    /// `NoAgent`, `Failed`: it is not known.
    pub async fn has_ended(&self, program: i64) -> Result<bool, ComputeError> {
        let Ok(_agent) = timeout(SYNC_LIMIT, self.agent.lock()).await else {
            return Err(self.agent_is_busy(SYNC_LIMIT));
        };
        let found = has_ended(&self.dir.agent(), program).await;
        found.map_err(|error| error.about(&self.id))
    }

    fn agent_is_busy(&self, limit: Duration) -> ComputeError {
        let text = format!("guest {}: its agent has been busy for {limit:?}", self.id);
        ComputeError::failed(text)
    }
}

async fn has_ended(socket: &Path, program: i64) -> Result<bool, AgentError> {
    let mut session = Session::open(socket, SYNC_LIMIT).await?;
    let asked = json!({ "pid": program });
    match session.call("guest-exec-status", asked, SYNC_LIMIT).await {
        Ok(status) => Ok(status["exited"] == true),
        // It tells of an end once, and forgets it.
        Err(AgentError::Refused(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Begins a program, and waits for its end. An error: the agent was not asked to, or refuses.
async fn execute(
    socket: &Path,
    path: &str,
    arguments: &[&str],
    deadline: Instant,
) -> Result<Execution, AgentError> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut session = Session::open(socket, SYNC_LIMIT.min(left())).await?;
    let command = json!({ "path": path, "arg": arguments, "capture-output": true });
    let begun = match session.call("guest-exec", command, left()).await {
        Err(AgentError::Refused(why)) => return Err(AgentError::Refused(why)),
        // Asked and not answered: it may well run.
        Err(error) => return Ok(Execution::RunsOn(None, error)),
        Ok(begun) => begun,
    };
    let Some(number) = begun["pid"].as_i64() else {
        return Ok(Execution::RunsOn(
            None,
            AgentError::Silent("guest-exec".to_owned()),
        ));
    };
    Ok(match until_its_end(&mut session, number, path, deadline).await {
        Ok(executed) => Execution::Ended(executed),
        Err(error) => Execution::RunsOn(Some(number), error),
    })
}

async fn until_its_end(
    session: &mut Session,
    number: i64,
    path: &str,
    deadline: Instant,
) -> Result<Executed, AgentError> {
    let left = || deadline.saturating_duration_since(Instant::now());
    loop {
        let status = session
            .call("guest-exec-status", json!({ "pid": number }), left())
            .await?;
        if status["exited"] == true {
            return Ok(Executed {
                exit_code: status["exitcode"].as_i64(),
                output: decoded(&status["out-data"]),
                errors: decoded(&status["err-data"]),
            });
        }
        if left().is_zero() {
            return Err(AgentError::Silent(format!("that {path} has ended; it runs on")));
        }
        sleep(LOOK_EVERY.min(left())).await;
    }
}

fn decoded(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_default();
    BASE64.decode(text.as_bytes()).unwrap_or_default()
}

#[cfg(test)]
pub mod fake;
#[cfg(test)]
mod tests;
