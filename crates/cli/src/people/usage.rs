//! `tidemark usage`: what has been stored for how long, as a table, JSON or CSV.

use super::{Api, Column, CommonArgs, Kind, Parameters, add, note, print, table, text};
use crate::size::human;
use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Columns of all tables, the last two at the right.
macro_rules! columns {
    ($($own:expr),*) => {
        &[
            $($own,)*
            Column::number("now", |r| r["Size"].as_u64().map(human).unwrap_or_default()),
            Column::number("hours", |r| text(r, "Hours")),
            Column::number("GiB-hours", |r| text(r, "GiBHours")),
            Column::number("cost", |r| text(r, "Cost")),
        ]
    };
}

const BY_SNAPSHOT: &[Column] = columns![
    Column::text("snapshot", |r| text(r, "SnapshotId")),
    Column::text("disk", |r| text(r, "SourceDiskId"))
];
const BY_CHAIN: &[Column] = columns![
    Column::text("chain", |r| text(r, "SnapshotLinkId")),
    Column::text("disk", |r| text(r, "SourceDiskId"))
];
const BY_REGION: &[Column] = columns![Column::text("region", |r| text(r, "RegionId"))];
const BY_TAG: &[Column] = columns![
    Column::text("tag", |r| text(r, "TagKey")),
    Column::text("value", |r| text(r, "TagValue"))
];

/// Fields of the CSV file. They are the API's, but for the last three, which the API says once for all rows. New ones come
/// at the end.
const FIELDS: &[&str] = &[
    "RegionId",
    "SourceDiskId",
    "SnapshotLinkId",
    "SnapshotId",
    "Size",
    "Hours",
    "ByteHours",
    "GiBHours",
    "Cost",
    "TagKey",
    "TagValue",
    "Currency",
    "StartTime",
    "EndTime",
];

const METERING: Kind = Kind {
    name: "metered snapshot",
    describe: "DescribeSnapshotMetering",
    ids: "SnapshotId",
    wrapper: "MeterItems",
    item: "MeterItem",
    columns: BY_SNAPSHOT,
    details: &[],
};

const EXAMPLES: &str = "\
Metered are the bytes that are stored for a snapshot, each byte once (`COUNTS` of `tidemark vault du`), for every hour that
has begun. A chain is all snapshots of one disk. A price is set with `tidemark up --snapshot-price`. Tags are those that
snapshots have now: what has no such tag, or is gone by now, is under the empty value.

The columns of --csv, in this order; later versions add theirs at the end:
  RegionId, SourceDiskId, SnapshotLinkId, SnapshotId   what the line is about, as far as it is about one
  Size                      bytes now
  Hours, ByteHours, GiBHours  hours in which there was something, and what was stored in them
  Cost                      empty without a price
  TagKey, TagValue          with --by tag
  Currency                  the price's; empty without one
  StartTime, EndTime        the hours that were looked at: from the beginning of one to the beginning of another

Examples:
  tidemark usage                               this month, by chain
  tidemark usage --by snapshot --disk d-bp1...
  tidemark usage --by tag --tag team
  tidemark usage --month 2026-10 --csv > october.csv
  tidemark usage --from 2026-10-01T00:00Z --to 2026-10-08T00:00Z --by region";

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum By {
    /// A snapshot
    Snapshot,
    /// All snapshots of a disk
    Chain,
    /// All of the region
    Region,
    /// All snapshots with the same value of the tag that --tag names
    Tag,
}

/// `tidemark usage`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct UsageArgs {
    /// What a line is about
    #[arg(long, value_enum, default_value = "chain")]
    by: By,
    /// The key of the tag that lines are about
    #[arg(long, value_name = "KEY", required_if_eq("by", "tag"))]
    tag: Option<String>,
    /// From then on [default: the beginning of this month]
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Until then [default: now]
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// A whole month, in UTC
    #[arg(long, value_name = "YYYY-MM", conflicts_with_all = ["from", "to"])]
    month: Option<String>,
    /// Only snapshots of this disk
    #[arg(long)]
    disk: Option<String>,
    /// Print comma-separated values
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    #[command(flatten)]
    common: CommonArgs,
}

