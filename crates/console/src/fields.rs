//! Names and values of a query or a form, and how a form becomes an action's parameters.
//!
//! A form's fields have the names of the action's parameters. Three conventions go beyond that: what is empty is not sent; a name
//! that ends in `[]` is one item of a JSON list; a name that begins with `_` is the console's own and never a parameter.

use tidemark_ecs::ApiError;
use tidemark_ecs::sign::{decode_form, encode_form};

/// Most fields of one request.
const FIELDS_MOST: usize = 512;

/// Names and values in the order given; a name may come several times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Decodes a query or a form.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        if text.bytes().filter(|byte| *byte == b'&').count() >= FIELDS_MOST {
            let why = format!("there are more than {FIELDS_MOST} fields");
            return Err(ApiError::invalid_parameter("(form)", why));
        }
        decode_form(text).map(Self)
    }

    /// The first value of that name that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.all(name);
        values.find(|value| !value.is_empty())
    }

    /// As [`Self::get`]; nothing is `""`.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// Whether the name is there at all, with whatever value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(own, _)| own == name)
    }

    /// All values of that name.
    pub(crate) fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        let name = name.to_owned();
        self.0
            .iter()
            .filter(move |(own, _)| *own == name)
            .map(|(_, value)| value.as_str())
    }

    /// All names and values, as they came.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// With this value in place of all others of the name.
    pub(crate) fn with(&self, name: &str, value: &str) -> Self {
        let mut pairs = self.0.clone();
        pairs.retain(|(own, _)| own != name);
        pairs.push((name.to_owned(), value.to_owned()));
        Self(pairs)
    }

    /// Without any of these names.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        let mut pairs = self.0.clone();
        pairs.retain(|(own, _)| !names.contains(&own.as_str()));
        Self(pairs)
    }

    /// As a query, without what is empty; `""` if nothing is left.
    pub(crate) fn query(&self) -> String {
        let filled = self.0.iter().filter(|(_, value)| !value.is_empty());
        encode_form(filled.map(|(name, value)| (name.as_str(), value.as_str())))
    }

    /// The parameters that a form means.
    pub(crate) fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters: Vec<(String, String)> = Vec::new();
        let mut lists: Vec<(String, Vec<&str>)> = Vec::new();
        for (name, value) in &self.0 {
            if name.starts_with('_') || value.is_empty() || name == "region" {
                continue;
            }
            match name.strip_suffix("[]") {
                None => parameters.push((name.clone(), value.clone())),
                Some(list) => match lists.iter_mut().find(|(own, _)| own == list) {
                    Some((_, items)) => items.push(value),
                    None => lists.push((list.to_owned(), vec![value.as_str()])),
                },
            }
        }
        for (name, items) in lists {
            let items: Vec<serde_json::Value> = items.into_iter().map(serde_json::Value::from).collect();
            parameters.push((name, serde_json::Value::from(items).to_string()));
        }
        // A policy keeps what it makes for some days, or for ever, which the action writes as -1.
        if self.get("_keep") == Some("always") {
            parameters.retain(|(name, _)| name != "retentionDays");
            parameters.push(("retentionDays".to_owned(), "-1".to_owned()));
        }
        // What is rolled back with a group is ticked disk by disk; a snapshot whose disk is not ticked is not meant.
        let is_ticked = |name: &str| {
            let of = name
                .strip_prefix("Disk.")
                .and_then(|rest| rest.strip_suffix(".SnapshotId"));
            of.is_none_or(|number| self.get(&format!("Disk.{number}.DiskId")).is_some())
        };
        parameters.retain(|(name, _)| is_ticked(name));
        // Two ticks, one level: with the applications' own script the file systems stand still, too.
        if parameters
            .iter()
            .any(|(name, value)| name == "Consistency" && value == "Application")
        {
            parameters.retain(|(name, value)| name != "Consistency" || value == "Application");
        }
        // A policy that does not copy names no region, and one that did stops.
        if let Some(copies) = self.get("_copies")
            && self.get("EnableCrossRegionCopy").is_none()
        {
            parameters.retain(|(name, _)| {
                !matches!(
                    name.as_str(),
                    "TargetCopyRegions" | "CopiedSnapshotsRetentionDays"
                )
            });
            if copies == "modify" {
                parameters.push(("EnableCrossRegionCopy".to_owned(), "false".to_owned()));
            }
            return parameters;
        }
        if self.get("_keep-copies") == Some("always") {
            parameters.retain(|(name, _)| name != "CopiedSnapshotsRetentionDays");
            parameters.push(("CopiedSnapshotsRetentionDays".to_owned(), "-1".to_owned()));
        }
        parameters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(form: &str) -> Vec<(String, String)> {
        Fields::parse(form).expect("a test's own form").parameters()
    }

    #[test]
    fn a_form_is_an_actions_parameters() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            parameters("_csrf=x&DiskId=d-1&SnapshotName=a+b&Tag.1.Key=&Tag.1.Value="),
            [pair("DiskId", "d-1"), pair("SnapshotName", "a b")]
        );
        assert_eq!(
            parameters("timePoints%5B%5D=1&timePoints%5B%5D=13&_keep=always&retentionDays=30"),
            [pair("timePoints", "[\"1\",\"13\"]"), pair("retentionDays", "-1")]
        );
        assert_eq!(
            parameters("Disk.1.DiskId=d-1&Disk.1.SnapshotId=s-1&Disk.2.SnapshotId=s-2"),
            [pair("Disk.1.DiskId", "d-1"), pair("Disk.1.SnapshotId", "s-1")]
        );
        assert_eq!(
            parameters("_copies=modify&TargetCopyRegions%5B%5D=x&CopiedSnapshotsRetentionDays=3"),
            [pair("EnableCrossRegionCopy", "false")]
        );
        assert_eq!(
            parameters("Consistency=Application&Consistency=FileSystem"),
            [pair("Consistency", "Application")]
        );
        assert_eq!(
            parameters("diskIds%5B%5D=%22x%22"),
            [pair("diskIds", "[\"\\\"x\\\"\"]")]
        );
    }

    #[test]
    fn the_first_value_that_says_something_counts() {
        let fields = Fields::parse("a=&a=1&b=").expect("a form");
        assert_eq!(
            (fields.get("a"), fields.get("b"), fields.has("b")),
            (Some("1"), None, true)
        );
        assert_eq!(fields.with("a", "x y").query(), "a=x%20y");
        assert_eq!(fields.without(&["a"]).query(), "");
    }

    #[test]
    fn a_form_is_bounded() {
        assert!(Fields::parse(&"a=1&".repeat(600)).is_err());
        assert!(Fields::parse("a=%ff").is_err());
    }
}
