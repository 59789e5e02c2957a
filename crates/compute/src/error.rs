//! Why something could not be done with a guest.

/// What the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeErrorKind {
    /// There is no QEMU here.
    NotInstalled,
    /// The guests that run leave too little memory for this one.
    NoCapacity,
    /// No such guest runs.
    NotRunning,
    /// The guest does not let go of a disk. It still has it.
    GuestBusy,
    /// No agent answers inside the guest.
    NoAgent,
    /// Anything else; the message says what.
    Failed,
}

/// A kind for programs, and a sentence for people that names the guest and shows QEMU's own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ComputeError {
    /// What the caller can do about it.
    pub kind: ComputeErrorKind,
    /// What happened, to whom.
    pub message: String,
}

impl ComputeError {
    pub(crate) fn new(kind: ComputeErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind, message }
    }

    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(ComputeErrorKind::Failed, message)
    }

    pub(crate) fn not_running(id: &str) -> Self {
        Self::new(ComputeErrorKind::NotRunning, format!("guest {id} does not run"))
    }

    /// The same, with whom it is about in front.
    pub(crate) fn about(mut self, what: impl std::fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}
