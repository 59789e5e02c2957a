//! A volume's thread: the volume, its NBD connections, and that of a virtual machine.
//!
//! Invariant: while `stop` is pulled (the disk is not exported) no connection is served; withdrawing waits
//! until those that were have ended.
//! Not here: the filling of the disk from a snapshot ([`crate::hydration`]), what clients wait for ([`crate::demand`]).

use crate::demand::Demand;
use crate::export::VolumeExport;
use crate::hydration::Hydration;
use crate::place::Place;
use crate::remote::Remote;
use crate::source::VaultSource;
use crate::types::{Event, NodeError, NodeErrorKind};
use crate::vault::VaultHost;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tidemark_nbd::proto::Negotiated;
use tidemark_nbd::server::{ServeLimits, Stop, serve};
use tidemark_units::{DiskId, GroupId, SnapshotId};
use tidemark_vhost::{ServeOutcome, Session};
use tidemark_volume::{AckHold, ChunkSource, Decided, Mark, PendingMark, Prepared, Volume, VolumeConfig};
use tokio::sync::{Notify, broadcast};

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
    /// Tells a virtual machine that the disk has become larger.
    pub resized: Rc<Notify>,
    /// What clients ask for.
    pub demand: Rc<Demand>,
    /// How the disk is filled from its snapshot.
    pub hydration: Hydration,
    member: RefCell<Member>,
    decisions: Decisions,
}

/// What the disk holds for a group that is being marked.
#[derive(Default)]
struct Member {
    hold: Option<AckHold>,
    prepared: Option<Prepared>,
}

/// Decisions that may not be durable yet: they stay on this thread, tickets travel.
#[derive(Default)]
struct Decisions {
    next: Cell<u64>,
    open: RefCell<BTreeMap<u64, Decided>>,
}

