//! Signature version 1: HMAC-SHA1 over the sorted parameters, carried in the query or form
//! (ecs-api.md 1.10).
//!
//! Parameters with empty values are signed too; only `Signature` itself is left out.

use super::{Credentials, encode};
use data_encoding::BASE64;
use ring::hmac;

/// What is signed: method, path and sorted parameters. `pairs` are decoded, in any order.
pub fn string_to_sign<'a>(method: &str, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut pairs: Vec<_> = pairs
        .into_iter()
        .filter(|(name, _)| *name != "Signature")
        .collect();
    pairs.sort_unstable();
    // The same pair may arrive in query and body; the client signed its merged map.
    pairs.dedup();
    format!("{method}&%2F&{}", encode(&super::encode_form(pairs)))
}

/// The signature of a string, in base64.
pub fn signature(secret: &str, string_to_sign: &str) -> String {
    BASE64.encode(hmac::sign(&key(secret), string_to_sign.as_bytes()).as_ref())
}

/// Whether the signature belongs to the string; takes the same time wherever they differ.
pub fn verify(secret: &str, string_to_sign: &str, signature: &str) -> bool {
    BASE64
        .decode(signature.as_bytes())
        .is_ok_and(|tag| hmac::verify(&key(secret), string_to_sign.as_bytes(), &tag).is_ok())
}

