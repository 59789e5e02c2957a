//! Filling a disk from its snapshot in the background: in which order, how fast, or not now.
//!
//! Order: what a client waits for is fetched by its own read, and while any does, only one chunk comes in the background;
//! then the chunks of the snapshot's boot trace; then the rest in order, zeros many at a time. Pause and rate limit are the
//! caller's and outlive a restart (`hydration.json` in the volume's directory, with the snapshot that the content is
//! from); they hold back this work only, never a client's read. A step (some hundred chunks) ends in a checkpoint, which
//! makes it durable.
//!
//! What must stay true: a trace only changes the order; damaged settings are the defaults; nothing here waits while it
//! holds what a client needs.
//! Not here: the chunks' states and how fetched data lands (`volume`), who records traces ([`crate::demand`]).

use crate::disk::DiskHost;
use crate::types::{HydrationChange, HydrationStatus, NodeError};
use futures_util::future::{self, Either};
use futures_util::stream::{FuturesUnordered, StreamExt};
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tidemark_env::Env;
use tidemark_env::fs::{read_small, write_atomic};
use tidemark_units::{CHUNK_BYTES, ChunkIndex, SnapshotId};
use tidemark_vault::{BootTrace, Root};
use tidemark_volume::Volume;
use tokio::sync::Notify;

/// Chunks fetched at once.
const WIDTH: usize = 8;
/// Fetched chunks after which hydration is made durable.
const STEP: usize = 512;
/// Chunks in which zeros are looked for at a time: 512 MiB.
const WINDOW: u32 = 8192;
/// Windows after which zeros are made durable, if there is nothing else.
const WINDOWS_MAX: usize = 64;
/// Chunks that the vault is asked for together, ahead of their turn.
const BATCH: usize = 64;
/// Pause after trouble.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time over which the rate is taken, and how far apart its samples are.
const RATE_OVER: Duration = Duration::from_secs(10);
/// See [`RATE_OVER`].
const SAMPLE_EVERY: Duration = Duration::from_millis(500);
/// How much of a rate that was not used may be made up for.
const CREDIT: Duration = Duration::from_millis(100);

/// What outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The snapshot that the disk's content is from.
    pub snapshot: Option<SnapshotId>,
    /// Nothing is fetched in the background.
    pub paused: bool,
    /// Most bytes fetched in the background in a second.
    pub bytes_per_second: Option<u64>,
}

impl Settings {
    fn path(dir: &Path) -> PathBuf {
        dir.join("hydration.json")
    }

    /// Those of the volume in `dir`; what cannot be read is the defaults.
    pub async fn load(env: &Env, dir: &Path) -> Self {
        let damaged = |error: &dyn std::fmt::Display| {
            tracing::warn!(dir = %dir.display(), %error, "hydration.json cannot be read; hydration is not limited");
            Self::default()
        };
        match read_small(&*env.fs, &Self::path(dir)).await {
            Ok(Some(text)) => serde_json::from_slice(&text).unwrap_or_else(|e| damaged(&e)),
            Ok(None) => Self::default(),
            Err(e) => damaged(&e),
        }
    }

    /// Keeps them, durably.
    pub async fn store(&self, env: &Env, dir: &Path) -> Result<(), NodeError> {
        let text = serde_json::to_vec(self).map_err(std::io::Error::from)?;
        Ok(write_atomic(&*env.fs, &Self::path(dir), text.into()).await?)
    }
}

/// A disk's hydration.
pub struct Hydration {
    env: Env,
    dir: PathBuf,
    settings: RefCell<Settings>,
    /// The settings changed.
    changed: Notify,
    /// A task is at it.
    running: Cell<bool>,
    /// Grows with each rollback.
    contents: Cell<u64>,
    /// Why it is not getting on, for people.
    trouble: RefCell<Option<String>>,
    /// Bytes of data fetched since the disk was opened, and how many there were lately.
    fetched: Cell<u64>,
    samples: RefCell<VecDeque<(Duration, u64)>>,
    /// When the rate limit allows the next chunk.
    due: Cell<Duration>,
    /// Chunks of the trace that is being followed.
    traced: Cell<usize>,
}

impl Hydration {
    /// That of the volume in `dir`; nothing is started yet.
    pub async fn open(env: &Env, dir: &Path) -> Self {
        Self {
            env: env.clone(),
            dir: dir.to_owned(),
            settings: RefCell::new(Settings::load(env, dir).await),
            changed: Notify::new(),
            running: Cell::new(false),
            contents: Cell::new(0),
            trouble: RefCell::default(),
            fetched: Cell::new(0),
            samples: RefCell::default(),
            due: Cell::new(Duration::ZERO),
            traced: Cell::new(0),
        }
    }

