//! A guest's directory: its sockets, its logs, what it was started with.
//!
//! `guest.json` is there from before the process starts until after it has ended, so whatever runs for an id has one.
//! Logs stay when a guest has ended; the directory goes when it is forgotten.

use crate::command_line::{self, Transport};
use crate::config::GuestSpec;
use crate::error::ComputeError;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub struct GuestDir(PathBuf);

/// What a guest was started with, as far as it is needed to go on with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub spec: GuestSpec,
    /// The word of its command line by which its process is known.
    pub word: String,
    /// How its disks are connected, and have to be: the accelerator decides, and may be another one for the next guest.
    pub transport: Transport,
}

impl GuestDir {
    pub fn new(all: &Path, id: &str) -> Self {
        Self(all.join(id))
    }

    /// The guests that have a directory with something running in it, or with remains of it.
    pub fn begun(all: &Path) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(all) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            if let Some(id) = name.to_str()
                && Self::new(all, id).is_begun()?
            {
                found.push(id.to_owned());
            }
        }
        found.sort();
        Ok(found)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn qmp(&self) -> PathBuf {
        self.0.join("qmp.sock")
    }

    pub fn agent(&self) -> PathBuf {
        self.0.join("agent.sock")
    }

    pub fn console(&self) -> PathBuf {
        self.0.join("console.log")
    }

    /// What QEMU itself says.
    pub fn output(&self) -> PathBuf {
        self.0.join("qemu.log")
    }

    /// There while the guest's file systems are frozen by us, or may be.
    pub fn frozen(&self) -> PathBuf {
        self.0.join("frozen")
    }

    fn spec(&self) -> PathBuf {
        self.0.join("guest.json")
    }

    /// The word of the command line by which the guest's process is known.
    pub fn qmp_word(&self) -> Result<String, ComputeError> {
        command_line::listening("qmp", &self.qmp())
    }

    /// Makes the directory ready for a new process: nothing of an old one is left but its logs.
    pub fn begin(&self, begun: &Begun) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        fs::set_permissions(&self.0, Permissions::from_mode(0o700))?;
        self.end()?;
        crate::logs::begin(&self.console())?;
        crate::logs::begin(&self.output())?;
        let half = self.0.join("guest.json.new");
        fs::write(&half, serde_json::to_vec_pretty(begun)?)?;
        fs::rename(half, self.spec())
    }

    /// Whether something was begun here and not seen to end.
    ///
    /// # Errors
    /// It cannot be looked at, which says nothing.
    pub fn is_begun(&self) -> io::Result<bool> {
        match self.spec().try_exists() {
            // A file that lies where guests' directories do.
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(false),
            other => other,
        }
    }

    /// What it was started with; none if it was not, or if that is written in a way that is not known here.
    ///
    /// # Errors
    /// The file cannot be read: nothing is known of the guest then.
    pub fn begun_with(&self) -> io::Result<Option<Begun>> {
        let text = match fs::read(self.spec()) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let read = serde_json::from_slice(&text);
        Ok(read
            .inspect_err(|error| tracing::warn!(path = %self.spec().display(), %error, "not understood"))
            .ok())
    }

    /// Sockets are for us alone. The directory keeps others out until they are.
    pub fn close_sockets_to_others(&self) -> io::Result<()> {
        for socket in [self.qmp(), self.agent()] {
            fs::set_permissions(socket, Permissions::from_mode(0o600))?;
        }
        Ok(())
    }

    /// Removes what a process has left, and last what says that there may be one.
    pub fn end(&self) -> io::Result<()> {
        for path in [self.qmp(), self.agent(), self.frozen(), self.spec()] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes all of it.
    pub fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}
