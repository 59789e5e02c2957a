//! The regions that a service is told to serve: `--region ID[=VAULT]`, or `[[regions]]` in the configuration file.
//!
//! What must stay true: without either there is one, as before there were several; the first is the home region, whose data
//! lies in the data directory itself; each other has a directory `<data-dir>/regions/<id>` of the same shape, so that
//! commands which take a data directory work on it, too. No two have the same vault.
//!
//! Not here: whether the catalogue goes with them (`tidemark_control`).

use crate::vault::place::VaultPlace;
use crate::vault::secret::SecretArgs;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use tidemark_control::RegionConfig;

/// Longest path of a unix socket: `sun_path` holds 108 bytes with its final zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// One region of the configuration file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegionEntry {
    id: String,
    zones: Option<Vec<String>>,
    vault: Option<String>,
    endpoint: Option<String>,
    vault_passphrase_file: Option<PathBuf>,
    vault_key_file: Option<PathBuf>,
}

impl RegionEntry {
    /// What the file's older keys say of the home region.
    pub fn home(id: String, zone: Option<String>) -> Self {
        Self {
            id,
            zones: zone.map(|zone| vec![zone]),
            ..Self::default()
        }
    }
}

/// A region, settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionSettings {
    /// Its id, its zones, and the host that clients are told to use.
    pub config: RegionConfig,
    /// What its node has: disks, captures under way, the socket.
    pub data_dir: PathBuf,
    /// Where its snapshots are kept.
    pub vault: VaultPlace,
    /// Where what opens its vault is.
    pub secret: SecretArgs,
}

impl RegionSettings {
    /// A region that is not the home region, with nothing special about it.
    pub fn beside(id: &str, data_dir: &Path) -> Result<Self> {
        let entry = RegionEntry {
            id: id.to_owned(),
            ..RegionEntry::default()
        };
        Self::settle(entry, data_dir.join("regions").join(id))
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.config.id
    }

    /// Where its disks are exported.
    pub fn nbd_socket(&self) -> PathBuf {
        self.data_dir.join("run").join("nbd.sock")
    }

    /// Where its disks have their sockets for virtual machines.
    pub fn vhost_dir(&self) -> PathBuf {
        self.data_dir.join("vhost")
    }

    fn settle(entry: RegionEntry, data_dir: PathBuf) -> Result<Self> {
        let mut config = RegionConfig::new(entry.id);
        if let Some(zones) = entry.zones {
            config.zones = zones;
        }
        config.endpoint = entry.endpoint;
        check_names(&config)?;
        let vault = match entry.vault {
            Some(vault) => {
                VaultPlace::parse(&vault).with_context(|| format!("the vault of region {}", config.id))?
            }
            None => VaultPlace::Directory(data_dir.join("vault")),
        };
        let settled = Self {
            config,
            data_dir,
            vault,
            secret: SecretArgs {
                vault_passphrase_file: entry.vault_passphrase_file,
                vault_key_file: entry.vault_key_file,
            },
        };
        settled.check_socket()?;
        Ok(settled)
    }

    fn check_socket(&self) -> Result<()> {
        let socket = self.nbd_socket();
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_BYTES_MAX {
            bail!(
                "the data directory's path is too long: the socket {} would have {length} bytes, and the system \
                 allows {SOCKET_PATH_BYTES_MAX}; choose a shorter --data-dir",
                socket.display()
            );
        }
        Ok(())
    }
}

/// Names are parts of paths, ids and signed texts.
fn check_names(config: &RegionConfig) -> Result<()> {
    let good = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if config.zones.is_empty() {
        bail!(
            "region {:?} has no zone: leave `zones` out for one of its own name",
            config.id
        );
    }
    let names = [("region", &config.id)]
        .into_iter()
        .chain(config.zones.iter().map(|zone| ("zone", zone)));
    for (what, name) in names {
        if !good(name) {
            bail!("{what} {name:?} is no {what} name: letters, digits and dashes only");
        }
    }
    Ok(())
}

