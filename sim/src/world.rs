//! The world of one history: machines with nodes, disks with guests, snapshots, a bucket, and what is known of all.

use crate::chain::LANES;
use crate::guest::{Client, Io, Request, Wire, Work, session};
use crate::launcher::launcher;
use crate::model::{Image, Model, SECTOR, Window, values_of};
use crate::plan::Plan;
use crate::snaps::Snap;
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::{FaultCounts, Machine, Process, Sim, SimBucket};
use tidemark_env::{Bucket, DirBucket, Env};
use tidemark_node::{Event, Node, NodeConfig, NodeError};
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId};
use tidemark_vault::{Secret, Vault, VaultOptions};
use tidemark_volume::VolumeConfig;
use tokio::sync::{broadcast, mpsc, oneshot};

/// Sectors of a chunk.
pub const CHUNK_SECTORS: usize = CHUNK_BYTES as usize / SECTOR;

/// What was done, counted.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Acknowledged writes.
    pub writes: u64,
    /// Refused writes (no room).
    pub refused: u64,
    /// Answered reads.
    pub reads: u64,
    /// Answered flushes.
    pub flushes: u64,
    /// Marks that were answered.
    pub marks: u64,
    /// Groups that were answered.
    pub groups: u64,
    /// Snapshots read and compared whole.
    pub verified: u64,
    /// Disks read and compared whole.
    pub compared: u64,
    /// Snapshots that failed, loudly.
    pub failed_snapshots: u64,
    /// Disks that were refused as damaged, loudly.
    pub refused_disks: u64,
    /// Restarts of a node after its death.
    pub recoveries: u64,
    /// Rollbacks and clones.
    pub restores: u64,
    /// What was injected.
    pub faults: FaultCounts,
    /// Virtual time, in milliseconds.
    pub millis: u64,
}

impl Tally {
    /// Adds what another history did.
    pub fn add(&mut self, other: &Self) {
        self.writes += other.writes;
        self.refused += other.refused;
        self.reads += other.reads;
        self.flushes += other.flushes;
        self.marks += other.marks;
        self.groups += other.groups;
        self.verified += other.verified;
        self.compared += other.compared;
        self.failed_snapshots += other.failed_snapshots;
        self.refused_disks += other.refused_disks;
        self.recoveries += other.recoveries;
        self.restores += other.restores;
        self.faults.add(&other.faults);
        self.millis += other.millis;
    }
}

/// A mark that was asked for: of which disk, and where its window begins.
pub type Asked = (usize, Vec<usize>);

/// A node and the machine that it runs on.
pub struct Host {
    /// Its place in the list.
    pub number: usize,
    /// Its machine.
    pub machine: Machine,
    /// What runs, if it does.
    pub running: RefCell<Option<Running>>,
    /// Since the last start nothing failed and nothing was cut: a kill loses nothing that was written.
    pub faultless: Cell<bool>,
    /// Faults of its files that are switched on.
    pub faults: Cell<u32>,
    /// A death that was asked for.
    pub doom: RefCell<Option<Doom>>,
}

impl Host {
    /// Whether no death that was asked for has come.
    pub fn is_well(&self) -> bool {
        self.doom.borrow().as_ref().is_none_or(|d| d.process.is_alive())
    }
}

/// A death that was asked for: whose, and how.
pub struct Doom {
    /// The thread that dies first.
    pub process: Process,
    /// With the power of the machine.
    pub power: bool,
    /// The recovery dies too, after so many polls.
    pub again: Option<u64>,
    /// It is that second death which is still to come.
    pub lives_on: bool,
}

/// A running node.
#[derive(Clone)]
pub struct Running {
    /// The node.
    pub node: Node,
    /// Where the control plane's calls run.
    pub control: Process,
    /// The node's engine threads.
    pub threads: Rc<RefCell<Vec<Process>>>,
}

/// A disk.
pub struct Disk {
    /// Its id.
    pub id: DiskId,
    /// Its node.
    pub host: Cell<usize>,
    /// What it may hold.
    pub model: RefCell<Model>,
    /// Clients' work; survives connections.
    pub work: Vec<Rc<Work>>,
    /// The clients' ends of the present connection.
    pub wire: RefCell<Option<Wire>>,
    /// Clients that have not ended.
    pub clients: Cell<usize>,
    /// A request failed.
    pub stopped: Cell<bool>,
    /// Deleted, or refused as damaged.
    pub gone: Cell<bool>,
    /// Sectors whose base the medium has changed.
    pub tainted: RefCell<BTreeSet<usize>>,
    /// A rollback to this content is under way.
    pub rolling: RefCell<Option<Image>>,
    /// The medium may have lost what it had promised to keep.
    pub damaged: Cell<bool>,
    /// The medium has just lost one of its superblock slots, and nothing else.
    pub lost_slot: Cell<bool>,
    /// Its deletion was asked for.
    pub deleting: Cell<bool>,
}

