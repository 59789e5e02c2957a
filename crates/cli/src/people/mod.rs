//! Commands for people: tables, progress, waiting. All of it through the HTTP API, so whatever they
//! do, any other client can do as well.
//!
//! Results go to standard output, progress and notes to standard error. `--json` prints the API's
//! own objects.

pub mod disk;
pub mod events;
pub mod group;
pub mod hydration;
pub mod image;
pub mod instance;
pub mod key;
pub mod keypair;
pub mod permission;
pub mod policy;
pub mod progress;
mod ram;
pub mod role;
pub mod snapshot;
pub mod usage;
pub mod user;
pub mod webhook;

use crate::client::{Client, ServerError};
use crate::credentials::{Connection, ConnectionArgs};
use crate::ecs::json;
use anyhow::{Context, Result, bail};
use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// What every command for people takes.
#[derive(Clone, Debug, clap::Args)]
pub struct CommonArgs {
    /// Print the API's objects as JSON
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// A parameter list under construction.
pub type Parameters = Vec<(String, String)>;

/// The API as commands for people use it.
pub struct Api {
    client: Client,
    json: bool,
}

/// First and longest pause between two looks at a resource.
const POLL: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

impl Api {
    /// Connects nothing yet; fails when it is not known where the server is.
    pub fn new(common: &CommonArgs) -> Result<Self> {
        let connection = common.connection.resolve(&|name| std::env::var(name).ok())?;
        Ok(Self {
            client: Client::new(connection),
            json: common.json,
        })
    }

    /// An API on a connection that is known already.
    pub fn on(client: Client) -> Self {
        Self { client, json: false }
    }

    /// The same API, asked about another region.
    pub fn in_region(&self, region: &str) -> Self {
        let connection = Connection {
            region: region.to_owned(),
            // The other region's disks are exported elsewhere.
            nbd_socket: None,
            ..self.client.connection().clone()
        };
        Self {
            client: Client::new(connection),
            json: self.json,
        }
    }

    /// The client below.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// One call; a refusal is put in words for people.
    pub fn call(&self, action: &str, parameters: &[(String, String)]) -> Result<Value> {
        self.client.call_json(action, parameters).map_err(for_people)
    }

    /// All rows of a Describe action, page after page. `wrapper` and `item` name the list.
    pub fn list(&self, kind: &Kind, parameters: &[(String, String)]) -> Result<Vec<Value>> {
        self.list_with(kind, parameters, |_, _| ())
    }

    /// The same; `complete` puts into a row what the answer says of all of its rows.
    pub fn list_with(
        &self,
        kind: &Kind,
        parameters: &[(String, String)],
        complete: impl Fn(&Value, &mut Value),
    ) -> Result<Vec<Value>> {
        let mut parameters = parameters.to_vec();
        parameters.push(("MaxResults".into(), "100".into()));
        let mut rows = Vec::new();
        loop {
            let mut answer = self.call(kind.describe, &parameters)?;
            match answer[kind.wrapper][kind.item].take() {
                Value::Array(mut items) => {
                    items.iter_mut().for_each(|row| complete(&answer, row));
                    rows.extend(items);
                }
                _ => bail!(
                    "{} answered no {}.{} list",
                    kind.describe,
                    kind.wrapper,
                    kind.item
                ),
            }
            let token = answer["NextToken"].as_str().unwrap_or_default().to_string();
            parameters.retain(|(name, _)| name != "NextToken");
            if token.is_empty() {
                return Ok(rows);
            }
            parameters.push(("NextToken".into(), token));
        }
    }

    /// One resource, or `None` when there is none of that id.
    pub fn find(&self, kind: &Kind, id: &str) -> Result<Option<Value>> {
        let ids = Value::from(vec![id]).to_string();
        Ok(self
            .list(kind, &[(kind.ids.to_string(), ids)])?
            .into_iter()
            .next())
    }

