//! From stretches of stored bytes to metered hours and money (product.md 2.17).
//!
//! What is metered is a sum of bytes over started hours (`catalogue::usage` says which hours a stretch counts for). A price
//! is for a GiB and a month of 30 days; the hour's is a 720th of it. All of it is whole numbers until it is written out, so
//! that parts add up to the whole.

use crate::catalogue::usage::UsageRow;
use std::ops::Range;
use std::str::FromStr;

const GIB: u128 = 1 << 30;
/// Hours of the month that prices are for.
const MONTH_HOURS: u128 = 30 * 24;
/// Digits after the point, and what they are parts of.
const DIGITS: usize = 6;
const PARTS: u128 = 1_000_000;

/// What a GiB costs in a month.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Price {
    /// In millionths of the currency.
    millionths: u64,
    currency: String,
}

impl FromStr for Price {
    type Err = String;

    /// `0.12 CNY`; the currency is any word, or missing.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (number, currency) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let refused = || format!("{text:?} is no price of a GiB in a month; write for example \"0.12 CNY\"");
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
        let plausible =
            !whole.is_empty() && whole.len() <= 9 && digits(whole) && part.len() <= DIGITS && digits(part);
        if !plausible || words.next().is_some() || number.ends_with('.') {
            return Err(refused());
        }
        let number = |text: &str| text.parse::<u64>().map_err(|_| refused());
        Ok(Self {
            millionths: number(whole)? * 1_000_000 + number(&format!("{part:0<DIGITS$}"))?,
            currency: currency.to_owned(),
        })
    }
}

impl std::fmt::Display for Price {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = format!("{} {}", decimal(self.millionths.into()), self.currency);
        f.write_str(text.trim_end())
    }
}

impl Price {
    /// What so much costs, with six decimals, rounded to the nearest.
    pub(crate) fn of(&self, byte_hours: u128) -> String {
        let per = GIB * MONTH_HOURS;
        let price = u128::from(self.millionths);
        // Split, so that no product is too large: the whole part of a quotient and the rest.
        let (whole, rest) = (byte_hours / per, byte_hours % per);
        decimal(whole.saturating_mul(price) + (rest * price + per / 2) / per)
    }
}

/// GiB-hours, with six decimals, rounded to the nearest.
pub(crate) fn gib_hours(byte_hours: u128) -> String {
    let (whole, rest) = (byte_hours / GIB, byte_hours % GIB);
    decimal(whole.saturating_mul(PARTS) + (rest * PARTS + GIB / 2) / GIB)
}

fn decimal(parts: u128) -> String {
    format!("{}.{:0DIGITS$}", parts / PARTS, parts % PARTS)
}

/// What was metered of something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metered {
    pub(crate) byte_hours: u128,
    /// Bytes now.
    pub(crate) bytes: u64,
    /// The hours that count, in any order, some of them more than once.
    hours: Vec<Range<i64>>,
}

impl Metered {
    /// Adds what a stretch counts for in these hours.
    pub(crate) fn add(&mut self, row: &UsageRow, window: &Range<i64>, now_ms: i64) {
        let hours = row.hours(now_ms);
        let (start, end) = (hours.start.max(window.start), hours.end.min(window.end));
        let bytes = row.bytes.unsigned_abs();
        if start < end {
            self.byte_hours += u128::from(bytes) * u128::from((end - start).unsigned_abs());
            self.hours.push(start..end);
        }
        if row.until_ms.is_none() {
            self.bytes += bytes;
        }
    }

    /// Hours in which there was something.
    pub(crate) fn hours(&self) -> u64 {
        let mut runs = self.hours.clone();
        runs.sort_by_key(|run| run.start);
        let (mut hours, mut told) = (0, i64::MIN);
        for run in runs {
            hours += (run.end - run.start.max(told)).max(0).unsigned_abs();
            told = told.max(run.end);
        }
        hours
    }

    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.hours.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::HOUR_MS;

    fn row(bytes: u128, first_hour: i64, from_ms: i64, until_ms: Option<i64>) -> UsageRow {
        UsageRow {
            id: 1,
            account: String::new(),
            region: String::new(),
            snapshot_id: String::new(),
            link_id: String::new(),
            source_disk_id: String::new(),
            category: String::new(),
            bytes: i64::try_from(bytes).expect("fits"),
            exact: true,
            first_hour,
            from_ms,
            until_ms,
        }
    }

    fn minutes(minutes: i64) -> i64 {
        minutes * HOUR_MS / 60
    }

    /// The example of the price list: 50 + 220 + 40 GiB from 10:20, settled at 23:00.
    #[test]
    fn any_started_hour_counts_whole() {
        let mut metered = Metered::default();
        for gib in [50, 220, 40] {
            let stretch = row(gib * GIB, 10, minutes(620), None);
            metered.add(&stretch, &(0..24), 23 * HOUR_MS);
        }
        assert_eq!((metered.byte_hours / GIB, metered.hours()), (310 * 13, 13));
        let price: Price = "0.12 CNY".parse().expect("a price");
        assert_eq!(price.of(metered.byte_hours), "0.671667");
        assert_eq!(gib_hours(metered.byte_hours), "4030.000000");
        assert_eq!(metered.bytes, 310 << 30);
    }

    #[test]
    fn windows_cut_hours_and_moments_count_an_hour() {
        let counted = |row: UsageRow, window: Range<i64>| {
            let mut metered = Metered::default();
            metered.add(&row, &window, 100 * HOUR_MS);
            metered.hours()
        };
        // Twenty minutes within an hour.
        assert_eq!(counted(row(1, 10, minutes(620), Some(minutes(640))), 0..24), 1);
        // No time at all: deleted as soon as it was there.
        assert_eq!(counted(row(1, 10, minutes(620), Some(minutes(620))), 0..24), 1);
        // A change within the hour counts from the next one on, and not if it was over before that.
        assert_eq!(counted(row(1, 11, minutes(640), Some(minutes(650))), 0..24), 0);
        assert_eq!(counted(row(1, 11, minutes(640), Some(minutes(661))), 0..24), 1);
        assert_eq!(counted(row(1, 10, minutes(600), None), 12..24), 12);
        assert_eq!(counted(row(1, 10, minutes(600), None), 0..10), 0);
    }

    #[test]
    fn prices_are_numbers_and_words() {
        let price = |text: &str| text.parse::<Price>();
        for (text, written) in [
            ("0.12 CNY", "0.120000 CNY"),
            ("1", "1.000000"),
            (" 0.0173  USD ", "0.017300 USD"),
        ] {
            assert_eq!(price(text).map(|p| p.to_string()), Ok(written.to_owned()));
        }
        for text in [
            "",
            "CNY",
            "-1",
            "1e3",
            "0.1234567",
            "1.",
            ".5",
            "1 a b",
            "9999999999",
        ] {
            assert!(price(text).is_err(), "{text:?}");
        }
        // A PiB for a year at a price that nobody pays: no overflow, and to the cent.
        let dear: Price = "999999999".parse().expect("a price");
        assert_eq!(dear.of((1 << 50) * 720), "1048575998951424.000000");
    }
}
