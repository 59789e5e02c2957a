//! The configuration file of `tidemark up`: which keys it has, and what its tables may say.
//!
//! An unknown key is refused by its name: a setting that is not read is one that somebody believes in. Not here: what holds when
//! flags say something, too (`settings`), and what a region is made of (`regions`).

use super::guests::GuestArgs;
use super::regions::RegionEntry;
use crate::credentials::DEFAULT_REGION;
use anyhow::{Context, Result, bail};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tidemark_api::Site;
use tidemark_control::{Limits, ThrottleConfig};

/// The configuration file: the flags' names are its keys.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) data_dir: Option<PathBuf>,
    pub(super) vault: Option<String>,
    pub(super) listen: Option<String>,
    pub(super) metadata_listen: Option<String>,
    pub(super) region: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) regions: Option<Vec<RegionEntry>>,
    pub(super) demo: Option<bool>,
    pub(super) vault_passphrase_file: Option<PathBuf>,
    pub(super) vault_key_file: Option<PathBuf>,
    pub(super) undelete_window: Option<String>,
    pub(super) scrub_rate: Option<String>,
    pub(super) scrub_every: Option<String>,
    pub(super) vault_cache: Option<String>,
    pub(super) snapshot_price: Option<String>,
    pub(super) usage_walk_every: Option<String>,
    pub(super) secrets_key_file: Option<PathBuf>,
    pub(super) webhooks_to_this_machine: Option<bool>,
    pub(super) policies_per_disk: Option<u64>,
    pub(super) throttle: Option<ThrottleFile>,
    pub(super) metadata: Option<MetadataFile>,
    #[serde(default)]
    pub(super) guests: GuestArgs,
    #[serde(default)]
    pub(super) limits: LimitsFile,
}

/// Declares the `[limits]` table: its keys are the fields of [`Limits`], in the file's spelling. The compiler checks that none is missing.
macro_rules! limits_file {
    ($($field:ident),* $(,)?) => {
        /// Quotas, as the `[limits]` table of the file names them; what is not there is as documented.
        #[derive(Debug, Default, PartialEq, Eq, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub(super) struct LimitsFile {
            $($field: Option<u64>,)*
        }

        impl LimitsFile {
            /// Keys of the table.
            #[cfg(test)]
            const KEYS: &[&str] = &[$(stringify!($field)),*];

            /// `policies_per_disk` is a setting of its own, since it changes what applying a policy means.
            pub(super) fn resolve(self, policies_per_disk: u64) -> Result<Limits> {
                let default = Limits::default();
                Ok(Limits {
                    policies_per_disk,
                    $($field: limit(stringify!($field), self.$field, default.$field)?,)*
                })
            }
        }
    };
}

limits_file!(
    manual_snapshots_per_disk,
    automatic_snapshots_per_disk,
    policies_per_region,
    concurrent_snapshots_per_disk,
    data_disks_per_instance,
    images,
    tags_per_resource,
    disks_per_snapshot_group,
    snapshot_group_gib,
    usage_kept_days,
    access_keys_per_user,
    policies_per_holder,
    webhooks,
    events,
    events_days,
    webhook_backlog,
    key_pairs,
);

/// One of them; `field` is its name in [`Limits`].
fn limit(field: &str, given: Option<u64>, default: u64) -> Result<u64> {
    if given == Some(0) {
        let name = field.replace('_', "-");
        bail!("the limit {name} is 0: nothing of that could be made; leave it away for the default");
    }
    Ok(given.unwrap_or(default))
}

/// `[throttle]`: calls per second of an account. The file only: who needs rates has several accounts to keep apart.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct ThrottleFile {
    per_account: Option<u32>,
    per_action: Option<u32>,
    #[serde(default)]
    actions: BTreeMap<String, u32>,
}

/// `[metadata]`: what instances are told of the site by the metadata service. Without a key, they are told nothing of it.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct MetadataFile {
    #[serde(default)]
    nameservers: Vec<String>,
    #[serde(default)]
    ntp_servers: Vec<String>,
    #[serde(default)]
    source_addresses: Vec<String>,
}

impl ConfigFile {
    pub(super) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    pub(super) fn load(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("configuration {} is not usable", path.display()))
    }

    /// The regions, the home region first.
    pub(super) fn regions(&mut self) -> Result<Vec<RegionEntry>> {
        let (region, zone) = (self.region.take(), self.zone.take());
        match self.regions.take() {
            Some(_) if region.is_some() || zone.is_some() => {
                bail!(
                    "the configuration has `regions` beside `region` or `zone`: the first of `regions` is what these say"
                )
            }
            Some(regions) if regions.is_empty() => bail!("the configuration's `regions` is empty"),
            Some(regions) => Ok(regions),
            None => {
                let id = region.unwrap_or_else(|| DEFAULT_REGION.into());
                Ok(vec![RegionEntry::home(id, zone)])
            }
        }
    }
}

