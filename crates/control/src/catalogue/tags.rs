//! Tags of all resources.

use crate::store::{StoreError, Transaction};
use crate::words::words;
use std::collections::BTreeMap;
use tidemark_ecs::model::Tag;

words! {
    /// What can carry tags here.
    ResourceType {
        /// An instance.
        Instance = "instance",
        /// A disk.
        Disk = "disk",
        /// A snapshot.
        Snapshot = "snapshot",
        /// An image.
        Image = "image",
        /// A snapshot-consistent group.
        SnapshotGroup = "snapshotgroup",
        /// An automatic snapshot policy.
        Policy = "snapshotpolicy",
        /// An SSH key pair.
        KeyPair = "keypair",
    }
}

impl ResourceType {
    /// The table of these resources, with the columns `id` and `region`.
    pub(crate) fn table(self) -> &'static str {
        match self {
            ResourceType::Instance => "instances",
            ResourceType::Disk => "disks",
            ResourceType::Snapshot => "snapshots",
            ResourceType::Image => "images",
            ResourceType::SnapshotGroup => "snapshot_groups",
            ResourceType::Policy => "policies",
            ResourceType::KeyPair => "key_pairs",
        }
    }
}

/// How keys begin that the service sets itself; no caller can.
pub(crate) const SYSTEM: &str = "acs:";

/// A resource's tags, by key.
pub(crate) fn of(t: &mut dyn Transaction, kind: ResourceType, id: &str) -> Result<Vec<Tag>, StoreError> {
    let sql =
        "SELECT tag_key, tag_value FROM tags WHERE resource_type = $1 AND resource_id = $2 ORDER BY tag_key";
    let rows = t.query(sql, &[kind.word().into(), id.into()])?;
    rows.iter()
        .map(|row| {
            Ok(Tag {
                key: row.text(0)?,
                value: row.text(1)?,
            })
        })
        .collect()
}

/// The value of one key, by resource, of all of the account's resources of a type that have it.
pub(crate) fn values(
    t: &mut dyn Transaction,
    account: &str,
    kind: ResourceType,
    key: &str,
) -> Result<BTreeMap<String, String>, StoreError> {
    let sql =
        "SELECT resource_id, tag_value FROM tags WHERE account = $1 AND resource_type = $2 AND tag_key = $3";
    let rows = t.query(sql, &[account.into(), kind.word().into(), key.into()])?;
    rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect()
}

/// Sets tags; a key that is there gets the new value.
pub(crate) fn set(
    t: &mut dyn Transaction,
    account: &str,
    kind: ResourceType,
    id: &str,
    tags: &[Tag],
) -> Result<(), StoreError> {
    let sql = "INSERT INTO tags (account, resource_type, resource_id, tag_key, tag_value) \
               VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT (resource_type, resource_id, tag_key) DO UPDATE SET tag_value = excluded.tag_value";
    for tag in tags {
        let (key, value) = ((&tag.key).into(), (&tag.value).into());
        t.execute(sql, &[account.into(), kind.word().into(), id.into(), key, value])?;
    }
    Ok(())
}

/// Removes one key, unless the service set it.
pub(crate) fn unset(
    t: &mut dyn Transaction,
    kind: ResourceType,
    id: &str,
    key: &str,
) -> Result<(), StoreError> {
    if key.starts_with(SYSTEM) {
        return Ok(());
    }
    let sql = "DELETE FROM tags WHERE resource_type = $1 AND resource_id = $2 AND tag_key = $3";
    t.execute(sql, &[kind.word().into(), id.into(), key.into()])
        .map(drop)
}

/// Removes all tags of a resource but those that the service set.
pub(crate) fn unset_all(t: &mut dyn Transaction, kind: ResourceType, id: &str) -> Result<(), StoreError> {
    for tag in of(t, kind, id)? {
        unset(t, kind, id, &tag.key)?;
    }
    Ok(())
}

/// Removes all tags of a resource, which goes.
pub(crate) fn clear(t: &mut dyn Transaction, kind: ResourceType, id: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM tags WHERE resource_type = $1 AND resource_id = $2";
    t.execute(sql, &[kind.word().into(), id.into()]).map(drop)
}
