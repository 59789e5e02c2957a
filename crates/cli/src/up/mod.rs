//! `tidemark up`: the whole service in one process.
//!
//! Order of starting: settings, data directory lock, API port, node, control plane, credentials file,
//! then the API answers and the `ready:` line is printed. Order of stopping (SIGTERM, SIGINT): the API
//! takes nothing new and finishes what it has, the control plane rests, the node closes its disks. A
//! second signal ends the process at once, which loses nothing that was acknowledged.

pub mod data_dir;
mod file;
mod guests;
mod metadata;
pub mod regions;
pub mod settings;
mod vault;

use crate::credentials::{Connection, CredentialsFile};
use crate::demo;
use crate::endpoint::Endpoint;
use crate::log;
use crate::vault::place::VaultPlace;
use crate::vault::secret::SecretArgs;
use anyhow::{Context, Result, anyhow, bail};
use data_dir::DataDir;
use guests::GuestArgs;
use metadata::Metadata;
use regions::RegionSettings;
use settings::{Given, Settings};
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tidemark_api::{ApiState, Bounds};
use tidemark_console::ConsoleState;
use tidemark_control::{Control, ControlConfig, Throttle};
use tidemark_node::{Node, NodeConfig};
use tidemark_units::GIB;
use tidemark_vault::Secret;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// Most bytes that captures hold locally before they wait for the vault.
const SPOOL_BYTES_MAX: u64 = 4 * GIB;
/// How long requests under way may take to end when the service stops.
const DRAIN: Duration = Duration::from_secs(5);

const EXAMPLES: &str = "\
Needs no configuration: data in ./tidemark-data, the API on 127.0.0.1:7480, and
the console for browsers there, at /console.
At first start it makes a key, or takes TIDEMARK_ACCESS_KEY_ID and
TIDEMARK_ACCESS_KEY_SECRET, and writes it to <data-dir>/credentials.toml,
where the other commands find it.

Examples:
  tidemark up --demo                      start, and watch a tour
  tidemark up --data-dir /srv/tidemark --listen 127.0.0.1:7480
  tidemark up --vault s3://backups/tidemark?endpoint=https://minio.example:9000
                                          snapshots in a bucket: `tidemark vault --help`
  tidemark up --region cn-hangzhou --region cn-beijing=/mnt/far
                                          two regions: `tidemark snapshot copy` copies between them
  tidemark up --config tidemark.toml      a file with the flags' names as keys, and region, zone or [[regions]]
  tidemark up --vault-key-file vault.key  the vault is encrypted, from the first start on (see `tidemark vault`)
  tidemark up --scrub-rate 0              the vault is not read through in the background (see `tidemark verify`)
  tidemark up --snapshot-price '0.12 CNY'  `tidemark usage` says what it costs; quotas are in the file's [limits]
  TIDEMARK_LOG=debug tidemark up          more in the log (standard error)

