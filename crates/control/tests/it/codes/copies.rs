//! Codes of the actions that copy snapshots to another region.

use super::How::{Ask, State, Twice};
use super::Table;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn codes_of_copies() {
    super::check(TABLE).await;
}

pub(super) const TABLE: Table = &[(
    "CopySnapshot",
    &[
        (
            400,
            "IdempotentParameterMismatch",
            Twice(
                "SnapshotId={s}&DestinationRegionId={far}&ClientToken=t",
                "",
                "SnapshotId={js}&DestinationRegionId={far}&ClientToken=t",
            ),
        ),
        (
            403,
            "InvalidSnapshotId.NotFound",
            Ask("SnapshotId=s-none&DestinationRegionId={far}"),
        ),
        (
            403,
            "InvalidSnapshotId.NotReady",
            State(
                "UPDATE snapshots SET status = 'failed' WHERE id = '{s}'",
                "SnapshotId={s}&DestinationRegionId={far}",
            ),
        ),
        (
            403,
            "InvalidOperation.NotSupportCopyInSameRegion",
            Ask("SnapshotId={s}&DestinationRegionId=cn-hangzhou"),
        ),
        (
            403,
            "InvalidRegionId.NotExists",
            Ask("SnapshotId={s}&DestinationRegionId=cn-nowhere"),
        ),
        (
            403,
            "InvalidSnapshotName.Malformed",
            Ask("SnapshotId={s}&DestinationRegionId={far}&DestinationSnapshotName=auto_x"),
        ),
        (
            403,
            "InvalidDescription.Malformed",
            Ask("SnapshotId={s}&DestinationRegionId={far}&DestinationSnapshotDescription=http://x"),
        ),
        (
            403,
            "InvalidRetentionDays.Malformed",
            Ask("SnapshotId={s}&DestinationRegionId={far}&RetentionDays=0"),
        ),
        (
            403,
            "QuotaExceed.SnapshotQuota",
            State(
                "UPDATE snapshots SET source_disk_id = '{d}', region = '{far}' WHERE id <> '{s}'",
                "SnapshotId={s}&DestinationRegionId={far}",
            ),
        ),
        (
            403,
            "InvalidOperation.UnfinishedCrossRegionCopy",
            State(
                "UPDATE snapshots SET source_snapshot_id = '{s}', source_region_id = region, region = '{far}', status = 'progressing', marked = 0 WHERE id = '{js}'",
                "SnapshotId={s}&DestinationRegionId={far}",
            ),
        ),
    ],
)];
