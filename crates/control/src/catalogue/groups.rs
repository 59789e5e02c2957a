//! Snapshot-consistent groups and their members.
//!
//! A group has no state of its own: it is what its members are. It exists as long as one of them does, and [`leave`] is
//! called wherever a snapshot goes.

use super::tags::{self, ResourceType};
use super::{next_number, record, tokens};
use crate::catalogue::snapshots::SnapshotRow;
use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction};

record! {
    /// A group.
    GroupRow = "snapshot_groups" {
        id: String,
        ordinal: i64,
        account: String,
        /// Of all its disks.
        region: String,
        name: String,
        description: String,
        /// `""` when its disks were those of several instances.
        instance_id: String,
        resource_group: String,
        /// The node has answered that all marks are durable.
        made: bool,
        created_ms: i64,
        modified_ms: i64,
    }
}

impl GroupRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "snapshot_group")
    }

    /// Removes the group and leaves its members single.
    pub(crate) fn dissolve(self, t: &mut dyn Transaction) -> Result<(), StoreError> {
        let sql = "DELETE FROM snapshot_group_members WHERE group_id = $1";
        t.execute(sql, &[(&self.id).into()])?;
        tags::clear(t, ResourceType::SnapshotGroup, &self.id)?;
        if !self.made {
            // Nobody was told of it: the caller's token is free again.
            tokens::take_back(t, &self.id)?;
        }
        self.remove(t)
    }
}

/// Makes a snapshot a member.
pub(crate) fn join(t: &mut dyn Transaction, group: &str, snapshot: &str) -> Result<(), StoreError> {
    let sql = "INSERT INTO snapshot_group_members (snapshot_id, group_id) VALUES ($1, $2) \
               ON CONFLICT (snapshot_id) DO NOTHING";
    t.execute(sql, &[snapshot.into(), group.into()]).map(drop)
}

/// The group that a snapshot is part of.
pub(crate) fn of_snapshot(t: &mut dyn Transaction, snapshot: &str) -> Result<Option<GroupRow>, StoreError> {
    let sql = "WHERE id = (SELECT group_id FROM snapshot_group_members WHERE snapshot_id = $1)";
    Ok(GroupRow::select(t, sql, &[snapshot.into()])?.pop())
}

/// A group's snapshots that are listed, in the order of their making.
pub(crate) fn members(t: &mut dyn Transaction, group: &str) -> Result<Vec<SnapshotRow>, StoreError> {
    let rest = "WHERE id IN (SELECT snapshot_id FROM snapshot_group_members WHERE group_id = $1) \
                AND status <> $2 ORDER BY ordinal";
    SnapshotRow::select(t, rest, &[group.into(), SnapshotStatus::Deleting.word().into()])
}

/// A snapshot goes, and its group with the last one.
pub(crate) fn leave(t: &mut dyn Transaction, snapshot: &str) -> Result<(), StoreError> {
    let Some(group) = of_snapshot(t, snapshot)? else {
        return Ok(());
    };
    let sql = "DELETE FROM snapshot_group_members WHERE snapshot_id = $1";
    t.execute(sql, &[snapshot.into()])?;
    let left = "SELECT 1 FROM snapshot_group_members WHERE group_id = $1 LIMIT 1";
    match t.query_one(left, &[(&group.id).into()])? {
        Some(_) => Ok(()),
        None => group.dissolve(t),
    }
}

/// A member's capture has ended, so its mark was made: the request for its group is done, and the group is there,
/// whatever a crash kept from being noted.
pub(crate) fn settled(t: &mut dyn Transaction, snapshot: &str) -> Result<(), StoreError> {
    match of_snapshot(t, snapshot)? {
        Some(mut group) if !group.made => {
            group.made = true;
            group.save(t)?;
            tokens::answered(t, &group.id)
        }
        _ => Ok(()),
    }
}
