-- Damage in vaults that an event has told of and that is still open, by region and place, so that it is told once; and up to which
-- number of each region repairs were told.
CREATE TABLE vault_damage_told (
    id     TEXT NOT NULL PRIMARY KEY,
    region TEXT NOT NULL
);
CREATE INDEX vault_damage_told_by_region ON vault_damage_told (region);
CREATE TABLE vault_repairs_told (
    region TEXT   NOT NULL PRIMARY KEY,
    number BIGINT NOT NULL
);

-- Why the policy's slots are skipped, as it was told; '': they are not. And whether it was told that nearly all automatic
-- snapshots of the disk are there to stay.
ALTER TABLE policy_disks ADD COLUMN told TEXT NOT NULL DEFAULT '';
ALTER TABLE policy_disks ADD COLUMN told_kept BIGINT NOT NULL DEFAULT 0;
