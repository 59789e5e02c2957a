//! Names, descriptions, passwords. Lengths count characters, not bytes.

use crate::{ApiError, Params};

/// What an action answers when a text breaks its rule.
pub type Refusal = (u16, &'static str);

fn refuse(params: &Params, field: &str, (status, code): Refusal, why: &str) -> ApiError {
    ApiError::new(
        status,
        code,
        format!(
            "The parameter \"{}\" is not valid: {why}.",
            params.full_name(field)
        ),
    )
}

fn starts_with_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// A resource name: 2 to 128 characters, a letter first, then letters, digits, `:` `_` `.` `-`.
pub fn name(params: &Params, field: &str, refusal: Refusal) -> Result<Option<String>, ApiError> {
    checked_name(params, field, char::is_alphabetic, "a letter", refusal)
}

/// As [`name`], whatever its first character is.
pub fn name_of_any_start(params: &Params, field: &str, refusal: Refusal) -> Result<Option<String>, ApiError> {
    checked_name(params, field, |_| true, "any character", refusal)
}

/// A snapshot group's name: as [`name`], where a digit may stand first, too.
pub fn group_name(params: &Params, field: &str, refusal: Refusal) -> Result<Option<String>, ApiError> {
    checked_name(
        params,
        field,
        char::is_alphanumeric,
        "a letter or a digit",
        refusal,
    )
}

fn checked_name(
    params: &Params,
    field: &str,
    may_be_first: fn(char) -> bool,
    first: &str,
    refusal: Refusal,
) -> Result<Option<String>, ApiError> {
    let Some(name) = params.get(field) else {
        return Ok(None);
    };
    let fail = |why: &str| Err(refuse(params, field, refusal, why));
    if !(2..=128).contains(&name.chars().count()) {
        return fail("it must have 2 to 128 characters");
    }
    if starts_with_url(name) {
        return fail("it must not start with http:// or https://");
    }
    if !name.starts_with(may_be_first) {
        return fail(&format!("it must start with {first}"));
    }
    match name
        .chars()
        .find(|c| !c.is_alphanumeric() && !":_.-".contains(*c))
    {
        Some(odd) => fail(&format!(
            "{odd:?} is not allowed; use letters, digits, colon, underscore, dot, dash"
        )),
        None => Ok(Some(name.to_owned())),
    }
}

/// An image's family: as [`image_name`], without dots.
pub fn image_family(params: &Params, field: &str, refusal: Refusal) -> Result<Option<String>, ApiError> {
    let family = image_name(params, field, refusal)?;
    match family.as_deref() {
        Some(text) if text.contains('.') => Err(refuse(
            params,
            field,
            refusal,
            "'.' is not allowed; use letters, digits, colon, underscore, dash",
        )),
        _ => Ok(family),
    }
}

/// An image's name: as [`name`], and not starting with `acs:` or `aliyun`, which are the vendor's.
pub fn image_name(params: &Params, field: &str, refusal: Refusal) -> Result<Option<String>, ApiError> {
    let name = name(params, field, refusal)?;
    match name.as_deref() {
        Some(text) if text.starts_with("acs:") || text.starts_with("aliyun") => Err(refuse(
            params,
            field,
            refusal,
            "it must not start with \"acs:\" or \"aliyun\"",
        )),
        _ => Ok(name),
    }
}

/// A snapshot's name: as [`name`], and not starting with `auto`, which marks automatic ones.
pub fn snapshot_name(params: &Params, refusal: Refusal) -> Result<Option<String>, ApiError> {
    snapshot_name_in(params, "SnapshotName", refusal)
}

/// As [`snapshot_name`], in a field of another name.
pub fn snapshot_name_in(params: &Params, field: &str, refusal: Refusal) -> Result<Option<String>, ApiError> {
    let name = name(params, field, refusal)?;
    match name.as_deref() {
        Some(text) if text.starts_with("auto") => Err(refuse(
            params,
            field,
            refusal,
            "it must not start with \"auto\", which marks automatic snapshots",
        )),
        _ => Ok(name),
    }
}

/// A description: 2 to 256 characters, not starting with a URL.
pub fn description(params: &Params, field: &str, refusal: Refusal) -> Result<Option<String>, ApiError> {
    match params.get(field) {
        None => Ok(None),
        Some(text) => checked_description(params, field, text, 2, refusal).map(Some),
    }
}

/// A description that may be emptied: up to 256 characters. `None`: not given, leave as it is.
pub fn description_or_empty(
    params: &Params,
    field: &str,
    refusal: Refusal,
) -> Result<Option<String>, ApiError> {
    match params.given(field) {
        None => Ok(None),
        Some(text) => checked_description(params, field, text, 0, refusal).map(Some),
    }
}

fn checked_description(
    params: &Params,
    field: &str,
    text: &str,
    least: usize,
    refusal: Refusal,
) -> Result<String, ApiError> {
    if !(least..=256).contains(&text.chars().count()) {
        return Err(refuse(
            params,
            field,
            refusal,
            &format!("it must have {least} to 256 characters"),
        ));
    }
    if starts_with_url(text) {
        return Err(refuse(
            params,
            field,
            refusal,
            "it must not start with http:// or https://",
        ));
    }
    Ok(text.to_owned())
}

/// A host name: 2 to 64 letters, digits, `.` and `-`, neither first, last nor doubled.
pub fn host_name(params: &Params, field: &str, refusal: Refusal) -> Result<Option<String>, ApiError> {
    let Some(name) = params.get(field) else {
        return Ok(None);
    };
    if is_host_name(name) {
        Ok(Some(name.to_owned()))
    } else {
        Err(refuse(params, field, refusal, HOST_NAME))
    }
}

/// A list of host names, each as [`host_name`] has them.
pub fn host_names(params: &Params, field: &str, refusal: Refusal) -> Result<Vec<String>, ApiError> {
    let names = params.list(field)?;
    if names.iter().all(|name| is_host_name(name)) {
        Ok(names)
    } else {
        Err(refuse(params, &format!("{field}.N"), refusal, HOST_NAME))
    }
}

const HOST_NAME: &str =
    "it must be 2 to 64 letters, digits, dots and dashes, with no dot or dash first, last or doubled";

fn is_host_name(name: &str) -> bool {
    let separator = |c: char| c == '.' || c == '-';
    (2..=64).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || separator(c))
        && name.split(separator).all(|part| !part.is_empty())
}

