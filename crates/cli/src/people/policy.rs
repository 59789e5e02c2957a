//! `tidemark policy <verb>`: automatic snapshots.
//!
//! When a policy runs next is worked out here, from what the API says of it and this machine's clock: it is the same
//! arithmetic that the service uses.

use super::{Api, Column, CommonArgs, Kind, Parameters, add, add_tags, note, print, table, tags, text};
use crate::client::params;
use crate::ecs::json;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use jiff::Timestamp;
use serde_json::{Value, json};
use tidemark_ecs::schedule::{self, Schedule};

/// A policy.
pub const POLICY: Kind = Kind {
    name: "policy",
    describe: "DescribeAutoSnapshotPolicyEx",
    // One id at a time, see `get`.
    ids: "AutoSnapshotPolicyId",
    wrapper: "AutoSnapshotPolicies",
    item: "AutoSnapshotPolicy",
    columns: &[
        Column::text("policy", |r| text(r, "AutoSnapshotPolicyId")),
        Column::text("name", |r| text(r, "AutoSnapshotPolicyName")),
        Column::text("hours (utc+8)", |r| {
            hours(r).unwrap_or_else(|| text(r, "TimePoints"))
        }),
        Column::text("days", |r| days(r).unwrap_or_else(|| text(r, "RepeatWeekdays"))),
        Column::text("kept", kept),
        Column::number("disks", |r| text(r, "DiskNums")),
        Column::text("created", |r| text(r, "CreationTime")),
    ],
    details: &[
        Column::text("copied to", copied),
        Column::text("tags", tags),
        Column::text("applied to", |r| {
            let disks = r["DiskIds"].as_array().map(Vec::as_slice).unwrap_or_default();
            disks
                .iter()
                .filter_map(Value::as_str)
                .collect::<Vec<_>>()
                .join(" ")
        }),
    ],
};

/// Where a policy is applied.
const ASSOCIATION: Kind = Kind {
    name: "association",
    describe: "DescribeAutoSnapshotPolicyAssociations",
    ids: "",
    wrapper: "AutoSnapshotPolicyAssociations",
    item: "AutoSnapshotPolicyAssociation",
    columns: &[],
    details: &[],
};

/// What `next` shows.
const NEXT: &[Column] = &[
    Column::text("policy", |r| text(r, "AutoSnapshotPolicyId")),
    Column::text("name", |r| text(r, "AutoSnapshotPolicyName")),
    Column::text("next", |r| text(r, "Next")),
    Column::text("in utc+8", |r| text(r, "NextInUtc8")),
    Column::text("in", |r| text(r, "In")),
    Column::number("disks", |r| text(r, "DiskNums")),
];

const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

const EXAMPLES: &str = "\
A policy takes a snapshot of each disk that it is applied to, at whole hours of
some weekdays, and deletes it when its time is over. Hours and weekdays are in
UTC+8, as in the ECS API. A disk is snapshotted while it is attached; what was
missed while the service was down is made up for by one snapshot.

Examples:
  tidemark policy create --name nightly --at 3 --retention-days 30
  tidemark policy create --name weekly --at 0,12 --on mon,sun --for-ever
  tidemark policy apply sp-bp1... d-bp1... d-bp1...
  tidemark policy modify sp-bp1... --at 4 --retention-days 14
  tidemark policy next
  tidemark snapshot list --disk d-bp1...";

