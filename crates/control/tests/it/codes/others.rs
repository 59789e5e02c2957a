//! Codes of actions that the contract describes in a line each, without a table of codes: those that we chose after their likes.

use super::How::{Ask, State, Twice};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_the_other_actions() {
    super::check(TABLE).await;
}

const IMPORT: &str = "KeyPairName=k1&PublicKeyBody=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

pub(super) const TABLE: Table = &[
    (
        "CreateKeyPair",
        &[
            (400, "MissingParameter", Ask("ResourceGroupId=rg-default")),
            (400, "InvalidKeyPairName.Malformed", Ask("KeyPairName=1")),
            (
                400,
                "KeyPair.AlreadyExist",
                Twice("KeyPairName=k1", "", "KeyPairName=k1"),
            ),
            (
                403,
                "QuotaExceed.KeyPair",
                Twice("KeyPairName=k1", "", "KeyPairName=k2"),
            ),
            (403, "QuotaExceed.Tags", Ask("KeyPairName=k1&{tags21}")),
            (
                404,
                "InvalidResourceGroup.NotFound",
                Ask("KeyPairName=k1&ResourceGroupId=rg-x"),
            ),
            (
                404,
                "InvalidRegionId.NotFound",
                Ask("RegionId=cn-nowhere&KeyPairName=k1"),
            ),
        ],
    ),
    (
        "ImportKeyPair",
        &[
            (400, "MissingParameter", Ask("KeyPairName=k1")),
            (
                400,
                "InvalidKeyPairName.Malformed",
                Ask("KeyPairName=1&PublicKeyBody=x"),
            ),
            (
                400,
                "InvalidPublicKeyBody.Malformed",
                Ask("KeyPairName=k1&PublicKeyBody=ssh-rsa AAAA"),
            ),
            (400, "KeyPair.AlreadyExist", Twice(IMPORT, "", IMPORT)),
        ],
    ),
    (
        "DeleteKeyPairs",
        &[
            (400, "MissingParameter", Ask("RegionId=cn-hangzhou")),
            (
                400,
                "InvalidKeyPairNames.ValueNotSupported",
                Ask("KeyPairNames=k1"),
            ),
            (
                400,
                "InvalidParameter.KeypairAlreadyAttachedInstance",
                State(
                    "INSERT INTO key_pairs SELECT 'skp-1', 1, account, region, 'k1', '', '', '', 0 FROM instances WHERE id = '{i}'; \
                     UPDATE instances SET key_pair = 'k1' WHERE id = '{i}'",
                    "KeyPairNames=[\"k1\"]",
                ),
            ),
            (404, "InvalidKeyPairName.NotFound", Ask("KeyPairNames=[\"k1\"]")),
        ],
    ),
    (
        "AttachKeyPair",
        &[
            (400, "MissingParameter", Ask("KeyPairName=k1")),
            (
                400,
                "InvalidInstanceIds.ValueNotSupported",
                Ask("KeyPairName=k1&InstanceIds={i}"),
            ),
            (
                400,
                "InvalidKeyPairName.NotFound",
                Ask("KeyPairName=k1&InstanceIds=[\"{i}\"]"),
            ),
        ],
    ),
    (
        "ModifyInstanceMetadataOptions",
        &[
            (400, "MissingParameter", Ask("InstanceId={i}")),
            (
                400,
                "InvalidHttpEndpoint.NotSupported",
                Ask("InstanceId={i}&HttpEndpoint=on"),
            ),
            (
                400,
                "InvalidHttpTokens.NotSupported",
                Ask("InstanceId={i}&HttpEndpoint=enabled&HttpTokens=on"),
            ),
            (
                400,
                "InvalidHttpPutResponseHopLimit.NotSupported",
                Ask("InstanceId={i}&HttpEndpoint=enabled&HttpPutResponseHopLimit=65"),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}&HttpEndpoint=enabled",
                ),
            ),
            (
                404,
                "InvalidInstanceId.NotFound",
                Ask("InstanceId=i-none&HttpEndpoint=enabled"),
            ),
        ],
    ),
    (
        "ModifyInstanceSpec",
        &[
            (400, "MissingParameter", Ask("InstanceId={i}")),
            (
                400,
                "InvalidInstanceType.ValueNotSupported",
                Ask("InstanceId={i}&InstanceType=ecs.g6.large"),
            ),
            (
                403,
                "IncorrectInstanceStatus",
                State(
                    "UPDATE instances SET status = 'Running' WHERE id = '{i}'",
                    "InstanceId={i}&InstanceType=tidemark.external",
                ),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}&InstanceType=tidemark.external",
                ),
            ),
            (
                404,
                "InvalidInstanceId.NotFound",
                Ask("InstanceId=i-none&InstanceType=tidemark.external"),
            ),
        ],
    ),
    (
        "ModifyDiskSpec",
        &[
            (400, "MissingParameter", Ask("DiskId={d}")),
            (
                400,
                "InvalidDiskCategory.ValueNotSupported",
                Ask("DiskId={d}&DiskCategory=tape"),
            ),
            (
                400,
                "InvalidPerformanceLevel.Malformed",
                Ask("DiskId={d}&PerformanceLevel=PL9"),
            ),
            (
                400,
                "InvalidProvisionedIops.LimitExceed",
                Ask("DiskId={d}&ProvisionedIops=-1"),
            ),
            (
                400,
                "ProvisionedIopsForDiskCategoryUnsupported",
                Ask("DiskId={d}&ProvisionedIops=9"),
            ),
            (
                400,
                "InvalidParameter.Conflict",
                Ask("DiskId={d}&DiskCategory=cloud_ssd&PerformanceLevel=PL1"),
            ),
            (
                400,
                "InvalidSize.ValueNotSupported",
                Ask("DiskId={d}&PerformanceLevel=PL2"),
            ),
            (
                400,
                "IdempotentParameterMismatch",
                Twice(
                    "DiskId={d}&PerformanceLevel=PL0&ClientToken=t",
                    "",
                    "DiskId={d}&PerformanceLevel=PL1&ClientToken=t",
                ),
            ),
            (
                400,
                "DryRunOperation",
                Ask("DiskId={d}&PerformanceLevel=PL0&DryRun=true"),
            ),
            (
                403,
                "IncorrectDiskStatus",
                State(
                    "UPDATE disks SET status = 'ReIniting' WHERE id = '{d}'",
                    "DiskId={d}&PerformanceLevel=PL0",
                ),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "DiskId={d}&PerformanceLevel=PL0",
                ),
            ),
            (
                403,
                "LastTokenProcessing",
                Twice(
                    "DiskId={d}&PerformanceLevel=PL0&ClientToken=t",
                    "UPDATE client_tokens SET processing = 1",
                    "DiskId={d}&PerformanceLevel=PL0&ClientToken=t",
                ),
            ),
            (
                404,
                "InvalidDiskId.NotFound",
                Ask("DiskId=d-none&PerformanceLevel=PL0"),
            ),
        ],
    ),
    (
        "ModifyInstanceAttribute",
        &[
            (
                400,
                "InvalidInstanceName.Malformed",
                Ask("InstanceId={i}&InstanceName=http://x"),
            ),
            (
                400,
                "InvalidHostName.Malformed",
                Ask("InstanceId={i}&HostName=-x"),
            ),
            (
                400,
                "InvalidDescription.Malformed",
                Ask("InstanceId={i}&Description=http://x"),
            ),
            (
                400,
                "InvalidPassword.Malformed",
                Ask("InstanceId={i}&Password=short"),
            ),
            (
                400,
                "InvalidUserData.NotSupported",
                Ask("InstanceId={i}&UserData=%"),
            ),
            (400, "NoAttributeToModify", Ask("InstanceId={i}")),
            (
                403,
                "IncorrectInstanceStatus",
                Ask("InstanceId={i}&UserData=AAAA"),
            ),
            (
                403,
                "InstanceLockedForSecurity",
                State(
                    "UPDATE instances SET security_lock = 1 WHERE id = '{i}'",
                    "InstanceId={i}&InstanceName=ab",
                ),
            ),
            (
                404,
                "InvalidInstanceId.NotFound",
                Ask("InstanceId=i-none&InstanceName=ab"),
            ),
        ],
    ),
    (
        "ModifyInstanceAutoReleaseTime",
        &[
            (
                400,
                "InvalidAutoReleaseTime.Malformed",
                Ask("InstanceId={i}&AutoReleaseTime=2001-01-01T00:00:00Z"),
            ),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none")),
        ],
    ),
    (
        "StartInstances",
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
    (
        "StopInstances",
        &[
            (400, "DryRunOperation", Ask("InstanceId.1={i}&DryRun=true")),
            (
                403,
                "IncorrectInstanceStatus",
                Ask("InstanceId.1={i}&InstanceId.2={j}"),
            ),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId.1=i-none")),
        ],
    ),
    (
        "RebootInstances",
        &[
            (400, "DryRunOperation", Ask("InstanceId.1={i}&DryRun=true")),
            (
                403,
                "IncorrectInstanceStatus",
                Ask("InstanceId.1={i}&InstanceId.2={j}"),
            ),
            (404, "InvalidInstanceId.NotFound", Ask("InstanceId.1=i-none")),
        ],
    ),
    (
        "DescribeInstanceAttribute",
        &[(404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none"))],
    ),
    (
        "DescribeUserData",
        &[(404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none"))],
    ),
    (
        "GetInstanceConsoleOutput",
        &[(404, "InvalidInstanceId.NotFound", Ask("InstanceId=i-none"))],
    ),
    (
        "ModifyImageAttribute",
        &[
            (
                400,
                "InvalidImageName.Malformed",
                Ask("ImageId={m}&ImageName=http://x"),
            ),
            (
                400,
                "InvalidImageFamily.Malformed",
                Ask("ImageId={m}&ImageFamily=acs:x"),
            ),
            (
                400,
                "InvalidDescription.Malformed",
                Ask("ImageId={m}&Description=http://x"),
            ),
            (
                400,
                "InvalidBootMode.NotSupport",
                Ask("ImageId={m}&BootMode=Tape"),
            ),
            (400, "InvalidStatus.NotSupport", Ask("ImageId={m}&Status=Gone")),
            (
                400,
                "InvalidParameter.FeaturesNvmeSupport",
                Ask("ImageId={m}&Features.NvmeSupport=some"),
            ),
            (
                400,
                "InvalidParameter.FeaturesImdsSupport",
                Ask("ImageId={m}&Features.ImdsSupport=v3"),
            ),
            (400, "NoAttributeToModify", Ask("ImageId={m}")),
            (
                400,
                "InvalidImageName.Duplicated",
                Twice(
                    "ImageId={m}&ImageName=other",
                    "CREATE TEMP TABLE two AS SELECT * FROM images; UPDATE two SET id = 'm-2', ordinal = 9000, name = 'taken'; INSERT INTO images SELECT * FROM two",
                    "ImageId={m}&ImageName=taken",
                ),
            ),
            (
                403,
                "OperationDenied.ImageNotValid",
                State(
                    "UPDATE images SET status = 'Creating'",
                    "ImageId={m}&Status=Deprecated",
                ),
            ),
            (404, "InvalidImageId.NotFound", Ask("ImageId=m-none&ImageName=ab")),
        ],
    ),
    (
        "ModifyImageSharePermission",
        &[
            (403, "InvalidParameter.IsPublic", Ask("ImageId={m}&IsPublic=true")),
            (
                403,
                "InvalidImage.EncryptedUnsupported",
                State(
                    "UPDATE snapshots SET encrypted = 1 WHERE id = '{jss}'",
                    "ImageId={m}&AddAccount.1=2000000000000002",
                ),
            ),
            (
                404,
                "InvalidAccount.NotFound",
                Ask("ImageId={m}&AddAccount.1=somebody"),
            ),
            (
                404,
                "InvalidImageId.NotFound",
                Ask("ImageId=m-none&AddAccount.1=2000000000000002"),
            ),
        ],
    ),
    (
        "DescribeImageSharePermission",
        &[(404, "InvalidImageId.NotFound", Ask("ImageId=m-none"))],
    ),
    (
        "DescribeTaskAttribute",
        &[
            (
                400,
                "InvalidRegionId.NotFound",
                Ask("RegionId=cn-nowhere&TaskId=t-1"),
            ),
            (400, "InvalidTaskId.NotFound", Ask("TaskId=t-none")),
        ],
    ),
    (
        "AddTags",
        &[
            (
                400,
                "InvalidTagKey.Malformed",
                Ask("ResourceType=disk&ResourceId={d}&Tag.1.Key=acs:x"),
            ),
            (
                400,
                "InvalidTagCount",
                Ask("ResourceType=disk&ResourceId={d}&{tags21}"),
            ),
            (
                403,
                "QuotaExceed.Tags",
                Twice(
                    "ResourceType=disk&ResourceId={d}&{tags20}",
                    "",
                    "ResourceType=disk&ResourceId={d}&Tag.1.Key=more",
                ),
            ),
            (
                404,
                "InvalidResourceId.NotFound",
                Ask("ResourceType=disk&ResourceId=d-none&Tag.1.Key=a"),
            ),
            (
                404,
                "InvalidResourceType.NotFound",
                Ask("ResourceType=tape&ResourceId={d}&Tag.1.Key=a"),
            ),
        ],
    ),
    (
        "RemoveTags",
        &[
            (
                404,
                "InvalidResourceId.NotFound",
                Ask("ResourceType=disk&ResourceId=d-none&Tag.1.Key=a"),
            ),
            (
                404,
                "InvalidResourceType.NotFound",
                Ask("ResourceType=tape&ResourceId={d}&Tag.1.Key=a"),
            ),
        ],
    ),
];