    /// One resource that must exist.
    pub fn get(&self, kind: &Kind, id: &str) -> Result<Value> {
        self.find(kind, id)?
            .with_context(|| format!("no {} {id} in {}", kind.name, self.client.connection().region))
    }

    /// Looks at a resource until `done` says so; `done` may refuse. A resource that vanishes is `None`.
    pub fn wait(
        &self,
        kind: &Kind,
        id: &str,
        mut done: impl FnMut(Option<&Value>) -> Result<bool>,
    ) -> Result<Option<Value>> {
        let mut pause = POLL.0;
        loop {
            let found = self.find(kind, id)?;
            if done(found.as_ref())? {
                return Ok(found);
            }
            std::thread::sleep(pause);
            pause = (pause * 3 / 2).min(POLL.1);
        }
    }

    /// Waits until the resource has the status, showing what it has now.
    pub fn wait_status(&self, kind: &Kind, id: &str, wanted: &str) -> Result<Value> {
        let mut shown = progress::Activity::new(format!("{} {id}", kind.name));
        let found = self.wait(kind, id, |found| {
            let Some(found) = found else {
                bail!("{} {id} is gone", kind.name)
            };
            let status = text(found, "Status");
            let done = status == wanted;
            if !done {
                shown.show(&status);
            }
            Ok(done)
        })?;
        shown.finish();
        found.with_context(|| format!("{} {id} is gone", kind.name))
    }

    /// Waits until the resource is no longer listed.
    pub fn wait_gone(&self, kind: &Kind, id: &str) -> Result<()> {
        self.wait(kind, id, |found| Ok(found.is_none())).map(drop)
    }

    /// Prints rows: a table, or with `--json` an array of the API's objects.
    pub fn print_list(&self, kind: &Kind, rows: &[Value]) -> Result<()> {
        if self.json {
            return print(&json::print(&Value::from(rows.to_vec())));
        }
        if rows.is_empty() {
            return note(&format!("no {}s", kind.name));
        }
        print(&table(kind.columns, rows))
    }

    /// Prints one resource: names and values, or with `--json` the API's object.
    pub fn print_one(&self, kind: &Kind, row: &Value) -> Result<()> {
        if self.json {
            return print(&json::print(row));
        }
        let mut lines = plain_table();
        for column in kind.columns.iter().chain(kind.details) {
            let value = (column.value)(row);
            if !value.is_empty() {
                lines.add_row([column.title.to_string(), value]);
            }
        }
        print(&left_aligned(&lines))
    }

    /// Prints what a command did: a sentence, or with `--json` an object.
    pub fn print_done(&self, sentence: &str, object: &Value) -> Result<()> {
        if self.json {
            print(&json::print(object))
        } else {
            print(sentence)
        }
    }

    /// The zone for new resources: the one named, or the region's first.
    pub fn zone(&self, named: Option<&str>) -> Result<String> {
        if let Some(zone) = named {
            return Ok(zone.to_string());
        }
        let answer = self.call("DescribeZones", &[])?;
        let first = answer["Zones"]["Zone"][0]["ZoneId"].as_str();
        first
            .map(str::to_string)
            .context("the region has no zones; name one with --zone")
    }
}

/// A kind of resource: how it is listed and shown.
pub struct Kind {
    /// The word for people.
    pub name: &'static str,
    /// The action that lists it.
    pub describe: &'static str,
    /// The parameter that takes a JSON array of ids.
    pub ids: &'static str,
    /// The list's outer name.
    pub wrapper: &'static str,
    /// The list's inner name.
    pub item: &'static str,
    /// Columns of the list.
    pub columns: &'static [Column],
    /// What `show` adds.
    pub details: &'static [Column],
}

/// A column: a title and a text for each row; an empty text is no value.
pub struct Column {
    title: &'static str,
    value: fn(&Value) -> String,
    right: bool,
}

impl Column {
    /// A column of text.
    pub const fn text(title: &'static str, value: fn(&Value) -> String) -> Self {
        Self {
            title,
            value,
            right: false,
        }
    }

