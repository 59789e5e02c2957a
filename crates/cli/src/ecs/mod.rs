//! `tidemark ecs <Action> [--Name value ...]`: any action of the API, with the flags and the output
//! of the reference client (ecs-api.md 6.1), so that its documentation and scripts apply.
//!
//! Order on the way out, as there: call (or waiter, or pager), then `--cli-query`, then `--output`,
//! then JSON is laid out. Actions and parameters are never refused here: the server knows them.

mod flags;
pub mod json;
pub mod pager;
pub mod query;
pub mod table;
pub mod waiter;

use crate::client::Client;
use crate::credentials::ConnectionArgs;
use anyhow::{Context, Result, bail};
use flags::Flags;
use std::io::Write;
use std::time::Instant;

/// Help after the options.
pub const EXAMPLES: &str = "\
Flags:
  --Name value         a parameter of the action; also --Name=value, and
                       --Name-FILE path (a value like --word needs the = form)
  --output cols=A,B [rows=JMESPATH] [num=true]
                       a table instead of JSON; rows must yield an array
  --cli-query JMESPATH a part of the answer
  --waiter expr=JMESPATH to=TEXT [timeout=180] [interval=5]
                       repeat the call until the expression yields the text
  --pager [path=JMESPATH] [NextToken=] [PageNumber=] [PageSize=] [TotalCount=]
                       fetch all pages and join their lists
  --method GET|POST    how to send [default: POST]
  --header NAME=VALUE  a further HTTP header
  --quiet              print nothing when all is well

Where and who: the options above, else TIDEMARK_ENDPOINT, TIDEMARK_REGION,
TIDEMARK_ACCESS_KEY_ID, TIDEMARK_ACCESS_KEY_SECRET, else ALIBABA_CLOUD_*, else
credentials.toml in the data directory.

Examples:
  tidemark ecs DescribeInstances \\
      --output cols=InstanceId,InstanceName,Status rows=Instances.Instance[]
  tidemark ecs CreateSnapshot --DiskId d-bp1... --Tag.1.Key env --Tag.1.Value prod
  tidemark ecs DescribeSnapshots --SnapshotIds '[\"s-bp1...\"]' \\
      --waiter expr='Snapshots.Snapshot[0].Status' to=accomplished interval=2
  tidemark ecs DescribeDisks --pager --cli-query 'Disks.Disk[?Size>`100`].DiskId'";

/// Arguments of `tidemark ecs`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true, after_long_help = EXAMPLES, after_help = EXAMPLES)]
pub struct EcsArgs {
    /// The action, then --Name value pairs and the flags below
    #[arg(
        value_name = "ACTION [--NAME VALUE]...",
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

/// Runs the command; `help` prints its help.
pub fn run(args: &EcsArgs, connection: &ConnectionArgs, help: impl FnOnce() -> Result<()>) -> Result<()> {
    let flags = Flags::parse(&args.words, connection.clone())?;
    if flags.help {
        return help();
    }
    let Some(action) = &flags.action else {
        bail!("no action given; for example `tidemark ecs DescribeDisks`, or see `tidemark ecs --help`");
    };
    let mut connection = flags.connection.resolve(&|name| std::env::var(name).ok())?;
    // Where the action spells its region, that is the request's region too, unless --region says otherwise.
    let written = flags
        .parameters
        .iter()
        .find(|(n, v)| n == "RegionId" && !v.is_empty());
    if let (None, Some((_, region))) = (&flags.connection.region, written) {
        connection.region = region.clone();
    }
    let mut client = Client::new(connection);
    client.method = flags.method;
    client.headers = flags.headers.clone();

    let mut out = if let Some(pager) = &flags.pager {
        pager.run(flags.parameters.clone(), |parameters| {
            client.call(action, parameters)
        })?
    } else if let Some(waiter) = &flags.waiter {
        waiter.run(
            || client.call(action, &flags.parameters),
            &mut waiter::RealPace(Instant::now()),
        )?
    } else {
        client.call(action, &flags.parameters)?
    };
    if flags.quiet {
        return Ok(());
    }
    if let Some(expression) = &flags.query {
        let answer = serde_json::from_str(&out).context("failed to parse JSON response")?;
        out = query::search(expression, &answer)?.to_string();
    }
    if let Some(table) = &flags.table {
        out = table.render(&out)?;
    }
    writeln!(std::io::stdout(), "{}", json::sorted(&out))?;
    Ok(())
}
