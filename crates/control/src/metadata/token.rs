//! Tokens of the metadata service: signed, so that nothing has to be remembered, and bound to one instance.
//!
//! ```text
//! token = base64url( expires [8, ms since 1970] | random [32] | tag [32] )      96 characters
//! tag   = HMAC-SHA256( host's key, "metadata token" | 0 | instance id | 0 | expires | random )
//! ```
//! What must stay true: a token works for the instance that got it, until it ends, over restarts, and for nobody else.

use crate::Control;
use crate::clock::SECOND_MS;
use crate::control::random;
use data_encoding::BASE64URL_NOPAD;
use ring::hmac;

const EXPIRES_BYTES: usize = 8;
const RANDOM_BYTES: usize = 32;
const TAG_BYTES: usize = 32;

impl Control {
    /// A token for an instance that lives so many seconds.
    pub fn metadata_token(&self, instance_id: &str, seconds: u32) -> String {
        let ends = self
            .now_ms()
            .saturating_add(i64::from(seconds).saturating_mul(SECOND_MS));
        make(self.secrets().signing_key(), instance_id, ends, random())
    }

    /// Whether that is a token of the instance's which has not ended.
    pub fn is_metadata_token(&self, instance_id: &str, token: &str) -> bool {
        is_valid(self.secrets().signing_key(), instance_id, self.now_ms(), token)
    }
}

fn make(key: &hmac::Key, instance_id: &str, ends_ms: i64, random: [u8; RANDOM_BYTES]) -> String {
    let mut bytes = ends_ms.to_be_bytes().to_vec();
    bytes.extend(random);
    let tag = hmac::sign(key, &signed(instance_id, &bytes));
    bytes.extend(tag.as_ref());
    BASE64URL_NOPAD.encode(&bytes)
}

fn is_valid(key: &hmac::Key, instance_id: &str, now_ms: i64, token: &str) -> bool {
    let Ok(bytes) = BASE64URL_NOPAD.decode(token.as_bytes()) else {
        return false;
    };
    if bytes.len() != EXPIRES_BYTES + RANDOM_BYTES + TAG_BYTES {
        return false;
    }
    let (said, tag) = bytes.split_at(EXPIRES_BYTES + RANDOM_BYTES);
    // In constant time; what was said counts only then.
    if hmac::verify(key, &signed(instance_id, said), tag).is_err() {
        return false;
    }
    said.first_chunk::<EXPIRES_BYTES>()
        .is_some_and(|ends| now_ms < i64::from_be_bytes(*ends))
}

/// No id holds a zero byte, so no two pairs of id and rest are one text.
fn signed(instance_id: &str, said: &[u8]) -> Vec<u8> {
    [b"metadata token\0", instance_id.as_bytes(), b"\0", said].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32])
    }

    #[test]
    fn a_token_is_of_one_instance_one_host_and_some_time() {
        let token = make(&key(1), "i-1", 1000, [7; 32]);
        assert!(
            token.len() <= 256 && token.bytes().all(|b| b.is_ascii_graphic()),
            "{token}"
        );
        assert!(is_valid(&key(1), "i-1", 999, &token));
        assert!(!is_valid(&key(1), "i-1", 1000, &token), "it has ended");
        assert!(!is_valid(&key(1), "i-2", 999, &token), "another instance's");
        assert!(!is_valid(&key(2), "i-1", 999, &token), "another host's");
        assert_ne!(make(&key(1), "i-1", 1000, [8; 32]), token);
    }

    #[test]
    fn nothing_else_is_one() {
        let token = make(&key(1), "i-1", 1000, [7; 32]);
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("letters");
            assert!(!is_valid(&key(1), "i-1", 999, &changed), "{at}");
        }
        for odd in [
            "",
            "A",
            &token[1..],
            &format!("{token}A"),
            &format!("{token}="),
            "é",
            &"A".repeat(300),
        ] {
            assert!(!is_valid(&key(1), "i-1", 999, odd), "{odd}");
        }
    }
}
