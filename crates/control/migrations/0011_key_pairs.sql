-- SSH key pairs: public keys by name. The private half of one that is made here is in one answer and nowhere else.
CREATE TABLE key_pairs (
    id             TEXT   NOT NULL PRIMARY KEY,
    ordinal        BIGINT NOT NULL,
    account        TEXT   NOT NULL,
    region         TEXT   NOT NULL,
    name           TEXT   NOT NULL,
    -- One line, as in authorized_keys.
    public_key     TEXT   NOT NULL,
    -- MD5 of the key, pairs of hex digits with colons between.
    finger_print   TEXT   NOT NULL,
    resource_group TEXT   NOT NULL,
    created_ms     BIGINT NOT NULL,
    UNIQUE (account, region, name)
);
CREATE INDEX key_pairs_by_account ON key_pairs (account, ordinal);
CREATE INDEX instances_by_key_pair ON instances (account, region, key_pair);
