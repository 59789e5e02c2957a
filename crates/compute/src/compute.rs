//! The handle: which guests run, and the one lock for each id.
//!
//! What is begun for a guest goes on in a task of its own when the caller stops waiting, so no start, kill or plug is ever half done.
//! Guests that nobody has adopted yet are looked for before anything is started in their place.

use crate::agent::Executed;
use crate::capacity::Capacity;
use crate::command_line::{self, Transport};
use crate::config::{ComputeConfig, GuestDisk, GuestSpec, StopMode};
use crate::error::ComputeError;
use crate::freezing::Frozen;
use crate::guest::{Guest, GuestEvent};
use crate::guest_dir::{Begun, GuestDir};
use crate::launch::{Launched, NotLaunched, launch};
use crate::logs;
use crate::probe::{self, Probe};
use crate::process::{self, Process};
use crate::qmp::{Connected, Qmp};
use crate::scripts::{Script, ScriptOutcome};
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::{Instant, sleep};

/// A guest that is ending is waited for so long before its id is used again.
const ENDING_LIMIT: Duration = Duration::from_secs(20);
const ADOPT_LIMIT: Duration = Duration::from_secs(5);
/// Disks' sockets appear when their service does.
const SOCKETS_LIMIT: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Events that a listener may be behind.
const EVENTS_MAX: usize = 1024;

/// Virtual machines of this machine. Cheap to clone; all its methods want a tokio runtime. When the last clone is gone, guests run on, unwatched.
#[derive(Clone)]
pub struct Compute(Arc<Inner>);

struct Inner {
    config: ComputeConfig,
    /// The directory as it was told, links and all: guests of earlier versions were started with that.
    as_told: PathBuf,
    capacity: Capacity,
    guests: Mutex<HashMap<String, Arc<Guest>>>,
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    probed: tokio::sync::Mutex<Option<Probe>>,
    events: broadcast::Sender<GuestEvent>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let guests = self.guests.get_mut().unwrap_or_else(PoisonError::into_inner);
        for guest in guests.values() {
            guest.let_go();
        }
    }
}

impl Compute {
    /// A handle on the guests below the configuration's directory. Does nothing yet: [`adopt`](Self::adopt) is what comes next.
    pub fn open(mut config: ComputeConfig) -> Self {
        let as_told = std::path::absolute(&config.dir).unwrap_or_else(|_| config.dir.clone());
        config.dir = real(&config.dir);
        Self(Arc::new(Inner {
            capacity: Capacity::new(config.memory_mib_max),
            config,
            as_told,
            guests: Mutex::default(),
            locks: Mutex::default(),
            probed: tokio::sync::Mutex::default(),
            events: broadcast::channel(EVENTS_MAX).0,
        }))
    }

