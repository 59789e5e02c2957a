//! Codes of the actions that make, move and change disks.

use super::How::{Ask, State, Twice};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_disks() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[
    (
        "CreateDisk",
        &[
            (400, "MissingParameter", Ask("ZoneId={zone}")),
            (400, "InvalidSize.ValueNotSupported", Ask("{essd}&Size=65537")),
            (
                400,
                "InvalidDiskCategory.ValueNotSupported",
                Ask("ZoneId={zone}&DiskCategory=tape&Size=20"),
            ),
            (
                400,
                "InvalidPerformanceLevel.Malformed",
                Ask("{essd}&Size=20&PerformanceLevel=PL9"),
            ),
            (
                400,
                "InvalidDiskName.Malformed",
                Ask("{essd}&Size=20&DiskName=http://x"),
            ),
            (
                400,
                "InvalidDescription.Malformed",
                Ask("{essd}&Size=20&Description=http://x"),
            ),
            (
                400,
                "Duplicate.TagKey",
                Ask("{essd}&Size=20&Tag.1.Key=a&Tag.2.Key=a"),
            ),
            (
                400,
                "InvalidTagKey.Malformed",
                Ask("{essd}&Size=20&Tag.1.Key=acs:x"),
            ),
            (
                400,
                "InvalidTagValue.Malformed",
                Ask("{essd}&Size=20&Tag.1.Key=a&Tag.1.Value=http://x"),
            ),
            (
                400,
                "InvalidParameter.EncryptedIllegal",
                Ask("{essd}&Size=20&KMSKeyId=k"),
            ),
            (
                400,
                "InvalidParameter.Encrypted",
                Ask("{essd}&Size=20&Encrypted=true"),
            ),
            (
                400,
                "ProvisionedIopsForDiskCategoryUnsupported",
                Ask("{essd}&Size=20&ProvisionedIops=9"),
            ),
            (
                400,
                "InvalidProvisionedIops.LimitExceed",
                Ask("ZoneId={zone}&DiskCategory=cloud_auto&Size=20&ProvisionedIops=50001"),
            ),
            (
                400,
                "BurstingEnabledForDiskCategoryUnsupported",
                Ask("{essd}&Size=20&BurstingEnabled=true"),
            ),
            (
                400,
                "InvalidStorageSetId.NotFound",
                Ask("{essd}&Size=20&StorageSetId=ss-x"),
            ),
            (
                403,
                "OperationDenied.PerformanceLevelNotMatch",
                Ask("{essd}&Size=20&PerformanceLevel=PL2"),
            ),
            (403, "QuotaExceed.Tags", Ask("{essd}&Size=20&{tags21}")),
            (
                403,
                "InvalidSnapshotId.NotReady",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "{essd}&SnapshotId={s}",
                ),
            ),
            (
                403,
                "OperationDenied.SnapshotNotAllowed",
                State(
                    "UPDATE snapshots SET status = 'failed' WHERE id = '{s}'",
                    "{essd}&SnapshotId={s}",
                ),
            ),
            (
                403,
                "InvalidEncrypted.NotMatchSnapshot",
                State(
                    "UPDATE snapshots SET encrypted = 1 WHERE id = '{s}'",
                    "{essd}&SnapshotId={s}&Encrypted=false",
                ),
            ),
            (
                403,
                "InvalidParam.ZoneIdAndInstanceId.Conflict",
                Ask("{essd}&Size=20&InstanceId={i}"),
            ),
            (403, "InvalidPayMethod", Ask("InstanceId={i}&Size=20")),
            (
                403,
                "LastTokenProcessing",
                Twice(
                    "{essd}&Size=20&ClientToken=t",
                    "UPDATE client_tokens SET processing = 1",
                    "{essd}&Size=20&ClientToken=t",
                ),
            ),
            (
                403,
                "IdempotentParameterMismatch",
                Twice("{essd}&Size=20&ClientToken=t", "", "{essd}&Size=21&ClientToken=t"),
            ),
            (
                403,
                "InvalidParameter.MultiAttach",
                Ask("{essd}&Size=20&MultiAttach=Enabled"),
            ),
            (
                404,
                "InvalidRegionId.NotFound",
                Ask("RegionId=cn-nowhere&{essd}&Size=20"),
            ),
            (404, "InvalidZoneId.NotFound", Ask("ZoneId={farzone}&Size=20")),
            (404, "InvalidSnapshotId.NotFound", Ask("{essd}&SnapshotId=s-none")),
            (
                404,
                "InvalidResourceGroup.NotFound",
                Ask("{essd}&Size=20&ResourceGroupId=rg-x"),
            ),
            (
                404,
                "InvalidStorageClusterId.NotExist",
                Ask("{essd}&Size=20&StorageClusterId=dbsc-x"),
            ),
        ],
    ),
    (
        "DeleteDisk",
        &[
            (
                400,
                "InvalidRegionId.MalFormed",
                Ask("RegionId=cn-nowhere&DiskId={free}"),
            ),
            (403, "IncorrectDiskStatus", Ask("DiskId={d}")),
            (
                403,
                "DiskCreatingSnapshot",
                State(
                    "UPDATE snapshots SET source_disk_id = '{free}', status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "DiskId={free}",
                ),
            ),
            (404, "InvalidDiskId.NotFound", Ask("DiskId=d-none")),
        ],
    ),
    (
        "AttachDisk",
        &[
            (
                400,
                "IncorrectInstanceStatus",
                State(
                    "UPDATE instances SET status = 'Starting' WHERE id = '{i}'",
                    "InstanceId={i}&DiskId={free}",
                ),
            ),
            (
                400,
                "InvalidDevice.Malformed",
                Ask("InstanceId={i}&DiskId={free}&Device=/dev/xvda"),
            ),
            (
                400,
                "InvalidParameter",
                Ask("InstanceId={i}&DiskId={free}&Password=short"),
            ),
            (
                400,
                "InvalidRegionId.MalFormed",
                Ask("RegionId=cn-nowhere&InstanceId={i}&DiskId={free}"),
            ),
            (
                400,
                "InvalidDisk.DiskNotBootable",
                Ask("InstanceId={j}&DiskId={free}&Bootable=true&KeyPairName=k"),
            ),
            (
                400,
                "InvalidInstance.NotOriginInstance",
                State(
                    "UPDATE disks SET origin_instance_id = 'i-other' WHERE id = '{free}'",
                    "InstanceId={j}&DiskId={free}&Bootable=true&KeyPairName=k",
                ),
            ),
            (
                403,
                "InvalidDevice.InUse",
                Ask("InstanceId={i}&DiskId={free}&Device=/dev/xvdb"),
            ),
            (
                403,
                "InvalidParameter.AllEmpty",
                Ask("InstanceId={j}&DiskId={free}&Bootable=true"),
            ),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'Creating' WHERE id = '{free}'",
                    "InstanceId={i}&DiskId={free}",
                ),
            ),
            (403, "DiskError", State("{lost}", "InstanceId={i}&DiskId=d-lost")),
            (
                403,
                "InstanceDiskLimitExceeded",
                State(
                    "UPDATE disks SET instance_id = '{i}', device = '/dev/xvdc', status = 'In_use' WHERE id = '{new}'",
                    "InstanceId={i}&DiskId={free}",
                ),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}&DiskId={free}",
                ),
            ),
            (
                403,
                "ResourcesNotInSameZone",
                State(
                    "UPDATE disks SET zone = 'cn-hangzhou-z' WHERE id = '{free}'",
                    "InstanceId={i}&DiskId={free}",
                ),
            ),
            (
                404,
                "InvalidInstanceId.NotFound",
                Ask("InstanceId=i-none&DiskId={free}"),
            ),
            (404, "InvalidDiskId.NotFound", Ask("InstanceId={i}&DiskId=d-none")),
            (404, "InvalidDisk.InUse", Ask("InstanceId={j}&DiskId={d}")),
        ],
    ),
    (
        "DetachDisk",
        &[
            (
                400,
                "InvalidParameter",
                Ask("InstanceId={i}&DiskId={d}&DeleteWithInstance=perhaps"),
            ),
            (
                400,
                "InvalidRegionId.MalFormed",
                Ask("RegionId=cn-nowhere&InstanceId={i}&DiskId={d}"),
            ),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'ReIniting' WHERE id = '{d}'",
                    "InstanceId={i}&DiskId={d}",
                ),
            ),
            (403, "IncorrectInstanceStatus", Ask("InstanceId={i}&DiskId={sys}")),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}&DiskId={d}",
                ),
            ),
            (403, "DependencyViolation", Ask("InstanceId={j}&DiskId={d}")),
            (
                403,
                "InvalidOperation.DiskDetachingFromThisEcs",
                State(
                    "UPDATE disks SET status = 'Detaching' WHERE id = '{d}'",
                    "InstanceId={i}&DiskId={d}",
                ),
            ),
            (
                404,
                "InvalidInstanceId.NotFound",
                Ask("InstanceId=i-none&DiskId={d}"),
            ),
            (404, "InvalidDiskId.NotFound", Ask("InstanceId={i}&DiskId=d-none")),
            (
                404,
                "InvalidDisk.AlreadyDetached",
                Ask("InstanceId={i}&DiskId={free}"),
            ),
        ],
    ),
    (
        "ResizeDisk",
        &[
            (400, "InvalidParam.Type", Ask("DiskId={d}&NewSize=30&Type=soon")),
            (
                400,
                "InvalidRegionId.MalFormed",
                Ask("RegionId=cn-nowhere&DiskId={d}&NewSize=30"),
            ),
            (
                400,
                "InvalidSystemDiskSize.ValueNotSupported",
                Ask("DiskId={sys}&NewSize=2049"),
            ),
            (
                400,
                "InvalidDisk.DetachedSystemDisk",
                State(
                    "UPDATE disks SET status = 'Available', instance_id = NULL WHERE id = '{sys}'",
                    "DiskId={sys}&NewSize=30",
                ),
            ),
            (
                400,
                "IdempotentParameterMismatch",
                Twice(
                    "DiskId={d}&NewSize=30&ClientToken=t",
                    "",
                    "DiskId={d}&NewSize=31&ClientToken=t",
                ),
            ),
            (403, "InvalidDiskSize", Ask("DiskId={d}&NewSize=20")),
            (403, "InvalidDiskSize.TooSmall", Ask("DiskId={d}&NewSize=19")),
            (403, "InvalidDiskSize.TooLarge", Ask("DiskId={d}&NewSize=65537")),
            (
                403,
                "DiskCreatingSnapshot",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "DiskId={d}&NewSize=30",
                ),
            ),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'ReIniting' WHERE id = '{d}'",
                    "DiskId={d}&NewSize=30",
                ),
            ),
            (
                403,
                "IncorrectInstanceStatus",
                State(
                    "UPDATE instances SET status = 'Starting' WHERE id = '{i}'",
                    "DiskId={d}&NewSize=30",
                ),
            ),
            (403, "DiskError", State("{lost}", "DiskId=d-lost&NewSize=30")),
            (
                403,
                "InvalidInstanceStatus.NotRunning",
                Ask("DiskId={jd}&NewSize=30&Type=online"),
            ),
            (
                403,
                "Operation.Conflict",
                State(
                    "INSERT INTO jobs VALUES (9001, 'resize_disk', '{d}', '{d}', 'not a size', 0, '', 0)",
                    "DiskId={d}&NewSize=30",
                ),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "DiskId={d}&NewSize=30",
                ),
            ),
            (404, "InvalidDiskId.NotFound", Ask("DiskId=d-none&NewSize=30")),
        ],
    ),
    (
        "ModifyDiskAttribute",
        &[
            (400, "MissingParameter.DiskIdOrDiskIds", Ask("DiskName=ab")),
            (
                400,
                "ParameterConflict.DiskIdAndDiskIds",
                Ask("DiskId={d}&DiskIds.1={d}&DiskName=ab"),
            ),
            (400, "NoAttributeToModify", Ask("DiskId={d}")),
            (
                400,
                "InvalidDiskName.Malformed",
                Ask("DiskId={d}&DiskName=http://x"),
            ),
            (
                400,
                "InvalidRegionId.MalFormed",
                Ask("RegionId=cn-nowhere&DiskId={d}&DiskName=ab"),
            ),
            (
                400,
                "BurstingEnabledForDiskCategoryUnsupported",
                Ask("DiskId={d}&BurstingEnabled=true"),
            ),
            (404, "InvalidDiskId.NotFound", Ask("DiskId=d-none&DiskName=ab")),
            (
                404,
                "InvalidDescription.Malformed",
                Ask("DiskId={d}&Description=http://x"),
            ),
        ],
    ),
];
