//! The state machines of all resources: which states there are, and who may cause which transition.
//!
//! Every status that is ever written comes out of one of the tables below, through
//! [`Machine::next`]; there is no other way to change one. `None` stands for "does not exist": the left
//! one for before, the right one for gone. Sources: ecs-api.md 3.7 (instance), 3.4 (disk), 3.1 (snapshot), 3.6 (image).
//! Not here: the other conditions of an action (quotas, related resources) and its error codes.

use crate::store::{StoreError, StoreErrorKind};
use crate::words::words;
use std::fmt;

words! {
    /// An instance's state.
    InstanceStatus {
        /// Being made.
        Pending = "Pending",
        /// Its disks are being exported.
        Starting = "Starting",
        /// Its disks are exported.
        Running = "Running",
        /// Its disks are being withdrawn.
        Stopping = "Stopping",
        /// No disk is exported.
        Stopped = "Stopped",
    }
}

words! {
    /// A disk's state.
    DiskStatus {
        /// Being made.
        Creating = "Creating",
        /// Attached to nothing.
        Available = "Available",
        /// On its way to an instance.
        Attaching = "Attaching",
        /// Attached.
        InUse = "In_use",
        /// On its way from an instance.
        Detaching = "Detaching",
        /// Being rolled back.
        ReIniting = "ReIniting",
        /// On its way out; never listed.
        Deleting = "Deleting",
    }
}

words! {
    /// A snapshot's state.
    SnapshotStatus {
        /// Marked, being captured.
        Progressing = "progressing",
        /// Complete.
        Accomplished = "accomplished",
        /// Never to be complete.
        Failed = "failed",
        /// On its way out; never listed.
        Deleting = "deleting",
    }
}

words! {
    /// An image's state.
    ImageStatus {
        /// Its snapshots are being made.
        Creating = "Creating",
        /// Instances can be made of it.
        Available = "Available",
        /// One of its snapshots was not to be.
        CreateFailed = "CreateFailed",
        /// Whole, and not to be used for new instances.
        Deprecated = "Deprecated",
    }
}

words! {
    /// Who changes an image's state.
    ImageCause {
        /// The action.
        CreateImage = "CreateImage",
        /// All its snapshots are complete.
        Ready = "ready",
        /// One of its snapshots failed or was cancelled.
        Failed = "failed",
        /// A crash came before all its snapshots were marked, so nobody knows of it.
        NotMarked = "not marked",
        /// ModifyImageAttribute, Status=Deprecated.
        Deprecate = "Deprecated",
        /// ModifyImageAttribute, Status=Available.
        Restore = "Available again",
        /// The action.
        DeleteImage = "DeleteImage",
    }
}

words! {
    /// Who changes an instance's state.
    InstanceCause {
        /// The action.
        RunInstances = "RunInstances",
        /// The action.
        CreateInstance = "CreateInstance",
        /// Its disks are there, and nobody has asked to start it.
        Created = "created",
        /// Its disks are there.
        DisksReady = "disks ready",
        /// A disk could not be made.
        RunFailed = "disks failed",
        /// The action.
        StartInstance = "StartInstance",
        /// All disks are exported.
        Started = "started",
        /// A disk cannot be exported.
        StartFailed = "start failed",
        /// The action.
        StopInstance = "StopInstance",
        /// The action, with ForceStop.
        ForceStop = "StopInstance with ForceStop",
        /// No disk is exported any more.
        StopDone = "stopped",
        /// The guest that we ran has shut down by itself, or crashed.
        GuestEnded = "guest ended",
        /// The action.
        RebootInstance = "RebootInstance",
        /// The action.
        DeleteInstance = "DeleteInstance",
        /// The action, with Force; or AutoReleaseTime is over.
        ForceDelete = "DeleteInstance with Force",
    }
}

