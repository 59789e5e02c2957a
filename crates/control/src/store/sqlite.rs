//! SQLite behind [`Transaction`]: the only file that knows it.
//!
//! WAL with `synchronous=FULL`: a commit is on the medium when it returns. One thread writes; what
//! has queued up while a commit was syncing becomes one commit, each request in its own savepoint,
//! so a hundred callers pay for one sync and still fail alone. A commit of nothing but unsynced requests is
//! written (`synchronous=NORMAL`) and not waited for. Another reads for callers, and a third for the service's own rounds,
//! which look through whole tables while callers go on.
//!
//! A fourth moves what is committed from the log into the database file: SQLite itself would do that within some commit,
//! which then waits for two syncs of a disk that is busy with guests. Only a log that grows faster than it is moved
//! makes the writer wait, so that it stays bounded.
//!
//! Counts: a list says how many rows it has, and counting takes longer than reading a page of them. So the reader keeps
//! counts until something is committed: the writer raises a number after each commit and before it
//! answers, so whoever has been answered is counted.

use super::migrations::Migration;
use super::{Contents, Finish, Row, StoreError, StoreErrorKind, Transaction, Value, Work};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, ToSql};
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// "TMRK" in the file's header, so that a foreign database is not mistaken for a catalogue.
const APPLICATION_ID: i64 = 0x544d_524b;
/// Most requests that share one commit: bounds how long the first of them waits.
const COMMIT_REQUESTS_MAX: usize = 64;
/// Pages in the log from which on they are moved: 8 MiB.
const LOG_MOVED_PAGES: i32 = 2_048;
/// Pages in the log at which the writer waits until they are moved: 64 MiB.
pub(crate) const LOG_PAGES_MAX: i32 = 16_384;
/// Most counts that are kept.
const COUNTS_MAX: usize = 256;
/// How large the planner is to take tables for.
pub(crate) const SIZES: &str = include_str!("../../migrations/sqlite_sizes.sql");

/// Where requests go.
pub(super) struct Queues {
    pub(super) writes: mpsc::Sender<Work>,
    pub(super) reads: mpsc::Sender<Work>,
    pub(super) rounds: mpsc::Sender<Work>,
}

/// Opens, migrates, and starts the threads.
pub(super) fn start(path: &Path, migrations: &[Migration]) -> Result<Queues, StoreError> {
    make_private(path)?;
    let mut writer = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    migrate(&mut writer, migrations)?;
    writer
        .execute_batch(&format!("BEGIN; {SIZES} COMMIT"))
        .map_err(|e| failed("sizes of tables", e))?;
    let commits = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&commits);
    let (reads, reading) = spawn("catalogue-read", open_to_read(path)?, move |connection, queue| {
        let mut counts = Counts::default();
        while let Ok(work) = queue.recv() {
            // Before the transaction: what is committed later is not in these counts.
            counts.forget_before(seen.load(Ordering::SeqCst));
            read(connection, work, Some(&mut counts));
        }
    })?;
    let (rounds, looking) = spawn("catalogue-rounds", open_to_read(path)?, |connection, queue| {
        while let Ok(work) = queue.recv() {
            read(connection, work, None);
        }
    })?;
    let mover = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    let (moves, moving) = spawn("catalogue-move", mover, move |connection, queue| {
        while let Ok(()) = queue.recv() {
            // What was asked for meanwhile is done by this one, too.
            queue.try_iter().for_each(drop);
            move_log(connection);
        }
    })?;
    let (writes, _) = spawn("catalogue-write", writer, move |connection, queue| {
        // In the place of SQLite's own, which moves the log within a commit.
        connection.wal_hook(Some(|_, pages| {
            LOG_PAGES.set(pages);
            Ok(())
        }));
        let mut syncing = true;
        while let Ok(first) = queue.recv() {
            let more = queue.try_iter().take(COMMIT_REQUESTS_MAX - 1);
            let batch: Vec<Work> = std::iter::once(first).chain(more).collect();
            commit(connection, batch, &mut syncing, &commits);
            let pages = LOG_PAGES.get();
            if pages >= LOG_PAGES_MAX {
                move_log(connection);
            } else if pages >= LOG_MOVED_PAGES && moves.send(()).is_err() {
                tracing::error!("the thread that moves the catalogue's log ended early");
            }
        }
        // Whoever closes last tidies the log up. Of two that close at once neither does.
        drop(moves);
        for thread in [reading, looking, moving] {
            if thread.join().is_err() {
                tracing::error!("a thread of the catalogue ended early");
            }
        }
    })?;
    Ok(Queues {
        writes,
        reads,
        rounds,
    })
}