/// Runs the command.
pub fn run(args: &UsageArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    let (from, to) = match &args.month {
        Some(month) => {
            let (from, to) = whole_month(month)?;
            (Some(from), Some(to))
        }
        None => (args.from.clone(), args.to.clone()),
    };
    let (group_by, columns) = match args.by {
        By::Snapshot => ("Snapshot", BY_SNAPSHOT),
        By::Chain => ("Link", BY_CHAIN),
        By::Region => ("Region", BY_REGION),
        By::Tag => ("Tag", BY_TAG),
    };
    if args.tag.is_some() && args.by != By::Tag {
        bail!("--tag says which tag --by tag is about; here lines are about something else");
    }
    let mut parameters = Parameters::new();
    add(&mut parameters, "GroupBy", Some(group_by));
    add(&mut parameters, "StartTime", from);
    add(&mut parameters, "EndTime", to);
    add(&mut parameters, "DiskId", args.disk.as_ref());
    add(&mut parameters, "TagKey", args.tag.as_ref());
    if args.csv {
        return print(&csv(&api.list_with(&METERING, &parameters, complete)?));
    }
    let rows = api.list(&METERING, &parameters)?;
    if args.common.json {
        return api.print_list(&METERING, &rows);
    }
    if rows.is_empty() {
        return note("nothing was stored in that time");
    }
    print(&table(columns, &rows))
}

/// From the first of a month to the first of the next.
fn whole_month(text: &str) -> Result<(String, String)> {
    let parse = || -> Option<(String, String)> {
        let first: jiff::civil::Date = format!("{text}-01").parse().ok()?;
        let next = first
            .first_of_month()
            .checked_add(jiff::Span::new().months(1))
            .ok()?;
        let at = |date: jiff::civil::Date| format!("{date}T00:00Z");
        (text.len() == 7).then(|| (at(first), at(next)))
    };
    parse().with_context(|| format!("{text:?} is no month; write for example 2026-10"))
}

/// A line by itself says for which hours it is, and in which currency.
fn complete(answer: &Value, row: &mut Value) {
    let price = text(answer, "Price");
    let currency = price.split_once(' ').map_or("", |(_, currency)| currency);
    row["Currency"] = currency.into();
    for name in ["StartTime", "EndTime"] {
        row[name] = answer[name].clone();
    }
}

/// Lines end as RFC 4180 says, but for the last, which `print` ends.
fn csv(rows: &[Value]) -> String {
    let quoted = |value: String| match value.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value,
    };
    let line = |row: &Value| {
        let values: Vec<_> = FIELDS.iter().map(|field| quoted(text(row, field))).collect();
        values.join(",")
    };
    let mut lines = vec![FIELDS.join(",")];
    lines.extend(rows.iter().map(line));
    lines.join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_month_ends_where_the_next_begins() {
        let month = |text: &str| whole_month(text).ok();
        assert_eq!(
            month("2026-12"),
            Some(("2026-12-01T00:00Z".into(), "2027-01-01T00:00Z".into()))
        );
        for odd in ["2026-13", "2026", "2026-1", "2026-10-01", "october"] {
            assert_eq!(month(odd), None, "{odd}");
        }
    }

    #[test]
    fn each_line_says_its_window_and_its_currency() {
        let answer = json!({"Price": "0.120000 CNY", "StartTime": "2026-10-01T00:00:00Z", "EndTime": "2026-11-01T00:00:00Z"});
        let mut row = json!({"RegionId": "r", "Cost": "1.000000"});
        complete(&answer, &mut row);
        let text = csv(&[row.clone()]);
        let expected = ",1.000000,,,CNY,2026-10-01T00:00:00Z,2026-11-01T00:00:00Z";
        assert!(text.ends_with(expected), "{text}");
        complete(&json!({"Price": "1.000000"}), &mut row);
        assert_eq!(row["Currency"], "", "a price may have none");
    }

    #[test]
    fn values_are_separated_and_quoted() {
        let text = csv(&[json!({"SnapshotId": "s-1", "Hours": 3, "RegionId": "a,\"b\""})]);
        let lines: Vec<_> = text.split("\r\n").collect();
        assert_eq!(
            lines[0],
            "RegionId,SourceDiskId,SnapshotLinkId,SnapshotId,Size,Hours,ByteHours,GiBHours,Cost,TagKey,TagValue,Currency,\
             StartTime,EndTime"
        );
        assert_eq!(lines[1], "\"a,\"\"b\"\"\",,,s-1,,3,,,,,,,,");
        for field in FIELDS {
            assert!(EXAMPLES.contains(field), "the help does not tell of {field}");
        }
        assert_eq!(csv(&[]).lines().count(), 1);
    }
}
