//! Atomic snapshots of several disks: the coordinator (design 3.4).
//!
//! All members stop acknowledging, get a prepared mark a place in their logs, and go on; then the marks become durable, and
//! then the group's record, which is the decision. The argument for why no member has a write whose cause another member
//! lacks is in `tidemark_volume::group`. A guest waits for [`LEASE`] at most, whatever goes wrong. Until the decision any
//! failure voids the group on all members; after it the group exists, whatever happens, and the caller is told so.
//! What failed undoes what it did itself and nothing else: a group or a mark that was there before stays.

use super::{Disk, Node};
use crate::disk::DiskHost;
use crate::groups::GroupRecord;
use crate::notes::Note;
use crate::types::{MarkRequest, Marked, NodeError, NodeErrorKind};
use futures_util::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tidemark_env::mutant;
use tidemark_units::{DiskId, GroupId};
use tidemark_volume::Mark;

/// How long members may hold acknowledgements.
const LEASE: Duration = Duration::from_millis(20);

/// The disks of a group, in the order of their ids, and what is asked of each.
type Members = BTreeMap<DiskId, (Arc<Disk>, MarkRequest)>;

/// Asks all members the same at once; every answer is waited for.
async fn of_all<T, E, F, A>(members: &Members, ask: A) -> Vec<Result<T, NodeError>>
where
    T: Send + 'static,
    E: Send + 'static,
    NodeError: From<E>,
    F: Future<Output = Result<T, E>> + 'static,
    A: Fn(&MarkRequest, Rc<DiskHost>) -> F + Clone + Send + 'static,
{
    join_all(members.values().map(|(open, request)| {
        let (ask, request) = (ask.clone(), request.clone());
        let asked = open.remote.call(move |host| ask(&request, host));
        async move { Ok(asked.await??) }
    }))
    .await
}

impl Node {
    /// Marks several disks at one moment: what a guest wrote to one of them after it knew of a write to another is in no
    /// snapshot of the group without that other write. All snapshots are made, or none; an answer means that all
    /// are, durably. Asked again while all its marks wait for their captures, a group is answered as it was; ids
    /// that are used otherwise are refused, and nothing is touched. After an error [`Node::snapshot_status`] tells:
    /// no member is ever `Accomplished` without the others.
    pub async fn mark_group(
        &self,
        group: &GroupId,
        requests: Vec<(DiskId, MarkRequest)>,
    ) -> Result<Vec<Marked>, NodeError> {
        let order: Vec<DiskId> = requests.iter().map(|(disk, _)| disk.clone()).collect();
        let members = self.members_of(group, requests)?;
        // In the order of their ids: two groups that share disks cannot wait for each other.
        let mut changing = Vec::with_capacity(members.len());
        for (open, _) in members.values() {
            changing.push(open.changing.lock().await);
        }
        let marks = match self.marks_there(group, &members).await? {
            Some(marks) => marks,
            None => self.make_group(group, &members).await?,
        };
        let marks: BTreeMap<&DiskId, Mark> = members.keys().zip(marks).collect();
        let of = |disk: &DiskId| {
            marks.get(disk).map(|mark| Marked {
                lsn: mark.lsn,
                unix_millis: mark.unix_millis,
            })
        };
        Ok(order.iter().filter_map(of).collect())
    }

    /// Who is in the group; a disk or a snapshot that is named twice is refused.
    fn members_of(
        &self,
        group: &GroupId,
        requests: Vec<(DiskId, MarkRequest)>,
    ) -> Result<Members, NodeError> {
        let twice = |what: String| {
            let message = format!("{what} is named twice in group {group}");
            Err(NodeError::new(NodeErrorKind::Invalid, message))
        };
        if requests.is_empty() {
            let message = format!("group {group} has no disks");
            return Err(NodeError::new(NodeErrorKind::Invalid, message));
        }
        let (mut members, mut snapshots) = (Members::new(), BTreeSet::new());
        for (disk, request) in requests {
            if !snapshots.insert(request.snapshot.clone()) {
                return twice(format!("snapshot {}", request.snapshot));
            }
            let open = self.shared.disk(&disk)?;
            if members.insert(disk.clone(), (open, request)).is_some() {
                return twice(format!("disk {disk}"));
            }
        }
        Ok(members)
    }