/// All regions, the home region first. `named`: `--region`, each `ID` or `ID=VAULT`; then only these are served, with
/// what the file says of them. `home_vault` and `home_secret`: what is told without naming a region.
pub fn settle(
    named: &[String],
    entries: Vec<RegionEntry>,
    data_dir: &Path,
    home_vault: Option<String>,
    home_secret: SecretArgs,
) -> Result<Vec<RegionSettings>> {
    let mut wanted = match named.is_empty() {
        true => entries,
        false => named.iter().map(|named| of_flag(named, &entries)).collect(),
    };
    if let (Some(home), Some(vault)) = (wanted.first_mut(), home_vault) {
        home.vault = Some(vault);
    }
    let mut settled: Vec<RegionSettings> = Vec::new();
    for entry in wanted {
        let dir = match settled.is_empty() {
            true => data_dir.to_owned(),
            false => data_dir.join("regions").join(&entry.id),
        };
        let region = RegionSettings::settle(entry, dir)?;
        if settled.iter().any(|other| other.id() == region.id()) {
            bail!("region {} is named twice", region.id());
        }
        let zone_of = |zone: &String| settled.iter().find(|other| other.config.zones.contains(zone));
        if let Some(other) = region.config.zones.iter().find_map(zone_of) {
            bail!(
                "regions {} and {} have a zone of the same name",
                other.id(),
                region.id()
            );
        }
        if let Some(other) = settled.iter().find(|other| other.vault == region.vault) {
            bail!(
                "regions {} and {} have the same vault, {}: each needs one of its own",
                other.id(),
                region.id(),
                region.vault
            );
        }
        settled.push(region);
    }
    if let Some(home) = settled.first_mut() {
        home.secret = home_secret.or(home.secret.clone());
    }
    Ok(settled)
}

fn of_flag(named: &str, entries: &[RegionEntry]) -> RegionEntry {
    let (id, vault) = match named.split_once('=') {
        Some((id, vault)) => (id, Some(vault.to_owned())),
        None => (named, None),
    };
    let known = entries.iter().find(|entry| entry.id == id).cloned();
    let mut entry = known.unwrap_or_else(|| RegionEntry::home(id.to_owned(), None));
    if vault.is_some() {
        entry.vault = vault;
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(named: &[&str], entries: Vec<RegionEntry>) -> Result<Vec<RegionSettings>> {
        let named: Vec<String> = named.iter().map(|named| named.to_string()).collect();
        settle(&named, entries, Path::new("/d"), None, SecretArgs::default())
    }

    fn home() -> Vec<RegionEntry> {
        vec![RegionEntry::home("cn-hangzhou".into(), None)]
    }

    #[test]
    fn one_region_is_where_it_always_was() {
        let regions = settled(&[], home()).unwrap();
        let [region] = regions.as_slice() else {
            panic!("{regions:?}")
        };
        assert_eq!(
            (region.id(), region.config.first_zone()),
            ("cn-hangzhou", "cn-hangzhou-g")
        );
        assert_eq!(region.data_dir, Path::new("/d"));
        assert_eq!(region.vault, VaultPlace::Directory("/d/vault".into()));
        assert_eq!(region.nbd_socket(), Path::new("/d/run/nbd.sock"));
    }

    #[test]
    fn further_regions_have_directories_of_the_same_shape() {
        let regions = settled(&["cn-hangzhou", "cn-beijing", "eu-central-1=/v"], home()).unwrap();
        let places: Vec<_> = regions
            .iter()
            .map(|region| (region.data_dir.to_str().unwrap(), region.vault.to_string()))
            .collect();
        let expected = [
            ("/d", "/d/vault"),
            ("/d/regions/cn-beijing", "/d/regions/cn-beijing/vault"),
            ("/d/regions/eu-central-1", "/v"),
        ];
        assert_eq!(places, expected.map(|(dir, vault)| (dir, vault.to_string())));
        assert_eq!(regions[2].config.zones, ["eu-central-1-a"]);
    }

    #[test]
    fn a_flag_takes_what_the_file_says_of_its_region() {
        let mut entries = home();
        entries.push(RegionEntry {
            zones: Some(vec!["b-1".into(), "b-2".into()]),
            vault: Some("/file".into()),
            vault_key_file: Some("/key".into()),
            ..RegionEntry::home("b".into(), None)
        });
        let regions = settled(&["cn-hangzhou", "b=/flag"], entries.clone()).unwrap();
        assert_eq!(regions[1].vault, VaultPlace::Directory("/flag".into()));
        assert_eq!(regions[1].config.zones, ["b-1", "b-2"]);
        assert_eq!(
            regions[1].secret.vault_key_file.as_deref(),
            Some(Path::new("/key"))
        );
        assert_eq!(
            settled(&["b"], entries).unwrap().len(),
            1,
            "only those that are named"
        );
    }

    #[test]
    fn refusals_name_the_cause() {
        let zone = |id: &str| RegionEntry::home(id.into(), Some("z".into()));
        let none = RegionEntry {
            zones: Some(Vec::new()),
            ..zone("a")
        };
        for (refused, word) in [
            (settled(&["a", "a"], Vec::new()), "twice"),
            (settled(&["a=/v", "b=/v"], Vec::new()), "same vault"),
            (settled(&["a/b"], Vec::new()), "letters"),
            (settled(&["a="], Vec::new()), "vault"),
            (settled(&[], vec![zone("a"), zone("b")]), "zone"),
            (settled(&[], vec![none]), "no zone"),
        ] {
            let error = format!("{:#}", refused.unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
