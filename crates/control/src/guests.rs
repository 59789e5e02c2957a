//! Guests: the instances that we run, between the catalogue and [`Compute`], which runs their processes.
//!
//! What must stay true: (1) a guest runs only while its instance is Starting, Running, or Stopping, and with the disks that
//! the catalogue attaches to it; (2) no disk of it is withdrawn, rolled back or removed before its process is gone or has let go of
//! it; (3) a guest outlives this process: the next one takes it over as it is ([`Control::take_guests_over`]); (4) one that ends by itself
//! is found, also when that happened while nobody looked: its instance becomes Stopped, and an event says why.
//!
//! Not here: QEMU (`compute`), the jobs that change an instance's state (`jobs::instance`, `jobs::guest`).

use crate::actions::image_rules::FromImage;
use crate::catalogue::disks::{self, DiskKind, DiskRow};
use crate::catalogue::instances::{Attributes, InstanceRow};
use crate::catalogue::jobs::{self, JobKind};
use crate::instance_types::{GuestType, guest_type};
use crate::jobs::JobError;
use crate::metadata::mac_of;
use crate::notices;
use crate::states::{DiskCause, DiskStatus, INSTANCE, InstanceCause, InstanceStatus};
use crate::store::{StoreError, Transaction};
use crate::{Control, ControlError};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;
use tidemark_compute::{Compute, ComputeError, ComputeErrorKind, GuestDisk, GuestEnd, GuestEvent, GuestSpec};
use tidemark_ecs::{ApiError, id};
use tidemark_node::{GuestSockets, NodeError, NodeErrorKind};
use tidemark_units::DiskId;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, timeout, timeout_at};

/// How instances are run here.
#[derive(Clone, Debug)]
pub struct GuestsConfig {
    /// Runs them.
    pub compute: Compute,
    /// Memory of all guests together, in MiB.
    pub memory_mib: u64,
    /// How long a guest that is asked to shut down has for it.
    pub stop_patience: Duration,
    /// How long a guest has to let go of a disk that is taken from it.
    pub unplug_patience: Duration,
    /// Where the socket of each guest's metadata service is.
    pub metadata_dir: PathBuf,
    /// Whether each guest is in a network of its own, which nothing of comes to the metadata listener.
    pub have_own_network: bool,
}

/// Where the metadata service is to be for each guest: instance id to socket.
pub type MetadataSockets = BTreeMap<String, PathBuf>;

/// How long a guest has to answer when it is only looked at.
const LOOK_LIMIT: Duration = Duration::from_secs(2);

/// Guests' addresses: shared address space (RFC 6598), which 100.100.100.200 of the metadata service is in, so that a guest reaches
/// that without a route.
const NETWORK: u32 = u32::from_be_bytes([100, 64, 0, 0]);
/// Addresses in it.
const ADDRESSES: u32 = 1 << 22;
/// Those that guests can have.
pub(crate) const FOR_GUESTS: u32 = ADDRESSES - 2 * KEPT - 1;
/// Numbers that no guest has, at both ends: the network's own, its gateway and its name server are among them.
const KEPT: u32 = 256;
/// The metadata service's.
const METADATA_ADDRESS: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// What guests' network is called in answers.
pub(crate) const CIDR: &str = "100.64.0.0/10";

/// The address of the guest with this number in creation order; one number in four million has another's.
pub(crate) fn address(ordinal: i64) -> Ipv4Addr {
    let metadata = u32::from(METADATA_ADDRESS) - NETWORK;
    // One of those that can be had is the metadata service's.
    let number = u32::try_from(ordinal.rem_euclid(FOR_GUESTS.into())).unwrap_or(0) + KEPT;
    let number = if number >= metadata { number + 1 } else { number };
    Ipv4Addr::from(NETWORK + number)
}

/// Whether a guest can have the address.
pub(crate) fn is_address(address: Ipv4Addr) -> bool {
    let number = u32::from(address).checked_sub(NETWORK);
    address != METADATA_ADDRESS && number.is_some_and(|number| (KEPT..ADDRESSES - KEPT).contains(&number))
}

