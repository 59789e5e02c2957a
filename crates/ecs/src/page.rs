//! Pages of a list: by number, or by token (ecs-api.md 1.6).
//!
//! Lists are newest first, ties by id. A token names the last row that was sent, not a position,
//! so it stays valid while rows come and go. Every answer with more rows carries a token, in page
//! mode too, because the CLI's pager follows nothing else.

use crate::{ApiError, Params};
use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;

/// Which part of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// Rows per page.
    pub size: usize,
    /// Where it starts.
    pub start: Start,
}

/// Where a page starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Page number, from 1; rows before it: `(number - 1) * size`.
    Number(usize),
    /// The rows after this one.
    After(Cursor),
}

/// The place of a row in a list: newest first, ties by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// What the list is sorted by, descending; creation in the catalogue's own precision.
    pub created: i64,
    /// The row's id, ascending.
    pub id: String,
}

/// The members that every list answer has; flattened into it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PageInfo {
    /// As asked; 1 when a token was followed.
    pub page_number: usize,
    /// Rows per page.
    pub page_size: usize,
    /// Rows that match, on all pages.
    pub total_count: usize,
    /// Empty: no more rows.
    pub next_token: String,
}

const DEFAULT_SIZE: usize = 10;

impl PageRequest {
    /// Both styles, as most lists offer. `page_max` bounds PageSize (more is an error),
    /// `token_max` bounds MaxResults (more is taken as the bound).
    pub fn parse(params: &Params, page_max: usize, token_max: usize) -> Result<Self, ApiError> {
        let refuse =
            |name: &str, allowed: String| ApiError::invalid_parameter(name, format!("it must be {allowed}"));
        let number = |name: &str| -> Result<Option<i64>, ApiError> { params.integer(name) };
        let page_size = match number("PageSize")? {
            None => None,
            Some(size) => Some(
                usize::try_from(size)
                    .ok()
                    .filter(|size| (1..=page_max).contains(size))
                    .ok_or_else(|| refuse("PageSize", format!("1 to {page_max}")))?,
            ),
        };
        let max_results = number("MaxResults")?.map(|most| {
            let ceiling = i64::try_from(token_max).unwrap_or(i64::MAX);
            usize::try_from(most.clamp(10, ceiling)).unwrap_or(DEFAULT_SIZE)
        });
        if let Some(token) = params.get("NextToken") {
            let size = max_results.or(page_size).unwrap_or(DEFAULT_SIZE);
            return Ok(Self {
                size,
                start: Start::After(Cursor::decode(token)?),
            });
        }
        let first = match number("PageNumber")? {
            None => 1,
            Some(page) => usize::try_from(page)
                .ok()
                .filter(|page| *page >= 1)
                .ok_or_else(|| refuse("PageNumber", "1 or more".into()))?,
        };
        match max_results {
            Some(size) => Ok(Self {
                size,
                start: Start::Number(1),
            }),
            None => Ok(Self {
                size: page_size.unwrap_or(DEFAULT_SIZE),
                start: Start::Number(first),
            }),
        }
    }

    /// Cuts the page out of `rows`, which hold everything that matches, in any order.
    pub fn cut<T>(&self, mut rows: Vec<T>, place: impl Fn(&T) -> Cursor) -> (Vec<T>, PageInfo) {
        rows.sort_by_cached_key(|row| place(row).order());
        let total_count = rows.len();
        let skip = match &self.start {
            Start::Number(page) => (page - 1).saturating_mul(self.size),
            Start::After(last) => rows.partition_point(|row| place(row).order() <= last.order()),
        };
        let more = total_count > skip.saturating_add(self.size);
        let page: Vec<T> = rows.into_iter().skip(skip).take(self.size).collect();
        let next_token = page
            .last()
            .filter(|_| more)
            .map(|row| place(row).encode())
            .unwrap_or_default();
        let page_number = if let Start::Number(page) = self.start {
            page
        } else {
            1
        };
        (
            page,
            PageInfo {
                page_number,
                page_size: self.size,
                total_count,
                next_token,
            },
        )
    }
}

impl Default for PageRequest {
    fn default() -> Self {
        Self {
            size: DEFAULT_SIZE,
            start: Start::Number(1),
        }
    }
}

