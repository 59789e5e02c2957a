//! Atomic snapshots of several disks: the coordinator (design 3.4).
//!
//! All members stop acknowledging, get a prepared mark a place in their logs, and go on; then the marks become durable, and
//! then the group's record, which is the decision. The argument for why no member has a write whose cause another member
//! lacks is in `tidemark_volume::group`. A guest waits for [`LEASE`] at most, whatever goes wrong. Until the decision any
//! failure voids the group on all members; after it the group exists, whatever happens.

use super::{Disk, Node};
use crate::groups::GroupRecord;
use crate::notes::Note;
use crate::types::{MarkRequest, Marked, NodeError, NodeErrorKind};
use futures_util::future::{join_all, try_join_all};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_units::{DiskId, GroupId};

/// How long members may hold acknowledgements.
const LEASE: Duration = Duration::from_millis(20);

impl Node {
    /// Marks several disks at one moment: what a guest wrote to one of them after it knew of a write to another is in no
    /// snapshot of the group without that other write. All snapshots are made, or none.
    pub async fn mark_group(
        &self,
        group: &GroupId,
        requests: Vec<(DiskId, MarkRequest)>,
    ) -> Result<Vec<Marked>, NodeError> {
        let mut members: BTreeMap<DiskId, (Arc<Disk>, MarkRequest)> = BTreeMap::new();
        let order: Vec<DiskId> = requests.iter().map(|(disk, _)| disk.clone()).collect();
        for (disk, request) in requests {
            let open = self.shared.disk(&disk)?;
            if members.insert(disk.clone(), (open, request)).is_some() {
                let message = format!("disk {disk} is named twice in group {group}");
                return Err(NodeError::new(NodeErrorKind::Invalid, message));
            }
        }
        // In the order of their ids: two groups that share disks cannot wait for each other.
        let mut changing = Vec::with_capacity(members.len());
        for (open, _) in members.values() {
            changing.push(open.changing.lock().await);
        }
        let marked = match self.prepare_group(group, &members).await {
            Ok(()) => self.decide_group(group, &members).await,
            Err(e) => Err(e),
        };
        if let Err(e) = marked {
            let remotes = members
                .values()
                .map(|(open, request)| (open.remote.clone(), request.snapshot.clone()))
                .collect();
            let group = group.clone();
            self.shared
                .vault
                .cast(move |host| host.void_group(group, remotes));
            return Err(e);
        }
        let marks = try_join_all(members.iter().map(|(disk, (open, request))| {
            let id = request.snapshot.clone();
            async move {
                let committed = open
                    .remote
                    .call(move |host| async move { host.commit_prepared(&id) })
                    .await??;
                let (decided, pending) = committed;
                self.start_capture(disk, &open.remote, pending.clone());
                self.forget_decided(group, disk, open, decided);
                Ok::<_, NodeError>((disk.clone(), pending.mark))
            }
        }))
        .await;
        // The group exists: a member that stopped a moment ago commits when it is opened again.
        let marks: BTreeMap<_, _> = marks?.into_iter().collect();
        let of = |disk: &DiskId| {
            marks.get(disk).map(|mark| Marked {
                lsn: mark.lsn,
                unix_millis: mark.unix_millis,
            })
        };
        Ok(order.iter().filter_map(of).collect())
    }

    /// Notes and prepared marks of all members, durable. A moment of all disks lies between the marks.
    async fn prepare_group(
        &self,
        group: &GroupId,
        members: &BTreeMap<DiskId, (Arc<Disk>, MarkRequest)>,
    ) -> Result<(), NodeError> {
        let notes: Vec<_> = members
            .iter()
            .map(|(disk, (_, request))| {
                let meta = request.meta.clone();
                let disk = disk.clone();
                (request.snapshot.clone(), Note { disk, meta })
            })
            .collect();
        let noted = self.shared.vault.call(move |host| async move {
            for (snapshot, note) in &notes {
                host.keep_note(snapshot, note).await?;
            }
            Ok::<_, NodeError>(())
        });
        noted.await??;
        let held = join_all(
            members
                .values()
                .map(|(open, _)| open.remote.call(move |host| async move { host.hold_acks(LEASE) })),
        )
        .await;
        let mut outcome = Ok(());
        for one in held {
            outcome = outcome.and(
                one.map_err(NodeError::from)
                    .and_then(|held| held.map_err(NodeError::from)),
            );
        }
        if outcome.is_ok() {
            let placed = join_all(members.values().map(|(open, request)| {
                let (id, group) = (request.snapshot.clone(), group.to_string());
                open.remote
                    .call(move |host| async move { host.prepare(&id, &group) })
            }))
            .await;
            for one in placed {
                outcome = outcome.and(
                    one.map_err(NodeError::from)
                        .and_then(|done| done.map_err(NodeError::from)),
                );
            }
        }
        // Always: a member that failed must not keep the others' guests waiting for the lease.
        let released = join_all(
            members
                .values()
                .map(|(open, _)| open.remote.call(|host| async move { host.release_acks() })),
        )
        .await;
        outcome?;
        let late = released.into_iter().any(|held| !matches!(held, Ok(true)));
        if late && !mutant::on("node-group-ignores-lease") {
            let message = format!(
                "the disks of group {group} could not be marked at one moment within {} ms",
                LEASE.as_millis()
            );
            return Err(NodeError::new(NodeErrorKind::Busy, message));
        }
        let durable = try_join_all(members.values().map(|(open, _)| async move {
            let durable = open
                .remote
                .call(|host| async move { host.prepared_durable().await });
            Ok::<_, NodeError>(durable.await??)
        }));
        durable.await.map(drop)
    }

    /// The decision: from here on the group exists.
    async fn decide_group(
        &self,
        group: &GroupId,
        members: &BTreeMap<DiskId, (Arc<Disk>, MarkRequest)>,
    ) -> Result<(), NodeError> {
        let record = GroupRecord {
            members: members
                .iter()
                .map(|(disk, (_, request))| (disk.clone(), request.snapshot.clone()))
                .collect(),
        };
        let id = group.clone();
        self.shared
            .vault
            .call(move |host| async move { host.decide_group(&id, &record).await })
            .await?
    }

    /// In the background: a member whose log has the decision leaves the group's record.
    fn forget_decided(
        &self,
        group: &GroupId,
        disk: &DiskId,
        open: &Disk,
        decided: crate::disk::DecisionTicket,
    ) {
        let (group, disk, remote) = (group.clone(), disk.clone(), open.remote.clone());
        self.shared.vault.cast(move |host| async move {
            let durable = remote.call(move |disk| async move { disk.decision_durable(decided).await });
            // A disk that stopped meanwhile settles this when it is opened again.
            if let Ok(Ok(())) = durable.await
                && let Err(e) = host.leave_group(&group, &disk).await
            {
                tracing::warn!(%group, %disk, error = %e, "a group's record could not be updated; that is tried again when the disk is opened");
            }
        });
    }
}
