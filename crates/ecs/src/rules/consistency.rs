//! `Consistency`, a parameter of our own: how far a guest is told of its snapshot (product.md 2.7). The vendor's plug-in asks for it
//! inside the guest; here the caller does.

use crate::{ApiError, Params};
use serde::Serialize;

/// From the least to the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Consistency {
    /// As after a power cut; nobody is told.
    #[default]
    Crash,
    /// Its file systems are synced and stand still.
    FileSystem,
    /// Its own script has run before that.
    Application,
}

impl Consistency {
    /// What is asked for; nothing is [`Consistency::Crash`].
    ///
    /// # Errors
    /// 400 `InvalidConsistency.Malformed` for another word.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let words = ["Crash", "FileSystem", "Application"];
        let word = params.word("Consistency", &words, 400, "InvalidConsistency.Malformed")?;
        Ok(match word.as_deref() {
            Some("FileSystem") => Self::FileSystem,
            Some("Application") => Self::Application,
            _ => Self::Crash,
        })
    }
}