/// 403 for an image that has nothing to start, where the type is one that we run.
pub(crate) fn has_system(kind: &str, image: &FromImage) -> Result<(), ApiError> {
    if guest_type(kind).is_none() || image.system.is_some() {
        return Ok(());
    }
    let message = format!(
        "The image {} has nothing to start: an instance of type {kind} needs an image with a system (`tidemark image import` or \
         `build`, or CreateImage).",
        image.id
    );
    Err(ApiError::new(403, "ImageNotSupportInstanceType", message))
}

/// What is needed to run an instance of a type here: room. Counted are the guests that run or are about to; what is locked in
/// this transaction is theirs.
pub(crate) fn room_for(
    t: &mut dyn Transaction,
    control: &Control,
    kind: &str,
    count: u64,
) -> Result<(), ApiError> {
    let (Some(kind), Some(guests)) = (guest_type(kind), control.guests()) else {
        return Ok(());
    };
    let mut taken = 0;
    for row in InstanceRow::select(t, "WHERE status <> 'Stopped'", &[])? {
        taken += guest_type(&row.instance_type).map_or(0, |kind| kind.memory_mib);
    }
    let wanted = kind.memory_mib.saturating_mul(count);
    if taken.saturating_add(wanted) <= guests.memory_mib {
        return Ok(());
    }
    let message = format!(
        "{count} of {} need {wanted} MiB of memory; {taken} of the {} MiB that instances may have here are taken.",
        kind.name, guests.memory_mib
    );
    Err(ApiError::new(403, "OperationDenied.NoStock", message))
}

/// In the node's words, which jobs decide by.
fn error_of(error: ComputeError) -> NodeError {
    let kind = match error.kind {
        ComputeErrorKind::NotInstalled => NodeErrorKind::Invalid,
        ComputeErrorKind::GuestBusy => NodeErrorKind::Busy,
        _ => NodeErrorKind::Other,
    };
    NodeError {
        kind,
        message: error.message,
    }
}

/// A guest that does not run holds no disk and needs none; that it ended is heard of elsewhere.
fn while_it_runs(done: Result<(), ComputeError>) -> Result<(), NodeError> {
    match done {
        Err(error) if error.kind == ComputeErrorKind::NotRunning => Ok(()),
        other => other.map_err(error_of),
    }
}

/// Whether we run such an instance.
pub(crate) fn is_guest(instance: &InstanceRow) -> bool {
    guest_type(&instance.instance_type).is_some()
}

impl Control {
    /// How instances are run here, if they are.
    pub(crate) fn guests(&self) -> Option<&GuestsConfig> {
        self.config().guests.as_ref()
    }

    pub(crate) fn compute(&self) -> Option<&Compute> {
        self.guests().map(|guests| &guests.compute)
    }

    fn guests_or_refuse(&self, instance: &str) -> Result<&GuestsConfig, NodeError> {
        self.guests().ok_or_else(|| NodeError {
            kind: NodeErrorKind::Invalid,
            message: format!("the instance {instance} needs QEMU, and this service runs no guests"),
        })
    }

    /// Where guests' metadata services are to be, from now on.
    pub fn metadata_sockets(&self) -> watch::Receiver<MetadataSockets> {
        self.sockets().subscribe()
    }

    fn serve_metadata(&self, instance: &str, guests: &GuestsConfig) -> PathBuf {
        let socket = guests.metadata_dir.join(format!("{instance}.sock"));
        self.sockets().send_if_modified(|sockets| {
            sockets.insert(instance.to_owned(), socket.clone()).as_ref() != Some(&socket)
        });
        socket
    }

    /// Nobody asks any more.
    pub(crate) fn end_metadata(&self, instance: &str) {
        self.sockets()
            .send_if_modified(|sockets| sockets.remove(instance).is_some());
    }

    /// Lets the instance have the disk: whoever asks for an external one, its guest alone for one that we run. Where a guest
    /// finds it.
    pub(crate) async fn export_to(
        &self,
        instance: &InstanceRow,
        disk: &DiskRow,
        id: &DiskId,
    ) -> Result<Option<GuestSockets>, JobError> {
        let node = self.node_of(&disk.region)?;
        if is_guest(instance) {
            return Ok(Some(node.export_to_guest(id).await?));
        }
        node.set_exported(id, true).await?;
        Ok(None)
    }

