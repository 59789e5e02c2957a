//! `tidemark keypair <verb>`.

use super::{Api, Column, CommonArgs, Kind, note, tags, text};
use crate::client::params;
use anyhow::{Context, Result, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// An SSH key pair.
const KEY_PAIR: Kind = Kind {
    name: "key pair",
    describe: "DescribeKeyPairs",
    ids: "",
    wrapper: "KeyPairs",
    item: "KeyPair",
    columns: &[
        Column::text("name", |r| text(r, "KeyPairName")),
        Column::text("key pair", |r| text(r, "KeyPairId")),
        Column::text("finger print (MD5)", |r| text(r, "KeyPairFingerPrint")),
        Column::text("created", |r| text(r, "CreationTime")),
        Column::text("tags", tags),
    ],
    details: &[],
};

/// One that was just made.
const NEW_KEY_PAIR: Kind = Kind {
    columns: &[
        Column::text("name", |r| text(r, "KeyPairName")),
        Column::text("finger print (MD5)", |r| text(r, "KeyPairFingerPrint")),
    ],
    ..KEY_PAIR
};

const EXAMPLES: &str = "\
An instance is told the public key by the metadata service, and cloud-init lets its
holder in. A private key that is made here is written to a file, and kept nowhere.

Examples:
  tidemark keypair create work --to ~/.ssh/work
  tidemark keypair import home ~/.ssh/id_ed25519.pub
  tidemark ecs RunInstances --RegionId cn-hangzhou --InstanceType tidemark.external --KeyPairName work
  tidemark keypair attach work i-bp1...
  tidemark keypair delete work";

/// `tidemark keypair ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct KeypairArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List key pairs
    #[command(visible_alias = "ls")]
    List,
    /// Make a key pair, and write its private key to a file
    Create {
        /// Its name
        name: String,
        /// The file of the private key, which must not be there yet [default: ./<NAME>.pem]
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Let a key of your own be used
    Import {
        /// Its name
        name: String,
        /// The file of the public key
        file: PathBuf,
    },
    /// Have instances let the key's holder in, from their next start on
    Attach {
        /// The key pair's name
        name: String,
        /// Their ids
        #[arg(required = true)]
        instances: Vec<String>,
    },
    /// Take a key from instances
    Detach {
        /// The key pair's name
        name: String,
        /// Their ids
        #[arg(required = true)]
        instances: Vec<String>,
    },
    /// Delete key pairs that no instance has
    #[command(visible_alias = "rm")]
    Delete {
        /// Their names
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// Runs a verb.
pub fn run(args: &KeypairArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List => api.print_list(&KEY_PAIR, &api.list(&KEY_PAIR, &[])?),
        Verb::Create { name, to } => create(&api, name, to.as_deref()),
        Verb::Import { name, file } => {
            let key =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            let parameters = params([("KeyPairName", name.as_str()), ("PublicKeyBody", key.trim())]);
            api.print_one(&NEW_KEY_PAIR, &api.call("ImportKeyPair", &parameters)?)
        }
        Verb::Attach { name, instances } => bind(&api, "AttachKeyPair", name, instances),
        Verb::Detach { name, instances } => bind(&api, "DetachKeyPair", name, instances),
        Verb::Delete { names } => {
            let list = Value::from(names.clone()).to_string();
            api.call("DeleteKeyPairs", &params([("KeyPairNames", list.as_str())]))?;
            api.print_done(
                &format!("deleted: {}", names.join(", ")),
                &json!({ "KeyPairNames": names }),
            )
        }
    }
}

/// The file is made before the key, so that a key is never made that cannot be kept.
fn create(api: &Api, name: &str, to: Option<&Path>) -> Result<()> {
    let path = to.map_or_else(|| PathBuf::from(format!("{name}.pem")), Path::to_path_buf);
    let directory = std::fs::File::open(directory_of(&path))
        .with_context(|| format!("cannot open the directory of {}", path.display()))?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot make {} for the private key", path.display()))?;
    let made = api.call("CreateKeyPair", &params([("KeyPairName", name)]));
    let written = made.and_then(|mut answer| {
        let key = answer["PrivateKeyBody"].take();
        let key = key.as_str().context("the answer holds no private key")?;
        file.write_all(key.as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| {
                format!("the private key of {name} cannot be written; delete the key pair, and make another")
            })?;
        Ok(answer)
    });
    match written {
        Ok(mut answer) => {
            // Its name, too: it is the only copy. Not every file system can, and the key is no worse for it.
            if let Err(error) = directory.sync_all() {
                note(&format!(
                    "the directory of {} cannot be synced: {error}",
                    path.display()
                ))?;
            }
            if let Some(members) = answer.as_object_mut() {
                members.remove("PrivateKeyBody");
                members.insert("PrivateKeyFile".into(), path.display().to_string().into());
            }
            api.print_one(&NEW_KEY_PAIR, &answer)?;
            note(&format!(
                "the private key is in {} and nowhere else",
                path.display()
            ))
        }
        Err(error) => {
            // Ours, and of no use.
            let _ = std::fs::remove_file(&path);
            Err(error)
        }
    }
}

/// Where a file is.
fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Says of each instance that could not be served why.
fn bind(api: &Api, action: &str, name: &str, instances: &[String]) -> Result<()> {
    let ids = Value::from(instances.to_vec()).to_string();
    let parameters = params([("KeyPairName", name), ("InstanceIds", ids.as_str())]);
    let answer = api.call(action, &parameters)?;
    let results = answer["Results"]["Result"].as_array();
    let failed: Vec<String> = results
        .into_iter()
        .flatten()
        .filter(|result| text(result, "Success") != "true")
        .map(|result| format!("{}: {}", text(result, "InstanceId"), text(result, "Message")))
        .collect();
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    let done = match action {
        "AttachKeyPair" => "is bound to",
        _ => "is not bound any more to",
    };
    api.print_done(
        &format!(
            "{name} {done} {}; a machine reads it when it starts",
            instances.join(", ")
        ),
        &answer,
    )
}
