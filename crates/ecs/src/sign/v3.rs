//! Signature version 3: HMAC-SHA256 over a canonical request, carried in headers
//! (ecs-api.md 1.11).
//!
//! The list of signed headers comes from the `Authorization` header verbatim; some must be in it.
//! The body enters through its hash only, so body parameters are not merged into the query here.

use super::{Credentials, encode};
use crate::ApiError;
use data_encoding::HEXLOWER;
use ring::{digest, hmac};
use std::collections::HashSet;

/// The only algorithm that is offered.
pub const ALGORITHM: &str = "ACS3-HMAC-SHA256";

/// Headers without whose signature a request could be replayed, redirected or changed.
pub const MUST_BE_SIGNED: [&str; 6] = [
    "host",
    "x-acs-action",
    "x-acs-version",
    "x-acs-date",
    "x-acs-content-sha256",
    "x-acs-signature-nonce",
];

/// The `Authorization` header, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authorization {
    /// `Credential`
    pub access_key_id: String,
    /// `SignedHeaders` as sent: lower-case names joined by semicolons.
    pub signed_headers: String,
    /// `Signature`, hex.
    pub signature: String,
}

impl Authorization {
    /// Whether a header's value is meant for this scheme (V3 of any algorithm).
    pub fn is_v3(header: &str) -> bool {
        header.trim_start().starts_with("ACS3-")
    }

    /// Reads the header. Malformed: 400 `IncompleteSignature`; another algorithm, or a header
    /// that had to be signed and is not: 400 too, with the cause in the message.
    pub fn parse(header: &str) -> Result<Self, ApiError> {
        let incomplete = |why: &str| {
            ApiError::new(
                400,
                "IncompleteSignature",
                format!("The Authorization header is not usable: {why}."),
            )
        };
        let header = header.trim();
        let (algorithm, rest) = header
            .split_once(' ')
            .ok_or_else(|| incomplete("it has one word only"))?;
        if algorithm != ALGORITHM {
            return Err(ApiError::new(
                400,
                "InvalidParamater",
                format!("The signature algorithm {algorithm:?} is not supported; use {ALGORITHM}."),
            ));
        }
        let field = |name: &str| {
            rest.split(',')
                .filter_map(|part| part.trim().split_once('='))
                .find_map(|(key, value)| (key == name && !value.is_empty()).then(|| value.to_owned()))
                .ok_or_else(|| incomplete(&format!("it lacks {name}")))
        };
        let parsed = Self {
            access_key_id: field("Credential")?,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
        };
        // Each name brings its header's whole value into the canonical request: repeated ones would let a few hundred
        // kilobytes of header ask for gigabytes, before anybody knows who is calling.
        let mut seen = HashSet::new();
        if let Some(twice) = parsed.signed_headers.split(';').find(|name| !seen.insert(*name)) {
            let shown: String = twice.chars().take(40).collect();
            return Err(incomplete(&format!("SignedHeaders names {shown:?} twice")));
        }
        match MUST_BE_SIGNED.iter().find(|name| !parsed.signs(name)) {
            Some(name) => Err(incomplete(&format!("SignedHeaders lacks {name}"))),
            None => Ok(parsed),
        }
    }

    /// Whether a header (lower-case name) is covered by the signature.
    pub fn signs(&self, name: &str) -> bool {
        self.signed_headers.split(';').any(|signed| signed == name)
    }

    /// The header's text.
    pub fn to_header(&self) -> String {
        format!(
            "{ALGORITHM} Credential={},SignedHeaders={},Signature={}",
            self.access_key_id, self.signed_headers, self.signature
        )
    }
}