words! {
    /// Who changes a disk's state.
    DiskCause {
        /// The action.
        CreateDisk = "CreateDisk",
        /// The action.
        RunInstances = "RunInstances",
        /// The volume is there.
        Created = "created",
        /// The volume of a new instance's disk is there.
        CreatedAttached = "created with its instance",
        /// The volume could not be made.
        CreateFailed = "creation failed",
        /// The action.
        AttachDisk = "AttachDisk",
        /// Exported, if the instance runs.
        Attached = "attached",
        /// It could not be exported.
        AttachFailed = "attach failed",
        /// The action.
        DetachDisk = "DetachDisk",
        /// Not exported any more.
        Detached = "detached",
        /// The guest that uses it does not let go of it.
        DetachFailed = "detach failed",
        /// The action.
        ResetDisk = "ResetDisk",
        /// The action.
        ReInitDisk = "ReInitDisk",
        /// The action: the disk that comes.
        ReplaceSystemDisk = "ReplaceSystemDisk",
        /// Another disk has taken its place.
        Replaced = "replaced",
        /// Rolled back, or not, on an attached disk.
        ResetDoneInUse = "reset ended while attached",
        /// Rolled back, or not, on an unattached disk.
        ResetDoneAvailable = "reset ended while not attached",
        /// Its instance went and takes it along.
        ReleasedWithInstance = "DeleteInstance with DeleteWithInstance",
        /// Its instance went and leaves it.
        KeptAfterInstance = "DeleteInstance without DeleteWithInstance",
        /// The action.
        DeleteDisk = "DeleteDisk",
        /// The volume is gone.
        Deleted = "deleted",
    }
}

words! {
    /// Who changes a snapshot's state.
    SnapshotCause {
        /// The action.
        CreateSnapshot = "CreateSnapshot",
        /// A policy's slot.
        Scheduled = "scheduled",
        /// The action, or a policy.
        CopySnapshot = "CopySnapshot",
        /// The vault has it, and the catalogue is made again from there.
        Rebuilt = "rebuilt",
        /// The mark could not be made, or a crash came before it.
        NotMarked = "not marked",
        /// The node has everything in the vault.
        Captured = "captured",
        /// The node gave up.
        CaptureFailed = "capture failed",
        /// The action.
        DeleteSnapshot = "DeleteSnapshot",
        /// Its retention is over.
        Expired = "expired",
        /// A newer automatic snapshot took its place in the quota.
        Replaced = "replaced",
        /// The node has let go of it.
        Deleted = "deleted",
    }
}

/// One allowed transition.
#[derive(Clone, Copy, Debug)]
pub struct Transition<S, C> {
    from: Option<S>,
    by: C,
    to: Option<S>,
}

/// A table of allowed transitions.
#[derive(Debug)]
pub struct Machine<S: 'static, C: 'static> {
    resource: &'static str,
    table: &'static [Transition<S, C>],
}

impl<S: Copy + PartialEq + fmt::Display, C: Copy + PartialEq + fmt::Display> Machine<S, C> {
    /// Whether `by` may happen in state `from`.
    pub fn allows(&self, from: S, by: C) -> bool {
        self.row(Some(from), by).is_some()
    }

    /// The state that a new resource starts in.
    pub fn birth(&self, by: C) -> Result<S, StoreError> {
        self.row(None, by)
            .and_then(|row| row.to)
            .ok_or_else(|| self.forbidden("nothing", by))
    }

    /// The state after `by`; `None`: gone. An error is a bug in the caller, which has to ask
    /// [`Machine::allows`] first.
    pub fn next(&self, from: S, by: C) -> Result<Option<S>, StoreError> {
        self.row(Some(from), by)
            .map(|row| row.to)
            .ok_or_else(|| self.forbidden(from, by))
    }

    fn row(&self, from: Option<S>, by: C) -> Option<&Transition<S, C>> {
        self.table.iter().find(|row| row.from == from && row.by == by)
    }

    fn forbidden(&self, from: impl fmt::Display, by: C) -> StoreError {
        let cause = format!("{by} is not allowed in state {from}");
        StoreError::new(
            StoreErrorKind::Constraint,
            format!("transition of a {}", self.resource),
            cause,
        )
    }
}

/// A row: `from ? by => to`.
macro_rules! table {
    ($( $from:expr, $by:expr => $to:expr; )*) => {
        &[ $( Transition { from: $from, by: $by, to: $to } ),* ]
    };
}

