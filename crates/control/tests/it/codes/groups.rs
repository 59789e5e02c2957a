//! Codes of the actions about snapshot-consistent groups.

use super::How::{Ask, State, Twice};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_groups() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[
    (
        "CreateSnapshotGroup",
        &[
            (400, "MissingParamter.InstanceId", Ask("Name=ab")),
            (
                400,
                "InvalidParam.ExcludeDiskIdsAndDiskIds.Conflict",
                Ask("InstanceId={i}&DiskId.1={d}&ExcludeDiskId.1={sys}"),
            ),
            (
                400,
                "InvalidDiskIds.NotInSameZone",
                State(
                    "UPDATE disks SET zone = 'cn-hangzhou-z' WHERE id = '{d}'",
                    "DiskId.1={d}&DiskId.2={jd}",
                ),
            ),
            (400, "InvalidParameter.Name", Ask("InstanceId={i}&Name=http://x")),
            (
                400,
                "InvalidParameter.Description",
                Ask("InstanceId={i}&Description=http://x"),
            ),
            (
                400,
                "IncorrectInstanceStatus",
                State(
                    "UPDATE instances SET status = 'Starting' WHERE id = '{i}'",
                    "InstanceId={i}",
                ),
            ),
            (
                400,
                "Duplicate.TagKey",
                Ask("InstanceId={i}&Tag.1.Key=a&Tag.2.Key=a"),
            ),
            (
                400,
                "InvalidTagKey.Malformed",
                Ask("InstanceId={i}&Tag.1.Key=acs:x"),
            ),
            (
                400,
                "InvalidTagValue.Malformed",
                Ask("InstanceId={i}&Tag.1.Key=a&Tag.1.Value=http://x"),
            ),
            (
                400,
                "InvalidRetentionDays.Malformed",
                Ask("InstanceId={i}&InstantAccess=true&InstantAccessRetentionDays=0"),
            ),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'ReIniting' WHERE id = '{d}'",
                    "InstanceId={i}",
                ),
            ),
            (
                403,
                "IncorrectDiskStatus.CreatingSnapshot",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "InstanceId={i}",
                ),
            ),
            (
                403,
                "IncorrectDiskStatus.Invalid",
                State("{lost}", "DiskId.1=d-lost&DiskId.2={d}"),
            ),
            (
                403,
                "CreateSnapshot.Failed",
                State(
                    "{lost} UPDATE disks SET id = 'no id' WHERE id = 'd-lost'",
                    "DiskId.1=no id&DiskId.2={d}",
                ),
            ),
            (403, "IncorrectDiskStatus.NeverAttached", Ask("DiskId.1={new}")),
            (
                403,
                "InvalidInstance.NoDisk",
                Ask("InstanceId={i}&ExcludeDiskId.1={d}&ExcludeDiskId.2={sys}"),
            ),
            (
                403,
                "NumberExceed.TooManyDisks",
                Ask("DiskId.1={d}&DiskId.2={sys}&DiskId.3={jd}&DiskId.4={jsys}"),
            ),
            (
                403,
                "CapacityExceed.TooManyDisks",
                State(
                    "UPDATE disks SET size_gib = 40000 WHERE id = '{d}'",
                    "InstanceId={i}",
                ),
            ),
            (
                403,
                "QuotaExceed.Snapshot",
                State("UPDATE snapshots SET source_disk_id = '{d}'", "InstanceId={i}"),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}",
                ),
            ),
            (
                403,
                "IdempotentParameterMismatch",
                Twice("InstanceId={i}&ClientToken=t", "", "InstanceId={j}&ClientToken=t"),
            ),
            (
                403,
                "IdempotentProcessing",
                Twice(
                    "InstanceId={i}&ClientToken=t",
                    "UPDATE client_tokens SET processing = 1",
                    "InstanceId={i}&ClientToken=t",
                ),
            ),
            (
                403,
                "InvalidOperation.MultiAttachDisk",
                State(
                    "UPDATE disks SET multi_attach = 'Enabled' WHERE id = '{d}'",
                    "InstanceId={i}",
                ),
            ),
            (403, "QuotaExceed.Tags", Ask("InstanceId={i}&{tags21}")),
            (404, "InvalidDiskId.NotFound", Ask("DiskId.1=d-none")),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
            (
                404,
                "InvalidRegionId.NotFound",
                Ask("RegionId=cn-nowhere&InstanceId={i}"),
            ),
            (
                404,
                "InvalidResourceGroup.NotFound",
                Ask("InstanceId={i}&ResourceGroupId=rg-x"),
            ),
        ],
    ),
    (
        "DescribeSnapshotGroups",
        &[
            (400, "Duplicate.TagKey", Ask("Tag.1.Key=a&Tag.2.Key=a")),
            (400, "InvalidTagCount", Ask("{tags21}")),
            (403, "InvalidStatus.ValueNotSupported", Ask("Status.1=done")),
            (403, "InvalidSnapshotGroupId.MustBeOne", Ask("{groups11}")),
            (404, "InvalidRegionId.NotFound", Ask("RegionId=cn-nowhere")),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
        ],
    ),
    (
        "DeleteSnapshotGroup",
        &[
            (
                404,
                "InvalidRegionId.NotFound",
                Ask("RegionId=cn-nowhere&SnapshotGroupId={g}"),
            ),
            (
                404,
                "InvalidSnapshotGroup.NotFound",
                Ask("SnapshotGroupId=ssg-none"),
            ),
        ],
    ),
    (
        "ModifySnapshotGroup",
        &[
            (
                400,
                "InvalidParameter.Name",
                Ask("SnapshotGroupId={g}&Name=http://x"),
            ),
            (
                400,
                "InvalidParameter.Description",
                Ask("SnapshotGroupId={g}&Description=http://x"),
            ),
            (
                404,
                "InvalidRegionId.NotFound",
                Ask("RegionId=cn-nowhere&SnapshotGroupId={g}&Name=ab"),
            ),
            (
                404,
                "InvalidSnapshotGroup.NotFound",
                Ask("SnapshotGroupId=ssg-none&Name=ab"),
            ),
        ],
    ),
];