impl Cursor {
    /// The opaque text that goes to the client.
    pub fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(format!("{}:{}", self.created, self.id).as_bytes())
    }

    /// Reads a token back; 400 `InvalidParameter` when it is none of ours.
    pub fn decode(token: &str) -> Result<Self, ApiError> {
        let read = || {
            let text = String::from_utf8(BASE64URL_NOPAD.decode(token.as_bytes()).ok()?).ok()?;
            let (created, id) = text.split_once(':')?;
            Some(Self {
                created: created.parse().ok()?,
                id: id.to_owned(),
            })
        };
        read().ok_or_else(|| ApiError::invalid_parameter("NextToken", "it was not issued by this service"))
    }

    /// Sorts newest first, then by id.
    fn order(self: &Cursor) -> (std::cmp::Reverse<i64>, String) {
        (std::cmp::Reverse(self.created), self.id.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(pairs: &[(&str, &str)]) -> Result<PageRequest, ApiError> {
        PageRequest::parse(
            &Params::from_pairs(pairs.iter().copied()).expect("no duplicates"),
            100,
            500,
        )
    }

    fn place(row: &(i64, &str)) -> Cursor {
        Cursor {
            created: row.0,
            id: row.1.to_owned(),
        }
    }

    #[test]
    fn defaults_and_limits() {
        assert_eq!(
            request(&[]),
            Ok(PageRequest {
                size: 10,
                start: Start::Number(1)
            })
        );
        assert_eq!(
            request(&[("PageNumber", "3"), ("PageSize", "100")]),
            Ok(PageRequest {
                size: 100,
                start: Start::Number(3)
            })
        );
        for (name, value) in [
            ("PageNumber", "0"),
            ("PageSize", "0"),
            ("PageSize", "101"),
            ("PageSize", "x"),
            ("PageNumber", "-1"),
        ] {
            let error = request(&[(name, value)]).expect_err(value);
            assert_eq!((error.status, error.code.as_ref()), (400, "InvalidParameter"));
            assert!(error.message.contains(name));
        }
    }

    #[test]
    fn max_results_is_clamped_and_never_refused() {
        for (asked, given) in [("1", 10), ("-5", 10), ("50", 50), ("501", 500)] {
            assert_eq!(
                request(&[("MaxResults", asked)]).map(|page| page.size),
                Ok(given),
                "{asked}"
            );
        }
    }

    #[test]
    fn a_token_beats_the_page_number_and_keeps_the_page_size() {
        let token = Cursor {
            created: 5,
            id: "s-1".into(),
        }
        .encode();
        let page = request(&[("NextToken", &token), ("PageNumber", "0"), ("PageSize", "2")]).expect("valid");
        assert_eq!(
            page,
            PageRequest {
                size: 2,
                start: Start::After(Cursor {
                    created: 5,
                    id: "s-1".into()
                })
            }
        );
    }

    #[test]
    fn tokens_are_checked() {
        for bad in [
            "x",
            "é",
            "AAAA",
            &BASE64URL_NOPAD.encode(b"a:b"),
            &BASE64URL_NOPAD.encode(b"\xff:b"),
        ] {
            assert_eq!(
                request(&[("NextToken", bad)]).expect_err(bad).code,
                "InvalidParameter"
            );
        }
    }

    #[test]
    fn pages_are_newest_first_with_a_token_while_there_is_more() {
        let rows = vec![(1, "a"), (3, "c"), (2, "b"), (3, "d")];
        let (page, info) = PageRequest {
            size: 3,
            start: Start::Number(1),
        }
        .cut(rows.clone(), place);
        assert_eq!(page, [(3, "c"), (3, "d"), (2, "b")]);
        assert_eq!((info.total_count, info.page_number, info.page_size), (4, 1, 3));
        let start = Start::After(Cursor::decode(&info.next_token).expect("own token"));
        let (rest, info) = PageRequest { size: 3, start }.cut(rows.clone(), place);
        assert_eq!(rest, [(1, "a")]);
        assert_eq!(info.next_token, "");
        let past = PageRequest {
            size: 3,
            start: Start::Number(9),
        }
        .cut(rows, place);
        assert_eq!(
            (past.0.len(), past.1.total_count, past.1.next_token.as_str()),
            (0, 4, "")
        );
    }

    #[test]
    fn a_token_survives_the_loss_of_its_row() {
        let (_, info) = PageRequest {
            size: 1,
            start: Start::Number(1),
        }
        .cut(vec![(3, "c"), (2, "b"), (1, "a")], place);
        let start = Start::After(Cursor::decode(&info.next_token).expect("own token"));
        let (page, _) = PageRequest { size: 5, start }.cut(vec![(4, "new"), (2, "b"), (1, "a")], place);
        assert_eq!(page, [(2, "b"), (1, "a")]);
    }

    #[test]
    fn huge_page_numbers_are_just_past_the_end() {
        let page = PageRequest {
            size: 100,
            start: Start::Number(usize::MAX),
        };
        assert!(page.cut(vec![(1, "a")], place).0.is_empty());
    }

    proptest! {
        #[test]
        fn following_tokens_shows_every_row_once(created in proptest::collection::vec(0i64..5, 0..40), size in 1usize..7) {
            let rows: Vec<(i64, String)> = created.iter().enumerate().map(|(i, c)| (*c, format!("r{i:02}"))).collect();
            let place = |row: &(i64, String)| Cursor { created: row.0, id: row.1.clone() };
            let mut seen = Vec::new();
            let mut page = PageRequest { size, start: Start::Number(1) };
            loop {
                let (part, info) = page.cut(rows.clone(), place);
                seen.extend(part);
                if info.next_token.is_empty() { break }
                page.start = Start::After(Cursor::decode(&info.next_token).expect("own token"));
            }
            prop_assert_eq!(seen.len(), rows.len());
            prop_assert!(seen.windows(2).all(|w| place(&w[0]).order() < place(&w[1]).order()));
        }

        #[test]
        fn no_token_panics(token in ".{0,40}") {
            let _ = Cursor::decode(&token);
        }
    }
}