/// Adds what a signed request needs to an action's own parameters; the result, form-encoded, is
/// the query. `timestamp` is in the seconds format, `nonce` must never repeat.
pub fn sign_request(
    credentials: &Credentials,
    method: &str,
    action: &str,
    format: &str,
    parameters: &[(String, String)],
    timestamp: &str,
    nonce: &str,
) -> Vec<(String, String)> {
    let mut pairs = parameters.to_vec();
    let mut add = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
    add("Action", action);
    if !parameters.iter().any(|(name, _)| name == "Version") {
        add("Version", crate::API_VERSION);
    }
    add("Format", format);
    add("AccessKeyId", &credentials.access_key_id);
    add("SignatureMethod", "HMAC-SHA1");
    add("SignatureVersion", "1.0");
    add("SignatureNonce", nonce);
    add("Timestamp", timestamp);
    if let Some(token) = &credentials.security_token {
        add("SecurityToken", token);
    }
    let text = string_to_sign(method, pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    pairs.push((
        "Signature".to_owned(),
        signature(&credentials.access_key_secret, &text),
    ));
    pairs
}

fn key(secret: &str) -> hmac::Key {
    hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        format!("{secret}&").as_bytes(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contract's common set K of its vectors, then B.
    const K: &[(&str, &str)] = &[
        ("AccessKeyId", "testid"),
        ("Format", "JSON"),
        ("RegionId", "cn-hangzhou"),
        ("SignatureMethod", "HMAC-SHA1"),
        ("SignatureType", ""),
        ("SignatureVersion", "1.0"),
        ("SignatureNonce", "11111111-2222-3333-4444-555555555555"),
        ("Timestamp", "2026-01-02T03:04:05Z"),
        ("Version", "2014-05-26"),
    ];
    const B: &[(&str, &str)] = &[
        ("DiskId", "d-bp1s5fnvk4gn2tws0aaa"),
        ("SnapshotName", "snap one"),
        ("Description", "a*b~c+d/e=f&g 中文"),
        ("InstantAccess", "True"),
        ("Tag.1.Key", "k1"),
        ("Tag.1.Value", "v1"),
    ];

    /// `base` with some names given another value, or left out when the value is `None`, plus more.
    fn set(
        base: &[(&'static str, &'static str)],
        more: &[(&'static str, Option<&'static str>)],
        and: &[(&'static str, &'static str)],
    ) -> Vec<(&'static str, &'static str)> {
        let kept = base
            .iter()
            .copied()
            .filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        let changed = more
            .iter()
            .filter_map(|(name, value)| value.map(|value| (*name, value)));
        kept.chain(changed).chain(and.iter().copied()).collect()
    }

    fn check(secret: &str, method: &str, pairs: Vec<(&str, &str)>, expected: &str) -> String {
        let text = string_to_sign(method, pairs);
        assert_eq!(signature(secret, &text), expected, "{text}");
        assert!(verify(secret, &text, expected));
        assert!(!verify("other", &text, expected));
        text
    }

    #[test]
    fn vector_a() {
        let pairs = vec![
            ("Action", "DescribeRegions"),
            ("Version", "2014-05-26"),
            ("AccessKeyId", "testid"),
            ("Format", "XML"),
            ("SignatureMethod", "HMAC-SHA1"),
            ("SignatureNonce", "3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf"),
            ("SignatureVersion", "1.0"),
            ("Timestamp", "2016-02-23T12:46:24Z"),
        ];
        let text = check("testsecret", "GET", pairs, "OLeaidS1JvxuMvnyHOwuJ+uX5qY=");
        assert_eq!(
            text,
            "GET&%2F&AccessKeyId%3Dtestid%26Action%3DDescribeRegions%26Format%3DXML%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D3ee8c1b8-83d3-44af-a94f-4e0ad82fd6cf%26SignatureVersion%3D1.0%26Timestamp%3D2016-02-23T12%253A46%253A24Z%26Version%3D2014-05-26"
        );
    }

    #[test]
    fn vector_b() {
        let pairs = set(K, &[("Action", Some("CreateSnapshot"))], B);
        let text = check("testsecret", "POST", pairs, "AGUK1tOt9g45+UCrTbcO2ACCze8=");
        assert_eq!(
            text,
            "POST&%2F&AccessKeyId%3Dtestid%26Action%3DCreateSnapshot%26Description%3Da%252Ab~c%252Bd%252Fe%253Df%2526g%2520%25E4%25B8%25AD%25E6%2596%2587%26DiskId%3Dd-bp1s5fnvk4gn2tws0aaa%26Format%3DJSON%26InstantAccess%3DTrue%26RegionId%3Dcn-hangzhou%26SignatureMethod%3DHMAC-SHA1%26SignatureNonce%3D11111111-2222-3333-4444-555555555555%26SignatureType%3D%26SignatureVersion%3D1.0%26SnapshotName%3Dsnap%2520one%26Tag.1.Key%3Dk1%26Tag.1.Value%3Dv1%26Timestamp%3D2026-01-02T03%253A04%253A05Z%26Version%3D2014-05-26"
        );
    }

    #[test]
    fn vector_c() {
        let describe = [
            ("Action", "DescribeSnapshots"),
            ("Filter.1.Key", "CreationStartTime"),
            ("SnapshotIds", r#"["s-a","s-b"]"#),
        ];
        check(
            "testsecret",
            "POST",
            set(K, &[], &describe),
            "0nABQujS1KRSvKu6ALOFPqlEZZI=",
        );
        let with_body = set(&set(K, &[], &describe), &[], &[("DiskId", "d-1")]);
        check("testsecret", "POST", with_body, "gOfFaFtoI16ehqg3K4uc9kPpB1U=");
    }

    #[test]
    fn vector_d_with_a_security_token() {
        let pairs = set(
            K,
            &[("AccessKeyId", Some("STS.tid"))],
            &[("Action", "DescribeRegions"), ("SecurityToken", "TOKEN/+==")],
        );
        check("tsec", "POST", pairs, "exNEXetWakEijF3wfmFhfOtGxUo=");
    }

    #[test]
    fn vector_e_without_signature_type() {
        let tea = set(
            K,
            &[
                ("Format", Some("json")),
                ("SignatureNonce", Some("0123456789abcdef0123456789abcdef")),
                ("SignatureType", None),
                ("RegionId", None),
            ],
            &[],
        );
        let create = set(&tea, &[("Action", Some("CreateSnapshot"))], B);
        check("testsecret", "POST", create, "5OnzVq6MuAISVGz9yYYN9xK44C0=");
        let describe = set(
            &tea,
            &[],
            &[
                ("Action", "DescribeSnapshots"),
                ("RegionId", "cn-hangzhou"),
                ("DiskId", "d-1"),
            ],
        );
        check("testsecret", "POST", describe, "IlMYDUtYdIe2n0Fla6dZRiOEXUI=");
    }

    #[test]
    fn our_client_signs_what_our_server_accepts() {
        let credentials = Credentials {
            access_key_id: "STS.tid".into(),
            access_key_secret: "tsec".into(),
            security_token: Some("TOKEN/+==".into()),
        };
        let own = [("Name".to_owned(), "a b+c".to_owned())];
        let signed = sign_request(
            &credentials,
            "GET",
            "DescribeRegions",
            "JSON",
            &own,
            "2026-01-02T03:04:05Z",
            "n-1",
        );
        let wire = crate::sign::encode_form(signed.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        let arrived = crate::sign::decode_form(&wire).expect("own wire");
        let given = arrived
            .iter()
            .find(|(name, _)| name == "Signature")
            .map(|(_, v)| v.clone());
        let text = string_to_sign("GET", arrived.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        assert!(verify("tsec", &text, &given.expect("signed")));
        assert!(text.contains("SecurityToken"));
    }

    #[test]
    fn garbage_is_no_signature() {
        for bad in [
            "",
            "====",
            "é",
            "AGUK1tOt9g45+UCrTbcO2ACCze8",
            "AGUK1tOt9g45+UCrTbcO2ACCze9=",
        ] {
            assert!(!verify("testsecret", "POST&%2F&", bad), "{bad:?}");
        }
    }
}
