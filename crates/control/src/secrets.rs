//! Secrets at rest: sealed, under a key that lies beside the catalogue and not in it.
//!
//! ```text
//! sealed = base64( nonce [12] | ciphertext | tag [16] )       AES-256-GCM
//! ```
//! What a secret is for (whose it is) is authenticated with it, so that a sealed text moved to another row opens as
//! nothing. A nonce is 96 random bits; one key seals as many secrets as people make, far below where two could meet.
//! What must stay true: whoever has the catalogue file alone can sign nothing. Who has the whole data directory has the
//! key too, unless it was put elsewhere.

use crate::ControlError;
use crate::control::random;
use data_encoding::{BASE64, HEXLOWER, HEXLOWER_PERMISSIVE};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The key's file in a data directory.
pub(crate) const KEY_FILE: &str = "secrets.key";
const KEY_BYTES: usize = 32;
/// What the key that signs is derived with: another text is another key.
const SIGNING: &[u8] = b"tidemark 2026 the key that signs";

/// Seals and opens.
pub(crate) struct Secrets {
    key: LessSafeKey,
    path: PathBuf,
    /// Derived from the same key, for what is signed and not sealed.
    signing: hmac::Key,
}

/// A secret that does not open: it was sealed with another key, or changed.
#[derive(Debug, thiserror::Error)]
#[error(
    "the secret of {0} does not open with the key in {1}: the key is another one, or the catalogue was changed"
)]
pub(crate) struct Shut(String, PathBuf);

impl Secrets {
    /// Reads the key, or makes one where `fresh` says that nothing is sealed yet.
    pub(crate) fn open(path: &Path, fresh: bool) -> Result<Self, ControlError> {
        let wrong = |why: String| ControlError::Config(format!("{}: {why}", path.display()));
        let key = match std::fs::File::open(path) {
            Ok(file) => read(file).map_err(wrong)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && fresh => {
                let key = random::<KEY_BYTES>();
                write(path, &key).map_err(|error| wrong(format!("the key cannot be written: {error}")))?;
                key
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let why = "the secrets in the catalogue are sealed with the key that was in this file, and it is gone: \
                           put it back (from a backup), or name it with --secrets-key-file";
                return Err(wrong(why.into()));
            }
            Err(error) => return Err(wrong(format!("the key cannot be read: {error}"))),
        };
        Ok(Self {
            key: LessSafeKey::new(
                UnboundKey::new(&AES_256_GCM, &key).map_err(|_| wrong("the key cannot be used".into()))?,
            ),
            path: path.to_owned(),
            signing: hmac::Key::new(
                hmac::HMAC_SHA256,
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), SIGNING).as_ref(),
            ),
        })
    }

    /// What is signed with the host's key, which stays the same over restarts. Whoever signs says in the text what for.
    pub(crate) fn signing_key(&self) -> &hmac::Key {
        &self.signing
    }

    /// Seals `secret`, which belongs to `owner`.
    pub(crate) fn seal(&self, owner: &str, secret: &str) -> String {
        let nonce = random::<NONCE_LEN>();
        let mut sealed = secret.as_bytes().to_vec();
        let aad = Aad::from(owner.as_bytes());
        // Only a text of 64 GiB is too long, and no request carries one.
        self.key
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed)
            .expect("a secret is short");
        BASE64.encode(&[&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed for `owner`.
    pub(crate) fn unseal(&self, owner: &str, sealed: &str) -> Result<String, Shut> {
        self.try_unseal(owner, sealed)
            .ok_or_else(|| Shut(owner.to_owned(), self.path.clone()))
    }

    fn try_unseal(&self, owner: &str, sealed: &str) -> Option<String> {
        let mut bytes = BASE64.decode(sealed.as_bytes()).ok()?;
        let (nonce, body) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self
            .key
            .open_in_place(nonce, Aad::from(owner.as_bytes()), body)
            .ok()?;
        String::from_utf8(plain.to_vec()).ok()
    }
}

fn read(file: std::fs::File) -> Result<[u8; KEY_BYTES], String> {
    let mode = file
        .metadata()
        .map_err(|error| error.to_string())?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "others can read the key (mode {:o}); chmod 600 it",
            mode & 0o777
        ));
    }
    let mut text = Vec::new();
    let most = 4 * KEY_BYTES as u64;
    file.take(most)
        .read_to_end(&mut text)
        .map_err(|error| error.to_string())?;
    let bytes = match text.len() {
        KEY_BYTES => text,
        _ => HEXLOWER_PERMISSIVE.decode(text.trim_ascii()).unwrap_or_default(),
    };
    bytes
        .try_into()
        .map_err(|_| "it holds no key: 32 bytes, or 64 hex digits".into())
}

/// Whole or not at all: a key of which only half is there opens nothing.
fn write(path: &Path, key: &[u8; KEY_BYTES]) -> std::io::Result<()> {
    let temporary = path.with_extension("new");
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    writeln!(file, "{}", HEXLOWER.encode(key))?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    std::fs::File::open(
        path.parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .unwrap_or(Path::new(".")),
    )?
    .sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_owner_and_under_its_key_only() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(KEY_FILE);
        let secrets = Secrets::open(&path, true).expect("made");
        let sealed = secrets.seal("key a", "hush");
        assert!(!sealed.contains("hush"));
        assert_ne!(secrets.seal("key a", "hush"), sealed, "no nonce twice");
        let again = Secrets::open(&path, false).expect("read");
        assert_eq!(again.unseal("key a", &sealed).expect("opens"), "hush");
        again.unseal("key b", &sealed).expect_err("another's");
        let mut bytes = BASE64.decode(sealed.as_bytes()).expect("base64");
        bytes[NONCE_LEN] ^= 1;
        again
            .unseal("key a", &BASE64.encode(&bytes))
            .expect_err("changed");
        again.unseal("key a", "").expect_err("nothing");
        let other = Secrets::open(&dir.path().join("other"), true).expect("made");
        let error = other
            .unseal("key a", &sealed)
            .expect_err("another key")
            .to_string();
        assert!(error.contains("other") && !error.contains("hush"), "{error}");
    }

    #[test]
    fn a_key_is_private_and_never_made_anew_over_what_is_sealed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(KEY_FILE);
        let error = Secrets::open(&path, false).err().expect("refused").to_string();
        assert!(
            error.contains("secrets.key") && error.contains("--secrets-key-file"),
            "{error}"
        );
        drop(Secrets::open(&path, true).expect("made"));
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).expect("set");
        assert!(
            Secrets::open(&path, true)
                .err()
                .expect("refused")
                .to_string()
                .contains("chmod")
        );
        let short = dir.path().join("short");
        std::fs::write(&short, "abcd").expect("written");
        std::fs::set_permissions(&short, std::fs::Permissions::from_mode(0o600)).expect("set");
        assert!(
            Secrets::open(&short, true)
                .err()
                .expect("refused")
                .to_string()
                .contains("no key")
        );
    }
}
