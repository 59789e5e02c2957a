//! Request signatures, both ways: the server checks with them, our own client signs with them.
//!
//! Everything is computed over *decoded* parameters, never over the raw query, because clients
//! disagree on how the wire spells a space. Comparisons are in constant time.
//! Not here: clocks, nonces, which keys exist (`api` and `control`).

pub mod v1;
pub mod v3;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// An access key as a client holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// Public half; starts with `STS.` for temporary keys.
    pub access_key_id: String,
    /// Secret half.
    pub access_key_secret: String,
    /// The token that belongs to a temporary key.
    pub security_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    /// The secret stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// The start of every `SignatureDoesNotMatch` message, followed directly by the server's string.
/// Part of the contract: clients split at the colon and search for these words.
pub const MISMATCH: &str =
    "Specified signature is not matched with our calculation. server string to sign is:";

/// Everything but `A-Z a-z 0-9 - _ . ~` (RFC 3986 unreserved).
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Percent-encodes as signatures want it: upper-case hex, space as `%20`.
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Decodes `application/x-www-form-urlencoded` text, query or body: `+` is a space.
/// Bytes that are no UTF-8 are an error, because nothing could be signed over them.
pub fn decode_form(text: &str) -> Result<Vec<(String, String)>, crate::ApiError> {
    // Of a value that cannot be used only the name is shown: it may be a password.
    let decode = |part: &str, name: &str| {
        let spaced = part.replace('+', " ");
        percent_encoding::percent_decode_str(&spaced)
            .decode_utf8()
            .map(|text| text.into_owned())
            .map_err(|_| {
                let shown: String = name.chars().take(40).collect();
                crate::ApiError::invalid_parameter(&shown, "it is not UTF-8 after percent-decoding")
            })
    };
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name, name)?, decode(value, name)?))
        })
        .collect()
}

/// The other direction of [`decode_form`], as our client writes it on the wire.
pub fn encode_form<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let encoded: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    encoded.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn encoding_follows_the_contract() {
        assert_eq!(
            encode("a*b~c+d/e=f&g 中文"),
            "a%2Ab~c%2Bd%2Fe%3Df%26g%20%E4%B8%AD%E6%96%87"
        );
    }

    #[test]
    fn plus_is_a_space_on_the_wire() {
        let pairs = decode_form("A=snap+one&B=%2B&C&&D=").expect("valid");
        let expected = [("A", "snap one"), ("B", "+"), ("C", ""), ("D", "")];
        assert_eq!(pairs, expected.map(|(n, v)| (n.to_string(), v.to_string())));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        assert_eq!(
            decode_form("A=%FF").expect_err("no UTF-8").code,
            "InvalidParameter"
        );
    }

    #[test]
    fn secrets_stay_out_of_debug_output() {
        let key = Credentials {
            access_key_id: "id".into(),
            access_key_secret: "hush".into(),
            security_token: Some("tok".into()),
        };
        assert!(!format!("{key:?}").contains("hush") && !format!("{key:?}").contains("tok"));
    }

    proptest! {
        #[test]
        fn encoding_round_trips(pairs in proptest::collection::vec((".{1,8}", ".{0,8}"), 0..8)) {
            let wire = encode_form(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            prop_assert_eq!(decode_form(&wire).expect("own encoding"), pairs);
        }

        #[test]
        fn decoding_never_panics(text in ".{0,64}") {
            let _ = decode_form(&text);
        }
    }
}
