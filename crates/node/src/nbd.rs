//! The NBD socket: accepts clients, negotiates, and hands each to the thread that owns what it asked for.

use crate::disk::DiskHost;
use crate::node::Shared;
use crate::remote::Remote;
use crate::{export, snapshots};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use tidemark_nbd::proto::{ExportEntry, ExportInfo, LookUpError};
use tidemark_nbd::server::{Directory, NegotiateError, NegotiateLimits, SendFuture, negotiate};
use tidemark_units::{DiskId, SnapshotId};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;

/// The exports of a node: disks that are exported, and every snapshot.
pub struct Exports(pub Weak<Shared>);

impl Exports {
    fn node(&self) -> Result<Arc<Shared>, LookUpError> {
        self.0.upgrade().ok_or(LookUpError::ShuttingDown)
    }
}

impl Directory for Exports {
    fn list(&self) -> SendFuture<'_, Result<Vec<ExportEntry>, LookUpError>> {
        Box::pin(async move {
            let node = self.node()?;
            let mut infos: Vec<ExportInfo> = node
                .exported()
                .into_iter()
                .map(|(disk, size)| export::describe(disk.as_str(), size))
                .collect();
            let found = node
                .vault
                .call(|host| async move { host.vault.snapshots().await })
                .await;
            let records = found
                .map_err(|_| LookUpError::ShuttingDown)?
                .map_err(|e| LookUpError::Refused(e.to_string()))?;
            infos.extend(
                records
                    .iter()
                    .map(|r| snapshots::describe(r.snapshot.as_str(), r.size_bytes)),
            );
            Ok(infos
                .into_iter()
                .map(|info| ExportEntry {
                    name: info.name,
                    description: info.description,
                })
                .collect())
        })
    }

    fn look_up<'a>(&'a self, name: &'a str) -> SendFuture<'a, Result<ExportInfo, LookUpError>> {
        Box::pin(async move {
            let node = self.node()?;
            if let Ok(disk) = DiskId::new(name)
                && let Some((exported, size)) = node.export_state(&disk)
            {
                return match exported {
                    true => Ok(export::describe(name, size)),
                    false => Err(LookUpError::Refused(format!(
                        "disk {name} is not exported: attach it to a running instance that is not run here"
                    ))),
                };
            }
            let Ok(snapshot) = SnapshotId::new(name) else {
                return Err(LookUpError::Unknown);
            };
            let record = node
                .vault
                .call(move |host| async move { host.record(&snapshot).await })
                .await;
            match record.map_err(|_| LookUpError::ShuttingDown)? {
                Ok(Some(record)) => Ok(snapshots::describe(name, record.size_bytes)),
                Ok(None) => Err(LookUpError::Unknown),
                Err(e) => Err(LookUpError::Refused(e.message)),
            }
        })
    }
}

/// Opens a unix socket; a left-over one of a process that was killed is replaced.
pub fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    UnixListener::bind(path)
}

/// One disk's own socket, for the guest that has the disk and for nobody else: what is let in here is not asked who else is.
/// Dropped, it is closed and its name removed; connections stay.
pub struct GuestSocket {
    path: PathBuf,
    accepting: AbortHandle,
    /// Whoever is still in the handshake when this is dropped is not let in any more.
    open: Arc<AtomicBool>,
}

