//! Where a vault is.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use tidemark_env::{Bucket, DirBucket, Env};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultPlace {
    /// Absolute.
    Directory(PathBuf),
}

impl VaultPlace {
    /// Reads what the command line says.
    pub fn parse(text: &str) -> Result<Self> {
        let path = match text.split_once("://") {
            None => text,
            Some(("file", path)) => path,
            Some((scheme, _)) => bail!("a vault is in a directory, not at {scheme}://"),
        };
        if path.is_empty() {
            bail!("a vault needs a directory");
        }
        let path = std::path::absolute(path).with_context(|| format!("{path} cannot be resolved"))?;
        Ok(Self::Directory(path))
    }

    /// A handle of it.
    pub fn open(&self, env: &Env) -> Result<Rc<dyn Bucket>> {
        let Self::Directory(path) = self;
        Ok(Rc::new(DirBucket::new(env.clone(), path.clone())))
    }
}

impl fmt::Display for VaultPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Directory(path) = self;
        write!(f, "{}", path.display())
    }
}