thread_local! {
    /// Pages in the log after the last commit of this thread.
    static LOG_PAGES: Cell<i32> = const { Cell::new(0) };
}

/// Moves what the log holds into the database, as far as nobody reads what was there before; nobody waits for it but
/// who calls it. The log begins anew with the next commit when all of it has been moved.
fn move_log(connection: &Connection) {
    if let Err(error) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
        tracing::error!(%error, "the catalogue's log is not moved into its file");
    }
}

/// Makes the file if there is none. It holds the keys' secrets, so only its owner may read it; SQLite
/// gives its side files the same mode.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path);
    made.map(drop)
        .map_err(|e| StoreError::new(StoreErrorKind::Io, format!("open {}", path.display()), e))
}

fn spawn<W: Send + 'static>(
    name: &str,
    mut connection: Connection,
    serve: impl FnOnce(&mut Connection, mpsc::Receiver<W>) + Send + 'static,
) -> Result<(mpsc::Sender<W>, JoinHandle<()>), StoreError> {
    let (queue, requests) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name(name.into())
        .spawn(move || serve(&mut connection, requests))
        .map_err(|e| StoreError::new(StoreErrorKind::Io, format!("start thread {name}"), e))?;
    Ok((queue, thread))
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    let subject = || format!("open {}", path.display());
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|e| failed(subject(), e))?;
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; \
             PRAGMA busy_timeout = 5000; PRAGMA trusted_schema = OFF",
        )
        .map_err(|e| failed(subject(), e))?;
    // Plans do not depend on what is bound (there is nothing in the statistics to look a value up in), so a statement is
    // not prepared again because another value is.
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map_err(|e| failed(subject(), e))?;
    connection.set_prepared_statement_cache_capacity(256);
    Ok(connection)
}

fn open_to_read(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection
        .execute_batch("PRAGMA query_only = ON")
        .map_err(|e| failed("open for reading", e))?;
    Ok(connection)
}

/// Opens a catalogue that nobody else has open for reading only, if it is one that this program knows (up to `known`).
fn open_to_look(path: &Path, known: i64) -> Result<Connection, StoreError> {
    let subject = || format!("check {}", path.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(|e| failed(subject(), e))?;
    let number = |sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|e| failed(subject(), e))
    };
    if number("PRAGMA application_id")? != APPLICATION_ID {
        let cause = "the file is not a Tidemark catalogue";
        return Err(StoreError::new(StoreErrorKind::Corrupt, subject(), cause));
    }
    let found = number("PRAGMA user_version")?;
    if found > known {
        let cause = format!("version {found} was written by a newer program; this one knows up to {known}");
        return Err(StoreError::new(StoreErrorKind::TooNew, subject(), cause));
    }
    Ok(connection)
}

/// The first column of all rows.
fn texts(connection: &Connection, path: &Path, sql: &str) -> Result<Vec<String>, StoreError> {
    let error = |e| failed(format!("check {}", path.display()), e);
    let mut rows = connection.prepare(sql).map_err(error)?;
    let read = rows.query_map([], |row| row.get::<_, String>(0)).map_err(error)?;
    read.collect::<Result<_, _>>().map_err(error)
}

/// Looks through a catalogue that nobody has open, and changes nothing. Answers what is wrong inside it.
pub(super) fn check(path: &Path, known: i64) -> Result<Vec<String>, StoreError> {
    let said = texts(&open_to_look(path, known)?, path, "PRAGMA integrity_check")?;
    Ok(said.into_iter().filter(|line| line != "ok").collect())
}

/// What a catalogue that nobody has open holds.
pub(super) fn contents(path: &Path, known: i64) -> Result<Contents, StoreError> {
    let connection = open_to_look(path, known)?;
    let ids = |table: &str| texts(&connection, path, &format!("SELECT id FROM {table}"));
    Ok(Contents {
        snapshots: ids("snapshots")?.into_iter().collect(),
        disks: ids("disks")?.len() as u64,
        instances: ids("instances")?.len() as u64,
    })
}

/// Writes the file anew and empties its log.
pub(super) fn rewrite(path: &Path) -> Result<(), StoreError> {
    let subject = || format!("rewrite {}", path.display());
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection
        .execute_batch("VACUUM")
        .map_err(|e| failed(subject(), e))?;
    let busy: i64 = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(|e| failed(subject(), e))?;
    match busy {
        0 => Ok(()),
        _ => Err(StoreError::new(
            StoreErrorKind::Io,
            subject(),
            "the log is in use",
        )),
    }
}

