//! Codes of the actions that give a disk other content.

use super::How::{Ask, State, Twice};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_other_content() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[
    (
        "ResetDisk",
        &[
            (
                400,
                "InvalidRegionId.MalFormed",
                Ask("RegionId=cn-nowhere&DiskId={jd}&SnapshotId={js}"),
            ),
            (
                400,
                "DryRunOperation",
                Ask("DiskId={jd}&SnapshotId={js}&DryRun=true"),
            ),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'Attaching' WHERE id = '{jd}'",
                    "DiskId={jd}&SnapshotId={js}",
                ),
            ),
            (
                403,
                "IncorrectDiskStatus.HasUnfinishedSnapshot",
                State(
                    "UPDATE snapshots SET source_disk_id = '{jd}', status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "DiskId={jd}&SnapshotId={js}",
                ),
            ),
            (
                403,
                "InvalidOperation.DiskResetInProgress",
                State(
                    "UPDATE disks SET status = 'ReIniting' WHERE id = '{jd}'",
                    "DiskId={jd}&SnapshotId={js}",
                ),
            ),
            (403, "IncorrectInstanceStatus", Ask("DiskId={d}&SnapshotId={s}")),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{j}'",
                    "DiskId={jd}&SnapshotId={js}",
                ),
            ),
            (
                403,
                "InvalidParameter.Mismatch",
                Ask("DiskId={jd}&SnapshotId={s}"),
            ),
            (
                403,
                "InvalidSnapshotId.NotReady",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{js}'",
                    "DiskId={jd}&SnapshotId={js}",
                ),
            ),
            (
                403,
                "OperationDenied",
                State(
                    "UPDATE snapshots SET status = 'failed' WHERE id = '{js}'",
                    "DiskId={jd}&SnapshotId={js}",
                ),
            ),
            (
                404,
                "InvalidDiskId.NotFound",
                Ask("DiskId=d-none&SnapshotId={js}"),
            ),
            (
                404,
                "InvalidSnapshotId.NotFound",
                Ask("DiskId={jd}&SnapshotId=s-none"),
            ),
        ],
    ),
    (
        "ResetDisks",
        &[
            (
                400,
                "InvalidParameter",
                Ask("Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}&Disk.2.DiskId={jd}&Disk.2.SnapshotId={js}"),
            ),
            (400, "MissingParameter", Ask("DryRun=true")),
            (
                400,
                "DryRunOperation",
                Ask("Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}&DryRun=true"),
            ),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'Attaching' WHERE id = '{jd}'",
                    "Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}",
                ),
            ),
            (
                403,
                "IncorrectDiskStatus.HasUnfinishedSnapshot",
                State(
                    "UPDATE snapshots SET source_disk_id = '{jd}', status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}",
                ),
            ),
            (
                403,
                "InvalidOperation.DiskResetInProgress",
                State(
                    "UPDATE disks SET status = 'ReIniting' WHERE id = '{jd}'",
                    "Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}",
                ),
            ),
            (
                403,
                "IncorrectInstanceStatus",
                Ask("Disk.1.DiskId={d}&Disk.1.SnapshotId={s}"),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{j}'",
                    "Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}",
                ),
            ),
            (
                403,
                "InvalidParameter.Mismatch",
                Ask("Disk.1.DiskId={jd}&Disk.1.SnapshotId={s}"),
            ),
            (
                403,
                "InvalidSnapshotId.NotReady",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{js}'",
                    "Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}",
                ),
            ),
            (
                403,
                "OperationDenied",
                State(
                    "UPDATE snapshots SET status = 'failed' WHERE id = '{js}'",
                    "Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}",
                ),
            ),
            (
                404,
                "InvalidDiskId.NotFound",
                Ask("Disk.1.DiskId=d-none&Disk.1.SnapshotId={js}"),
            ),
            (
                404,
                "InvalidSnapshotId.NotFound",
                Ask("Disk.1.DiskId={jd}&Disk.1.SnapshotId=s-none"),
            ),
            (
                400,
                "InvalidRegionId.MalFormed",
                Ask("RegionId=cn-nowhere&Disk.1.DiskId={jd}&Disk.1.SnapshotId={js}"),
            ),
        ],
    ),
    (
        "ReInitDisk",
        &[
            (
                400,
                "InvalidPassword.Malformed",
                Ask("DiskId={jsys}&Password=short"),
            ),
            (
                400,
                "InvalidKeyPairName.NotFound",
                Ask("DiskId={jsys}&KeyPairName=none"),
            ),
            (
                400,
                "InvalidRegionId.MalFormed",
                Ask("RegionId=cn-nowhere&DiskId={jd}"),
            ),
            (403, "IncorrectDiskStatus", Ask("DiskId={free}")),
            (403, "IncorrectInstanceStatus", Ask("DiskId={d}")),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{j}'",
                    "DiskId={jd}",
                ),
            ),
            (
                403,
                "DiskCreatingSnapshot",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{js}'",
                    "DiskId={jd}",
                ),
            ),
            (
                403,
                "OperationDenied",
                State(
                    "{lost} UPDATE disks SET instance_id = '{j}', device = '/dev/xvdf', status = 'In_use' WHERE id = 'd-lost'",
                    "DiskId=d-lost",
                ),
            ),
            (
                403,
                "InvalidSourceSnapshot",
                State(
                    "UPDATE disks SET source_snapshot_id = 's-gone' WHERE id = '{jd}'",
                    "DiskId={jd}",
                ),
            ),
            (404, "InvalidDiskId.NotFound", Ask("DiskId=d-none")),
            (
                404,
                "InvalidDiskId.OperationNotSupported",
                State(
                    "UPDATE disks SET image_id = 'm-gone' WHERE id = '{jsys}'",
                    "DiskId={jsys}",
                ),
            ),
        ],
    ),
    (
        "ReplaceSystemDisk",
        &[
            (400, "MissingParameter", Ask("InstanceId={j}")),
            (
                400,
                "InvalidSystemDiskSize.ValueNotSupported",
                Ask("InstanceId={j}&ImageId={m}&SystemDisk.Size=large"),
            ),
            (
                400,
                "InvalidPassword.Malformed",
                Ask("InstanceId={j}&ImageId={m}&Password=short"),
            ),
            (
                400,
                "InvalidKeyPairName.NotFound",
                Ask("InstanceId={j}&ImageId={m}&KeyPairName=none"),
            ),
            (
                400,
                "InvalidPasswordParam.Mismatch",
                Ask("InstanceId={j}&ImageId={m}&Password=Secret123&PasswordInherit=true"),
            ),
            (
                400,
                "OperationDenied",
                State(
                    "INSERT INTO image_disks VALUES ('x', '{m}', 'data', '/dev/xvdb', '', 20)",
                    "InstanceId={j}&ImageId={m}",
                ),
            ),
            (
                400,
                "InvalidInstance.NotFoundSystemDisk",
                State(
                    "UPDATE disks SET instance_id = NULL, status = 'Available' WHERE id = '{jsys}'",
                    "InstanceId={j}&ImageId={m}",
                ),
            ),
            (403, "IncorrectInstanceStatus", Ask("InstanceId={i}&ImageId={m}")),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'ReIniting' WHERE id = '{jsys}'",
                    "InstanceId={j}&ImageId={m}",
                ),
            ),
            (
                403,
                "DiskCreatingSnapshot",
                State(
                    "UPDATE snapshots SET source_disk_id = '{jsys}', status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "InstanceId={j}&ImageId={m}",
                ),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{j}'",
                    "InstanceId={j}&ImageId={m}",
                ),
            ),
            (
                403,
                "OperationDenied.ImageNotValid",
                State(
                    "UPDATE images SET status = 'Deprecated'",
                    "InstanceId={j}&ImageId={m}",
                ),
            ),
            (
                404,
                "InvalidInstanceId.NotFound",
                Ask("InstanceId=i-none&ImageId={m}"),
            ),
            (
                404,
                "InvalidImageId.NotFound",
                Ask("InstanceId={j}&ImageId=m-none"),
            ),
            (
                404,
                "InvalidSystemDiskSize.LessThanImageSize",
                State(
                    "UPDATE image_disks SET size_gib = 60",
                    "InstanceId={j}&ImageId={m}&SystemDisk.Size=50",
                ),
            ),
            (
                404,
                "InvalidSystemDiskSize.LessThanMinSize",
                Ask("InstanceId={j}&ImageId={m}&SystemDisk.Size=0"),
            ),
            (
                404,
                "InvalidSystemDiskSize.MoreThanMaxSize",
                Ask("InstanceId={j}&ImageId={m}&SystemDisk.Size=2049"),
            ),
            // These replace the disk of the stage for good.
            (
                400,
                "IdempotentParameterMismatch",
                Twice(
                    "InstanceId={j}&ImageId={m}&ClientToken=t",
                    "",
                    "InstanceId={j}&ImageId={m}&SystemDisk.Size=50&ClientToken=t",
                ),
            ),
            (
                403,
                "LastTokenProcessing",
                Twice(
                    "InstanceId={j}&ImageId={m}&ClientToken=t",
                    "UPDATE client_tokens SET processing = 1",
                    "InstanceId={j}&ImageId={m}&ClientToken=t",
                ),
            ),
        ],
    ),
];
