//! Objects under keys: what a snapshot store needs of a local directory or an S3-compatible service.
//!
//! A put is atomic and durable when it returns `Ok`. A put whose answer was lost may have happened:
//! [`BucketErrorKind::Unknown`]. Reads after a successful put see it. Keys are `/`-separated, ASCII.

use crate::LocalFuture;
use bytes::Bytes;
use std::ops::Range;
use std::path::Path;

/// Longest name between two `/`, as file systems have it.
const COMPONENT_BYTES_MAX: usize = 255;

/// What a put demands of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Whatever is there is replaced.
    None,
    /// Nothing may be there: [`BucketErrorKind::Exists`] otherwise, decided atomically.
    Absent,
}

/// One listed object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectInfo {
    /// Its whole key.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What kind of failure; tells the caller what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketErrorKind {
    /// No such object. Trying again will not help.
    Missing,
    /// The precondition [`Precondition::Absent`] does not hold.
    Exists,
    /// The bucket refused us (credentials, permissions).
    Denied,
    /// Slow down or unreachable, and nothing was changed: try again with back-off.
    Busy,
    /// The request may or may not have taken effect.
    Unknown,
    /// No room.
    Full,
    /// Anything else.
    Other,
}

/// A failed bucket operation: its kind, its subject and its cause.
#[derive(Debug, thiserror::Error)]
#[error("bucket: {step} {key:?}: {cause}")]
pub struct BucketError {
    /// What the caller can do.
    pub kind: BucketErrorKind,
    /// Which operation.
    pub step: &'static str,
    /// Which key or prefix.
    pub key: String,
    /// What happened.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Objects under keys.
pub trait Bucket {
    /// Stores an object whole.
    fn put(&self, key: &str, body: Vec<Bytes>, pre: Precondition)
    -> LocalFuture<'_, Result<(), BucketError>>;
    /// Stores a local file under a key where nothing may be, without copying its bytes, if the bucket can:
    /// `false` means that it cannot and nothing was changed. The file must be synced and must never
    /// change again; its own name may be removed afterwards.
    fn adopt(&self, key: &str, file: &Path) -> LocalFuture<'_, Result<bool, BucketError>> {
        let _ = (key, file);
        Box::pin(async { Ok(false) })
    }
    /// An object's bytes.
    fn get(&self, key: &str) -> LocalFuture<'_, Result<Bytes, BucketError>>;
    /// Bytes `range` of an object; a range past its end is [`BucketErrorKind::Other`], never a short answer.
    fn get_range(&self, key: &str, range: Range<u64>) -> LocalFuture<'_, Result<Bytes, BucketError>>;
    /// An object's size in bytes.
    fn size(&self, key: &str) -> LocalFuture<'_, Result<u64, BucketError>>;
    /// Every object whose key starts with `prefix` (which ends at a `/` or is empty), sorted by key.
    fn list(&self, prefix: &str) -> LocalFuture<'_, Result<Vec<ObjectInfo>, BucketError>>;
    /// The key of some object that starts with `prefix` (as in [`Bucket::list`]), or `None` if there is none. Does not look at
    /// all of them where that can be helped: a place may hold millions.
    fn any(&self, prefix: &str) -> LocalFuture<'_, Result<Option<String>, BucketError>> {
        let listed = self.list(prefix);
        Box::pin(async move { Ok(listed.await?.into_iter().next().map(|object| object.key)) })
    }
    /// Removes an object; one that is not there is fine.
    fn delete(&self, key: &str) -> LocalFuture<'_, Result<(), BucketError>>;
    /// Where this is, for people (no secrets).
    fn describe(&self) -> String;
}

/// Whether `key` can name an object in every bucket; if not, why.
pub fn check_key(key: &str) -> Result<(), &'static str> {
    for component in key.split('/') {
        if component.is_empty() || component.len() > COMPONENT_BYTES_MAX {
            return Err("a key has 1 to 255 characters before, between and after each `/`");
        }
        if component.starts_with('.') {
            return Err("no part of a key begins with a dot");
        }
        if !component.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a key consists of visible ASCII characters");
        }
    }
    Ok(())
}
