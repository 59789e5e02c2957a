-- Several regions in one catalogue. Rows of a catalogue from before get the region that its service starts with: '' stands
-- for it until then.
ALTER TABLE disks ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN region TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN region TEXT NOT NULL DEFAULT '';

-- Of a copy: what it is a copy of, and where that was.
ALTER TABLE snapshots ADD COLUMN source_snapshot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE snapshots ADD COLUMN source_region_id TEXT NOT NULL DEFAULT '';
CREATE INDEX snapshots_by_source ON snapshots (source_snapshot_id);

-- A disk's chain in each region that has snapshots of it.
CREATE TABLE links_of_regions (
    id             TEXT NOT NULL PRIMARY KEY,
    source_disk_id TEXT NOT NULL,
    region         TEXT NOT NULL,
    UNIQUE (source_disk_id, region)
);
INSERT INTO links_of_regions (id, source_disk_id, region) SELECT id, source_disk_id, '' FROM links;
DROP TABLE links;
ALTER TABLE links_of_regions RENAME TO links;

-- The home region: the data of its node lies in the data directory itself.
CREATE TABLE regions (
    id   TEXT   NOT NULL PRIMARY KEY,
    home BIGINT NOT NULL
);

-- Work that takes time and is no resource of its own, for people to follow. The work itself is a job.
CREATE TABLE tasks (
    id          TEXT   NOT NULL PRIMARY KEY,
    ordinal     BIGINT NOT NULL UNIQUE,
    account     TEXT   NOT NULL,
    region      TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    status      TEXT   NOT NULL,
    resource_id TEXT   NOT NULL,
    group_id    TEXT   NOT NULL,
    cancellable BIGINT NOT NULL,
    percent     BIGINT NOT NULL,
    failure     TEXT   NOT NULL,
    created_ms  BIGINT NOT NULL,
    ended_ms    BIGINT
);
CREATE INDEX tasks_by_resource ON tasks (resource_id);
CREATE INDEX tasks_by_end ON tasks (ended_ms);