    /// A column of numbers.
    pub const fn number(title: &'static str, value: fn(&Value) -> String) -> Self {
        Self {
            title,
            value,
            right: true,
        }
    }
}

/// A field as text; absent and null are empty.
pub fn text(row: &Value, name: &str) -> String {
    match &row[name] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `key=value` of each tag.
pub fn tags(row: &Value) -> String {
    let tags = row["Tags"]["Tag"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let tags: Vec<_> = tags
        .iter()
        .map(|t| format!("{}={}", text(t, "TagKey"), text(t, "TagValue")))
        .collect();
    tags.join(" ")
}

/// `Tag.N.Key` and `Tag.N.Value` from `key=value` words.
pub fn add_tags(parameters: &mut Parameters, words: &[String]) {
    for (at, word) in words.iter().enumerate() {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        parameters.push((format!("Tag.{}.Key", at + 1), key.into()));
        parameters.push((format!("Tag.{}.Value", at + 1), value.into()));
    }
}

/// Adds a parameter when there is a value.
pub fn add(parameters: &mut Parameters, name: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        parameters.push((name.into(), value.to_string()));
    }
}

/// Frame-less and never coloured, so that it reads the same in a terminal, a pipe and a mail.
pub fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table
}

/// Rows under their columns' titles.
pub fn table(columns: &[Column], rows: &[Value]) -> String {
    let mut table = plain_table();
    table.set_header(columns.iter().map(|c| c.title.to_uppercase()));
    for row in rows {
        table.add_row(columns.iter().map(|column| {
            let value = (column.value)(row);
            let cell = Cell::new(if value.is_empty() { "-".to_string() } else { value });
            if column.right {
                cell.set_alignment(CellAlignment::Right)
            } else {
                cell
            }
        }));
    }
    left_aligned(&table)
}

/// The table's lines without the space that stands before a frame, and none at their end.
pub fn left_aligned(table: &Table) -> String {
    let text = table.trim_fmt();
    let lines: Vec<&str> = text
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line))
        .collect();
    lines.join("\n")
}

/// Prints a result.
pub fn print(text: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Prints a remark that is no result.
pub fn note(text: &str) -> Result<()> {
    writeln!(std::io::stderr(), "{text}")?;
    Ok(())
}

/// Whether people watch the progress.
pub fn watched() -> bool {
    std::io::stderr().is_terminal()
}

/// A refusal in one line, with what is needed to find it in the server's log.
fn for_people(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<ServerError>() {
        Ok(e) if e.request_id.is_empty() => anyhow::anyhow!("{} ({})", e.message, e.code),
        Ok(e) => anyhow::anyhow!("{} ({}, request {})", e.message, e.code, e.request_id),
        Err(other) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_no_frames_and_no_escapes() {
        let columns = [
            Column::text("id", |r| text(r, "Id")),
            Column::number("size", |r| text(r, "Size")),
        ];
        let out = table(&columns, &[json!({"Id":"d-1","Size":8}), json!({"Id":"d-22"})]);
        let lines: Vec<_> = out.lines().collect();
        assert_eq!(lines, ["ID    SIZE", "d-1      8", "d-22     -"]);
        assert!(!out.contains('\u{1b}'));
    }

    #[test]
    fn tags_both_ways() {
        let mut parameters = Vec::new();
        add_tags(&mut parameters, &["a=b=c".into(), "d".into()]);
        let expected = [
            ("Tag.1.Key", "a"),
            ("Tag.1.Value", "b=c"),
            ("Tag.2.Key", "d"),
            ("Tag.2.Value", ""),
        ];
        assert_eq!(parameters, expected.map(|(n, v)| (n.to_string(), v.to_string())));
        assert_eq!(
            tags(&json!({"Tags":{"Tag":[{"TagKey":"a","TagValue":"b"},{"TagKey":"c","TagValue":""}]}})),
            "a=b c="
        );
    }
}
