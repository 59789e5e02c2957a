//! What an action answers when the node cannot do what it asks. A node without room is not easily made, so the words are checked here.

use super::{create_disk, create_snapshot, replace_system_disk, resize_disk, run_instances};
use tidemark_ecs::ApiError;
use tidemark_node::{NodeError, NodeErrorKind};

#[test]
fn each_action_has_its_own_code_for_what_the_node_says() {
    let disk: fn(&NodeError) -> ApiError = create_disk::refusal;
    for (refusal, kind, status, code) in [
        (disk, NodeErrorKind::Full, 400, "QuotaExceed.DiskCapacity"),
        (
            disk,
            NodeErrorKind::Missing,
            403,
            "OperationDenied.SnapshotNotAllowed",
        ),
        (disk, NodeErrorKind::Invalid, 400, "InvalidSize.ValueNotSupported"),
        (disk, NodeErrorKind::Other, 500, "InternalError"),
        (
            resize_disk::refusal,
            NodeErrorKind::Full,
            400,
            "QuotaExceed.DiskCapacity",
        ),
        (resize_disk::refusal, NodeErrorKind::Missing, 403, "DiskError"),
        (
            replace_system_disk::refusal,
            NodeErrorKind::Full,
            500,
            "OperationDenied",
        ),
        (
            replace_system_disk::refusal,
            NodeErrorKind::Corrupt,
            403,
            "OperationDenied.ImageNotValid",
        ),
        (
            replace_system_disk::refusal,
            NodeErrorKind::Other,
            500,
            "InternalError",
        ),
        (
            run_instances::refusal,
            NodeErrorKind::Full,
            403,
            "OperationDenied.NoStock",
        ),
        (
            run_instances::refusal,
            NodeErrorKind::Corrupt,
            403,
            "OperationDenied.SnapshotNotAllowed",
        ),
        (run_instances::refusal, NodeErrorKind::Other, 500, "InternalError"),
        (
            create_snapshot::refusal,
            NodeErrorKind::Full,
            400,
            "CreateSnapshot.Failed",
        ),
        (
            create_snapshot::refusal,
            NodeErrorKind::Poisoned,
            403,
            "IncorrectDiskStatus.Invalid",
        ),
    ] {
        let message = "as the node has it".to_owned();
        let error = refusal(&NodeError { kind, message });
        assert_eq!((error.status, error.code.as_ref()), (status, code), "{kind:?}");
    }
}