/// Stands for a decision of [`DiskHost::commit_prepared`].
#[derive(Debug)]
pub struct DecisionTicket(u64);

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
        let source = root
            .as_deref()
            .map(|root| -> Rc<dyn ChunkSource> { Rc::new(VaultSource::new(vault.clone(), root)) });
        let volume = Volume::open(&place.env, &dir, source, &config).await?;
        let hydration = Hydration::open(&place.env, &dir).await;
        let demand = Rc::new(Demand::new(&place.env, volume.clone(), vault.clone()));
        if let (Some(root), Some(snapshot), false) =
            (&root, hydration.snapshot(), volume.info().ever_connected)
        {
            demand.record(snapshot, root);
        }
        let host = Rc::new(Self {
            place,
            disk,
            volume,
            vault,
            events,
            stop: RefCell::new(None),
            clients: Cell::new(0),
            client_gone: Notify::new(),
            resized: Rc::default(),
            demand,
            hydration,
            member: RefCell::default(),
            decisions: Decisions::default(),
        });
        host.resolve_groups().await?;
        host.start_hydration();
        Ok(host)
    }

    /// The vault's thread.
    pub(crate) fn vault(&self) -> &Remote<VaultHost> {
        &self.vault
    }

    /// Tells that all content of the disk is local.
    pub(crate) fn tell_hydrated(&self) {
        let _ = self.events.send(Event::Hydrated(self.disk.clone()));
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

    /// Serves a virtual machine's front end until it leaves, as [`DiskHost::serve`] does.
    pub async fn serve_vhost(self: Rc<Self>, socket: OwnedFd) {
        let Some(net) = self.place.net.clone() else { return };
        let (env, resized, disk) = (self.place.env.clone(), Rc::clone(&self.resized), &self.disk);
        let session = |export: Rc<VolumeExport>, stop: Stop| async move {
            let session = Session {
                disk: export,
                env,
                net,
                limits: tidemark_vhost::ServeLimits::default(),
                resized,
            };
            match tidemark_vhost::serve(socket, session, stop.stopped()).await {
                ServeOutcome::Violation(why) => {
                    tracing::warn!(%disk, why, "a vhost-user front end broke the protocol and was left");
                }
                ended => tracing::debug!(outcome = ?ended, "vhost-user connection ended"),
            }
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
        let export = Rc::new(VolumeExport::watched(
            self.disk.as_str(),
            &self.demand,
            self.volume.clone(),
        ));
        session(export, stop).await;
        self.clients.set(self.clients.get() - 1);
        self.client_gone.notify_waiters();
    }

    /// Holds acknowledgements for a group, for `lease` at most.
    pub fn hold_acks(&self, lease: Duration) -> tidemark_volume::Result<()> {
        let hold = self.volume.hold_acks(lease)?;
        *self.member.borrow_mut() = Member {
            hold: Some(hold),
            prepared: None,
        };
        Ok(())
    }

    /// Fixes the place of a group's mark.
    pub fn prepare(&self, snapshot: &SnapshotId, group: &str) -> tidemark_volume::Result<()> {
        let prepared = self.volume.prepare(snapshot, group)?;
        self.member.borrow_mut().prepared = Some(prepared);
        Ok(())
    }

    /// Lets acknowledgements pass. Whether they were held until now.
    pub fn release_acks(&self) -> bool {
        let hold = self.member.borrow_mut().hold.take();
        hold.is_some_and(AckHold::release)
    }

    /// The mark of [`DiskHost::prepare`], once it is durable.
    pub async fn prepared_durable(&self, snapshot: &SnapshotId) -> Result<Mark, NodeError> {
        let lost = || {
            let message = format!("snapshot {snapshot} of disk {} is not prepared", self.disk);
            NodeError::new(NodeErrorKind::Other, message)
        };
        let prepared = self.member.borrow_mut().prepared.take();
        prepared.ok_or_else(lost)?.durable().await?;
        let marks = self.volume.prepared_marks().into_iter();
        let found = marks
            .map(|(mark, _)| mark)
            .find(|mark| &mark.snapshot == snapshot);
        found.ok_or_else(lost)
    }

    /// The group exists: its mark counts. The mark, and a ticket for [`DiskHost::decision_durable`].
    pub fn commit_prepared(&self, snapshot: &SnapshotId) -> Result<(DecisionTicket, PendingMark), NodeError> {
        let decided = self.volume.commit_prepared(snapshot)?;
        let pending = self.volume.pending_marks();
        let Some(pending) = pending.into_iter().find(|p| &p.mark.snapshot == snapshot) else {
            let message = format!("snapshot {snapshot} of disk {} is not pending", self.disk);
            return Err(NodeError::new(NodeErrorKind::Other, message));
        };
        let ticket = self.decisions.next.get();
        self.decisions.next.set(ticket + 1);
        self.decisions.open.borrow_mut().insert(ticket, decided);
        Ok((DecisionTicket(ticket), pending))
    }

    /// Waits until a crash would not bring the question of a decision back.
    pub async fn decision_durable(&self, ticket: DecisionTicket) -> tidemark_volume::Result<()> {
        let decided = self.decisions.open.borrow_mut().remove(&ticket.0);
        match decided {
            Some(decided) => decided.durable().await,
            None => Ok(()),
        }
    }

    /// Decides about the prepared marks that a crash left.
    async fn resolve_groups(self: &Rc<Self>) -> Result<(), NodeError> {
        let in_doubt = self.volume.prepared_marks();
        let snapshots: Vec<SnapshotId> = in_doubt.iter().map(|(mark, _)| mark.snapshot.clone()).collect();
        for (mark, group) in in_doubt {
            let id = group.clone();
            let exists = self
                .vault
                .call(move |host| async move { host.group_exists(&id).await })
                .await??;
            let decided = match exists {
                true => self.volume.commit_prepared(&mark.snapshot)?,
                false => self.volume.abort_prepared(&mark.snapshot)?,
            };
            tracing::info!(disk = %self.disk, snapshot = %mark.snapshot, group, exists, "a mark that a crash left in doubt is decided");
            let (vault, disk) = (self.vault.clone(), self.disk.clone());
            self.place.env.spawn(async move {
                if decided.durable().await.is_err() {
                    return; // Asked again at the next opening.
                }
                let Ok(group) = GroupId::new(group) else { return };
                let left = vault.call(move |host| async move { host.leave_group(&group, &disk).await });
                if let Ok(Err(e)) = left.await {
                    tracing::warn!(error = %e, "a group's record could not be updated; that is tried again at the next opening");
                }
            });
        }
        // What the replay did not find in doubt is decided in the log, durably: those records can do without us.
        let disk = self.disk.clone();
        self.vault.cast(move |host| async move {
            if let Err(e) = host.settle_groups(&disk, &snapshots).await {
                tracing::warn!(%disk, error = %e, "records of groups could not be tidied; that is tried again at the next opening");
            }
        });
        Ok(())
    }
}
