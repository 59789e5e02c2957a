//! `tidemark permission <verb>`: policies of the RAM kind. (`tidemark policy` is about automatic snapshots.)

use super::{Api, Column, CommonArgs, Kind, Parameters, add, ram, text};
use crate::client::params;
use anyhow::{Context, Result};
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A policy.
const PERMISSION: Kind = Kind {
    name: "permission",
    describe: "ListPolicies",
    ids: "",
    wrapper: "Policies",
    item: "Policy",
    columns: &[
        Column::text("permission", |r| text(r, "PolicyName")),
        Column::text("type", |r| text(r, "PolicyType")),
        Column::number("holders", |r| text(r, "AttachmentCount")),
        Column::text("what for", |r| text(r, "Description")),
    ],
    details: &[
        Column::text("created", |r| text(r, "CreateDate")),
        Column::text("changed", |r| text(r, "UpdateDate")),
        Column::text("document", |r| text(r, "Document")),
    ],
};

const EXAMPLES: &str = "\
A permission is a policy document: JSON in the form of Alibaba Cloud's RAM. What
no policy allows is forbidden; what one denies is forbidden whatever others say.

  {\"Version\": \"1\", \"Statement\": [
    {\"Effect\": \"Allow\", \"Action\": [\"ecs:Describe*\", \"ecs:CreateSnapshot\"],
     \"Resource\": \"acs:ecs:*:*:*\",
     \"Condition\": {\"IpAddress\": {\"acs:SourceIp\": \"10.0.0.0/8\"}}},
    {\"Effect\": \"Deny\", \"Action\": \"ecs:Delete*\", \"Resource\": \"*\",
     \"Condition\": {\"StringEquals\": {\"ecs:tag/env\": \"prod\"}}}]}

Examples:
  tidemark permission list
  tidemark permission create snapshots-only --document policy.json
  tidemark permission attach snapshots-only --user alice
  tidemark permission list --user alice";

/// `tidemark permission ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct PermissionArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

/// Who holds a permission.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct HolderArgs {
    /// The user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// The role
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List permissions; those of type System come with the service
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this user
        #[arg(long, value_name = "NAME", conflicts_with = "role")]
        user: Option<String>,
        /// Only those of this role
        #[arg(long, value_name = "NAME")]
        role: Option<String>,
    },
    /// Show one permission with its document
    Show {
        /// Its name
        permission: String,
    },
    /// Make a permission
    Create {
        /// A name: letters, digits, dashes
        permission: String,
        /// A file with its document; - for standard input
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Replace a permission's document, for all who hold it
    Change {
        /// Its name
        permission: String,
        /// A file with the new document; - for standard input
        #[arg(long, value_name = "FILE")]
        document: PathBuf,
    },
    /// Give a permission to a user or role
    Attach {
        /// Its name
        permission: String,
        #[command(flatten)]
        holder: HolderArgs,
    },
    /// Take a permission from a user or role
    Detach {
        /// Its name
        permission: String,
        #[command(flatten)]
        holder: HolderArgs,
    },
    /// Delete a permission that nobody holds
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name
        permission: String,
    },
}

/// The text of a file, or of standard input.
pub fn read_document(path: &Path) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin()
            .read_to_string(&mut text)
            .context("cannot read standard input")?;
        return Ok(text);
    }
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The policy of that name: the account's own, or else one that comes with the service.
fn find(api: &Api, name: &str) -> Result<Value> {
    let get = |kind: &str| {
        ram::call(
            api,
            "GetPolicy",
            &params([("PolicyName", name), ("PolicyType", kind)]),
        )
    };
    get("Custom").or_else(|own| get("System").map_err(|_| own))
}

/// Runs a verb.
pub fn run(args: &PermissionArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    let done = |sentence: String, name: &str| api.print_done(&sentence, &json!({ "PolicyName": name }));
    match &args.verb {
        Verb::List { user, role } => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "UserName", user.as_ref());
            add(&mut parameters, "RoleName", role.as_ref());
            let describe = match (user, role) {
                (Some(_), _) => "ListPoliciesForUser",
                (None, Some(_)) => "ListPoliciesForRole",
                (None, None) => PERMISSION.describe,
            };
            let kind = Kind {
                describe,
                ..PERMISSION
            };
            api.print_list(&kind, &ram::list(&api, &kind, &parameters)?)
        }
        Verb::Show { permission } => {
            let mut answer = find(&api, permission)?;
            let document = answer["DefaultPolicyVersion"]["PolicyDocument"].take();
            let mut row = answer["Policy"].take();
            row["Document"] = document;
            api.print_one(&PERMISSION, &row)
        }
        Verb::Create {
            permission,
            document,
            description,
        } => {
            let text = read_document(document)?;
            let mut parameters = params([
                ("PolicyName", permission.as_str()),
                ("PolicyDocument", text.trim()),
            ]);
            add(&mut parameters, "Description", description.as_ref());
            ram::call(&api, "CreatePolicy", &parameters)?;
            done(format!("permission {permission} is made"), permission)
        }
        Verb::Change { permission, document } => {
            let text = read_document(document)?;
            let parameters = params([
                ("PolicyName", permission.as_str()),
                ("PolicyDocument", text.trim()),
                ("SetAsDefault", "true"),
            ]);
            ram::call(&api, "CreatePolicyVersion", &parameters)?;
            done(format!("permission {permission} is changed"), permission)
        }
        Verb::Attach { permission, holder } => {
            let whom = attach(
                &api,
                permission,
                holder,
                ("AttachPolicyToUser", "AttachPolicyToRole"),
            )?;
            done(format!("{whom} has permission {permission}"), permission)
        }
        Verb::Detach { permission, holder } => {
            let whom = attach(
                &api,
                permission,
                holder,
                ("DetachPolicyFromUser", "DetachPolicyFromRole"),
            )?;
            done(
                format!("{whom} does not have permission {permission} any more"),
                permission,
            )
        }
        Verb::Delete { permission } => {
            ram::call(&api, "DeletePolicy", &params([("PolicyName", permission)]))?;
            done(format!("permission {permission} is deleted"), permission)
        }
    }
}

/// Calls the one or the other action; answers for whom.
fn attach(api: &Api, permission: &str, holder: &HolderArgs, actions: (&str, &str)) -> Result<String> {
    let found = find(api, permission)?;
    let kind = text(&found["Policy"], "PolicyType");
    let mut parameters = params([("PolicyName", permission), ("PolicyType", &kind)]);
    add(&mut parameters, "UserName", holder.user.as_ref());
    add(&mut parameters, "RoleName", holder.role.as_ref());
    let (action, whom) = match (&holder.user, &holder.role) {
        (Some(user), _) => (actions.0, user),
        (None, role) => (actions.1, role.as_ref().context("name a --user or a --role")?),
    };
    ram::call(api, action, &parameters)?;
    Ok(whom.clone())
}
