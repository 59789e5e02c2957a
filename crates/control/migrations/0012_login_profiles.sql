-- Passwords with which users sign in to the console: Argon2id with its cost and salt, never the password itself.
CREATE TABLE ram_login_profiles (
    user_id    TEXT   NOT NULL PRIMARY KEY,
    hash       TEXT   NOT NULL,
    created_ms BIGINT NOT NULL
);

-- A role's name was a label once that anybody could give an instance; now it is a grant, for which ram:PassRole is needed. So no instance
-- of before keeps one. Builds between that one and this asked for ram:PassRole already and had no mark for it: what they gave is cleared,
-- too, and is to be given again.
UPDATE instances SET attributes = json_set(attributes, '$.ram_role_name', '')
WHERE json_valid(attributes) AND json_extract(attributes, '$.ram_role_name') <> '';
