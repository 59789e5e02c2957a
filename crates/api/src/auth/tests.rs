//! Authentication against keys in memory, at a time of our choosing.

use super::*;
use axum::body::Bytes;
use axum::http::{HeaderValue, Request};
use std::collections::BTreeSet;
use std::sync::Mutex;
use tidemark_control::{Identity, Session};
use tidemark_ecs::sign::{self, Credentials, encode_form, v3::Call};

#[derive(Default)]
struct Memory {
    nonces: Mutex<BTreeSet<(String, String)>>,
}

impl Keys for Memory {
    async fn access_key(&self, id: &str) -> Result<Option<AccessKey>, ApiError> {
        let key = |active| AccessKey {
            id: id.to_owned(),
            secret: "testsecret".into(),
            account: "1".into(),
            active,
            identity: Identity::Root,
            session: None,
        };
        // As the token service makes them.
        let temporary = AccessKey {
            session: Some(Session {
                token_hash: token_hash(TOKEN),
                expires_ms: "2026-01-02T03:10:00Z"
                    .parse::<Timestamp>()
                    .expect("a time")
                    .as_millisecond(),
            }),
            ..key(true)
        };
        Ok(match id {
            "testid" | "testid2" => Some(key(true)),
            "off" => Some(key(false)),
            "STS.testid" => Some(temporary),
            _ => None,
        })
    }

    async fn use_nonce(&self, key: &str, nonce: &str, _synced: bool) -> Result<bool, ApiError> {
        Ok(self
            .nonces
            .lock()
            .expect("no test panics here")
            .insert((key.to_owned(), nonce.to_owned())))
    }
}

const NOW: &str = "2026-01-02T03:04:05Z";
const TOKEN: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01";

fn credentials(id: &str, secret: &str) -> Credentials {
    Credentials {
        access_key_id: id.into(),
        access_key_secret: secret.into(),
        security_token: None,
    }
}

fn request(method: &str, query: &str, headers: &[(String, String)], body: &str) -> Incoming {
    let mut request = Request::builder().method(method).uri(format!("/?{query}"));
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a test's own header");
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).expect("a test's own request").into_parts();
    Incoming::new(&parts, Bytes::copy_from_slice(body.as_bytes())).expect("decodes")
}

/// `status code: message`, or `ok <action> <version>`.
fn outcome(keys: &Memory, now: &str, request: &Incoming) -> String {
    let now = now.parse().expect("a test's own time");
    let checked = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(check(keys, now, request));
    match checked {
        Ok(verified) => format!(
            "ok {} {}",
            verified.action.as_deref().unwrap_or("-"),
            verified.version.as_deref().unwrap_or("-")
        ),
        Err(error) => format!("{} {}: {}", error.status, error.code, error.message),
    }
}

/// A signed V1 query; `change` may spoil the pairs after signing.
fn v1_query(
    key: &Credentials,
    timestamp: &str,
    nonce: &str,
    change: impl Fn(&mut Vec<(String, String)>),
) -> String {
    let own = [
        ("SnapshotName".to_owned(), "snap one".to_owned()),
        ("SignatureType".to_owned(), String::new()),
    ];
    let mut pairs = sign::v1::sign_request(key, "GET", "CreateSnapshot", "JSON", &own, timestamp, nonce);
    change(&mut pairs);
    encode_form(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())))
}

fn set(pairs: &mut Vec<(String, String)>, name: &str, value: Option<&str>) {
    pairs.retain(|(known, _)| known != name);
    pairs.extend(value.map(|value| (name.to_owned(), value.to_owned())));
}

fn v1(query: &str) -> String {
    outcome(&Memory::default(), NOW, &request("GET", query, &[], ""))
}

