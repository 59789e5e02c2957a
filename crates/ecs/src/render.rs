//! Answers as text: JSON or XML from one tree (ecs-api.md 1.4, 1.9).
//!
//! XML is the same tree written out: an object's members become elements, an array repeats its
//! element. So a list, being an object with one member that is an array, gets its wrapper and one
//! element per item without any knowledge of which action this is.

use crate::ApiError;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Which of the two the caller reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The default of V3.
    Json,
    /// The default of V1.
    Xml,
}

impl Format {
    /// The `Content-Type`, exactly as clients compare it.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json;charset=utf-8",
            Format::Xml => "text/xml;charset=utf-8",
        }
    }
}

/// A successful answer. `request_id` is an upper-case UUID. Fails only when a response type is
/// not an object, which would be our own mistake.
pub fn success(
    format: Format,
    action: &str,
    request_id: &str,
    response: &impl Serialize,
) -> Result<String, ApiError> {
    let mut tree = Map::new();
    tree.insert("RequestId".to_owned(), Value::String(request_id.to_owned()));
    match serde_json::to_value(response) {
        Ok(Value::Object(members)) => tree.extend(members),
        Ok(Value::Null) => {}
        Ok(_) | Err(_) => return Err(ApiError::internal()),
    }
    Ok(write(format, &format!("{action}Response"), tree))
}

/// An error answer. Every member is a string, because clients assert that.
pub fn error(format: Format, error: &ApiError, request_id: &str, host_id: &str) -> String {
    let mut tree = Map::new();
    let members = [
        ("RequestId", request_id),
        ("HostId", host_id),
        ("Code", &*error.code),
        ("Message", &error.message),
        ("Recommend", ""),
    ];
    for (name, text) in members {
        tree.insert(name.to_owned(), Value::String(text.to_owned()));
    }
    write(format, "Error", tree)
}

fn write(format: Format, root: &str, tree: Map<String, Value>) -> String {
    let tree = Value::Object(tree);
    match format {
        Format::Json => tree.to_string(),
        Format::Xml => {
            let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
            element(&mut text, root, &tree);
            text
        }
    }
}

/// Writes one value as the element `name`; an array repeats the element, null leaves it out.
fn element(to: &mut String, name: &str, value: &Value) {
    match value {
        Value::Null => return,
        Value::Array(items) => return items.iter().for_each(|item| element(to, name, item)),
        _ => {}
    }
    let _ = write!(to, "<{name}>");
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(member, value)| element(to, member, value)),
        Value::String(text) => escape(to, text),
        other => {
            let _ = write!(to, "{other}");
        }
    }
    let _ = write!(to, "</{name}>");
}