/// See the module.
pub struct World {
    /// The simulation.
    pub sim: Sim,
    /// What the observer sees.
    pub env: Env,
    /// What is to happen.
    pub plan: Plan,
    /// The object store; unused when the vault is in a directory.
    pub bucket: SimBucket,
    /// The machines.
    pub hosts: Vec<Host>,
    /// All disks ever.
    pub disks: RefCell<Vec<Rc<Disk>>>,
    /// All snapshots ever asked for.
    pub snaps: RefCell<BTreeMap<SnapshotId, Rc<Snap>>>,
    /// Marks that were asked for and not answered: where their windows begin.
    pub asked: RefCell<BTreeMap<SnapshotId, Asked>>,
    /// The snapshots that were asked for with one at one moment, itself included.
    pub groups: RefCell<BTreeMap<SnapshotId, Vec<SnapshotId>>>,
    /// Snapshots whose failure was told.
    pub failed: RefCell<BTreeMap<SnapshotId, String>>,
    /// Chains that may be started.
    pub lanes: RefCell<Vec<usize>>,
    /// Calls to nodes that have not ended.
    pub calls: Cell<usize>,
    /// What was done.
    pub tally: RefCell<Tally>,
    ticks: Cell<u64>,
    values: Cell<u64>,
    verbose: bool,
}

impl World {
    /// The world of a plan, with nothing in it yet.
    pub fn new(sim: &Sim, env: Env, plan: Plan, verbose: bool) -> Rc<Self> {
        let host = |number| Host {
            number,
            machine: sim.machine(&format!("host-{number}")),
            running: RefCell::default(),
            faultless: Cell::new(true),
            faults: Cell::new(0),
            doom: RefCell::default(),
        };
        Rc::new(Self {
            sim: sim.clone(),
            env,
            bucket: SimBucket::new(sim),
            hosts: (0..plan.setup.nodes).map(host).collect(),
            plan,
            disks: RefCell::default(),
            snaps: RefCell::default(),
            asked: RefCell::default(),
            groups: RefCell::default(),
            failed: RefCell::default(),
            lanes: RefCell::new((0..LANES).collect()),
            calls: Cell::new(0),
            tally: RefCell::default(),
            ticks: Cell::new(1),
            values: Cell::new(1 << 20),
            verbose,
        })
    }

    /// Ends the history: something is wrong.
    pub fn fail(&self, why: String) -> ! {
        panic!("at {:?}: {why}", self.sim.now());
    }

