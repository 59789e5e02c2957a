//! `/openapi.json`: the API as an OpenAPI 3.1 document, made from the table that serves it.
//!
//! Parameters come from each action's own `parse` ([`tidemark_ecs::describe`]). The API has one path and tells
//! actions by a parameter, which OpenAPI cannot say; so each operation stands at `/#Action=…`, of which a
//! client sends only `/`, with `Action` and `Version` as parameters that have one legal value. Of answers the
//! document says what holds for all of them, and for lists their pages; a resource's fields are the contract's.

use crate::actions::{ACTIONS, Action};
use serde_json::{Map, Value, json};
use std::sync::LazyLock;
use tidemark_ecs::describe::{self, Kind, Parameter};

/// The document. Made at first use: that takes a moment.
pub(crate) fn document() -> &'static str {
    static DOCUMENT: LazyLock<String> = LazyLock::new(|| describe_all().to_string());
    &DOCUMENT
}

fn describe_all() -> Value {
    let mut paths = Map::new();
    for action in ACTIONS {
        let method = if action.only_reads() { "get" } else { "post" };
        paths.insert(
            format!("/#Action={}", action.name),
            json!({ method: operation(action) }),
        );
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidemark",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "Disks and their snapshots, over the ECS API (2014-05-26). Every operation is served at `/`, by GET and by \
                POST alike; parameters may be in the query or in a form body. Names are matched with the first letter in any case. \
                Unknown parameters are ignored. `Format` chooses JSON or XML.",
        },
        "servers": [{"url": "/"}],
        "security": [{"acs3": []}, {"acs1": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "acs3": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "Signature version 3, ACS3-HMAC-SHA256: all common parameters are in headers."
                },
                "acs1": {
                    "type": "apiKey", "in": "query", "name": "Signature",
                    "description": "Signature version 1, HMAC-SHA1 over all parameters, with AccessKeyId, SignatureMethod, \
                        SignatureVersion, SignatureNonce and Timestamp beside it."
                },
            },
            "schemas": {"Answer": answer(), "Page": page(), "Error": error()},
            "responses": {"Refused": {
                "description": "Refused. Clients branch on Code.",
                "headers": {"x-acs-retry-after": {
                    "description": "Milliseconds after which the same request may pass.",
                    "schema": {"type": "integer"}
                }},
                "content": in_both_formats(&json!({"$ref": "#/components/schemas/Error"})),
            }},
        },
    })
}

fn operation(action: &Action) -> Value {
    let described = describe::parameters(&action.parse);
    let mut parameters = vec![
        fixed("Action", action.name),
        fixed("Version", action.version),
        json!({"name": "Format", "in": "query", "required": false, "schema": {"type": "string", "enum": ["JSON", "XML"]}}),
    ];
    let own = described.parameters.iter();
    if action.only_reads() && !described.parameters.iter().any(|own| own.name == "DryRun") {
        // Settled for all of them with the table.
        parameters
            .push(json!({"name": "DryRun", "in": "query", "required": false, "schema": {"type": "boolean"}}));
    }
    let taken = |name: &str| ["Action", "Version", "Format"].contains(&name);
    parameters.extend(own.filter(|own| !taken(&own.name)).map(parameter));
    let pages = described.parameters.iter().any(|own| own.name == "NextToken");
    let schema = if pages { "Page" } else { "Answer" };
    let mut shown = json!({
        "operationId": action.name,
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "Done, or begun.",
                "content": in_both_formats(&json!({"$ref": format!("#/components/schemas/{schema}")})),
            },
            "4XX": {"$ref": "#/components/responses/Refused"},
            "5XX": {"$ref": "#/components/responses/Refused"},
        },
    });
    if let Some(smallest) = described.smallest {
        // Of "one of these two" OpenAPI knows nothing: this has one of them.
        shown["x-smallest-request"] = json!(smallest);
    }
    shown
}

fn fixed(name: &str, value: &str) -> Value {
    json!({"name": name, "in": "query", "required": true, "schema": {"type": "string", "enum": [value]}})
}