/// Applies the steps that are missing, each with its version in one transaction.
fn migrate(connection: &mut Connection, migrations: &[Migration]) -> Result<(), StoreError> {
    let subject = "schema";
    let number = |connection: &Connection, sql: &str| {
        connection
            .query_row(sql, [], |row| row.get::<_, i64>(0))
            .map_err(|e| failed(subject, e))
    };
    let application = number(connection, "PRAGMA application_id")?;
    let tables = number(connection, "SELECT COUNT(*) FROM sqlite_master")?;
    if application != APPLICATION_ID && (application != 0 || tables != 0) {
        let cause = "the file is an SQLite database, but not a Tidemark catalogue";
        return Err(StoreError::new(StoreErrorKind::Corrupt, subject, cause));
    }
    let found = number(connection, "PRAGMA user_version")?;
    let known = migrations.last().map_or(0, |m| m.version);
    if found > known {
        let cause = format!("version {found} was written by a newer program; this one knows up to {known}");
        return Err(StoreError::new(StoreErrorKind::TooNew, subject, cause));
    }
    for migration in migrations.iter().filter(|m| m.version > found) {
        let subject = format!("schema version {}", migration.version);
        let step = connection.transaction().map_err(|e| failed(&*subject, e))?;
        step.execute_batch(migration.sql)
            .map_err(|e| failed(&*subject, e))?;
        let version = migration.version;
        step.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {version}"
        ))
        .map_err(|e| failed(&*subject, e))?;
        step.commit().map_err(|e| failed(&*subject, e))?;
    }
    Ok(())
}

/// Runs the requests in one transaction, each undone alone when it fails, and answers after the commit.
/// `syncing` is whether the connection waits for the medium; `commits` tells the reader.
fn commit(connection: &mut Connection, requests: Vec<Work>, syncing: &mut bool, commits: &AtomicU64) {
    let synced = requests.iter().any(|work| work.synced);
    let before = connection.total_changes();
    let begun = sync_as(connection, synced, syncing).and_then(|()| {
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|e| failed("begin", e))
    });
    let mut finishes: Vec<Finish> = Vec::new();
    let mut broken = begun.err();
    for work in requests {
        let savepoint = match broken {
            None => connection
                .execute_batch("SAVEPOINT request")
                .map_err(|e| failed("begin", e)),
            Some(ref cause) => Err(again(cause)),
        };
        // A request that could not begin still has to run its closure to be answered; on a
        // connection that refuses everything it can do no harm.
        let mut transaction = Sqlite {
            connection,
            refuse: savepoint.err(),
            counts: None,
        };
        let (keep, finish) = (work.run)(&mut transaction);
        finishes.push(finish);
        if transaction.refuse.is_some() || broken.is_some() {
            continue;
        }
        let end = if keep {
            "RELEASE request"
        } else {
            "ROLLBACK TO request; RELEASE request"
        };
        // If even that fails (SQLite rolls the whole transaction back on some I/O errors), nothing
        // of this commit may be reported as done.
        broken = connection
            .execute_batch(end)
            .map_err(|e| failed("end of a request", e))
            .err();
    }
    let outcome = match broken {
        None => connection
            .execute_batch("COMMIT")
            .map_err(|e| failed("commit", e)),
        Some(cause) => Err(cause),
    };
    if outcome.is_err()
        && !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "the catalogue cannot even roll back");
    }
    if synced && connection.total_changes() != before {
        commits.fetch_add(1, Ordering::SeqCst);
    }
    for finish in finishes {
        finish(outcome.as_ref().copied().map_err(again));
    }
}

/// Has commits wait for the medium or not; outside a transaction.
fn sync_as(connection: &Connection, wanted: bool, syncing: &mut bool) -> Result<(), StoreError> {
    if wanted != *syncing {
        let mode = if wanted { "FULL" } else { "NORMAL" };
        connection
            .execute_batch(&format!("PRAGMA synchronous = {mode}"))
            .map_err(|e| failed("how commits are synced", e))?;
        *syncing = wanted;
    }
    Ok(())
}

/// Runs one reading request on a snapshot of the database.
fn read(connection: &mut Connection, work: Work, counts: Option<&mut Counts>) {
    let begun = connection.execute_batch("BEGIN").map_err(|e| failed("begin", e));
    let mut transaction = Sqlite {
        connection,
        refuse: begun.err(),
        counts,
    };
    let (_, finish) = (work.run)(&mut transaction);
    if !connection.is_autocommit()
        && let Err(error) = connection.execute_batch("ROLLBACK")
    {
        tracing::error!(%error, "the catalogue's reader cannot end a transaction");
    }
    finish(Ok(()));
}