/// Instances (ecs-api.md 3.7).
pub static INSTANCE: Machine<InstanceStatus, InstanceCause> = {
    use InstanceCause as C;
    use InstanceStatus::*;
    Machine {
        resource: "instance",
        table: table! {
            None, C::RunInstances => Some(Pending);
            None, C::CreateInstance => Some(Pending);
            Some(Pending), C::Created => Some(Stopped);
            Some(Pending), C::DisksReady => Some(Starting);
            Some(Pending), C::RunFailed => None;
            Some(Stopped), C::StartInstance => Some(Starting);
            Some(Starting), C::Started => Some(Running);
            Some(Starting), C::StartFailed => Some(Stopped);
            Some(Running), C::StopInstance => Some(Stopping);
            Some(Running), C::ForceStop => Some(Stopping);
            Some(Starting), C::ForceStop => Some(Stopping);
            Some(Running), C::GuestEnded => Some(Stopping);
            Some(Stopping), C::StopDone => Some(Stopped);
            Some(Running), C::RebootInstance => Some(Starting);
            Some(Stopped), C::DeleteInstance => None;
            Some(Stopped), C::ForceDelete => None;
            Some(Running), C::ForceDelete => None;
        },
    }
};

/// Disks (ecs-api.md 3.4).
pub static DISK: Machine<DiskStatus, DiskCause> = {
    use DiskCause as C;
    use DiskStatus::*;
    Machine {
        resource: "disk",
        table: table! {
            None, C::CreateDisk => Some(Creating);
            None, C::RunInstances => Some(Creating);
            None, C::ReplaceSystemDisk => Some(Creating);
            Some(Creating), C::Created => Some(Available);
            Some(Creating), C::CreatedAttached => Some(InUse);
            Some(Creating), C::CreateFailed => None;
            Some(Available), C::AttachDisk => Some(Attaching);
            Some(Attaching), C::Attached => Some(InUse);
            Some(Attaching), C::AttachFailed => Some(Available);
            Some(InUse), C::DetachDisk => Some(Detaching);
            Some(Detaching), C::Detached => Some(Available);
            Some(Detaching), C::DetachFailed => Some(InUse);
            Some(InUse), C::ResetDisk => Some(ReIniting);
            Some(InUse), C::ReInitDisk => Some(ReIniting);
            Some(Available), C::ResetDisk => Some(ReIniting);
            Some(ReIniting), C::ResetDoneInUse => Some(InUse);
            Some(ReIniting), C::ResetDoneAvailable => Some(Available);
            Some(InUse), C::ReleasedWithInstance => Some(Deleting);
            Some(InUse), C::Replaced => Some(Deleting);
            Some(InUse), C::KeptAfterInstance => Some(Detaching);
            Some(Available), C::DeleteDisk => Some(Deleting);
            Some(Deleting), C::Deleted => None;
        },
    }
};

/// Images (ecs-api.md 3.6).
pub static IMAGE: Machine<ImageStatus, ImageCause> = {
    use ImageCause as C;
    use ImageStatus::*;
    Machine {
        resource: "image",
        table: table! {
            None, C::CreateImage => Some(Creating);
            Some(Creating), C::Ready => Some(Available);
            Some(Creating), C::Failed => Some(CreateFailed);
            Some(Creating), C::NotMarked => None;
            Some(Available), C::Deprecate => Some(Deprecated);
            Some(Deprecated), C::Deprecate => Some(Deprecated);
            Some(Deprecated), C::Restore => Some(Available);
            Some(Available), C::Restore => Some(Available);
            Some(Available), C::DeleteImage => None;
            Some(CreateFailed), C::DeleteImage => None;
            Some(Deprecated), C::DeleteImage => None;
        },
    }
};