Regions: one process serves several, each with disks, zones and a vault of its own. The first that is named
is the home region, whose data lies in <data-dir> itself; another's is in <data-dir>/regions/<ID>, which
has the same shape: `tidemark gc`, `verify` and `doctor` take it as a --data-dir. In the file:
  [[regions]]
  id = \"cn-hangzhou\"
  [[regions]]
  id = \"cn-beijing\"
  zones = [\"cn-beijing-a\", \"cn-beijing-b\"]     [default: one, the id with -a; cn-hangzhou-g]
  vault = \"s3://backups/beijing\"              [default: <data-dir>/regions/cn-beijing/vault]
  endpoint = \"beijing.example:7480\"           what DescribeRegions tells [default: the host that is asked]
  vault-key-file = \"beijing.key\"              or vault-passphrase-file, if the vault is encrypted

Metadata service: what the real one has at http://100.100.100.200 is at --metadata-listen, for the running
instance whose PrivateIpAddress is the address that the request comes from. In the file, what they are told of the site:
  [metadata]
  nameservers = [\"10.0.0.2\"]                 [default: nothing, as the next two]
  ntp-servers = [\"10.0.0.2\"]
  source-addresses = [\"http://mirror.example/debian\"]

Quotas, in the file, with their defaults; how many policies a disk may have is --policies-per-disk:
  [limits]
  manual-snapshots-per-disk = 256
  automatic-snapshots-per-disk = 1000           above, the oldest gives way
  concurrent-snapshots-per-disk = 1             in creation at once
  policies-per-region = 100
  data-disks-per-instance = 16
  images = 100
  tags-per-resource = 20
  disks-per-snapshot-group = 16                 and of one ResetDisks, which takes 10 in any case
  snapshot-group-gib = 32768                    all disks of a group together
  usage-kept-days = 400                         how far back `tidemark usage` goes
  access-keys-per-user = 2                      and of the account itself
  policies-per-holder = 20                      permissions of one user or role
  webhooks = 20
  webhook-backlog = 10000                       events that a webhook may be behind; older ones are left out
  key-pairs = 500                               SSH key pairs of a region
  events = 100000                               that are kept; older ones go
  events-days = 90                              that events are kept";

/// Arguments of `tidemark up`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    /// Where everything is kept [default: ./tidemark-data]
    #[arg(long, value_name = "DIR", env = "TIDEMARK_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where snapshots are kept: a directory, s3://... or oss://... [default: <data-dir>/vault]
    #[arg(long, value_name = "VAULT", env = "TIDEMARK_VAULT", hide_env_values = true)]
    vault: Option<String>,
    /// A region to serve, the home region first; may be given several times [default: cn-hangzhou]
    #[arg(long = "region", value_name = "ID[=VAULT]")]
    regions: Vec<String>,
    /// Where the API listens [default: 127.0.0.1:7480]; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// Where the metadata service listens for machines of your own, which it knows by their address [default:
    /// 127.0.0.1:7481, if that is free]; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    metadata_listen: Option<String>,
    /// Most memory for what is read of snapshots, for all disks together [default: 48M]
    #[arg(long, value_name = "SIZE")]
    vault_cache: Option<String>,
    /// A TOML file with settings; flags win over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretArgs,
    /// How long a deleted snapshot can be brought back [default: 24h]; 0s: its space is freed at once
    #[arg(long, value_name = "TIME")]
    undelete_window: Option<String>,
    /// Bytes of the vault that the scrub reads per second; 0: none [default: 8M]
    #[arg(long, value_name = "SIZE")]
    scrub_rate: Option<String>,
    /// From the start of one round of the scrub to the next [default: 7d]
    #[arg(long, value_name = "TIME")]
    scrub_every: Option<String>,
    /// What a GiB of snapshots costs in a month, for `tidemark usage`; for example "0.12 CNY" [default: nothing]
    #[arg(long, value_name = "PRICE")]
    snapshot_price: Option<String>,
    /// The least time between two walks over the vault's trees that make usage figures exact [default: 2s]; 0s: none,
    /// and figures are estimates. A walk that takes more than a minute is done once a day in any case
    #[arg(long, value_name = "TIME")]
    usage_walk_every: Option<String>,
    /// The key that secrets in the catalogue are sealed with [default: <data-dir>/secrets.key, made at first start]
    #[arg(long, value_name = "FILE", env = "TIDEMARK_SECRETS_KEY_FILE")]
    secrets_key_file: Option<PathBuf>,
    /// Let webhooks go to this very machine (see `tidemark webhook`)
    #[arg(long)]
    webhooks_to_this_machine: bool,
    /// Automatic snapshot policies that a disk may have; 1: a second one takes the first one's place [default: 1]
    #[arg(long, value_name = "NUMBER")]
    policies_per_disk: Option<u64>,
    #[command(flatten)]
    guests: GuestArgs,
    /// Give a tour of what it does, then go on serving
    #[arg(long)]
    demo: bool,
}

/// Runs the service until it is told to stop.
pub fn run(args: UpArgs) -> Result<ExitCode> {
    let UpArgs {
        data_dir,
        vault,
        regions,
        listen,
        metadata_listen,
        vault_cache,
        config,
        secret,
        undelete_window,
        scrub_rate,
        scrub_every,
        snapshot_price,
        usage_walk_every,
        secrets_key_file,
        webhooks_to_this_machine,
        policies_per_disk,
        guests,
        demo,
    } = args;
    let settings = Settings::resolve(Given {
        data_dir,
        vault,
        regions,
        listen,
        metadata_listen,
        vault_cache,
        config,
        secret,
        undelete_window,
        scrub_rate,
        scrub_every,
        snapshot_price,
        usage_walk_every,
        secrets_key_file,
        webhooks_to_this_machine,
        policies_per_disk,
        guests,
        demo,
    })?;
    let secrets = read_secrets(&settings)?;
    let root_key = root_key(&|name| std::env::var(name).ok())?;
    // The tour is easier to watch when only trouble is in the log.
    log::start(if settings.demo { "warn" } else { "info" })?;
    // Held to the end, the home region's first: another service on the directory is refused before anything else.
    let _locks = settings
        .regions
        .iter()
        .map(|region| DataDir::take(&region.data_dir))
        .collect::<Result<Vec<_>>>()?;
    let listeners = Listeners {
        api: settings.bind()?,
        metadata: settings.bind_metadata()?.map_err(|error| {
            eprintln!("note: the metadata service does not listen: {error:#}");
        }),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the control plane's threads")?;
    let result = runtime.block_on(serve(&settings, listeners, root_key, secrets));
    runtime.shutdown_timeout(DRAIN);
    result
}

/// The addresses that were taken before anything was opened.
struct Listeners {
    api: std::net::TcpListener,
    /// `Err`: it is in use, and nobody named it.
    metadata: Result<std::net::TcpListener, ()>,
}

/// What opens each region's vault. A passphrase in the environment is the home region's.
fn read_secrets(settings: &Settings) -> Result<Vec<Option<Secret>>> {
    let read = |(at, region): (usize, &RegionSettings)| {
        let secret = match at {
            0 => region.secret.read(),
            _ => region.secret.read_files(),
        };
        secret.with_context(|| format!("the key of the vault of region {}", region.id()))
    };
    settings.regions.iter().enumerate().map(read).collect()
}

/// The root key that the environment sets; both halves or none.
fn root_key(env: &dyn Fn(&str) -> Option<String>) -> Result<Option<(String, String)>> {
    let get = |name: &str| env(name).filter(|value| !value.is_empty());
    match (get("TIDEMARK_ACCESS_KEY_ID"), get("TIDEMARK_ACCESS_KEY_SECRET")) {
        (Some(id), Some(secret)) => Ok(Some((id, secret))),
        (None, None) => Ok(None),
        (Some(_), None) => bail!("TIDEMARK_ACCESS_KEY_ID is set without TIDEMARK_ACCESS_KEY_SECRET"),
        (None, Some(_)) => bail!("TIDEMARK_ACCESS_KEY_SECRET is set without TIDEMARK_ACCESS_KEY_ID"),
    }
}

/// The signals that stop the service, taken before anything is started.
struct Stop {
    term: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        let on = |kind| signal(kind).context("cannot listen to signals");
        Ok(Self {
            term: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve(
    settings: &Settings,
    listeners: Listeners,
    root_key: Option<(String, String)>,
    secrets: Vec<Option<Secret>>,
) -> Result<ExitCode> {
    let mut stop = Stop::new()?;
    let mut nodes = Vec::new();
    for (region, secret) in settings.regions.iter().zip(secrets) {
        match start_node(settings, region, secret).await {
            Ok(node) => nodes.push(node),
            Err(error) => {
                shut_down(&nodes).await;
                return Err(error);
            }
        }
    }
    let result = serve_on(settings, listeners, root_key, &nodes, &mut stop).await;
    tracing::info!("closing the disks");
    tokio::select! {
        () = shut_down(&nodes) => {}
        () = stop.wait() => {
            tracing::warn!("second signal: leaving without closing the disks; their logs are replayed at the next start");
            std::process::exit(130);
        }
    }
    result
}

async fn start_node(settings: &Settings, region: &RegionSettings, secret: Option<Secret>) -> Result<Node> {
    let (vault_dir, bucket) = vault::open(region).await?;
    let config = NodeConfig {
        nbd_socket: Some(region.nbd_socket()),
        vhost_dir: Some(region.vhost_dir()),
        spool_bytes_max: SPOOL_BYTES_MAX,
        vault_secret: secret,
        undelete_window: settings.undelete_window,
        scrub: settings.scrub,
        vault_cache_bytes: settings.vault_cache_bytes,
        ..NodeConfig::new(region.data_dir.clone(), vault_dir)
    };
    Node::start_with(config, bucket)
        .await
        .with_context(|| format!("cannot start the node with the vault in {}", region.vault))
}

/// One after the other.
async fn shut_down(nodes: &[Node]) {
    for node in nodes {
        node.shutdown().await;
    }
}

async fn serve_on(
    settings: &Settings,
    listeners: Listeners,
    root_key: Option<(String, String)>,
    nodes: &[Node],
    stop: &mut Stop,
) -> Result<ExitCode> {
    let usual = ControlConfig::new(&settings.data_dir);
    let regions = settings.regions.iter().map(|region| region.config.clone());
    let control = Control::open_regions(
        ControlConfig {
            accounting: settings.usage_walk_every.unwrap_or(usual.accounting),
            regions: regions.collect(),
            root_key,
            secrets_key: settings.secrets_key_file.clone(),
            webhooks_to_this_machine: settings.webhooks_to_this_machine,
            limits: settings.limits.clone(),
            price: settings.price.clone(),
            guests: settings.guests.open(&settings.data_dir).await?,
            ..usual
        },
        nodes.to_vec(),
    )
    .await
    .context("cannot open the catalogue")?;
    let result = answer(settings, listeners, &control, stop).await;
    control.shutdown().await;
    result
}

async fn answer(
    settings: &Settings,
    listeners: Listeners,
    control: &Control,
    stop: &mut Stop,
) -> Result<ExitCode> {
    let listener = listeners.api;
    let address = settings::reachable(listener.local_addr().context("cannot tell the API's address")?);
    let root = control.root_key().await.context("cannot read the root key")?;
    let file = CredentialsFile {
        endpoint: format!("http://{address}"),
        region: settings.home().id().to_owned(),
        access_key_id: root.id,
        access_key_secret: root.secret,
        nbd_socket: settings.home().nbd_socket(),
        nbd_sockets: settings
            .regions
            .iter()
            .skip(1)
            .map(|region| (region.id().to_owned(), region.nbd_socket()))
            .collect(),
    };
    file.store(&settings.data_dir)?;

    let (closing, mut closed) = watch::channel(false);
    let listener = tokio::net::TcpListener::from_std(listener).context("cannot serve the API")?;
    let throttle = Arc::new(Throttle::new(settings.throttle.clone()));
    let console = tidemark_console::router(ConsoleState::new(
        control.clone(),
        Arc::clone(&throttle),
        closed.clone(),
    ));
    let router = tidemark_api::router(ApiState::new(control.clone(), throttle)).merge(console);
    let metadata = Metadata::start(settings, listeners.metadata.ok(), control, closed.clone())?;
    let mut server = tokio::spawn(async move {
        let until = async move {
            // The sender's end is an end, too.
            let _ = closed.wait_for(|closed| *closed).await;
        };
        tidemark_api::serve(listener, router, Bounds::default(), until).await;
    });

    announce(settings, &file, metadata.address)?;
    let tour = settings.demo.then(|| start_tour(settings, &file)).transpose()?;

    let code = tokio::select! {
        () = stop.wait() => Ok(ExitCode::SUCCESS),
        ended = &mut server => match ended {
            Ok(()) => Err(anyhow!("the API stopped serving by itself")),
            Err(cause) => Err(anyhow!(cause).context("the API stopped serving")),
        },
    };
    tracing::info!("stopping");
    closing.send_replace(true);
    if code.is_ok() {
        tokio::select! {
            _ = &mut server => {}
            () = tokio::time::sleep(DRAIN) => server.abort(),
            () = stop.wait() => server.abort(),
        }
    }
    metadata.stop().await;
    match tour.map(|mut tour| tour.try_recv()) {
        Some(Ok(Err(_))) => code.map(|_| ExitCode::FAILURE),
        _ => code,
    }
}

fn announce(settings: &Settings, file: &CredentialsFile, metadata: Option<SocketAddr>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "ready: API {}  console {}/console  NBD {}  key in {}{}",
        file.endpoint,
        file.endpoint,
        settings.home().nbd_socket().display(),
        CredentialsFile::path(&settings.data_dir).display(),
        metadata.map_or_else(String::new, |address| format!("  metadata http://{address}"))
    )?;
    Ok(out.flush()?)
}

/// Runs the tour on a thread of its own: it waits a lot, and the service must not wait for it.
fn start_tour(settings: &Settings, file: &CredentialsFile) -> Result<oneshot::Receiver<Result<(), ()>>> {
    let (done, tour) = oneshot::channel();
    let stage = demo::Stage {
        connection: Connection {
            endpoint: Endpoint::parse(&file.endpoint)?,
            region: file.region.clone(),
            access_key_id: file.access_key_id.clone(),
            access_key_secret: file.access_key_secret.clone(),
            security_token: None,
            nbd_socket: Some(file.nbd_socket.clone()),
        },
        socket: file.nbd_socket.clone(),
        data_dir: settings.data_dir.clone(),
        vault_dir: match &settings.home().vault {
            VaultPlace::Directory(path) => Some(path.clone()),
            VaultPlace::Bucket(_) => None,
        },
    };
    let run = move || {
        let result = demo::run(stage).map_err(|error| {
            eprintln!("ERROR: the tour ended early: {error:#}\nThe service goes on; Ctrl-C stops it.");
        });
        // Nobody asks any more when the service has stopped.
        let _ = done.send(result);
    };
    std::thread::Builder::new()
        .name("demo".into())
        .spawn(run)
        .context("cannot start the tour")?;
    Ok(tour)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_key_comes_whole_or_not_at_all() {
        let with = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|n| format!("TIDEMARK_ACCESS_KEY_{n}")).collect();
            root_key(&move |name| names.contains(&name.to_string()).then(|| "v".into()))
        };
        assert_eq!(with(&[]).unwrap(), None);
        assert_eq!(with(&["ID", "SECRET"]).unwrap(), Some(("v".into(), "v".into())));
        assert!(with(&["ID"]).unwrap_err().to_string().contains("SECRET"));
        assert!(with(&["SECRET"]).unwrap_err().to_string().contains("_ID"));
    }
}
