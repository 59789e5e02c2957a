//! JSON as the reference client prints it: keys sorted, one tab per level, no HTML escapes.

use serde::Serialize;
use serde_json::Value;

/// The text, laid out; text that is no JSON comes back as it is.
pub fn sorted(text: &str) -> String {
    match serde_json::from_str(text) {
        Ok(value) => print(&value),
        Err(_) => text.to_string(),
    }
}

/// A value, laid out.
pub fn print(value: &Value) -> String {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"\t");
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, formatter);
    let sorted = sort(value);
    sorted
        .serialize(&mut serializer)
        .expect("a JSON value always serialises into memory");
    let text = String::from_utf8(out).expect("the serialiser writes UTF-8");
    // The two line separators that JavaScript once could not bear are always escaped.
    text.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}

fn sort(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(sort).collect()),
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.cmp(b.0));
            Value::Object(entries.into_iter().map(|(k, v)| (k.clone(), sort(v))).collect())
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_sorted_and_indented_by_tabs() {
        let text = r#"{"b":[{"z":1,"a":"<&>"}],"a":{},"c":[],"B":null}"#;
        assert_eq!(
            sorted(text),
            "{\n\t\"B\": null,\n\t\"a\": {},\n\t\"b\": [\n\t\t{\n\t\t\t\"a\": \"<&>\",\n\t\t\t\"z\": 1\n\t\t}\n\t],\n\t\"c\": []\n}"
        );
    }

    #[test]
    fn other_text_stays() {
        assert_eq!(sorted("A | B\n"), "A | B\n");
    }
}
