//! `--pager [path=] [NextToken=] [PageNumber=] [PageSize=] [TotalCount=]`: calls until there are no
//! more pages and joins their lists into one answer that holds nothing else.
//!
//! Token mode unless `NextToken=` is given empty; the names are JMESPath expressions on the answer,
//! their last part is the request's parameter. Without `path=` the list is the first
//! `{Wrapper: {Item: [..]}}` at the top of the answer.

use super::query::search;
use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

/// Where an answer says what page it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pager {
    path: Option<String>,
    page_number: String,
    page_size: String,
    total_count: String,
    next_token: String,
}

/// The request's parameter behind an expression.
fn parameter(expression: &str) -> &str {
    expression.rsplit('.').next().unwrap_or(expression)
}

fn set(parameters: &mut Vec<(String, String)>, name: &str, value: String) {
    match parameters.iter_mut().find(|(n, _)| n == name) {
        Some(pair) => pair.1 = value,
        None => parameters.push((name.into(), value)),
    }
}

/// A count in an answer: a number, or one in a string.
fn count(expression: &str, answer: &Value) -> Result<u64> {
    let value = search(expression, answer)?;
    value
        .as_u64()
        .or_else(|| value.as_str().and_then(|s| s.parse().ok()))
        .with_context(|| format!("call failed: '{expression}' is {value}, not a count"))
}

impl Pager {
    /// From the flag's fields; absent ones have their usual names.
    pub fn new(
        path: Option<String>,
        page_number: Option<String>,
        page_size: Option<String>,
        total_count: Option<String>,
        next_token: Option<String>,
    ) -> Self {
        let or = |value: Option<String>, name: &str| value.unwrap_or_else(|| name.to_string());
        Self {
            path: path.filter(|p| !p.is_empty()),
            page_number: or(page_number, "PageNumber"),
            page_size: or(page_size, "PageSize"),
            total_count: or(total_count, "TotalCount"),
            next_token: or(next_token, "NextToken"),
        }
    }

    /// Calls with the parameters, page after page; returns the joined list in its wrappers.
    pub fn run(
        &self,
        mut parameters: Vec<(String, String)>,
        mut call: impl FnMut(&[(String, String)]) -> Result<String>,
    ) -> Result<String> {
        let mut path = self.path.clone();
        let mut joined = Vec::new();
        loop {
            let answer = call(&parameters)?;
            let answer: Value = serde_json::from_str(&answer).context("call failed: unmarshal")?;
            let found = match &path {
                Some(path) => path,
                None => path.insert(detect(&answer).context(
                    "call failed: can't auto recognize collections path: you need add `--pager path=[jmespath]` \
                     to assign manually",
                )?),
            };
            match search(found, &answer)? {
                Value::Array(items) => joined.extend(items),
                other => bail!("call failed: --pager path={found} is {other}, not a list"),
            }
            if !self.advance(&answer, &mut parameters)? {
                break;
            }
        }
        Ok(wrap(&path.unwrap_or_default(), joined).to_string())
    }

    /// Turns the parameters to the next page; false when there is none.
    fn advance(&self, answer: &Value, parameters: &mut Vec<(String, String)>) -> Result<bool> {
        if !self.next_token.is_empty() {
            let Value::String(token) = search(&self.next_token, answer)? else {
                return Ok(false);
            };
            if token.is_empty() {
                return Ok(false);
            }
            let name = parameter(&self.next_token);
            if parameters.iter().any(|(n, v)| n == name && *v == token) {
                bail!("call failed: the server answered the same {name} twice, so paging would never end");
            }
            set(parameters, name, token);
            return Ok(true);
        }
        let total = count(&self.total_count, answer)?;
        let number = count(&self.page_number, answer)?;
        let size = count(&self.page_size, answer)?;
        if size == 0 {
            bail!(
                "call failed: '{}' is 0, so paging would never end",
                self.page_size
            );
        }
        if number >= total.div_ceil(size) {
            return Ok(false);
        }
        set(parameters, parameter(&self.page_number), (number + 1).to_string());
        Ok(true)
    }
}

