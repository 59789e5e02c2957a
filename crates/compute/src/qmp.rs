//! QMP, QEMU's machine protocol: JSON objects, one a line, over a unix socket.
//!
//! A task of its own reads and writes. Requests carry numbers, so that answers find who asked however events and other answers lie in
//! between; who stops waiting is forgotten. When the last [`Qmp`] of a connection is gone, the connection ends, and QEMU takes the next one.
//! Why not a crate: what we say are ten commands, and what matters here, limits and what is dropped, is not in any.
//! Source: QEMU's "QMP Protocol Specification".

use crate::lines::Lines;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// The longest that QEMU says is a list of some hundred devices.
const LINE_BYTES_MAX: usize = 1 << 20;
/// A request is a few hundred bytes; QEMU that takes none for so long takes none at all.
const WRITE_LIMIT: Duration = Duration::from_secs(5);
/// Those that somebody here acts on. A guest can cause others as often as it wants.
const EVENTS: [&str; 5] = [
    "SHUTDOWN",
    "RESET",
    "GUEST_PANICKED",
    "DEVICE_DELETED",
    "DEVICE_UNPLUG_GUEST_ERROR",
];

/// QEMU's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// As the 7 of 7.2.1.
    pub major: u32,
    /// As the 2 of 7.2.1.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// What QEMU tells without being asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub name: String,
    pub data: Value,
}

impl Event {
    pub fn text(&self, key: &str) -> &str {
        self.data[key].as_str().unwrap_or_default()
    }
}

#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum QmpError {
    /// QEMU's own answer.
    #[error("{text}")]
    Refused { class: String, text: String },
    /// What QEMU does about it is not known.
    #[error("QEMU has not answered {command} within {limit:?}")]
    Slow { command: String, limit: Duration },
    /// No connection, or not to what we know.
    #[error("no talk with QEMU: {0}")]
    Lost(String),
}

/// A connection, to ask over. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Qmp {
    requests: mpsc::Sender<Request>,
    pub version: Version,
}

#[derive(Debug)]
struct Request {
    command: Value,
    answer: oneshot::Sender<Result<Value, QmpError>>,
}

/// A connection that has just been made.
pub struct Connected {
    pub qmp: Qmp,
    /// Ends with the connection.
    pub events: mpsc::Receiver<Event>,
}

impl Qmp {
    /// Connects and agrees on nothing special, which QEMU wants before it takes commands.
    pub async fn connect(socket: &Path, limit: Duration) -> Result<Connected, QmpError> {
        timeout(limit, Self::greet(socket)).await.unwrap_or_else(|_| {
            let command = "a new connection".to_owned();
            Err(QmpError::Slow { command, limit })
        })
    }

    async fn greet(socket: &Path) -> Result<Connected, QmpError> {
        let lost = |what: &dyn fmt::Display| QmpError::Lost(format!("{}: {what}", socket.display()));
        let stream = UnixStream::connect(socket).await.map_err(|error| lost(&error))?;
        let (reader, mut writer) = stream.into_split();
        let mut lines = Lines::new(reader, LINE_BYTES_MAX);
        let greeting = next_value(&mut lines).await?;
        let version = greeted(&greeting).ok_or_else(|| lost(&format_args!("greeted with {greeting}")))?;
        send(&mut writer, &json!({ "execute": "qmp_capabilities", "id": 0 })).await?;
        let agreed = next_value(&mut lines).await?;
        if agreed.get("return").is_none() {
            return Err(lost(&format_args!("agreed with {agreed}")));
        }
        let (requests, asked) = mpsc::channel(16);
        let (tell, events) = mpsc::channel(64);
        tokio::spawn(carry(lines, writer, asked, tell));
        Ok(Connected {
            qmp: Self { requests, version },
            events,
        })
    }

