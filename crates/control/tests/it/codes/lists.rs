//! Codes of the actions that list, and of tasks.

use super::How::{Ask, State};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_lists() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[
    (
        "DescribeSnapshots",
        &[
            (400, "InvalidTag.Mismatch", Ask("Tag.1.Value=v")),
            (400, "InvalidTagCount", Ask("{tags21}")),
            (400, "DryRunOperation", Ask("DryRun=true")),
            (403, "InvalidSnapshotIds.Malformed", Ask("SnapshotIds={json101}")),
            (403, "InvalidSnapshotCategory.Malformed", Ask("Category=Cold")),
            (
                404,
                "InvalidFilterKey.NotFound",
                Ask("Filter.1.Key=Size&Filter.1.Value=1"),
            ),
            (
                404,
                "InvalidFilterValue",
                Ask("Filter.1.Key=CreationStartTime&Filter.1.Value=noon"),
            ),
            (404, "InvalidUsage", Ask("Usage=tape")),
            (404, "InvalidSourceDiskType", Ask("SourceDiskType=tape")),
            (404, "InvalidStatus.NotFound", Ask("Status=done")),
            (404, "InvalidSnapshotType.NotFound", Ask("SnapshotType=odd")),
            (404, "InvalidSnapshotLinkId.NotFound", Ask("SnapshotLinkId=[sl-")),
            (404, "InvalidRegionId.NotFound", Ask("RegionId=cn-nowhere")),
        ],
    ),
    (
        "DescribeDisks",
        &[
            (400, "InvalidDiskType.ValueNotSupported", Ask("DiskType=tape")),
            (400, "InvalidCategory.ValueNotSupported", Ask("Category=tape")),
            (400, "InvalidStatus.ValueNotSupported", Ask("Status=done")),
            (400, "InvalidTag.Mismatch", Ask("Tag.1.Value=v")),
            (400, "InvalidTagCount", Ask("{tags21}")),
            (400, "InvalidRegion.NotFound", Ask("RegionId=cn-nowhere")),
            (400, "InvalidZoneId.NotFound", Ask("ZoneId={farzone}")),
            (400, "MissingParamter.RegionId", Ask("RegionId=")),
            (400, "InvalidParameter.DiskIds", Ask("DiskIds=d-1")),
            (400, "DryRunOperation", Ask("DryRun=true")),
            (403, "InvalidDiskIds.Malformed", Ask("DiskIds={json101}")),
            (404, "InvalidDiskChargeType.NotFound", Ask("DiskChargeType=Free")),
            (404, "InvalidLockReason.NotFound", Ask("LockReason=none")),
        ],
    ),
    (
        "DescribeImages",
        &[
            (
                400,
                "InvalidImageOwnerAlias.ValueNotSupported",
                Ask("ImageOwnerAlias=nobody"),
            ),
            (
                400,
                "InvalidImageOwnerAlias.PublicImageUnsupported",
                Ask("IsPublic=true"),
            ),
            (400, "InvalidParamter", Ask("ActionType=Look")),
            (400, "InvalidTag.Mismatch", Ask("Tag.1.Value=v")),
            (400, "InvalidTagCount", Ask("{tags21}")),
            (
                400,
                "InvalidInstanceType.ValueNotSupported",
                Ask("InstanceType=ecs.g6.large"),
            ),
            (
                400,
                "InvalidFilterValue.NetworkType",
                Ask("Filter.1.Key=NetworkType&Filter.1.Value=token-ring"),
            ),
            (400, "DryRunOperation", Ask("DryRun=true")),
            (
                404,
                "InvalidFilterKey.NotFound",
                Ask("Filter.1.Key=Size&Filter.1.Value=1"),
            ),
            (
                404,
                "InvalidFilterValue",
                Ask("Filter.1.Key=CreationStartTime&Filter.1.Value=noon"),
            ),
            (404, "InvalidUsage", Ask("Usage=tape")),
            (404, "InvalidOSType", Ask("OSType=vms")),
            (404, "InvalidArchitecture", Ask("Architecture=vax")),
        ],
    ),
    (
        "DescribeInstances",
        &[
            (400, "InvalidTag.Mismatch", Ask("Tag.1.Value=v")),
            (400, "InvalidTagCount", Ask("{tags21}")),
            (400, "DryRunOperation", Ask("DryRun=true")),
            (
                404,
                "InvalidInstanceChargeType.NotFound",
                Ask("InstanceChargeType=Free"),
            ),
            (
                404,
                "InvalidInternetChargeType.ValueNotSupported",
                Ask("InternetChargeType=Free"),
            ),
            (404, "InvalidLockReason.NotFound", Ask("LockReason=none")),
            (
                404,
                "InvalidFilterKey.NotFound",
                Ask("Filter.1.Key=Size&Filter.1.Value=1"),
            ),
            (
                404,
                "InvalidNetworkType.NotFound",
                Ask("InstanceNetworkType=token-ring"),
            ),
            (404, "InvalidStatus.NotFound", Ask("Status=done")),
        ],
    ),
    (
        "DescribeSnapshotLinks",
        &[
            (400, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
            (400, "InvalidRegionId", Ask("RegionId=cn-nowhere")),
            (400, "InvalidSnapshotLinkIds", Ask("SnapshotLinkIds={json101}")),
            (400, "InvalidDiskIds", Ask("DiskIds={json101}")),
        ],
    ),
    (
        "DescribeSnapshotsUsage",
        &[(403, "InvalidParam.RegionId", Ask("RegionId=cn-nowhere"))],
    ),
    (
        "DescribeSnapshotMonitorData",
        &[
            (
                400,
                "InvalidStartTime.Malformed",
                Ask("StartTime=noon&EndTime=2026-01-01T00:00:00Z"),
            ),
            (
                400,
                "InvalidEndTime.Malformed",
                Ask("StartTime=2026-01-01T00:00:00Z&EndTime=noon"),
            ),
            (
                400,
                "InvalidPeriod.ValueNotSupported",
                Ask("StartTime=2026-01-01T00:00:00Z&EndTime=2026-01-01T00:01:00Z&Period=61"),
            ),
            (
                400,
                "InvalidStartTime.TooEarly",
                Ask("StartTime=2001-01-01T00:00:00Z&EndTime=2001-01-01T00:01:00Z"),
            ),
            (
                400,
                "InvalidParameter.TooManyDataQueried",
                Ask("StartTime=2001-01-01T00:00:00Z&EndTime=2026-01-01T00:01:00Z"),
            ),
        ],
    ),
    (
        "DescribeDiskMonitorData",
        &[
            (
                400,
                "InvalidStartTime.Malformed",
                Ask("DiskId={d}&StartTime=noon&EndTime=2026-01-01T00:00:00Z"),
            ),
            (
                400,
                "InvalidEndTime.Malformed",
                Ask("DiskId={d}&StartTime=2026-01-01T00:00:00Z&EndTime=noon"),
            ),
            (
                400,
                "InvalidPeriod.ValueNotSupported",
                Ask("DiskId={d}&StartTime=2026-01-01T00:00:00Z&EndTime=2026-01-01T00:01:00Z&Period=61"),
            ),
            (
                400,
                "InvalidStartTime.TooEarly",
                Ask("DiskId={d}&StartTime=2001-01-01T00:00:00Z&EndTime=2001-01-01T00:01:00Z"),
            ),
            (
                400,
                "InvalidParameter.TooManyDataQueried",
                Ask("DiskId={d}&StartTime=2001-01-01T00:00:00Z&EndTime=2026-01-01T00:01:00Z"),
            ),
            (
                404,
                "InvalidDiskId.NotFound",
                Ask("DiskId=d-none&StartTime=2096-01-01T00:00:00Z&EndTime=2096-01-01T00:01:00Z"),
            ),
        ],
    ),
    (
        "DescribeLockedSnapshots",
        &[(400, "InvalidLockStatus.Malformed", Ask("LockStatus=open"))],
    ),
    (
        "DescribeRegions",
        &[
            (404, "InvalidAcceptLanguage.NotFound", Ask("AcceptLanguage=tlh")),
            (404, "InvalidResourceType.NotFound", Ask("ResourceType=tape")),
        ],
    ),
    (
        "DescribeZones",
        &[
            (400, "InvalidSpotStrategy", Ask("SpotStrategy=Luck")),
            (404, "InvalidRegionId.NotFound", Ask("RegionId=cn-nowhere")),
            (
                404,
                "InvalidInstanceChargeType.NotFound",
                Ask("InstanceChargeType=Free"),
            ),
            (404, "InvalidAcceptLanguage.NotFound", Ask("AcceptLanguage=tlh")),
        ],
    ),
    (
        "DescribeTasks",
        &[
            (400, "MissingParameter", Ask("RegionId=")),
            (400, "InvalidRegionId.NotFound", Ask("RegionId=cn-nowhere")),
        ],
    ),
    (
        "CancelTask",
        &[
            (400, "MissingParameter", Ask("")),
            (
                400,
                "InvalidRegionId.NotFound",
                Ask("RegionId=cn-nowhere&TaskId=t-1"),
            ),
            (400, "InvalidTaskId.NotFound", Ask("TaskId=t-none")),
            (
                403,
                "InvalidTaskId.TaskActionNotSupport",
                State(
                    "INSERT INTO tasks SELECT 't-1', 1, account, region, 'ModifyDiskSpec', 'Processing', '', '', 0, 0, '', 1, NULL FROM disks LIMIT 1",
                    "TaskId=t-1",
                ),
            ),
            (
                403,
                "InvalidTaskId.IncorrectTaskStatus",
                State(
                    "INSERT INTO tasks SELECT 't-1', 1, account, region, 'ExportImage', 'Finished', '', '', 1, 0, '', 1, 1 FROM disks LIMIT 1",
                    "TaskId=t-1",
                ),
            ),
        ],
    ),
];
