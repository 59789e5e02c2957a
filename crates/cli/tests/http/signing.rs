//! Who is let in, over HTTP, with keys and nonces in a real catalogue.

use crate::server::{Server, root};
use tidemark_ecs::sign::{Credentials, MISMATCH};

fn key(id: &str, secret: &str) -> Credentials {
    Credentials {
        access_key_id: id.into(),
        access_key_secret: secret.into(),
        ..root()
    }
}

fn get(server: &Server, query: &str) -> crate::server::Answer {
    server.send("GET", &format!("/?{query}"), &[], "")
}

#[test]
fn a_right_signature_in_query_or_form() {
    let server = Server::start();
    let query = server.sign(
        &root(),
        "GET",
        "DescribeRegions",
        "SignatureType=&AcceptLanguage=en-US",
    );
    assert_eq!(get(&server, &query).outcome(), "200");
    let form = [(
        "content-type".to_owned(),
        "application/x-www-form-urlencoded".to_owned(),
    )];
    let body = server.sign(
        &root(),
        "POST",
        "DescribeSnapshots",
        "RegionId=cn-hangzhou&SnapshotName=snap one",
    );
    assert_eq!(
        server
            .send("POST", "/?Format=JSON", &form, &body.replace("Format=JSON&", ""))
            .outcome(),
        "200"
    );
    let body = server.sign(
        &root(),
        "POST",
        "DescribeSnapshots",
        "RegionId=cn-hangzhou&SnapshotName=snap one",
    );
    assert!(body.contains("snap%20one"));
    assert_eq!(
        server
            .send("POST", "/", &form, &body.replace("%20", "+"))
            .outcome(),
        "200"
    );
}

#[test]
fn wrong_secret_and_unknown_key() {
    let server = Server::start();
    let answer = get(
        &server,
        &server.sign(&key("testid", "wrong"), "GET", "DescribeRegions", ""),
    );
    assert_eq!(answer.outcome(), "400 SignatureDoesNotMatch");
    let message = answer.json()["Message"].as_str().expect("a message").to_owned();
    let shown = message.strip_prefix(MISMATCH).expect("the fixed words");
    assert!(
        shown.starts_with("GET&%2F&AccessKeyId%3Dtestid%26Action%3DDescribeRegions%26"),
        "{shown}"
    );
    let answer = get(
        &server,
        &server.sign(&key("nobody", "x"), "GET", "DescribeRegions", ""),
    );
    assert_eq!(answer.outcome(), "404 InvalidAccessKeyId.NotFound");
}

#[test]
fn timestamps_expire() {
    let server = Server::start();
    let query = server.sign(&root(), "GET", "DescribeRegions", "");
    server.pass(15 * 60 + 1);
    assert_eq!(get(&server, &query).outcome(), "400 InvalidTimeStamp.Expired");
    let early = server.sign(&root(), "GET", "DescribeRegions", "");
    server.pass(-(15 * 60 + 1));
    assert_eq!(get(&server, &early).outcome(), "400 InvalidTimeStamp.Expired");
}

#[test]
fn a_nonce_is_refused_again_even_after_a_restart() {
    let mut server = Server::start();
    let query = server.sign(&root(), "GET", "DescribeRegions", "");
    assert_eq!(get(&server, &query).outcome(), "200");
    assert_eq!(get(&server, &query).outcome(), "400 SignatureNonceUsed");
    server.restart();
    assert_eq!(get(&server, &query).outcome(), "400 SignatureNonceUsed");
}

#[test]
fn v3_covers_the_host_with_its_port() {
    let server = Server::start();
    let mut headers = server.sign_v3("DescribeRegions", "2014-05-26", &[]);
    let answer = server.send("POST", "/", &headers, "");
    assert_eq!(answer.outcome(), "200");
    assert_eq!(
        answer.json()["Regions"]["Region"][0]["RegionEndpoint"],
        server.host.as_str()
    );
    assert_eq!(
        server.send("POST", "/", &headers, "").outcome(),
        "400 SignatureNonceUsed"
    );
    headers
        .iter_mut()
        .filter(|(name, _)| name == "host")
        .for_each(|(_, host)| *host = "127.0.0.1".into());
    assert_eq!(
        server.send("POST", "/", &headers, "").outcome(),
        "400 SignatureDoesNotMatch"
    );
}

#[test]
fn actions_and_versions_are_checked_after_the_signature() {
    let server = Server::start();
    assert_eq!(
        server.call("Nonsense", "").outcome(),
        "404 InvalidAction.NotFound"
    );
    assert_eq!(
        server.call("DisableDiskInstantAccess", "DiskId=d-1").outcome(),
        "404 InvalidAction.NotFound"
    );
    let headers = server.sign_v3("DescribeRegions", "2014-05-27", &[]);
    assert_eq!(
        server.send("POST", "/", &headers, "").outcome(),
        "400 InvalidParameter"
    );
    let wrong = server.sign(&key("testid", "wrong"), "GET", "Nonsense", "");
    assert_eq!(get(&server, &wrong).outcome(), "400 SignatureDoesNotMatch");
}

#[test]
fn credentials_can_be_checked_with_the_token_service() {
    let server = Server::start();
    let answer = server.send(
        "POST",
        "/",
        &server.sign_v3("GetCallerIdentity", "2015-04-01", &[]),
        "",
    );
    assert_eq!(answer.outcome(), "200");
    let tree = answer.json();
    for member in [
        "RequestId",
        "AccountId",
        "Arn",
        "UserId",
        "PrincipalId",
        "IdentityType",
    ] {
        assert!(
            tree[member].as_str().is_some_and(|text| !text.is_empty()),
            "{member}: {tree}"
        );
    }
}