/// `tidemark policy ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PolicyArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List policies, newest first
    #[command(visible_alias = "ls")]
    List,
    /// Show one policy, and the disks that it is applied to
    Show {
        /// The policy's id
        policy: String,
    },
    /// Make a policy
    Create {
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// Hours in UTC+8: 0 to 23
        #[arg(long, value_name = "HOURS", value_delimiter = ',', required = true)]
        at: Vec<u8>,
        /// Weekdays: mon to sun [default: every day]
        #[arg(long, value_name = "DAYS", value_delimiter = ',', value_parser = weekday)]
        on: Vec<u8>,
        /// Delete each snapshot after so many days
        #[arg(long, value_name = "DAYS", default_value_t = 30, conflicts_with = "for_ever")]
        retention_days: u32,
        /// Keep the snapshots until someone deletes them, or the disk has too many
        #[arg(long)]
        for_ever: bool,
        /// Also copy each snapshot to this region
        #[arg(long, value_name = "REGION")]
        copy_to: Option<String>,
        /// Delete each copy after so many days [default: keep it]
        #[arg(long, value_name = "DAYS", requires = "copy_to")]
        copy_retention_days: Option<u32>,
        /// A tag, for the policy and its snapshots; may be given several times
        #[arg(long = "tag", value_name = "KEY=VALUE")]
        tags: Vec<String>,
    },
    /// Change a policy, for snapshots that it takes from now on; what is not named stays
    Modify {
        /// The policy's id
        policy: String,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// Hours in UTC+8: 0 to 23; these instead of those that it has
        #[arg(long, value_name = "HOURS", value_delimiter = ',')]
        at: Vec<u8>,
        /// Weekdays: mon to sun; these instead of those that it has
        #[arg(long, value_name = "DAYS", value_delimiter = ',', value_parser = weekday)]
        on: Vec<u8>,
        /// Delete each snapshot after so many days
        #[arg(long, value_name = "DAYS", conflicts_with = "for_ever")]
        retention_days: Option<u32>,
        /// Keep the snapshots until someone deletes them, or the disk has too many
        #[arg(long)]
        for_ever: bool,
        /// Also copy each snapshot to this region
        #[arg(long, value_name = "REGION", conflicts_with = "no_copy")]
        copy_to: Option<String>,
        /// Delete each copy after so many days
        #[arg(long, value_name = "DAYS", conflicts_with_all = ["no_copy", "keep_copies"])]
        copy_retention_days: Option<u32>,
        /// Keep the copies until someone deletes them
        #[arg(long, conflicts_with = "no_copy")]
        keep_copies: bool,
        /// Copy its snapshots nowhere any more
        #[arg(long)]
        no_copy: bool,
    },
    /// Have a policy run for disks; it takes the place of the one that they have
    Apply {
        /// The policy's id
        policy: String,
        /// The disks' ids
        #[arg(required = true)]
        disks: Vec<String>,
    },
    /// Take policies off disks; the snapshots stay
    Cancel {
        /// The disks' ids
        #[arg(required = true)]
        disks: Vec<String>,
        /// Only this policy, where disks have several
        #[arg(long)]
        policy: Option<String>,
    },
    /// Delete a policy; its snapshots stay
    #[command(visible_alias = "rm")]
    Delete {
        /// The policy's id
        policy: String,
    },
    /// Show when policies run next
    Next {
        /// The policy's id [default: all]
        policy: Option<String>,
        /// So many runs of each
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
        count: u16,
    },
}

/// `mon` or `Monday` as 1, … 7.
fn weekday(word: &str) -> Result<u8, String> {
    let word = word.to_lowercase();
    let found = WEEKDAYS.iter().zip(1..).find(|(day, _)| word.starts_with(**day));
    found
        .map(|(_, number)| number)
        .ok_or_else(|| format!("a weekday is one of {}", WEEKDAYS.join(", ")))
}

/// Runs a verb.
pub fn run(args: &PolicyArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List => api.print_list(&POLICY, &api.list(&POLICY, &[])?),
        Verb::Show { policy } => {
            let mut row = get(&api, policy)?;
            let disks = api.list(&ASSOCIATION, &params([("AutoSnapshotPolicyId", policy)]))?;
            row["DiskIds"] = disks.iter().map(|row| row["DiskId"].clone()).collect();
            api.print_one(&POLICY, &row)
        }
        Verb::Create { .. } => {
            let answer = api.call("CreateAutoSnapshotPolicy", &creation(&args.verb))?;
            let id = answer["AutoSnapshotPolicyId"]
                .as_str()
                .context("CreateAutoSnapshotPolicy answered no policy id")?;
            note("it runs for the disks that it is applied to: tidemark policy apply")?;
            api.print_done(&format!("policy {id} created"), &get(&api, id)?)
        }
        Verb::Modify { policy, .. } => {
            let changes = modification(&args.verb);
            if changes.is_empty() {
                bail!("nothing to change: name at least one of --name, --at, --on, --retention-days ...");
            }
            let parameters = [params([("autoSnapshotPolicyId", policy)]), changes].concat();
            api.call("ModifyAutoSnapshotPolicyEx", &parameters)?;
            api.print_done(&format!("policy {policy} changed"), &get(&api, policy)?)
        }
        Verb::Apply { policy, disks } => {
            let ids = Value::from(disks.clone()).to_string();
            let parameters = params([("autoSnapshotPolicyId", policy), ("diskIds", &ids)]);
            api.call("ApplyAutoSnapshotPolicy", &parameters)?;
            let what = format!("policy {policy} applied to {}", disks.join(" "));
            api.print_done(&what, &get(&api, policy)?)
        }
        Verb::Cancel { disks, policy } => {
            let ids = Value::from(disks.clone()).to_string();
            let mut parameters = params([("diskIds", &ids)]);
            add(&mut parameters, "autoSnapshotPolicyId", policy.as_ref());
            let answer = api.call("CancelAutoSnapshotPolicy", &parameters)?;
            api.print_done(&format!("no policy runs for {} now", disks.join(" ")), &answer)
        }
        Verb::Delete { policy } => {
            let answer = api.call(
                "DeleteAutoSnapshotPolicy",
                &params([("autoSnapshotPolicyId", policy)]),
            )?;
            api.print_done(&format!("policy {policy} deleted"), &answer)
        }
        Verb::Next { policy, count } => {
            let policies = match policy {
                Some(policy) => vec![get(&api, policy)?],
                None => api.list(&POLICY, &[])?,
            };
            show_next(&api, &policies, *count)
        }
    }
}

