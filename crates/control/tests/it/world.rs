//! A control plane with its node, and the words that tests speak to it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tidemark_control::{Caller, Clock, Control, ControlConfig};
use tidemark_ecs::model::{Disk, Snapshot};
use tidemark_ecs::{ApiError, Params};
use tidemark_env::LocalFuture;
use tidemark_node::place::{Launch, Main, Thread, Threads};
use tidemark_node::{Node, NodeConfig, Secret};

pub const REGION: &str = "cn-hangzhou";
pub const ZONE: &str = "cn-hangzhou-a";

/// Everything of one installation. Dropping it removes its files.
pub struct World {
    pub dir: TempDir,
    pub control: Control,
    pub node: Node,
    pub caller: Caller,
    /// What the clock is ahead of this machine's.
    ahead_ms: Arc<AtomicI64>,
    /// What opens the vault, if it is encrypted.
    secret: Option<Secret>,
    /// How long a deleted snapshot can be brought back.
    undelete_window: Duration,
}

/// The parameters of a request: `A=1&B=2`, with the region added unless it is there.
pub fn params(query: &str) -> Params {
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').expect("Name=value"));
    let given = query.split('&').any(|pair| pair.starts_with("RegionId="));
    let region = (!given).then_some(("RegionId", REGION));
    Params::from_pairs(pairs.chain(region)).expect("each name once")
}

/// Sends one request as a client would: `call!(world, create_disk, "Size={}", 20)`.
macro_rules! call {
    ($world:expr, $action:ident, $($query:tt)*) => {{
        let params = $crate::world::params(&format!($($query)*));
        match tidemark_ecs::actions::$action::Request::parse(&params) {
            Ok(request) => $world.control.$action(&$world.caller, request).await,
            Err(refusal) => Err(refusal),
        }
    }};
}
pub(crate) use call;

/// Status and code of a refusal.
pub fn code<T: std::fmt::Debug>(result: Result<T, ApiError>) -> (u16, String) {
    let error = result.expect_err("must be refused");
    assert!(!error.message.is_empty());
    (error.status, error.code.into_owned())
}

