//! The decoded parameters of one request, and how their names nest.
//!
//! Names match exactly, except that the case of the first letter of each part is ignored
//! (ecs-api.md 1.3: `regionId`, `Tag.1.key`). An exact match wins over a loose one, so that an
//! action's own `regionId` beats the `RegionId` that V1 clients add to everything.
//! An empty value counts as absent wherever it could be a filter or a required value; the few
//! fields that may be emptied read [`Params::given`].
//!
//! Every public accessor says what it reads to a [`Watcher`], if there is one: that is how
//! [`crate::describe`] learns an action's parameters from its `parse`, so an accessor that is added here
//! has to say it, too.

use crate::ApiError;
use crate::describe::{Kind, Watcher};
use std::collections::BTreeMap;

/// Parameter names and values, percent-decoded; also the members of one struct (`Tag.1.*`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Params {
    values: BTreeMap<String, String>,
    /// What stands before every name here, for messages: `Tag.1.` or nothing.
    prefix: String,
    watcher: Watcher,
}

impl Params {
    /// From the union of query and form pairs. A name given twice with two values would mean
    /// different things to signer and server, so it is refused.
    pub fn from_pairs<N, V>(pairs: impl IntoIterator<Item = (N, V)>) -> Result<Self, ApiError>
    where
        N: Into<String>,
        V: Into<String>,
    {
        let mut values: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in pairs {
            let (name, value) = (name.into(), value.into());
            match values.get(&name) {
                Some(earlier) if *earlier != value => {
                    return Err(ApiError::invalid_parameter(
                        &name,
                        "given more than once, with different values",
                    ));
                }
                _ => values.insert(name, value),
            };
        }
        Ok(Self {
            values,
            prefix: String::new(),
            watcher: Watcher::default(),
        })
    }

