//! The schema's history. A migration that has been released is never edited; a change is a new one.

/// One step of the schema.
pub(crate) struct Migration {
    /// 1, 2, 3 …
    pub(crate) version: i64,
    /// Plain SQL, several statements.
    pub(crate) sql: &'static str,
}

/// All steps, oldest first.
pub(crate) const ALL: &[Migration] = &[
    Migration {
        version: 1,
        sql: include_str!("../../migrations/0001_first.sql"),
    },
    Migration {
        version: 2,
        sql: include_str!("../../migrations/0002_encrypted.sql"),
    },
    Migration {
        version: 3,
        sql: include_str!("../../migrations/0003_regions.sql"),
    },
    Migration {
        version: 4,
        sql: include_str!("../../migrations/0004_images.sql"),
    },
    Migration {
        version: 5,
        sql: include_str!("../../migrations/0005_groups_and_usage.sql"),
    },
    Migration {
        version: 6,
        sql: include_str!("../../migrations/0006_policies.sql"),
    },
    Migration {
        version: 7,
        sql: include_str!("../../migrations/0007_users_and_events.sql"),
    },
    Migration {
        version: 8,
        sql: include_str!("../../migrations/0008_lists.sql"),
    },
    Migration {
        version: 9,
        sql: include_str!("../../migrations/0009_told.sql"),
    },
    Migration {
        version: 10,
        sql: include_str!("../../migrations/0010_webhook_level.sql"),
    },
    Migration {
        version: 11,
        sql: include_str!("../../migrations/0011_key_pairs.sql"),
    },
    Migration {
        version: 12,
        sql: include_str!("../../migrations/0012_login_profiles.sql"),
    },
];
