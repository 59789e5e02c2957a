//! Where the API is and who calls it.
//!
//! Sources, first one wins, each value by itself except that key and secret always come together:
//! flags, `TIDEMARK_*`, `ALIBABA_CLOUD_*` (so that a shell set up for other clients works), then
//! `<data>/credentials.toml`, which `tidemark up` writes. The file holds a secret: mode 0600.

use crate::endpoint::Endpoint;
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The data directory when none is named.
pub const DEFAULT_DATA_DIR: &str = "./tidemark-data";
/// The region of a server that was told nothing else.
pub const DEFAULT_REGION: &str = "cn-hangzhou";

/// The content of `credentials.toml`.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct CredentialsFile {
    /// `http://host:port` of the API.
    pub endpoint: String,
    /// The server's region.
    pub region: String,
    /// The root key.
    pub access_key_id: String,
    /// Its secret.
    pub access_key_secret: String,
    /// Absolute path of the NBD socket of the server's region.
    pub nbd_socket: PathBuf,
    /// Those of its further regions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub nbd_sockets: BTreeMap<String, PathBuf>,
}

impl CredentialsFile {
    /// The file's place in a data directory.
    pub fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("credentials.toml")
    }

    /// Reads it; `None` when there is none.
    pub fn load(data_dir: &Path) -> Result<Option<Self>> {
        let path = Self::path(data_dir);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        // toml's own message quotes the line, which may be the secret: name the place only.
        let parsed = toml::from_str(&text)
            .map_err(|e| anyhow::anyhow!("{} is damaged: {}", path.display(), e.message()))?;
        Ok(Some(parsed))
    }

    /// Where disks of a region are exported, if the server has it.
    fn socket_of(mut self, region: &str) -> Option<PathBuf> {
        match region == self.region {
            true => Some(self.nbd_socket),
            false => self.nbd_sockets.remove(region),
        }
    }

    /// Writes it whole or not at all, readable by its owner only.
    pub fn store(&self, data_dir: &Path) -> Result<()> {
        let path = Self::path(data_dir);
        let temporary = data_dir.join("credentials.toml.new");
        let write = || -> std::io::Result<()> {
            // One that a crash left behind may have another mode; a fresh one never has.
            match std::fs::remove_file(&temporary) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&temporary)?;
            let text = toml::to_string(self).map_err(std::io::Error::other)?;
            file.write_all(b"# Written by `tidemark up`; read by the other commands. Holds a secret.\n")?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)?;
            std::fs::File::open(data_dir)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }
}

/// What a command line may say about the connection.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConnectionArgs {
    /// The API's address, host:port or http://host:port
    #[arg(long, global = true, value_name = "HOST:PORT", help_heading = "Connection")]
    pub endpoint: Option<String>,
    /// The region asked for [default: the server's]
    #[arg(long, global = true, help_heading = "Connection")]
    pub region: Option<String>,
    /// The access key
    #[arg(long, global = true, value_name = "ID", help_heading = "Connection")]
    pub access_key_id: Option<String>,
    /// The access key's secret (better in the environment: other users can see command lines)
    #[arg(long, global = true, value_name = "SECRET", help_heading = "Connection")]
    pub access_key_secret: Option<String>,
    /// The token of temporary keys
    #[arg(long, global = true, value_name = "TOKEN", help_heading = "Connection")]
    pub sts_token: Option<String>,
    /// Data directory of a local `tidemark up`, whose credentials.toml is read [default: ./tidemark-data]
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "TIDEMARK_DATA_DIR",
        help_heading = "Connection"
    )]
    pub data_dir: Option<PathBuf>,
}

/// A resolved connection.
#[derive(Clone)]
pub struct Connection {
    /// Where.
    pub endpoint: Endpoint,
    /// The region sent with each request.
    pub region: String,
    /// Who.
    pub access_key_id: String,
    /// The key's secret.
    pub access_key_secret: String,
    /// The token of temporary keys.
    pub security_token: Option<String>,
    /// Where the region's disks are exported, when `credentials.toml` said so.
    pub nbd_socket: Option<PathBuf>,
}

