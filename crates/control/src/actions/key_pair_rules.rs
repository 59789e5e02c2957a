//! Key pairs: what makes one, and finding one that a request names.
//!
//! A key pair is a public key with a name of its own in the account's region. What must stay true: a private key that is
//! made here is in the answer of CreateKeyPair and nowhere else; what is kept as a public key was read as one, so that
//! whoever installs it gets one line that is a key.

use crate::catalogue::key_pairs::KeyPairRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::control::random;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use md5::{Digest as _, Md5};
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use ssh_key::private::{Ed25519Keypair, Ed25519PrivateKey, KeypairData};
use ssh_key::public::Ed25519PublicKey;
use ssh_key::{LineEnding, PrivateKey, PublicKey};
use tidemark_ecs::ApiError;
use tidemark_ecs::id::Kind;
use tidemark_ecs::model::Tag;

/// Longest public key that is looked at, in bytes: RSA of 16384 bits has a third of it.
const PUBLIC_KEY_BYTES_MAX: usize = 8192;

/// What is to be kept.
pub(super) struct NewKeyPair {
    pub(super) region_id: String,
    pub(super) name: String,
    pub(super) resource_group_id: Option<String>,
    pub(super) tags: Vec<Tag>,
    /// One line.
    pub(super) public_key: String,
    pub(super) finger_print: String,
}

/// A new key: what is kept of it, and the private half as SSH clients read it from a file.
pub(super) struct MadeKey {
    pub(super) public_key: String,
    pub(super) finger_print: String,
    pub(super) private_key: String,
}

/// Makes an Ed25519 key: short, and taken by every SSH server of the last ten years. (RSA keys cannot be made by
/// the library that does all other signatures here.)
pub(super) fn make(name: &str) -> Result<MadeKey, ApiError> {
    let failed = |why: String| {
        tracing::error!(%why, "a key cannot be made");
        ApiError::internal()
    };
    let seed = random::<32>();
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|error| failed(error.to_string()))?;
    let public =
        Ed25519PublicKey::try_from(pair.public_key().as_ref()).map_err(|error| failed(error.to_string()))?;
    let pair = Ed25519Keypair {
        public,
        private: Ed25519PrivateKey::from_bytes(&seed),
    };
    let key = PrivateKey::new(KeypairData::Ed25519(pair), name).map_err(|error| failed(error.to_string()))?;
    let private_key = key
        .to_openssh(LineEnding::LF)
        .map_err(|error| failed(error.to_string()))?;
    let (public_key, finger_print) = line(key.public_key()).map_err(|error| failed(error.to_string()))?;
    Ok(MadeKey {
        public_key,
        finger_print,
        private_key: private_key.to_string(),
    })
}

/// The public key in a text that somebody sent, as one line, and its finger print: 400 `InvalidPublicKeyBody.Malformed`.
pub(super) fn read(text: &str) -> Result<(String, String), ApiError> {
    let refuse = |why: &str| {
        let message = format!("The parameter \"PublicKeyBody\" is not valid: {why}.");
        ApiError::new(400, "InvalidPublicKeyBody.Malformed", message)
    };
    let text = text.trim();
    if text.len() > PUBLIC_KEY_BYTES_MAX {
        return Err(refuse("it is too long"));
    }
    if text.chars().any(char::is_control) {
        return Err(refuse("it is not one line"));
    }
    let key = PublicKey::from_openssh(text)
        .map_err(|_| refuse("it is no public key; give one line, as in id_ed25519.pub"))?;
    line(&key).map_err(|_| refuse("it is no public key"))
}

/// A key as one line, and its MD5 (RFC 4716).
fn line(key: &PublicKey) -> Result<(String, String), ssh_key::Error> {
    let hash = Md5::digest(key.to_bytes()?);
    let pairs: Vec<String> = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((key.to_openssh()?, pairs.join(":")))
}

