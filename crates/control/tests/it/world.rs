//! A control plane with its node, and the words that tests speak to it.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tidemark_control::{Caller, Clock, Control, ControlConfig, RegionConfig};
use tidemark_ecs::model::{Disk, Snapshot};
use tidemark_ecs::ram::keys::KeysOf;
use tidemark_ecs::ram::policies::{Attachment, CreatePolicy, Holder};
use tidemark_ecs::ram::users::CreateUser;
use tidemark_ecs::{ApiError, Params};
use tidemark_env::LocalFuture;
use tidemark_node::place::{Launch, Main, Thread, Threads};
use tidemark_node::{Node, NodeConfig, Secret};

pub const REGION: &str = "cn-hangzhou";
pub const ZONE: &str = "cn-hangzhou-g";
/// The second region, where there is one, and its zones.
pub const FAR: &str = "cn-beijing";
pub const FAR_ZONES: [&str; 2] = ["cn-beijing-a", "cn-beijing-b"];

/// Everything of one installation. Dropping it removes its files.
pub struct World {
    pub dir: TempDir,
    pub control: Control,
    pub node: Node,
    pub caller: Caller,
    /// The second region's node, if there is one.
    pub far: Option<Node>,
    /// What the clock is ahead of this machine's.
    ahead_ms: Arc<AtomicI64>,
    setting: Setting,
}

/// What all lives of a world have in common.
#[derive(Clone, Default)]
struct Setting {
    /// What opens the vault, if it is encrypted.
    secret: Option<Secret>,
    /// How long a deleted snapshot can be brought back.
    undelete_window: Duration,
    /// Whether there is a second region.
    far: bool,
    /// What opens that one's vault.
    far_secret: Option<Secret>,
}

/// A key of a vault.
pub fn key(byte: u8) -> Secret {
    Secret::key_file(&[byte; 32]).expect("a key")
}

/// The parameters of a request: `A=1&B=2`, with the home region added unless there is one.
pub fn params(query: &str) -> Params {
    params_in(REGION, query)
}