    /// The same without what has one of these names, the first letter as it is there.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        let mut rest = self.clone();
        rest.values.retain(|name, _| !names.contains(&name.as_str()));
        rest
    }

    /// The same, and every read of it is told to `watcher`.
    pub(crate) fn watched(self, watcher: Watcher) -> Self {
        Self { watcher, ..self }
    }

    /// With one region for all who ask, whichever way they spell it. V1 clients add their profile's `RegionId` to every
    /// request; `regionId` is only sent where an action has it, so it says more. An empty one says nothing. Without this,
    /// permissions could be looked at in one region and the action done in the other.
    pub fn one_region(mut self) -> Self {
        if let Some(own) = self.values.remove("regionId").filter(|own| !own.is_empty()) {
            self.values.insert("RegionId".to_owned(), own);
        }
        self
    }

    fn saw(&self, name: &str, kind: impl FnOnce() -> Kind) {
        self.watcher.saw(&self.prefix, name, kind);
    }

    /// The value as sent, empty or not.
    pub fn given(&self, name: &str) -> Option<&str> {
        self.saw(name, || Kind::Text);
        self.sent(name)
    }

    fn sent(&self, name: &str) -> Option<&str> {
        let loose = || {
            let mut letters = name.chars();
            let first = letters.next()?;
            let flipped = if first.is_ascii_uppercase() {
                first.to_ascii_lowercase()
            } else {
                first.to_ascii_uppercase()
            };
            self.values.get(&format!("{flipped}{}", letters.as_str()))
        };
        self.values.get(name).or_else(loose).map(String::as_str)
    }

    /// The value, if it is there and not empty.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.saw(name, || Kind::Text);
        self.filled(name)
    }

    fn filled(&self, name: &str) -> Option<&str> {
        self.sent(name).filter(|value| !value.is_empty())
    }

    /// As [`get`](Self::get), owned.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// A mandatory value; absent or empty: 400 `MissingParameter`.
    pub fn required(&self, name: &str) -> Result<String, ApiError> {
        self.text(name)
            .ok_or_else(|| ApiError::missing_parameter(&self.full_name(name)))
    }

    /// `true`/`false` in any case; else 400 `InvalidParameter`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        self.saw(name, || Kind::Boolean);
        match self.filled(name).map(str::trim) {
            None => Ok(None),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(Some(true)),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(Some(false)),
            Some(text) => Err(ApiError::invalid_parameter(
                &self.full_name(name),
                format!("{text:?} is neither true nor false"),
            )),
        }
    }

    /// A boolean that is false when absent.
    pub fn flag(&self, name: &str) -> Result<bool, ApiError> {
        Ok(self.boolean(name)?.unwrap_or(false))
    }

    /// A decimal integer; else 400 `InvalidParameter`.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        self.integer_or(name, 400, "InvalidParameter")
    }

    /// A decimal integer; else the parameter's own status and code.
    pub fn integer_or(&self, name: &str, status: u16, code: &'static str) -> Result<Option<i64>, ApiError> {
        self.saw(name, || Kind::Integer(None));
        let Some(text) = self.filled(name) else {
            return Ok(None);
        };
        match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => {
                let name = self.full_name(name);
                Err(ApiError::new(
                    status,
                    code,
                    format!("The parameter \"{name}\" is not valid: {text:?} is not an integer."),
                ))
            }
        }
    }

    /// An integer within a range; outside, or not a number: the parameter's own status and code.
    pub fn integer_in(
        &self,
        name: &str,
        range: std::ops::RangeInclusive<i64>,
        status: u16,
        code: &'static str,
    ) -> Result<Option<i64>, ApiError> {
        self.saw(name, || Kind::Integer(Some(range.clone())));
        match self.integer_or(name, status, code)? {
            Some(number) if !range.contains(&number) => Err(ApiError::new(
                status,
                code,
                format!(
                    "The parameter \"{}\" is not valid: {number} is not within {} to {}.",
                    self.full_name(name),
                    range.start(),
                    range.end()
                ),
            )),
            other => Ok(other),
        }
    }

    /// One of the given words, compared exactly; else the parameter's own status and code.
    pub fn word(
        &self,
        name: &str,
        words: &[&str],
        status: u16,
        code: &'static str,
    ) -> Result<Option<String>, ApiError> {
        self.saw(name, || Kind::words(words));
        match self.filled(name) {
            Some(text) if !words.contains(&text) => Err(ApiError::new(
                status,
                code,
                format!(
                    "The parameter \"{}\" is not valid: {text:?} is none of {}.",
                    self.full_name(name),
                    words.join(", ")
                ),
            )),
            other => Ok(other.map(str::to_owned)),
        }
    }

    /// As [`word`](Self::word), in any case; answers the word in the case of the list.
    pub fn word_any_case(
        &self,
        name: &str,
        words: &[&str],
        status: u16,
        code: &'static str,
    ) -> Result<Option<String>, ApiError> {
        self.saw(name, || Kind::words(words));
        let Some(text) = self.filled(name) else {
            return Ok(None);
        };
        match words.iter().find(|word| word.eq_ignore_ascii_case(text)) {
            Some(word) => Ok(Some((*word).to_owned())),
            None => self.word(name, words, status, code),
        }
    }

    /// A repeat list, `Name.1`, `Name.2` …, in index order; gaps are fine. Empty items are left out.
    pub fn list(&self, name: &str) -> Result<Vec<String>, ApiError> {
        self.saw(&format!("{name}.1"), || Kind::Text);
        let mut items = BTreeMap::new();
        for (index, rest, value) in self.indexed(name) {
            if rest.is_none() {
                items.insert(self.index(name, index)?, value);
            }
        }
        Ok(items
            .into_values()
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect())
    }

    /// A list of structs, `Name.1.Key=…`, in index order; gaps are fine.
    pub fn structs(&self, name: &str) -> Result<Vec<Params>, ApiError> {
        let mut items: BTreeMap<u32, Params> = BTreeMap::new();
        for (index, rest, value) in self.indexed(name) {
            let Some(member) = rest else { continue };
            let number = self.index(name, index)?;
            let item = items
                .entry(number)
                .or_insert_with(|| self.item(name, number, BTreeMap::new()));
            item.values.insert(member.to_owned(), value.to_owned());
        }
        if items.is_empty() && self.watcher.wants_items() {
            items.insert(1, self.item(name, 1, BTreeMap::new()));
        }
        Ok(items.into_values().collect())
    }

    /// The members of one struct, `Name.Key=…`; empty when none is given.
    pub fn fields(&self, name: &str) -> Params {
        let values = self
            .below(name)
            .map(|(rest, value)| (rest.to_owned(), value.to_owned()))
            .collect();
        Params {
            values,
            prefix: format!("{}{name}.", self.prefix),
            watcher: self.watcher.clone(),
        }
    }

    fn item(&self, name: &str, number: u32, values: BTreeMap<String, String>) -> Params {
        Params {
            values,
            prefix: format!("{}{name}.{number}.", self.prefix),
            watcher: self.watcher.clone(),
        }
    }

    /// A JSON array of strings in one parameter. `None`: absent, no filter. `Some([])`: a filter
    /// that matches nothing. Numbers count as their text. Not an array, or more than `most`
    /// items: the errors given.
    pub fn json_list(
        &self,
        name: &str,
        most: usize,
        malformed: (u16, &'static str),
        too_many: (u16, &'static str),
    ) -> Result<Option<Vec<String>>, ApiError> {
        self.saw(name, || Kind::JsonList { most });
        let Some(text) = self.filled(name) else {
            return Ok(None);
        };
        let refuse = |(status, code): (u16, &'static str), why: String| {
            ApiError::new(
                status,
                code,
                format!("The parameter \"{}\" is not valid: {why}.", self.full_name(name)),
            )
        };
        let parsed: Vec<serde_json::Value> = serde_json::from_str(text)
            .map_err(|_| refuse(malformed, "it must be a JSON array of strings".into()))?;
        if parsed.len() > most {
            return Err(refuse(
                too_many,
                format!("{} items, where {most} are allowed", parsed.len()),
            ));
        }
        let item = |value: serde_json::Value| match value {
            serde_json::Value::String(text) => Ok(text),
            serde_json::Value::Number(number) => Ok(number.to_string()),
            _ => Err(refuse(malformed, "every item must be a string".into())),
        };
        parsed.into_iter().map(item).collect::<Result<_, _>>().map(Some)
    }

    /// Whether there is nothing here.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Every name and value, in byte order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The name as the caller wrote it, with the struct it sits in.
    pub fn full_name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// Everything named `name.<rest>`, as (rest, value).
    fn below<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.values.iter().filter_map(move |(full, value)| {
            let (head, tail) = full.split_at_checked(name.len())?;
            let rest = tail.strip_prefix('.')?;
            same_but_first_case(head, name).then_some((rest, value.as_str()))
        })
    }

    /// Everything named `name.<digits>` or `name.<digits>.<rest>`, as (digits, rest, value).
    fn indexed<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, Option<&'a str>, &'a str)> {
        self.below(name).filter_map(|(rest, value)| {
            let (index, member) = match rest.split_once('.') {
                Some((index, member)) => (index, Some(member)),
                None => (rest, None),
            };
            let digits = !index.is_empty() && index.bytes().all(|b| b.is_ascii_digit());
            digits.then_some((index, member, value))
        })
    }

    /// Lists count from one. Anything else is refused rather than silently dropped.
    fn index(&self, name: &str, digits: &str) -> Result<u32, ApiError> {
        match digits.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(ApiError::invalid_parameter(
                &format!("{}.{digits}", self.full_name(name)),
                "list indices are numbers from 1",
            )),
        }
    }
}