    /// Runs the guest of an instance with these disks, each with its socket. One that runs is left as it is.
    pub(crate) async fn start_guest(
        &self,
        instance: &InstanceRow,
        kind: &GuestType,
        disks: &[(DiskRow, GuestSockets)],
    ) -> Result<(), JobError> {
        let guests = self.guests_or_refuse(&instance.id)?;
        let attributes = instance.read_attributes()?;
        let spec = GuestSpec {
            id: instance.id.clone(),
            uuid: attributes.serial_number.clone(),
            cpus: kind.cpus,
            memory_mib: kind.memory_mib,
            mac: mac_of(&instance.id),
            address: address_of(instance, &attributes),
            disks: disks
                .iter()
                .map(|(disk, sockets)| guest_disk(disk, sockets))
                .collect(),
            metadata_socket: self.serve_metadata(&instance.id, guests),
        };
        guests
            .compute
            .start(&spec)
            .await
            .map_err(|error| match error.kind {
                ComputeErrorKind::NoCapacity => JobError::NoRoom(error_of(error)),
                _ => JobError::Node(error_of(error)),
            })
    }

    /// Gives a running guest one more disk.
    pub(crate) async fn plug(
        &self,
        instance: &str,
        disk: &DiskRow,
        sockets: &GuestSockets,
    ) -> Result<(), NodeError> {
        let guests = self.guests_or_refuse(instance)?;
        let disk = guest_disk(disk, sockets);
        while_it_runs(guests.compute.plug(instance, &disk).await)
    }

    /// Has a running guest let go of a disk. `Busy`: it does not, and keeps it.
    pub(crate) async fn unplug(&self, instance: &str, disk: &str) -> Result<(), NodeError> {
        let Some(guests) = self.guests() else {
            return Ok(());
        };
        let (compute, patience) = (&guests.compute, guests.unplug_patience);
        while_it_runs(compute.unplug(instance, disk, patience).await)
    }

    /// Ends the guest, if there is one: at once, or by asking. `false`: it is asked and still runs.
    pub(crate) async fn end_guest(&self, instance: &str, now: bool) -> Result<bool, NodeError> {
        let Some(guests) = self.guests() else {
            return Ok(true);
        };
        let compute = &guests.compute;
        if !now && compute.is_running(instance).await {
            // Whether it listens is seen by what it does.
            if let Err(error) = compute.ask_to_stop(instance).await {
                tracing::warn!(instance, error = %error.message, "a guest cannot be asked to shut down");
            }
            return Ok(false);
        }
        compute.kill(instance).await.map_err(error_of)?;
        self.end_metadata(instance);
        Ok(true)
    }

    /// Removes what is left of the guest of an instance that is gone: its console, its logs.
    pub(crate) async fn forget_guest(&self, instance: &str) {
        if let Some(compute) = self.compute()
            && let Err(error) = compute.forget(instance).await
        {
            tracing::warn!(instance, error = %error.message, "logs of a guest stay behind");
        }
    }

    /// At start: goes on with the guests that an earlier process has left running, ends those that nothing wants any more. Before
    /// disks are exported.
    ///
    /// # Errors
    /// Whether guests run cannot be found out: to go on would be to take all for ended, and switch off those that are not.
    pub(crate) async fn take_guests_over(&self) -> Result<(), ControlError> {
        let Some(guests) = self.guests() else {
            return Ok(());
        };
        let running = guests.compute.adopt().await;
        let running = running.map_err(|error| ControlError::Guests(error.message))?;
        for id in running {
            let wanted = id.clone();
            let read = move |t: &mut dyn Transaction| InstanceRow::get(t, wanted);
            let row = self.store().read::<_, StoreError, _>(read).await?;
            match row.filter(|row| is_guest(row) && row.status != InstanceStatus::Stopped) {
                Some(_) => drop(self.serve_metadata(&id, guests)),
                None => {
                    tracing::warn!(instance = %id, "a guest runs whose instance is stopped or gone; it is ended");
                    if let Err(error) = guests.compute.kill(&id).await {
                        tracing::error!(instance = %id, error = %error.message, "a guest cannot be ended");
                    }
                }
            }
        }
        Ok(())
    }

