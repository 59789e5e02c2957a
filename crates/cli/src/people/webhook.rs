//! `tidemark webhook <verb>`.

use super::{Api, Column, CommonArgs, Kind, add, note, text};
use crate::client::params;
use anyhow::Result;
use clap::Subcommand;
use serde_json::json;

/// Where events are sent.
const WEBHOOK: Kind = Kind {
    name: "webhook",
    describe: "DescribeWebhooks",
    ids: "",
    wrapper: "Webhooks",
    item: "Webhook",
    columns: &[
        Column::text("webhook", |r| text(r, "WebhookId")),
        Column::text("url", |r| text(r, "Url")),
        Column::text("level", |r| text(r, "Level")),
        Column::text("last delivery", |r| text(r, "LastDeliveryTime")),
        Column::number("behind", |r| text(r, "Behind")),
        Column::number("dropped", |r| text(r, "Dropped")),
        Column::text("trouble", |r| text(r, "LastError")),
    ],
    details: &[],
};

/// A webhook that was just made.
const NEW_WEBHOOK: Kind = Kind {
    columns: &[
        Column::text("webhook", |r| text(r, "WebhookId")),
        Column::text("secret", |r| text(r, "Secret")),
    ],
    ..WEBHOOK
};

const EXAMPLES: &str = "\
Each event is a POST of a JSON object, at least once and in order, with
  X-Tidemark-Timestamp   seconds since 1970
  X-Tidemark-Signature   v1=<hex of HMAC-SHA256(secret, timestamp + \".\" + body)>
  X-Tidemark-Event-Id    the same each time an event is sent
  X-Tidemark-Dropped     wanted events left out so far, because the receiver was too far behind
Whatever is not answered with 2xx is sent again, with growing pauses. Receivers
on this very machine need `tidemark up --webhooks-to-this-machine`.

Examples:
  tidemark webhook create https://hooks.example/tidemark
  tidemark webhook create https://hooks.example/bad --event Vault:DamageFound --event Quota:Near
  tidemark webhook create https://hooks.example/bad --level WARN
  tidemark webhook list";

/// `tidemark webhook ...`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct WebhookArgs {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List webhooks, and how far each is
    #[command(visible_alias = "ls")]
    List,
    /// Send events to a URL from now on
    Create {
        /// Where to; https://... or http://...
        url: String,
        /// Only events of this name; may be given several times
        #[arg(long = "event", value_name = "NAME")]
        events: Vec<String>,
        /// Only events of this level or a graver one: INFO, WARN, CRITICAL [default: INFO]
        #[arg(long)]
        level: Option<String>,
    },
    /// Send nothing there any more
    #[command(visible_alias = "rm")]
    Delete {
        /// The webhook's id
        webhook: String,
    },
}

/// Runs a verb.
pub fn run(args: &WebhookArgs) -> Result<()> {
    let api = Api::new(&args.common)?;
    match &args.verb {
        Verb::List => api.print_list(&WEBHOOK, &api.list(&WEBHOOK, &[])?),
        Verb::Create { url, events, level } => {
            let mut parameters = params([("Url", url)]);
            for (at, name) in events.iter().enumerate() {
                parameters.push((format!("EventName.{}", at + 1), name.clone()));
            }
            add(&mut parameters, "Level", level.as_ref());
            api.print_one(&NEW_WEBHOOK, &api.call("CreateWebhook", &parameters)?)?;
            note("the secret is shown this once: the receiver checks signatures with it")
        }
        Verb::Delete { webhook } => {
            api.call("DeleteWebhook", &params([("WebhookId", webhook)]))?;
            api.print_done(&format!("{webhook} is deleted"), &json!({ "WebhookId": webhook }))
        }
    }
}