fn same_but_first_case(a: &str, b: &str) -> bool {
    let (mut x, mut y) = (a.chars(), b.chars());
    match (x.next(), y.next()) {
        (Some(p), Some(q)) => p.eq_ignore_ascii_case(&q) && x.as_str() == y.as_str(),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params::from_pairs(pairs.iter().copied()).expect("no duplicates in this test")
    }

    fn refusal<T: std::fmt::Debug>(result: Result<T, ApiError>) -> String {
        result.expect_err("must be refused").to_string()
    }

    #[test]
    fn first_letter_case_is_ignored_and_the_rest_is_not() {
        let p = params(&[("regionId", "a"), ("DiskId", "d-1"), ("diskname", "n")]);
        assert_eq!(p.get("RegionId"), Some("a"));
        assert_eq!(p.get("diskId"), Some("d-1"));
        assert_eq!(p.get("DiskName"), None);
    }

    #[test]
    fn an_exact_name_beats_a_loose_one() {
        let p = params(&[("regionId", "own"), ("RegionId", "common")]);
        assert_eq!(p.get("regionId"), Some("own"));
        assert_eq!(p.get("RegionId"), Some("common"));
    }

    #[test]
    fn both_spellings_of_the_region_are_one() {
        for (pairs, expected) in [
            (&[("regionId", "own"), ("RegionId", "common")][..], Some("own")),
            (&[("regionId", ""), ("RegionId", "common")], Some("common")),
            (&[("regionId", "own"), ("RegionId", "")], Some("own")),
            (&[("regionId", "own")], Some("own")),
            (&[("RegionId", "common")], Some("common")),
            (&[("regionId", "")], None),
            (&[], None),
        ] {
            let p = params(pairs).one_region();
            assert_eq!(
                (p.get("RegionId"), p.get("regionId")),
                (expected, expected),
                "{pairs:?}"
            );
        }
    }

    #[test]
    fn empty_is_absent_unless_asked() {
        let p = params(&[("Description", "")]);
        assert_eq!(p.get("Description"), None);
        assert_eq!(p.given("Description"), Some(""));
        assert_eq!(
            p.required("Description"),
            Err(ApiError::missing_parameter("Description"))
        );
    }

    #[test]
    fn one_name_two_values_is_refused() {
        assert!(Params::from_pairs([("A", "1"), ("A", "1")]).is_ok());
        assert!(refusal(Params::from_pairs([("A", "1"), ("A", "2")])).contains("\"A\""));
    }

    #[test]
    fn booleans_in_any_case() {
        let p = params(&[
            ("A", "True"),
            ("B", "false"),
            ("C", "TRUE"),
            ("D", "1"),
            ("E", ""),
        ]);
        assert_eq!(p.boolean("A"), Ok(Some(true)));
        assert_eq!(p.boolean("B"), Ok(Some(false)));
        assert_eq!(p.boolean("C"), Ok(Some(true)));
        assert_eq!(p.boolean("E"), Ok(None));
        assert!(refusal(p.boolean("D")).starts_with("InvalidParameter (400)"));
    }

    #[test]
    fn integers_with_their_own_code() {
        let p = params(&[
            ("A", " 42 "),
            ("B", "x"),
            ("C", "-1"),
            ("D", "99999999999999999999"),
        ]);
        assert_eq!(p.integer("A"), Ok(Some(42)));
        assert_eq!(p.integer("C"), Ok(Some(-1)));
        assert!(refusal(p.integer("B")).starts_with("InvalidParameter (400)"));
        assert!(refusal(p.integer("D")).starts_with("InvalidParameter (400)"));
        assert!(refusal(p.integer_in("A", 1..=41, 403, "X.Malformed")).starts_with("X.Malformed (403)"));
        assert!(refusal(p.integer_in("B", 1..=41, 403, "X.Malformed")).starts_with("X.Malformed (403)"));
    }

    #[test]
    fn lists_in_index_order_with_gaps() {
        let p = params(&[
            ("DiskId.10", "c"),
            ("diskId.2", "b"),
            ("DiskId.1", "a"),
            ("DiskId.x", "no"),
            ("DiskId", "no"),
        ]);
        assert_eq!(p.list("DiskId"), Ok(vec!["a".into(), "b".into(), "c".into()]));
        assert!(refusal(params(&[("A.0", "x")]).list("A")).contains("A.0"));
        assert!(refusal(params(&[("A.99999999999", "x")]).list("A")).contains("A.99999999999"));
    }

    #[test]
    fn structs_nest_two_deep_and_name_themselves() {
        let p = params(&[
            ("TagFilter.2.TagKey", "k2"),
            ("TagFilter.1.TagKey", "k1"),
            ("TagFilter.1.TagValues.2", "v2"),
            ("TagFilter.1.TagValues.1", "v1"),
        ]);
        let items = p.structs("TagFilter").expect("well formed");
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].get("tagKey"), Some("k1"));
        assert_eq!(items[0].list("TagValues"), Ok(vec!["v1".into(), "v2".into()]));
        assert_eq!(items[1].full_name("TagKey"), "TagFilter.2.TagKey");
    }

    #[test]
    fn fields_of_one_struct() {
        let p = params(&[
            ("SystemDisk.Size", "40"),
            ("SystemDiskSize", "no"),
            ("systemDisk.Category", "cloud"),
        ]);
        let disk = p.fields("SystemDisk");
        assert_eq!(disk.integer("Size"), Ok(Some(40)));
        assert_eq!(disk.get("Category"), Some("cloud"));
        assert!(p.fields("DataDisk").is_empty());
    }

    #[test]
    fn json_lists_tell_nothing_from_no_filter() {
        let read = |text| params(&[("Ids", text)]).json_list("Ids", 2, (400, "Bad"), (403, "Many"));
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("[]"), Ok(Some(vec![])));
        assert_eq!(read(r#"["a", 7]"#), Ok(Some(vec!["a".into(), "7".into()])));
        for bad in ["d-1", "{}", "[null]", "[[]]", "[\"a\"", "\"a\""] {
            assert!(refusal(read(bad)).starts_with("Bad (400)"), "{bad}");
        }
        assert!(refusal(read("[1,2,3]")).starts_with("Many (403)"));
    }

    proptest! {
        #[test]
        fn nothing_a_caller_sends_panics(pairs in proptest::collection::vec((".{0,12}", ".{0,12}"), 0..20), name in ".{0,5}") {
            if let Ok(p) = Params::from_pairs(pairs) {
                let _ = (p.boolean(&name), p.integer(&name), p.list(&name), p.structs(&name), p.fields(&name));
                let _ = p.json_list(&name, 3, (400, "A"), (400, "B"));
                let _ = p.given(&name);
            }
        }

        #[test]
        fn dotted_names_never_panic(names in proptest::collection::vec("[Aaé]?[.]?[0-9]{0,11}[.]?[Aé.]{0,3}", 0..20)) {
            if let Ok(p) = Params::from_pairs(names.iter().map(|n| (n.as_str(), "v"))) {
                for name in ["A", "a", "é", ""] {
                    let _ = (p.list(name), p.structs(name), p.fields(name));
                }
            }
        }
    }
}