fn parameter(own: &Parameter) -> Value {
    let mut shown =
        json!({"name": own.name, "in": "query", "required": own.required, "schema": schema(&own.kind)});
    if own.repeats() {
        shown["description"] = "One of a list, which counts from 1; gaps are fine.".into();
    } else if let Kind::JsonList { most } = own.kind {
        shown["description"] =
            format!("A JSON array of strings, at most {most}. An empty one matches nothing.").into();
    }
    if let Some(example) = &own.example {
        shown["example"] = match own.kind {
            Kind::Integer(_) => example.parse::<i64>().map_or(Value::Null, Value::from),
            Kind::Boolean => (example == "true").into(),
            _ => example.as_str().into(),
        };
    }
    shown
}

fn schema(kind: &Kind) -> Value {
    match kind {
        Kind::Text | Kind::JsonList { .. } => json!({"type": "string"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Integer(None) => json!({"type": "integer"}),
        Kind::Integer(Some(range)) => {
            json!({"type": "integer", "minimum": range.start(), "maximum": range.end()})
        }
        Kind::Words(words) => json!({"type": "string", "enum": words}),
    }
}

fn in_both_formats(schema: &Value) -> Value {
    // XML is the same tree, with the action's name and `Response` as its root.
    json!({"application/json": {"schema": schema}, "text/xml": {"schema": {"type": "string"}}})
}

fn request_id() -> Value {
    json!({"type": "string", "pattern": "^[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$"})
}

fn answer() -> Value {
    json!({"type": "object", "required": ["RequestId"], "properties": {"RequestId": request_id()}})
}

fn page() -> Value {
    let count = json!({"type": "integer", "minimum": 0});
    json!({
        "type": "object",
        "required": ["RequestId"],
        "description": "Lists are objects whose one member is an array named after its items, also when it is empty.",
        "properties": {
            "RequestId": request_id(),
            "PageNumber": count, "PageSize": count, "TotalCount": count,
            "NextToken": {"type": "string", "description": "Empty: no more rows."},
        },
    })
}

fn error() -> Value {
    let text = json!({"type": "string"});
    json!({
        "type": "object",
        "required": ["RequestId", "HostId", "Code", "Message", "Recommend"],
        "properties": {
            "RequestId": request_id(), "HostId": text, "Code": text, "Message": text, "Recommend": text,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tidemark_ecs::{ApiError, Params};

    /// Every action with its description.
    fn all() -> impl Iterator<Item = (&'static Action, describe::Description)> {
        ACTIONS
            .iter()
            .map(|action| (action, describe::parameters(&action.parse)))
    }

    /// The smallest request that parses, and a few parameters over it.
    fn with(description: &describe::Description, more: &[(&str, &str)]) -> Params {
        let mut values = description.smallest.clone().unwrap_or_default();
        values.extend(
            more.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        Params::from_pairs(values).expect("each name once")
    }

    fn code(outcome: Result<(), ApiError>) -> (u16, String) {
        outcome.map_or_else(|e| (e.status, e.code.into_owned()), |()| (200, String::new()))
    }

    #[test]
    fn every_action_is_described_to_its_end() {
        let found: Vec<_> = all().collect();
        let lost: Vec<_> = found
            .iter()
            .filter(|(_, description)| description.smallest.is_none())
            .map(|(action, _)| (action.name, (action.parse)(&Params::default())))
            .collect();
        assert!(
            lost.is_empty(),
            "no request of these was found that parses; of what they take there should be examples in ecs::describe::examples: {lost:#?}"
        );
    }

    #[test]
    fn every_operation_is_in_the_document_once() {
        let document: Value = serde_json::from_str(document()).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let named = |action: &Action| format!("/#Action={}", action.name);
        let wanted: BTreeSet<_> = ACTIONS.iter().map(named).collect();
        assert_eq!(paths.keys().cloned().collect::<BTreeSet<_>>(), wanted);
        for (path, item) in paths {
            let (_, operation) = item
                .as_object()
                .and_then(|item| item.iter().next())
                .expect("a method");
            let names: Vec<_> = operation["parameters"]
                .as_array()
                .expect("parameters")
                .iter()
                .map(|p| p["name"].as_str().unwrap_or_default())
                .collect();
            let different: BTreeSet<_> = names.iter().collect();
            assert_eq!(different.len(), names.len(), "{path}: {names:?}");
        }
        let disk = &paths["/#Action=CreateSnapshot"]["post"]["parameters"];
        let named = |name: &str| {
            let found = disk
                .as_array()
                .and_then(|all| all.iter().find(|p| p["name"] == name));
            found.unwrap_or_else(|| panic!("CreateSnapshot takes {name}"))
        };
        assert_eq!(named("DiskId")["required"], true);
        assert_eq!(named("RetentionDays")["schema"]["maximum"], 65536);
        assert_eq!(named("Tag.1.Key")["required"], false);
        assert_eq!(named("Category")["schema"]["enum"], json!(["Standard", "Flash"]));
    }

    #[test]
    fn who_pages_at_all_pages_both_ways() {
        let ways = ["PageNumber", "PageSize", "NextToken", "MaxResults"];
        for (action, description) in all() {
            let has = |name: &&&str| description.parameters.iter().any(|p| p.name == **name);
            let count = ways.iter().filter(has).count();
            assert!(
                count == 0 || count == 4,
                "{} takes some of {ways:?}, and not all",
                action.name
            );
            if count == 0 || description.smallest.is_none() {
                continue;
            }
            let ask = |name: &str, value: &str| code((action.parse)(&with(&description, &[(name, value)])));
            for (name, value) in [
                ("PageSize", "0"),
                ("PageSize", "1001"),
                ("PageNumber", "0"),
                ("NextToken", "x"),
            ] {
                let wanted = (400, "InvalidParameter".to_owned());
                assert_eq!(ask(name, value), wanted, "{} {name}={value}", action.name);
            }
            for value in ["-1", "1000000"] {
                assert_eq!(
                    ask("MaxResults", value).0,
                    200,
                    "{} MaxResults={value}",
                    action.name
                );
            }
        }
    }

    #[test]
    fn common_parameters_are_read_alike_everywhere() {
        for (action, description) in all() {
            let takes = |name: &str| description.parameters.iter().any(|p| p.name == name);
            let ask = |more: &[(&str, &str)]| code((action.parse)(&with(&description, more)));
            if takes("ClientToken") {
                let (status, code) = ask(&[("ClientToken", &"t".repeat(65))]);
                assert!(status >= 400, "{}: {status} {code}", action.name);
                assert!(ask(&[("ClientToken", "é")]).0 >= 400, "{}", action.name);
                assert_eq!(ask(&[("ClientToken", &"t".repeat(64))]).0, 200, "{}", action.name);
            }
            if takes("Filter.1.Key") {
                let filter = |key, value| ask(&[("Filter.1.Key", key), ("Filter.1.Value", value)]);
                assert_eq!(filter("Nope", "2030-01-01T00:00Z").0, 404, "{}", action.name);
                assert_eq!(filter("CreationStartTime", "soon").0, 404, "{}", action.name);
                for time in ["2030-01-01T00:00Z", "2030-01-01T00:00:00Z"] {
                    assert_eq!(filter("CreationStartTime", time).0, 200, "{}", action.name);
                }
            }
            for own in description.parameters.iter().filter(|p| p.kind == Kind::Boolean) {
                assert_eq!(
                    ask(&[(&own.name, "neither")]).0 / 100,
                    4,
                    "{} {}",
                    action.name,
                    own.name
                );
            }
        }
    }

    #[test]
    fn no_value_of_any_parameter_panics_or_is_our_fault() {
        let long = "x".repeat(10_000);
        let hostile = [
            "../../etc/passwd",
            "\0",
            "-1",
            "9223372036854775808",
            "[\"",
            "[[]]",
            "{}",
            "null",
            "'; --",
            "\u{202e}é",
            "%00",
            &long,
        ];
        for (action, description) in all() {
            for own in &description.parameters {
                for value in hostile {
                    let outcome = (action.parse)(&with(&description, &[(&own.name, value)]));
                    let status = outcome.as_ref().map_or_else(|error| error.status, |()| 200);
                    assert!(
                        status < 500,
                        "{} {}={value:?}: {outcome:?}",
                        action.name,
                        own.name
                    );
                }
            }
        }
    }
}
