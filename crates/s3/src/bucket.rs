//! [`S3Bucket`]: the trait, from any thread, over a thread of its own.
//!
//! The engine's threads have no tokio, and HTTP needs one: each bucket has a small runtime on one thread.
//! A call becomes a task there; its end wakes the caller, whatever executor that runs on. A caller that goes
//! away takes its task along, as a process that dies would: a request under way then happens or never does.
//! The thread ends when the last handle is gone.

use crate::client::Client;
use crate::create_only::CreateOnly;
use crate::credentials::Credentials;
use crate::failure::{Failure, Trouble};
use crate::location::Location;
use crate::operation::{Failed, Operations};
use crate::transport::Observed;
use bytes::Bytes;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tidemark_env::{Bucket, BucketError, BucketErrorKind, LocalFuture, ObjectInfo, Precondition, check_key};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A bucket in an S3-compatible store. Clones share its connections.
#[derive(Clone)]
pub struct S3Bucket(Arc<Shared>);

struct Shared {
    location: Location,
    operations: Arc<Operations>,
    runtime: Handle,
    /// Dropped with the last handle, which ends the thread.
    _end: oneshot::Sender<()>,
}

impl std::fmt::Debug for S3Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "S3Bucket({})", self.0.location)
    }
}

/// A bucket that cannot even be tried; for people.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OpenError(String);

/// A task that ends with its caller.
struct Task<T>(JoinHandle<T>);

impl<T> Future for Task<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl S3Bucket {
    /// Starts the bucket's thread. Nothing is asked of the store yet, so this succeeds also while it is down.
    pub fn open(location: Location, credentials: &Credentials) -> Result<Self, OpenError> {
        let client = Client::new(&location, credentials).map_err(OpenError)?;
        let operations = Arc::new(Operations::new(client, &location));
        let cannot = |e: io::Error| OpenError(format!("the bucket's thread cannot be started: {e}"));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot)?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name("bucket".into())
            .spawn(move || {
                // The end of the sender is what is waited for.
                let _ = runtime.block_on(ended);
                // A name that is being looked up must not hold the end up.
                runtime.shutdown_background();
            })
            .map_err(cannot)?;
        Ok(Self(Arc::new(Shared {
            location,
            operations,
            runtime: handle,
            _end: end,
        })))
    }

    /// Where it is.
    pub fn location(&self) -> &Location {
        &self.0.location
    }

    /// Whether the store decides who creates a key first; asks it, once. Needs to write.
    pub fn create_only(&self) -> impl Future<Output = Result<CreateOnly, BucketError>> + Send + use<> {
        self.run("create twice in", String::new(), |operations, _| async move {
            let found = operations.create_only().await;
            found.cloned().map_err(|failure| Failed {
                kind: failure.trouble.kind_of_read(),
                failure,
            })
        })
    }

    /// What the store's answers have told so far.
    pub fn observed(&self) -> &Observed {
        self.0.operations.client().observed()
    }

    fn run<T, F, W>(
        &self,
        step: &'static str,
        key: String,
        work: W,
    ) -> impl Future<Output = Result<T, BucketError>> + Send + use<T, F, W>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Operations>, String) -> F,
        F: Future<Output = Result<T, Failed>> + Send + 'static,
    {
        let work = work(Arc::clone(&self.0.operations), key.clone());
        let task = Task(self.0.runtime.spawn(work));
        async move {
            match task.await {
                Ok(done) => done.map_err(|failed| error(failed.kind, step, key, failed.failure)),
                Err(cause) => {
                    let text = format!("the bucket's thread gave the request up: {cause}");
                    Err(error(
                        BucketErrorKind::Unknown,
                        step,
                        key,
                        Failure::new(Trouble::Broken, text),
                    ))
                }
            }
        }
    }
}

fn error(kind: BucketErrorKind, step: &'static str, key: String, failure: Failure) -> BucketError {
    BucketError {
        kind,
        step,
        key,
        cause: Box::new(failure),
    }
}

fn check(step: &'static str, key: &str) -> Result<(), BucketError> {
    check_key(key).map_err(|why| {
        let failure = Failure::new(Trouble::Refused, why);
        error(BucketErrorKind::Other, step, key.to_owned(), failure)
    })
}

/// Begins at its first poll, as futures do.
macro_rules! operation {
    ($bucket:expr, $step:literal, $key:expr, $checked:expr, $work:expr) => {{
        let key = $key.to_owned();
        Box::pin(async move {
            $checked($step, &key)?;
            $bucket.run($step, key, $work).await
        })
    }};
}

impl Bucket for S3Bucket {
    fn put(
        &self,
        key: &str,
        body: Vec<Bytes>,
        pre: Precondition,
    ) -> LocalFuture<'_, Result<(), BucketError>> {
        operation!(self, "put", key, check, |operations, key| async move {
            operations.put(&key, &body, pre).await
        })
    }

    fn get(&self, key: &str) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        operation!(self, "get", key, check, |operations, key| async move {
            operations.get(&key).await
        })
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        operation!(self, "get range of", key, check, |operations, key| async move {
            operations.get_range(&key, range).await
        })
    }

    fn size(&self, key: &str) -> LocalFuture<'_, Result<u64, BucketError>> {
        operation!(self, "size of", key, check, |operations, key| async move {
            operations.size(&key).await
        })
    }

    fn list(&self, prefix: &str) -> LocalFuture<'_, Result<Vec<ObjectInfo>, BucketError>> {
        operation!(
            self,
            "list",
            prefix,
            check_prefix,
            |operations, prefix| async move { operations.list(&prefix).await }
        )
    }

    fn any(&self, prefix: &str) -> LocalFuture<'_, Result<Option<String>, BucketError>> {
        operation!(
            self,
            "look for anything in",
            prefix,
            check_prefix,
            |operations, prefix| async move { operations.any(&prefix).await }
        )
    }

    fn delete(&self, key: &str) -> LocalFuture<'_, Result<(), BucketError>> {
        operation!(self, "delete", key, check, |operations, key| async move {
            operations.delete(&key).await
        })
    }

    fn describe(&self) -> String {
        self.0.location.to_string()
    }
}

fn check_prefix(step: &'static str, prefix: &str) -> Result<(), BucketError> {
    let inner = match prefix {
        "" => return Ok(()),
        prefix => prefix.strip_suffix('/'),
    };
    match inner {
        Some(inner) => check(step, inner),
        None => {
            let failure = Failure::new(Trouble::Refused, "a prefix is empty or ends with `/`");
            Err(error(BucketErrorKind::Other, step, prefix.to_owned(), failure))
        }
    }
}
