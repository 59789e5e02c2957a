//! What a caller of the API may send: parameters, signatures, and the texts inside them.
//!
//! Besides not panicking: a refusal is the caller's fault (4xx) and says why; what is written is read back the
//! same; what we sign we accept.

use quick_xml::events::Event;
use serde_json::Value;
use tidemark_ecs::page::Cursor;
use tidemark_ecs::render::{self, Format};
use tidemark_ecs::sign::{Credentials, decode_form, encode_form, v1, v3};
use tidemark_ecs::{ApiError, Params, actions, id, time};

/// A query or form body.
pub fn query(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let pairs = match decode_form(text) {
        Ok(pairs) => pairs,
        Err(error) => return fair(&error),
    };
    let borrowed = || pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let again = decode_form(&encode_form(borrowed())).expect("our own encoding");
    assert_eq!(again, pairs);
    for method in ["GET", "POST"] {
        let signed = v1::string_to_sign(method, borrowed());
        assert!(v1::verify("secret", &signed, &v1::signature("secret", &signed)));
    }
    match Params::from_pairs(pairs) {
        Ok(params) => parse_all(&params),
        Err(error) => fair(&error),
    }
}

fn parse_all(params: &Params) {
    macro_rules! each {
        ($($action:ident)*) => { $( outcome(actions::$action::Request::parse(params)); )* };
    }
    each!(
        attach_disk cancel_task copy_snapshot create_disk create_snapshot delete_disk delete_instance delete_snapshot describe_disks
        describe_instance_status describe_instances describe_regions describe_snapshots describe_task_attribute describe_tasks
        describe_zones detach_disk list_tag_resources modify_disk_spec modify_snapshot_attribute reboot_instance reset_disk run_instances start_instance
        stop_instance tag_resources untag_resources
        apply_auto_snapshot_policy cancel_auto_snapshot_policy create_auto_snapshot_policy delete_auto_snapshot_policy
        describe_auto_snapshot_policy_associations describe_auto_snapshot_policy_ex modify_auto_snapshot_policy_ex
    );
}

fn outcome<T>(parsed: Result<T, ApiError>) {
    if let Err(error) = parsed {
        fair(&error);
    }
}

fn fair(error: &ApiError) {
    assert!(
        (400..500).contains(&error.status) && !error.code.is_empty() && !error.message.is_empty(),
        "{error:?}"
    );
}

/// An `Authorization` header.
pub fn authorization(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    v3::Authorization::is_v3(text);
    let _ = v3::verify("secret", "string", text);
    let _ = v1::verify("secret", "string", text);
    for header in [text.to_owned(), format!("{} {text}", v3::ALGORITHM)] {
        match v3::Authorization::parse(&header) {
            Ok(parsed) => {
                assert_eq!(
                    v3::Authorization::parse(&parsed.to_header()).expect("our own header"),
                    parsed
                );
                let canonical = v3::canonical_request(
                    "GET",
                    [("Name", text)],
                    |name| (name == "host").then(|| text.to_owned()),
                    &parsed.signed_headers,
                    &v3::payload_hash(bytes),
                );
                let signed = v3::string_to_sign(&canonical);
                let _ = v3::verify("secret", &signed, &parsed.signature);
            }
            Err(error) => fair(&error),
        }
    }
    let credentials = Credentials {
        access_key_id: "id".into(),
        access_key_secret: text.to_owned(),
        security_token: None,
    };
    let signed = v1::sign_request(&credentials, "GET", "A", "JSON", &[], "t", text);
    let wire = encode_form(signed.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    assert_eq!(decode_form(&wire).expect("our own encoding"), signed);
}

/// One value: a page token, a time, an id.
pub fn text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    match Cursor::decode(text) {
        Ok(cursor) => assert_eq!(Cursor::decode(&cursor.encode()).expect("our own token"), cursor),
        Err(error) => fair(&error),
    }
    if let Some(at) = time::parse_seconds(text) {
        assert_eq!(time::seconds(at), text);
    }
    if let Some(at) = time::parse_minutes_or_seconds(text) {
        assert!(time::seconds(at).starts_with(&text[..16]));
    }
    id::is_plausible(text);
    id::disk_serial(text);
    id::region_code(text);
}

/// A text in an answer: JSON and XML must both give it back.
pub fn render(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let response = serde_json::json!({ "Description": text, "Tags": { "Tag": [{ "TagKey": text }] } });
    let json = render::success(Format::Json, "X", "ID", &response).expect("an object");
    let tree: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(tree["Description"], text);
    let xml = render::success(Format::Xml, "X", "ID", &response).expect("an object");
    let kept: String = text.chars().map(representable).collect();
    assert_eq!(xml_texts(&xml), ["ID", &kept, &kept]);

    let refusal = ApiError::invalid_parameter(text, text);
    let xml = render::error(Format::Xml, &refusal, "ID", text);
    let message: String = refusal.message.chars().map(representable).collect();
    assert_eq!(xml_texts(&xml), ["ID", &kept, "InvalidParameter", &message, ""]);
}

/// XML cannot hold some characters at all.
fn representable(c: char) -> char {
    match c {
        '\t' | '\n' | '\r' => c,
        '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => '\u{fffd}',
        _ => c,
    }
}

/// The text of every element that holds no other.
fn xml_texts(xml: &str) -> Vec<String> {
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut found, mut text, mut is_leaf) = (Vec::new(), String::new(), false);
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(_) => {
                text.clear();
                is_leaf = true;
            }
            Event::Text(part) => text.push_str(&part),
            Event::GeneralRef(name) => match name.resolve_char_ref().expect("a reference") {
                Some(c) => text.push(c),
                None => text.push_str(
                    quick_xml::escape::resolve_predefined_entity(&name).expect("a predefined entity"),
                ),
            },
            Event::End(_) => {
                if is_leaf {
                    found.push(std::mem::take(&mut text));
                }
                is_leaf = false;
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}
