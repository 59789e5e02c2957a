//! What can go wrong with a volume: a short, stable list of kinds, a subject and a cause.

use std::io;

/// What kind of failure; tells the caller what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeErrorKind {
    /// The request does not fit the volume (past the end, wrong size): the caller's fault.
    Invalid,
    /// Not now (another owner, a capture under way, clients connected); nothing was changed.
    Busy,
    /// No room; nothing of the refused request will become visible.
    Full,
    /// Bytes on the medium are not what was written there. Never served, never truncated away.
    Corrupt,
    /// An earlier write or sync failed, so the state of unsynced data is unknown: reopen and replay.
    Poisoned,
    /// A chunk that is not local could not be fetched now.
    Unavailable,
    /// The medium failed.
    Io,
}

/// A failed operation on a volume.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct VolumeError {
    /// What the caller can do.
    pub kind: VolumeErrorKind,
    /// What failed, on what, and why.
    pub message: String,
}

impl VolumeError {
    /// An error of `kind` that says `message`.
    pub fn new(kind: VolumeErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(VolumeErrorKind::Invalid, message)
    }

    pub(crate) fn corrupt(message: impl Into<String>) -> Self {
        Self::new(VolumeErrorKind::Corrupt, message)
    }

    /// Names the volume that this is about; when it is damaged, says what its operator can do.
    pub(crate) fn about(self, subject: &str) -> Self {
        let advice = match self.kind {
            VolumeErrorKind::Corrupt => {
                ". Nothing was changed; `tidemark doctor` shows the whole damage. Put the damaged file back from a copy, or \
                 make the disk anew from its last snapshot"
            }
            _ => "",
        };
        Self::new(self.kind, format!("{subject}: {}{advice}", self.message))
    }

    /// Wraps a file error, saying what was being done.
    pub(crate) fn io(doing: impl std::fmt::Display, cause: &io::Error) -> Self {
        let kind = match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => VolumeErrorKind::Full,
            io::ErrorKind::WouldBlock => VolumeErrorKind::Busy,
            _ => VolumeErrorKind::Io,
        };
        Self::new(kind, format!("{doing}: {cause}"))
    }
}

/// Shorthand of this crate.
pub type Result<T> = std::result::Result<T, VolumeError>;
