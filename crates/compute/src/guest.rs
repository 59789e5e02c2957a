//! One guest that runs, and the task that follows it until its process has ended.
//!
//! The process's end is what counts; QMP only tells why. When QMP is lost and the process lives, the guest runs on and the
//! connection is made again. The end is told after the guest is in no table and has no remains, so that whoever hears of it can start it again.

use crate::command_line::{Transport, disk_of};
use crate::error::ComputeError;
use crate::guest_dir::GuestDir;
use crate::launch::how_it_ended;
use crate::logs;
use crate::process::Process;
use crate::qmp::{Connected, Event, Qmp, QmpError};
use serde_json::{Value, json};
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// For what QEMU does at once.
pub const QMP_LIMIT: Duration = Duration::from_secs(10);
const CONNECT_LIMIT: Duration = Duration::from_secs(2);
const QUIT_LIMIT: Duration = Duration::from_secs(5);
const KILL_LIMIT: Duration = Duration::from_secs(20);
/// From a guest's switching itself off to its process's end.
const OFF_LIMIT: Duration = Duration::from_secs(60);
/// How often logs are looked at, and a lost connection made again.
const TICK: Duration = Duration::from_secs(1);

/// What happened to a guest. Whoever has lagged behind asks [`Compute::is_running`](crate::Compute::is_running).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEvent {
    /// Its process has ended and has let go of its disks. Once for each life.
    Ended {
        /// Which guest.
        id: String,
        /// Why.
        how: GuestEnd,
    },
    /// It started anew without its process ending, by itself or because it was reset. Firmware may reset once more, so one restart may be
    /// told twice.
    Rebooted {
        /// Which guest.
        id: String,
    },
    /// Its system says that it cannot go on. It stays as it is, or reboots, as it was set up to.
    Panicked {
        /// Which guest.
        id: String,
    },
    /// It has let go of a disk: because it was asked to, perhaps long ago.
    Unplugged {
        /// Which guest.
        id: String,
        /// Which disk.
        disk: String,
    },
}

/// Why a guest's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestEnd {
    /// The guest switched itself off, asked to or not.
    PoweredOff,
    /// Somebody ended it from outside in good order: we, or the machine shutting down.
    Killed,
    /// Anything else.
    Crashed {
        /// How the process ended, and QEMU's last words.
        detail: String,
    },
}

/// A guest that runs.
pub struct Guest {
    pub id: String,
    pub cpus: u32,
    pub transport: Transport,
    pub dir: GuestDir,
    pub process: Process,
    /// Held by who changes its disks.
    pub plugging: tokio::sync::Mutex<()>,
    /// Held by who talks with the agent.
    pub agent: tokio::sync::Mutex<()>,
    /// What came of taking devices out.
    pub unplugging: broadcast::Sender<Unplugging>,
    qmp: Mutex<Option<Qmp>>,
    asked_to_end: AtomicBool,
    /// It has panicked since it last started: told once, however often it says so.
    panicked: AtomicBool,
    ended: watch::Sender<bool>,
    follower: Mutex<Option<AbortHandle>>,
}

/// What a guest does about a disk that it was asked to let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unplugging {
    Gone(String),
    Refused(String),
}

