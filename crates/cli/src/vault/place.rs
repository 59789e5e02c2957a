//! Where a vault is: a directory, or a bucket by URL.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use tidemark_env::{Bucket, DirBucket, Env};
use tidemark_s3::{Credentials, Location, S3Bucket, is_bucket_url};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultPlace {
    /// Absolute.
    Directory(PathBuf),
    /// In an S3-compatible store.
    Bucket(Location),
}

impl VaultPlace {
    /// Reads what a flag or a configuration file says. What a URL leaves out comes from the environment.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_with(text, &environment)
    }

    /// As [`VaultPlace::parse`], with an environment of the caller's.
    pub fn parse_with(text: &str, variables: Variables<'_>) -> Result<Self> {
        if is_bucket_url(text) {
            let location = Location::parse(text, variables).context("the vault's URL is not usable")?;
            return Ok(Self::Bucket(location));
        }
        let path = match text.split_once("://") {
            None => text,
            Some(("file", path)) => path,
            Some((scheme, _)) => {
                bail!("a vault is in a directory, or at s3://... or oss://..., not {scheme}://")
            }
        };
        if path.is_empty() {
            bail!("a vault needs a directory, or a URL such as s3://bucket/prefix");
        }
        let path = std::path::absolute(path).with_context(|| format!("{path} cannot be resolved"))?;
        Ok(Self::Directory(path))
    }

    /// A handle of it.
    pub fn open(&self, env: &Env) -> Result<Rc<dyn Bucket>> {
        self.open_with(env, &environment)
    }

    /// As [`VaultPlace::open`], with an environment of the caller's.
    pub fn open_with(&self, env: &Env, variables: Variables<'_>) -> Result<Rc<dyn Bucket>> {
        Ok(match self {
            Self::Directory(path) => Rc::new(DirBucket::new(env.clone(), path.clone())),
            Self::Bucket(location) => Rc::new(open_bucket_with(location, variables)?),
        })
    }
}

impl fmt::Display for VaultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Bucket(location) => write!(f, "{location}"),
        }
    }
}

/// A bucket with the key in the environment.
pub fn open_bucket(location: &Location) -> Result<S3Bucket> {
    open_bucket_with(location, &environment)
}

/// As [`open_bucket`], with an environment of the caller's.
pub fn open_bucket_with(location: &Location, variables: Variables<'_>) -> Result<S3Bucket> {
    let credentials = Credentials::from_env(location.scheme, variables)?;
    Ok(S3Bucket::open(location.clone(), &credentials)?)
}

/// What an environment says: the value of a variable.
pub type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// This process's environment.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_directory_or_a_bucket() {
        let here = VaultPlace::parse("some/where").unwrap();
        assert!(
            matches!(&here, VaultPlace::Directory(path) if path.is_absolute() && path.ends_with("some/where"))
        );
        let file = VaultPlace::parse("file:///srv/vault").unwrap();
        assert_eq!(file, VaultPlace::Directory("/srv/vault".into()));
        let bucket = VaultPlace::parse("s3://bucket/p?endpoint=http://127.0.0.1:1").unwrap();
        assert_eq!(bucket.to_string(), "s3://bucket/p at http://127.0.0.1:1");
    }

    #[test]
    fn other_places_are_refused_by_name() {
        let refused = |text| format!("{:#}", VaultPlace::parse(text).unwrap_err());
        assert!(refused("gs://bucket").contains("gs://"));
        assert!(refused("").contains("s3://"));
        assert!(refused("s3://bucket?endpoint=nonsense").contains("endpoint"));
    }
}