/// Snapshots (ecs-api.md 3.1).
pub static SNAPSHOT: Machine<SnapshotStatus, SnapshotCause> = {
    use SnapshotCause as C;
    use SnapshotStatus::*;
    Machine {
        resource: "snapshot",
        table: table! {
            None, C::CreateSnapshot => Some(Progressing);
            None, C::Scheduled => Some(Progressing);
            None, C::CopySnapshot => Some(Progressing);
            None, C::Rebuilt => Some(Accomplished);
            Some(Progressing), C::NotMarked => None;
            Some(Progressing), C::Captured => Some(Accomplished);
            Some(Progressing), C::CaptureFailed => Some(Failed);
            Some(Progressing), C::DeleteSnapshot => Some(Deleting);
            Some(Accomplished), C::DeleteSnapshot => Some(Deleting);
            Some(Failed), C::DeleteSnapshot => Some(Deleting);
            Some(Accomplished), C::Expired => Some(Deleting);
            Some(Failed), C::Expired => Some(Deleting);
            Some(Accomplished), C::Replaced => Some(Deleting);
            Some(Deleting), C::Deleted => None;
        },
    }
};

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pair that is not in the list is refused.
    fn only<S, C>(machine: &Machine<S, C>, states: &[S], causes: &[C], user: &[C], allowed: &[(&str, &str)])
    where
        S: Copy + PartialEq + fmt::Display,
        C: Copy + PartialEq + fmt::Display,
    {
        for state in states {
            for cause in causes.iter().filter(|cause| user.contains(cause)) {
                let pair = (state.to_string(), cause.to_string());
                let expected = allowed.contains(&(&*pair.0, &*pair.1));
                assert_eq!(machine.allows(*state, *cause), expected, "{pair:?}");
            }
        }
    }

    #[test]
    fn users_may_do_to_a_disk_what_the_contract_lists() {
        use DiskCause::*;
        only(
            &DISK,
            DiskStatus::ALL,
            DiskCause::ALL,
            &[
                CreateDisk, AttachDisk, DetachDisk, ResetDisk, ReInitDisk, DeleteDisk,
            ],
            &[
                ("Available", "AttachDisk"),
                ("In_use", "DetachDisk"),
                ("In_use", "ResetDisk"),
                ("In_use", "ReInitDisk"),
                ("Available", "ResetDisk"),
                ("Available", "DeleteDisk"),
            ],
        );
    }

    #[test]
    fn users_may_do_to_an_instance_what_the_contract_lists() {
        use InstanceCause::*;
        only(
            &INSTANCE,
            InstanceStatus::ALL,
            InstanceCause::ALL,
            &[
                RunInstances,
                StartInstance,
                StopInstance,
                ForceStop,
                RebootInstance,
                DeleteInstance,
                ForceDelete,
            ],
            &[
                ("Stopped", "StartInstance"),
                ("Running", "StopInstance"),
                ("Running", "StopInstance with ForceStop"),
                ("Starting", "StopInstance with ForceStop"),
                ("Running", "RebootInstance"),
                ("Stopped", "DeleteInstance"),
                ("Stopped", "DeleteInstance with Force"),
                ("Running", "DeleteInstance with Force"),
            ],
        );
    }

    #[test]
    fn a_snapshot_in_progress_never_expires_but_can_be_cancelled() {
        assert!(!SNAPSHOT.allows(SnapshotStatus::Progressing, SnapshotCause::Expired));
        assert!(!SNAPSHOT.allows(SnapshotStatus::Progressing, SnapshotCause::Replaced));
        assert!(SNAPSHOT.allows(SnapshotStatus::Progressing, SnapshotCause::DeleteSnapshot));
        assert!(!SNAPSHOT.allows(SnapshotStatus::Deleting, SnapshotCause::DeleteSnapshot));
    }

    /// A state from which nothing leads on would strand a resource for ever.
    #[test]
    fn every_state_can_be_left_and_reached() {
        fn walk<S: Copy + PartialEq + fmt::Display, C: Copy>(machine: &Machine<S, C>, states: &[S]) {
            for state in states {
                assert!(
                    machine.table.iter().any(|row| row.from == Some(*state)),
                    "{state} cannot be left"
                );
                assert!(
                    machine.table.iter().any(|row| row.to == Some(*state)),
                    "{state} cannot be reached"
                );
            }
        }
        walk(&INSTANCE, InstanceStatus::ALL);
        walk(&DISK, DiskStatus::ALL);
        walk(&SNAPSHOT, SnapshotStatus::ALL);
        walk(&IMAGE, ImageStatus::ALL);
    }

    #[test]
    fn a_forbidden_transition_names_itself() {
        let error = DISK
            .next(DiskStatus::Creating, DiskCause::DeleteDisk)
            .expect_err("forbidden");
        assert!(
            error
                .to_string()
                .contains("DeleteDisk is not allowed in state Creating"),
            "{error}"
        );
    }
}
