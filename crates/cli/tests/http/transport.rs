//! Methods, paths, formats, sizes.

use crate::server::{Server, root};

#[test]
fn paths_and_methods() {
    let server = Server::start();
    assert_eq!(server.send("GET", "/healthz", &[], "").status, 200);
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        assert_eq!(
            server.send(method, "/?Format=JSON", &[], "").outcome(),
            "403 UnsupportedHTTPMethod"
        );
    }
    assert_eq!(
        server.send("GET", "/elsewhere?Format=JSON", &[], "").outcome(),
        "404 InvalidAction.NotFound"
    );
}

#[test]
fn errors_have_every_member_in_the_callers_format() {
    let server = Server::start();
    let json = server.send("GET", "/?Format=json", &[], "");
    assert_eq!(json.content_type, "application/json;charset=utf-8");
    let tree = json.json();
    for member in ["RequestId", "HostId", "Code", "Message", "Recommend"] {
        assert!(tree[member].is_string(), "{member}: {tree}");
    }
    assert_eq!(tree["HostId"], server.host.as_str());
    assert_eq!(
        (json.status, tree["Code"].as_str()),
        (400, Some("MissingParameter"))
    );
    let xml = server.send("GET", "/", &[], "");
    assert_eq!(
        (xml.status, xml.content_type.as_str()),
        (400, "text/xml;charset=utf-8")
    );
    assert!(
        xml.text.contains("<Code>MissingParameter</Code>") && xml.text.contains("</Error>"),
        "{}",
        xml.text
    );
}

#[test]
fn v1_answers_xml_unless_asked_and_v3_json() {
    let server = Server::start();
    let pairs = tidemark_ecs::sign::v1::sign_request(
        &root(),
        "GET",
        "DescribeRegions",
        "XML",
        &[],
        &server.timestamp(),
        "xml",
    );
    let query = tidemark_ecs::sign::encode_form(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let xml = server.send("GET", &format!("/?{query}"), &[], "");
    assert_eq!(
        (xml.status, xml.content_type.as_str()),
        (200, "text/xml;charset=utf-8"),
        "{}",
        xml.text
    );
    assert!(
        xml.text.contains("<DescribeRegionsResponse><RequestId>"),
        "{}",
        xml.text
    );
    assert!(
        xml.text
            .contains(&format!("<RegionEndpoint>{}</RegionEndpoint>", server.host)),
        "{}",
        xml.text
    );

    let json = server.send(
        "POST",
        "/",
        &server.sign_v3("DescribeRegions", "2014-05-26", &[]),
        "",
    );
    assert_eq!(
        (json.status, json.content_type.as_str()),
        (200, "application/json;charset=utf-8"),
        "{}",
        json.text
    );
    assert_eq!(json.json()["Regions"]["Region"][0]["RegionId"], "cn-hangzhou");
}

#[test]
fn bodies_and_parameter_counts_are_bounded() {
    let server = Server::start();
    let large = format!("A={}", "x".repeat(300_000));
    assert_eq!(
        server.send("POST", "/?Format=JSON", &[], &large).outcome(),
        "413 InvalidParameter"
    );
    let many = vec!["a"; 5000].join("&");
    assert_eq!(
        server.send("POST", "/?Format=JSON", &[], &many).outcome(),
        "400 InvalidParameter"
    );
    assert_eq!(
        server.send("GET", "/?Format=JSON&A=%FF", &[], "").outcome(),
        "400 InvalidParameter"
    );
    assert_eq!(server.send("GET", "/healthz", &[], "").status, 200);
}
