//! Bytes that must not be seen: wiped when they go, and no `Debug` shows them.

use crate::error::{Result, VaultError};
use std::fmt;
use std::sync::Arc;
use tidemark_env::Env;
use zeroize::Zeroizing;

/// Bytes of every key here.
pub(crate) const KEY_BYTES: usize = 32;

/// A key.
#[derive(Clone)]
pub(crate) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    pub(crate) fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(crate) fn random(env: &Env) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        env.entropy.fill(&mut bytes[..]);
        Self(bytes)
    }

    /// The key for one purpose, from a key for many.
    pub(crate) fn derive(&self, context: &str) -> Self {
        Self::new(blake3::derive_key(context, &self.0[..]))
    }

    /// The key for one thing, from a key for all things of a kind.
    pub(crate) fn for_name(&self, kind: u8, name: &[u8]) -> Self {
        let mut hasher = self.hasher();
        hasher.update(&[kind]).update(name);
        Self::new(*hasher.finalize().as_bytes())
    }

    /// BLAKE3 keyed with this.
    pub(crate) fn hasher(&self) -> blake3::Hasher {
        blake3::Hasher::new_keyed(&self.0)
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// What opens an encrypted vault: a passphrase or a key file's content. Cheap to clone; `Debug` shows only which.
#[derive(Clone)]
pub struct Secret(Arc<Kind>);

enum Kind {
    Passphrase(Zeroizing<Vec<u8>>),
    KeyFile(Key),
}

/// The two kinds of secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecretKind {
    /// Something that a person chose: made into a key by Argon2id.
    Passphrase,
    /// 32 random bytes.
    KeyFile,
}

impl fmt::Display for SecretKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SecretKind::Passphrase => "passphrase",
            SecretKind::KeyFile => "key file",
        })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({})", self.kind())
    }
}

impl Secret {
    /// A passphrase, as bytes. The end of a line is no part of it: files end with one. An empty one is refused.
    pub fn passphrase(bytes: impl Into<Vec<u8>>) -> Result<Self> {
        let mut bytes = Zeroizing::new(bytes.into());
        while matches!(bytes.last(), Some(b'\n' | b'\r')) {
            bytes.pop();
        }
        if bytes.is_empty() {
            return Err(VaultError::other("read passphrase", "vault key", "it is empty"));
        }
        Ok(Self(Arc::new(Kind::Passphrase(bytes))))
    }

    /// A key file's content: 32 bytes, or 64 hex digits and the end of a line.
    pub fn key_file(content: &[u8]) -> Result<Self> {
        let key = if let Ok(raw) = <[u8; KEY_BYTES]>::try_from(content) {
            Some(Key::new(raw))
        } else {
            let digits = content.trim_ascii();
            let decoded = data_encoding::HEXLOWER_PERMISSIVE
                .decode(digits)
                .map(Zeroizing::new);
            let bytes = decoded.ok().and_then(|bytes| bytes.as_slice().try_into().ok());
            bytes.map(Key::new)
        };
        match key {
            Some(key) => Ok(Self(Arc::new(Kind::KeyFile(key)))),
            None => {
                let cause = format!(
                    "{} bytes that are neither a key of {KEY_BYTES} bytes nor one of {} hex digits",
                    content.len(),
                    2 * KEY_BYTES
                );
                Err(VaultError::other("read key file", "vault key", cause))
            }
        }
    }

    /// Which kind.
    pub fn kind(&self) -> SecretKind {
        match &*self.0 {
            Kind::Passphrase(_) => SecretKind::Passphrase,
            Kind::KeyFile(_) => SecretKind::KeyFile,
        }
    }

    pub(super) fn as_passphrase(&self) -> Option<&[u8]> {
        match &*self.0 {
            Kind::Passphrase(bytes) => Some(bytes),
            Kind::KeyFile(_) => None,
        }
    }

    pub(super) fn as_key(&self) -> Option<&Key> {
        match &*self.0 {
            Kind::Passphrase(_) => None,
            Kind::KeyFile(key) => Some(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_is_raw_or_hex() {
        let raw = Secret::key_file(&[0xab; 32]).unwrap();
        for text in ["ab".repeat(32), format!("{}\n", "AB".repeat(32))] {
            let hex = Secret::key_file(text.as_bytes()).unwrap();
            assert_eq!(hex.as_key().unwrap().bytes(), raw.as_key().unwrap().bytes());
        }
        for bad in [&b""[..], &[1; 31], &[b'a'; 63], &[b'g'; 64]] {
            let error = Secret::key_file(bad).unwrap_err().to_string();
            assert!(error.contains(&format!("{} bytes", bad.len())), "{error}");
        }
    }

    #[test]
    fn a_passphrase_ends_before_the_line_does_and_nothing_shows_it() {
        let secret = Secret::passphrase("tide and time\r\n").unwrap();
        assert_eq!(secret.as_passphrase(), Some(&b"tide and time"[..]));
        assert_eq!(format!("{secret:?}"), "Secret(passphrase)");
        assert_eq!(format!("{:?}", Key::new([7; 32])), "Key(..)");
        Secret::passphrase("\n").unwrap_err();
    }
}
