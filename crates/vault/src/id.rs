//! Names of things in the vault: fixed-size byte strings, written as lower-case hex.

use std::fmt;
use std::str::FromStr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A text that is not the hex form of an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not {digits} lower-case hex digits")]
pub struct HexError {
    text: String,
    digits: usize,
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
            Unaligned,
        )]
        #[repr(transparent)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                data_encoding::HEXLOWER
                    .decode(text.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok())
                    .map(Self)
                    .ok_or_else(|| HexError { text: text.chars().take(80).collect(), digits: 2 * $len })
            }
        }

        impl TryFrom<String> for $name {
            type Error = HexError;
            fn try_from(text: String) -> Result<Self, HexError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes_id!(
    /// A chunk's name: BLAKE3 of its 65536 plain bytes, keyed in an encrypted vault ([`crate::Naming`]).
    ChunkId, 32
);
bytes_id!(
    /// A tree node's name: a hash of its logical content, see [`crate::tree`].
    NodeId, 32
);
bytes_id!(
    /// A pack's name: random; the second half names the capture that made it.
    PackId, 16
);

impl PackId {
    /// A new name for a pack of `capture`.
    pub(crate) fn new(random: [u8; 8], capture: CaptureId) -> Self {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&random);
        id[8..].copy_from_slice(&capture.0);
        Self(id)
    }

    /// The capture that made it.
    pub fn capture(&self) -> CaptureId {
        let mut id = [0; 8];
        id.copy_from_slice(&self.0[8..]);
        CaptureId(id)
    }
}

bytes_id!(
    /// A capture's name: random, and the second half of the names of its packs.
    CaptureId, 8
);
bytes_id!(
    /// A vault's name: random, made with it.
    VaultId, 16
);
bytes_id!(
    /// Marks an entry as written by one attempt of one writer: random.
    Nonce, 16
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_both_ways_and_nothing_else_is_taken() {
        let id = PackId(*b"0123456789abcdef");
        assert_eq!(id.to_string().parse::<PackId>(), Ok(id));
        for bad in [
            "",
            "00",
            &"0".repeat(33),
            &"A".repeat(32),
            &"g".repeat(32),
            "é".repeat(16).as_str(),
        ] {
            assert!(bad.parse::<PackId>().is_err(), "{bad:?}");
        }
    }
}