/// Character data. What XML 1.0 cannot hold at all becomes the replacement character, so that a
/// name with a control character cannot break a whole list.
fn escape(to: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '&' => to.push_str("&amp;"),
            '<' => to.push_str("&lt;"),
            '>' => to.push_str("&gt;"),
            '"' => to.push_str("&quot;"),
            // A parser would turn a bare one into a newline.
            '\r' => to.push_str("&#13;"),
            '\t' | '\n' => to.push(c),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => to.push('\u{fffd}'),
            _ => to.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Snapshot, Tag};
    use proptest::prelude::*;
    use quick_xml::events::Event;

    #[derive(Serialize)]
    #[serde(rename_all = "PascalCase")]
    struct Listing {
        #[serde(with = "crate::model::list::snapshot")]
        snapshots: Vec<Snapshot>,
        total_count: usize,
    }

    fn listing(snapshots: Vec<Snapshot>) -> Listing {
        Listing {
            total_count: snapshots.len(),
            snapshots,
        }
    }

    /// Parses, and gives all text back: proof that a parser sees what we meant.
    fn text_of(xml: &str) -> String {
        let mut reader = quick_xml::Reader::from_str(xml);
        let mut text = String::new();
        loop {
            match reader.read_event().expect("well-formed XML") {
                Event::Text(part) => text.push_str(&part),
                Event::GeneralRef(name) => match name.resolve_char_ref().expect("a reference") {
                    Some(c) => text.push(c),
                    None => text.push_str(
                        quick_xml::escape::resolve_predefined_entity(&name).expect("a predefined entity"),
                    ),
                },
                Event::Eof => return text,
                _ => {}
            }
        }
    }

    #[test]
    fn lists_are_wrapped_in_both_formats() {
        let tags = vec![Tag {
            key: "k".into(),
            value: String::new(),
        }];
        let one = listing(vec![Snapshot {
            snapshot_id: "s-1".into(),
            source_disk_size: 40,
            tags,
            ..Snapshot::default()
        }]);
        let json = success(Format::Json, "DescribeSnapshots", "ID", &one).expect("renders");
        let tree: Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(tree["RequestId"], "ID");
        assert_eq!(tree["Snapshots"]["Snapshot"][0]["SourceDiskSize"], "40");
        assert_eq!(tree["Snapshots"]["Snapshot"][0]["Description"], "");
        assert_eq!(tree["Snapshots"]["Snapshot"][0]["Available"], false);
        assert_eq!(tree["Snapshots"]["Snapshot"][0]["Tags"]["Tag"][0]["TagKey"], "k");
        assert_eq!(tree["Snapshots"]["Snapshot"][0].get("RetentionDays"), None);
        let xml = success(Format::Xml, "DescribeSnapshots", "ID", &one).expect("renders");
        assert!(xml.starts_with(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<DescribeSnapshotsResponse><RequestId>ID</RequestId><Snapshots><Snapshot><SnapshotId>s-1</SnapshotId>"
        ));
        assert!(xml.contains("<Tags><Tag><TagKey>k</TagKey><TagValue></TagValue></Tag></Tags>"));
        assert!(xml.contains("<Available>false</Available>"));
        assert!(xml.ends_with("<TotalCount>1</TotalCount></DescribeSnapshotsResponse>"));
    }

    #[test]
    fn empty_lists_stay_lists() {
        let json = success(Format::Json, "DescribeSnapshots", "ID", &listing(vec![])).expect("renders");
        assert_eq!(
            json,
            r#"{"RequestId":"ID","Snapshots":{"Snapshot":[]},"TotalCount":0}"#
        );
        let xml = success(Format::Xml, "DescribeSnapshots", "ID", &listing(vec![])).expect("renders");
        assert!(xml.contains("<Snapshots></Snapshots>"));
    }

    #[test]
    fn errors_are_strings_only() {
        let refusal = ApiError::new(404, "InvalidDiskId.NotFound", "no <disk> \"a\" & b");
        let json = error(Format::Json, &refusal, "ID", "localhost:1");
        assert_eq!(
            json,
            r#"{"RequestId":"ID","HostId":"localhost:1","Code":"InvalidDiskId.NotFound","Message":"no <disk> \"a\" & b","Recommend":""}"#
        );
        let xml = error(Format::Xml, &refusal, "ID", "localhost:1");
        assert!(xml.contains("<Error><RequestId>ID</RequestId><HostId>localhost:1</HostId><Code>InvalidDiskId.NotFound</Code><Message>no &lt;disk&gt; &quot;a&quot; &amp; b</Message><Recommend></Recommend></Error>"));
    }

    #[test]
    fn a_bare_array_repeats_its_element() {
        let tree = serde_json::json!({"LockedSnapshotsInfo": [{"A": 1}, {"A": 2}]});
        let xml = success(Format::Xml, "X", "ID", &tree).expect("renders");
        assert!(xml.contains("<LockedSnapshotsInfo><A>1</A></LockedSnapshotsInfo><LockedSnapshotsInfo><A>2</A></LockedSnapshotsInfo>"));
    }

    proptest! {
        #[test]
        fn any_text_survives_xml(text in any::<String>()) {
            let snapshot = Snapshot { description: text.clone(), ..Snapshot::default() };
            let tree = serde_json::json!({"D": snapshot.description});
            let xml = success(Format::Xml, "X", "", &tree).expect("renders");
            let expected: String = text
                .chars()
                .map(|c| if (c < ' ' && !"\t\n\r".contains(c)) || c == '\u{fffe}' || c == '\u{ffff}' { '\u{fffd}' } else { c })
                .collect();
            let read = text_of(&xml);
            prop_assert_eq!(read.trim_start_matches('\n'), expected.trim_start_matches('\n'));
        }
    }
}