/// Adds the row, and answers it.
pub(super) fn insert(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    new: NewKeyPair,
) -> Result<KeyPairRow, ApiError> {
    let region = control.region(Some(&new.region_id))?;
    let resource_group = rules::resource_group(new.resource_group_id.as_deref())?;
    if KeyPairRow::named(t, &caller.account, &region.id, &new.name)?.is_some() {
        let message = format!("The key pair {:?} exists already.", new.name);
        return Err(ApiError::new(400, "KeyPair.AlreadyExist", message));
    }
    let most = control.limits().key_pairs;
    if KeyPairRow::count(t, &caller.account, &region.id)?.unsigned_abs() >= most {
        let message = format!("There are {most} key pairs already; delete one first.");
        return Err(ApiError::new(403, "QuotaExceed.KeyPair", message));
    }
    let row = KeyPairRow {
        id: control.new_id(Kind::KeyPair, &region.id),
        ordinal: KeyPairRow::next_ordinal(t)?,
        account: caller.account.clone(),
        region: region.id.clone(),
        name: new.name,
        public_key: new.public_key,
        finger_print: new.finger_print,
        resource_group,
        created_ms: control.now_ms(),
    };
    row.insert(t)?;
    tags::set(t, &row.account, ResourceType::KeyPair, &row.id, &new.tags)?;
    Ok(row)
}

/// The caller's key pair of that name in a region; `status` is the action's own.
pub(super) fn named(
    t: &mut dyn Transaction,
    caller: &Caller,
    region: &str,
    name: &str,
    status: u16,
) -> Result<KeyPairRow, ApiError> {
    KeyPairRow::named(t, &caller.account, region, name)?.ok_or_else(|| {
        let message = format!("The specified KeyPairName {name:?} does not exist.");
        ApiError::new(status, "InvalidKeyPairName.NotFound", message)
    })
}

/// A key pair that was given must be there; `status` is the action's own.
pub(super) fn check(
    t: &mut dyn Transaction,
    caller: &Caller,
    region: &str,
    name: Option<&str>,
    status: u16,
) -> Result<(), ApiError> {
    name.map_or(Ok(()), |name| named(t, caller, region, name, status).map(drop))
}

/// The caller's key pair with that id, as tags name it; somebody else's does not exist, nor one in another region than
/// the request names.
pub(super) fn of_id(t: &mut dyn Transaction, caller: &Caller, id: &str) -> Result<KeyPairRow, ApiError> {
    KeyPairRow::get(t, id)?
        .filter(|row| caller.sees(&row.account, &row.region))
        .ok_or_else(|| {
            let message = format!("The specified key pair {id:?} does not exist.");
            ApiError::new(404, "InvalidKeyPairName.NotFound", message)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Its finger print is what `ssh-keygen -l -E md5` says of it.
    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

    #[test]
    fn a_key_is_read_as_one_line_and_nothing_else_is() {
        let (line, print) = read(&format!("  {KEY} me@home\n")).expect("a key");
        assert_eq!(line, format!("{KEY} me@home"));
        assert_eq!(print.len(), 16 * 3 - 1, "{print}");
        assert_eq!(read(KEY).expect("without a comment").1, print);
        let two_lines = format!("{KEY} a\n{KEY} b");
        let long = format!("{KEY} {}", "x".repeat(9000));
        for text in [
            "",
            "ssh-rsa",
            "ssh-rsa AAAA",
            "hello",
            &KEY[..60],
            &two_lines,
            &long,
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(
                (error.status, &*error.code),
                (400, "InvalidPublicKeyBody.Malformed")
            );
        }
    }

    #[test]
    fn a_made_key_is_whole_and_new_each_time() {
        let (one, two) = (make("web").expect("made"), make("web").expect("made"));
        assert_ne!(one.public_key, two.public_key);
        assert!(
            one.private_key
                .starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        );
        let back = PrivateKey::from_openssh(&one.private_key).expect("reads back");
        let (line, print) = super::line(back.public_key()).expect("a line");
        assert_eq!((line, print), (one.public_key.clone(), one.finger_print));
        assert_eq!(read(&one.public_key).expect("a key").0, one.public_key);
    }
}