impl World {
    pub async fn new() -> World {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut ControlConfig)) -> World {
        Self::made(None, Duration::ZERO, change).await
    }

    /// With an encrypted vault.
    pub async fn encrypted() -> World {
        let secret = Secret::key_file(&[7; 32]).expect("a key");
        Self::made(Some(secret), Duration::ZERO, |_| {}).await
    }

    /// Where deleted snapshots can be brought back.
    pub async fn forgiving() -> World {
        Self::made(None, Duration::from_secs(3600), |_| {}).await
    }

    async fn made(
        secret: Option<Secret>,
        undelete_window: Duration,
        change: impl FnOnce(&mut ControlConfig),
    ) -> World {
        let dir = tempfile::tempdir().expect("temp dir");
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let (control, node) = open(&dir, &ahead_ms, (secret.clone(), undelete_window), change).await;
        let key = control.root_key().await.expect("a root key");
        let caller = control.caller(&key);
        World {
            dir,
            control,
            node,
            caller,
            ahead_ms,
            secret,
            undelete_window,
        }
    }

    /// Ends everything and starts it again on the same files.
    pub async fn restart(self) -> World {
        self.restart_with(|_| {}).await
    }

    /// As [`Self::restart`], with a change to the catalogue while nothing runs: what a crash may have
    /// left there.
    pub async fn restart_after(self, sql: &str) -> World {
        self.restart_with(|dir| self_sql(dir, sql)).await
    }

    /// As [`Self::restart`], with a change to the files while nothing runs.
    pub async fn restart_with(self, change: impl FnOnce(&TempDir)) -> World {
        self.control.shutdown().await;
        self.node.shutdown().await;
        let World {
            dir,
            caller,
            ahead_ms,
            secret,
            undelete_window,
            control,
            node,
        } = self;
        drop((control, node));
        // Tasks that still hold the old catalogue end on this very runtime: they need their turns.
        for _ in 0..1000 {
            if !dir.path().join("control/catalogue.db-wal").exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        change(&dir);
        let (control, node) = open(&dir, &ahead_ms, (secret.clone(), undelete_window), |_| {}).await;
        World {
            dir,
            control,
            node,
            caller,
            ahead_ms,
            secret,
            undelete_window,
        }
    }

    /// Changes the catalogue behind the control plane's back, once no job is left to meddle with it.
    pub async fn sql(&self, sql: &str) {
        let left = async || self.count("jobs").to_string();
        self.eventually(left, "jobs left", "0").await;
        self_sql(&self.dir, sql);
    }

    /// Rows of one of the catalogue's tables.
    pub fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT COUNT(*) FROM {table}"))
    }

    /// The one number that a query of the catalogue answers.
    pub fn number(&self, sql: &str) -> i64 {
        let file = rusqlite::Connection::open(self.dir.path().join("control/catalogue.db")).expect("opens");
        file.query_row(sql, [], |row| row.get(0)).expect("a number")
    }

    /// Sets both clocks, the control plane's and the node's, to an instant; they run on from there.
    pub fn set_clock(&self, at: jiff::Timestamp) {
        let ahead = at.as_millisecond() - jiff::Timestamp::now().as_millisecond();
        self.ahead_ms.store(ahead, Ordering::SeqCst);
    }

    pub fn advance_days(&self, days: i64) {
        self.ahead_ms.fetch_add(days * 24 * 3600 * 1000, Ordering::SeqCst);
    }

    /// A new data disk of 20 GiB, Available.
    pub async fn disk(&self) -> String {
        self.disk_from("Size=20").await
    }

    pub async fn disk_from(&self, more: &str) -> String {
        let answer = call!(self, create_disk, "ZoneId={ZONE}&DiskCategory=cloud_essd&{more}");
        let id = answer.expect("the disk is made").disk_id;
        self.disk_is(&id, "Available").await;
        id
    }

    /// A new instance, Running.
    pub async fn instance(&self) -> String {
        let answer = call!(
            self,
            run_instances,
            "InstanceType=tidemark.external&SystemDisk.Size=20"
        );
        let id = answer.expect("the instance is made").instance_id_sets.remove(0);
        self.instance_is(&id, "Running").await;
        id
    }

    /// A new disk on a new running instance.
    pub async fn attached_disk(&self) -> (String, String) {
        let (instance, disk) = (self.instance().await, self.disk().await);
        self.attach(&instance, &disk).await;
        (instance, disk)
    }

    pub async fn attach(&self, instance: &str, disk: &str) {
        call!(self, attach_disk, "InstanceId={instance}&DiskId={disk}").expect("attaching begins");
        self.disk_is(disk, "In_use").await;
    }

    pub async fn detach(&self, instance: &str, disk: &str) {
        call!(self, detach_disk, "InstanceId={instance}&DiskId={disk}").expect("detaching begins");
        self.disk_is(disk, "Available").await;
    }

    pub async fn stop(&self, instance: &str) {
        call!(self, stop_instance, "InstanceId={instance}").expect("stopping begins");
        self.instance_is(instance, "Stopped").await;
    }

    /// A new snapshot, accomplished.
    pub async fn snapshot(&self, disk: &str) -> String {
        let id = call!(self, create_snapshot, "DiskId={disk}")
            .expect("the snapshot is begun")
            .snapshot_id;
        self.snapshot_is(&id, "accomplished").await;
        id
    }

    pub async fn find_disk(&self, id: &str) -> Option<Disk> {
        let answer = call!(self, describe_disks, "DiskIds=[\"{id}\"]");
        answer.expect("disks are listed").disks.pop()
    }

    pub async fn find_snapshot(&self, id: &str) -> Option<Snapshot> {
        let answer = call!(self, describe_snapshots, "SnapshotIds=[\"{id}\"]");
        answer.expect("snapshots are listed").snapshots.pop()
    }

    pub async fn find_instance(&self, id: &str) -> Option<tidemark_ecs::model::Instance> {
        let answer = call!(self, describe_instances, "InstanceIds=[\"{id}\"]");
        answer.expect("instances are listed").instances.pop()
    }

    /// Waits until the disk has this status; `""`: until it is gone.
    pub async fn disk_is(&self, id: &str, status: &str) {
        self.eventually(
            async || self.find_disk(id).await.map(|d| d.status).unwrap_or_default(),
            id,
            status,
        )
        .await;
    }

    /// Waits until the instance has this status; `""`: until it is gone.
    pub async fn instance_is(&self, id: &str, status: &str) {
        self.eventually(
            async || self.find_instance(id).await.map(|i| i.status).unwrap_or_default(),
            id,
            status,
        )
        .await;
    }

    /// Waits until the snapshot has this status; `""`: until it is gone.
    pub async fn snapshot_is(&self, id: &str, status: &str) {
        self.eventually(
            async || self.find_snapshot(id).await.map(|s| s.status).unwrap_or_default(),
            id,
            status,
        )
        .await;
    }

    /// Waits for what background work brings about; fails only when it clearly does not.
    pub async fn eventually(&self, look: impl AsyncFn() -> String, what: &str, wanted: &str) {
        let started = Instant::now();
        let mut seen = look().await;
        while seen != wanted {
            assert!(
                started.elapsed() < Duration::from_secs(120),
                "{what} is {seen:?} and does not become {wanted:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
            seen = look().await;
        }
    }

    /// All that lists show; two equal texts mean that nothing has changed in between.
    pub async fn everything(&self) -> String {
        let disks = call!(self, describe_disks, "PageSize=100").expect("listed");
        let snapshots = call!(self, describe_snapshots, "PageSize=100").expect("listed");
        let instances = call!(self, describe_instances, "PageSize=100").expect("listed");
        format!("{disks:#?}\n{snapshots:#?}\n{instances:#?}")
    }
}

