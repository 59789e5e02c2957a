//! The metadata service: what an instance is told about itself over plain HTTP (metadata-service.md).
//!
//! Who asks is known by where the connection came in, and by nothing in the request: at the TCP listener by its source
//! address, which an instance has registered as its private one; at a unix socket ([`MetadataServer::attach`]) by the
//! socket, which only that instance's machine is connected to. What must stay true: no request is answered with
//! another instance's data; clients wait a second at most, so an answer takes one read of the catalogue and no more; a
//! change by the API is seen by the very next request.
//!
//! `answer` has the rules of one request, `tree` what is at which path, `identity` the signed document, `limit` how often
//! one may ask, `doors` the listeners. Not here: what is told (`control::metadata`), tokens and keys of roles (there, too).

mod answer;
mod doors;
mod identity;
mod limit;
mod tree;

use crate::listen::{Bounds, serve_at};
use axum::Router;
use doors::{GuestDoor, NetworkDoor};
use identity::Signer;
use limit::Limit;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidemark_control::Control;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What the administrator knows of the site and no catalogue does. Empty: instances are told nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// Resolvers of names.
    pub nameservers: Vec<String>,
    /// Where to get the time.
    pub ntp_servers: Vec<String>,
    /// Mirrors of software packages: URLs.
    pub source_addresses: Vec<String>,
}

/// How to serve metadata.
#[derive(Clone, Debug, Default)]
pub struct MetadataConfig {
    /// Where the key of the identity documents is kept.
    pub data_dir: PathBuf,
    /// What instances are told of the site.
    pub site: Site,
    /// Whether a connection from 127.0.0.1 or ::1 itself, or from an address of this machine's outside of loopback, is nobody's at
    /// the TCP listener. Needed as soon as there are
    /// guests behind QEMU's user-mode network: they reach this machine's own listeners, and seem to be it.
    pub refuse_this_machine: bool,
}

/// The service. Clones share it.
#[derive(Clone)]
pub struct MetadataServer {
    inner: Arc<Inner>,
}

struct Inner {
    control: Control,
    site: Site,
    signer: Signer,
    limit: Limit,
    refuse_this_machine: AtomicBool,
    /// By instance.
    guests: Mutex<HashMap<String, Guest>>,
}

/// An instance that has a socket of its own.
struct Guest {
    path: PathBuf,
    /// Its end, or `true`, ends serving.
    stop: watch::Sender<bool>,
}

/// Of one guest's socket: nobody else's connections can use them up.
const GUEST_CONNECTIONS: usize = 32;
/// Far above any request of a client; tokens and paths are short.
const HEAD_BYTES: usize = 16 * 1024;
/// Clients open a connection for each request, or keep it for a few.
const HEAD_TIME: Duration = Duration::from_secs(10);

fn bounds(connections: usize) -> Bounds {
    Bounds {
        connections,
        head_bytes: HEAD_BYTES,
        head_time: HEAD_TIME,
        ..Bounds::default()
    }
}

impl MetadataServer {
    /// Prepares it: the key of the identity documents is read, or made at the first start. Nothing listens yet.
    pub fn open(control: Control, config: MetadataConfig) -> io::Result<Self> {
        let inner = Inner {
            control,
            site: config.site,
            signer: Signer::open(&config.data_dir)?,
            limit: Limit::default(),
            refuse_this_machine: AtomicBool::new(config.refuse_this_machine),
            guests: Mutex::default(),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// As [`MetadataConfig::refuse_this_machine`], from now on.
    pub fn set_refuse_this_machine(&self, refuse: bool) {
        self.inner.refuse_this_machine.store(refuse, Ordering::Relaxed);
    }

    /// Answers instances by their source address until `until` is over, and then the requests that have begun.
    pub async fn serve(&self, listener: TcpListener, until: impl Future<Output = ()>) {
        let door = NetworkDoor::new(listener);
        serve_at(door, self.router(), bounds(Bounds::default().connections), until).await;
    }

    /// Answers whoever connects to the socket as that instance, whatever state it is in: that its machine runs is known to
    /// whoever attaches it. A socket that is left from before is replaced, as is the instance's own of an earlier
    /// attach; any other file is not (`AlreadyExists`). To be called within tokio's runtime.
    pub fn attach(&self, instance_id: &str, path: &Path) -> io::Result<()> {
        let mut guests = self.guests();
        // The new one first: where it cannot be made, the one before stays. At the same place it has taken that one's.
        let door = GuestDoor::open(instance_id, path)?;
        if let Some(before) = guests.remove(instance_id) {
            before.stop.send_replace(true);
            if before.path != path {
                end(&before);
            }
        }
        let (stop, mut stopped) = watch::channel(false);
        let router = self.router().layer(door.who());
        tokio::spawn(async move {
            let until = async move {
                // The sender's end is an end, too.
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            serve_at(door, router, bounds(GUEST_CONNECTIONS), until).await;
        });
        let guest = Guest {
            path: path.to_owned(),
            stop,
        };
        guests.insert(instance_id.to_owned(), guest);
        Ok(())
    }

    /// Takes the instance's socket away; requests that have begun are answered. Without one, does nothing.
    pub fn detach(&self, instance_id: &str) {
        if let Some(guest) = self.guests().remove(instance_id) {
            end(&guest);
        }
    }

    /// Takes all sockets away.
    pub fn detach_all(&self) {
        for (_, guest) in self.guests().drain() {
            end(&guest);
        }
    }

    fn guests(&self) -> MutexGuard<'_, HashMap<String, Guest>> {
        self.inner.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn router(&self) -> Router {
        Router::new()
            .fallback(answer::answer)
            .with_state(Arc::clone(&self.inner))
    }
}

impl std::fmt::Debug for MetadataServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetadataServer")
            .field("site", &self.inner.site)
            .finish_non_exhaustive()
    }
}

fn end(guest: &Guest) {
    guest.stop.send_replace(true);
    match std::fs::remove_file(&guest.path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(path = %guest.path.display(), %error, "a metadata socket cannot be removed");
        }
        _ => {}
    }
}