fn get(api: &Api, policy: &str) -> Result<Value> {
    let found = api.list(&POLICY, &params([("AutoSnapshotPolicyId", policy)]))?;
    let region = &api.client().connection().region;
    found
        .into_iter()
        .next()
        .with_context(|| format!("no policy {policy} in {region}"))
}

fn creation(verb: &Verb) -> Parameters {
    let mut parameters = Parameters::new();
    let Verb::Create {
        name,
        at,
        on,
        retention_days,
        for_ever,
        copy_to,
        copy_retention_days,
        tags,
    } = verb
    else {
        return parameters;
    };
    let on = if on.is_empty() {
        &[1, 2, 3, 4, 5, 6, 7]
    } else {
        on.as_slice()
    };
    let days = if *for_ever { -1 } else { i64::from(*retention_days) };
    add(&mut parameters, "timePoints", Some(texts(at)));
    add(&mut parameters, "repeatWeekdays", Some(texts(on)));
    add(&mut parameters, "retentionDays", Some(days));
    add(&mut parameters, "autoSnapshotPolicyName", name.as_ref());
    if let Some(region) = copy_to {
        add(&mut parameters, "EnableCrossRegionCopy", Some(true));
        add(&mut parameters, "TargetCopyRegions", Some(json!([region])));
        let days = copy_retention_days.map_or(-1, i64::from);
        add(&mut parameters, "CopiedSnapshotsRetentionDays", Some(days));
    }
    add_tags(&mut parameters, tags);
    parameters
}

/// What `modify` changes; nothing if it names nothing.
fn modification(verb: &Verb) -> Parameters {
    let mut parameters = Parameters::new();
    let Verb::Modify {
        policy: _,
        name,
        at,
        on,
        retention_days,
        for_ever,
        copy_to,
        copy_retention_days,
        keep_copies,
        no_copy,
    } = verb
    else {
        return parameters;
    };
    let days = |number: &Option<u32>, for_ever: bool| match for_ever {
        true => Some(-1),
        false => number.map(i64::from),
    };
    add(&mut parameters, "timePoints", (!at.is_empty()).then(|| texts(at)));
    add(
        &mut parameters,
        "repeatWeekdays",
        (!on.is_empty()).then(|| texts(on)),
    );
    add(&mut parameters, "retentionDays", days(retention_days, *for_ever));
    add(&mut parameters, "autoSnapshotPolicyName", name.as_ref());
    if *no_copy {
        add(&mut parameters, "EnableCrossRegionCopy", Some(false));
    }
    if let Some(region) = copy_to {
        add(&mut parameters, "EnableCrossRegionCopy", Some(true));
        add(&mut parameters, "TargetCopyRegions", Some(json!([region])));
    }
    let copies = days(copy_retention_days, *keep_copies);
    add(&mut parameters, "CopiedSnapshotsRetentionDays", copies);
    parameters
}

/// Hours or weekdays as the API takes them.
fn texts(numbers: &[u8]) -> String {
    schedule::json_text(numbers.iter().copied())
}

fn show_next(api: &Api, policies: &[Value], count: u16) -> Result<()> {
    let now = Timestamp::now();
    let mut rows = Vec::new();
    for policy in policies {
        let id = text(policy, "AutoSnapshotPolicyId");
        let Some(schedule) = schedule_of(policy) else {
            bail!("the service answered no schedule of policy {id}")
        };
        let mut slot = now.as_millisecond();
        for _ in 0..count {
            slot = schedule.next_after(slot);
            let next = Timestamp::from_millisecond(slot).context("there is no next run")?;
            let left = std::time::Duration::from_secs(next.duration_since(now).as_secs().unsigned_abs());
            let mut row = policy.clone();
            row["Next"] = next.to_string().into();
            row["NextInUtc8"] = schedule::for_people(next).into();
            row["In"] = humantime::format_duration(left).to_string().into();
            rows.push(row);
        }
    }
    rows.sort_by_key(|row| text(row, "Next"));
    if api.json {
        return print(&json::print(&Value::from(rows)));
    }
    if rows.is_empty() {
        return note("no policies");
    }
    print(&table(NEXT, &rows))
}

