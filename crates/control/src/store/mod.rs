//! The catalogue's database, seen as transactions over rows.
//!
//! A transaction is a closure that runs on the database's own thread: no tokio worker ever waits for
//! a disk, and no transaction ever waits for the network in the middle. What must stay true:
//! (1) when [`Store::write`] has returned `Ok`, the change survives a power cut, and when
//! [`Store::write_unsynced`] has, the end of the process; (2) a closure that
//! returns an error leaves nothing behind; (3) writes happen one after another, so what a closure
//! has checked is still so when it writes.
//!
//! SQL is written in the dialect that SQLite and PostgreSQL share: `$1` parameters, `BIGINT` and
//! `TEXT`, `ON CONFLICT`, `RETURNING`. Only [`sqlite`] knows which database it is.
//! Not here: what the tables mean (`catalogue`), which changes are allowed (`states`, `actions`).

pub(crate) mod migrations;
pub(crate) mod sqlite;
mod value;

pub use value::{Row, Value};

use std::path::Path;
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// What kind of failure; tells the caller what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// No room for the change; nothing was changed.
    Full,
    /// A constraint forbids the change: a bug above, or a damaged catalogue.
    Constraint,
    /// The file is not a catalogue, is damaged, or a row is not what the code expects.
    Corrupt,
    /// The catalogue was written by a newer program.
    TooNew,
    /// The database's thread has ended.
    Stopped,
    /// Anything else the medium answers.
    Io,
}

/// A failed access to the catalogue.
#[derive(Debug, thiserror::Error)]
#[error("catalogue: {subject}: {cause}")]
pub struct StoreError {
    /// What the caller can do.
    pub kind: StoreErrorKind,
    /// What was attempted.
    pub subject: String,
    /// Why it failed.
    pub cause: String,
}

impl StoreError {
    pub(crate) fn new(kind: StoreErrorKind, subject: impl Into<String>, cause: impl ToString) -> Self {
        Self {
            kind,
            subject: subject.into(),
            cause: cause.to_string(),
        }
    }

    fn stopped() -> Self {
        Self::new(
            StoreErrorKind::Stopped,
            "transaction",
            "the database's thread has ended",
        )
    }
}

/// One transaction: what repositories work on.
pub trait Transaction {
    /// Runs a statement; answers how many rows it changed.
    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<u64, StoreError>;

    /// Runs a query and reads all its rows.
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, StoreError>;

    /// The number that a query of one `COUNT(*)` answers; may come from memory while no change was committed since.
    fn count(&mut self, sql: &str, parameters: &[Value]) -> Result<i64, StoreError> {
        self.query_one(sql, parameters)?
            .map_or(Ok(0), |row| row.integer(0))
    }

    /// The only row of a query, if there is one.
    fn query_one(&mut self, sql: &str, parameters: &[Value]) -> Result<Option<Row>, StoreError> {
        Ok(self.query(sql, parameters)?.into_iter().next())
    }
}

/// Told after the commit (or its failure), on the database's thread.
type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs inside a transaction; says whether to keep its changes, and what to do after the commit.
type Run = Box<dyn FnOnce(&mut dyn Transaction) -> (bool, Finish) + Send>;

/// One request to the database.
struct Work {
    run: Run,
    synced: bool,
}

/// Looks through the catalogue file at `path` while no service has it open, and changes nothing. Answers what is
/// wrong inside it, a sentence each; fails when it cannot be read as a catalogue at all.
pub fn check(path: &Path) -> Result<Vec<String>, StoreError> {
    sqlite::check(path, migrations::ALL.last().map_or(0, |newest| newest.version))
}

/// Writes the catalogue file at `path` anew, so that nothing is left in it of rows that were changed or removed. Waits
/// for transactions under way.
pub fn rewrite(path: &Path) -> Result<(), StoreError> {
    sqlite::rewrite(path)
}

/// What a catalogue holds, for who must not write over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Ids of snapshots, whatever their state.
    pub snapshots: std::collections::BTreeSet<String>,
    /// How many disks.
    pub disks: u64,
    /// How many instances.
    pub instances: u64,
}

impl Contents {
    /// Whether it holds none of these.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty() && self.disks == 0 && self.instances == 0
    }
}

impl std::fmt::Display for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (snapshots, disks, instances) = (self.snapshots.len(), self.disks, self.instances);
        write!(
            f,
            "{snapshots} snapshots, {disks} disks and {instances} instances"
        )
    }
}

/// What the catalogue file at `path` holds, while no service has it open; changes nothing.
pub fn contents(path: &Path) -> Result<Contents, StoreError> {
    sqlite::contents(path, migrations::ALL.last().map_or(0, |newest| newest.version))
}

/// The database: clones share it. Its threads end when the last clone is dropped.
#[derive(Clone)]
pub struct Store {
    writes: Arc<mpsc::Sender<Work>>,
    reads: Arc<mpsc::Sender<Work>>,
    rounds: Arc<mpsc::Sender<Work>>,
}

impl Store {
    /// Opens the catalogue file, making it on first use, and brings its schema up to date. Refuses a
    /// schema that is newer than this program (`TooNew`), and anything that is no catalogue.
    pub fn open(path: &Path) -> Result<Store, StoreError> {
        let queues = sqlite::start(path, migrations::ALL)?;
        Ok(Store {
            writes: Arc::new(queues.writes),
            reads: Arc::new(queues.reads),
            rounds: Arc::new(queues.rounds),
        })
    }

    /// Runs `work` as one durable transaction. An error undoes all of it.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Transaction) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        Self::submit(&self.writes, work, true).await
    }

    /// As [`write`](Self::write), but a power cut may undo it until the next `write` has returned. For what no list
    /// shows: counts that are kept in memory are not taken anew because of it.
    pub async fn write_unsynced<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Transaction) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        Self::submit(&self.writes, work, false).await
    }

    /// Runs `work` on a consistent, committed state, without waiting for writers. It must not write.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Transaction) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        Self::submit(&self.reads, work, true).await
    }

    /// As [`read`](Self::read), for what looks through whole tables and nobody waits for: callers' reads do not queue
    /// behind it.
    pub(crate) async fn read_in_background<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Transaction) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        Self::submit(&self.rounds, work, true).await
    }

    async fn submit<T, E, F>(queue: &mpsc::Sender<Work>, work: F, synced: bool) -> Result<T, E>
    where
        F: FnOnce(&mut dyn Transaction) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let run: Run = Box::new(move |transaction| {
            let result = work(transaction);
            let keep = result.is_ok();
            let finish: Finish = Box::new(move |committed| {
                let outcome = match committed {
                    Ok(()) => result,
                    Err(failure) => Err(failure.into()),
                };
                // Nobody may be waiting any more; the change stands all the same.
                let _ = answer.send(outcome);
            });
            (keep, finish)
        });
        queue
            .send(Work { run, synced })
            .map_err(|_| StoreError::stopped())?;
        answered.await.map_err(|_| StoreError::stopped())?
    }
}

#[cfg(test)]
mod tests;