    /// The members' marks if the group was made before; `None` if there is nothing of it.
    async fn marks_there(&self, group: &GroupId, members: &Members) -> Result<Option<Vec<Mark>>, NodeError> {
        let pending = of_all(members, |request, host| {
            let snapshot = request.snapshot.clone();
            async move {
                let pending = host.volume.pending_marks().into_iter();
                Ok::<_, NodeError>(pending.map(|p| p.mark).find(|mark| mark.snapshot == snapshot))
            }
        });
        let found: Vec<Option<Mark>> = pending.await.into_iter().collect::<Result<_, _>>()?;
        if let Some(marks) = found.iter().cloned().collect() {
            return Ok(Some(marks));
        }
        if let Some(used) = found.into_iter().flatten().next() {
            let message = format!(
                "snapshot {} is being made already, the others of group {group} are not: it cannot be part of it",
                used.snapshot
            );
            return Err(NodeError::new(NodeErrorKind::Invalid, message));
        }
        let id = group.clone();
        self.shared
            .vault
            .call(move |host| async move { host.check_group_is_new(&id).await })
            .await??;
        Ok(None)
    }

    /// From nothing to a group that exists, or back to nothing.
    async fn make_group(&self, group: &GroupId, members: &Members) -> Result<Vec<Mark>, NodeError> {
        let made = match self.prepare_group(group, members).await {
            Ok(marks) => self.decide_group(group, members).await.map(|()| marks),
            Err(e) => Err(e),
        };
        let marks = match made {
            Ok(marks) => marks,
            Err(e) => {
                let remotes = members
                    .values()
                    .map(|(open, request)| (open.remote.clone(), request.snapshot.clone()));
                let (group, remotes) = (group.clone(), remotes.collect());
                // Called and not waited for: the group is known to be on its way out before anybody can ask for it again.
                self.shared
                    .vault
                    .cast(move |host| host.void_group(group, remotes));
                return Err(e);
            }
        };
        // The group exists: a member that stopped a moment ago commits when it is opened again.
        let committed = of_all(members, |request, host| {
            let snapshot = request.snapshot.clone();
            async move { host.commit_prepared(&snapshot) }
        });
        for ((disk, (open, request)), committed) in members.iter().zip(committed.await) {
            match committed {
                Ok((decided, pending)) => {
                    self.start_capture(disk, &open.remote, pending);
                    self.forget_decided(group, disk, open, decided);
                }
                Err(e) => {
                    tracing::warn!(%group, %disk, snapshot = %request.snapshot, error = %e,
                        "the disk stopped after its group was made; its snapshot goes on when it is opened again");
                }
            }
        }
        Ok(marks)
    }

    /// Notes and prepared marks of all members, durable. A moment of all disks lies between the marks.
    async fn prepare_group(&self, group: &GroupId, members: &Members) -> Result<Vec<Mark>, NodeError> {
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
        let all = |done: Vec<Result<(), NodeError>>| done.into_iter().collect::<Result<(), _>>();
        let held = of_all(members, |_, host| async move { host.hold_acks(LEASE) });
        let mut outcome = all(held.await);
        if outcome.is_ok() {
            let id = group.to_string();
            let placed = of_all(members, move |request, host| {
                let (snapshot, group) = (request.snapshot.clone(), id.clone());
                async move { host.prepare(&snapshot, &group) }
            });
            outcome = all(placed.await);
        }
        // Always: a member that failed must not keep the others' guests waiting for the lease.
        let released = of_all(members, |_, host| async move {
            Ok::<_, NodeError>(host.release_acks())
        });
        let released = released.await;
        outcome?;
        let late = released.into_iter().any(|held| !matches!(held, Ok(true)));
        if late && !mutant::on("node-group-ignores-lease") {
            let message = format!(
                "the disks of group {group} could not be marked at one moment within {} ms",
                LEASE.as_millis()
            );
            return Err(NodeError::new(NodeErrorKind::Busy, message));
        }
        let durable = of_all(members, |request, host| {
            let snapshot = request.snapshot.clone();
            async move { host.prepared_durable(&snapshot).await }
        });
        durable.await.into_iter().collect()
    }

    /// The decision: from here on the group exists.
    async fn decide_group(&self, group: &GroupId, members: &Members) -> Result<(), NodeError> {
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
