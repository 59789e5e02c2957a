//! Codes of the actions about automatic snapshot policies.

use super::How::{Ask, State};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_policies() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[
    (
        "CreateAutoSnapshotPolicy",
        &[
            (
                400,
                "InvalidSnapshotPolicyName.Malformed",
                Ask("{weekly}&autoSnapshotPolicyName=http://x"),
            ),
            (400, "Duplicate.TagKey", Ask("{weekly}&Tag.1.Key=a&Tag.2.Key=a")),
            (400, "InvalidTagKey.Malformed", Ask("{weekly}&Tag.1.Key=acs:x")),
            (
                400,
                "InvalidTagValue.Malformed",
                Ask("{weekly}&Tag.1.Key=a&Tag.1.Value=http://x"),
            ),
            (
                403,
                "ParameterInvalid",
                Ask("timePoints=[\"24\"]&repeatWeekdays=[\"1\"]&retentionDays=1"),
            ),
            (403, "AutoSnapshotPolicy.QuotaExceed", Ask("{weekly}")),
            (
                403,
                "InvalidParameter.TargetCopyRegions",
                Ask("{weekly}&EnableCrossRegionCopy=true&TargetCopyRegions=[\"a\",\"b\"]"),
            ),
            (
                403,
                "InvalidParameter.CopiedSnapshotsRetentionDays",
                Ask("{weekly}&CopiedSnapshotsRetentionDays=0"),
            ),
            (403, "QuotaExceed.Tags", Ask("{weekly}&{tags21}")),
            (
                404,
                "InvalidResourceGroup.NotFound",
                Ask("{weekly}&ResourceGroupId=rg-x"),
            ),
        ],
    ),
    (
        "ModifyAutoSnapshotPolicyEx",
        &[
            (
                403,
                "ParameterInvalid",
                Ask("autoSnapshotPolicyId={p}&retentionDays=0"),
            ),
            (
                403,
                "InvalidParameter.TargetCopyRegions",
                Ask("autoSnapshotPolicyId={p}&EnableCrossRegionCopy=true&TargetCopyRegions=[\"cn-nowhere\"]"),
            ),
            (
                403,
                "InvalidParameter.CopiedSnapshotsRetentionDays",
                Ask("autoSnapshotPolicyId={p}&CopiedSnapshotsRetentionDays=0"),
            ),
            (
                404,
                "ParameterInvalid",
                Ask("autoSnapshotPolicyId=sp-none&retentionDays=1"),
            ),
            (
                404,
                "InvalidParameter.KMSKeyId.NotFound",
                Ask(
                    "autoSnapshotPolicyId={p}&CopyEncryptionConfiguration.Encrypted=true&CopyEncryptionConfiguration.KMSKeyId=k",
                ),
            ),
        ],
    ),
    (
        "DeleteAutoSnapshotPolicy",
        &[
            (
                403,
                "ParameterInvalid",
                Ask("RegionId=cn-nowhere&autoSnapshotPolicyId={p}"),
            ),
            (404, "ParameterInvalid", Ask("autoSnapshotPolicyId=sp-none")),
        ],
    ),
    (
        "DescribeAutoSnapshotPolicyEx",
        &[
            (400, "InvalidRegionId.NotFound", Ask("RegionId=cn-nowhere")),
            (400, "InvalidTag.Mismatch", Ask("Tag.1.Value=v")),
            (400, "InvalidTagCount", Ask("{tags21}")),
        ],
    ),
    (
        "ApplyAutoSnapshotPolicy",
        &[
            (
                403,
                "ParameterInvalid",
                Ask("autoSnapshotPolicyId={p}&diskIds=d-1"),
            ),
            (
                404,
                "ParameterInvalid",
                Ask("autoSnapshotPolicyId=sp-none&diskIds=[\"{d}\"]"),
            ),
            (
                404,
                "InvalidDiskId.NotFound",
                Ask("autoSnapshotPolicyId={p}&diskIds=[\"d-none\"]"),
            ),
        ],
    ),
    (
        "CancelAutoSnapshotPolicy",
        &[
            (
                403,
                "OperationDenied.TooManyAutoSnapshotPolicies",
                State(
                    "CREATE TEMP TABLE two AS SELECT * FROM policies; UPDATE two SET id = 'sp-2', ordinal = 9000; INSERT INTO policies SELECT * FROM two; INSERT INTO policy_disks (ordinal, account, policy_id, disk_id, due_ms, decided_ms) SELECT 1, account, '{p}', '{d}', 99999999999999, 1 FROM disks WHERE id = '{d}'; INSERT INTO policy_disks (ordinal, account, policy_id, disk_id, due_ms, decided_ms) SELECT 2, account, 'sp-2', '{d}', 99999999999999, 1 FROM disks WHERE id = '{d}'",
                    "diskIds=[\"{d}\"]",
                ),
            ),
            (403, "ParameterInvalid", Ask("diskIds=d-1")),
            (404, "InvalidDiskId.NotFound", Ask("diskIds=[\"d-none\"]")),
        ],
    ),
    (
        "DescribeAutoSnapshotPolicyAssociations",
        &[
            (403, "MissingParameter.AutoSnapshotPolicyIdOrDiskId", Ask("")),
            (
                403,
                "ParameterConflict.AutoSnapshotPolicyIdAndDiskId",
                Ask("AutoSnapshotPolicyId={p}&DiskId={d}"),
            ),
            (
                404,
                "InvalidRegionId.NotFound",
                Ask("RegionId=cn-nowhere&DiskId={d}"),
            ),
            (
                404,
                "InvalidAutoSnapshotPolicyId.NotFound",
                Ask("AutoSnapshotPolicyId=sp-none"),
            ),
            (404, "InvalidDiskId.NotFound", Ask("DiskId=d-none")),
        ],
    ),
];