impl Guest {
    pub fn new(id: &str, cpus: u32, transport: Transport, dir: GuestDir, process: Process) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            cpus,
            transport,
            dir,
            process,
            plugging: tokio::sync::Mutex::default(),
            agent: tokio::sync::Mutex::default(),
            unplugging: broadcast::channel(16).0,
            qmp: Mutex::default(),
            asked_to_end: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            ended: watch::channel(false).0,
            follower: Mutex::default(),
        })
    }

    /// Begins to follow it; `after` is what has to be done when it has ended, before anybody is told.
    pub fn follow(
        self: &Arc<Self>,
        connected: Option<Connected>,
        child: Option<Child>,
        events: broadcast::Sender<GuestEvent>,
        after: impl FnOnce() + Send + 'static,
    ) {
        let connected = connected.map(|connected| self.take(connected));
        let followed = Arc::clone(self).followed(connected, child, events, after);
        let handle = tokio::spawn(followed).abort_handle();
        *self.follower.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
    }

    /// Stops following. The process is not touched.
    pub fn let_go(&self) {
        if let Some(follower) = self
            .follower
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            follower.abort();
        }
        self.set_qmp(None);
    }

    pub fn version(&self) -> Option<crate::qmp::Version> {
        Some(self.connection()?.version)
    }

    fn connection(&self) -> Option<Qmp> {
        self.qmp.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_qmp(&self, qmp: Option<Qmp>) {
        *self.qmp.lock().unwrap_or_else(PoisonError::into_inner) = qmp;
    }

    fn take(&self, connected: Connected) -> mpsc::Receiver<Event> {
        self.set_qmp(Some(connected.qmp));
        connected.events
    }

    /// Has QEMU carry out a command.
    pub async fn ask(&self, command: &str, arguments: Value, limit: Duration) -> Result<Value, QmpError> {
        let answer = match self.connection() {
            Some(qmp) => qmp.execute(command, arguments, limit).await,
            None => Err(QmpError::Lost("no connection at the moment".to_owned())),
        };
        if let Err(QmpError::Lost(_)) = answer {
            // It is usually the process that has ended, and is gone in a moment; then that is what callers are told.
            let _ = timeout(TICK, self.process.gone()).await;
        }
        answer
    }

    /// What went wrong, in the caller's terms.
    pub fn explain(&self, what: &str, error: &QmpError) -> ComputeError {
        if self.process.is_alive() {
            ComputeError::failed(format!("guest {}: {what}: {error}", self.id))
        } else {
            ComputeError::not_running(&self.id)
        }
    }

    /// Presses the power button.
    pub async fn power_button(&self) -> Result<(), ComputeError> {
        self.command("system_powerdown").await
    }

    /// Starts it anew, unasked.
    pub async fn reset(&self) -> Result<(), ComputeError> {
        self.command("system_reset").await
    }

    async fn command(&self, command: &str) -> Result<(), ComputeError> {
        let done = self.ask(command, json!({}), QMP_LIMIT).await;
        done.map(drop).map_err(|error| self.explain(command, &error))
    }

    /// Ends it: QEMU is told to quit, then killed. Returns when it has ended.
    pub async fn kill(&self) -> Result<(), ComputeError> {
        self.asked_to_end.store(true, Ordering::Relaxed);
        let quit = async {
            // QEMU may end before it has answered.
            let _ = self.ask("quit", json!({}), QUIT_LIMIT).await;
        };
        tokio::select! {
            () = quit => {}
            () = self.ended() => return Ok(()),
        }
        if self.ended_within(QUIT_LIMIT).await {
            return Ok(());
        }
        let failed = |what: &dyn std::fmt::Display| {
            let number = self.process.number();
            ComputeError::failed(format!("guest {}: process {number} {what}", self.id))
        };
        tracing::warn!(guest = self.id, "QEMU does not quit and is killed");
        self.process.kill().map_err(|error| failed(&error))?;
        if self.ended_within(KILL_LIMIT).await {
            return Ok(());
        }
        Err(failed(&"has been killed and is still there"))
    }

    /// Whether somebody here has begun to end it.
    pub fn is_ending(&self) -> bool {
        self.asked_to_end.load(Ordering::Relaxed)
    }

    /// Returns when it has ended and nothing is left of it.
    pub async fn ended(&self) {
        // The sender is in self.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }

    pub async fn ended_within(&self, limit: Duration) -> bool {
        timeout(limit, self.ended()).await.is_ok()
    }

    async fn followed(
        self: Arc<Self>,
        mut listening: Option<mpsc::Receiver<Event>>,
        mut child: Option<Child>,
        events: broadcast::Sender<GuestEvent>,
        after: impl FnOnce() + Send,
    ) {
        let mut why = None;
        let mut off_since = None;
        let socket = self.dir.qmp();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.process.gone() => break,
                event = next(&mut listening) => match event {
                    Some(event) => self.heard(&event, &mut why, &events),
                    None => {
                        listening = None;
                        self.set_qmp(None);
                    }
                },
                _ = ticks.tick() => {
                    self.trim_logs();
                    // It is off, and its process flushes disks that nobody may serve any more.
                    let since: Option<Instant> = why.is_some().then(|| *off_since.get_or_insert_with(Instant::now));
                    if since.is_some_and(|since| since.elapsed() >= OFF_LIMIT) {
                        tracing::warn!(guest = self.id, "is switched off and does not end, and is killed");
                        if let Err(error) = self.process.kill() {
                            tracing::error!(guest = self.id, %error, "cannot be killed");
                        }
                    }
                    if listening.is_none() {
                        listening = tokio::select! {
                            connected = Qmp::connect(&socket, CONNECT_LIMIT) => connected.ok().map(|new| self.take(new)),
                            () = self.process.gone() => break,
                        };
                    }
                }
            }
        }
        // What QEMU said before its end is still on its way.
        while let Some(events_left) = &mut listening {
            match timeout(TICK, events_left.recv()).await {
                Ok(Some(event)) => self.heard(&event, &mut why, &events),
                _ => break,
            }
        }
        let status = child.as_mut().and_then(how_it_ended);
        let how = self.how(why.as_deref(), status);
        tracing::info!(guest = self.id, ?how, "a guest has ended");
        self.set_qmp(None);
        if let Err(error) = self.dir.end() {
            tracing::warn!(guest = self.id, %error, "remains of an ended guest");
        }
        after();
        self.ended.send_replace(true);
        let id = self.id.clone();
        // Nobody need listen.
        let _ = events.send(GuestEvent::Ended { id, how });
    }

    fn heard(
        self: &Arc<Self>,
        event: &Event,
        why: &mut Option<String>,
        events: &broadcast::Sender<GuestEvent>,
    ) {
        let id = self.id.clone();
        let device = disk_of(event.text("device")).map(str::to_owned);
        match (event.name.as_str(), device) {
            ("SHUTDOWN", _) => *why = Some(event.text("reason").to_owned()),
            ("RESET", _) => {
                self.panicked.store(false, Ordering::Relaxed);
                let _ = events.send(GuestEvent::Rebooted { id });
            }
            ("GUEST_PANICKED", _) if self.panicked.swap(true, Ordering::Relaxed) => {}
            ("GUEST_PANICKED", _) => {
                let _ = events.send(GuestEvent::Panicked { id });
            }
            ("DEVICE_UNPLUG_GUEST_ERROR", Some(disk)) => {
                let _ = self.unplugging.send(Unplugging::Refused(disk));
            }
            ("DEVICE_DELETED", Some(disk)) => {
                let _ = self.unplugging.send(Unplugging::Gone(disk.clone()));
                let (guest, events) = (Arc::clone(self), events.clone());
                tokio::spawn(async move {
                    guest.forget_socket_of(&disk).await;
                    let _ = events.send(GuestEvent::Unplugged { id, disk });
                });
            }
            _ => {}
        }
    }

    fn how(&self, why: Option<&str>, status: Option<String>) -> GuestEnd {
        match why {
            Some("guest-shutdown") => GuestEnd::PoweredOff,
            Some("host-qmp-quit" | "host-signal" | "host-ui") => GuestEnd::Killed,
            _ if self.is_ending() => GuestEnd::Killed,
            other => {
                let reason = other.map(|reason| format!(" ({reason})")).unwrap_or_default();
                let status = status.map(|status| format!(" ({status})")).unwrap_or_default();
                let words = logs::last_words(&self.dir.output());
                let words = if words.is_empty() {
                    "it said nothing".to_owned()
                } else {
                    words
                };
                let detail = format!("QEMU has ended by itself{reason}{status}: {words}");
                GuestEnd::Crashed { detail }
            }
        }
    }

    fn trim_logs(&self) {
        for log in [self.dir.console(), self.dir.output()] {
            if let Err(error) = logs::trim(&log, logs::LOG_BYTES_MAX) {
                tracing::debug!(guest = self.id, %error, log = %log.display(), "not trimmed");
            }
        }
    }
}

/// The next event; never, if there is no connection.
async fn next(listening: &mut Option<mpsc::Receiver<Event>>) -> Option<Event> {
    match listening {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}
