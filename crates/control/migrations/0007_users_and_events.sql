-- Users, roles, policies and temporary keys; what happened; who is told of it.
--
-- `secret` of access_keys, sessions and webhooks is sealed with a key that is not in this file. A row from before has
-- sealed = 0, and is sealed at the next start.

ALTER TABLE access_keys ADD COLUMN sealed BIGINT NOT NULL DEFAULT 0;
-- '' where the key is the account's own.
ALTER TABLE access_keys ADD COLUMN user_name TEXT NOT NULL DEFAULT '';
ALTER TABLE access_keys ADD COLUMN last_used_ms BIGINT;
CREATE INDEX access_keys_by_user ON access_keys (account, user_name);

CREATE TABLE ram_users (
    id           TEXT   NOT NULL PRIMARY KEY,
    account      TEXT   NOT NULL,
    name         TEXT   NOT NULL,
    display_name TEXT   NOT NULL,
    comments     TEXT   NOT NULL,
    created_ms   BIGINT NOT NULL,
    UNIQUE (account, name)
);

CREATE TABLE ram_roles (
    id            TEXT   NOT NULL PRIMARY KEY,
    account       TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    description   TEXT   NOT NULL,
    trust         TEXT   NOT NULL,
    max_session_s BIGINT NOT NULL,
    created_ms    BIGINT NOT NULL,
    UNIQUE (account, name)
);

CREATE TABLE ram_policies (
    id          TEXT   NOT NULL PRIMARY KEY,
    account     TEXT   NOT NULL,
    name        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    document    TEXT   NOT NULL,
    version     BIGINT NOT NULL,
    created_ms  BIGINT NOT NULL,
    updated_ms  BIGINT NOT NULL,
    UNIQUE (account, name)
);

-- `holder` is 'user' or 'role'. Policies that come with the service have no row of their own.
CREATE TABLE ram_attachments (
    account     TEXT   NOT NULL,
    holder      TEXT   NOT NULL,
    holder_name TEXT   NOT NULL,
    policy_type TEXT   NOT NULL,
    policy_name TEXT   NOT NULL,
    attached_ms BIGINT NOT NULL,
    PRIMARY KEY (account, holder, holder_name, policy_type, policy_name)
);
CREATE INDEX ram_attachments_by_policy ON ram_attachments (account, policy_type, policy_name);

-- Temporary keys. `token_hash` is the SHA-256 of the token, in hex.
CREATE TABLE sessions (
    id         TEXT   NOT NULL PRIMARY KEY,
    account    TEXT   NOT NULL,
    secret     TEXT   NOT NULL,
    token_hash TEXT   NOT NULL,
    role_id    TEXT   NOT NULL,
    name       TEXT   NOT NULL,
    policy     TEXT   NOT NULL,
    created_ms BIGINT NOT NULL,
    expires_ms BIGINT NOT NULL
);
CREATE INDEX sessions_by_expiry ON sessions (expires_ms);
CREATE INDEX sessions_by_role ON sessions (role_id);

CREATE TABLE events (
    id            TEXT   NOT NULL PRIMARY KEY,
    ordinal       BIGINT NOT NULL UNIQUE,
    account       TEXT   NOT NULL,
    region        TEXT   NOT NULL,
    name          TEXT   NOT NULL,
    level         TEXT   NOT NULL,
    resource_type TEXT   NOT NULL,
    resource_id   TEXT   NOT NULL,
    content       TEXT   NOT NULL,
    created_ms    BIGINT NOT NULL
);
CREATE INDEX events_by_time ON events (created_ms);
CREATE INDEX events_by_resource ON events (resource_id, ordinal);

-- `names` is a JSON array, empty for all; `seen` the ordinal of the last event that is done with.
CREATE TABLE webhooks (
    id           TEXT   NOT NULL PRIMARY KEY,
    ordinal      BIGINT NOT NULL UNIQUE,
    account      TEXT   NOT NULL,
    url          TEXT   NOT NULL,
    secret       TEXT   NOT NULL,
    names        TEXT   NOT NULL,
    seen         BIGINT NOT NULL,
    dropped      BIGINT NOT NULL,
    failures     BIGINT NOT NULL,
    last_error   TEXT   NOT NULL,
    delivered_ms BIGINT,
    created_ms   BIGINT NOT NULL
);