impl ConnectionArgs {
    /// The data directory named, or the default one.
    pub fn data_dir(&self) -> PathBuf {
        self.data_dir
            .clone()
            .unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR))
    }

    /// Settles every value from flags, `env` and the file.
    pub fn resolve(&self, env: &dyn Fn(&str) -> Option<String>) -> Result<Connection> {
        let data_dir = self.data_dir();
        let file = CredentialsFile::load(&data_dir)?;
        let env = |names: &[&str]| names.iter().find_map(|n| env(n).filter(|v| !v.is_empty()));

        let endpoint = self
            .endpoint
            .clone()
            .or_else(|| env(&["TIDEMARK_ENDPOINT", "ALIBABA_CLOUD_ENDPOINT"]))
            .or_else(|| file.as_ref().map(|f| f.endpoint.clone()));
        let Some(endpoint) = endpoint else {
            bail!(
                "no server known: {} does not exist.\nStart one here with `tidemark up`, or say where it is with \
                 --data-dir, --endpoint or TIDEMARK_ENDPOINT.",
                CredentialsFile::path(&data_dir).display()
            );
        };
        let region = self
            .region
            .clone()
            .or_else(|| env(&["TIDEMARK_REGION", "ALIBABA_CLOUD_REGION_ID"]))
            .or_else(|| file.as_ref().map(|f| f.region.clone()))
            .unwrap_or_else(|| DEFAULT_REGION.into());
        let (key, secret) = self.key_pair(&env, file.as_ref(), &data_dir)?;
        // A token belongs to the pair it was issued with, so it is only taken beside one from the same place.
        let security_token = self.sts_token.clone().or_else(|| {
            let from_env = env(&["ALIBABA_CLOUD_ACCESS_KEY_ID"]).is_some_and(|k| k == key);
            from_env.then(|| env(&["ALIBABA_CLOUD_SECURITY_TOKEN"])).flatten()
        });
        Ok(Connection {
            endpoint: Endpoint::parse(&endpoint)?,
            nbd_socket: file.and_then(|file| file.socket_of(&region)),
            region,
            access_key_id: key,
            access_key_secret: secret,
            security_token,
        })
    }

    fn key_pair(
        &self,
        env: &dyn Fn(&[&str]) -> Option<String>,
        file: Option<&CredentialsFile>,
        data_dir: &Path,
    ) -> Result<(String, String)> {
        let sources = [
            (
                "--access-key-id",
                self.access_key_id.clone(),
                "--access-key-secret",
                self.access_key_secret.clone(),
            ),
            (
                "TIDEMARK_ACCESS_KEY_ID",
                env(&["TIDEMARK_ACCESS_KEY_ID"]),
                "TIDEMARK_ACCESS_KEY_SECRET",
                env(&["TIDEMARK_ACCESS_KEY_SECRET"]),
            ),
            (
                "ALIBABA_CLOUD_ACCESS_KEY_ID",
                env(&["ALIBABA_CLOUD_ACCESS_KEY_ID"]),
                "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
                env(&["ALIBABA_CLOUD_ACCESS_KEY_SECRET"]),
            ),
        ];
        for (key_name, key, secret_name, secret) in sources {
            match (key, secret) {
                (Some(key), Some(secret)) => return Ok((key, secret)),
                (Some(_), None) => bail!("{key_name} is given without {secret_name}"),
                (None, Some(_)) => bail!("{secret_name} is given without {key_name}"),
                (None, None) => {}
            }
        }
        match file {
            Some(file) => Ok((file.access_key_id.clone(), file.access_key_secret.clone())),
            None => bail!(
                "no access key: give TIDEMARK_ACCESS_KEY_ID and TIDEMARK_ACCESS_KEY_SECRET, or a --data-dir whose \
                 credentials.toml has one ({} does not exist)",
                CredentialsFile::path(data_dir).display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;
    use std::os::unix::fs::PermissionsExt;

    fn file() -> CredentialsFile {
        CredentialsFile {
            endpoint: "http://127.0.0.1:7480".into(),
            region: "cn-hangzhou".into(),
            access_key_id: "filekey".into(),
            access_key_secret: "filesecret".into(),
            nbd_socket: "/data/run/nbd.sock".into(),
            nbd_sockets: BTreeMap::from([("far".to_string(), "/data/regions/far/run/nbd.sock".into())]),
        }
    }

    fn resolve(args: &ConnectionArgs, env: &[(&str, &str)]) -> Result<Connection> {
        let env: HashMap<String, String> = env.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        args.resolve(&|name| env.get(name).cloned())
    }

    #[test]
    fn flags_beat_environment_beats_file() {
        let dir = tempfile::tempdir().unwrap();
        file().store(dir.path()).unwrap();
        let mut args = ConnectionArgs {
            data_dir: Some(dir.path().into()),
            ..Default::default()
        };

        let c = resolve(&args, &[]).unwrap();
        assert_eq!(
            (c.access_key_id.as_str(), c.endpoint.url().as_str()),
            ("filekey", "http://127.0.0.1:7480")
        );
        assert_eq!(c.nbd_socket.as_deref(), Some(Path::new("/data/run/nbd.sock")));
        for (region, socket) in [
            ("far", Some(Path::new("/data/regions/far/run/nbd.sock"))),
            ("elsewhere", None),
        ] {
            let there = ConnectionArgs {
                region: Some(region.into()),
                ..args.clone()
            };
            assert_eq!(resolve(&there, &[]).unwrap().nbd_socket.as_deref(), socket);
        }

        let env = [
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "envkey"),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "s"),
            ("ALIBABA_CLOUD_SECURITY_TOKEN", "token"),
            ("TIDEMARK_ENDPOINT", "h:1"),
            ("ALIBABA_CLOUD_REGION_ID", "cn-beijing"),
        ];
        let c = resolve(&args, &env).unwrap();
        assert_eq!(
            (c.access_key_id.as_str(), c.endpoint.url().as_str()),
            ("envkey", "http://h:1")
        );
        assert_eq!(
            (c.region.as_str(), c.security_token.as_deref()),
            ("cn-beijing", Some("token"))
        );

        args.access_key_id = Some("flagkey".into());
        args.access_key_secret = Some("s".into());
        let c = resolve(&args, &env).unwrap();
        assert_eq!(
            (c.access_key_id.as_str(), c.security_token),
            ("flagkey", None),
            "a token of another key stays out"
        );
    }

    #[test]
    fn half_a_key_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        file().store(dir.path()).unwrap();
        let args = ConnectionArgs {
            data_dir: Some(dir.path().into()),
            ..Default::default()
        };
        let error = resolve(&args, &[("TIDEMARK_ACCESS_KEY_ID", "k")])
            .err()
            .expect("refused")
            .to_string();
        assert!(error.contains("TIDEMARK_ACCESS_KEY_SECRET"), "{error}");
    }

    #[test]
    fn nothing_known_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let args = ConnectionArgs {
            data_dir: Some(dir.path().into()),
            ..Default::default()
        };
        let error = resolve(&args, &[]).err().expect("refused").to_string();
        assert!(
            error.contains("tidemark up") && error.contains("--endpoint"),
            "{error}"
        );
    }

    #[test]
    fn the_file_is_private_and_damage_does_not_leak_it() {
        let dir = tempfile::tempdir().unwrap();
        // What a crash left behind must not lend its mode to the secret.
        std::fs::write(dir.path().join("credentials.toml.new"), "old").unwrap();
        file().store(dir.path()).unwrap();
        let path = CredentialsFile::path(dir.path());
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert!(CredentialsFile::load(dir.path()).unwrap() == Some(file()));

        std::fs::write(&path, "access_key_secret = \"hush-hush").unwrap();
        let error = CredentialsFile::load(dir.path())
            .err()
            .expect("damaged")
            .to_string();
        assert!(
            error.contains("credentials.toml") && !error.contains("hush"),
            "{error}"
        );
    }
}