/// The schedule of a policy as the API shows it.
fn schedule_of(row: &Value) -> Option<Schedule> {
    Schedule::new(numbers(row, "TimePoints")?, numbers(row, "RepeatWeekdays")?)
}

/// A text that holds a JSON array of numbers as texts.
fn numbers(row: &Value, name: &str) -> Option<Vec<u8>> {
    let texts: Vec<String> = serde_json::from_str(row[name].as_str()?).ok()?;
    texts.iter().map(|text| text.parse().ok()).collect()
}

fn hours(row: &Value) -> Option<String> {
    let hours = numbers(row, "TimePoints")?;
    Some(hours.iter().map(u8::to_string).collect::<Vec<_>>().join(","))
}

fn days(row: &Value) -> Option<String> {
    let days = numbers(row, "RepeatWeekdays")?;
    if days.len() == WEEKDAYS.len() {
        return Some("every day".into());
    }
    let word = |day: &u8| WEEKDAYS.get(usize::from(*day).checked_sub(1)?).copied();
    Some(days.iter().map(word).collect::<Option<Vec<_>>>()?.join(","))
}

fn kept(row: &Value) -> String {
    match row["RetentionDays"].as_i64() {
        Some(days) if days > 0 => format!("{days} days"),
        _ => "for ever".into(),
    }
}

fn copied(row: &Value) -> String {
    match row["EnableCrossRegionCopy"].as_bool() {
        Some(true) => text(row, "TargetCopyRegions"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args, FromArgMatches};

    #[test]
    fn a_policy_in_words_for_people() {
        let row =
            json!({"TimePoints": "[\"0\",\"12\"]", "RepeatWeekdays": "[\"1\",\"7\"]", "RetentionDays": -1});
        assert_eq!(
            (hours(&row).as_deref(), days(&row).as_deref()),
            (Some("0,12"), Some("mon,sun"))
        );
        assert_eq!(kept(&row), "for ever");
        assert_eq!(kept(&json!({"RetentionDays": 3})), "3 days");
        let all = json!({"RepeatWeekdays": "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\"]"});
        assert_eq!(days(&all).as_deref(), Some("every day"));
        assert!(schedule_of(&all).is_none() && schedule_of(&row).is_some());
    }

    fn changes(words: &[&str]) -> Result<Parameters, clap::Error> {
        let words = ["policy", "modify", "sp-1"].iter().chain(words);
        let command = PolicyArgs::augment_args(clap::Command::new("policy"));
        let matches = command.try_get_matches_from(words)?;
        PolicyArgs::from_arg_matches(&matches).map(|args| modification(&args.verb))
    }

    #[test]
    fn only_what_is_named_is_changed() {
        assert_eq!(changes(&[]).unwrap(), []);
        let all = changes(&[
            "--at",
            "4,16",
            "--on",
            "mon,sun",
            "--for-ever",
            "--name",
            "n",
            "--copy-to",
            "r",
            "--keep-copies",
        ]);
        let expected = params([
            ("timePoints", r#"["4","16"]"#),
            ("repeatWeekdays", r#"["1","7"]"#),
            ("retentionDays", "-1"),
            ("autoSnapshotPolicyName", "n"),
            ("EnableCrossRegionCopy", "true"),
            ("TargetCopyRegions", r#"["r"]"#),
            ("CopiedSnapshotsRetentionDays", "-1"),
        ]);
        assert_eq!(all.unwrap(), expected);
        let copies = changes(&["--retention-days", "5", "--copy-retention-days", "9"]);
        let days = params([("retentionDays", "5"), ("CopiedSnapshotsRetentionDays", "9")]);
        assert_eq!(copies.unwrap(), days);
        let none = params([("EnableCrossRegionCopy", "false")]);
        assert_eq!(changes(&["--no-copy"]).unwrap(), none);
        for odd in [
            ["--no-copy", "--keep-copies"],
            ["--for-ever", "--retention-days=3"],
        ] {
            assert!(changes(&odd).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn weekdays_are_words() {
        assert_eq!((weekday("mon"), weekday("Sunday")), (Ok(1), Ok(7)));
        assert!(weekday("1").is_err() && weekday("").is_err());
    }
}