impl GuestSocket {
    /// Opens the socket of a disk below `dir`.
    pub fn open(dir: &Path, disk: &DiskId, node: Weak<Shared>, remote: Remote<DiskHost>) -> io::Result<Self> {
        let path = dir.join(format!("{disk}.nbd"));
        let listener = listen(&path)?;
        let open = Arc::new(AtomicBool::new(true));
        let only = OnlyDisk {
            node,
            disk: disk.clone(),
            open: Arc::clone(&open),
        };
        let accepting = tokio::spawn(accept_one(listener, only, remote)).abort_handle();
        Ok(Self {
            path,
            accepting,
            open,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for GuestSocket {
    fn drop(&mut self) {
        self.open.store(false, Ordering::Release);
        self.accepting.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The one export of such a socket.
#[derive(Clone)]
struct OnlyDisk {
    node: Weak<Shared>,
    disk: DiskId,
    open: Arc<AtomicBool>,
}

impl OnlyDisk {
    fn info(&self) -> Result<ExportInfo, LookUpError> {
        if !self.open.load(Ordering::Acquire) {
            return Err(LookUpError::Unknown);
        }
        let node = self.node.upgrade().ok_or(LookUpError::ShuttingDown)?;
        let (_, size) = node.export_state(&self.disk).ok_or(LookUpError::Unknown)?;
        Ok(export::describe(self.disk.as_str(), size))
    }
}

impl Directory for OnlyDisk {
    fn list(&self) -> SendFuture<'_, Result<Vec<ExportEntry>, LookUpError>> {
        Box::pin(async {
            let ExportInfo {
                name, description, ..
            } = self.info()?;
            Ok(vec![ExportEntry { name, description }])
        })
    }

    fn look_up<'a>(&'a self, name: &'a str) -> SendFuture<'a, Result<ExportInfo, LookUpError>> {
        Box::pin(async move {
            match name == self.disk.as_str() {
                true => self.info(),
                false => Err(LookUpError::Unknown),
            }
        })
    }
}

async fn accept_one(listener: UnixListener, only: OnlyDisk, remote: Remote<DiskHost>) {
    loop {
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let (only, remote) = (only.clone(), remote.clone());
                tokio::spawn(async move {
                    let negotiated = negotiate(&mut stream, &only, &NegotiateLimits::default()).await;
                    match (negotiated, stream.into_std()) {
                        (Ok(negotiated), Ok(socket)) => {
                            let open = Arc::clone(&only.open);
                            // Asked where clients are counted: closed before that, it lets nobody in; closed later, the client is one
                            // of those that are sent away.
                            remote.cast(move |host| async move {
                                if open.load(Ordering::Acquire) {
                                    host.serve(OwnedFd::from(socket), negotiated).await;
                                }
                            });
                        }
                        (Err(e), _) => {
                            tracing::debug!(disk = %only.disk, error = %e, "a guest's NBD client left during the handshake")
                        }
                        (_, Err(e)) => {
                            tracing::warn!(disk = %only.disk, error = %e, "handing a guest's NBD client over")
                        }
                    }
                });
            }
            Err(e) => {
                tracing::warn!(disk = %only.disk, error = %e, "accepting a guest's NBD client");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Accepts clients until the node is gone.
pub async fn accept(listener: UnixListener, node: Weak<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let node = Weak::clone(&node);
                tokio::spawn(async move {
                    if let Err(e) = welcome(stream, node).await {
                        tracing::debug!(error = %e, "NBD client left during the handshake");
                    }
                });
            }
            Err(e) => {
                // Too many open files, say: what is connected goes on, new ones wait.
                tracing::warn!(error = %e, "accepting NBD clients");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

async fn welcome(mut stream: UnixStream, node: Weak<Shared>) -> Result<(), NegotiateError> {
    let directory = Exports(Weak::clone(&node));
    let negotiated = negotiate(&mut stream, &directory, &NegotiateLimits::default()).await?;
    let Some(node) = node.upgrade() else { return Ok(()) };
    let socket = match stream.into_std() {
        Ok(socket) => OwnedFd::from(socket),
        Err(e) => {
            tracing::warn!(error = %e, "handing an NBD client over");
            return Ok(());
        }
    };
    let name = negotiated.export_name.clone();
    if let Some(remote) = DiskId::new(&name).ok().and_then(|disk| node.remote_of(&disk)) {
        remote.cast(move |host| host.serve(socket, negotiated));
    } else if let Ok(snapshot) = SnapshotId::new(&name) {
        node.vault
            .cast(move |host| host.serve_snapshot(snapshot, socket, negotiated));
    }
    Ok(())
}