    /// Whether below the directory of a configuration there is a guest that was started and not seen to end. Needs no QEMU.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn may_run(dir: &Path) -> io::Result<bool> {
        Ok(!GuestDir::begun(dir)?.is_empty())
    }

    /// Which QEMU is here and what runs guests. Kept once it is known; ten seconds for each try at most.
    ///
    /// # Errors
    /// `NotInstalled`; `Failed` for a QEMU that does not work.
    pub async fn probe(&self) -> Result<Probe, ComputeError> {
        let mut probed = self.0.probed.lock().await;
        if let Some(probe) = &*probed {
            return Ok(probe.clone());
        }
        let probe = probe::probe(&self.0.config).await?;
        tracing::info!(version = %probe.version, accelerator = ?probe.accelerator, why_not_kvm = probe.why_not_kvm, "QEMU");
        *probed = Some(probe.clone());
        Ok(probe)
    }

    /// What happens to guests from now on. Whoever is too slow is told that events were missed, and asks instead.
    pub fn events(&self) -> broadcast::Receiver<GuestEvent> {
        self.0.events.subscribe()
    }

    /// Starts a guest, and returns when its machine is there; its system then boots. One that runs is left as it is.
    ///
    /// # Errors
    /// `NotInstalled`, `NoCapacity`, `Failed`. Then no process is left.
    pub async fn start(&self, spec: &GuestSpec) -> Result<(), ComputeError> {
        command_line::check(spec)?;
        let (compute, spec) = (self.clone(), spec.clone());
        apart(async move {
            let _alone = compute.lock(&spec.id).await;
            if compute.running(&spec.id).await?.is_some() {
                return Ok(());
            }
            compute.0.capacity.promise(&spec.id, spec.memory_mib)?;
            let started = compute.start_new(&spec).await;
            // What may run has its memory, too.
            if started.is_err() && !compute.dir(&spec.id).is_begun().unwrap_or(true) {
                compute.0.capacity.free(&spec.id);
            }
            started.map_err(|error| error.about(format_args!("guest {}", spec.id)))
        })
        .await
    }

    async fn start_new(&self, spec: &GuestSpec) -> Result<(), ComputeError> {
        let config = &self.0.config;
        let probe = self.probe().await?;
        let dir = self.dir(&spec.id);
        let words = command_line::words(spec, &dir, &probe, &config.network, config.disks, &config.relay)?;
        let transport = command_line::transport(config.disks, &probe);
        await_sockets(&spec.disks, transport).await?;
        let failed = |error: io::Error| ComputeError::failed(format!("{}: {error}", dir.path().display()));
        let begun = Begun {
            spec: spec.clone(),
            word: dir.qmp_word()?,
            transport,
        };
        dir.begin(&begun).map_err(failed)?;
        let launched = match launch(&config.qemu, &words, &dir).await {
            Ok(launched) => launched,
            Err(NotLaunched { error, may_run }) => {
                // What may run has to be found again.
                if !may_run {
                    dir.end().map_err(failed)?;
                }
                return Err(error);
            }
        };
        if let Err(error) = dir.close_sockets_to_others() {
            tracing::warn!(guest = spec.id, %error, "sockets keep their rights");
        }
        let Launched {
            child,
            process,
            connected,
        } = launched;
        let guest = Guest::new(&spec.id, spec.cpus, transport, dir, process);
        self.follow(guest, Some(connected), Some(child));
        tracing::info!(guest = spec.id, "started");
        Ok(())
    }

    /// Ends a guest in one way or the other; see there.
    ///
    /// # Errors
    /// As there.
    pub async fn stop(&self, id: &str, mode: StopMode) -> Result<(), ComputeError> {
        match mode {
            StopMode::Ask => self.ask_to_stop(id).await,
            StopMode::Now => self.kill(id).await,
        }
    }

    /// Presses a guest's power button. Whether it takes notice is its own affair. No such guest is fine.
    ///
    /// # Errors
    /// QEMU does not answer.
    pub async fn ask_to_stop(&self, id: &str) -> Result<(), ComputeError> {
        match self.guest(id) {
            Some(guest) => none_is_fine(guest.power_button().await),
            None => Ok(()),
        }
    }

    /// Ends a guest without asking it, and returns when its process has ended and let go of its disks. No such guest is fine. A start
    /// that is under way is waited for; a disk that is being taken out is not.
    ///
    /// # Errors
    /// The process does not end: it is stuck in the kernel.
    pub async fn kill(&self, id: &str) -> Result<(), ComputeError> {
        command_line::check_id("guest", id)?;
        let (compute, id) = (self.clone(), id.to_owned());
        apart(async move {
            if let Some(guest) = compute.guest(&id) {
                return guest.kill().await;
            }
            let _alone = compute.lock(&id).await;
            match compute.running(&id).await? {
                Some(guest) => guest.kill().await,
                None => Ok(()),
            }
        })
        .await
    }

    /// Presses a guest's reset button.
    ///
    /// # Errors
    /// `NotRunning`; QEMU does not answer.
    pub async fn reset(&self, id: &str) -> Result<(), ComputeError> {
        self.known(id)?.reset().await
    }

    /// Whether a guest runs that was started or adopted.
    pub async fn is_running(&self, id: &str) -> bool {
        self.guest(id).is_some_and(|guest| guest.process.is_alive())
    }

    /// Looks whether a guest runs, and adopts it if it was not followed. What is not in here for certain is an error, and no `false`.
    ///
    /// # Errors
    /// It cannot be found out now.
    pub async fn look_for(&self, id: &str) -> Result<bool, ComputeError> {
        command_line::check_id("guest", id)?;
        let (compute, id) = (self.clone(), id.to_owned());
        apart(async move {
            let _alone = compute.lock(&id).await;
            Ok(compute.running(&id).await?.is_some())
        })
        .await
    }

    /// Puts a disk into a guest that runs. One that is in is left as it is.
    ///
    /// # Errors
    /// `NotRunning`; nobody serves the disk; QEMU's refusal.
    pub async fn plug(&self, id: &str, disk: &GuestDisk) -> Result<(), ComputeError> {
        command_line::check_disk(disk)?;
        let (guest, disk) = (self.known(id)?, disk.clone());
        apart(async move { guest.plug(&disk).await }).await
    }

    /// Takes a disk out of a guest that runs, and returns when the guest has let go of it. One that is not in is fine.
    ///
    /// # Errors
    /// `NotRunning`; `GuestBusy` when it has not let go within `patience`: it has the disk still, and may let go of it later
    /// ([`GuestEvent::Unplugged`]).
    pub async fn unplug(&self, id: &str, disk: &str, patience: Duration) -> Result<(), ComputeError> {
        command_line::check_id("disk", disk)?;
        let (guest, disk) = (self.known(id)?, disk.to_owned());
        apart(async move { guest.unplug(&disk, patience).await }).await
    }

    /// Whether a guest that runs has the disk.
    ///
    /// # Errors
    /// `NotRunning`; QEMU does not answer.
    pub async fn has_disk(&self, id: &str, disk: &str) -> Result<bool, ComputeError> {
        self.known(id)?.has(disk).await
    }

    /// Finds the guests that still run, follows them from now on, thaws what was left frozen, and removes what others have left but their logs. Answers all
    /// that run. To be called when we start; an answer of guests that should run and are not in it tells that they ended meanwhile.
    ///
    /// # Errors
    /// Of a guest it cannot be found out whether it runs: an answer without it would say that it has ended. The others are followed.
    pub async fn adopt(&self) -> Result<Vec<String>, ComputeError> {
        let compute = self.clone();
        apart(async move {
            let all = &compute.0.config.dir;
            let failed = |error: io::Error| ComputeError::failed(format!("{}: {error}", all.display()));
            let (mut found, mut unknown) = (Vec::new(), None);
            for id in GuestDir::begun(all).map_err(failed)? {
                let _alone = compute.lock(&id).await;
                match compute.running(&id).await {
                    Ok(Some(_)) => found.push(id),
                    Ok(None) => {}
                    // The others are not to suffer from it: what was left frozen is thawed.
                    Err(error) => {
                        tracing::error!(guest = id, %error, "not adopted");
                        unknown = unknown.or(Some(error));
                    }
                }
            }
            unknown.map_or(Ok(found), Err)
        })
        .await
    }

    /// Where the guest's serial console is kept: its last mebibyte or so. What was before is in a file beside it.
    pub fn console(&self, id: &str) -> PathBuf {
        self.dir(id).console()
    }

    /// The last bytes of a guest's serial console, of its last life too. Empty if it never ran.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn console_tail(&self, id: &str, bytes_max: u64) -> io::Result<Vec<u8>> {
        logs::tail(&self.console(id), bytes_max)
    }

    /// Removes a guest's directory, logs and all.
    ///
    /// # Errors
    /// It runs; the directory cannot be removed.
    pub async fn forget(&self, id: &str) -> Result<(), ComputeError> {
        command_line::check_id("guest", id)?;
        let _alone = self.lock(id).await;
        if self.running(id).await?.is_some() {
            return Err(ComputeError::failed(format!("guest {id} runs")));
        }
        let removed = self.dir(id).remove();
        removed.map_err(|error| ComputeError::failed(format!("guest {id}: {error}")))
    }

    /// Has a guest's file systems stand still, for `limit` at most.
    ///
    /// # Errors
    /// `NotRunning`, `NoAgent`, `Failed`; then they do not.
    pub async fn freeze(&self, id: &str, limit: Duration) -> Result<Frozen, ComputeError> {
        self.known(id)?.freeze(limit).await
    }

    /// Lets them go on; see [`Frozen::thaw`].
    ///
    /// # Errors
    /// They did not stand still until now.
    pub async fn thaw(&self, frozen: Frozen) -> Result<(), ComputeError> {
        frozen.thaw().await
    }

    /// Runs a program inside a guest by its agent, as root.
    ///
    /// # Errors
    /// `NotRunning`, `NoAgent`; `Failed` also when it has not ended within `limit`: it then runs on.
    pub async fn exec(
        &self,
        id: &str,
        path: &str,
        arguments: &[&str],
        limit: Duration,
    ) -> Result<Executed, ComputeError> {
        self.known(id)?.exec(path, arguments, limit).await
    }

    /// Runs the guest's own script around a snapshot, if it has one that may run.
    ///
    /// # Errors
    /// `NotRunning`, `NoAgent`, `Failed`. In no case was it begun.
    pub async fn script(
        &self,
        id: &str,
        script: Script,
        limit: Duration,
    ) -> Result<ScriptOutcome, ComputeError> {
        self.known(id)?.script(script, limit).await
    }

    /// Whether a script that ran on ([`ScriptOutcome::RunsOn`]) has ended by now.
    ///
    /// # Errors
    /// `NotRunning`, `NoAgent`, `Failed`. Then it is not known.
    pub async fn script_has_ended(&self, id: &str, number: i64) -> Result<bool, ComputeError> {
        self.known(id)?.has_ended(number).await
    }

    fn dir(&self, id: &str) -> GuestDir {
        GuestDir::new(&self.0.config.dir, id)
    }

    fn guest(&self, id: &str) -> Option<Arc<Guest>> {
        self.0.guests().get(id).cloned()
    }

    fn known(&self, id: &str) -> Result<Arc<Guest>, ComputeError> {
        self.guest(id).ok_or_else(|| ComputeError::not_running(id))
    }

    /// Keeps others from starting, finding or forgetting this id.
    async fn lock(&self, id: &str) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.locks.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(id.to_owned()).or_default())
        };
        lock.lock_owned().await
    }

    /// The guest if it runs, adopted if it was not known. To be called with its lock.
    async fn running(&self, id: &str) -> Result<Option<Arc<Guest>>, ComputeError> {
        if let Some(guest) = self.guest(id) {
            if guest.process.is_alive() && !guest.is_ending() {
                return Ok(Some(guest));
            }
            if !guest.ended_within(ENDING_LIMIT).await {
                return Err(ComputeError::failed(format!("guest {id} is still ending")));
            }
            return Ok(None);
        }
        let dir = self.dir(id);
        let failed = |error: io::Error| ComputeError::failed(format!("guest {id}: {error}"));
        if !dir.is_begun().map_err(failed)? {
            return Ok(None);
        }
        let begun = dir.begun_with().map_err(failed)?;
        let words = match &begun {
            // As it was said then: the directory may have another name now.
            Some(begun) => vec![begun.word.clone()],
            // Told in another way: with one of the names that the directory has.
            None => {
                let as_told = GuestDir::new(&self.0.as_told, id).qmp();
                vec![
                    dir.qmp_word()?,
                    command_line::listening_as_written("qmp", &as_told),
                ]
            }
        };
        let Some((process, word)) = find(&words)? else {
            dir.end().map_err(failed)?;
            // Of a start that could not be ended, and has ended by itself.
            self.0.capacity.free(id);
            return Ok(None);
        };
        if dir.qmp_word().ok().as_ref() != Some(&word) {
            tracing::error!(
                guest = id,
                word,
                "was started under another name of its directory: its disks and its metadata service are looked for there until it is \
                 stopped and started"
            );
        }
        let connected = Qmp::connect(&dir.qmp(), ADOPT_LIMIT).await;
        let connected = connected
            .inspect_err(|error| tracing::warn!(guest = id, %error, "adopted, and does not answer yet"))
            .ok();
        let (cpus, mib, transport) = match begun {
            Some(begun) => (begun.spec.cpus, begun.spec.memory_mib, begun.transport),
            // NBD is right for every guest.
            None => (1, 0, Transport::Nbd),
        };
        self.0.capacity.note(id, mib);
        let guest = Guest::new(id, cpus, transport, dir, process);
        self.follow(Arc::clone(&guest), connected, None);
        guest.thaw_what_was_left();
        tracing::info!(guest = id, "adopted");
        Ok(Some(guest))
    }

    fn follow(&self, guest: Arc<Guest>, connected: Option<Connected>, child: Option<Child>) {
        self.0.guests().insert(guest.id.clone(), Arc::clone(&guest));
        let (inner, id) = (Arc::downgrade(&self.0), guest.id.clone());
        guest.follow(connected, child, self.0.events.clone(), move || {
            if let Some(inner) = inner.upgrade() {
                inner.guests().remove(&id);
                inner.capacity.free(&id);
            }
        });
    }
}