/// Rates are 1 or more, and for actions that there are: a slip of the pen would hold nothing back.
pub(super) fn throttle(file: ThrottleFile) -> Result<ThrottleConfig> {
    let ThrottleFile {
        per_account,
        per_action,
        actions,
    } = file;
    if let Some(name) = actions.keys().find(|name| !tidemark_api::is_action(name)) {
        bail!("throttle.actions names {name:?}, and there is no such action");
    }
    if actions
        .values()
        .copied()
        .chain(per_account)
        .chain(per_action)
        .any(|rate| rate == 0)
    {
        bail!("a rate of [throttle] is 0: rates are calls per second; leave one out for no limit");
    }
    Ok(ThrottleConfig {
        per_account,
        per_action,
        actions,
    })
}

/// Values stand one per line in an answer, so none may hold a line break, nor be nothing.
pub(super) fn site(file: MetadataFile) -> Result<Site> {
    let MetadataFile {
        nameservers,
        ntp_servers,
        source_addresses,
    } = file;
    let mut all = nameservers.iter().chain(&ntp_servers).chain(&source_addresses);
    if let Some(odd) = all.find(|value| value.is_empty() || value.chars().any(char::is_control)) {
        bail!("[metadata] has the value {odd:?}: each is one line of text");
    }
    Ok(Site {
        nameservers,
        ntp_servers,
        source_addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::settings::{Given, Settings};

    #[test]
    fn the_file_lists_regions_in_one_way_or_the_other() {
        let entries = |text: &str| ConfigFile::parse(text).unwrap().regions();
        let several = "[[regions]]\nid = 'a'\n[[regions]]\nid = 'b'\nzones = ['b-1']\nvault = '/b'\nendpoint = 'b.example'\n";
        assert_eq!(entries(several).unwrap().len(), 2);
        assert_eq!(entries("").unwrap().len(), 1);
        for text in [format!("region = 'a'\n{several}"), "regions = []".to_owned()] {
            let error = entries(&text).unwrap_err().to_string();
            assert!(error.contains("regions"), "{error}");
        }
        let error = ConfigFile::parse("[[regions]]\nid = 'a'\nzone = 'b'\n").unwrap_err();
        assert!(error.to_string().contains("zone"), "{error}");
    }

    #[test]
    fn rates_are_for_actions_that_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let given = Given {
                config: Some(path.clone()),
                ..Given::default()
            };
            Settings::resolve(given).map(|settings| settings.throttle)
        };
        assert_eq!(read("").unwrap(), ThrottleConfig::default());
        let found = read("[throttle]\nper-account = 100\nactions.CreateDisk = 2\n").unwrap();
        assert_eq!(
            (found.per_account, found.per_action, found.actions["CreateDisk"]),
            (Some(100), None, 2)
        );
        for (text, word) in [
            ("[throttle]\nactions.MakeDisk = 2", "MakeDisk"),
            ("[throttle]\nper-action = 0", "no limit"),
            ("[throttle]\nper-second = 1", "not usable"),
        ] {
            let error = format!("{:#}", read(text).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn what_instances_are_told_of_the_site_is_in_the_file() {
        let read = |text: &str| site(ConfigFile::parse(text).unwrap().metadata.unwrap_or_default());
        assert_eq!(read("").unwrap(), Site::default());
        let found = read("[metadata]\nnameservers = ['10.0.0.2', '10.0.0.3']\n").unwrap();
        assert_eq!(found.nameservers, ["10.0.0.2", "10.0.0.3"]);
        for value in ["''", "\"a\\nb\""] {
            let error = read(&format!("[metadata]\nntp-servers = [{value}]\n")).unwrap_err();
            assert!(error.to_string().contains("[metadata]"), "{error}");
        }
    }

    #[test]
    fn every_limit_is_in_the_file_and_documented() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        let resolve = |name: &str, number: u64| {
            std::fs::write(&path, format!("[limits]\n{name} = {number}\n")).unwrap();
            let given = Given {
                config: Some(path.clone()),
                data_dir: Some("/d".into()),
                ..Given::default()
            };
            Settings::resolve(given).map(|settings| settings.limits)
        };
        for name in LimitsFile::KEYS.iter().map(|field| field.replace('_', "-")) {
            let limits = format!("{:?}", resolve(&name, 54321).unwrap());
            assert_eq!(limits.matches("54321").count(), 1, "{name}: {limits}");
            let error = format!("{:#}", resolve(&name, 0).unwrap_err());
            assert!(error.contains(&format!("limit {name} is 0")), "{error}");
            let documented = crate::up::EXAMPLES
                .lines()
                .any(|line| line.contains(&format!("  {name} = ")));
            assert!(documented, "`tidemark up --help` does not tell of {name}");
        }
    }

    #[test]
    fn an_unknown_key_is_named() {
        let error = ConfigFile::parse("listen = 'a:1'\nlissten = 'b:2'\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("lissten"), "{error}");
        assert!(
            ConfigFile::parse("listen = 1")
                .unwrap_err()
                .to_string()
                .contains("listen")
        );
    }
}
