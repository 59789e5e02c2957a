//! [`Control`]: opening, what its parts share, closing.

use crate::catalogue::disks::DiskRow;
use crate::catalogue::instances::InstanceRow;
use crate::config::{ControlConfig, Limits};
use crate::consistency::Quiescing;
use crate::guests::{self, MetadataSockets};
use crate::identity::Identity;
use crate::jobs::{JobError, Jobs};
use crate::secrets::Secrets;
use crate::states::DiskStatus;
use crate::store::{Store, StoreError, Transaction};
use crate::webhooks::send::Sender;
use crate::{ControlError, events, housekeeping, jobs, keys, metadata, regions, rules, space};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tidemark_compute::Compute;
use tidemark_ecs::id::{self, Kind};
use tidemark_node::{Node, NodeErrorKind, SnapshotProgress};
use tidemark_units::{DiskId, GIB};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// The one resource group, until groups are managed.
pub(crate) const DEFAULT_RESOURCE_GROUP: &str = "rg-default";

/// Who asks: made from a key whose signature was right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose resources are meant.
    pub account: String,
    /// The key that signed.
    pub access_key: String,
    /// Whose key it is, and what they may.
    pub identity: Identity,
    /// Where the request came from, if that is known.
    pub source: Option<std::net::IpAddr>,
    /// The region that the request names, if any: what is elsewhere does not exist for it.
    pub region: Option<String>,
    /// The request's id, as its answer and the log have it; `None`: it did not come as one.
    pub request_id: Option<String>,
}

impl Caller {
    /// Whether something of this account in this region exists for the request.
    pub(crate) fn sees(&self, account: &str, region: &str) -> bool {
        self.account == account && self.region.as_deref().is_none_or(|named| named == region)
    }
}

/// The control plane. Clones share it.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

struct Inner {
    config: ControlConfig,
    store: Store,
    /// Of each region, in the order of the configuration.
    nodes: Vec<Node>,
    secrets: Secrets,
    sender: Sender,
    jobs: Jobs,
    /// Highest progress shown of every snapshot in creation, so that it never falls.
    percents: Mutex<HashMap<String, i64>>,
    /// Held by who tells of damage, see `damage`.
    telling: tokio::sync::Mutex<()>,
    /// Where guests' metadata services are to be.
    sockets: watch::Sender<MetadataSockets>,
    quiescing: Quiescing,
    stop: watch::Sender<bool>,
    background: Mutex<Vec<JoinHandle<()>>>,
    metadata: metadata::Memory,
}

impl Control {
    /// Opens the catalogue (making it on first use), opens all disks on the node, exports those of
    /// running instances, and starts the work that is left. A disk that cannot be opened is logged
    /// and tried again in the background; it does not keep the others from serving.
    pub async fn open(config: ControlConfig, node: Node) -> Result<Control, ControlError> {
        Self::open_regions(config, vec![node]).await
    }

    /// As [`Control::open`], with one node for each region of the configuration, in its order.
    pub async fn open_regions(config: ControlConfig, nodes: Vec<Node>) -> Result<Control, ControlError> {
        regions::check(&config, nodes.len())?;
        std::fs::create_dir_all(&config.data_dir).map_err(|cause| ControlError::DataDir {
            path: config.data_dir.clone(),
            cause,
        })?;
        let path = config.data_dir.join(crate::CATALOGUE_FILE);
        let opened = tokio::task::spawn_blocking(move || Store::open(&path)).await;
        let store = opened.map_err(|e| ControlError::Config(format!("opening the catalogue: {e}")))??;
        let secrets = keys::prepare(&store, &config).await?;
        regions::settle(&store, &config).await?;
        let inner = Inner {
            sender: Sender::new(config.webhooks_to_this_machine),
            config,
            store,
            nodes,
            secrets,
            jobs: Jobs::default(),
            percents: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            sockets: watch::Sender::default(),
            quiescing: Quiescing::default(),
            stop: watch::Sender::new(false),
            background: Mutex::default(),
            metadata: metadata::Memory::default(),
        };
        let control = Control {
            inner: Arc::new(inner),
        };
        // Before any disk is open, so that nothing that happens to one is missed.
        let events: Vec<_> = control.inner.nodes.iter().map(Node::events).collect();
        let heard = control.compute().map(Compute::events);
        control.take_guests_over().await?;
        control.reopen_disks().await?;
        control.look_at_guests().await?;
        control.reconcile_usage().await?;
        let mut background = vec![
            tokio::spawn(jobs::work(control.clone())),
            tokio::spawn(housekeeping::keep(control.clone())),
            tokio::spawn(space::account(control.clone())),
            tokio::spawn(guests::listen(control.clone(), heard)),
        ];
        for (region, events) in control.config().regions.iter().zip(events) {
            let listening = events::listen(control.clone(), region.id.clone(), events);
            background.push(tokio::spawn(listening));
        }
        *control.background() = background;
        Ok(control)
    }

