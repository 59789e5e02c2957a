//! What a control plane is told at start.

use crate::clock::Clock;
use crate::guests::GuestsConfig;
use crate::metering::Price;
use std::path::PathBuf;
use std::time::Duration;

/// The account that owns everything until accounts are managed.
pub const DEFAULT_ACCOUNT: &str = "1000000000000001";

/// How to open a [`crate::Control`].
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The catalogue is `<data_dir>/catalogue.db`.
    pub data_dir: PathBuf,
    /// The regions that are served, at least one. The first is the home region: what names no region means it.
    pub regions: Vec<RegionConfig>,
    /// The account that the root key belongs to.
    pub account: String,
    /// Id and secret of the root key. Looked at only when the catalogue has none yet; without it one
    /// is generated.
    pub root_key: Option<(String, String)>,
    /// The file of the key that secrets in the catalogue are sealed with; `None`: `<data_dir>/secrets.key`.
    pub secrets_key: Option<PathBuf>,
    /// Whether webhooks may go to this very machine.
    pub webhooks_to_this_machine: bool,
    /// Quotas.
    pub limits: Limits,
    /// Business time.
    pub clock: Clock,
    /// How long an action waits for the work that it has started, so that the usual quick end is
    /// already visible to the next call. Work goes on when the time is over.
    pub linger: Duration,
    /// How often a snapshot in progress is looked at when no event tells of it.
    pub poll: Duration,
    /// How often retention, releases and old rows are looked after.
    pub housekeeping: Duration,
    /// How often is looked whether the vault has to be asked what snapshots take; zero: it is never asked by itself.
    pub accounting: Duration,
    /// What metered space costs, if it costs anything.
    pub price: Option<Price>,
    /// How instances are run; `None`: all are machines that others run.
    pub guests: Option<GuestsConfig>,
}

impl ControlConfig {
    /// The documented defaults, with the catalogue in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            regions: vec![RegionConfig::new("cn-hangzhou")],
            account: DEFAULT_ACCOUNT.into(),
            root_key: None,
            secrets_key: None,
            webhooks_to_this_machine: false,
            limits: Limits::default(),
            clock: Clock::system(),
            linger: Duration::from_millis(500),
            poll: Duration::from_secs(1),
            housekeeping: Duration::from_secs(10),
            accounting: Duration::from_secs(2),
            price: None,
            guests: None,
        }
    }
}

/// A region: a name, and where in it disks and instances are. Each has a node of its own, and that a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionConfig {
    /// Its id, such as `cn-hangzhou`.
    pub id: String,
    /// Ids of its zones, at least one; an instance that names none is in the first.
    pub zones: Vec<String>,
    /// The host that clients are told to use for it; `None`: the one that they have called.
    pub endpoint: Option<String>,
}

impl RegionConfig {
    /// A region with one zone, named after it with an `a`; in cn-hangzhou a `g`, which many tools have built in
    /// (ecs-api.md 2.2).
    pub fn new(id: impl Into<String>) -> Self {
        let id = id.into();
        let zone = if id == "cn-hangzhou" { "g" } else { "a" };
        Self {
            zones: vec![format!("{id}-{zone}")],
            endpoint: None,
            id,
        }
    }

    /// The first zone.
    pub fn first_zone(&self) -> &str {
        self.zones.first().map_or("", String::as_str)
    }
}

/// Quotas (ecs-api.md 2.5, product.md 2.16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Manual snapshots of one disk.
    pub manual_snapshots_per_disk: u64,
    /// Automatic snapshots of one disk; above, the oldest gives way.
    pub automatic_snapshots_per_disk: u64,
    /// Automatic snapshot policies of an account in a region.
    pub policies_per_region: u64,
    /// Policies that a disk may have. 1, as the 2021 service had it: a second one takes the first one's place; more: they
    /// add up.
    pub policies_per_disk: u64,
    /// Snapshots of one disk that may be in creation at once. 1 answers with the 2021 service's code.
    pub concurrent_snapshots_per_disk: u64,
    /// Data disks of one instance, beside its system disk.
    pub data_disks_per_instance: u64,
    /// Images of one account.
    pub images: u64,
    /// Tags of one resource.
    pub tags_per_resource: u64,
    /// Disks of one snapshot-consistent group.
    pub disks_per_snapshot_group: u64,
    /// All of them together, in GiB.
    pub snapshot_group_gib: u64,
    /// How long it is known what was stored when.
    pub usage_kept_days: u64,
    /// Access keys of one user, and of the account itself.
    pub access_keys_per_user: u64,
    /// Policies attached to one user or role.
    pub policies_per_holder: u64,
    /// Webhooks of one account.
    pub webhooks: u64,
    /// Events that are kept; older ones go.
    pub events: u64,
    /// How long events are kept, in days.
    pub events_days: u64,
    /// Events that a webhook may be behind; older ones are left out.
    pub webhook_backlog: u64,
    /// SSH key pairs of an account in a region.
    pub key_pairs: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manual_snapshots_per_disk: 256,
            automatic_snapshots_per_disk: 1000,
            policies_per_region: 100,
            policies_per_disk: 1,
            concurrent_snapshots_per_disk: 1,
            data_disks_per_instance: 16,
            images: 100,
            tags_per_resource: 20,
            disks_per_snapshot_group: 16,
            snapshot_group_gib: 32 * 1024,
            usage_kept_days: 400,
            access_keys_per_user: 2,
            policies_per_holder: 20,
            webhooks: 20,
            events: 100_000,
            events_days: 90,
            webhook_backlog: 10_000,
            key_pairs: 500,
        }
    }
}
