//! `tidemark user <verb>`.

use super::{Api, Column, CommonArgs, Kind, add, ram, text};
use crate::client::params;
use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

/// A user of the account.
const USER: Kind = Kind {
    name: "user",
    describe: "ListUsers",
    ids: "",
    wrapper: "Users",
    item: "User",
    columns: &[
        Column::text("user", |r| text(r, "UserName")),
        Column::text("name", |r| text(r, "DisplayName")),
        Column::text("created", |r| text(r, "CreateDate")),
    ],
    details: &[
        Column::text("comments", |r| text(r, "Comments")),
        Column::text("id", |r| text(r, "UserId")),
    ],
};

const EXAMPLES: &str = "\
A user may do nothing at first: give them a key, and attach permissions.

Examples:
  tidemark user create alice
  tidemark key create --user alice
  tidemark permission attach AliyunECSReadOnlyAccess --user alice";

/// `tidemark user ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct UserArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List users
    #[command(visible_alias = "ls")]
    List,
    /// Show one user
    Show {
        /// The user's name
        user: String,
    },
    /// Make a user, who may do nothing yet
    Create {
        /// A name: letters, digits, dot, dash, underscore, @
        user: String,
        /// A name for people
        #[arg(long)]
        name: Option<String>,
        /// More words for people
        #[arg(long)]
        comments: Option<String>,
    },
    /// Delete a user who has no keys and no permissions any more
    #[command(visible_alias = "rm")]
    Delete {
        /// The user's name
        user: String,
    },
}

/// Runs a verb.
pub fn run(args: &UserArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List => api.print_list(&USER, &ram::list(&api, &USER, &[])?),
        Verb::Show { user } => {
            let answer = ram::call(&api, "GetUser", &params([("UserName", user)]))?;
            api.print_one(&USER, &answer["User"])
        }
        Verb::Create { user, name, comments } => {
            let mut parameters = params([("UserName", user)]);
            add(&mut parameters, "DisplayName", name.as_ref());
            add(&mut parameters, "Comments", comments.as_ref());
            let answer = ram::call(&api, "CreateUser", &parameters)?;
            api.print_done(
                &format!("user {user} is made, and may do nothing yet"),
                &answer["User"],
            )
        }
        Verb::Delete { user } => {
            ram::call(&api, "DeleteUser", &params([("UserName", user)]))?;
            api.print_done(&format!("user {user} is deleted"), &json!({ "UserName": user }))
        }
    }
}
