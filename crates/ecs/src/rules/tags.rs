//! Tags on new resources and tags as filters (ecs-api.md 2.4).

use crate::{ApiError, Params, model::Tag};

/// Most tags that one resource may have and one call may give.
pub const MOST: usize = 20;

/// A filter: the key must be there, and have this value if one is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFilter {
    /// Exact.
    pub key: String,
    /// Exact; `None` matches any value.
    pub value: Option<String>,
}

impl TagFilter {
    /// Whether a resource with these tags passes.
    pub fn matches(&self, tags: &[Tag]) -> bool {
        tags.iter()
            .any(|tag| tag.key == self.key && self.value.as_ref().is_none_or(|value| *value == tag.value))
    }
}

/// `Tag.N.Key/Value` to put on a resource; more than [`MOST`]: the status and code given.
pub fn new_tags(params: &Params, too_many: (u16, &'static str)) -> Result<Vec<Tag>, ApiError> {
    let mut tags: Vec<Tag> = Vec::new();
    for item in params.structs("Tag")? {
        let key = check_key(&item.full_name("Key"), item.get("Key").unwrap_or_default())?;
        let value = check_value(&item.full_name("Value"), item.get("Value").unwrap_or_default())?;
        if tags.iter().any(|tag| tag.key == key) {
            return Err(ApiError::new(
                400,
                "Duplicate.TagKey",
                format!("The tag key {key:?} is given twice."),
            ));
        }
        tags.push(Tag { key, value });
    }
    if tags.len() > MOST {
        let (status, code) = too_many;
        return Err(ApiError::new(
            status,
            code,
            format!("{} tags are given, where {MOST} are allowed.", tags.len()),
        ));
    }
    Ok(tags)
}

/// `Tag.N.Key/Value` as filters; all must match.
pub fn filters(params: &Params) -> Result<Vec<TagFilter>, ApiError> {
    let items = params.structs("Tag")?;
    if items.len() > MOST {
        return Err(ApiError::new(
            400,
            "InvalidTagCount",
            format!("{} tags are given, where {MOST} are allowed.", items.len()),
        ));
    }
    let mut filters = Vec::new();
    for item in items {
        match (item.text("Key"), item.text("Value")) {
            (None, None) => {}
            (None, Some(value)) => {
                return Err(ApiError::new(
                    400,
                    "InvalidTag.Mismatch",
                    format!(
                        "\"{}\" is {value:?}, but its key is not given.",
                        item.full_name("Value")
                    ),
                ));
            }
            (Some(key), value) => filters.push(TagFilter { key, value }),
        }
    }
    Ok(filters)
}

fn has_url(text: &str) -> bool {
    text.contains("http://") || text.contains("https://")
}

fn check_key(field: &str, key: &str) -> Result<String, ApiError> {
    let why = if !(1..=128).contains(&key.chars().count()) {
        "it must have 1 to 128 characters"
    } else if key.starts_with("aliyun") || key.starts_with("acs:") {
        "it must not start with \"aliyun\" or \"acs:\""
    } else if has_url(key) {
        "it must not contain http:// or https://"
    } else {
        return Ok(key.to_owned());
    };
    Err(ApiError::new(
        400,
        "InvalidTagKey.Malformed",
        format!("The parameter \"{field}\" is not valid: {why}."),
    ))
}

fn check_value(field: &str, value: &str) -> Result<String, ApiError> {
    let why = if value.chars().count() > 128 {
        "it must have at most 128 characters"
    } else if has_url(value) {
        "it must not contain http:// or https://"
    } else {
        return Ok(value.to_owned());
    };
    Err(ApiError::new(
        400,
        "InvalidTagValue.Malformed",
        format!("The parameter \"{field}\" is not valid: {why}."),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Result<Vec<Tag>, (u16, String)> {
        let params = Params::from_pairs(pairs.iter().copied()).expect("no duplicates");
        new_tags(&params, (403, "QuotaExceed.Tags")).map_err(|e| (e.status, e.code.into_owned()))
    }

    #[test]
    fn both_spellings_and_empty_values() {
        let tag = |key: &str, value: &str| Tag {
            key: key.into(),
            value: value.into(),
        };
        assert_eq!(
            tags(&[("Tag.1.Key", "a"), ("Tag.3.key", "b"), ("Tag.3.value", "v")]),
            Ok(vec![tag("a", ""), tag("b", "v")])
        );
    }

    #[test]
    fn refusals_have_their_codes() {
        let long = "k".repeat(129);
        for (pairs, code) in [
            (vec![("Tag.1.Key", "a"), ("Tag.2.Key", "a")], "Duplicate.TagKey"),
            (vec![("Tag.1.Value", "v")], "InvalidTagKey.Malformed"),
            (vec![("Tag.1.Key", "aliyunx")], "InvalidTagKey.Malformed"),
            (vec![("Tag.1.Key", "acs:x")], "InvalidTagKey.Malformed"),
            (vec![("Tag.1.Key", "see http://x")], "InvalidTagKey.Malformed"),
            (vec![("Tag.1.Key", &*long)], "InvalidTagKey.Malformed"),
            (
                vec![("Tag.1.Key", "k"), ("Tag.1.Value", &*long)],
                "InvalidTagValue.Malformed",
            ),
            (
                vec![("Tag.1.Key", "k"), ("Tag.1.Value", "https://x")],
                "InvalidTagValue.Malformed",
            ),
        ] {
            assert_eq!(tags(&pairs), Err((400, code.to_owned())), "{pairs:?}");
        }
        let many: Vec<_> = (1..=21)
            .map(|n| (format!("Tag.{n}.Key"), format!("k{n}")))
            .collect();
        let many: Vec<_> = many.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(tags(&many), Err((403, "QuotaExceed.Tags".into())));
        assert_eq!(tags(&many[..20]).map(|tags| tags.len()), Ok(20));
    }

    #[test]
    fn filters_match_any_value_without_one() {
        let parse =
            |pairs: &[(&str, &str)]| filters(&Params::from_pairs(pairs.iter().copied()).expect("fine"));
        let have = [Tag {
            key: "a".into(),
            value: "1".into(),
        }];
        let matches = |pairs| {
            parse(pairs)
                .expect("valid")
                .iter()
                .all(|filter| filter.matches(&have))
        };
        assert!(matches(&[("Tag.1.Key", "a")]));
        assert!(matches(&[("Tag.1.Key", "a"), ("Tag.1.Value", "1")]));
        assert!(!matches(&[("Tag.1.Key", "a"), ("Tag.1.Value", "2")]));
        assert!(!matches(&[("Tag.1.Key", "a"), ("Tag.2.Key", "b")]));
        assert_eq!(
            parse(&[("Tag.1.Value", "1")]).expect_err("no key").code,
            "InvalidTag.Mismatch"
        );
    }
}
