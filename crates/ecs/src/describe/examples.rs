//! Values that a parameter of some kind may well take. An action whose `parse` accepts none of them is found by
//! a test over all actions (`api`); its value then belongs here.

use super::Kind;

/// For any text, likeliest first.
const TEXTS: &[&str] = &[
    "example",
    "cn-hangzhou",
    "snapshot",
    "2030-01-01T00:00:00Z",
    "2030-01-01T00:00Z",
    "10",
    "1",
    "10.0.0.1",
    "[\"1\"]",
    "[\"example\"]",
    "https://example.com/hook",
    "{\"Version\":\"1\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}",
    "acs:ram::1000000000000001:role/example",
    "ZXhhbXBsZQ==",
    "Example-1",
];

/// What stands in names and says what the value looks like.
const TELLING: &[(&str, &str)] = &[
    ("DiskId", "d-bp10example0example00"),
    ("SnapshotId", "s-bp10example0example00"),
    ("InstanceId", "i-bp10example0example00"),
    ("ImageId", "m-bp10example0example00"),
    ("RegionId", "cn-hangzhou"),
    ("ZoneId", "cn-hangzhou-g"),
    ("Time", "2030-01-01T00:00:00Z"),
    ("InstanceType", "tidemark.external"),
    ("ResourceType", "snapshot"),
    ("NextToken", ""),
    ("timePoints", "[\"3\"]"),
    ("repeatWeekdays", "[\"1\"]"),
    ("retentionDays", "30"),
    ("LockMode", "compliance"),
    ("LockDuration", "7"),
    ("CoolOffPeriod", "24"),
    ("NewSize", "40"),
    ("PolicyType", "Custom"),
    ("Status", "Active"),
    ("RoleArn", "acs:ram::1000000000000001:role/example"),
    (
        "AssumeRolePolicyDocument",
        r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::1000000000000001:root"}}}"#,
    ),
];

/// Values to try, the one to show first.
pub(super) fn of(name: &str, kind: &Kind) -> Vec<String> {
    match kind {
        Kind::Text => {
            let last = name
                .rsplit('.')
                .find(|part| part.parse::<u32>().is_err())
                .unwrap_or(name);
            let own = TELLING
                .iter()
                .filter(|(word, _)| last.to_ascii_lowercase().ends_with(&word.to_ascii_lowercase()))
                .map(|(_, value)| *value)
                .filter(|value| !value.is_empty());
            let mut texts: Vec<String> = own.chain(TEXTS.iter().copied()).map(str::to_owned).collect();
            if last == "NextToken" {
                texts.clear();
            }
            texts
        }
        Kind::Boolean => vec!["true".to_owned(), "false".to_owned()],
        Kind::Integer(Some(range)) => {
            let near = range.start().saturating_add(19).min(*range.end());
            vec![near.to_string(), range.start().to_string()]
        }
        Kind::Integer(None) => ["20", "1", "100"].map(str::to_owned).to_vec(),
        Kind::Words(words) => words.clone(),
        Kind::JsonList { .. } => {
            let mut texts = Vec::new();
            for (word, value) in TELLING {
                if name.to_ascii_lowercase().contains(&word.to_ascii_lowercase()) && !value.is_empty() {
                    texts.push(format!("[\"{value}\"]"));
                }
            }
            texts.extend(["[\"1\"]", "[\"example\"]", "[]"].map(str::to_owned));
            texts
        }
    }
}