    /// Carries out a command; `Slow` when its answer takes longer than `limit`.
    pub async fn execute(&self, command: &str, arguments: Value, limit: Duration) -> Result<Value, QmpError> {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            command: json!({ "execute": command, "arguments": arguments }),
            answer,
        };
        let ended = || QmpError::Lost("the connection has ended".to_owned());
        let work = async {
            self.requests.send(request).await.map_err(|_| ended())?;
            answered.await.map_err(|_| ended())?
        };
        timeout(limit, work).await.unwrap_or_else(|_| {
            let command = command.to_owned();
            Err(QmpError::Slow { command, limit })
        })
    }
}

/// The version in a greeting.
pub fn greeted(greeting: &Value) -> Option<Version> {
    let version = greeting.get("QMP")?.get("version")?.get("qemu")?;
    let number = |key: &str| u32::try_from(version.get(key)?.as_u64()?).ok();
    Some(Version {
        major: number("major")?,
        minor: number("minor")?,
    })
}

/// Reads and writes until either side ends it.
async fn carry(
    mut lines: Lines<OwnedReadHalf>,
    mut writer: OwnedWriteHalf,
    mut asked: mpsc::Receiver<Request>,
    tell: mpsc::Sender<Event>,
) {
    let mut waiting: HashMap<u64, oneshot::Sender<Result<Value, QmpError>>> = HashMap::new();
    let mut number = 0;
    let error = loop {
        tokio::select! {
            said = next_value(&mut lines) => match said {
                Err(error) => break error,
                Ok(said) => hear(said, &mut waiting, &tell).await,
            },
            request = asked.recv() => {
                let Some(Request { mut command, answer }) = request else { return };
                number += 1;
                command["id"] = number.into();
                waiting.retain(|_, answer| !answer.is_closed());
                waiting.insert(number, answer);
                if let Err(error) = send(&mut writer, &command).await {
                    break error;
                }
            }
        }
    };
    for (_, answer) in waiting {
        let _ = answer.send(Err(error.clone()));
    }
}

async fn hear(
    said: Value,
    waiting: &mut HashMap<u64, oneshot::Sender<Result<Value, QmpError>>>,
    tell: &mpsc::Sender<Event>,
) {
    if let Some(name) = said["event"].as_str() {
        if EVENTS.contains(&name) {
            let event = Event {
                name: name.to_owned(),
                data: said["data"].clone(),
            };
            // Nobody listens any more: then nobody misses it.
            let _ = tell.send(event).await;
        }
        return;
    }
    let Some(answer) = said["id"].as_u64().and_then(|number| waiting.remove(&number)) else {
        tracing::debug!(%said, "QEMU says what nobody asked");
        return;
    };
    let outcome = match said.get("return") {
        Some(value) => Ok(value.clone()),
        None => Err(QmpError::Refused {
            class: said["error"]["class"].as_str().unwrap_or_default().to_owned(),
            text: said["error"]["desc"]
                .as_str()
                .unwrap_or("no reason given")
                .to_owned(),
        }),
    };
    let _ = answer.send(outcome);
}

async fn next_value(lines: &mut Lines<OwnedReadHalf>) -> Result<Value, QmpError> {
    match lines.next().await {
        Ok(Some(line)) => serde_json::from_slice(&line).map_err(|error| {
            let line = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
            QmpError::Lost(format!("{error} in {line:?}"))
        }),
        Ok(None) => Err(QmpError::Lost("QEMU has ended the connection".to_owned())),
        Err(error) => Err(QmpError::Lost(error.to_string())),
    }
}

async fn send(writer: &mut OwnedWriteHalf, command: &Value) -> Result<(), QmpError> {
    let line = format!("{command}\n");
    match timeout(WRITE_LIMIT, writer.write_all(line.as_bytes())).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(QmpError::Lost(error.to_string())),
        Err(_) => Err(QmpError::Lost("QEMU takes no more requests".to_owned())),
    }
}

#[cfg(test)]
#[path = "qmp_tests.rs"]
mod tests;