    /// The snapshot that the disk's content is from, if that is known.
    pub fn snapshot(&self) -> Option<SnapshotId> {
        self.settings.borrow().snapshot.clone()
    }

    /// Puts new settings in force, once they are durable.
    async fn set(&self, change: impl FnOnce(&mut Settings)) -> Result<(), NodeError> {
        let mut settings = self.settings.borrow().clone();
        change(&mut settings);
        settings.store(&self.env, &self.dir).await?;
        *self.settings.borrow_mut() = settings;
        self.changed.notify_waiters();
        Ok(())
    }

    /// Returns when it is not paused.
    async fn go_on(&self) {
        loop {
            let changed = self.changed.notified();
            if !self.settings.borrow().paused {
                return;
            }
            changed.await;
        }
    }

    /// Returns when another chunk may be fetched.
    async fn permit(&self) {
        loop {
            self.go_on().await;
            let changed = self.changed.notified();
            let Some(rate) = self.settings.borrow().bytes_per_second else {
                return;
            };
            let (now, due) = (self.env.clock.now(), self.due.get());
            if due <= now {
                let cost = Duration::from_secs_f64(CHUNK_BYTES as f64 / rate.max(1) as f64);
                self.due.set(due.max(now.saturating_sub(CREDIT)) + cost);
                return;
            }
            let slept = self.env.clock.sleep(due - now);
            // A limit that is lifted counts at once.
            if let Either::Right(_) = future::select(slept, pin!(changed)).await {
                self.due.set(self.env.clock.now());
            }
        }
    }

    /// Chunks that are worth asking for together: an eighth of a second's at most.
    fn batch(&self) -> usize {
        let rate = self.settings.borrow().bytes_per_second;
        rate.map_or(BATCH, |rate| ((rate / 8 / CHUNK_BYTES) as usize).clamp(1, BATCH))
    }

    fn count(&self, bytes: u64) {
        self.fetched.set(self.fetched.get() + bytes);
        let (now, mut samples) = (self.env.clock.now(), self.samples.borrow_mut());
        if samples
            .back()
            .is_none_or(|(at, _)| now.saturating_sub(*at) >= SAMPLE_EVERY)
        {
            samples.push_back((now, self.fetched.get() - bytes));
        }
        while samples
            .front()
            .is_some_and(|(at, _)| now.saturating_sub(*at) > RATE_OVER)
        {
            samples.pop_front();
        }
    }

    /// Bytes in a second, lately.
    fn rate(&self) -> u64 {
        let now = self.env.clock.now();
        let samples = self.samples.borrow();
        let lately = samples
            .iter()
            .find(|(at, _)| now.saturating_sub(*at) <= RATE_OVER);
        let Some((at, before)) = lately else { return 0 };
        let seconds = now.saturating_sub(*at).as_secs_f64();
        match seconds > 0.0 {
            true => ((self.fetched.get() - before) as f64 / seconds) as u64,
            false => 0,
        }
    }
}

/// What is still to be fetched, in order.
#[derive(Default)]
struct Plan {
    /// Of which [`Hydration::contents`] it is.
    content: Option<u64>,
    trace: std::vec::IntoIter<u32>,
    /// Where the search for absent chunks goes on.
    cursor: u32,
}

impl Plan {
    /// The next chunks to fetch, at most [`STEP`]; on the way, chunks of zeros become present. None: look again.
    async fn next(&mut self, volume: &Volume) -> tidemark_volume::Result<Vec<u32>> {
        let absent = |chunk: &u32| volume.first_absent(*chunk) == Some(*chunk);
        let traced: Vec<u32> = self.trace.by_ref().filter(absent).take(STEP).collect();
        if !traced.is_empty() {
            return Ok(traced);
        }
        let mut chunks = Vec::new();
        for _ in 0..WINDOWS_MAX {
            let Some(first) = volume.first_absent(self.cursor) else {
                self.cursor = 0;
                break;
            };
            let end = first.saturating_add(WINDOW);
            let found = volume.hydrate_zeros(first..end).await?;
            chunks.extend(found.iter().take(STEP - chunks.len()));
            self.cursor = match chunks.last() {
                Some(last) if chunks.len() == STEP => last + 1,
                _ => end,
            };
            if chunks.len() == STEP {
                break;
            }
        }
        Ok(chunks)
    }
}

impl DiskHost {
    /// Starts fetching absent chunks in the background, unless that is under way.
    pub fn start_hydration(self: &Rc<Self>) {
        if self.volume.first_absent(0).is_none() || self.hydration.running.replace(true) {
            return;
        }
        let host = Rc::clone(self);
        self.place.env.spawn(async move {
            host.hydrate().await;
            host.hydration.running.set(false);
        });
    }

