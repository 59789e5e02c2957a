//! What went wrong in the vault: a kind to act on, the step, its subject and the cause.
//!
//! Kinds are few and stable; text is for people. A subject grows outwards ([`VaultError::within`])
//! as callers add the names that they know: `snapshot s-1: chunk 17: pack 3f…`.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use tidemark_env::{BucketError, BucketErrorKind};

/// What the caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VaultErrorKind {
    /// Try again with back-off.
    Busy,
    /// It is not there; trying again will not help.
    Missing,
    /// Bytes do not match their name or break the format: never served, tell an operator.
    Corrupt,
    /// The bucket or the file system refused us.
    Denied,
    /// The vault is encrypted, and no key that opens it was given.
    Locked,
    /// No room in the bucket or in the spool.
    Full,
    /// Somebody else won the head log: stop.
    Lost,
    /// What the snapshot is relative to may be gone: take it in full.
    Stale,
    /// Anything else, misuse included.
    Other,
}

/// A failed vault operation. Cheap to clone: several readers may wait for one fetch.
#[derive(Clone, Debug, thiserror::Error)]
#[error("vault: {step}: {subject}: {cause}")]
pub struct VaultError {
    /// What the caller can do.
    pub kind: VaultErrorKind,
    /// Which step failed.
    pub step: &'static str,
    /// On what: the snapshot, chunk, pack or key.
    pub subject: String,
    /// What happened.
    pub cause: Arc<dyn StdError + Send + Sync>,
}

/// The vault's result.
pub type Result<T, E = VaultError> = std::result::Result<T, E>;

impl VaultError {
    /// An error of `kind`.
    pub fn new(
        kind: VaultErrorKind,
        step: &'static str,
        subject: impl Display,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self {
            kind,
            step,
            subject: subject.to_string(),
            cause: Arc::from(cause.into()),
        }
    }

    /// Bytes that do not match their name or break the format.
    pub(crate) fn corrupt(
        step: &'static str,
        subject: impl Display,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(VaultErrorKind::Corrupt, step, subject, cause)
    }

    /// Misuse, or a state that forbids the call.
    pub(crate) fn other(
        step: &'static str,
        subject: impl Display,
        cause: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self::new(VaultErrorKind::Other, step, subject, cause)
    }

    /// A failed bucket operation, seen from `step`.
    pub(crate) fn bucket(step: &'static str, cause: BucketError) -> Self {
        let kind = match cause.kind {
            BucketErrorKind::Missing => VaultErrorKind::Missing,
            BucketErrorKind::Denied => VaultErrorKind::Denied,
            BucketErrorKind::Busy | BucketErrorKind::Unknown => VaultErrorKind::Busy,
            BucketErrorKind::Full => VaultErrorKind::Full,
            BucketErrorKind::Exists | BucketErrorKind::Other => VaultErrorKind::Other,
        };
        let subject = cause.key.clone();
        Self::new(kind, step, subject, cause)
    }

    /// A failed file operation on `subject`.
    pub(crate) fn io(step: &'static str, subject: impl Display, cause: io::Error) -> Self {
        let kind = match cause.kind() {
            io::ErrorKind::NotFound => VaultErrorKind::Missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => VaultErrorKind::Denied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                VaultErrorKind::Full
            }
            _ => VaultErrorKind::Other,
        };
        Self::new(kind, step, subject, cause)
    }

    /// The same error, its subject inside `outer`.
    #[must_use]
    pub fn within(mut self, outer: impl Display) -> Self {
        self.subject = format!("{outer}: {}", self.subject);
        self
    }
}