/// Counts as they were after some commit.
#[derive(Default)]
struct Counts {
    commit: u64,
    known: HashMap<(String, Vec<Value>), i64>,
}

impl Counts {
    fn forget_before(&mut self, commit: u64) {
        if self.commit != commit {
            self.known.clear();
            self.commit = commit;
        }
    }
}

struct Sqlite<'a> {
    connection: &'a Connection,
    /// The transaction could not begin: nothing may touch the database.
    refuse: Option<StoreError>,
    /// Who writes counts for itself: its own changes count.
    counts: Option<&'a mut Counts>,
}

impl Sqlite<'_> {
    fn prepare(
        &mut self,
        sql: &str,
        parameters: &[Value],
    ) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        if let Some(cause) = &self.refuse {
            return Err(again(cause));
        }
        // Some failures (a full disk) make SQLite roll back by itself; what came after would then be
        // committed statement by statement.
        if self.connection.is_autocommit() {
            let cause = "the transaction was rolled back after an earlier failure";
            return Err(StoreError::new(StoreErrorKind::Io, sql, cause));
        }
        let mut statement = self.connection.prepare_cached(sql).map_err(|e| failed(sql, e))?;
        for (at, value) in parameters.iter().enumerate() {
            // In SQLite `$1` is a name, not a position.
            let name = format!("${}", at + 1);
            let index = statement.parameter_index(&name).map_err(|e| failed(sql, e))?;
            let Some(index) = index else {
                return Err(StoreError::new(
                    StoreErrorKind::Constraint,
                    sql,
                    format!("does not use {name}"),
                ));
            };
            statement
                .raw_bind_parameter(index, value)
                .map_err(|e| failed(sql, e))?;
        }
        Ok(statement)
    }
}

impl Transaction for Sqlite<'_> {
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64, StoreError> {
        let mut statement = self.prepare(sql, parameters)?;
        let changed = statement.raw_execute().map_err(|e| failed(sql, e))?;
        Ok(changed as u64)
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, StoreError> {
        let mut statement = self.prepare(sql, parameters)?;
        let columns = statement.column_count();
        let mut found = statement.raw_query();
        let mut rows = Vec::new();
        while let Some(row) = found.next().map_err(|e| failed(sql, e))? {
            let value = |at| {
                row.get_ref(at)
                    .map_err(|e| failed(sql, e))
                    .and_then(|v| from_sqlite(sql, v))
            };
            rows.push(Row((0..columns).map(value).collect::<Result<_, _>>()?));
        }
        Ok(rows)
    }

    fn count(&mut self, sql: &str, parameters: &[Value]) -> Result<i64, StoreError> {
        let key = (sql.to_owned(), parameters.to_vec());
        if let Some(known) = self.counts.as_ref().and_then(|counts| counts.known.get(&key)) {
            return Ok(*known);
        }
        let row = self.query_one(sql, parameters)?;
        let count = row.map_or(Ok(0), |row| row.integer(0))?;
        if let Some(counts) = &mut self.counts {
            if counts.known.len() >= COUNTS_MAX {
                counts.known.clear();
            }
            counts.known.insert(key, count);
        }
        Ok(count)
    }
}

fn from_sqlite(sql: &str, value: ValueRef<'_>) -> Result<Value, StoreError> {
    let corrupt =
        |what: &str| StoreError::new(StoreErrorKind::Corrupt, sql, format!("a column holds {what}"));
    match value {
        ValueRef::Null => Ok(Value::Null),
        ValueRef::Integer(number) => Ok(Value::Integer(number)),
        ValueRef::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(text.to_owned())),
            Err(_) => Err(corrupt("text that is not UTF-8")),
        },
        ValueRef::Real(_) => Err(corrupt("a fraction")),
        ValueRef::Blob(_) => Err(corrupt("bytes")),
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

fn failed(subject: impl Into<String>, error: rusqlite::Error) -> StoreError {
    let kind = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => StoreErrorKind::Full,
        Some(ErrorCode::ConstraintViolation) => StoreErrorKind::Constraint,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => StoreErrorKind::Corrupt,
        _ => StoreErrorKind::Io,
    };
    StoreError::new(kind, subject, error)
}

/// The same failure for one more of those who share a commit.
fn again(cause: &StoreError) -> StoreError {
    StoreError::new(cause.kind, cause.subject.clone(), &cause.cause)
}
