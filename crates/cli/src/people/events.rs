//! `tidemark events`.
//!
//! Who follows is told of each event once, also across restarts of the service: what is next is in a token, and while the
//! service is away the same token is asked about again.

use super::{Api, Column, CommonArgs, Kind, Parameters, add, for_people, note, print, text};
use crate::client::{is_away, params};
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

/// First and longest pause while the service is away.
const AWAY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

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
    /// Go on, and print events as they happen, also after a restart of the service; ends with Ctrl-C
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
        true => follow(&api, &filters, None).map_err(for_people)?.1,
        false => String::new(),
    };
    let mut shown = newest(&api, &filters, args.limit)?;
    shown.reverse();
    if !args.follow {
        return api.print_list(&EVENT, &shown);
    }
    let known: Vec<String> = shown.iter().map(|row| text(row, "EventId")).collect();
    shown.iter().try_for_each(|row| line(args.common.json, row))?;
    loop {
        let (rows, next) = follow_on(&api, &filters, &token)?;
        let new = rows.iter().filter(|row| !known.contains(&text(row, "EventId")));
        new.into_iter().try_for_each(|row| line(args.common.json, row))?;
        token = next;
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

/// [`follow`], as often as it takes while the service is away.
fn follow_on(api: &Api, filters: &Parameters, token: &str) -> Result<(Vec<Value>, String)> {
    let mut pause = AWAY.0;
    loop {
        let error = match follow(api, filters, Some(token)) {
            Err(error) if is_away(&error) => for_people(error),
            answer => return answer.map_err(for_people),
        };
        if pause == AWAY.0 {
            let error = error.to_string();
            let why = error.lines().next().unwrap_or_default();
            note(&format!(
                "{why}\nIt is asked again until it answers; no event is lost."
            ))?;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(AWAY.1);
    }
}

/// Events after the token, oldest first, and the next token.
fn follow(api: &Api, filters: &Parameters, token: Option<&str>) -> Result<(Vec<Value>, String)> {
    let mut parameters = filters.clone();
    parameters.extend(params([("Follow", "true"), ("MaxResults", "100")]));
    add(&mut parameters, "NextToken", token);
    let mut answer = api.client().call_json(EVENT.describe, &parameters)?;
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
    use crate::client::Client;
    use crate::credentials::Connection;
    use crate::endpoint::Endpoint;
    use serde_json::json;
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    /// An API that gives these answers, one to each connection, and the requests that it has got; `None`: none.
    fn answering(answers: Vec<Option<(u16, Value)>>) -> (Api, std::thread::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connection = Connection {
            endpoint: Endpoint::parse(&listener.local_addr().unwrap().to_string()).unwrap(),
            region: "cn-hangzhou".into(),
            access_key_id: "testid".into(),
            access_key_secret: "testsecret".into(),
            security_token: None,
            nbd_socket: None,
        };
        let serve = move || {
            let one = |answer: Option<(u16, Value)>| {
                let (mut stream, _) = listener.accept().unwrap();
                let reader = BufReader::new(stream.try_clone().unwrap());
                let mut head = reader
                    .lines()
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty());
                let request = head.next().unwrap();
                head.for_each(drop);
                if let Some((status, body)) = answer {
                    let (body, close) = (body.to_string(), "Connection: close\r\n\r\n");
                    let length = body.len();
                    write!(
                        stream,
                        "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n{close}{body}"
                    )
                    .unwrap();
                }
                request
            };
            answers.into_iter().map(one).collect()
        };
        (Api::on(Client::new(connection)), std::thread::spawn(serve))
    }

    #[test]
    fn who_follows_waits_while_the_service_is_away_and_goes_on_from_the_same_token() {
        let event = json!({ "Events": { "Event": [{ "EventId": "e-1" }] }, "NextToken": "T2" });
        let (api, server) = answering(vec![
            None,
            Some((
                503,
                json!({ "Code": "ServiceUnavailable", "Message": "It stops." }),
            )),
            Some((200, event)),
        ]);
        let (rows, next) = follow_on(&api, &Parameters::new(), "T1").unwrap();
        assert_eq!((text(&rows[0], "EventId"), next), ("e-1".into(), "T2".into()));
        let requests = server.join().unwrap();
        assert!(
            requests.iter().all(|request| request.contains("NextToken=T1")),
            "{requests:?}"
        );
    }

    #[test]
    fn a_refusal_ends_it() {
        let refusal = json!({ "Code": "InvalidParameter", "Message": "No such token." });
        let (api, server) = answering(vec![Some((400, refusal))]);
        let error = follow_on(&api, &Parameters::new(), "T1").unwrap_err().to_string();
        assert!(error.contains("No such token."), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn what_says_nothing_is_left_out() {
        let row = json!({ "Content": { "result": "failed", "reason": "no room", "name": "", "used": 3, "x": null } });
        assert_eq!(what(&row), "result=failed reason=no room used=3");
    }
}
