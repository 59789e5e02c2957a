-- Snapshot-consistent groups, retention locks of snapshots, and what was stored when.

-- `made`: the marks are durable, and the caller was told so.
CREATE TABLE snapshot_groups (
    id             TEXT   NOT NULL PRIMARY KEY,
    ordinal        BIGINT NOT NULL UNIQUE,
    account        TEXT   NOT NULL,
    region         TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    description    TEXT   NOT NULL,
    instance_id    TEXT   NOT NULL,
    resource_group TEXT   NOT NULL,
    made           BIGINT NOT NULL,
    created_ms     BIGINT NOT NULL,
    modified_ms    BIGINT NOT NULL
);

-- A snapshot is in one group at most, and leaves it when it is deleted; a group goes with its last one.
CREATE TABLE snapshot_group_members (
    snapshot_id TEXT NOT NULL PRIMARY KEY,
    group_id    TEXT NOT NULL REFERENCES snapshot_groups (id)
);
CREATE INDEX snapshot_group_members_by_group ON snapshot_group_members (group_id);

-- `starts_ms` and `expires_ms` are null until the snapshot is accomplished. The lock's status follows from the times.
CREATE TABLE snapshot_locks (
    snapshot_id      TEXT   NOT NULL PRIMARY KEY,
    account          TEXT   NOT NULL,
    duration_days    BIGINT NOT NULL,
    cool_off_hours   BIGINT NOT NULL,
    created_ms       BIGINT NOT NULL,
    cool_off_ends_ms BIGINT NOT NULL,
    starts_ms        BIGINT,
    expires_ms       BIGINT
);

-- A row says that a snapshot took so many bytes from one time to another; until now, if that is null. `first_hour` is the
-- first hour (of 3600000 ms since 1970-01-01 UTC) that it counts for in the meter, `exact` whether the vault has been asked.
CREATE TABLE snapshot_usage (
    id             BIGINT NOT NULL PRIMARY KEY,
    account        TEXT   NOT NULL,
    region         TEXT   NOT NULL,
    snapshot_id    TEXT   NOT NULL,
    link_id        TEXT   NOT NULL,
    source_disk_id TEXT   NOT NULL,
    category       TEXT   NOT NULL,
    bytes          BIGINT NOT NULL,
    exact          BIGINT NOT NULL,
    first_hour     BIGINT NOT NULL,
    from_ms        BIGINT NOT NULL,
    until_ms       BIGINT
);
CREATE INDEX snapshot_usage_by_snapshot ON snapshot_usage (snapshot_id);
CREATE INDEX snapshot_usage_by_end ON snapshot_usage (until_ms);
