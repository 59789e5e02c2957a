-- What lists are read by: an account's rows in their order, with what decides whether a row is shown, so that the rows
-- of earlier pages are stepped over in the index alone.
CREATE INDEX snapshots_by_account ON snapshots (account, ordinal, status);
CREATE INDEX snapshots_by_account_status ON snapshots (account, status, ordinal);
CREATE INDEX snapshots_by_name ON snapshots (account, name, ordinal);
CREATE INDEX disks_by_account ON disks (account, ordinal, status);
CREATE INDEX disks_by_name ON disks (account, name, ordinal);
