//! Codes of the actions about one image.

use super::How::{Ask, State, Twice};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_images() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[
    (
        "CreateImage",
        &[
            (400, "MissingParameter", Ask("ImageName=ab")),
            (
                400,
                "InvalidImageName.Malformed",
                Ask("SnapshotId={ss}&ImageName=http://x"),
            ),
            (
                400,
                "InvalidImageName.Duplicated",
                Ask("SnapshotId={ss}&ImageName=taken"),
            ),
            (
                400,
                "InvalidImageFamily.Malformed",
                Ask("SnapshotId={ss}&ImageFamily=acs:x"),
            ),
            (
                400,
                "InvalidImageVersion.Malformed",
                Ask("SnapshotId={ss}&ImageVersion={long}"),
            ),
            (
                400,
                "InvalidDescription.Malformed",
                Ask("SnapshotId={ss}&Description=http://x"),
            ),
            (
                400,
                "InvalidDevice.Malformed",
                Ask("DiskDeviceMapping.1.SnapshotId={ss}&DiskDeviceMapping.1.Device=/dev/sda"),
            ),
            (
                400,
                "InvalidDevice.InUse",
                Ask("DiskDeviceMapping.1.Device=/dev/xvdb&DiskDeviceMapping.2.Device=/dev/xvdb"),
            ),
            (
                400,
                "InvalidSize.ValueNotSupported",
                Ask("DiskDeviceMapping.1.SnapshotId={ss}&DiskDeviceMapping.1.Size=19"),
            ),
            (
                400,
                "InvalidDiskType.ValueNotSupported",
                Ask("DiskDeviceMapping.1.SnapshotId={ss}&DiskDeviceMapping.1.DiskType=tape"),
            ),
            (400, "OperationDenied", Ask("DiskDeviceMapping.1.SnapshotId={s}")),
            (
                400,
                "InvalidArchitecture.Malformed",
                Ask("SnapshotId={ss}&Architecture=vax"),
            ),
            (
                400,
                "InvalidPlatform.Malformed",
                Ask("SnapshotId={ss}&Platform=VMS"),
            ),
            (
                400,
                "InvalidBootMode.NotSupport",
                Ask("SnapshotId={ss}&BootMode=Tape"),
            ),
            (
                400,
                "InvalidParameter.FeaturesImdsSupport",
                Ask("SnapshotId={ss}&Features.ImdsSupport=v3"),
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
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}",
                ),
            ),
            (
                400,
                "InvalidInstance.NotFoundSystemDisk",
                State(
                    "UPDATE disks SET instance_id = NULL, status = 'Available' WHERE id = '{sys}'",
                    "InstanceId={i}",
                ),
            ),
            (
                400,
                "Duplicate.TagKey",
                Ask("SnapshotId={ss}&Tag.1.Key=a&Tag.2.Key=a"),
            ),
            (
                400,
                "InvalidTagKey.Malformed",
                Ask("SnapshotId={ss}&Tag.1.Key=acs:x"),
            ),
            (
                400,
                "InvalidTagValue.Malformed",
                Ask("SnapshotId={ss}&Tag.1.Key=a&Tag.1.Value=http://x"),
            ),
            (
                400,
                "IdempotenceParamNotMatch",
                Twice(
                    "SnapshotId={ss}&ImageName=one&ClientToken=t",
                    "",
                    "SnapshotId={ss}&ImageName=two&ClientToken=t",
                ),
            ),
            (400, "DryRunOperation", Ask("SnapshotId={ss}&DryRun=true")),
            (403, "QuotaExceed.Tags", Ask("SnapshotId={ss}&{tags21}")),
            (
                403,
                "QuotaExceed.Image",
                Twice("SnapshotId={ss}", "", "SnapshotId={ss}"),
            ),
            (403, "OperationDenied", Ask("SnapshotId={s}")),
            (
                403,
                "InvalidSnapshotId.NotReady",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{ss}'",
                    "SnapshotId={ss}",
                ),
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
                "IncorrectDiskStatus.Invalid",
                State(
                    "{lost} UPDATE disks SET instance_id = '{i}', device = '/dev/xvdf', status = 'In_use' WHERE id = 'd-lost'",
                    "InstanceId={i}",
                ),
            ),
            (
                403,
                "IncorrectDiskStatus.NeverAttached",
                State(
                    "UPDATE disks SET ever_attached = 0, instance_id = '{i}', status = 'In_use' WHERE id = '{new}'",
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
                "QuotaExceed.Snapshot",
                State("UPDATE snapshots SET source_disk_id = '{d}'", "InstanceId={i}"),
            ),
            (404, "InvalidSnapshotId.NotFound", Ask("SnapshotId=s-none")),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
            (
                404,
                "InvalidResourceGroup.NotFound",
                Ask("SnapshotId={ss}&ResourceGroupId=rg-x"),
            ),
        ],
    ),
    (
        "DeleteImage",
        &[
            (400, "DryRunOperation", Ask("ImageId={m}&DryRun=true")),
            (
                403,
                "ImageUsingByInstance",
                State(
                    "UPDATE instances SET image_id = '{m}' WHERE id = '{i}'",
                    "ImageId={m}",
                ),
            ),
            (
                403,
                "ImageUseShared",
                State(
                    "INSERT INTO image_shares VALUES ('{m}', '2000000000000002', 1)",
                    "ImageId={m}",
                ),
            ),
            (404, "InvalidImageId.NotFound", Ask("ImageId=m-none")),
        ],
    ),
];