impl std::fmt::Debug for Compute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compute")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn guests(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Guest>>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The path without links and dots as far as it is there: one directory has one name.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        _ => path,
    }
}

/// The process whose command line has one of these words, and which: the first of them that there is.
fn find(words: &[String]) -> Result<Option<(Process, String)>, ComputeError> {
    let failed = |error: io::Error| ComputeError::failed(format!("/proc: {error}"));
    let wanted: HashSet<String> = words.iter().cloned().collect();
    let look = || {
        let found = process::with_words(&wanted).map_err(failed)?;
        let first = words.iter().find_map(|word| Some((*found.get(word)?, word)));
        Ok::<_, ComputeError>(first)
    };
    let Some((number, word)) = look()? else {
        return Ok(None);
    };
    let process = Process::of(number).map_err(failed)?;
    // Only if it still is the one now that we hold it.
    if look()? != Some((number, word)) {
        return Ok(None);
    }
    Ok(process.map(|process| (process, word.clone())))
}

/// Waits until every disk has a socket: QEMU would wait too, and not say for which.
async fn await_sockets(disks: &[GuestDisk], transport: Transport) -> Result<(), ComputeError> {
    let deadline = Instant::now() + SOCKETS_LIMIT;
    let socket = |disk: &GuestDisk| match transport {
        Transport::VhostUser => disk.socket.clone(),
        Transport::Nbd => disk.nbd.clone(),
    };
    while let Some(disk) = disks.iter().find(|disk| !socket(disk).exists()) {
        if Instant::now() >= deadline {
            let socket = socket(disk);
            let socket = socket.display();
            return Err(ComputeError::failed(format!(
                "disk {}: there is no {socket}",
                disk.id
            )));
        }
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

/// Does it in a task of its own, so that it is done whether or not anybody waits.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, ComputeError>> + Send + 'static,
) -> Result<T, ComputeError> {
    let done = tokio::spawn(work).await;
    done.unwrap_or_else(|error| Err(ComputeError::failed(format!("the work was cut off: {error}"))))
}

fn none_is_fine(outcome: Result<(), ComputeError>) -> Result<(), ComputeError> {
    match outcome {
        Err(error) if error.kind == crate::ComputeErrorKind::NotRunning => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::process::Command;

    #[tokio::test]
    async fn a_guest_that_was_told_in_another_way_is_found_by_the_name_that_is_a_link() {
        let all = tempfile::tempdir().unwrap();
        let (real, link) = (all.path().join("real"), all.path().join("link"));
        fs::create_dir_all(real.join("i-1")).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let told = real.join("i-1/guest.json");
        fs::write(&told, "{}").unwrap();
        let word = command_line::listening_as_written("qmp", &link.join("i-1/qmp.sock"));
        // It stands for the guest, and ends by itself if the test fails. Its last word is only a name of the shell.
        let script = ["-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done", &word];
        let mut child = Command::new("sh").args(script).spawn().unwrap();
        // In the first microseconds of a program the kernel knows no command line of it.
        while find(std::slice::from_ref(&word)).unwrap().is_none() {
            assert!(matches!(child.try_wait(), Ok(None)));
        }
        let compute = Compute::open(ComputeConfig::new(link, Vec::new()));
        assert!(compute.running("i-1").await.unwrap().is_some());
        assert!(told.exists(), "it was taken for ended");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