#[test]
fn v1_accepts_what_is_right_with_an_empty_signature_type() {
    let query = v1_query(&credentials("testid", "testsecret"), NOW, "n", |_| {});
    assert!(query.contains("SignatureType=&"));
    assert_eq!(v1(&query), "ok CreateSnapshot 2014-05-26");
    assert_eq!(
        v1(&query.replace("snap%20one", "snap+one")),
        "ok CreateSnapshot 2014-05-26",
        "plus is a space"
    );
    let (first, second) = query.split_at(query.find("&Action").expect("has an action"));
    let form = [(
        "content-type".to_owned(),
        "application/x-www-form-urlencoded".to_owned(),
    )];
    let split = request("GET", first, &form, second);
    assert_eq!(
        outcome(&Memory::default(), NOW, &split),
        "ok CreateSnapshot 2014-05-26",
        "form and query merge"
    );
}

#[test]
fn v1_says_what_is_missing_or_wrong() {
    let spoilt = |name: &str, value: Option<&str>| {
        v1(&v1_query(
            &credentials("testid", "testsecret"),
            NOW,
            "n",
            |pairs| set(pairs, name, value),
        ))
    };
    for name in [
        "AccessKeyId",
        "Signature",
        "SignatureMethod",
        "SignatureVersion",
        "SignatureNonce",
    ] {
        let said = spoilt(name, None);
        assert!(
            said.starts_with("400 MissingParameter") && said.contains(&format!("\"{name}\"")),
            "{said}"
        );
    }
    for (name, value, code) in [
        ("Timestamp", None, "400 IllegalTimestamp"),
        ("Timestamp", Some("2026-01-02 03:04:05"), "400 IllegalTimestamp"),
        ("SignatureMethod", Some("HMAC-MD5"), "400 InvalidParamater"),
        ("SignatureVersion", Some("2.0"), "400 InvalidParamater"),
        ("SignatureType", Some("BEARERTOKEN"), "400 InvalidParamater"),
        ("AccessKeyId", Some("nobody"), "404 InvalidAccessKeyId.NotFound"),
        ("AccessKeyId", Some("off"), "403 Forbidden.AccessKeyDisabled"),
        ("SnapshotName", Some("other"), "400 SignatureDoesNotMatch"),
        ("Extra", Some(""), "400 SignatureDoesNotMatch"),
        ("Signature", Some("?"), "400 SignatureDoesNotMatch"),
    ] {
        let said = spoilt(name, value);
        assert!(said.starts_with(code), "{name}={value:?}: {said}");
    }
}

