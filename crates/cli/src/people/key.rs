//! `tidemark key <verb>`.

use super::{Api, Column, CommonArgs, Kind, Parameters, add, note, ram, text};
use anyhow::Result;
use clap::Subcommand;
use serde_json::{Value, json};

/// An access key.
const KEY: Kind = Kind {
    name: "access key",
    describe: "ListAccessKeys",
    ids: "",
    wrapper: "AccessKeys",
    item: "AccessKey",
    columns: &[
        Column::text("key", |r| text(r, "AccessKeyId")),
        Column::text("status", |r| text(r, "Status")),
        Column::text("created", |r| text(r, "CreateDate")),
        Column::text("last used", |r| text(r, "LastUsedDate")),
    ],
    details: &[],
};

/// An access key that was just made.
const NEW_KEY: Kind = Kind {
    columns: &[
        Column::text("key", |r| text(r, "AccessKeyId")),
        Column::text("secret", |r| text(r, "AccessKeySecret")),
    ],
    ..KEY
};

const EXAMPLES: &str = "\
Without --user, your own keys are meant: those of whom you sign as. A secret is
shown once, when its key is made.

Examples:
  tidemark key create --user alice
  tidemark key list --user alice
  tidemark key rotate TMAK... --user alice
  tidemark key disable TMAK...";

/// `tidemark key ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct KeyArgs {
    #[command(subcommand)]
    verb: Verb,
    /// Whose keys [default: your own]
    #[arg(long, global = true, value_name = "NAME")]
    user: Option<String>,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List keys, and when each was last used
    #[command(visible_alias = "ls")]
    List,
    /// Make a key, and show its secret
    Create,
    /// Take a key out of use
    Disable {
        /// The key's id
        key: String,
    },
    /// Put a key back into use
    Enable {
        /// The key's id
        key: String,
    },
    /// Make a new key, then take the old one out of use
    Rotate {
        /// The old key's id
        key: String,
        /// Leave the old one in use until you disable it
        #[arg(long)]
        keep_old: bool,
    },
    /// Delete a key
    #[command(visible_alias = "rm")]
    Delete {
        /// The key's id
        key: String,
    },
}

struct Keys<'a> {
    api: &'a Api,
    user: Option<&'a String>,
}

impl Keys<'_> {
    fn call(&self, action: &str, key: Option<&str>, status: Option<&str>) -> Result<Value> {
        let mut parameters = Parameters::new();
        add(&mut parameters, "UserName", self.user);
        add(&mut parameters, "UserAccessKeyId", key);
        add(&mut parameters, "Status", status);
        ram::call(self.api, action, &parameters)
    }

    fn create(&self) -> Result<()> {
        let answer = self.call("CreateAccessKey", None, None)?;
        self.api.print_one(&NEW_KEY, &answer["AccessKey"])?;
        note("the secret is shown this once: keep it where only its owner can read it")
    }

    fn set(&self, key: &str, status: &str) -> Result<()> {
        self.call("UpdateAccessKey", Some(key), Some(status)).map(drop)
    }
}

/// Runs a verb.
pub fn run(args: &KeyArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    let keys = Keys {
        api: &api,
        user: args.user.as_ref(),
    };
    let done = |sentence: String, key: &str| api.print_done(&sentence, &json!({ "AccessKeyId": key }));
    match &args.verb {
        Verb::List => {
            let mut parameters = Parameters::new();
            add(&mut parameters, "UserName", args.user.as_ref());
            api.print_list(&KEY, &ram::list(&api, &KEY, &parameters)?)
        }
        Verb::Create => keys.create(),
        Verb::Disable { key } => {
            keys.set(key, "Inactive")?;
            done(format!("{key} is out of use"), key)
        }
        Verb::Enable { key } => {
            keys.set(key, "Active")?;
            done(format!("{key} is in use"), key)
        }
        Verb::Rotate { key, keep_old } => {
            keys.create()?;
            // Disabling what one signs with would lock out whoever has not stored the new one yet.
            if *keep_old || api.client().connection().access_key_id == *key {
                return note(&format!(
                    "{key} is still in use: `tidemark key disable {key}` once everything uses the new one"
                ));
            }
            keys.set(key, "Inactive")?;
            note(&format!("{key} is out of use"))
        }
        Verb::Delete { key } => {
            keys.call("DeleteAccessKey", Some(key), None)?;
            done(format!("{key} is deleted"), key)
        }
    }
}