/// The parameters of a request, with a region added.
pub fn params_in(region: &str, query: &str) -> Params {
    let pairs = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').expect("Name=value"));
    let given = query.split('&').any(|pair| pair.starts_with("RegionId="));
    let region = (!given).then_some(("RegionId", region));
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

/// As [`call`], in another region: `call_in!(world, FAR, create_disk, "Size={}", 20)`.
macro_rules! call_in {
    ($world:expr, $region:expr, $action:ident, $($query:tt)*) => {{
        let params = $crate::world::params_in($region, &format!($($query)*));
        let caller = $world.caller_in($region);
        match tidemark_ecs::actions::$action::Request::parse(&params) {
            Ok(request) => $world.control.$action(&caller, request).await,
            Err(refusal) => Err(refusal),
        }
    }};
}
pub(crate) use call_in;

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
        Self::made(Setting::default(), change).await
    }

    /// With an encrypted vault.
    pub async fn encrypted() -> World {
        let setting = Setting {
            secret: Some(key(7)),
            ..Setting::default()
        };
        Self::made(setting, |_| {}).await
    }

    /// Where deleted snapshots can be brought back.
    pub async fn forgiving() -> World {
        Self::forgiving_with(|_| {}).await
    }

    pub async fn forgiving_with(change: impl FnOnce(&mut ControlConfig)) -> World {
        let setting = Setting {
            undelete_window: Duration::from_secs(3600),
            ..Setting::default()
        };
        Self::made(setting, change).await
    }

    /// With a second region.
    pub async fn two_regions() -> World {
        Self::two_regions_with(None, None, |_| {}).await
    }

    /// With a second region, and keys of both vaults; deleted snapshots can be brought back.
    pub async fn two_regions_with(
        secret: Option<Secret>,
        far_secret: Option<Secret>,
        change: impl FnOnce(&mut ControlConfig),
    ) -> World {
        let setting = Setting {
            secret,
            far: true,
            far_secret,
            undelete_window: Duration::from_secs(3600),
        };
        Self::made(setting, change).await
    }

    async fn made(setting: Setting, change: impl FnOnce(&mut ControlConfig)) -> World {
        let dir = tempfile::tempdir().expect("temp dir");
        let ahead_ms = Arc::new(AtomicI64::new(0));
        let (control, node, far) = open(&dir, &ahead_ms, &setting, change).await;
        let key = control.root_key().await.expect("a root key");
        let caller = Caller {
            region: Some(REGION.into()),
            ..control.caller(&key)
        };
        World {
            dir,
            control,
            node,
            caller,
            far,
            ahead_ms,
            setting,
        }
    }

    /// Who asks about a region.
    pub fn caller_in(&self, region: &str) -> Caller {
        Caller {
            region: Some(region.into()),
            ..self.caller.clone()
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
        if let Some(far) = &self.far {
            far.shutdown().await;
        }
        let World {
            dir,
            caller,
            ahead_ms,
            setting,
            control,
            node,
            far,
        } = self;
        drop((control, node, far));
        // Tasks that still hold the old catalogue end on this very runtime: they need their turns.
        for _ in 0..1000 {
            if !dir.path().join("control/catalogue.db-wal").exists() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        change(&dir);
        let (control, node, far) = open(&dir, &ahead_ms, &setting, |_| {}).await;
        World {
            dir,
            control,
            node,
            caller,
            far,
            ahead_ms,
            setting,
        }
    }

    /// The caller with that key.
    pub async fn caller_of(&self, access_key: &str) -> Caller {
        let key = self.control.access_key(access_key).await.expect("read");
        self.control.caller(&key.expect("the key is there"))
    }

    /// A new user with a policy of these statements, and a key: who asks with it.
    pub async fn user(&self, name: &str, statements: &str) -> Caller {
        let named = |query: &str| params(&format!("{query}{name}"));
        let user = CreateUser::parse(&named("UserName=")).expect("a name");
        self.control.create_user(&self.caller, user).await.expect("made");
        self.grant(name, statements).await;
        let key = KeysOf::parse(&named("UserName=")).expect("a name");
        let made = self
            .control
            .create_access_key(&self.caller, key)
            .await
            .expect("made");
        self.caller_of(&made.access_key.access_key_id).await
    }

    /// A policy of these statements, called `p-<name>`, attached to the user.
    pub async fn grant(&self, name: &str, statements: &str) {
        if statements.is_empty() {
            return;
        }
        let policy = CreatePolicy {
            policy_name: format!("p-{name}"),
            policy_document: format!(r#"{{"Version":"1","Statement":[{statements}]}}"#),
            description: String::new(),
        };
        let attachment = Attachment {
            policy_type: "Custom".into(),
            policy_name: policy.policy_name.clone(),
            holder: Holder::User(name.into()),
        };
        self.control
            .create_policy(&self.caller, policy)
            .await
            .expect("made");
        self.control
            .attach_policy(&self.caller, attachment)
            .await
            .expect("attached");
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
        self.advance_ms(days * 24 * 3600 * 1000);
    }

    pub fn advance_ms(&self, ms: i64) {
        self.ahead_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// As the control plane's clock has it: milliseconds since 1970-01-01 UTC.
    pub fn now_ms(&self) -> i64 {
        jiff::Timestamp::now().as_millisecond() + self.ahead_ms.load(Ordering::SeqCst)
    }

    /// As [`Self::restart`], with so much time between the end and the start.
    pub async fn restart_later(self, ms: i64) -> World {
        let ahead = Arc::clone(&self.ahead_ms);
        self.restart_with(|_| {
            ahead.fetch_add(ms, Ordering::SeqCst);
        })
        .await
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

    /// A snapshot in a region.
    pub async fn find_snapshot_in(&self, region: &str, id: &str) -> Option<Snapshot> {
        let answer = call_in!(self, region, describe_snapshots, "SnapshotIds=[\"{id}\"]");
        answer.expect("snapshots are listed").snapshots.pop()
    }

    /// Waits until the snapshot in the region has this status; `""`: until it is gone.
    pub async fn snapshot_in_is(&self, region: &str, id: &str, status: &str) {
        let look = async || {
            let found = self.find_snapshot_in(region, id).await;
            found.map(|s| s.status).unwrap_or_default()
        };
        self.eventually(look, id, status).await;
    }

    /// A new data disk in the second region, Available.
    pub async fn far_disk(&self, more: &str) -> String {
        let zone = FAR_ZONES[0];
        let query = format!("ZoneId={zone}&DiskCategory=cloud_essd&{more}");
        let answer = call_in!(self, FAR, create_disk, "{query}");
        let id = answer.expect("the disk is made").disk_id;
        let look = async || {
            let answer = call_in!(self, FAR, describe_disks, "DiskIds=[\"{id}\"]");
            let disk = answer.expect("disks are listed").disks.pop();
            disk.map(|d| d.status).unwrap_or_default()
        };
        self.eventually(look, &id, "Available").await;
        id
    }

    /// A new instance in the second region, Running.
    pub async fn far_instance(&self) -> String {
        let asked = "InstanceType=tidemark.external&SystemDisk.Size=20";
        let answer = call_in!(self, FAR, run_instances, "{asked}");
        let id = answer.expect("the instance is made").instance_id_sets.remove(0);
        let look = async || {
            let answer = call_in!(self, FAR, describe_instances, "InstanceIds=[\"{id}\"]");
            let instance = answer.expect("instances are listed").instances.pop();
            instance.map(|i| i.status).unwrap_or_default()
        };
        self.eventually(look, &id, "Running").await;
        id
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
    setting: &Setting,
    change: impl FnOnce(&mut ControlConfig),
) -> (Control, Node, Option<Node>) {
    let node = start(dir, "", setting.secret.clone(), setting.undelete_window, ahead_ms).await;
    let far = match setting.far {
        true => Some(
            start(
                dir,
                "far-",
                setting.far_secret.clone(),
                setting.undelete_window,
                ahead_ms,
            )
            .await,
        ),
        false => None,
    };
    let mut config = ControlConfig::new(dir.path().join("control"));
    let ahead = Arc::clone(ahead_ms);
    config.clock = Clock::new(move || jiff::Timestamp::now().as_millisecond() + ahead.load(Ordering::SeqCst));
    config.poll = Duration::from_millis(20);
    if far.is_some() {
        config.regions.push(RegionConfig {
            zones: FAR_ZONES.map(String::from).into(),
            endpoint: Some("far.example:7480".into()),
            ..RegionConfig::new(FAR)
        });
    }
    config.webhooks_to_this_machine = true;
    change(&mut config);
    let nodes = [Some(node.clone()), far.clone()].into_iter().flatten().collect();
    let control = Control::open_regions(config, nodes)
        .await
        .expect("the control plane opens");
    (control, node, far)
}

/// A node whose files have names that begin with `prefix`.
async fn start(
    dir: &TempDir,
    prefix: &str,
    vault_secret: Option<Secret>,
    undelete_window: Duration,
    ahead_ms: &Arc<AtomicI64>,
) -> Node {
    let place = |what: &str| dir.path().join(format!("{prefix}{what}"));
    let config = NodeConfig {
        nbd_socket: Some(place("nbd.sock")),
        spool_bytes_max: 1 << 30,
        undelete_window,
        vault_secret,
        ..NodeConfig::new(place("node"), place("vault"))
    };
    let threads = Threads {
        options: tidemark_env::real::RuntimeOptions { io: config.io },
        bucket: None,
    };
    let ahead = Ahead {
        threads,
        ahead_ms: Arc::clone(ahead_ms),
    };
    Node::start_on(Arc::new(ahead), config)
        .await
        .expect("the node starts")
}
