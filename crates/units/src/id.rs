//! Names of things that cross layers: opaque, but safe as a file name and as an object key.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why a text is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} id {text:?} is not usable: it must be 1 to 64 of [A-Za-z0-9._-], and not start with a dot")]
pub struct IdError {
    kind: &'static str,
    text: String,
}

/// The shared rule (ecs-api.md 2.1): what is accepted here can be a path component anywhere.
fn check(kind: &'static str, text: &str) -> Result<(), IdError> {
    let good = (1..=64).contains(&text.len())
        && !text.starts_with('.')
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if good {
        Ok(())
    } else {
        Err(IdError {
            kind,
            text: text.chars().take(80).collect(),
        })
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks and wraps; fails on anything that could not be a path component.
            pub fn new(text: impl Into<String>) -> Result<Self, IdError> {
                let text = text.into();
                check($kind, &text)?;
                Ok(Self(text))
            }

            /// The id's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

id!(
    /// A disk, `d-…` at the API; names its volume and its head log too.
    DiskId, "disk"
);
id!(
    /// A snapshot, `s-…` at the API; names its record in the vault.
    SnapshotId, "snapshot"
);
id!(
    /// Snapshots of several disks at one moment, `ssg-…` at the API.
    GroupId, "snapshot group"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_safe_path_components() {
        assert!(DiskId::new("d-bp1abc").is_ok());
        for bad in ["", ".", "..", "a/b", "a b", "é", &"x".repeat(65)] {
            assert!(DiskId::new(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
