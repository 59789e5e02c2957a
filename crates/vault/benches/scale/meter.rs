//! A bucket that counts, and what a step cost.

use bytes::Bytes;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;
use std::rc::Rc;
use std::time::Instant;
use tidemark_env::{Bucket, BucketError, DirBucket, LocalFuture, ObjectInfo, Precondition};

/// Requests by kind, and bytes both ways.
#[derive(Clone, Copy, Default)]
struct Counts {
    put: u64,
    get: u64,
    size: u64,
    list: u64,
    listed: u64,
    delete: u64,
    written: u64,
    read: u64,
}

/// A directory as a bucket, with counters. It does not adopt files: what a store over the network would be sent is
/// written, and counted.
pub struct Meter {
    inner: DirBucket,
    counts: RefCell<Counts>,
}

type Answer<'a, T> = LocalFuture<'a, Result<T, BucketError>>;

impl Meter {
    pub fn new(inner: DirBucket) -> Rc<Self> {
        Rc::new(Self {
            inner,
            counts: RefCell::default(),
        })
    }

    /// Does something and prints what it cost, with what `more` says of the outcome.
    pub async fn step<T>(
        &self,
        name: &str,
        at: u32,
        work: impl Future<Output = T>,
        more: impl FnOnce(&T) -> Value,
    ) -> T {
        let (before, begun) = (*self.counts.borrow(), Instant::now());
        let done = work.await;
        let seconds = begun.elapsed().as_secs_f64();
        let now = *self.counts.borrow();
        let line = json!({
            "step": name, "at": at, "seconds": seconds,
            "put": now.put - before.put, "get": now.get - before.get, "size": now.size - before.size,
            "list": now.list - before.list, "listed": now.listed - before.listed,
            "delete": now.delete - before.delete,
            "written": now.written - before.written, "read": now.read - before.read,
            "memory": memory_bytes("VmRSS:"), "peak": memory_bytes("VmHWM:"),
            "more": more(&done),
        });
        println!("{line}");
        done
    }

    /// Objects and bytes below a prefix.
    pub async fn below(&self, prefix: &str) -> Value {
        let objects = self.inner.list(prefix).await.expect("a directory can be listed");
        let bytes: u64 = objects.iter().map(|object| object.bytes).sum();
        json!({"objects": objects.len(), "bytes": bytes})
    }

    fn count(&self, with: impl FnOnce(&mut Counts)) {
        with(&mut self.counts.borrow_mut());
    }
}

/// A figure of this process, in bytes.
pub fn memory_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

impl Bucket for Meter {
    fn put(&self, key: &str, body: Vec<Bytes>, pre: Precondition) -> Answer<'_, ()> {
        self.count(|counts| {
            counts.put += 1;
            counts.written += body.iter().map(|piece| piece.len() as u64).sum::<u64>();
        });
        self.inner.put(key, body, pre)
    }

    fn adopt(&self, _: &str, _: &Path) -> Answer<'_, bool> {
        Box::pin(async { Ok(false) })
    }

    fn get(&self, key: &str) -> Answer<'_, Bytes> {
        let key = key.to_owned();
        Box::pin(async move {
            let got = self.inner.get(&key).await;
            let bytes = got.as_ref().map_or(0, |bytes| bytes.len() as u64);
            self.count(|counts| {
                counts.get += 1;
                counts.read += bytes;
            });
            got
        })
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> Answer<'_, Bytes> {
        self.count(|counts| {
            counts.get += 1;
            counts.read += range.end - range.start;
        });
        self.inner.get_range(key, range)
    }

    fn size(&self, key: &str) -> Answer<'_, u64> {
        self.count(|counts| counts.size += 1);
        self.inner.size(key)
    }

    fn list(&self, prefix: &str) -> Answer<'_, Vec<ObjectInfo>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let listed = self.inner.list(&prefix).await;
            let objects = listed.as_ref().map_or(0, |objects| objects.len() as u64);
            self.count(|counts| {
                // A store over the network tells a thousand at a time.
                counts.list += objects.div_ceil(1000).max(1);
                counts.listed += objects;
            });
            listed
        })
    }

    fn delete(&self, key: &str) -> Answer<'_, ()> {
        self.count(|counts| counts.delete += 1);
        self.inner.delete(key)
    }

    fn describe(&self) -> String {
        format!("{} (counted)", self.inner.describe())
    }
}
