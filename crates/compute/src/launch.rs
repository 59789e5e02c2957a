//! A guest's process comes up: started in a group of its own, with a log for what it says, until it answers over QMP.
//!
//! QEMU's `-daemonize` is not used: it would send what QEMU says later, the last words of a crash among them, to nowhere. As a
//! group of its own the process is spared the signals of a terminal, and when we die it becomes the child of whoever adopts it.
//! Whoever reads of an error here finds no process left.

use crate::error::ComputeError;
use crate::guest_dir::GuestDir;
use crate::logs;
use crate::probe::{command, not_started};
use crate::process::Process;
use crate::qmp::{Connected, Qmp};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// Until QEMU answers. It first connects to all disks; those whose service is only just starting have time to appear.
const START_LIMIT: Duration = Duration::from_secs(60);
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A process that answers.
pub struct Launched {
    pub child: Child,
    pub process: Process,
    pub connected: Connected,
}

/// Why there is no guest, and whether a process may be there all the same.
pub struct NotLaunched {
    pub error: ComputeError,
    pub may_run: bool,
}

impl From<ComputeError> for NotLaunched {
    fn from(error: ComputeError) -> Self {
        Self {
            error,
            may_run: false,
        }
    }
}

pub async fn launch(qemu: &Path, words: &[String], dir: &GuestDir) -> Result<Launched, NotLaunched> {
    let output = OpenOptions::new().append(true).open(dir.output());
    let output = output.and_then(|output| Ok((output.try_clone()?, output)));
    let (output, errors) =
        output.map_err(|error| ComputeError::failed(format!("{}: {error}", dir.output().display())))?;
    let mut command = command(qemu);
    command.args(words).current_dir(dir.path()).process_group(0);
    command.stdin(Stdio::null()).stdout(output).stderr(errors);
    let mut child = command.spawn().map_err(|error| not_started(qemu, &error))?;
    let process = match Process::of(child.id()) {
        Ok(Some(process)) => process,
        Ok(None) => return Err(ended(&mut child, dir).into()),
        Err(error) => {
            // A child of ours can be ended without knowing more of it.
            let may_run = child.kill().and_then(|()| child.wait()).is_err();
            let error = ComputeError::failed(format!("QEMU's process: {error}"));
            return Err(NotLaunched { error, may_run });
        }
    };
    match answers(&mut child, dir).await {
        Ok(connected) => Ok(Launched {
            child,
            process,
            connected,
        }),
        Err(error) => {
            let _ = process.kill();
            let may_run = timeout(KILL_LIMIT, process.gone()).await.is_err();
            let _ = child.try_wait();
            Err(NotLaunched { error, may_run })
        }
    }
}

/// Waits until QEMU has taken a command: then all its devices are there.
async fn answers(child: &mut Child, dir: &GuestDir) -> Result<Connected, ComputeError> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        let said = match Qmp::connect(&dir.qmp(), deadline - Instant::now()).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        if !matches!(child.try_wait(), Ok(None)) {
            return Err(ended(child, dir));
        }
        if Instant::now() >= deadline {
            return Err(ComputeError::failed(format!(
                "QEMU is not ready after {START_LIMIT:?} ({said}); it says: {}",
                logs::last_words(&dir.output())
            )));
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn ended(child: &mut Child, dir: &GuestDir) -> ComputeError {
    let status = child.try_wait().ok().flatten();
    let status = status.map(|status| status.to_string()).unwrap_or_default();
    let words = logs::last_words(&dir.output());
    ComputeError::failed(format!("QEMU has ended at once ({status}): {words}"))
}

/// How a child of ours ended, where the system tells.
pub fn how_it_ended(child: &mut Child) -> Option<String> {
    let status: io::Result<_> = child.try_wait();
    Some(status.ok()??.to_string())
}
