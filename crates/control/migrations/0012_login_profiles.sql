-- Passwords with which users sign in to the console: Argon2id with its cost and salt, never the password itself.
CREATE TABLE ram_login_profiles (
    user_id    TEXT   NOT NULL PRIMARY KEY,
    hash       TEXT   NOT NULL,
    created_ms BIGINT NOT NULL
);
