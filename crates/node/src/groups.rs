//! Group records: whether the marks of several disks count (design 3.4).
//!
//! `groups/<group>.json` names the members that have not yet heard of the decision. The record's existence *is* the
//! decision: it is written once every member's PREPARE is durable, and from then on the group exists. A prepared mark
//! whose group has no record is void (R7). A member leaves the record when its own log has the decision; the record
//! goes with the last one. What must stay true: no member that is still in doubt is missing from the record.

use crate::disk::DiskHost;
use crate::remote::Remote;
use crate::types::{NodeError, NodeErrorKind};
use crate::vault::VaultHost;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_units::{DiskId, GroupId, SnapshotId};

/// When the removal of a record that may or may not be there is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// A group that exists.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Members that may still be in doubt, and their snapshots.
    pub members: BTreeMap<DiskId, SnapshotId>,
}

impl VaultHost {
    fn groups_dir(&self) -> PathBuf {
        self.config.data_dir.join("groups")
    }

    fn group_path(&self, group: &GroupId) -> PathBuf {
        self.groups_dir().join(format!("{group}.json"))
    }

    /// Refuses a group that exists, or whose failure is still being undone. That is known here as long as it matters: a
    /// group that is not can leave no mark behind, and one that is keeps its record until every member's log knows.
    pub async fn check_group_is_new(&self, group: &GroupId) -> Result<(), NodeError> {
        if self.voiding.borrow().contains(group) {
            let message = format!("group {group} failed a moment ago and is still being undone");
            return Err(NodeError::new(NodeErrorKind::Busy, message));
        }
        match self.group(group).await? {
            None => Ok(()),
            Some(_) => {
                let message = format!("group {group} exists already, with other disks or snapshots");
                Err(NodeError::new(NodeErrorKind::Invalid, message))
            }
        }
    }

    /// Decides that the group exists. An error leaves it open whether it does: see [`VaultHost::void_group`].
    pub async fn decide_group(&self, group: &GroupId, record: &GroupRecord) -> Result<(), NodeError> {
        let bytes = serde_json::to_vec(record)
            .map_err(|e| NodeError::new(NodeErrorKind::Invalid, format!("group {group}: {e}")))?;
        let path = self.group_path(group);
        Ok(tidemark_env::fs::write_atomic(&*self.env().fs, &path, bytes.into()).await?)
    }

    /// The group's record, or `None`: it is void.
    pub async fn group(&self, group: &GroupId) -> Result<Option<GroupRecord>, NodeError> {
        let found = tidemark_env::fs::read_small(&*self.env().fs, &self.group_path(group)).await?;
        let Some(bytes) = found else { return Ok(None) };
        let record = serde_json::from_slice(&bytes).map_err(|e| {
            let message = format!("the record of group {group} is damaged: {e}");
            NodeError::new(NodeErrorKind::Corrupt, message)
        })?;
        Ok(Some(record))
    }

    async fn drop_group(&self, group: &GroupId) -> Result<(), NodeError> {
        let fs = &self.env().fs;
        match fs.remove_file(&self.group_path(group)).await {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        Ok(fs.sync_dir(&self.groups_dir()).await?)
    }

    /// Makes sure that the group does not exist, however long that takes, then tells its members: after a decision
    /// whose outcome is unknown nobody may act on either until one of them is durable.
    pub async fn void_group(self: Rc<Self>, group: GroupId, members: Vec<(Remote<DiskHost>, SnapshotId)>) {
        self.voiding.borrow_mut().insert(group.clone());
        while let Err(e) = self.drop_group(&group).await {
            tracing::warn!(%group, error = %e, "a group that failed cannot be withdrawn yet; trying again");
            self.env().clock.sleep(RETRY).await;
        }
        for (remote, snapshot) in members {
            let id = snapshot.clone();
            let aborted = remote.call(move |host| async move { host.volume.abort_prepared(&id).map(drop) });
            if let Ok(Err(e)) = aborted.await {
                tracing::warn!(%snapshot, error = %e, "a disk learns when it is opened that its group is void");
            }
            self.forget_note(&snapshot).await;
        }
        self.voiding.borrow_mut().remove(&group);
    }

    /// The log of `disk` has the group's decision: it leaves the record, which goes with the last one.
    pub async fn leave_group(&self, group: &GroupId, disk: &DiskId) -> Result<(), NodeError> {
        let _one = self.grouping.lock().await;
        let Some(mut record) = self.group(group).await? else {
            return Ok(());
        };
        record.members.remove(disk);
        if record.members.is_empty() {
            self.drop_group(group).await
        } else {
            self.decide_group(group, &record).await
        }
    }

    /// What a disk that is being opened must do about a prepared mark of `group`: `true`, it counts.
    pub async fn group_exists(&self, group: &str) -> Result<bool, NodeError> {
        if mutant::on("node-group-always-commits") {
            return Ok(true);
        }
        let id = GroupId::new(group).map_err(|e| NodeError::new(NodeErrorKind::Corrupt, e.to_string()))?;
        Ok(self.group(&id).await?.is_some())
    }

    /// Removes a disk that is not in doubt (any more) from the records that still have it.
    pub async fn settle_groups(&self, disk: &DiskId, in_doubt: &[SnapshotId]) -> Result<(), NodeError> {
        for entry in self.env().fs.list(&self.groups_dir()).await? {
            let named = entry.name.strip_suffix(".json").map(GroupId::new);
            let Some(Ok(group)) = named else { continue };
            let Some(record) = self.group(&group).await? else {
                continue;
            };
            if record
                .members
                .get(disk)
                .is_some_and(|snapshot| !in_doubt.contains(snapshot))
            {
                self.leave_group(&group, disk).await?;
            }
        }
        Ok(())
    }
}
