//! Events: what happened that a person would want to know.
//!
//! An event is a row that is added in the transaction which makes the change, so that it is there exactly if the change
//! is. Rows are never changed; the oldest go when there are too many or they are too old. Whoever is told of events
//! (webhooks) follows `ordinal`, which grows by one with each.

use super::jobs::{self, JobKind};
use super::webhooks::WebhookRow;
use super::{next_number, record};
use crate::clock::DAY_MS;
use crate::config::Limits;
use crate::store::{StoreError, Transaction};
use crate::words::words;

words! {
    /// What happened. A name that the service which we follow has is its name here.
    EventKind {
        /// A snapshot was accomplished, or failed: see its result.
        SnapshotCompleted = "Snapshot:CreateSnapshotCompleted",
        /// Its retention was over.
        SnapshotExpired = "Snapshot:Expired",
        /// It made room for a newer one of its policy.
        SnapshotReplaced = "Snapshot:Replaced",
        /// A policy's time came, and no snapshot was made, or none yet: see its reason.
        SnapshotSkipped = "Snapshot:AutoSnapshotSkipped",
        /// A copy was accomplished, or failed: see its result.
        CopyCompleted = "Snapshot:CopySnapshotCompleted",
        /// A deleted snapshot was brought back.
        SnapshotUndeleted = "Snapshot:Undeleted",
        /// Somebody deleted it, or cancelled its making, by itself or with its group or disk.
        SnapshotDeleted = "Snapshot:Deleted",
        /// Somebody put a lock on it, or changed the lock that it has.
        SnapshotLocked = "Snapshot:Locked",
        /// Somebody took its lock off.
        SnapshotUnlocked = "Snapshot:Unlocked",
        /// Somebody changed its name, its description or how long it is kept.
        SnapshotModified = "Snapshot:Modified",
        /// Somebody deleted a group; its snapshots have events of their own.
        GroupDeleted = "SnapshotGroup:Deleted",
        /// Somebody deleted it, by itself or with its instance.
        DiskDeleted = "Disk:Deleted",
        /// A disk was rolled back, or could not be: see its result.
        DiskReset = "Disk:ResetDiskCompleted",
        /// A disk was attached or detached, or something could not be done to it: see its operation and result.
        DiskOperation = "Disk:DiskOperationCompleted",
        /// A disk that was promised could not be made.
        DiskCreateFailed = "Disk:CreateDiskFailed",
        /// An instance is in another state.
        InstanceState = "Instance:StateChange",
        /// A snapshot in the vault is damaged.
        VaultDamaged = "Vault:DamageFound",
        /// Damage in the vault was repaired.
        VaultRepaired = "Vault:Repaired",
        /// A limit is nearly reached.
        QuotaNear = "Quota:Near",
        /// An access key was made.
        KeyCreated = "AccessKey:Created",
        /// An access key can be used again.
        KeyEnabled = "AccessKey:Enabled",
        /// An access key cannot be used any more.
        KeyDisabled = "AccessKey:Disabled",
        /// An access key is gone.
        KeyDeleted = "AccessKey:Deleted",
        /// A user was made.
        UserCreated = "User:Created",
        /// A user is gone.
        UserDeleted = "User:Deleted",
        /// A user has another password, or the first one.
        PasswordSet = "LoginProfile:Changed",
        /// A user has no password any more.
        PasswordRemoved = "LoginProfile:Deleted",
        /// A role was made.
        RoleCreated = "Role:Created",
        /// A role is gone, and its temporary keys with it.
        RoleDeleted = "Role:Deleted",
        /// A policy was made, changed or deleted.
        PolicyChanged = "Policy:Changed",
        /// A policy was attached to a user or role.
        PolicyAttached = "Policy:Attached",
        /// A policy was detached from a user or role.
        PolicyDetached = "Policy:Detached",
        /// Somebody is told of events from now on.
        WebhookCreated = "Webhook:Created",
        /// Somebody is not told of events any more.
        WebhookDeleted = "Webhook:Deleted",
    }
}

