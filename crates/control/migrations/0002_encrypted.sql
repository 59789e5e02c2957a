-- Disks with a key of their own, and snapshots of them. What was made before has none.
ALTER TABLE disks ADD COLUMN encrypted BIGINT NOT NULL DEFAULT 0;
ALTER TABLE snapshots ADD COLUMN encrypted BIGINT NOT NULL DEFAULT 0;
