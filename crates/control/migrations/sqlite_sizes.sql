-- What SQLite's planner is told of tables: that of a large catalogue, always. It would else take every index for equally good and
-- walk through all rows of an account where it could look a few up; and what it was told by counting would depend on when somebody
-- counted. A number is how many rows have the same value in so many first columns; the first is of all.
-- Written at every start. Indices that are not here are judged by their kind. PostgreSQL counts by itself.
ANALYZE sqlite_schema;
DELETE FROM sqlite_stat1;
INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES
    ('snapshots', 'sqlite_autoindex_snapshots_1', '20000 1'),
    ('snapshots', 'sqlite_autoindex_snapshots_2', '20000 1'),
    ('snapshots', 'snapshots_by_account', '20000 10000 10000 1 1'),
    ('snapshots', 'snapshots_by_account_status', '20000 10000 10000 5000 1'),
    ('snapshots', 'snapshots_by_name', '20000 10000 10000 2 1'),
    ('snapshots', 'snapshots_by_disk', '20000 10 10 1'),
    ('snapshots', 'snapshots_by_link', '20000 10 10 1'),
    ('snapshots', 'snapshots_by_status', '20000 5000'),
    ('snapshots', 'snapshots_by_expiry', '20000 10'),
    ('snapshots', 'snapshots_by_source', '20000 2'),
    ('disks', 'sqlite_autoindex_disks_1', '10000 1'),
    ('disks', 'sqlite_autoindex_disks_2', '10000 1'),
    ('disks', 'disks_by_account', '10000 5000 5000 1 1'),
    ('disks', 'disks_by_name', '10000 5000 5000 2 1'),
    ('disks', 'disks_by_instance', '10000 10 10 1'),
    ('disks', 'disks_by_source', '10000 10 10 1'),
    ('tags', 'sqlite_autoindex_tags_1', '40000 20000 2 1'),
    ('tags', 'tags_by_key', '40000 20000 10000 1000 100');
ANALYZE sqlite_schema;
