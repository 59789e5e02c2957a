//! `tidemark role <verb>`.

use super::permission::read_document;
use super::{Api, Column, CommonArgs, Kind, add, note, ram, text};
use crate::client::params;
use anyhow::Result;
use clap::Subcommand;
use serde_json::json;
use std::path::PathBuf;

/// A role.
const ROLE: Kind = Kind {
    name: "role",
    describe: "ListRoles",
    ids: "",
    wrapper: "Roles",
    item: "Role",
    columns: &[
        Column::text("role", |r| text(r, "RoleName")),
        Column::text("arn", |r| text(r, "Arn")),
        Column::text("created", |r| text(r, "CreateDate")),
    ],
    details: &[
        Column::text("description", |r| text(r, "Description")),
        Column::text("longest keys", |r| format!("{} s", text(r, "MaxSessionDuration"))),
        Column::text("trust", |r| text(r, "AssumeRolePolicyDocument")),
    ],
};

/// Temporary keys.
const TEMPORARY: Kind = Kind {
    name: "temporary key",
    columns: &[
        Column::text("key", |r| text(r, "AccessKeyId")),
        Column::text("secret", |r| text(r, "AccessKeySecret")),
        Column::text("token", |r| text(r, "SecurityToken")),
        Column::text("until", |r| text(r, "Expiration")),
    ],
    details: &[],
    ..ROLE
};

const EXAMPLES: &str = "\
A role is what temporary keys may do. Who may have them is in its trust policy:
without --trust, every user of the account whose permissions allow sts:AssumeRole.

Examples:
  tidemark role create backup
  tidemark permission attach AliyunECSFullAccess --role backup
  tidemark role assume backup --as night-run --seconds 900";

/// `tidemark role ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct RoleArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List roles
    #[command(visible_alias = "ls")]
    List,
    /// Show one role
    Show {
        /// The role's name
        role: String,
    },
    /// Make a role, which may do nothing yet
    Create {
        /// A name: letters, digits, dot, dash, underscore
        role: String,
        /// A file with its trust policy; - for standard input [default: all users of the account]
        #[arg(long, value_name = "FILE")]
        trust: Option<PathBuf>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Longest life of its temporary keys [default: 3600]
        #[arg(long, value_name = "SECONDS")]
        longest: Option<u32>,
    },
    /// Get temporary keys, and show them
    Assume {
        /// The role's name
        role: String,
        /// What you call yourself meanwhile
        #[arg(long = "as", value_name = "NAME", default_value = "tidemark-cli")]
        session: String,
        /// How long they live [default: 3600]
        #[arg(long)]
        seconds: Option<u32>,
        /// A file with a policy that they are kept to
        #[arg(long, value_name = "FILE")]
        within: Option<PathBuf>,
    },
    /// Delete a role that has no permissions any more; its temporary keys end
    #[command(visible_alias = "rm")]
    Delete {
        /// The role's name
        role: String,
    },
}

/// The account that we sign for.
fn account(api: &Api) -> Result<String> {
    let identity = ram::call_version(api, ram::STS_VERSION, "GetCallerIdentity", &[])?;
    Ok(text(&identity, "AccountId"))
}

/// Runs a verb.
pub fn run(args: &RoleArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List => api.print_list(&ROLE, &ram::list(&api, &ROLE, &[])?),
        Verb::Show { role } => {
            let answer = ram::call(&api, "GetRole", &params([("RoleName", role)]))?;
            api.print_one(&ROLE, &answer["Role"])
        }
        Verb::Create {
            role,
            trust,
            description,
            longest,
        } => {
            let trust = match trust {
                Some(file) => read_document(file)?,
                None => {
                    let all = format!("acs:ram::{}:root", account(&api)?);
                    let let_in = json!({ "Effect": "Allow", "Action": "sts:AssumeRole", "Principal": { "RAM": [all] } });
                    json!({ "Version": "1", "Statement": [let_in] }).to_string()
                }
            };
            let mut parameters = params([
                ("RoleName", role.as_str()),
                ("AssumeRolePolicyDocument", trust.trim()),
            ]);
            add(&mut parameters, "Description", description.as_ref());
            add(&mut parameters, "MaxSessionDuration", *longest);
            let answer = ram::call(&api, "CreateRole", &parameters)?;
            api.print_done(
                &format!("role {role} is made, and may do nothing yet"),
                &answer["Role"],
            )
        }
        Verb::Assume {
            role,
            session,
            seconds,
            within,
        } => {
            let arn = format!("acs:ram::{}:role/{role}", account(&api)?);
            let mut parameters = params([("RoleArn", arn.as_str()), ("RoleSessionName", session)]);
            add(&mut parameters, "DurationSeconds", *seconds);
            let within = within.as_deref().map(read_document).transpose()?;
            add(&mut parameters, "Policy", within.as_deref().map(str::trim));
            let answer = ram::call_version(&api, ram::STS_VERSION, "AssumeRole", &parameters)?;
            api.print_one(&TEMPORARY, &answer["Credentials"])?;
            note("all three belong together; they are shown this once")
        }
        Verb::Delete { role } => {
            ram::call(&api, "DeleteRole", &params([("RoleName", role)]))?;
            api.print_done(&format!("role {role} is deleted"), &json!({ "RoleName": role }))
        }
    }
}
