//! The sockets of disks for virtual machines: one for each exported disk.
//!
//! A front end says nothing about which disk it wants, so each disk has a socket of its own, which exists while the disk is exported.
//! One front end at a time: the next is let in when the one before has left and all that it had under way is answered, which is what a
//! front end that connects again needs.

use crate::disk::DiskHost;
use crate::nbd;
use crate::remote::Remote;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tidemark_units::DiskId;
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;

/// A disk's open socket. Dropped, it is closed and its name removed; a connection stays.
pub struct VhostSocket {
    path: PathBuf,
    accepting: AbortHandle,
}

impl VhostSocket {
    /// Opens the socket of a disk below `dir`.
    pub fn open(dir: &Path, disk: &DiskId, remote: Remote<DiskHost>) -> io::Result<Self> {
        let path = dir.join(format!("{disk}.sock"));
        let listener = nbd::listen(&path)?;
        let accepting = tokio::spawn(accept(listener, remote)).abort_handle();
        Ok(Self { path, accepting })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for VhostSocket {
    fn drop(&mut self) {
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Lets front ends in, one after the other, until the disk's thread has ended.
async fn accept(listener: UnixListener, remote: Remote<DiskHost>) {
    loop {
        let socket = match listener.accept().await.and_then(|(stream, _)| into_fd(stream)) {
            Ok(socket) => socket,
            Err(e) => {
                tracing::warn!(error = %e, "accepting a vhost-user front end");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let served = remote.call(move |host| async move { host.serve_vhost(socket).await });
        if served.await.is_err() {
            return;
        }
    }
}

fn into_fd(stream: UnixStream) -> io::Result<OwnedFd> {
    Ok(stream.into_std()?.into())
}