/// A header's value as it is signed: without the spaces and tabs around it. Who uses a signed header's value uses this
/// one; a value that is taken with more around it than was signed would let a request be sent again under another nonce.
pub fn header_value(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The canonical request. `query` is decoded, in any order; `header` answers the value of a
/// header by its lower-case name as received (absent: empty).
pub fn canonical_request<'a>(
    method: &str,
    query: impl IntoIterator<Item = (&'a str, &'a str)>,
    header: impl Fn(&str) -> Option<String>,
    signed_headers: &str,
    hashed_payload: &str,
) -> String {
    let mut pairs: Vec<_> = query.into_iter().collect();
    pairs.sort_unstable();
    let query: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={}", encode(value)))
        .collect();
    let headers: String = signed_headers
        .split(';')
        .map(|name| {
            let value = header(name).unwrap_or_default();
            format!("{name}:{}\n", header_value(&value))
        })
        .collect();
    format!(
        "{method}\n/\n{}\n{headers}\n{signed_headers}\n{hashed_payload}",
        query.join("&")
    )
}

/// What is signed: the algorithm and the canonical request's hash.
pub fn string_to_sign(canonical_request: &str) -> String {
    format!("{ALGORITHM}\n{}", payload_hash(canonical_request.as_bytes()))
}

/// Lower-case hex SHA-256, as in `x-acs-content-sha256`.
pub fn payload_hash(body: &[u8]) -> String {
    HEXLOWER.encode(digest::digest(&digest::SHA256, body).as_ref())
}

/// The signature of a string, in lower-case hex. The key is the bare secret.
pub fn signature(secret: &str, string_to_sign: &str) -> String {
    HEXLOWER.encode(hmac::sign(&key(secret), string_to_sign.as_bytes()).as_ref())
}

/// Whether the signature belongs to the string; takes the same time wherever they differ.
pub fn verify(secret: &str, string_to_sign: &str, signature: &str) -> bool {
    HEXLOWER
        .decode(signature.as_bytes())
        .is_ok_and(|tag| hmac::verify(&key(secret), string_to_sign.as_bytes(), &tag).is_ok())
}

/// A request to sign, as our client sends it: everything in the query, empty body.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// `GET` or `POST`.
    pub method: &'a str,
    /// As in the `Host` header: with the port when the URL has one.
    pub host: &'a str,
    /// Action name, exact case.
    pub action: &'a str,
    /// API version; another service than ECS has its own.
    pub version: &'a str,
    /// The action's parameters, decoded.
    pub query: &'a [(String, String)],
    /// Now, in the seconds format.
    pub timestamp: &'a str,
    /// Must never repeat.
    pub nonce: &'a str,
}