/// `Wrapper.Item[]` of the first list that is wrapped so.
fn detect(answer: &Value) -> Option<String> {
    answer.as_object()?.iter().find_map(|(wrapper, inner)| {
        let (item, _) = inner.as_object()?.iter().find(|(_, v)| v.is_array())?;
        Some(format!("{wrapper}.{item}[]"))
    })
}

/// The list under the last two names of its path.
fn wrap(path: &str, items: Vec<Value>) -> Value {
    let mut names = path.rsplit('.');
    let last = names.next().unwrap_or_default();
    let inner = Map::from_iter([(
        last.strip_suffix("[]").unwrap_or(last).to_string(),
        Value::Array(items),
    )]);
    match names.next() {
        Some(wrapper) => Value::Object(Map::from_iter([(wrapper.to_string(), Value::Object(inner))])),
        None => Value::Object(inner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pager(path: Option<&str>, next_token: Option<&str>) -> Pager {
        Pager::new(
            path.map(str::to_string),
            None,
            None,
            None,
            next_token.map(str::to_string),
        )
    }

    fn get<'a>(parameters: &'a [(String, String)], name: &str) -> Option<&'a str> {
        parameters
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }

    #[test]
    fn token_mode_joins_pages_and_keeps_the_page_size() {
        let call = |p: &[(String, String)]| {
            assert_eq!(get(p, "PageSize"), Some("2"));
            Ok(match get(p, "NextToken") {
                None => json!({"RequestId":"r","Disks":{"Disk":[1,2]},"NextToken":"t1","TotalCount":3}),
                Some("t1") => json!({"Disks":{"Disk":[3]},"NextToken":"","TotalCount":3}),
                other => panic!("unexpected token {other:?}"),
            }
            .to_string())
        };
        let text = pager(None, None)
            .run(vec![("PageSize".into(), "2".into())], call)
            .unwrap();
        assert_eq!(text, r#"{"Disks":{"Disk":[1,2,3]}}"#);
    }

    #[test]
    fn an_empty_token_name_means_page_numbers() {
        let call = |p: &[(String, String)]| {
            let page: u64 = get(p, "PageNumber").map_or(1, |n| n.parse().unwrap());
            let items = if page == 3 {
                json!([5])
            } else {
                json!([page * 2 - 1, page * 2])
            };
            Ok(
                json!({"A":{"B":items},"PageNumber":page,"PageSize":"2","TotalCount":5,"NextToken":"x"})
                    .to_string(),
            )
        };
        let text = pager(None, Some("")).run(Vec::new(), call).unwrap();
        assert_eq!(text, r#"{"A":{"B":[1,2,3,4,5]}}"#);
    }

    #[test]
    fn the_path_can_be_given() {
        let answer = json!({"X":{"Y":{"Z":[1]}},"L":[2]}).to_string();
        let call = |_: &[(String, String)]| Ok(answer.clone());
        assert_eq!(
            pager(Some("X.Y.Z[]"), None).run(Vec::new(), call).unwrap(),
            r#"{"Y":{"Z":[1]}}"#
        );
        assert_eq!(
            pager(Some("L"), None).run(Vec::new(), call).unwrap(),
            r#"{"L":[2]}"#
        );
    }

    #[test]
    fn what_cannot_be_paged_is_refused() {
        let run = |pager: Pager, answer: Value| {
            pager
                .run(Vec::new(), |_| Ok(answer.to_string()))
                .unwrap_err()
                .to_string()
        };
        assert!(run(pager(None, None), json!({"RequestId":"r"})).contains("path="));
        assert!(run(pager(Some("A.B"), None), json!({"A":{"B":null}})).contains("A.B"));
        assert!(run(pager(None, None), json!({"A":{"B":[]},"NextToken":"same"})).contains("never end"));
        assert!(run(pager(None, Some("")), json!({"A":{"B":[]}})).contains("TotalCount"));
        assert!(
            run(
                pager(None, Some("")),
                json!({"A":{"B":[]},"TotalCount":1,"PageNumber":1,"PageSize":0})
            )
            .contains("PageSize")
        );
    }
}