    async fn hydrate(&self) {
        let mut plan = Plan::default();
        loop {
            if self.volume.first_absent(0).is_none() {
                let durable = self.volume.checkpoint().await.is_ok();
                // A rollback that came meanwhile counts on this task.
                if self.volume.first_absent(0).is_some() {
                    continue;
                }
                if durable {
                    self.tell_hydrated();
                }
                return;
            }
            self.hydration.go_on().await;
            // A rollback that came meanwhile has a trace of its own.
            let content = self.hydration.contents.get();
            if plan.content != Some(content) {
                let trace = self.boot_trace().await;
                self.hydration.traced.set(trace.chunks().len());
                plan = Plan {
                    content: Some(content),
                    trace: trace.chunks().to_vec().into_iter(),
                    cursor: 0,
                };
            }
            let filled = match plan.next(&self.volume).await {
                Ok(chunks) => self.fill(chunks).await,
                Err(e) => Err(e),
            };
            let landed = self.volume.checkpoint().await;
            match filled.and(landed) {
                Ok(()) => *self.hydration.trouble.borrow_mut() = None,
                Err(e) => {
                    if self.volume.info().poisoned.is_some() {
                        return;
                    }
                    tracing::warn!(disk = %self.disk, error = %e, "filling the disk from its snapshot; trying again");
                    *self.hydration.trouble.borrow_mut() = Some(e.to_string());
                    self.place.env.clock.sleep(PATIENCE).await;
                }
            }
        }
    }

    /// What is likely to be read first; empty when nobody knows.
    async fn boot_trace(&self) -> BootTrace {
        let Some(snapshot) = self.hydration.snapshot() else {
            return BootTrace::default();
        };
        let asked = self
            .vault()
            .call(move |host| async move { host.boot_trace(&snapshot).await });
        asked.await.unwrap_or_default()
    }

    /// Fetches these chunks. The first trouble is the answer, after the others have had their turn.
    async fn fill(&self, chunks: Vec<u32>) -> tidemark_volume::Result<()> {
        let mut outcome = Ok(());
        let mut running = FuturesUnordered::new();
        let size = self.hydration.batch();
        let mut batches = chunks.chunks(size).peekable();
        if let Some(first) = batches.peek() {
            self.ask_ahead(first);
        }
        while let Some(batch) = batches.next() {
            if let Some(after) = batches.peek() {
                self.ask_ahead(after);
            }
            for &chunk in batch {
                let width = || if self.demand.is_waited_for() { 1 } else { WIDTH };
                while running.len() >= width() {
                    outcome = outcome.and(running.next().await.unwrap_or(Ok(())));
                }
                self.hydration.permit().await;
                running.push(async move {
                    self.volume.hydrate(ChunkIndex(chunk)).await?;
                    self.hydration.count(CHUNK_BYTES);
                    Ok(())
                });
            }
            if outcome.is_err() {
                break;
            }
        }
        while let Some(done) = running.next().await {
            outcome = outcome.and(done);
        }
        outcome
    }

    /// Has the vault fetch what will be wanted soon.
    fn ask_ahead(&self, chunks: &[u32]) {
        let Some(root) = self.volume.source_root() else {
            return;
        };
        let (root, chunks): (Arc<[u8]>, RoaringBitmap) = (root.into(), chunks.iter().copied().collect());
        self.vault().cast(move |host| async move {
            if let Ok(reader) = host.reader(&root) {
                reader.prefetch(&chunks).await;
            }
        });
    }

    /// The disk has the content of `snapshot` from now on, at `root`.
    pub async fn adopted(&self, snapshot: SnapshotId, root: &[u8]) {
        self.demand.record(snapshot.clone(), root);
        self.content_is_of(Some(snapshot)).await;
    }

    /// The disk is all zeros from now on: there is nothing to learn from what is read of it.
    pub async fn emptied(&self) {
        self.content_is_of(None).await;
    }

    async fn content_is_of(&self, snapshot: Option<SnapshotId>) {
        self.hydration.contents.set(self.hydration.contents.get() + 1);
        self.hydration.fetched.set(0);
        self.hydration.samples.borrow_mut().clear();
        let named = self.hydration.set(|settings| settings.snapshot = snapshot).await;
        if let Err(e) = named {
            tracing::warn!(disk = %self.disk, error = %e, "hydration.json could not be written; the boot trace of an older snapshot may be used");
        }
    }

    /// Changes how the disk is filled; durable when this returns.
    pub async fn change_hydration(&self, change: HydrationChange) -> Result<(), NodeError> {
        let apply = |settings: &mut Settings| {
            settings.paused = change.paused.unwrap_or(settings.paused);
            if let Some(limit) = change.bytes_per_second {
                settings.bytes_per_second = limit;
            }
        };
        self.hydration.set(apply).await
    }

