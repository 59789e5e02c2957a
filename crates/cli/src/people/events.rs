//! `tidemark events`.

use super::{Api, Column, CommonArgs, Kind, Parameters, add, print, text};
use crate::client::params;
use anyhow::Result;
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// Something that happened.
const EVENT: Kind = Kind {
    name: "event",
    describe: "DescribeEvents",
    ids: "",
    wrapper: "Events",
    item: "Event",
    columns: &[
        Column::text("time", |r| text(r, "EventTime")),
        Column::text("level", |r| text(r, "Level")),
        Column::text("event", |r| text(r, "EventName")),
        Column::text("resource", |r| text(r, "ResourceId")),
        Column::text("what", what),
    ],
    details: &[],
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(500);

const EXAMPLES: &str = "\
What somebody asked for says who (by), in which request (requestId) and by which
action: Snapshot:Deleted, :Locked, :Unlocked, :Modified, SnapshotGroup:Deleted,
Disk:Deleted.

Examples:
  tidemark events --limit 20
  tidemark events --level WARN
  tidemark events --resource d-bp1... --follow
  tidemark events --name Snapshot:Deleted --name Disk:Deleted
  tidemark events --name Snapshot:CreateSnapshotCompleted --json";

/// `tidemark events`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct EventsArgs {
    /// Go on, and print events as they happen; ends with Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// The newest so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    limit: usize,
    /// Only events of this name; may be given several times
    #[arg(long = "name", value_name = "NAME")]
    names: Vec<String>,
    /// Only events of this level: INFO, WARN, CRITICAL
    #[arg(long)]
    level: Option<String>,
    /// Only events of this disk, snapshot, user …
    #[arg(long, value_name = "ID")]
    resource: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

/// The content's members that say something, in one line.
fn what(row: &Value) -> String {
    let Some(content) = row["Content"].as_object() else {
        return String::new();
    };
    let said = |value: &&Value| !value.is_null() && value.as_str() != Some("");
    let words = content
        .iter()
        .filter(|(_, value)| said(value))
        .map(|(name, value)| {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
            format!("{name}={value}")
        });
    words.collect::<Vec<_>>().join(" ")
}

/// Prints what happened, oldest first as a log is, and then what happens.
pub fn run(args: &EventsArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    let mut filters = Parameters::new();
    for (at, name) in args.names.iter().enumerate() {
        filters.push((format!("EventName.{}", at + 1), name.clone()));
    }
    add(&mut filters, "Level", args.level.as_ref());
    add(&mut filters, "ResourceId", args.resource.as_ref());
    // Before the look back, so that nothing falls between.
    let mut token = match args.follow {
        true => Some(follow(&api, &filters, None)?.1),
        false => None,
    };
    let mut shown = newest(&api, &filters, args.limit)?;
    shown.reverse();
    if !args.follow {
        return api.print_list(&EVENT, &shown);
    }
    let known: Vec<String> = shown.iter().map(|row| text(row, "EventId")).collect();
    shown.iter().try_for_each(|row| line(args.common.json, row))?;
    loop {
        let (rows, next) = follow(&api, &filters, token.as_deref())?;
        let new = rows.iter().filter(|row| !known.contains(&text(row, "EventId")));
        new.into_iter().try_for_each(|row| line(args.common.json, row))?;
        token = Some(next);
        if rows.is_empty() {
            std::thread::sleep(PAUSE);
        }
    }
}

/// The newest events, newest first.
fn newest(api: &Api, filters: &Parameters, limit: usize) -> Result<Vec<Value>> {
    let mut rows: Vec<Value> = Vec::new();
    let mut after = Parameters::new();
    while rows.len() < limit {
        let page = params([("MaxResults", "100")]);
        let mut answer = api.call(EVENT.describe, &[&filters[..], &page, &after].concat())?;
        if let Value::Array(items) = answer[EVENT.wrapper][EVENT.item].take() {
            rows.extend(items);
        }
        match answer["NextToken"].as_str() {
            Some(token) if !token.is_empty() => after = params([("NextToken", token)]),
            _ => break,
        }
    }
    rows.truncate(limit);
    Ok(rows)
}

/// Events after the token, oldest first, and the next token.
fn follow(api: &Api, filters: &Parameters, token: Option<&str>) -> Result<(Vec<Value>, String)> {
    let mut parameters = filters.clone();
    parameters.extend(params([("Follow", "true"), ("MaxResults", "100")]));
    add(&mut parameters, "NextToken", token);
    let mut answer = api.call(EVENT.describe, &parameters)?;
    let rows = match answer[EVENT.wrapper][EVENT.item].take() {
        Value::Array(items) => items,
        _ => Vec::new(),
    };
    Ok((rows, text(&answer, "NextToken")))
}

/// One event as it happens: no table, since nobody knows how wide the next one is.
fn line(json: bool, row: &Value) -> Result<()> {
    if json {
        print(&row.to_string())?;
    } else {
        let words: Vec<String> = EVENT.columns.iter().map(|column| (column.value)(row)).collect();
        print(&words.join("  "))?;
    }
    Ok(std::io::stdout().flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_says_nothing_is_left_out() {
        let row = json!({ "Content": { "result": "failed", "reason": "no room", "name": "", "used": 3, "x": null } });
        assert_eq!(what(&row), "result=failed reason=no room used=3");
    }
}
