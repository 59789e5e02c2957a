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
        let lock_path = path.join("service.lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .with_context(|| format!("cannot open {}", lock_path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                let _ = (&lock).take(20).read_to_string(&mut owner);
                let owner = match owner.trim() {
                    "" => "another process".to_string(),
                    pid => format!("process {pid}"),
                };
                bail!(
                    "{} is in use by {owner}: one `tidemark up` per data directory; choose another with --data-dir",
                    path.display()
                );
            }
            Err(TryLockError::Error(cause)) => {
                return Err(cause).with_context(|| format!("cannot lock {}", lock_path.display()));
            }
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
        drop(held);
        DataDir::take(&path).unwrap();
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = format!("{:#}", DataDir::take(file.path()).unwrap_err());
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
    }
}
