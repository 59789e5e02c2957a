//! The data directory and its lock: one service per directory, whatever else is asked for.
//!
//! The lock is the kernel's, on an open file: it ends with the process, however that ends.

use anyhow::{Context, Result, bail};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// Holds a data directory until dropped.
#[derive(Debug)]
pub struct DataDir {
    _lock: File,
}

impl DataDir {
    /// Makes the directory when it is missing, readable by its owner only, and takes its lock.
    pub fn take(path: &Path) -> Result<Self> {
        let make = |path: &Path| {
            let mut builder = std::fs::DirBuilder::new();
            builder.recursive(true).mode(0o700).create(path)
        };
        make(path)
            .and_then(|()| make(&path.join("run")))
            .with_context(|| format!("cannot make the data directory {}", path.display()))?;
        let lock_path = path.join(LOCK_FILE);
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .with_context(|| format!("cannot open {}", lock_path.display()))?;
        if let Some(owner) = lock_or_owner(&lock, &lock_path)? {
            bail!(
                "{} is in use by {owner}: one `tidemark up` per data directory; choose another with --data-dir",
                path.display()
            );
        }
        // For people only; the lock is what counts.
        let note = |lock: &mut File| -> std::io::Result<()> {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        note(&mut lock).with_context(|| format!("cannot write {}", lock_path.display()))?;
        Ok(Self { _lock: lock })
    }
}

/// Holds a data directory that is only looked at: makes nothing, and keeps a service from starting meanwhile.
#[derive(Debug)]
pub struct QuietDataDir {
    _lock: Option<File>,
}

impl QuietDataDir {
    /// Takes the lock of a data directory that is there and that no service uses.
    pub fn take(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            bail!("{} is no directory; name one with --data-dir", path.display());
        }
        let lock_path = path.join(LOCK_FILE);
        let lock = match File::open(&lock_path) {
            Ok(lock) => lock,
            // A copy, or a directory in which no service ever started.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { _lock: None }),
            Err(error) => return Err(error).with_context(|| format!("cannot open {}", lock_path.display())),
        };
        if let Some(owner) = lock_or_owner(&lock, &lock_path)? {
            bail!("{} is in use by {owner}: stop the service first", path.display());
        }
        Ok(Self { _lock: Some(lock) })
    }
}

const LOCK_FILE: &str = "service.lock";

/// Takes the lock, or says who has it.
fn lock_or_owner(lock: &File, lock_path: &Path) -> Result<Option<String>> {
    match lock.try_lock() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => {
            let mut owner = String::new();
            let _ = lock.take(20).read_to_string(&mut owner);
            Ok(Some(match owner.trim() {
                "" => "another process".to_string(),
                pid => format!("process {pid}"),
            }))
        }
        Err(TryLockError::Error(cause)) => {
            Err(cause).with_context(|| format!("cannot lock {}", lock_path.display()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_has_one_owner_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let held = DataDir::take(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o700
        );
        let error = DataDir::take(&path).unwrap_err().to_string();
        assert!(
            error.contains(&std::process::id().to_string()) && error.contains("--data-dir"),
            "{error}"
        );
        let error = QuietDataDir::take(&path).unwrap_err().to_string();
        assert!(error.contains("stop the service"), "{error}");
        drop(held);
        let looking = QuietDataDir::take(&path).unwrap();
        DataDir::take(&path).unwrap_err();
        drop(looking);
        DataDir::take(&path).unwrap();
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = format!("{:#}", DataDir::take(file.path()).unwrap_err());
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}
