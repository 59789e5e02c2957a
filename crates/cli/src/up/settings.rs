//! What `tidemark up` is told: flags, then the environment, then the configuration file (`file`), then defaults.

use super::file::{ConfigFile, site, throttle};
use super::guests::{GuestArgs, GuestSettings};
use super::regions::{self, RegionSettings};
use crate::credentials::DEFAULT_DATA_DIR;
use crate::size;
use crate::vault::secret::SecretArgs;
use anyhow::{Context, Result, bail};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;
use tidemark_api::Site;
use tidemark_control::{Limits, Price, ThrottleConfig};
use tidemark_node::{NodeConfig, ScrubConfig};
use tidemark_units::MIB;

/// The API's address when none is named.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:7480";
/// The metadata service's.
pub const DEFAULT_METADATA_LISTEN: &str = "127.0.0.1:7481";
/// Bytes of the vault that the scrub reads per second when nobody says otherwise: 1 TiB takes a day and a half.
const DEFAULT_SCRUB_RATE: u64 = 8 * MIB;
/// A round of the scrub a week.
const DEFAULT_SCRUB_EVERY: Duration = Duration::from_secs(7 * 24 * 3600);
/// The least `--vault-cache`.
const VAULT_CACHE_BYTES_MIN: u64 = 4 * MIB;