fn self_sql(dir: &TempDir, sql: &str) {
    let file =
        rusqlite::Connection::open(dir.path().join("control/catalogue.db")).expect("the catalogue opens");
    file.busy_timeout(Duration::from_secs(10)).expect("set");
    file.execute_batch(sql).expect("the test's own SQL runs");
}

/// Engine threads of this machine, with their wall clock as far ahead as the control plane's.
struct Ahead {
    threads: Threads,
    ahead_ms: Arc<AtomicI64>,
}

impl Launch for Ahead {
    fn launch(&self, name: String, main: Main) -> std::io::Result<Thread> {
        let ahead_ms = Arc::clone(&self.ahead_ms);
        let main: Main = Box::new(move |mut place| {
            let clock = Rc::clone(&place.env.clock);
            place.env.clock = Rc::new(AheadClock { clock, ahead_ms });
            main(place)
        });
        self.threads.launch(name, main)
    }
}

struct AheadClock {
    clock: Rc<dyn tidemark_env::Clock>,
    ahead_ms: Arc<AtomicI64>,
}

impl tidemark_env::Clock for AheadClock {
    fn now(&self) -> Duration {
        self.clock.now()
    }

    fn unix_millis(&self) -> tidemark_env::UnixMillis {
        self.clock.unix_millis() + self.ahead_ms.load(Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> LocalFuture<'static, ()> {
        self.clock.sleep(duration)
    }
}

async fn open(
    dir: &TempDir,
    ahead_ms: &Arc<AtomicI64>,
    (vault_secret, undelete_window): (Option<Secret>, Duration),
    change: impl FnOnce(&mut ControlConfig),
) -> (Control, Node) {
    let node = NodeConfig {
        nbd_socket: Some(dir.path().join("nbd.sock")),
        spool_bytes_max: 1 << 30,
        undelete_window,
        vault_secret,
        ..NodeConfig::new(dir.path().join("node"), dir.path().join("vault"))
    };
    let threads = Threads {
        options: tidemark_env::real::RuntimeOptions { io: node.io },
        bucket: None,
    };
    let ahead = Ahead {
        threads,
        ahead_ms: Arc::clone(ahead_ms),
    };
    let node = Node::start_on(Arc::new(ahead), node)
        .await
        .expect("the node starts");
    let mut config = ControlConfig::new(dir.path().join("control"));
    let ahead = Arc::clone(ahead_ms);
    config.clock = Clock::new(move || jiff::Timestamp::now().as_millisecond() + ahead.load(Ordering::SeqCst));
    config.poll = Duration::from_millis(20);
    change(&mut config);
    let control = Control::open(config, node.clone())
        .await
        .expect("the control plane opens");
    (control, node)
}
