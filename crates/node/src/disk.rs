//! A volume's thread: the volume, its NBD connections, its hydration.
//!
//! Invariant: while `stop` is pulled (the disk is not exported) no connection is served; withdrawing waits
//! until those that were have ended.

use crate::export::VolumeExport;
use crate::place::Place;
use crate::remote::Remote;
use crate::source::VaultSource;
use crate::types::{Event, NodeError};
use crate::vault::VaultHost;
use futures_util::{StreamExt, stream};
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tidemark_nbd::proto::Negotiated;
use tidemark_nbd::server::{ServeLimits, Stop, serve};
use tidemark_units::{ChunkIndex, DiskId};
use tidemark_volume::{ChunkSource, Volume, VolumeConfig};
use tokio::sync::{Notify, broadcast};

/// Chunks fetched at once in the background; the vault reads ahead by itself.
const HYDRATE_WIDTH: usize = 8;
/// Fetched chunks after which hydration is made durable.
const HYDRATE_STEP: usize = 512;

/// The state of a volume's thread.
pub struct DiskHost {
    /// The thread's world.
    pub place: Place,
    /// The disk.
    pub disk: DiskId,
    /// Its volume.
    pub volume: Volume,
    vault: Remote<VaultHost>,
    events: broadcast::Sender<Event>,
    /// Pulled while the disk is not exported.
    stop: RefCell<Option<Stop>>,
    clients: Cell<usize>,
    client_gone: Notify,
    hydrating: Cell<bool>,
}

impl DiskHost {
    /// Opens the volume in `dir` and starts filling what is absent.
    pub async fn open(
        place: Place,
        disk: DiskId,
        dir: PathBuf,
        config: VolumeConfig,
        vault: Remote<VaultHost>,
        events: broadcast::Sender<Event>,
    ) -> Result<Rc<Self>, NodeError> {
        let root = Volume::source_of(&place.env, &dir).await?;
        let source =
            root.map(|root| -> Rc<dyn ChunkSource> { Rc::new(VaultSource::new(vault.clone(), &root)) });
        let volume = Volume::open(&place.env, &dir, source, &config).await?;
        let host = Rc::new(Self {
            place,
            disk,
            volume,
            vault,
            events,
            stop: RefCell::new(None),
            clients: Cell::new(0),
            client_gone: Notify::new(),
            hydrating: Cell::new(false),
        });
        host.start_hydration();
        Ok(host)
    }

    /// Clients connected now.
    pub fn clients(&self) -> usize {
        self.clients.get()
    }

    /// A source for the content of an encoded root.
    pub fn source(&self, root: &[u8]) -> Rc<dyn ChunkSource> {
        Rc::new(VaultSource::new(self.vault.clone(), root))
    }

    /// Lets clients in, or ends their connections and waits until no request is under way.
    pub async fn set_exported(&self, exported: bool) {
        if exported {
            self.stop.borrow_mut().get_or_insert_with(Stop::new);
            return;
        }
        if let Some(stop) = self.stop.borrow_mut().take() {
            stop.stop();
        }
        loop {
            let gone = self.client_gone.notified();
            if self.clients.get() == 0 {
                return;
            }
            gone.await;
        }
    }

    /// Serves one NBD client until it leaves. A disk that is not exported any more closes the connection.
    pub async fn serve(self: Rc<Self>, socket: OwnedFd, negotiated: Negotiated) {
        let Some(net) = self.place.net.clone() else { return };
        let env = self.place.env.clone();
        let session = |export: Rc<VolumeExport>, stop: Stop| async move {
            let stream = net.stream(socket);
            let leftover = negotiated.leftover.clone();
            let ended = serve(
                stream,
                leftover,
                negotiated,
                export,
                env,
                ServeLimits::default(),
                stop,
            )
            .await;
            tracing::debug!(outcome = ?ended, "connection ended");
        };
        self.connect(session).await;
    }

    /// Counts `session` as a client for as long as it runs; it gets the disk, and a signal that pulls when it has to
    /// end. A disk that is not exported runs none.
    pub async fn connect<F: Future<Output = ()>>(&self, session: impl FnOnce(Rc<VolumeExport>, Stop) -> F) {
        let Some(stop) = self.stop.borrow().clone() else {
            return;
        };
        if let Err(e) = self.volume.note_connected().await {
            tracing::error!(disk = %self.disk, error = %e, "cannot note the connection; client refused");
            return;
        }
        let _ = self.events.send(Event::Connected(self.disk.clone()));
        self.clients.set(self.clients.get() + 1);
        let export = Rc::new(VolumeExport::new(self.disk.as_str(), self.volume.clone()));
        session(export, stop).await;
        self.clients.set(self.clients.get() - 1);
        self.client_gone.notify_waiters();
    }

    /// Starts fetching absent chunks in the background, unless that is under way.
    pub fn start_hydration(self: &Rc<Self>) {
        if self.volume.absent_chunks().is_empty() || self.hydrating.replace(true) {
            return;
        }
        let host = Rc::clone(self);
        self.place.env.spawn(async move {
            host.hydrate().await;
            host.hydrating.set(false);
        });
    }

    async fn hydrate(&self) {
        loop {
            let absent = self.volume.absent_chunks();
            if absent.is_empty() {
                if self.volume.checkpoint().await.is_ok() {
                    let _ = self.events.send(Event::Hydrated(self.disk.clone()));
                }
                return;
            }
            let step: Vec<u32> = absent.iter().take(HYDRATE_STEP).collect();
            let fetches = stream::iter(step).map(|chunk| self.volume.hydrate(ChunkIndex(chunk)));
            let mut fetches = fetches.buffer_unordered(HYDRATE_WIDTH);
            let mut trouble = None;
            while let Some(done) = fetches.next().await {
                trouble = trouble.or(done.err());
            }
            let landed = self.volume.checkpoint().await;
            if let Some(e) = trouble.or(landed.err()) {
                if self.volume.info().poisoned.is_some() {
                    return;
                }
                tracing::warn!(disk = %self.disk, error = %e, "filling the disk from its snapshot; trying again");
                self.place.env.clock.sleep(Duration::from_secs(2)).await;
            }
        }
    }
}