    /// Tells what happens, if somebody listens.
    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            eprintln!("{:.6} {}", self.sim.now().as_secs_f64(), what());
        }
    }

    /// The next moment.
    pub fn tick(&self) -> u64 {
        self.ticks.set(self.ticks.get() + 1);
        self.ticks.get()
    }

    /// A value that was never written before.
    pub fn value(&self) -> u64 {
        self.values.set(self.values.get() + 1);
        self.values.get()
    }

    /// An id that was never used before, given a number that was not.
    pub fn id(&self, kind: &str, number: usize) -> String {
        let id = format!("{kind}-{number}");
        match self.plan.setup.long_ids {
            true => format!("{id:-<64}"),
            false => id,
        }
    }

    /// The disk at a place in the list.
    pub fn disk(&self, number: usize) -> Rc<Disk> {
        Rc::clone(&self.disks.borrow()[number])
    }

    /// Disks that are there, with their places.
    pub fn present(&self) -> Vec<(usize, Rc<Disk>)> {
        let disks = self.disks.borrow();
        let there = disks.iter().enumerate().filter(|(_, d)| !d.gone.get());
        there.map(|(n, d)| (n, Rc::clone(d))).collect()
    }

    /// The present disk that a step means.
    pub fn pick_disk(&self, pick: usize) -> Option<(usize, Rc<Disk>)> {
        let present = self.present();
        (!present.is_empty()).then(|| present[pick % present.len()].clone())
    }

    /// The host of a disk.
    pub fn host_of(&self, disk: &Disk) -> &Host {
        &self.hosts[disk.host.get()]
    }

    /// Whether what a client reads can be held against what it wrote: not while a failing sync may have taken data
    /// from the cache a moment before it says so.
    pub fn reads_are_exact(&self, disk: &Disk) -> bool {
        self.host_of(disk).faultless.get() && !disk.damaged.get()
    }

    /// Waits in virtual time.
    pub async fn sleep(&self, time: Duration) {
        self.env.clock.sleep(time).await;
    }

    /// What opens the vault: a key file, since stretching a passphrase would only take the histories' time.
    fn vault_secret(&self) -> Option<Secret> {
        let secret = Secret::key_file(&[7; 32]).ok();
        secret.filter(|_| self.plan.setup.encrypted)
    }

    /// Whether the disk of this number is made with a key of its own.
    pub fn has_own_key(&self, number: usize) -> bool {
        self.plan.setup.encrypted && number.is_multiple_of(2)
    }

    /// How nodes are configured.
    pub fn config(&self) -> NodeConfig {
        let setup = &self.plan.setup;
        NodeConfig {
            spool_bytes_max: setup.spool_bytes,
            pack_bytes: setup.pack_bytes,
            undelete_window: Duration::from_millis(setup.undelete_ms),
            vault_secret: self.vault_secret(),
            volume: VolumeConfig {
                segment_bytes: 128 << 10,
                segments_max: Some(setup.segments),
                checkpoint_percent: 40,
                extents_max: 4096,
                reserve_step_bytes: 256 << 10,
            },
            ..NodeConfig::new(PathBuf::from("data"), PathBuf::from("vault"))
        }
    }

    /// Starts a node's process and the node in it.
    pub async fn start(self: &Rc<Self>, host: &Host) -> Result<Running, NodeError> {
        let control = host.machine.boot();
        let bucket = (!self.plan.setup.directory).then(|| self.bucket.clone());
        let threads = Rc::default();
        let launcher = launcher(&host.machine, &control, bucket, Rc::clone(&threads));
        let config = self.config();
        let (done, started) = oneshot::channel();
        control.env().spawn(async move {
            let _ = done.send(Node::start_on(launcher, config).await);
        });
        // Known before it is up: it may be doomed while it starts.
        let died = || NodeError {
            kind: tidemark_node::NodeErrorKind::Busy,
            message: "the node died while it started".into(),
        };
        if let Some(doom) = host.doom.borrow_mut().as_mut()
            && let Some(polls) = doom.again.take()
        {
            doom.process = control.clone();
            doom.lives_on = true;
            control.kill_after(polls.max(1));
            self.watch(host, &control, doom.power);
        }
        let node = started.await.map_err(|_| died())??;
        Ok(Running {
            node,
            control,
            threads,
        })
    }

    /// Calls a node, on its machine; `None` when it died before it answered.
    pub async fn call<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        host: &Host,
        call: impl FnOnce(Node) -> F,
    ) -> Option<T> {
        let running = host.running.borrow().clone()?;
        let (done, answer) = oneshot::channel();
        let work = call(running.node);
        self.calls.set(self.calls.get() + 1);
        running.control.env().spawn(async move {
            let _ = done.send(work.await);
        });
        let answer = answer.await.ok();
        self.calls.set(self.calls.get() - 1);
        answer
    }

    /// Notes which captures fail, for as long as the node lives.
    pub fn listen(self: &Rc<Self>, mut events: broadcast::Receiver<Event>) {
        let world = Rc::clone(self);
        self.env.spawn(async move {
            while let Ok(event) = events.recv().await {
                world.say(|| format!("{event:?}"));
                if let Event::CaptureFailed(_, snapshot, why) = event {
                    world.tally.borrow_mut().failed_snapshots += 1;
                    world.failed.borrow_mut().insert(snapshot, why);
                }
            }
        });
    }

    /// Adds a disk that its node has made.
    pub fn add_disk(&self, id: DiskId, host: usize, model: Model) -> usize {
        let disk = Disk {
            id,
            host: Cell::new(host),
            model: RefCell::new(model),
            work: (0..self.plan.setup.clients).map(|_| Rc::default()).collect(),
            wire: RefCell::default(),
            clients: Cell::new(0),
            stopped: Cell::new(false),
            gone: Cell::new(false),
            tainted: RefCell::default(),
            rolling: RefCell::default(),
            damaged: Cell::new(false),
            lost_slot: Cell::new(false),
            deleting: Cell::new(false),
        };
        let mut disks = self.disks.borrow_mut();
        disks.push(Rc::new(disk));
        disks.len() - 1
    }

    /// Exports a disk and opens a connection to it; `None` when its node dies meanwhile.
    pub async fn wire(&self, disk: &Disk) -> Option<Wire> {
        let host = self.host_of(disk);
        let id = disk.id.clone();
        let exported = self
            .call(host, |node| async move { node.set_exported(&id, true).await })
            .await?;
        exported.ok()?;
        let (wire, requests) = mpsc::unbounded_channel::<Request>();
        let running = host.running.borrow().clone()?;
        running
            .node
            .connect(&disk.id, move |export, stop| session(export, stop, requests))
            .ok()?;
        Some(wire)
    }

    /// Lets the disk's clients work.
    pub async fn connect(self: &Rc<Self>, number: usize) {
        let disk = self.disk(number);
        let Some(wire) = self.wire(&disk).await else {
            return;
        };
        disk.stopped.set(false);
        *disk.wire.borrow_mut() = Some(wire.clone());
        for (me, work) in disk.work.iter().enumerate() {
            let client = Client {
                world: Rc::clone(self),
                env: self.env.clone(),
                disk: number,
                me: (me, disk.work.len()),
                wire: wire.clone(),
                work: Rc::clone(work),
            };
            disk.clients.set(disk.clients.get() + 1);
            let counted = Rc::clone(&disk);
            self.env.spawn(async move {
                client.run().await;
                counted.clients.set(counted.clients.get() - 1);
            });
        }
    }

    /// Waits until no client of the disk is left; their connection must be ending.
    pub async fn clients_gone(&self, disk: &Disk) {
        disk.wire.borrow_mut().take();
        while disk.clients.get() > 0 {
            self.sleep(Duration::from_micros(50)).await;
        }
    }

    /// Reads a whole disk over `wire`: its values, or `None` when it died, stopped, or does not answer for minutes.
    pub async fn read_whole(&self, disk: &Disk, wire: &Wire) -> Option<Vec<u64>> {
        let sectors = disk.model.borrow().sectors();
        let mut values = Vec::with_capacity(sectors);
        let mut tries = 0;
        while values.len() < sectors {
            let count = CHUNK_SECTORS.min(sectors - values.len());
            let (reply, answer) = oneshot::channel();
            let io = Io::Read {
                offset: (values.len() * SECTOR) as u64,
                len: (count * SECTOR) as u32,
            };
            wire.send(Request(io, reply)).ok()?;
            match answer.await.ok()? {
                Ok(bytes) => match values_of(&bytes) {
                    Ok(read) => values.extend(read),
                    Err(_) if !disk.tainted.borrow().is_empty() => values.extend(loose_values(&bytes)),
                    Err(why) => self.fail(format!(
                        "{}: chunk {}: {why}",
                        disk.id,
                        values.len() / CHUNK_SECTORS
                    )),
                },
                // The snapshot that a lazy disk reads from may be out of reach for a while.
                Err(_) => {
                    tries += 1;
                    if tries > 400 || self.is_poisoned(disk).await {
                        return None;
                    }
                    self.sleep(Duration::from_millis(500)).await;
                }
            }
        }
        Some(values)
    }

    /// Whether the disk is open, and has stopped serving for good.
    pub async fn is_poisoned(&self, disk: &Disk) -> bool {
        let id = disk.id.clone();
        let status = self
            .call(
                self.host_of(disk),
                |node| async move { node.disk_status(&id).await },
            )
            .await;
        matches!(status, Some(Ok(status)) if status.poisoned.is_some())
    }

    /// Whether `values` is what `window` allows of the disk.
    pub fn check_disk(&self, disk: &Disk, window: &Window, values: &[u64], when: &str) {
        let tainted = disk.tainted.borrow();
        if let Err(why) = window.check(values, |n| tainted.contains(&n)) {
            self.fail(format!("{} {when}: {why}", disk.id));
        }
        self.tally.borrow_mut().compared += 1;
    }

    /// The vault, read by somebody who is no node.
    pub async fn vault(&self) -> Result<Vault, String> {
        let (env, bucket): (Env, Rc<dyn Bucket>) = match self.plan.setup.directory {
            true => {
                let env = self.hosts[0].machine.boot().env();
                (env.clone(), Rc::new(DirBucket::new(env, PathBuf::from("vault"))))
            }
            false => (self.env.clone(), self.bucket.client_of_run()),
        };
        let options = VaultOptions {
            secret: self.vault_secret(),
            ..VaultOptions::default()
        };
        Vault::open_with(&env, bucket, options)
            .await
            .map_err(|e| e.to_string())
    }
}

/// Values of sectors of which some hold no value at all: 0 for those.
pub fn loose_values(bytes: &Bytes) -> Vec<u64> {
    let one = |bytes: &[u8]| {
        values_of(bytes)
            .ok()
            .and_then(|v| v.first().copied())
            .unwrap_or(0)
    };
    bytes.chunks_exact(SECTOR).map(one).collect()
}
