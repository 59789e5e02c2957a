//! A piece of what is sent to a peer.

use crate::real::Lent;
use bytes::Bytes;

/// Bytes in memory, or a range of a file that the peer takes from the system's cache.
#[derive(Clone, Debug)]
pub enum Piece {
    /// In memory.
    Bytes(Bytes),
    /// In a file; see [`crate::File::lend`].
    Lent(Lent),
}

impl Piece {
    /// Bytes in it.
    pub fn len(&self) -> usize {
        match self {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Lent(lent) => lent.len(),
        }
    }

    /// The bytes, of a piece in memory.
    pub fn into_bytes(self) -> Option<Bytes> {
        match self {
            Piece::Bytes(bytes) => Some(bytes),
            Piece::Lent(_) => None,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Bytes> for Piece {
    fn from(bytes: Bytes) -> Self {
        Piece::Bytes(bytes)
    }
}
