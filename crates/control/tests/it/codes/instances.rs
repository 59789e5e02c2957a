//! Codes of the actions about instances.

use super::How::{Ask, State, Twice};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_instances() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[
    (
        "RunInstances",
        &[
            (400, "MissingParameter", Ask("InstanceType=ecs.g6.large")),
            (
                400,
                "InvalidInstanceType.ValueNotSupported",
                Ask("InstanceType=ecs.g6.large&ImageId={m}"),
            ),
            (
                400,
                "InvalidInstanceName.Malformed",
                Ask("{run}&InstanceName=http://x"),
            ),
            (400, "InvalidHostName.Malformed", Ask("{run}&HostName=-x")),
            (
                400,
                "InvalidDescription.Malformed",
                Ask("{run}&Description=http://x"),
            ),
            (400, "InvalidPassword.Malformed", Ask("{run}&Password=short")),
            (
                400,
                "InvalidPasswordParam.Mismatch",
                Ask("{run}&Password=Secret123&KeyPairName=k"),
            ),
            (
                400,
                "InvalidDiskName.Malformed",
                Ask("{run}&SystemDisk.DiskName=http://x"),
            ),
            (
                400,
                "InvalidDiskDescription.Malformed",
                Ask("{run}&SystemDisk.Description=http://x"),
            ),
            (
                400,
                "InvalidSystemDiskCategory.ValueNotSupported",
                Ask("{run}&SystemDisk.Category=tape"),
            ),
            (
                400,
                "InvalidSystemDiskSize.ValueNotSupported",
                Ask("{run}&SystemDisk.Size=2049"),
            ),
            (
                400,
                "InvalidDataDiskCategory.ValueNotSupported",
                Ask("{run}&DataDisk.1.Size=20&DataDisk.1.Category=tape"),
            ),
            (
                400,
                "InvalidDataDiskSize.ValueNotSupported",
                Ask("{run}&DataDisk.1.Size=19"),
            ),
            (
                400,
                "InvalidDataDevice.Malformed",
                Ask("{run}&DataDisk.1.Size=20&DataDisk.1.Device=/dev/xvda"),
            ),
            (400, "InstanceDiskNumber.LimitExceed", Ask("{run}&{data17}")),
            (
                400,
                "InvalidUserData.SizeExceeded",
                Ask("{run}&UserData={userdata}"),
            ),
            (400, "InvalidUserData.NotSupported", Ask("{run}&UserData=%")),
            (
                400,
                "InvalidHttpEndpoint.NotSupported",
                Ask("{run}&HttpEndpoint=maybe"),
            ),
            (
                400,
                "InvalidHttpTokens.NotSupported",
                Ask("{run}&HttpTokens=maybe"),
            ),
            (
                400,
                "InvalidHttpPutResponseHopLimit.NotSupported",
                Ask("{run}&HttpPutResponseHopLimit=65"),
            ),
            (
                400,
                "InvalidMinAmount.Malformed",
                Ask("{run}&Amount=1&MinAmount=2"),
            ),
            (
                400,
                "InvalidAutoReleaseTime.Malformed",
                Ask("{run}&AutoReleaseTime=tomorrow"),
            ),
            (
                400,
                "InvalidPrivateIpAddress",
                Ask("{run}&Amount=2&PrivateIpAddress=10.0.0.1"),
            ),
            (
                400,
                "InvalidPrivateIpAddress.Malformed",
                Ask("{run}&PrivateIpAddress=ten"),
            ),
            (
                400,
                "InvalidClientToken.ValueNotSupported",
                Ask("{run}&ClientToken={long}"),
            ),
            (400, "Duplicate.TagKey", Ask("{run}&Tag.1.Key=a&Tag.2.Key=a")),
            (400, "InvalidTagKey.Malformed", Ask("{run}&Tag.1.Key=acs:x")),
            (
                400,
                "InvalidTagValue.Malformed",
                Ask("{run}&Tag.1.Key=a&Tag.1.Value=http://x"),
            ),
            (
                400,
                "IdempotentParameterMismatch",
                Twice("{run}&ClientToken=t", "", "{run}&Amount=2&ClientToken=t"),
            ),
            (400, "DryRunOperation", Ask("{run}&DryRun=true")),
            (
                401,
                "InvalidRamRole.NotEcsRole",
                State(
                    "INSERT INTO ram_roles SELECT 'r', account, 'plain', '', \
                     '{\"Version\":\"1\",\"Statement\":{\"Effect\":\"Allow\",\"Action\":\"sts:AssumeRole\",\"Principal\":{\"RAM\":\"acs:ram::1:root\"}}}', \
                     3600, 0 FROM instances WHERE id = '{i}'",
                    "{run}&RamRoleName=plain",
                ),
            ),
            (403, "InvalidParam.Amount", Ask("{run}&Amount=101")),
            (
                403,
                "LastTokenProcessing",
                Twice(
                    "{run}&ClientToken=t",
                    "UPDATE client_tokens SET processing = 1",
                    "{run}&ClientToken=t",
                ),
            ),
            (
                403,
                "InvalidSnapshotId.NotReady",
                State(
                    "UPDATE snapshots SET status = 'progressing', marked = 0 WHERE id = '{s}'",
                    "{run}&DataDisk.1.SnapshotId={s}",
                ),
            ),
            (
                403,
                "OperationDenied.SnapshotNotAllowed",
                State(
                    "UPDATE snapshots SET status = 'failed' WHERE id = '{s}'",
                    "{run}&DataDisk.1.SnapshotId={s}",
                ),
            ),
            (
                403,
                "InvalidDevice.InUse",
                Ask(
                    "{run}&DataDisk.1.Size=20&DataDisk.1.Device=/dev/xvdb&DataDisk.2.Size=20&DataDisk.2.Device=/dev/xvdb",
                ),
            ),
            (
                403,
                "OperationDenied.ImageNotValid",
                State("UPDATE images SET status = 'Deprecated'", "{run}&ImageId={m}"),
            ),
            (403, "QuotaExceed.Tags", Ask("{run}&{tags21}")),
            (403, "InvalidPayMethod", Ask("{run}&InstanceChargeType=PrePaid")),
            (404, "InvalidImageId.NotFound", Ask("{run}&ImageId=m-none")),
            (404, "InvalidZoneId.NotFound", Ask("{run}&ZoneId={farzone}")),
            (
                404,
                "InvalidDataDiskSnapshotId.NotFound",
                Ask("{run}&DataDisk.1.SnapshotId=s-none"),
            ),
            (
                404,
                "InvalidSystemDiskSize.LessThanImageSize",
                State(
                    "UPDATE image_disks SET size_gib = 60",
                    "{run}&ImageId={m}&SystemDisk.Size=50",
                ),
            ),
            (
                404,
                "InvalidSystemDiskSize.LessThanMinSize",
                Ask("{run}&SystemDisk.Size=19"),
            ),
            (
                404,
                "InvalidResourceGroup.NotFound",
                Ask("{run}&ResourceGroupId=rg-x"),
            ),
            (404, "InvalidRamRole.NotFound", Ask("{run}&RamRoleName=none")),
            (404, "InvalidKeyPairName.NotFound", Ask("{run}&KeyPairName=none")),
            (
                404,
                "InvalidLaunchTemplate.NotFound",
                Ask("{run}&LaunchTemplateId=lt-x"),
            ),
            (
                404,
                "InvalidInstanceChargeType.NotFound",
                Ask("{run}&InstanceChargeType=Free"),
            ),
            (
                404,
                "InvalidAutoSnapshotPolicyId.NotFound",
                Ask("{run}&SystemDisk.AutoSnapshotPolicyId=sp-none"),
            ),
            (404, "InvalidRegionId.NotFound", Ask("RegionId=cn-nowhere&{run}")),
        ],
    ),
    (
        "StartInstance",
        &[
            (
                400,
                "InvalidInstance.NotFoundSystemDisk",
                State(
                    "UPDATE disks SET instance_id = NULL, status = 'Available' WHERE id = '{jsys}'",
                    "InstanceId={j}",
                ),
            ),
            (400, "DryRunOperation", Ask("InstanceId={j}&DryRun=true")),
            (403, "IncorrectInstanceStatus", Ask("InstanceId={i}")),
            (
                403,
                "DiskError",
                State(
                    "{lost} UPDATE disks SET instance_id = '{j}', device = '/dev/xvdf', status = 'In_use' WHERE id = 'd-lost'",
                    "InstanceId={j}",
                ),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{j}'",
                    "InstanceId={j}",
                ),
            ),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
        ],
    ),
    (
        "StopInstance",
        &[
            (400, "DryRunOperation", Ask("InstanceId={i}&DryRun=true")),
            (403, "IncorrectInstanceStatus", Ask("InstanceId={j}")),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}",
                ),
            ),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
        ],
    ),
    (
        "RebootInstance",
        &[
            (400, "DryRunOperation", Ask("InstanceId={i}&DryRun=true")),
            (403, "IncorrectInstanceStatus", Ask("InstanceId={j}")),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}",
                ),
            ),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
        ],
    ),
    (
        "DeleteInstance",
        &[
            (400, "InvalidParameter", Ask("InstanceId={j}&Force=perhaps")),
            (400, "DryRunOperation", Ask("InstanceId={j}&DryRun=true")),
            (403, "IncorrectInstanceStatus", Ask("InstanceId={i}")),
            (
                403,
                "InvalidOperation.DeletionProtection",
                State(
                    "UPDATE instances SET deletion_protection = 1 WHERE id = '{j}'",
                    "InstanceId={j}",
                ),
            ),
            (
                403,
                "IncorrectInstanceStatus.Initializing",
                State(
                    "UPDATE instances SET status = 'Pending' WHERE id = '{j}'",
                    "InstanceId={j}",
                ),
            ),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
            (
                409,
                "OperationConflict",
                State(
                    "UPDATE disks SET status = 'Detaching' WHERE id = '{jd}'",
                    "InstanceId={j}",
                ),
            ),
        ],
    ),
    (
        "DeleteInstances",
        &[
            (400, "DryRunOperation", Ask("InstanceId.1={j}&DryRun=true")),
            (
                403,
                "IncorrectInstanceStatus",
                Ask("InstanceId.1={j}&InstanceId.2={i}"),
            ),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId.1=i-none")),
        ],
    ),
];