/// What the command line says.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--vault`.
    pub vault: Option<String>,
    /// `--region`, each of them.
    pub regions: Vec<String>,
    /// `--listen`.
    pub listen: Option<String>,
    /// `--metadata-listen`.
    pub metadata_listen: Option<String>,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--vault-cache`.
    pub vault_cache: Option<String>,
    /// `--demo`.
    pub demo: bool,
    /// `--undelete-window`.
    pub undelete_window: Option<String>,
    /// `--vault-passphrase-file` and `--vault-key-file`.
    pub secret: SecretArgs,
    /// `--scrub-rate`.
    pub scrub_rate: Option<String>,
    /// `--scrub-every`.
    pub scrub_every: Option<String>,
    /// `--snapshot-price`.
    pub snapshot_price: Option<String>,
    /// `--usage-walk-every`.
    pub usage_walk_every: Option<String>,
    /// `--secrets-key-file`.
    pub secrets_key_file: Option<PathBuf>,
    /// `--webhooks-to-this-machine`.
    pub webhooks_to_this_machine: bool,
    /// `--policies-per-disk`.
    pub policies_per_disk: Option<u64>,
    /// `--qemu` and what else is said of instances.
    pub guests: GuestArgs,
}

/// What holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Absolute.
    pub data_dir: PathBuf,
    /// The API's address as written.
    pub listen: String,
    /// The metadata service's address, when someone named one.
    pub metadata_listen: Option<String>,
    /// The regions, the home region first; never none.
    pub regions: Vec<RegionSettings>,
    /// Most bytes of snapshots' content in memory.
    pub vault_cache_bytes: u64,
    /// Whether the tour runs.
    pub demo: bool,
    /// How long a deleted snapshot can be brought back.
    pub undelete_window: Duration,
    /// How each vault is scrubbed.
    pub scrub: ScrubConfig,
    /// Quotas.
    pub limits: Limits,
    /// What metered snapshots cost.
    pub price: Option<Price>,
    /// The least time between two walks over the vault's trees for exact usage; zero: none. `None`: as usual.
    pub usage_walk_every: Option<Duration>,
    /// The key of secrets in the catalogue, when it is not in the data directory.
    pub secrets_key_file: Option<PathBuf>,
    /// Whether webhooks may go to this very machine.
    pub webhooks_to_this_machine: bool,
    /// How often an account may call.
    pub throttle: ThrottleConfig,
    /// How instances are run.
    pub guests: GuestSettings,
    /// What instances are told of the site.
    pub site: Site,
}

impl Settings {
    /// Settles every value and checks what can be checked now.
    pub fn resolve(given: Given) -> Result<Self> {
        let mut file = given
            .config
            .as_deref()
            .map(ConfigFile::load)
            .transpose()?
            .unwrap_or_default();
        let entries = file.regions()?;
        let data_dir = given
            .data_dir
            .or(file.data_dir)
            .unwrap_or_else(|| DEFAULT_DATA_DIR.into());
        let data_dir = std::path::absolute(&data_dir)
            .with_context(|| format!("data directory {} cannot be resolved", data_dir.display()))?;
        let secret = given.secret.or(SecretArgs {
            vault_passphrase_file: file.vault_passphrase_file,
            vault_key_file: file.vault_key_file,
        });
        let vault = given.vault.or(file.vault);
        let price = given.snapshot_price.or(file.snapshot_price);
        let usage_walk_every = given.usage_walk_every.or(file.usage_walk_every);
        Ok(Self {
            regions: regions::settle(&given.regions, entries, &data_dir, vault, secret)?,
            limits: file.limits.resolve(policies_per_disk(
                given.policies_per_disk.or(file.policies_per_disk),
            )?)?,
            usage_walk_every: usage_walk_every
                .map(|text| {
                    let time = humantime::parse_duration(&text);
                    time.with_context(|| {
                        format!("usage-walk-every {text:?} is no time; write 10s, 1day or 0s")
                    })
                })
                .transpose()?,
            price: price
                .map(|text| {
                    text.parse()
                        .map_err(|why: String| anyhow::anyhow!("snapshot-price: {why}"))
                })
                .transpose()?,
            data_dir,
            listen: given
                .listen
                .or(file.listen)
                .unwrap_or_else(|| DEFAULT_LISTEN.into()),
            metadata_listen: given.metadata_listen.or(file.metadata_listen),
            vault_cache_bytes: match given.vault_cache.or(file.vault_cache) {
                Some(text) => vault_cache_bytes(&text)?,
                None => NodeConfig::VAULT_CACHE_BYTES,
            },
            demo: given.demo || file.demo.unwrap_or(false),
            undelete_window: match given.undelete_window.or(file.undelete_window) {
                Some(text) => humantime::parse_duration(&text).with_context(|| {
                    format!("undelete-window {text:?} is no time; write 24h, 7days or 0s")
                })?,
                None => tidemark_node::UNDELETE_WINDOW,
            },
            secrets_key_file: given.secrets_key_file.or(file.secrets_key_file),
            webhooks_to_this_machine: given.webhooks_to_this_machine
                || file.webhooks_to_this_machine.unwrap_or(false),
            scrub: ScrubConfig {
                bytes_per_second: match given.scrub_rate.or(file.scrub_rate) {
                    Some(rate) => scrub_rate(&rate)?,
                    None => DEFAULT_SCRUB_RATE,
                },
                every: match given.scrub_every.or(file.scrub_every) {
                    Some(every) => scrub_every(&every)?,
                    None => DEFAULT_SCRUB_EVERY,
                },
            },
            throttle: throttle(file.throttle.unwrap_or_default())?,
            guests: given.guests.or(file.guests).resolve()?,
            site: site(file.metadata.unwrap_or_default())?,
        })
    }

    /// The first region.
    pub fn home(&self) -> &RegionSettings {
        // There is always one: `regions::settle` is given one at least.
        &self.regions[0]
    }

    /// Takes the API's address, so that a port in use is known before anything is opened.
    pub fn bind(&self) -> Result<TcpListener> {
        bind("--listen", &self.listen, DEFAULT_LISTEN)
    }

    /// Takes the metadata service's address. The usual one may be in use by another service on this machine: the error
    /// then is the inner one, and no reason not to serve the API. One that somebody has named must be free.
    pub fn bind_metadata(&self) -> Result<Result<TcpListener>> {
        let (flag, usual) = ("--metadata-listen", DEFAULT_METADATA_LISTEN);
        match &self.metadata_listen {
            Some(named) => bind(flag, named, usual).map(Ok),
            None => Ok(bind(flag, usual, usual)),
        }
    }
}

/// Listens on the address that `flag` says.
fn bind(flag: &str, listen: &str, usual: &str) -> Result<TcpListener> {
    let addresses: Vec<SocketAddr> = listen
        .to_socket_addrs()
        .with_context(|| format!("{flag} {listen} is no address; write host:port, for example {usual}"))?
        .collect();
    let listener = TcpListener::bind(addresses.as_slice()).map_err(|cause| match cause.kind() {
        std::io::ErrorKind::AddrInUse => anyhow::anyhow!(
            "{listen} is in use by another process; is another tidemark running? Choose another with {flag}"
        ),
        _ => anyhow::anyhow!("cannot listen on {listen}: {cause}"),
    })?;
    listener
        .set_nonblocking(true)
        .with_context(|| format!("cannot prepare the socket of {flag}"))?;
    Ok(listener)
}

/// Bytes per second; 0 is off.
fn scrub_rate(text: &str) -> Result<u64> {
    match text.trim() {
        "0" => Ok(0),
        text => {
            size::parse(text).context("the scrub's rate is bytes per second, for example 8M, or 0 for none")
        }
    }
}

/// From one round's start to the next.
fn scrub_every(text: &str) -> Result<Duration> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit.trim() {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => 0,
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(seconds))
    {
        // Ten years; the arithmetic of times has room for it.
        Some(seconds) if (1..=10 * 366 * 24 * 3600).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => bail!(
            "{text:?} is no time between two rounds of the scrub; write for example 7d, 12h, 30m or 90s"
        ),
    }
}

/// As many as the service that we follow has at most.
fn policies_per_disk(number: Option<u64>) -> Result<u64> {
    match number.unwrap_or(1) {
        number @ 1..=10 => Ok(number),
        other => bail!("policies-per-disk {other} is not possible: a disk has 1 to 10 policies"),
    }
}

/// What `--vault-cache` says. Less than what a few reads at once need would make each of them fetch the same again.
fn vault_cache_bytes(text: &str) -> Result<u64> {
    let bytes = size::parse(text).context("vault-cache is no size")?;
    if bytes < VAULT_CACHE_BYTES_MIN {
        bail!(
            "vault-cache {text:?} is too small: {} at least",
            size::human(VAULT_CACHE_BYTES_MIN)
        );
    }
    Ok(bytes)
}

/// Where a client on this machine reaches a listener: "any address" is no destination.
pub fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::place::VaultPlace;
    use std::path::Path;

    #[test]
    fn nothing_said_means_the_documented_defaults() {
        let settings = Settings::resolve(Given::default()).unwrap();
        assert!(settings.data_dir.is_absolute() && settings.data_dir.ends_with("tidemark-data"));
        assert_eq!(
            (settings.listen.as_str(), settings.home().config.first_zone()),
            ("127.0.0.1:7480", "cn-hangzhou-g")
        );
        assert_eq!(settings.regions.len(), 1);
        assert_eq!(
            settings.home().vault,
            VaultPlace::Directory(settings.data_dir.join("vault"))
        );
        assert!(!settings.demo && settings.metadata_listen.is_none());
    }

    #[test]
    fn flags_beat_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(
            &path,
            "listen = '127.0.0.1:1'\ndata-dir = '/d'\nvault = '/v'\nregion = 'cn-beijing'\ndemo = true\n",
        )
        .unwrap();
        let given = Given {
            config: Some(path),
            listen: Some("127.0.0.1:2".into()),
            ..Given::default()
        };
        let settings = Settings::resolve(given).unwrap();
        assert_eq!(settings.listen, "127.0.0.1:2");
        let home = settings.home();
        assert_eq!(home.nbd_socket(), Path::new("/d/run/nbd.sock"));
        assert_eq!(home.vault, VaultPlace::Directory("/v".into()));
        assert_eq!(home.config.first_zone(), "cn-beijing-a");
        assert!(settings.demo);
    }

    #[test]
    fn the_window_of_undeletion_is_a_time() {
        let given = |text: &str| Given {
            undelete_window: Some(text.into()),
            ..Given::default()
        };
        let window = |text: &str| Settings::resolve(given(text)).map(|settings| settings.undelete_window);
        assert_eq!(window("36h").unwrap(), Duration::from_secs(36 * 3600));
        assert_eq!(window("0s").unwrap(), Duration::ZERO);
        assert!(format!("{:#}", window("soon").unwrap_err()).contains("soon"));
        let by_default = Settings::resolve(Given::default()).unwrap().undelete_window;
        assert_eq!(by_default, Duration::from_secs(24 * 3600));
    }

    #[test]
    fn limits_and_the_price_are_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let resolve = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Settings::resolve(Given {
                config: Some(path.clone()),
                data_dir: Some("/d".into()),
                ..Given::default()
            })
        };
        let settings =
            resolve("snapshot-price = '0.12 CNY'\n[limits]\ndisks-per-snapshot-group = 3\n").unwrap();
        assert_eq!(settings.price.unwrap().to_string(), "0.120000 CNY");
        assert_eq!(settings.usage_walk_every, None);
        let seldom = resolve("usage-walk-every = '0s'\n").unwrap().usage_walk_every;
        assert_eq!(seldom, Some(Duration::ZERO));
        let expected = Limits {
            disks_per_snapshot_group: 3,
            ..Limits::default()
        };
        assert_eq!(settings.limits, expected);
        assert_eq!(resolve("").unwrap().limits, Limits::default());
        for (text, named) in [
            ("[limits]\nsnapshot-group-gib = 0\n", "snapshot-group-gib"),
            ("[limits]\nwishes = 3\n", "wishes"),
            ("snapshot-price = 'much'\n", "much"),
            ("usage-walk-every = 'seldom'\n", "seldom"),
        ] {
            let error = format!("{:#}", resolve(text).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn disks_have_one_policy_unless_more_are_allowed() {
        let allowed = |number| {
            let given = Given {
                policies_per_disk: number,
                ..Given::default()
            };
            Settings::resolve(given).map(|settings| settings.limits.policies_per_disk)
        };
        assert_eq!((allowed(None).unwrap(), allowed(Some(10)).unwrap()), (1, 10));
        for number in [0, 11] {
            let error = format!("{:#}", allowed(Some(number)).unwrap_err());
            assert!(error.contains("policies-per-disk"), "{error}");
        }
    }

    #[test]
    fn the_scrub_is_told_its_rate_and_its_rounds() {
        let scrub = |rate: &str, every: &str| {
            let given = Given {
                data_dir: Some("/d".into()),
                scrub_rate: Some(rate.into()),
                scrub_every: Some(every.into()),
                ..Given::default()
            };
            Settings::resolve(given).map(|settings| settings.scrub)
        };
        let found = scrub("1.5M", "12h").unwrap();
        assert_eq!(
            (found.bytes_per_second, found.every.as_secs()),
            (3 * MIB / 2, 12 * 3600)
        );
        assert_eq!(scrub("0", "7d").unwrap().bytes_per_second, 0);
        for (rate, every, word) in [
            ("x", "7d", "rate"),
            ("8M", "7", "rounds"),
            ("8M", "0s", "rounds"),
            ("8M", "99999999999999d", "rounds"),
        ] {
            let error = format!("{:#}", scrub(rate, every).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
        let default = Settings::resolve(Given::default()).unwrap().scrub;
        assert_eq!(
            (default.bytes_per_second, default.every),
            (DEFAULT_SCRUB_RATE, DEFAULT_SCRUB_EVERY)
        );
    }

    #[test]
    fn the_vault_s_cache_is_a_size() {
        let cache = |text: &str| {
            let vault_cache = Some(text.to_owned());
            Settings::resolve(Given {
                vault_cache,
                ..Given::default()
            })
        };
        assert_eq!(cache("256M").unwrap().vault_cache_bytes, 256 << 20);
        assert_eq!(
            Settings::resolve(Given::default()).unwrap().vault_cache_bytes,
            48 << 20
        );
        for text in ["1M", "0", "much", ""] {
            assert!(
                format!("{:#}", cache(text).unwrap_err()).contains("vault-cache"),
                "{text}"
            );
        }
        let file = ConfigFile::parse("vault-cache = '64M'").unwrap();
        assert_eq!(file.vault_cache.as_deref(), Some("64M"));
    }

    #[test]
    fn refusals_name_the_cause() {
        let given = |data: String| Given {
            data_dir: Some(data.into()),
            ..Given::default()
        };
        let error = Settings::resolve(given(format!("/{}", "x".repeat(100))))
            .unwrap_err()
            .to_string();
        assert!(error.contains("too long"), "{error}");
        let missing = Given {
            config: Some("/no/such/file".into()),
            ..Given::default()
        };
        assert!(
            Settings::resolve(missing)
                .unwrap_err()
                .to_string()
                .contains("/no/such/file")
        );

        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let settings = Settings::resolve(Given {
            listen: Some(address.clone()),
            ..Given::default()
        })
        .unwrap();
        let error = settings.bind().unwrap_err().to_string();
        assert!(error.contains(&address) && error.contains("in use"), "{error}");
        let settings = Settings {
            listen: "nonsense".into(),
            ..settings
        };
        assert!(settings.bind().unwrap_err().to_string().contains("nonsense"));
        // Of the metadata service, only an address that was named has to be free.
        let settings = Settings {
            metadata_listen: Some(address.clone()),
            ..settings
        };
        let error = settings.bind_metadata().unwrap_err().to_string();
        assert!(
            error.contains(&address) && error.contains("--metadata-listen"),
            "{error}"
        );
        let settings = Settings {
            metadata_listen: None,
            ..settings
        };
        drop(settings.bind_metadata().expect("whether or not it is free"));
    }

    #[test]
    fn any_address_is_reached_over_loopback() {
        assert_eq!(
            reachable("0.0.0.0:80".parse().unwrap()).to_string(),
            "127.0.0.1:80"
        );
        assert_eq!(reachable("[::]:80".parse().unwrap()).to_string(), "[::1]:80");
        assert_eq!(
            reachable("10.0.0.1:80".parse().unwrap()).to_string(),
            "10.0.0.1:80"
        );
    }
}