/// Every header a signed call must carry, `host` and `Authorization` included.
pub fn sign_request(credentials: &Credentials, call: &Call<'_>) -> Vec<(String, String)> {
    let empty = payload_hash(b"");
    let mut headers = vec![
        ("accept", "application/json"),
        ("host", call.host),
        ("x-acs-action", call.action),
        ("x-acs-content-sha256", &empty),
        ("x-acs-date", call.timestamp),
        ("x-acs-signature-nonce", call.nonce),
        ("x-acs-version", call.version),
    ];
    if let Some(token) = &credentials.security_token {
        headers.push(("x-acs-accesskey-id", &credentials.access_key_id));
        headers.push(("x-acs-security-token", token));
    }
    headers.sort_unstable();
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    let signed_headers = names.join(";");
    let canonical = canonical_request(
        call.method,
        call.query.iter().map(|(n, v)| (n.as_str(), v.as_str())),
        |name| {
            headers
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        },
        &signed_headers,
        &empty,
    );
    let authorization = Authorization {
        access_key_id: credentials.access_key_id.clone(),
        signed_headers,
        signature: signature(&credentials.access_key_secret, &string_to_sign(&canonical)),
    };
    let mut all: Vec<_> = headers
        .into_iter()
        .map(|(n, v)| (n.to_owned(), v.to_owned()))
        .collect();
    all.push(("authorization".to_owned(), authorization.to_header()));
    all
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const B: &[(&str, &str)] = &[
        ("DiskId", "d-bp1s5fnvk4gn2tws0aaa"),
        ("SnapshotName", "snap one"),
        ("Description", "a*b~c+d/e=f&g 中文"),
        ("InstantAccess", "True"),
        ("Tag.1.Key", "k1"),
        ("Tag.1.Value", "v1"),
    ];

    fn headers<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut all = vec![
            ("accept", "application/json"),
            ("host", "ecs.cn-hangzhou.aliyuncs.com"),
            ("user-agent", "test-agent"),
            ("x-acs-action", "CreateSnapshot"),
            ("x-acs-content-sha256", EMPTY),
            ("x-acs-credentials-provider", "static_ak"),
            ("x-acs-date", "2026-01-02T03:04:05Z"),
            ("x-acs-signature-nonce", "0123456789abcdef0123456789abcdef"),
            ("x-acs-version", "2014-05-26"),
        ];
        all.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
        all.extend(more);
        all.sort_unstable();
        all
    }

    fn check(
        query: &[(&str, &str)],
        headers: &[(&str, &str)],
        hashed: &str,
        hash: &str,
        expected: &str,
    ) -> String {
        let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        let canonical = canonical_request(
            "POST",
            query.iter().copied(),
            |name| {
                headers
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, v)| format!("  {v} "))
            },
            &names.join(";"),
            hashed,
        );
        let text = string_to_sign(&canonical);
        assert_eq!(text, format!("ACS3-HMAC-SHA256\n{hash}"), "{canonical}");
        assert_eq!(signature("testsecret", &text), expected);
        assert!(verify("testsecret", &text, expected));
        assert!(!verify("other", &text, expected));
        canonical
    }

    #[test]
    fn vector_a() {
        let canonical = check(
            B,
            &headers(&[]),
            EMPTY,
            "24ec6dd13b827427b1210405429cf41b7d2b783164a04e678078bdc185b4a73f",
            "c5746d1cc6df3487604874f8c95bf2b73b4b015159f3368cec736f72c85c5b54",
        );
        let expected = "POST\n/\n\
            Description=a%2Ab~c%2Bd%2Fe%3Df%26g%20%E4%B8%AD%E6%96%87&DiskId=d-bp1s5fnvk4gn2tws0aaa&InstantAccess=True&SnapshotName=snap%20one&Tag.1.Key=k1&Tag.1.Value=v1\n\
            accept:application/json\nhost:ecs.cn-hangzhou.aliyuncs.com\nuser-agent:test-agent\nx-acs-action:CreateSnapshot\n\
            x-acs-content-sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n\
            x-acs-credentials-provider:static_ak\nx-acs-date:2026-01-02T03:04:05Z\n\
            x-acs-signature-nonce:0123456789abcdef0123456789abcdef\nx-acs-version:2014-05-26\n\n\
            accept;host;user-agent;x-acs-action;x-acs-content-sha256;x-acs-credentials-provider;x-acs-date;x-acs-signature-nonce;x-acs-version\n\
            e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(canonical, expected);
    }

    #[test]
    fn vector_b_with_a_security_token() {
        let headers = headers(&[
            ("x-acs-action", "DescribeRegions"),
            ("x-acs-credentials-provider", "static_sts"),
            ("x-acs-accesskey-id", "testid"),
            ("x-acs-security-token", "TOKEN/+=="),
        ]);
        check(
            &[],
            &headers,
            EMPTY,
            "f846db8e93d9aa2e3632eb94fcd82a8c81efca32e8005aefad7e3ae1f33532ec",
            "97a3dbf97f3bc8a49c626e28650ac04522bd4999de0c423dea934c412b5d21ae",
        );
    }

    #[test]
    fn vector_c_with_a_form_body() {
        let body = "DiskId=d-1&SnapshotIds=%5B%22s-a%22%2C%22s-b%22%5D&SnapshotName=snap+one";
        let hashed = payload_hash(body.as_bytes());
        assert_eq!(
            hashed,
            "28634c0f36d0faff720da6d763537612c75e6884ab35d306319546f283d2c935"
        );
        let headers = headers(&[
            ("x-acs-action", "DescribeSnapshots"),
            ("content-type", "application/x-www-form-urlencoded"),
            ("x-acs-content-sha256", &hashed),
        ]);
        check(
            &[("RegionId", "cn-hangzhou")],
            &headers,
            &hashed,
            "4ecd7d1fbf129ecfe39ed7615088298a5e99017737ad1cd76dc66e7824273dff",
            "aafc1042f9d9b36e6ec1a085fdc0bfd128d4ebbd67ca655e3187cad087a4ac8f",
        );
    }

    #[test]
    fn only_spaces_and_tabs_around_a_value_are_not_signed() {
        for (text, expected) in [
            (" \tn \t", "n"),
            ("n\u{a0}", "n\u{a0}"),
            ("\u{2003}n", "\u{2003}n"),
            ("a b", "a b"),
        ] {
            assert_eq!(header_value(text), expected);
        }
    }

    #[test]
    fn authorization_is_read_back() {
        let parsed = Authorization {
            access_key_id: "testid".into(),
            signed_headers: MUST_BE_SIGNED.join(";"),
            signature: "ab".into(),
        };
        assert_eq!(Authorization::parse(&parsed.to_header()), Ok(parsed));
    }

    #[test]
    fn authorization_names_what_is_wrong() {
        let all = MUST_BE_SIGNED.join(";");
        for (header, code, said) in [
            ("ACS3-HMAC-SHA256".to_owned(), "IncompleteSignature", "one word"),
            (
                "ACS3-HMAC-SM3 Credential=a".to_owned(),
                "InvalidParamater",
                "ACS3-HMAC-SM3",
            ),
            (
                format!("ACS3-HMAC-SHA256 Credential=a,SignedHeaders={all};{all},Signature=a"),
                "IncompleteSignature",
                "twice",
            ),
            (
                "ACS3-HMAC-SHA256 SignedHeaders=host,Signature=a".to_owned(),
                "IncompleteSignature",
                "Credential",
            ),
            (
                format!("ACS3-HMAC-SHA256 Credential=a,SignedHeaders={all}"),
                "IncompleteSignature",
                "lacks Signature",
            ),
            (
                "ACS3-HMAC-SHA256 Credential=a,SignedHeaders=host,Signature=a".to_owned(),
                "IncompleteSignature",
                "lacks x-acs-action",
            ),
        ] {
            let error = Authorization::parse(&header).expect_err(&header);
            assert_eq!((error.status, error.code.as_ref()), (400, code), "{header}");
            assert!(error.message.contains(said), "{header}: {}", error.message);
        }
    }

    #[test]
    fn our_client_signs_what_our_server_accepts() {
        let credentials = Credentials {
            access_key_id: "testid".into(),
            access_key_secret: "testsecret".into(),
            security_token: Some("TOKEN/+==".into()),
        };
        let query = [("Name".to_owned(), "a b".to_owned())];
        let call = Call {
            method: "GET",
            host: "127.0.0.1:7480",
            action: "DescribeRegions",
            version: crate::API_VERSION,
            query: &query,
            timestamp: "2026-01-02T03:04:05Z",
            nonce: "n",
        };
        let headers = sign_request(&credentials, &call);
        let find = |name: &str| {
            headers
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, v)| v.clone())
        };
        let authorization =
            Authorization::parse(&find("authorization").expect("signed")).expect("own header");
        let canonical = canonical_request(
            "GET",
            [("Name", "a b")],
            find,
            &authorization.signed_headers,
            &payload_hash(b""),
        );
        assert!(verify(
            "testsecret",
            &string_to_sign(&canonical),
            &authorization.signature
        ));
        assert!(authorization.signs("x-acs-security-token"));
    }

    proptest! {
        #[test]
        fn no_header_panics(text in ".{0,80}") {
            let _ = Authorization::parse(&text);
            let _ = Authorization::parse(&format!("ACS3-HMAC-SHA256 {text}"));
            let _ = verify("s", "t", &text);
        }
    }
}
