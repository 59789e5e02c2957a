-- A snapshot that failed is not kept by its lock any more.
DELETE FROM snapshot_locks WHERE snapshot_id IN (SELECT id FROM snapshots WHERE status = 'failed');

-- What lists are read by: an account's rows of a region in their order, with what decides whether a row is shown, so that the rows
-- of earlier pages are stepped over in the index alone.
CREATE INDEX snapshots_by_account ON snapshots (account, region, ordinal, status);
CREATE INDEX snapshots_by_account_status ON snapshots (account, region, status, ordinal);
CREATE INDEX snapshots_by_name ON snapshots (account, region, name, ordinal);
CREATE INDEX disks_by_account ON disks (account, region, ordinal, status);
CREATE INDEX disks_by_name ON disks (account, region, name, ordinal);

-- These had their first column only: with the order in them, too, they win against a walk through the account's rows.
DROP INDEX snapshots_by_disk;
CREATE INDEX snapshots_by_disk ON snapshots (source_disk_id, account, ordinal);
DROP INDEX snapshots_by_link;
CREATE INDEX snapshots_by_link ON snapshots (link_id, account, ordinal);
DROP INDEX disks_by_instance;
CREATE INDEX disks_by_instance ON disks (instance_id, account, ordinal);
DROP INDEX disks_by_source;
CREATE INDEX disks_by_source ON disks (source_snapshot_id, account, ordinal);

-- What is asked for at every snapshot, deletion and listed chain: what of a chain is open, and which rollback reads a snapshot.
CREATE INDEX snapshot_usage_by_link ON snapshot_usage (link_id, until_ms);
CREATE INDEX jobs_by_arguments ON jobs (arguments, kind);