    async fn reopen_disks(&self) -> Result<(), ControlError> {
        let rows = self
            .store()
            .read(|t| DiskRow::select(t, "ORDER BY ordinal", &[]))
            .await?;
        let opening = rows
            .into_iter()
            .filter(|disk| disk.status != DiskStatus::Creating)
            .map(|disk| {
                let control = self.clone();
                tokio::spawn(async move { control.reopen_disk(&disk).await })
            });
        for opened in opening.collect::<Vec<_>>() {
            if let Err(error) = opened.await {
                tracing::error!(%error, "opening a disk ended early");
            }
        }
        Ok(())
    }

    /// Opens a disk and brings its export to what the catalogue says. False: not now.
    pub(crate) async fn reopen_disk(&self, row: &DiskRow) -> bool {
        let disk = row.id.as_str();
        let Ok(id) = DiskId::new(disk) else {
            tracing::error!(disk, "the catalogue holds a disk id that cannot be one");
            return false;
        };
        let node = match self.node_of(&row.region) {
            Ok(node) => node,
            Err(error) => {
                tracing::error!(disk, %error, "the disk has no node");
                return false;
            }
        };
        if let Err(error) = node.open_disk(&id).await {
            let gone = error.kind == NodeErrorKind::Missing && self.is_leaving(disk).await;
            if !gone {
                tracing::error!(disk, %error, "the disk cannot be opened");
            }
            return false;
        }
        let holder = match self.holder(disk).await {
            Ok(holder) => holder,
            Err(error) => {
                tracing::error!(disk, %error, "whether to export the disk cannot be read");
                return false;
            }
        };
        let exported = match &holder {
            Some(instance) => self.export_to(instance, row, &id).await.map(drop),
            None => node.set_exported(&id, false).await.map_err(JobError::from),
        };
        match exported {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(disk, %error, "the disk cannot be exported");
                return false;
            }
        }
        if let Some(bytes) = node.open_size(&id)
            && let Err(error) = self.note_size(disk, bytes).await
        {
            tracing::error!(disk, %error, "the size that the disk has cannot be noted");
        }
        true
    }

    /// A growth whose job was given up may have been done all the same: a disk never shrinks, so its row follows. One that
    /// is still to grow has its size noted by its job.
    async fn note_size(&self, disk: &str, bytes: u64) -> Result<(), StoreError> {
        let gib = i64::try_from(bytes / GIB).unwrap_or(i64::MAX);
        let id = disk.to_owned();
        let behind = move |t: &mut dyn Transaction| {
            let row = DiskRow::get(t, &id)?.filter(|row| row.size_gib < gib);
            Ok(row.is_some() && !rules::is_growing(t, &id)?)
        };
        if !self.store().read::<_, StoreError, _>(behind).await? {
            return Ok(());
        }
        let id = disk.to_owned();
        let follow = move |t: &mut dyn Transaction| {
            let row = DiskRow::get(t, &id)?.filter(|row| row.size_gib < gib);
            if let Some(mut row) = row
                && !rules::is_growing(t, &id)?
            {
                row.size_gib = gib;
                row.save(t)?;
            }
            Ok(())
        };
        self.store().write::<_, StoreError, _>(follow).await?;
        tracing::warn!(disk, gib, "the disk is larger than the catalogue had it");
        Ok(())
    }

    async fn is_leaving(&self, disk: &str) -> bool {
        let id = disk.to_owned();
        let row = self.store().read(move |t| DiskRow::get(t, id)).await;
        matches!(row, Ok(None)) || matches!(row, Ok(Some(row)) if row.status == DiskStatus::Deleting)
    }

    /// The instance that is to have the disk now.
    async fn holder(&self, disk: &str) -> Result<Option<InstanceRow>, ControlError> {
        let id = disk.to_owned();
        let read = move |t: &mut dyn Transaction| {
            let Some(disk) = DiskRow::get(t, id)? else {
                return Ok(None);
            };
            let instance = InstanceRow::get(t, disk.instance_id.clone().unwrap_or_default())?;
            Ok(instance.filter(|instance| guests::wants_export(&disk, instance)))
        };
        Ok(self.store().read::<_, StoreError, _>(read).await?)
    }

    /// Stops the background work. What is not finished goes on at the next start. The node is the
    /// caller's to shut down, afterwards.
    pub async fn shutdown(&self) {
        self.inner.stop.send_replace(true);
        let background = std::mem::take(&mut *self.background());
        for task in background {
            if let Err(error) = task.await {
                tracing::error!(%error, "background work ended early");
            }
        }
        self.inner.jobs.idle().await;
    }

    fn background(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.inner
            .background
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        *self.inner.stop.borrow()
    }

    /// Resolves when the control plane is shut down.
    pub(crate) async fn stopped(&self) {
        let mut stop = self.inner.stop.subscribe();
        // The sender lives in `inner`, so waiting only ends with the value.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.inner.nodes
    }

    /// For how long a deleted snapshot can be brought back; all regions are told the same.
    pub fn undelete_window(&self) -> Duration {
        self.nodes()
            .first()
            .map(Node::undelete_window)
            .unwrap_or_default()
    }

    pub(crate) fn secrets(&self) -> &Secrets {
        &self.inner.secrets
    }

    pub(crate) fn sender(&self) -> &Sender {
        &self.inner.sender
    }

    pub(crate) fn jobs(&self) -> &Jobs {
        &self.inner.jobs
    }

    pub(crate) fn quiescing(&self) -> &Quiescing {
        &self.inner.quiescing
    }

    pub(crate) fn sockets(&self) -> &watch::Sender<MetadataSockets> {
        &self.inner.sockets
    }

    pub(crate) fn telling(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.telling
    }

    pub(crate) fn metadata(&self) -> &metadata::Memory {
        &self.inner.metadata
    }

    pub(crate) fn config(&self) -> &ControlConfig {
        &self.inner.config
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.config.limits
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.inner.config.clock.now_ms()
    }

    pub(crate) fn poll(&self) -> Duration {
        self.inner.config.poll
    }

    pub(crate) fn new_id(&self, kind: Kind, region: &str) -> String {
        id::new(kind, region, &random())
    }

    /// Progress in percent: 0 to 99, never less than was shown or stored before.
    pub(crate) fn percent(&self, snapshot: &str, stored: i64, progress: &SnapshotProgress) -> i64 {
        let done = u128::from(progress.done_bytes) * 100;
        let now = done
            .checked_div(u128::from(progress.total_bytes))
            .unwrap_or(0)
            .min(99);
        let now = i64::try_from(now).unwrap_or(99).max(stored.min(99));
        let mut percents = self.inner.percents.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = percents.entry(snapshot.to_owned()).or_default();
        *shown = now.max(*shown);
        *shown
    }

    pub(crate) fn forget_percent(&self, snapshot: &str) {
        self.inner
            .percents
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(snapshot);
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("data_dir", &self.inner.config.data_dir)
            .finish_non_exhaustive()
    }
}

/// Unpredictable bytes from the kernel.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness neither ids nor keys can be made; no caller could go on.
    getrandom::fill(&mut bytes).expect("the kernel has a random source");
    bytes
}