    /// Looks whether all guests run that should, and have the disks that they should.
    pub(crate) async fn look_at_guests(&self) -> Result<(), StoreError> {
        let rows = self
            .store()
            .read_in_background(|t| InstanceRow::select(t, "WHERE status = 'Running'", &[]))
            .await?;
        for row in rows.into_iter().filter(is_guest) {
            // For all that it is asked: one that does not answer holds up nothing, neither the others nor what is asked of it meanwhile.
            let limit = Instant::now() + LOOK_LIMIT;
            let runs = match self.compute() {
                Some(compute) => timeout_at(limit, compute.look_for(&row.id)).await,
                None => Ok(Ok(false)),
            };
            match runs {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    let why = "it was found not to run any more";
                    self.guest_ended(&row.id, Some(why)).await?;
                    continue;
                }
                // Not known is not ended: it is looked at again.
                Ok(Err(error)) => {
                    tracing::error!(instance = %row.id, error = %error.message, "whether a guest runs cannot be found out");
                    continue;
                }
                Err(_) => continue,
            }
            let id = row.id.clone();
            let read = move |t: &mut dyn Transaction| disks::of_instance(t, &id);
            let own = self.store().read_in_background(read).await?;
            let own = own.into_iter().filter(|disk| disk.status == DiskStatus::InUse);
            let missing = timeout_at(limit, self.missing(&row.id, own)).await;
            for disk in missing.unwrap_or_default() {
                self.let_go(&row.id, &disk).await?;
            }
        }
        Ok(())
    }

    /// Which of the disks the guest has not.
    async fn missing(&self, instance: &str, disks: impl Iterator<Item = DiskRow>) -> Vec<String> {
        let mut missing = Vec::new();
        for disk in disks {
            let has = match self.compute() {
                Some(compute) => compute.has_disk(instance, &disk.id).await.unwrap_or(true),
                None => false,
            };
            if !has {
                missing.push(disk.id);
            }
        }
        missing
    }

    /// A guest may have let go of a disk that it was not being asked for any more, or never was: then the disk is detached after all.
    async fn let_go(&self, instance: &str, disk: &str) -> Result<(), StoreError> {
        // A job that is bringing the disk, or takes it, has the lane.
        let Some(_held) = self.hold_lane(instance) else {
            return Ok(());
        };
        // What is told of late may be about an earlier time; where it cannot be told, it is looked at again.
        if let Some(compute) = self.compute() {
            let has = timeout(LOOK_LIMIT, compute.has_disk(instance, disk)).await;
            if !matches!(has, Ok(Ok(false))) {
                return Ok(());
            }
        }
        let (instance, disk, now) = (instance.to_owned(), disk.to_owned(), self.now_ms());
        let work = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
            let running =
                InstanceRow::get(t, &instance)?.is_some_and(|row| row.status == InstanceStatus::Running);
            let row = DiskRow::get(t, &disk)?.filter(|row| row.instance_id.as_ref() == Some(&instance));
            let Some(mut row) = row.filter(|row| running && row.status == DiskStatus::InUse) else {
                return Ok(());
            };
            tracing::warn!(
                disk,
                instance,
                "a guest has let go of a disk by itself; it is detached"
            );
            row.step(t, DiskCause::DetachDisk)?;
            jobs::add(t, JobKind::DetachDisk, &disk, &instance, "", now).map(drop)
        };
        self.store().write(work).await?;
        self.jobs().wake();
        Ok(())
    }

    /// A guest has ended by itself: Running → Stopping. `failure`: it did not mean to.
    async fn guest_ended(&self, instance: &str, failure: Option<&str>) -> Result<(), StoreError> {
        // What is told of late may be about a guest before this one.
        if let Some(compute) = self.compute()
            && compute.is_running(instance).await
        {
            return Ok(());
        }
        let (id, why, now) = (instance.to_owned(), failure.map(String::from), self.now_ms());
        let work = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
            let Some(mut row) = InstanceRow::get(t, &id)?.filter(is_guest) else {
                return Ok(());
            };
            // In every other state a job knows better.
            if !INSTANCE.allows(row.status, InstanceCause::GuestEnded) {
                return Ok(());
            }
            row.step(t, InstanceCause::GuestEnded)?;
            notices::instance_state(t, &row, row.status.word(), why.as_deref(), now)?;
            jobs::add(t, JobKind::StopInstance, &id, &id, jobs::BY_FORCE, now).map(drop)
        };
        self.store().write(work).await?;
        self.jobs().wake();
        Ok(())
    }
}