words! {
    /// How much it matters; the least first.
    Level {
        /// As it should be.
        Info = "INFO",
        /// Somebody should look.
        Warn = "WARN",
        /// Somebody should look now.
        Critical = "CRITICAL",
    }
}

impl Level {
    /// This one and those that matter more.
    pub(crate) fn and_above(self) -> &'static [Level] {
        let at = Level::ALL.iter().position(|level| *level == self);
        &Level::ALL[at.unwrap_or(0)..]
    }
}

record! {
    /// What happened.
    EventRow = "events" {
        id: String,
        ordinal: i64,
        account: String,
        /// `""`: of the account, in no region.
        region: String,
        name: EventKind,
        level: Level,
        resource_type: String,
        resource_id: String,
        /// A JSON object.
        content: String,
        created_ms: i64,
    }
}

/// Something that is happening.
#[derive(Clone, Debug)]
pub(crate) struct Happening<'a> {
    pub(crate) kind: EventKind,
    pub(crate) level: Level,
    /// Whose.
    pub(crate) account: &'a str,
    /// Where; `""` for what is in no region.
    pub(crate) region: &'a str,
    /// What it happens to: `snapshot`, `disk`, `user` …
    pub(crate) resource_type: &'a str,
    pub(crate) resource_id: &'a str,
    /// A JSON object with what else there is to know. Never a secret: events are sent to others.
    pub(crate) content: serde_json::Value,
}

/// Writes down what happens, and promises to tell who wants to be told. The jobs of that have to be woken.
pub(crate) fn add(t: &mut dyn Transaction, now_ms: i64, what: &Happening<'_>) -> Result<(), StoreError> {
    let ordinal = next_number(t, "event")?;
    let row = EventRow {
        id: format!("ev-{}", crate::keys::letters(20)),
        ordinal,
        account: what.account.into(),
        region: what.region.into(),
        name: what.kind,
        level: what.level,
        resource_type: what.resource_type.into(),
        resource_id: what.resource_id.into(),
        content: what.content.to_string(),
        created_ms: now_ms,
    };
    row.insert(t)?;
    let idle = "WHERE account = $1 AND NOT EXISTS \
                (SELECT 1 FROM jobs WHERE jobs.kind = 'deliver_events' AND jobs.subject = webhooks.id)";
    for hook in WebhookRow::select(t, idle, &[what.account.into()])? {
        jobs::add(t, JobKind::DeliverEvents, &hook.id, &hook.id, "", now_ms)?;
    }
    Ok(())
}

/// The account's events after that ordinal, oldest first.
pub(crate) fn after(
    t: &mut dyn Transaction,
    account: &str,
    ordinal: i64,
    most: usize,
) -> Result<Vec<EventRow>, StoreError> {
    let rest = "WHERE account = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    EventRow::select(t, rest, &[account.into(), ordinal.into(), most.into()])
}

/// The ordinal of the newest event that there ever was; 0: there was none.
pub(crate) fn newest(t: &mut dyn Transaction) -> Result<i64, StoreError> {
    let row = t.query_one("SELECT value FROM counters WHERE name = 'event'", &[])?;
    row.map_or(Ok(0), |row| row.integer(0))
}

/// Forgets what is too old or too much.
pub(crate) fn sweep(t: &mut dyn Transaction, limits: &Limits, now_ms: i64) -> Result<(), StoreError> {
    let days = i64::try_from(limits.events_days).unwrap_or(i64::MAX);
    let old = now_ms.saturating_sub(days.saturating_mul(DAY_MS));
    let most = i64::try_from(limits.events).unwrap_or(i64::MAX);
    let far = newest(t)?.saturating_sub(most);
    let sql = "DELETE FROM events WHERE created_ms <= $1 OR ordinal <= $2";
    t.execute(sql, &[old.into(), far.into()]).map(drop)
}
