//! A file that is written: it appears under its name when all of it is durable, and takes nobody's place unasked.

use crate::client::random_hex;
use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// A file under a temporary name beside its own; removed unless [`Target::finish`] gave it that.
pub struct Target {
    file: File,
    temporary: PathBuf,
    path: PathBuf,
    force: bool,
    finished: bool,
}

impl Target {
    /// Begins it. With `force` a regular file of that name is replaced in the end.
    pub fn begin(path: &Path, force: bool) -> Result<Self> {
        let shown = path.display();
        let name = path
            .file_name()
            .with_context(|| format!("{shown} is no name of a file"))?;
        let dir = match path.parent() {
            Some(dir) if dir != Path::new("") => dir,
            _ => Path::new("."),
        };
        let dir = fs::canonicalize(dir).with_context(|| format!("cannot write into {}", dir.display()))?;
        let path = dir.join(name);
        match fs::symlink_metadata(&path) {
            Ok(meta) if !meta.is_file() => bail!("{shown} is there, and no regular file"),
            Ok(_) if !force => bail!("{shown} is there already; --force replaces it"),
            _ => {}
        }
        let temporary = dir.join(format!(".tidemark-{}.part", random_hex::<8>()?));
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(&temporary)
            .with_context(|| format!("cannot write into {}", dir.display()))?;
        Ok(Self {
            file,
            temporary,
            path,
            force,
            finished: false,
        })
    }

    /// The file, for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is until it is finished: an absolute path.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// Makes it durable and gives it its name.
    pub fn finish(mut self) -> Result<()> {
        let shown = self.path.display().to_string();
        self.file
            .sync_all()
            .with_context(|| format!("cannot sync {shown}"))?;
        let rename = |flags| renameat_with(CWD, &self.temporary, CWD, &self.path, flags);
        let flags = match self.force {
            true => RenameFlags::empty(),
            false => RenameFlags::NOREPLACE,
        };
        let renamed = match rename(flags) {
            // A file system without that flag: it was looked for at the beginning, and now again.
            Err(Errno::INVAL) if !self.force && fs::symlink_metadata(&self.path).is_err() => {
                rename(RenameFlags::empty())
            }
            outcome => outcome,
        };
        renamed.with_context(|| format!("cannot give {shown} its name"))?;
        self.finished = true;
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        File::open(dir)?
            .sync_all()
            .with_context(|| format!("cannot sync {}", dir.display()))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if !self.finished {
            // Whoever is to be told of a failure is being told of a greater one.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn it_appears_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        let target = Target::begin(&path, false).unwrap();
        target.file().write_all(b"half").unwrap();
        assert!(!path.exists());
        drop(target);
        assert_eq!(names(dir.path()), [""; 0]);
        let target = Target::begin(&path, false).unwrap();
        target.file().write_all(b"all").unwrap();
        target.finish().unwrap();
        assert_eq!(names(dir.path()), ["disk.raw"]);
        assert_eq!(fs::read(&path).unwrap(), b"all");
    }

    #[test]
    fn what_is_there_stays_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.raw");
        let late = Target::begin(&path, false).unwrap();
        fs::write(&path, "old").unwrap();
        assert!(late.finish().is_err(), "it came meanwhile");
        assert!(Target::begin(&path, false).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(dir.path()), ["disk.raw"]);
        Target::begin(&path, true).unwrap().finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        assert!(Target::begin(dir.path(), true).is_err(), "a directory");
        assert!(Target::begin(&dir.path().join("gone/disk.raw"), true).is_err());
    }
}
