-- Images: what instances are made of. An image owns no data: it names snapshots, and as long as it does they stay.
-- `marked`: all snapshots that were taken for it are marked, so that it may be shown.
CREATE TABLE images (
    id                  TEXT   NOT NULL PRIMARY KEY,
    ordinal             BIGINT NOT NULL UNIQUE,
    account             TEXT   NOT NULL,
    region              TEXT   NOT NULL,
    name                TEXT   NOT NULL,
    family              TEXT   NOT NULL,
    version             TEXT   NOT NULL,
    description         TEXT   NOT NULL,
    status              TEXT   NOT NULL,
    marked              BIGINT NOT NULL,
    failure             TEXT   NOT NULL,
    os_type             TEXT   NOT NULL,
    platform            TEXT   NOT NULL,
    architecture        TEXT   NOT NULL,
    boot_mode           TEXT   NOT NULL,
    imds_support        TEXT   NOT NULL,
    nvme_support        TEXT   NOT NULL,
    login_as_non_root   BIGINT NOT NULL,
    resource_group      TEXT   NOT NULL,
    source_instance_id  TEXT   NOT NULL,
    created_ms          BIGINT NOT NULL
);
CREATE UNIQUE INDEX images_by_name ON images (account, region, name);
CREATE INDEX images_by_family ON images (account, region, family);

-- The disks that an instance gets from an image. `snapshot_id` '': an empty one.
CREATE TABLE image_disks (
    id          TEXT   NOT NULL PRIMARY KEY,
    image_id    TEXT   NOT NULL REFERENCES images (id),
    kind        TEXT   NOT NULL,
    device      TEXT   NOT NULL,
    snapshot_id TEXT   NOT NULL,
    size_gib    BIGINT NOT NULL
);
CREATE INDEX image_disks_by_image ON image_disks (image_id);
CREATE INDEX image_disks_by_snapshot ON image_disks (snapshot_id);

-- Accounts that may use somebody else's image.
CREATE TABLE image_shares (
    image_id  TEXT   NOT NULL REFERENCES images (id),
    account   TEXT   NOT NULL,
    shared_ms BIGINT NOT NULL,
    PRIMARY KEY (image_id, account)
);
CREATE INDEX image_shares_by_account ON image_shares (account);

CREATE INDEX instances_by_image ON instances (image_id);
