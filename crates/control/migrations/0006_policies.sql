-- Automatic snapshot policies. `hours` and `weekdays` are sets, one bit each; retention -1 is for ever; the copy_ columns
-- say what of its snapshots goes to another region.
CREATE TABLE policies (
    id                  TEXT   NOT NULL PRIMARY KEY,
    ordinal             BIGINT NOT NULL UNIQUE,
    account             TEXT   NOT NULL,
    region              TEXT   NOT NULL,
    name                TEXT   NOT NULL,
    hours               BIGINT NOT NULL,
    weekdays            BIGINT NOT NULL,
    retention_days      BIGINT NOT NULL,
    resource_group      TEXT   NOT NULL,
    copy_enabled        BIGINT NOT NULL,
    copy_region         TEXT   NOT NULL,
    copy_retention_days BIGINT NOT NULL,
    copy_encrypted      BIGINT NOT NULL,
    created_ms          BIGINT NOT NULL
);

-- A policy on a disk. `due_ms` is the next slot, or a past one that is still to be served; `decided_ms` is when that was
-- decided, so that a clock which was set back is noticed.
CREATE TABLE policy_disks (
    ordinal    BIGINT NOT NULL PRIMARY KEY,
    account    TEXT   NOT NULL,
    policy_id  TEXT   NOT NULL REFERENCES policies (id),
    disk_id    TEXT   NOT NULL REFERENCES disks (id),
    due_ms     BIGINT NOT NULL,
    decided_ms BIGINT NOT NULL,
    UNIQUE (policy_id, disk_id)
);
CREATE INDEX policy_disks_by_disk ON policy_disks (disk_id);
CREATE INDEX policy_disks_by_due ON policy_disks (due_ms);
CREATE INDEX policy_disks_by_decision ON policy_disks (decided_ms);

-- What an automatic snapshot came from, and the copy that it is owed (no region: none, or done). Goes with its snapshot;
-- the policy and the disk may be gone before.
CREATE TABLE policy_runs (
    snapshot_id         TEXT   NOT NULL PRIMARY KEY,
    policy_id           TEXT   NOT NULL,
    slot_ms             BIGINT NOT NULL,
    copy_region         TEXT   NOT NULL,
    copy_retention_days BIGINT NOT NULL,
    copy_encrypted      BIGINT NOT NULL
);
CREATE INDEX policy_runs_by_region ON policy_runs (copy_region);