    /// How the filling goes.
    pub fn hydration_status(&self) -> HydrationStatus {
        let (settings, rate) = (self.hydration.settings.borrow(), self.hydration.rate());
        let absent = self.volume.absent_count();
        let root = self.volume.source_root();
        let data = root
            .and_then(|root| Root::from_bytes(&root).ok())
            .map_or(0, |root| root.data_chunks());
        let fetched = self.hydration.fetched.get();
        let data_bytes = absent.min(data.saturating_sub(fetched / CHUNK_BYTES)) * CHUNK_BYTES;
        HydrationStatus {
            snapshot: settings.snapshot.clone(),
            absent_bytes: absent * CHUNK_BYTES,
            data_bytes,
            fetched_bytes: fetched,
            bytes_per_second: rate,
            remaining_seconds: (rate > 0 && !settings.paused).then(|| data_bytes.div_ceil(rate.max(1))),
            paused: settings.paused,
            bytes_per_second_max: settings.bytes_per_second,
            traced_chunks: self.hydration.traced.get() as u64,
            trouble: self.hydration.trouble.borrow().clone().filter(|_| absent > 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_env::sim::Sim;

    async fn hydration(env: &Env) -> Hydration {
        tidemark_env::fs::create_dir_durable(&*env.fs, Path::new("v"))
            .await
            .unwrap();
        Hydration::open(env, Path::new("v")).await
    }

    #[test]
    fn settings_outlive_a_restart_and_damage_is_the_defaults() {
        Sim::new(1).run(|env| async move {
            let first = hydration(&env).await;
            let snapshot = SnapshotId::new("s-1").unwrap();
            let change = |settings: &mut Settings| {
                *settings = Settings {
                    snapshot: Some(snapshot.clone()),
                    paused: true,
                    bytes_per_second: Some(5),
                }
            };
            first.set(change).await.unwrap();
            let again = hydration(&env).await;
            assert_eq!(*again.settings.borrow(), *first.settings.borrow());
            assert_eq!(again.snapshot(), Some(snapshot.clone()));
            for text in [
                "",
                "{",
                "[]",
                r#"{"bytes_per_second":-1}"#,
                r#"{"snapshot":"../x"}"#,
            ] {
                write_atomic(&*env.fs, Path::new("v/hydration.json"), text.as_bytes().into())
                    .await
                    .unwrap();
                assert_eq!(
                    *hydration(&env).await.settings.borrow(),
                    Settings::default(),
                    "{text}"
                );
            }
        });
    }

    #[test]
    fn the_rate_is_kept_and_told() {
        Sim::new(2).run(|env| async move {
            let limited = hydration(&env).await;
            limited
                .set(|settings| settings.bytes_per_second = Some(1 << 20))
                .await
                .unwrap();
            let begun = env.clock.now();
            for _ in 0..160 {
                limited.permit().await;
                limited.count(CHUNK_BYTES);
            }
            // Ten MiB at one a second.
            let took = (env.clock.now() - begun).as_secs_f64();
            assert!((9.5..10.2).contains(&took), "{took} s");
            let rate = limited.rate() as f64 / f64::from(1 << 20);
            assert!((0.9..1.1).contains(&rate), "{rate} MiB/s");
            // Time in which nothing was asked for is not made up for.
            env.clock.sleep(Duration::from_secs(60)).await;
            let begun = env.clock.now();
            for _ in 0..32 {
                limited.permit().await;
            }
            assert!(env.clock.now() - begun > Duration::from_millis(1700));
            assert_eq!(limited.rate(), 0, "nothing lately");
        });
    }

    #[test]
    fn a_pause_holds_and_a_change_counts_at_once() {
        Sim::new(3).run(|env| async move {
            let paused = Rc::new(hydration(&env).await);
            paused.set(|settings| settings.paused = true).await.unwrap();
            let permitted = Rc::new(Cell::new(0));
            let (task, count) = (Rc::clone(&paused), Rc::clone(&permitted));
            env.spawn(async move {
                loop {
                    task.permit().await;
                    count.set(count.get() + 1);
                    task.env.clock.sleep(Duration::from_millis(10)).await;
                }
            });
            env.clock.sleep(Duration::from_secs(100)).await;
            assert_eq!(permitted.get(), 0);
            // One chunk in 18 hours: and then the limit goes.
            paused
                .set(|settings| (settings.paused, settings.bytes_per_second) = (false, Some(1)))
                .await
                .unwrap();
            env.clock.sleep(Duration::from_secs(100)).await;
            assert!(permitted.get() <= 2, "{}", permitted.get());
            paused
                .set(|settings| settings.bytes_per_second = None)
                .await
                .unwrap();
            env.clock.sleep(Duration::from_secs(1)).await;
            assert!(permitted.get() > 50, "{}", permitted.get());
        });
    }
}
