//! The objects of a bucket: looked at, replaced and forged behind the vault's back.

use super::{Bad, keys};
use bytes::Bytes;
use std::collections::BTreeMap;
use tidemark_env::{Bucket, Precondition};
use tidemark_vault::{Result, VaultErrorKind};

/// Every object with its bytes.
pub async fn objects(bucket: &Bad) -> BTreeMap<String, Bytes> {
    let mut all = BTreeMap::new();
    for key in keys(bucket, "").await {
        let body = bucket.get(&key).await.unwrap();
        all.insert(key, body);
    }
    all
}

/// Puts other bytes in an object's place.
pub async fn replace(bucket: &Bad, key: &str, body: impl Into<Bytes>) {
    bucket
        .put(key, vec![body.into()], Precondition::None)
        .await
        .unwrap();
}

/// An object of text with its hash put right, as somebody would who changes it on purpose.
pub fn forged(object: &Bytes, change: impl FnOnce(&mut serde_json::Value)) -> Bytes {
    let line = object.split(|byte| *byte == b'\n').next().unwrap();
    let mut json = serde_json::from_slice(line).unwrap();
    change(&mut json);
    let text = format!("{json}\n");
    let hash = blake3::hash(text.as_bytes()).to_hex();
    format!("{text}blake3:{hash}\n").into()
}

/// The result is an error of this kind, in whose text all of these words are.
pub fn expect_error<T>(result: Result<T>, kind: VaultErrorKind, words: &[&str]) {
    let error = match result {
        Ok(_) => panic!("no error, where one with {words:?} belongs"),
        Err(error) => error,
    };
    assert_eq!(error.kind, kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error} does not say {word:?}");
    }
}
