//! What a control plane is told at start.

use crate::clock::Clock;
use std::path::PathBuf;
use std::time::Duration;

/// The account that owns everything until accounts are managed.
pub const DEFAULT_ACCOUNT: &str = "1000000000000001";

/// How to open a [`crate::Control`].
#[derive(Clone, Debug)]
pub struct ControlConfig {
    /// The catalogue is `<data_dir>/catalogue.db`.
    pub data_dir: PathBuf,
    /// The one region that is served.
    pub region: String,
    /// The one zone in it.
    pub zone: String,
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
}

impl ControlConfig {
    /// The documented defaults, with the catalogue in `data_dir`.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            region: "cn-hangzhou".into(),
            zone: "cn-hangzhou-a".into(),
            account: DEFAULT_ACCOUNT.into(),
            root_key: None,
            secrets_key: None,
            webhooks_to_this_machine: false,
            limits: Limits::default(),
            clock: Clock::system(),
            linger: Duration::from_millis(500),
            poll: Duration::from_secs(1),
            housekeeping: Duration::from_secs(10),
        }
    }
}

/// Quotas (ecs-api.md 2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Manual snapshots of one disk.
    pub manual_snapshots_per_disk: u64,
    /// Snapshots of one disk that may be in creation at once. 1 answers with the 2021 service's code.
    pub concurrent_snapshots_per_disk: u64,
    /// Data disks of one instance, beside its system disk.
    pub data_disks_per_instance: u64,
    /// Tags of one resource.
    pub tags_per_resource: u64,
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            manual_snapshots_per_disk: 256,
            concurrent_snapshots_per_disk: 1,
            data_disks_per_instance: 16,
            tags_per_resource: 20,
            access_keys_per_user: 2,
            policies_per_holder: 20,
            webhooks: 20,
            events: 100_000,
            events_days: 90,
            webhook_backlog: 10_000,
        }
    }
}
