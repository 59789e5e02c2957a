//! Codes of the actions about one snapshot.

use super::How::{Ask, State, Twice};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_snapshots() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[
    (
        "CreateSnapshot",
        &[
            (
                400,
                "InvalidSnapshotName.Malformed",
                Ask("DiskId={d}&SnapshotName=auto_x"),
            ),
            (
                404,
                "InvalidDescription.Malformed",
                Ask("DiskId={d}&Description=http://x"),
            ),
            (
                400,
                "InvalidRetentionDays.Malformed",
                Ask("DiskId={d}&RetentionDays=65537"),
            ),
            (
                400,
                "IncorrectInstanceStatus",
                State(
                    "UPDATE instances SET status = 'Starting' WHERE id = '{i}'",
                    "DiskId={d}",
                ),
            ),
            (400, "Duplicate.TagKey", Ask("DiskId={d}&Tag.1.Key=a&Tag.2.Key=a")),
            (400, "InvalidTagKey.Malformed", Ask("DiskId={d}&Tag.1.Key=acs:x")),
            (
                400,
                "InvalidTagValue.Malformed",
                Ask("DiskId={d}&Tag.1.Key=a&Tag.1.Value=http://x"),
            ),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'ReIniting' WHERE id = '{d}'",
                    "DiskId={d}",
                ),
            ),
            (
                403,
                "IncorrectDiskStatus.CreatingSnapshot",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "DiskId={d}",
                ),
            ),
            (
                403,
                "IncorrectDiskStatus.Invalid",
                State("{lost}", "DiskId=d-lost"),
            ),
            (
                400,
                "CreateSnapshot.Failed",
                State(
                    "{lost} UPDATE disks SET id = 'no id' WHERE id = 'd-lost'",
                    "DiskId=no id",
                ),
            ),
            (403, "IncorrectDiskStatus.NeverAttached", Ask("DiskId={new}")),
            (
                403,
                "QuotaExceed.Snapshot",
                State("UPDATE snapshots SET source_disk_id = '{d}'", "DiskId={d}"),
            ),
            (403, "QuotaExceed.Tags", Ask("DiskId={d}&{tags21}")),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "DiskId={d}",
                ),
            ),
            (
                403,
                "IdempotentParameterMismatch",
                Twice("DiskId={d}&ClientToken=t", "", "DiskId={free}&ClientToken=t"),
            ),
            (
                403,
                "IdempotentProcessing",
                Twice(
                    "DiskId={d}&ClientToken=t",
                    "UPDATE client_tokens SET processing = 1",
                    "DiskId={d}&ClientToken=t",
                ),
            ),
            (
                403,
                "InvalidClientToken.Malformed",
                Ask("DiskId={d}&ClientToken={long}"),
            ),
            (
                403,
                "InvalidSnapshotCategory.Malformed",
                Ask("DiskId={d}&Category=Slow"),
            ),
            (
                403,
                "InvalidCategoryAndInstantAccess.Malformed",
                Ask("DiskId={d}&Category=Flash&InstantAccess=true"),
            ),
            (
                403,
                "InvalidInstantAccessRetentionDays.Malformed",
                Ask("DiskId={d}&InstantAccess=true&InstantAccessRetentionDays=0"),
            ),
            (404, "InvalidDiskId.NotFound", Ask("DiskId=d-none")),
            (
                404,
                "InvalidResourceGroup.NotFound",
                Ask("DiskId={d}&ResourceGroupId=rg-x"),
            ),
        ],
    ),
    (
        "DeleteSnapshot",
        &[
            (400, "MissingParameter", Ask("Force=true")),
            (403, "SnapshotCreatedImage", Ask("SnapshotId={jss}&Force=true")),
            (
                403,
                "SnapshotCreatedDisk",
                State(
                    "UPDATE disks SET source_snapshot_id = '{s}' WHERE id = '{free}'",
                    "SnapshotId={s}",
                ),
            ),
            (
                403,
                "Operation.Conflict",
                State(
                    "UPDATE disks SET source_snapshot_id = '{s}', status = 'Creating' WHERE id = '{new}'",
                    "SnapshotId={s}&Force=true",
                ),
            ),
            (
                403,
                "InvalidOperation.SnapshotLocked",
                State(
                    "INSERT INTO snapshot_locks VALUES ('{s}', 'a', 9, 0, 1, 1, 1, 99999999999999)",
                    "SnapshotId={s}&Force=true",
                ),
            ),
            (404, "InvalidSnapshotId.NotFound", Ask("SnapshotId=s-none")),
        ],
    ),
    (
        "ModifySnapshotAttribute",
        &[
            (
                400,
                "InvalidSnapshotName.Malformed",
                Ask("SnapshotId={s}&SnapshotName=auto_x"),
            ),
            (
                400,
                "InvalidRetentionDays.Malformed",
                Ask("SnapshotId={s}&RetentionDays=0"),
            ),
            (400, "NoAttributeToModify", Ask("SnapshotId={s}")),
            (
                400,
                "InvalidOperation.DecreaseRetentionDaysUnsupported",
                Ask("SnapshotId={s}&RetentionDays=9"),
            ),
            (
                400,
                "InvalidSnapshotId.NotReady",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "SnapshotId={s}&RetentionDays=9",
                ),
            ),
            (
                404,
                "InvalidDescription.Malformed",
                Ask("SnapshotId={s}&Description=http://x"),
            ),
            (
                404,
                "InvalidSnapshotId.NotFound",
                Ask("SnapshotId=s-none&SnapshotName=ab"),
            ),
            (
                404,
                "InvalidSnapshotDisableInstantAccess.Malformed",
                Ask("SnapshotId={s}&DisableInstantAccess=perhaps"),
            ),
        ],
    ),
    (
        "ModifySnapshotCategory",
        &[
            (
                400,
                "InvalidParameter.SnapshotCategory",
                Ask("SnapshotId={s}&Category=Cold"),
            ),
            (
                400,
                "InvalidRetentionDays.Malformed",
                Ask("SnapshotId={s}&Category=Archive&RetentionDays=73"),
            ),
            (
                400,
                "UnsupportedOperation",
                Ask("SnapshotId={s}&Category=Archive"),
            ),
            (
                404,
                "InvalidSnapshotId.NotFound",
                Ask("SnapshotId=s-none&Category=Archive"),
            ),
        ],
    ),
    (
        "LockSnapshot",
        &[
            (
                400,
                "InvalidLockMode.Malformed",
                Ask("SnapshotId={s}&LockMode=soft&LockDuration=1&CoolOffPeriod=0"),
            ),
            (
                400,
                "InvalidLockDuration.ExceedRetentionDays",
                State(
                    "UPDATE snapshots SET retention_days = 1, expires_ms = created_ms + 86400000 WHERE id = '{s}'",
                    "SnapshotId={s}&LockMode=compliance&LockDuration=2&CoolOffPeriod=0",
                ),
            ),
            (
                400,
                "InvalidCoolOffPeriod.ExceedLockDuration",
                Ask("SnapshotId={s}&LockMode=compliance&LockDuration=1&CoolOffPeriod=24"),
            ),
            (
                400,
                "IdempotentParameterMismatch",
                Twice(
                    "SnapshotId={s}&LockMode=compliance&LockDuration=1&CoolOffPeriod=1&ClientToken=t",
                    "",
                    "SnapshotId={s}&LockMode=compliance&LockDuration=2&CoolOffPeriod=1&ClientToken=t",
                ),
            ),
            (
                400,
                "DryRunOperation",
                Ask("SnapshotId={s}&LockMode=compliance&LockDuration=1&CoolOffPeriod=0&DryRun=true"),
            ),
            (
                403,
                "InvalidOperation.SnapshotNotAvailable",
                State(
                    "UPDATE snapshots SET status = 'failed' WHERE id = '{s}'",
                    "SnapshotId={s}&LockMode=compliance&LockDuration=1&CoolOffPeriod=0",
                ),
            ),
            (
                403,
                "InvalidOperation.CoolOffPeriodExpired",
                Twice(
                    "SnapshotId={s}&LockMode=compliance&LockDuration=2&CoolOffPeriod=0",
                    "",
                    "SnapshotId={s}&LockMode=compliance&LockDuration=1&CoolOffPeriod=0",
                ),
            ),
            (
                404,
                "InvalidSnapshotId.NotFound",
                Ask("SnapshotId=s-none&LockMode=compliance&LockDuration=1&CoolOffPeriod=0"),
            ),
        ],
    ),
    (
        "UnlockSnapshot",
        &[
            (
                400,
                "DryRunOperation",
                State(
                    "INSERT INTO snapshot_locks VALUES ('{s}', 'a', 9, 9, 1, 99999999999998, 1, 99999999999999)",
                    "SnapshotId={s}&DryRun=true",
                ),
            ),
            (
                403,
                "InvalidOperation.CoolOffPeriodExpired",
                State(
                    "INSERT INTO snapshot_locks VALUES ('{s}', 'a', 9, 0, 1, 1, 1, 99999999999999)",
                    "SnapshotId={s}",
                ),
            ),
            (404, "InvalidSnapshotId.NotFound", Ask("SnapshotId=s-none")),
            (404, "InvalidSnapshotLock.NotFound", Ask("SnapshotId={s}")),
        ],
    ),
];
