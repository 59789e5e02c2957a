-- The first catalogue. One dialect for SQLite and PostgreSQL: TEXT and BIGINT only, flags are 0 or 1,
-- times are milliseconds since 1970-01-01 UTC, '' stands for "no value" where the API shows ''.
--
-- `ordinal` grows with every row made and is never reused: lists are sorted by it, newest first, and a
-- page token names one.

CREATE TABLE counters (
    name  TEXT   NOT NULL PRIMARY KEY,
    value BIGINT NOT NULL
);

CREATE TABLE access_keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    secret     TEXT   NOT NULL,
    account    TEXT   NOT NULL,
    active     BIGINT NOT NULL,
    root       BIGINT NOT NULL,
    created_ms BIGINT NOT NULL
);

CREATE TABLE nonces (
    access_key TEXT   NOT NULL,
    nonce      TEXT   NOT NULL,
    expires_ms BIGINT NOT NULL,
    PRIMARY KEY (access_key, nonce)
);
CREATE INDEX nonces_by_expiry ON nonces (expires_ms);

-- `resource` is what the first request made; when that fails after all, the token goes with it.
CREATE TABLE client_tokens (
    account     TEXT   NOT NULL,
    action      TEXT   NOT NULL,
    token       TEXT   NOT NULL,
    fingerprint TEXT   NOT NULL,
    processing  BIGINT NOT NULL,
    resource    TEXT   NOT NULL,
    response    TEXT   NOT NULL,
    expires_ms  BIGINT NOT NULL,
    PRIMARY KEY (account, action, token)
);
CREATE INDEX client_tokens_by_expiry ON client_tokens (expires_ms);
CREATE INDEX client_tokens_by_resource ON client_tokens (resource);

-- `attributes` (JSON) holds what is only stored and shown, never searched or decided on.
CREATE TABLE instances (
    id                  TEXT   NOT NULL PRIMARY KEY,
    ordinal             BIGINT NOT NULL UNIQUE,
    account             TEXT   NOT NULL,
    name                TEXT   NOT NULL,
    description         TEXT   NOT NULL,
    status              TEXT   NOT NULL,
    instance_type       TEXT   NOT NULL,
    image_id            TEXT   NOT NULL,
    zone                TEXT   NOT NULL,
    resource_group      TEXT   NOT NULL,
    key_pair            TEXT   NOT NULL,
    security_lock       BIGINT NOT NULL,
    deletion_protection BIGINT NOT NULL,
    auto_release_ms     BIGINT,
    created_ms          BIGINT NOT NULL,
    started_ms          BIGINT,
    attributes          TEXT   NOT NULL
);

CREATE TABLE disks (
    id                   TEXT   NOT NULL PRIMARY KEY,
    ordinal              BIGINT NOT NULL UNIQUE,
    account              TEXT   NOT NULL,
    name                 TEXT   NOT NULL,
    description          TEXT   NOT NULL,
    kind                 TEXT   NOT NULL,
    status               TEXT   NOT NULL,
    status_before        TEXT   NOT NULL,
    category             TEXT   NOT NULL,
    performance_level    TEXT   NOT NULL,
    size_gib             BIGINT NOT NULL,
    zone                 TEXT   NOT NULL,
    resource_group       TEXT   NOT NULL,
    instance_id          TEXT   REFERENCES instances (id),
    device               TEXT   NOT NULL,
    ever_attached        BIGINT NOT NULL,
    delete_with_instance BIGINT NOT NULL,
    delete_auto_snapshot BIGINT NOT NULL,
    enable_auto_snapshot BIGINT NOT NULL,
    bursting_enabled     BIGINT NOT NULL,
    provisioned_iops     BIGINT NOT NULL,
    multi_attach         TEXT   NOT NULL,
    source_snapshot_id   TEXT   NOT NULL,
    image_id             TEXT   NOT NULL,
    origin_instance_id   TEXT   NOT NULL,
    created_ms           BIGINT NOT NULL,
    attached_ms          BIGINT,
    detached_ms          BIGINT
);
CREATE INDEX disks_by_instance ON disks (instance_id);
CREATE INDEX disks_by_source ON disks (source_snapshot_id);

-- A snapshot outlives its disk: no foreign key.
CREATE TABLE snapshots (
    id                    TEXT   NOT NULL PRIMARY KEY,
    ordinal               BIGINT NOT NULL UNIQUE,
    account               TEXT   NOT NULL,
    name                  TEXT   NOT NULL,
    description           TEXT   NOT NULL,
    status                TEXT   NOT NULL,
    marked                BIGINT NOT NULL,
    percent               BIGINT NOT NULL,
    failure               TEXT   NOT NULL,
    link_id               TEXT   NOT NULL,
    source_disk_id        TEXT   NOT NULL,
    source_disk_kind      TEXT   NOT NULL,
    source_disk_size_gib  BIGINT NOT NULL,
    snapshot_type         TEXT   NOT NULL,
    category              TEXT   NOT NULL,
    resource_group        TEXT   NOT NULL,
    retention_days        BIGINT,
    instant_access        BIGINT NOT NULL,
    instant_access_days   BIGINT,
    full_bytes            BIGINT NOT NULL,
    stored_bytes          BIGINT NOT NULL,
    created_ms            BIGINT NOT NULL,
    modified_ms           BIGINT NOT NULL,
    expires_ms            BIGINT
);
CREATE INDEX snapshots_by_disk ON snapshots (source_disk_id);
CREATE INDEX snapshots_by_link ON snapshots (link_id);
CREATE INDEX snapshots_by_expiry ON snapshots (expires_ms);
CREATE INDEX snapshots_by_status ON snapshots (status);

-- A disk's chain keeps its id while any of its snapshots exists.
CREATE TABLE links (
    id             TEXT NOT NULL PRIMARY KEY,
    source_disk_id TEXT NOT NULL UNIQUE
);

CREATE TABLE tags (
    account       TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id   TEXT NOT NULL,
    tag_key       TEXT NOT NULL,
    tag_value     TEXT NOT NULL,
    PRIMARY KEY (resource_type, resource_id, tag_key)
);
CREATE INDEX tags_by_key ON tags (account, resource_type, tag_key, tag_value);

-- Jobs of one lane (a resource id) run one after another, oldest first.
CREATE TABLE jobs (
    id         BIGINT NOT NULL PRIMARY KEY,
    kind       TEXT   NOT NULL,
    subject    TEXT   NOT NULL,
    lane       TEXT   NOT NULL,
    arguments  TEXT   NOT NULL,
    attempts   BIGINT NOT NULL,
    last_error TEXT   NOT NULL,
    created_ms BIGINT NOT NULL
);
CREATE INDEX jobs_by_subject ON jobs (subject);