fn guest_disk(disk: &DiskRow, sockets: &GuestSockets) -> GuestDisk {
    GuestDisk {
        id: disk.id.clone(),
        socket: sockets.vhost.clone(),
        nbd: sockets.nbd.clone(),
        serial: id::disk_serial(&disk.id).to_owned(),
        boot: disk.kind == DiskKind::System,
    }
}

/// The instance's own; an old row that has none gets that of its number.
fn address_of(instance: &InstanceRow, attributes: &Attributes) -> Ipv4Addr {
    let own = attributes.private_ip_address.parse();
    own.unwrap_or_else(|_| address(instance.ordinal))
}

/// Hears what guests do until the control plane is shut down.
pub(crate) async fn listen(control: Control, events: Option<broadcast::Receiver<GuestEvent>>) {
    let Some(mut events) = events else { return };
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = control.stopped() => return,
        };
        let done = match event {
            Ok(GuestEvent::Ended { id, how }) => {
                // Whoever waits for it looks again.
                control.jobs().hurry();
                match how {
                    GuestEnd::PoweredOff => control.guest_ended(&id, None).await,
                    // Not by us: what we end is not Running any more.
                    GuestEnd::Killed => control.guest_ended(&id, Some("it was ended from outside")).await,
                    GuestEnd::Crashed { detail } => {
                        tracing::error!(instance = %id, detail, "a guest's process has crashed");
                        control
                            .guest_ended(&id, Some(&format!("crashed: {detail}")))
                            .await
                    }
                }
            }
            Ok(GuestEvent::Unplugged { id, disk }) => control.let_go(&id, &disk).await,
            Ok(GuestEvent::Panicked { id }) => {
                tracing::warn!(instance = %id, "the guest's system has panicked");
                Ok(())
            }
            Ok(GuestEvent::Rebooted { .. }) => Ok(()),
            Err(RecvError::Lagged(_)) => control.look_at_guests().await,
            Err(RecvError::Closed) => return,
        };
        if let Err(error) = done {
            tracing::error!(%error, "what became of a guest cannot be noted; it is looked at again");
        }
    }
}

/// Whether a disk is where a guest can have it: of an instance that runs.
pub(crate) fn wants_export(disk: &DiskRow, instance: &InstanceRow) -> bool {
    let held = match is_guest(instance) {
        // A guest keeps its disks until it has ended, and gets them before it starts.
        true => instance.status != InstanceStatus::Stopped,
        false => instance.status == InstanceStatus::Running,
    };
    // A guest that is being asked to let go of a disk needs it for that: its last writes.
    let is_used =
        disk.status == DiskStatus::InUse || is_guest(instance) && disk.status == DiskStatus::Detaching;
    held && is_used
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance_types::GUEST_TYPES;

    #[test]
    fn addresses_are_the_networks_and_each_has_its_own() {
        let last = i64::from(ADDRESSES);
        let numbers = (0..5000).chain(last - 5000..last - 513);
        let around = i64::from(u32::from(METADATA_ADDRESS) - NETWORK) - 300;
        let mut seen = std::collections::HashSet::new();
        for number in numbers.chain(around..around + 100) {
            let address = address(number);
            assert!(is_address(address), "{number}: {address}");
            assert!(seen.insert(address), "{number}: {address}");
        }
        for other in [
            "100.64.0.1",
            "100.100.100.200",
            "100.127.255.253",
            "100.127.255.255",
            "100.128.0.1",
            "10.0.0.1",
        ] {
            assert!(!is_address(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn every_type_fits_a_guest() {
        assert!(
            GUEST_TYPES
                .iter()
                .all(|kind| kind.cpus > 0 && kind.memory_mib >= 512)
        );
    }
}