#[test]
fn v1_mismatch_shows_the_servers_string_right_after_the_colon() {
    let query = v1_query(&credentials("testid", "wrong"), NOW, "n", |_| {});
    let decoded = sign::decode_form(&query).expect("own query");
    let expected = sign::v1::string_to_sign("GET", decoded.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    assert_eq!(
        v1(&query),
        format!(
            "400 SignatureDoesNotMatch: Specified signature is not matched with our calculation. server string to sign is:{expected}"
        )
    );
}

#[test]
fn timestamps_have_a_window_on_both_sides() {
    let key = credentials("testid", "testsecret");
    let at = |now: &str| {
        let query = v1_query(&key, NOW, "n", |_| {});
        outcome(&Memory::default(), now, &request("GET", &query, &[], ""))
    };
    assert!(at("2026-01-02T03:19:05Z").starts_with("ok"));
    assert!(at("2026-01-02T02:49:05Z").starts_with("ok"));
    assert!(at("2026-01-02T03:19:06Z").starts_with("400 InvalidTimeStamp.Expired"));
    assert!(at("2026-01-02T02:49:04Z").starts_with("400 InvalidTimeStamp.Expired"));
}

#[test]
fn a_nonce_is_used_once_per_key_and_not_by_failures() {
    let keys = Memory::default();
    let send = |id: &str, secret: &str| {
        let query = v1_query(&credentials(id, secret), NOW, "n", |_| {});
        outcome(&keys, NOW, &request("GET", &query, &[], ""))
    };
    assert!(send("testid", "wrong").starts_with("400 SignatureDoesNotMatch"));
    assert!(send("testid", "testsecret").starts_with("ok"));
    assert!(send("testid", "testsecret").starts_with("400 SignatureNonceUsed"));
    assert!(send("testid2", "testsecret").starts_with("ok"));
}

#[test]
fn a_nonce_is_no_longer_than_any_client_makes_one() {
    let send = |id: &str, nonce: &str| v1(&v1_query(&credentials(id, "testsecret"), NOW, nonce, |_| {}));
    assert!(send("testid", &"n".repeat(128)).starts_with("ok"));
    let long = "n".repeat(129);
    for id in ["testid", "nobody"] {
        let said = send(id, &long);
        assert!(
            said.starts_with("400 InvalidParameter") && !said.contains(&long),
            "{said}"
        );
    }
}

fn v3_headers(secret: &str, query: &[(String, String)]) -> Vec<(String, String)> {
    let call = Call {
        method: "POST",
        host: "localhost:7480",
        action: "DescribeSnapshots",
        version: "2014-05-26",
        query,
        timestamp: NOW,
        nonce: "n",
    };
    sign::v3::sign_request(&credentials("testid", secret), &call)
}

fn v3(headers: &[(String, String)], query: &str, body: &str) -> String {
    outcome(&Memory::default(), NOW, &request("POST", query, headers, body))
}

#[test]
fn v3_accepts_what_is_right() {
    let query = [("RegionId".to_owned(), "a b".to_owned())];
    let headers = v3_headers("testsecret", &query);
    assert_eq!(
        v3(&headers, "RegionId=a+b", ""),
        "ok DescribeSnapshots 2014-05-26"
    );
}

#[test]
fn v3_space_around_a_nonce_makes_no_new_one() {
    let keys = Memory::default();
    let send = |nonce: &str| {
        let mut headers = v3_headers("testsecret", &[]);
        set(&mut headers, "x-acs-signature-nonce", Some(nonce));
        outcome(&keys, NOW, &request("POST", "", &headers, ""))
    };
    assert!(send("n").starts_with("ok"));
    for nonce in ["n", "n ", "\tn"] {
        let said = send(nonce);
        assert!(said.starts_with("400 SignatureNonceUsed"), "{nonce:?}: {said}");
    }
    for nonce in ["n\u{a0}", "n\u{2003}", "\u{85}n"] {
        let said = send(nonce);
        assert!(said.starts_with("400 SignatureDoesNotMatch"), "{nonce:?}: {said}");
    }
}

#[test]
fn v3_takes_action_and_version_from_headers_only() {
    let query = [("Action".to_owned(), "DeleteDisk".to_owned())];
    let headers = v3_headers("testsecret", &query);
    assert_eq!(
        v3(&headers, "Action=DeleteDisk", ""),
        "ok DescribeSnapshots 2014-05-26"
    );
}

#[test]
fn v3_refuses_any_change() {
    let good = v3_headers("testsecret", &[]);
    assert!(v3(&good, "", "").starts_with("ok"));
    assert!(
        v3(&good, "A=1", "").starts_with("400 SignatureDoesNotMatch"),
        "query"
    );
    assert!(
        v3(&good, "", "A=1").starts_with("400 SignatureDoesNotMatch"),
        "body"
    );
    for (name, value) in [
        ("host", "localhost"),
        ("x-acs-action", "DeleteSnapshot"),
        ("x-acs-content-sha256", "00"),
        ("x-acs-signature-nonce", "m"),
        ("x-acs-version", "2014-05-27"),
        ("x-acs-date", "2026-01-02T03:04:06Z"),
    ] {
        let mut headers = good.clone();
        set(&mut headers, name, Some(value));
        assert!(
            v3(&headers, "", "").starts_with("400 SignatureDoesNotMatch"),
            "{name}"
        );
    }
    let said = v3(&v3_headers("wrong", &[]), "", "");
    assert!(
        said.contains("server string to sign is:ACS3-HMAC-SHA256\n") && said.contains("POST\n/\n"),
        "{said}"
    );
}

#[test]
fn v3_says_what_is_missing() {
    for name in [
        "x-acs-action",
        "x-acs-version",
        "x-acs-content-sha256",
        "x-acs-signature-nonce",
    ] {
        let mut headers = v3_headers("testsecret", &[]);
        set(&mut headers, name, None);
        let said = v3(&headers, "", "");
        assert!(
            said.starts_with("400 MissingParameter") && said.contains(name),
            "{said}"
        );
    }
    let mut headers = v3_headers("testsecret", &[]);
    set(&mut headers, "x-acs-date", None);
    assert!(v3(&headers, "", "").starts_with("400 IllegalTimestamp"));
    set(
        &mut headers,
        "authorization",
        Some("ACS3-HMAC-SHA256 Credential=testid"),
    );
    assert!(v3(&headers, "", "").starts_with("400 IncompleteSignature"));
    set(
        &mut headers,
        "authorization",
        Some("ACS3-RSA-SHA256 Credential=testid"),
    );
    assert!(v3(&headers, "", "").starts_with("400 InvalidParamater"));
}

#[test]
fn a_request_without_any_signature_is_told_so() {
    assert!(v1("Action=DescribeRegions").starts_with("400 MissingParameter"));
    assert!(v1("").starts_with("400 MissingParameter"));
}

#[test]
fn temporary_keys_come_with_their_token_until_they_end() {
    let other = TOKEN.replace('0', "9");
    let (late, short) = ("2026-01-02T03:10:00Z", &TOKEN[..63]);
    for (id, token, now, expected) in [
        ("STS.testid", Some(TOKEN), NOW, "ok"),
        ("STS.testid", None, NOW, "400 InvalidSecurityToken.Malformed"),
        ("STS.testid", Some(""), NOW, "400 InvalidSecurityToken.Malformed"),
        (
            "STS.testid",
            Some(short),
            NOW,
            "400 InvalidSecurityToken.Malformed",
        ),
        (
            "STS.testid",
            Some(&*other),
            NOW,
            "400 InvalidSecurityToken.MismatchWithAccessKey",
        ),
        (
            "STS.testid",
            Some(TOKEN),
            late,
            "400 InvalidSecurityToken.Expired",
        ),
        ("testid", Some("anything"), NOW, "ok"),
    ] {
        let credentials = Credentials {
            security_token: token.map(str::to_owned),
            ..credentials(id, "testsecret")
        };
        let query = v1_query(&credentials, now, "n", |_| {});
        let said = outcome(&Memory::default(), now, &request("GET", &query, &[], ""));
        assert!(said.starts_with(expected), "V1 {id} {token:?}: {said}");
        let call = Call {
            method: "POST",
            host: "localhost:7480",
            action: "DescribeRegions",
            version: "2014-05-26",
            query: &[],
            timestamp: now,
            nonce: "n",
        };
        let headers = sign::v3::sign_request(&credentials, &call);
        let said = outcome(&Memory::default(), now, &request("POST", "", &headers, ""));
        assert!(said.starts_with(expected), "V3 {id} {token:?}: {said}");
    }
    let wrong = Credentials {
        security_token: Some(TOKEN.to_owned()),
        ..credentials("STS.testid", "wrong")
    };
    let query = v1_query(&wrong, late, "n", |_| {});
    let said = outcome(&Memory::default(), late, &request("GET", &query, &[], ""));
    assert!(
        said.starts_with("400 SignatureDoesNotMatch"),
        "the signature comes first: {said}"
    );
}

#[test]
fn what_changes_something_or_shows_secrets_is_never_answered_twice() {
    for (action, expected) in [
        ("DescribeDisks", true),
        ("ListUsers", true),
        ("DeleteDisk", false),
        ("DescribeUserData", false),
    ] {
        assert_eq!(may_be_said_again(action), expected, "{action}");
    }
}
