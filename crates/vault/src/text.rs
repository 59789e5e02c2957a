//! Small objects that people may want to read: one line of JSON, then one line with its hash.
//!
//! ```text
//! {"tidemark":"snapshot","version":1,…}\n
//! blake3:<64 hex digits of the BLAKE3 of the first line, its newline included>\n
//! ```
//! Used for the format object, snapshot records, head entries and the spool's capture file. An
//! unknown version is refused, unknown fields are ignored: fields may be added, never re-used.

use crate::error::{Result, VaultError};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What every text object starts with.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    tidemark: String,
    version: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Deserialize)]
struct Tag {
    tidemark: String,
    version: u32,
}

const HASH_PREFIX: &str = "blake3:";

/// The object's bytes.
pub(crate) fn encode<T: Serialize>(kind: &'static str, version: u32, body: &T) -> Result<Bytes> {
    let envelope = Envelope {
        tidemark: kind.to_owned(),
        version,
        body,
    };
    let mut text = serde_json::to_string(&envelope).map_err(|e| VaultError::other("encode", kind, e))?;
    text.push('\n');
    let hash = blake3::hash(text.as_bytes());
    text.push_str(HASH_PREFIX);
    text.push_str(hash.to_hex().as_str());
    text.push('\n');
    Ok(Bytes::from(text))
}

/// Makes JSON an object: its first line, and the hash that belongs to it.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn seal(json: &[u8]) -> Vec<u8> {
    let line = json.split(|&b| b == b'\n').next().unwrap_or_default();
    let line = [line, b"\n"].concat();
    let tail = format!("{HASH_PREFIX}{}\n", blake3::hash(&line).to_hex());
    [line, tail.into_bytes()].concat()
}

/// What the object at `key` says, after its hash, kind and version have been checked.
pub(crate) fn decode<T: DeserializeOwned>(
    kind: &'static str,
    version: u32,
    key: &str,
    object: &[u8],
) -> Result<T> {
    let corrupt = |cause: String| VaultError::corrupt("decode", key, cause);
    let line = object.iter().position(|&b| b == b'\n').map_or(0, |at| at + 1);
    let (json, tail) = object.split_at(line);
    let expected = format!("{HASH_PREFIX}{}\n", blake3::hash(json).to_hex());
    if json.is_empty() || tail != expected.as_bytes() {
        return Err(corrupt(format!(
            "the {kind} object does not match the hash at its end: it was cut or changed"
        )));
    }
    let tag: Tag = serde_json::from_slice(json).map_err(|e| corrupt(format!("not a {kind} object: {e}")))?;
    if tag.tidemark != kind {
        return Err(corrupt(format!(
            "a {:?} object where a {kind:?} object belongs",
            tag.tidemark
        )));
    }
    if tag.version != version {
        let cause = format!(
            "{kind} version {} is not known here (only {version} is): a newer release wrote it; use that one",
            tag.version
        );
        return Err(VaultError::other("decode", key, cause));
    }
    let envelope: Envelope<T> =
        serde_json::from_slice(json).map_err(|e| corrupt(format!("not a {kind} object: {e}")))?;
    Ok(envelope.body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::VaultErrorKind;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Body {
        name: String,
    }

    #[test]
    fn any_changed_byte_is_noticed() {
        let object = encode("thing", 1, &Body { name: "a\nb".into() }).unwrap();
        assert_eq!(decode::<Body>("thing", 1, "k", &object).unwrap().name, "a\nb");
        for at in 0..object.len() {
            for bit in 0..8 {
                let mut bad = object.to_vec();
                bad[at] ^= 1 << bit;
                assert!(
                    decode::<Body>("thing", 1, "k", &bad).is_err(),
                    "byte {at} bit {bit}"
                );
            }
        }
        for cut in 0..object.len() {
            assert!(
                decode::<Body>("thing", 1, "k", &object[..cut]).is_err(),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn other_kinds_and_versions_are_named() {
        let object = encode("thing", 2, &Body { name: "x".into() }).unwrap();
        let error = decode::<Body>("thing", 1, "k", &object).unwrap_err();
        assert_eq!(error.kind, VaultErrorKind::Other);
        assert!(error.to_string().contains("version 2"), "{error}");
        let error = decode::<Body>("record", 2, "k", &object).unwrap_err();
        assert_eq!(error.kind, VaultErrorKind::Corrupt);
    }
}
