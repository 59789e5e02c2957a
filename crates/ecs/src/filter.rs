//! `Filter.N.Key` / `Filter.N.Value`: named time limits on a list (ecs-api.md 1.3, 1.5).

use crate::{ApiError, Params, time};
use jiff::Timestamp;

/// A window in time; both ends belong to it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Not earlier than this.
    pub start: Option<Timestamp>,
    /// Not later than this.
    pub end: Option<Timestamp>,
}

impl Window {
    /// Whether an instant lies in the window.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= at) && self.end.is_none_or(|end| at <= end)
    }

    /// Whether every instant lies in it.
    pub fn is_unbounded(&self) -> bool {
        *self == Self::default()
    }
}

/// What lists can be filtered by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Filters {
    /// `CreationStartTime`, `CreationEndTime`.
    pub created: Window,
    /// `ExpiredStartTime`, `ExpiredEndTime`.
    pub expired: Window,
}

impl Filters {
    /// Reads all filters, in any order. A key that is not among `keys`: 404
    /// `InvalidFilterKey.NotFound`; a value that is no time: 404 `InvalidFilterValue`. A filter
    /// without value is none.
    pub fn parse(params: &Params, keys: &[&str]) -> Result<Self, ApiError> {
        let mut filters = Self::default();
        for item in params.structs("Filter")? {
            let Some(value) = item.get("Value") else { continue };
            let key = item.get("Key").unwrap_or_default();
            let unknown = || {
                ApiError::new(
                    404,
                    "InvalidFilterKey.NotFound",
                    format!(
                        "The filter key {key:?} ({}) is none of {}.",
                        item.full_name("Key"),
                        keys.join(", ")
                    ),
                )
            };
            let slot = match key {
                key if !keys.contains(&key) => return Err(unknown()),
                "CreationStartTime" => &mut filters.created.start,
                "CreationEndTime" => &mut filters.created.end,
                "ExpiredStartTime" => &mut filters.expired.start,
                "ExpiredEndTime" => &mut filters.expired.end,
                "NetworkType" if ["vpc", "classic"].contains(&value) => continue,
                "NetworkType" => {
                    let message = format!("The value {value:?} of filter {key} is neither vpc nor classic.");
                    return Err(ApiError::new(400, "InvalidFilterValue.NetworkType", message));
                }
                _ => return Err(unknown()),
            };
            let time = time::parse_minutes_or_seconds(value).ok_or_else(|| {
                ApiError::new(
                    404,
                    "InvalidFilterValue",
                    format!(
                        "The value {value:?} of filter {key} is not a time in the format yyyy-MM-ddTHH:mmZ."
                    ),
                )
            })?;
            *slot = Some(time);
        }
        Ok(filters)
    }
}

/// The keys of most lists.
pub const CREATION: &[&str] = &["CreationStartTime", "CreationEndTime"];

/// The keys of DescribeImages. Every image fits both kinds of network.
pub const OF_IMAGES: &[&str] = &["CreationStartTime", "CreationEndTime", "NetworkType"];

/// The keys of DescribeInstances.
pub const CREATION_AND_EXPIRY: &[&str] = &[
    "CreationStartTime",
    "CreationEndTime",
    "ExpiredStartTime",
    "ExpiredEndTime",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Filters, ApiError> {
        Filters::parse(
            &Params::from_pairs(pairs.iter().copied()).expect("no duplicates"),
            CREATION,
        )
    }

    #[test]
    fn either_order_and_both_precisions() {
        let filters = parse(&[
            ("Filter.1.Key", "CreationEndTime"),
            ("Filter.1.Value", "2026-01-02T03:05Z"),
            ("Filter.2.Key", "CreationStartTime"),
            ("Filter.2.Value", "2026-01-02T03:04:30Z"),
        ])
        .expect("valid");
        let inside = |text: &str| filters.created.contains(text.parse().expect("a time"));
        assert!(inside("2026-01-02T03:04:30Z") && inside("2026-01-02T03:05:00Z"));
        assert!(!inside("2026-01-02T03:04:29Z") && !inside("2026-01-02T03:05:01Z"));
        assert!(filters.expired.is_unbounded());
    }

    #[test]
    fn refusals_have_their_codes() {
        let code = |pairs| parse(pairs).map_err(|e| (e.status, e.code.into_owned()));
        let (missing, bad) = (
            (404, "InvalidFilterKey.NotFound".into()),
            (404, "InvalidFilterValue".into()),
        );
        assert_eq!(
            code(&[("Filter.1.Key", "Nope"), ("Filter.1.Value", "2026-01-02T03:05Z")]),
            Err(missing)
        );
        assert_eq!(
            code(&[("Filter.1.Key", "CreationEndTime"), ("Filter.1.Value", "soon")]),
            Err(bad)
        );
        assert_eq!(
            code(&[("Filter.1.Key", "CreationStartTime")]),
            Ok(Filters::default())
        );
    }
}