/// A password: 8 to 30 characters, three of upper, lower, digit, special. Never echoed.
pub fn password(params: &Params, refusal: Refusal) -> Result<Option<String>, ApiError> {
    let Some(text) = params.get("Password") else {
        return Ok(None);
    };
    let kinds = [
        text.bytes().any(|b| b.is_ascii_uppercase()),
        text.bytes().any(|b| b.is_ascii_lowercase()),
        text.bytes().any(|b| b.is_ascii_digit()),
        text.bytes().any(|b| b.is_ascii_punctuation()),
    ];
    let good = (8..=30).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic())
        && kinds.iter().filter(|k| **k).count() >= 3;
    let why =
        "it must have 8 to 30 characters of three kinds: upper case, lower case, digits, special characters";
    if good {
        Ok(Some(text.to_owned()))
    } else {
        Err(refuse(params, "Password", refusal, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&Params, &str, Refusal) -> Result<Option<String>, ApiError>;

    fn with(value: &str) -> Params {
        Params::from_pairs([("SnapshotName", value), ("Password", value)]).expect("two names")
    }

    fn check(rule: Rule, good: &[&str], bad: &[&str]) {
        for text in good {
            assert_eq!(
                rule(&with(text), "SnapshotName", (400, "X")),
                Ok(Some((*text).to_owned()))
            );
        }
        for text in bad {
            let error = rule(&with(text), "SnapshotName", (404, "X")).expect_err(text);
            assert_eq!((error.status, error.code.as_ref()), (404, "X"));
            assert!(error.message.contains("SnapshotName"), "{}", error.message);
        }
    }

    #[test]
    fn names() {
        let (longest, too_long) = ("é".repeat(128), "é".repeat(129));
        check(
            name,
            &["ab", "数据盘-1", "a:_.-9", "auto", "https", &longest],
            &[
                "a",
                "1a",
                "-ab",
                "a b",
                "http://x",
                "https://x",
                "a/b",
                "a\u{0}",
                &too_long,
            ],
        );
    }

    #[test]
    fn snapshot_names_leave_auto_to_policies() {
        assert_eq!(snapshot_name(&with("snap"), (400, "X")), Ok(Some("snap".into())));
        assert_eq!(
            snapshot_name(&with("Auto1"), (400, "X")),
            Ok(Some("Auto1".into()))
        );
        assert_eq!(
            snapshot_name(&with("auto1"), (400, "X"))
                .expect_err("reserved")
                .code,
            "X"
        );
    }

    #[test]
    fn families() {
        check(
            image_family,
            &["ab", "web-1", "a:b_c-d", "中文"],
            &["a", "1a", "web.1", "acs:web", "aliyun-web", "http://web"],
        );
    }

    #[test]
    fn descriptions() {
        let (longest, too_long) = ("中".repeat(256), "中".repeat(257));
        check(
            description,
            &["ab", " 1", "see http://x", &longest],
            &["a", "http://x", "https://", &too_long],
        );
        check(
            description_or_empty,
            &["", "a", &longest],
            &["http://x", &too_long],
        );
        assert_eq!(description(&with(""), "SnapshotName", (400, "X")), Ok(None));
    }

    #[test]
    fn host_names() {
        let too_long = "a".repeat(65);
        check(
            host_name,
            &["ab", "a-b.c", "10"],
            &["a", ".ab", "-ab", "ab.", "a..b", "a.-b", "a_b", "é1", &too_long],
        );
    }

    #[test]
    fn passwords_are_checked_and_not_echoed() {
        assert!(password(&with("Abcdef12"), (400, "X")).is_ok());
        for bad in ["Abc12!", "abcdefgh1", "Abcdefg 1", &"Aa1".repeat(11)] {
            let error = password(&with(bad), (400, "X")).expect_err(bad);
            assert!(!error.message.contains(bad));
        }
    }
}
