//! The protocol's messages, one method each: what they change about the device.
//!
//! Methods are called on the disk's thread, one at a time, while rings are quiet wherever a message touches what they stand on
//! (`serve` sees to that). A message that is refused changes nothing.

use crate::config::{self, CONFIG_BYTES, FEATURES, QUEUE_SIZE_MAX, QUEUES_MAX};
use crate::inflight::{self, Account, Region};
use crate::memory::Table;
use crate::ring::{Ring, Shared, Start};
use rustix::fs::OFlags;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use tidemark_env::real::net::Net;
use vhost::VhostUserMemoryRegionBase;
use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserProtocolFeatures, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVirtioFeatures, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{Error, GpuBackend, Result, VhostUserBackendReqHandler};
use virtio_bindings::bindings::virtio_blk::VIRTIO_BLK_F_FLUSH;
use virtio_bindings::bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueT};

/// Which rings a message concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rings {
    All,
    One(u32),
}

impl Rings {
    fn has(self, index: u32) -> bool {
        match self {
            Rings::All => true,
            Rings::One(one) => one == index,
        }
    }
}

/// The device of one connection.
pub struct Device {
    shared: Rc<Shared>,
    net: Net,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    features: u64,
    protocol: u64,
    memory: Option<Table>,
    inflight: Option<Rc<Region>>,
    /// Made as they are spoken of.
    rings: Vec<Setup>,
}

/// What messages have said of a ring.
#[derive(Default)]
struct Setup {
    size: u16,
    base: u16,
    /// Descriptors, used ring, available ring, as the front end's addresses.
    places: [u64; 3],
    call: Option<File>,
    error: Option<File>,
    enabled: bool,
    running: Option<Rc<Ring>>,
}

fn no<T>(why: &'static str) -> Result<T> {
    Err(Error::InvalidOperation(why))
}

/// An eventfd that never makes us wait.
fn event(file: Option<File>) -> Result<Option<File>> {
    if let Some(file) = &file {
        let flags = rustix::fs::fcntl_getfl(file).map_err(io_error)?;
        rustix::fs::fcntl_setfl(file, flags | OFlags::NONBLOCK).map_err(io_error)?;
    }
    Ok(file)
}

fn io_error(error: impl Into<io::Error>) -> Error {
    Error::ReqHandlerError(error.into())
}

impl State {
    fn ring(&mut self, index: u32) -> Result<&mut Setup> {
        if index >= u32::from(QUEUES_MAX) {
            return Err(Error::InvalidParam);
        }
        let index = index as usize;
        if self.rings.len() <= index {
            self.rings.resize_with(index + 1, Setup::default);
        }
        Ok(&mut self.rings[index])
    }

    fn has(&self, feature: u32) -> bool {
        self.features & 1 << feature != 0
    }

    /// The ring's queue as its messages describe it.
    fn queue(&self, setup: &Setup, table: &Table) -> Result<Queue> {
        let invalid = |_| Error::InvalidParam;
        let mut queue = Queue::new(QUEUE_SIZE_MAX).map_err(invalid)?;
        queue.try_set_size(setup.size).map_err(invalid)?;
        let [descriptors, used, available] = setup.places;
        let guest = |user| table.guest_address(user).ok_or(Error::InvalidParam);
        queue
            .try_set_desc_table_address(guest(descriptors)?)
            .map_err(invalid)?;
        queue.try_set_used_ring_address(guest(used)?).map_err(invalid)?;
        queue
            .try_set_avail_ring_address(guest(available)?)
            .map_err(invalid)?;
        queue.set_event_idx(self.has(VIRTIO_RING_F_EVENT_IDX));
        queue.set_ready(true);
        match queue.is_valid(&*table.memory) {
            true => Ok(queue),
            false => Err(Error::InvalidParam),
        }
    }

    fn running(&self) -> impl Iterator<Item = &Rc<Ring>> {
        self.rings.iter().filter_map(|setup| setup.running.as_ref())
    }

    fn stop_all(&mut self) {
        for setup in &mut self.rings {
            if let Some(ring) = setup.running.take() {
                setup.base = ring.stop();
            }
        }
    }
}

impl Device {
    pub fn new(shared: &Rc<Shared>, net: Net) -> Self {
        Self {
            shared: Rc::clone(shared),
            net,
            state: RefCell::default(),
        }
    }

    /// Pauses rings, or lets them go on.
    pub fn pause(&self, which: Rings, paused: bool) {
        self.state
            .borrow()
            .running()
            .filter(|ring| which.has(ring.index))
            .for_each(|ring| ring.pause(paused));
    }

    /// Whether none of these rings has anything under way.
    pub fn is_quiet(&self, which: Rings) -> bool {
        let state = self.state.borrow();
        let mut rings = state.running().filter(|ring| which.has(ring.index));
        rings.all(|ring| ring.is_quiet())
    }

    /// Ends all rings, which must be quiet.
    pub fn stop(&self) {
        self.state.borrow_mut().stop_all();
    }

    /// Whether a protocol feature is in use.
    pub fn speaks(&self, feature: VhostUserProtocolFeatures) -> bool {
        self.state.borrow().protocol & feature.bits() != 0
    }

    fn start_ring(&self, index: u32, kick: OwnedFd) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.ring(index)?;
        let setup = &state.rings[index as usize];
        let Some(table) = &state.memory else {
            return no("a ring needs the guest's memory first");
        };
        let mut queue = state.queue(setup, table)?;
        let memory = table.memory.clone();
        let used = queue
            .used_idx(&*memory, Ordering::Acquire)
            .map_err(|_| Error::InvalidParam)?;
        let (account, found) = Account::open(state.inflight.as_ref(), index as u16, queue.size(), used.0)
            .map_err(Error::ReqHandlerError)?;
        queue.set_next_used(used.0);
        // A front end that has lost its back end cannot know how far that had come. The account does: what was taken is answered or noted.
        let next = match &state.inflight {
            Some(_) => used.0.wrapping_add(found.unanswered.len() as u16),
            None => setup.base,
        };
        queue.set_next_avail(next);
        if !found.unanswered.is_empty() {
            tracing::info!(
                disk = self.shared.disk.serial(),
                ring = index,
                requests = found.unanswered.len(),
                "requests that were in flight when their server ended are done again"
            );
        }
        let enabled =
            setup.enabled || state.features & VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits() == 0;
        let clone = |file: &Option<File>| file.as_ref().map(File::try_clone).transpose().map_err(io_error);
        let start = Start {
            index,
            memory,
            account,
            left: found.unanswered,
            kick: self.net.watch(kick),
            call: clone(&setup.call)?,
            error: clone(&setup.error)?,
            enabled,
        };
        state.rings[index as usize].running = Some(Ring::start(&self.shared, queue, start));
        Ok(())
    }
}

impl VhostUserBackendReqHandler for Device {
    fn set_owner(&self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&self) -> Result<()> {
        self.stop();
        Ok(())
    }

    fn reset_device(&self) -> Result<()> {
        self.stop();
        Ok(())
    }

    fn get_features(&self) -> Result<u64> {
        Ok(FEATURES)
    }

    fn set_features(&self, features: u64) -> Result<()> {
        if features & !FEATURES != 0 {
            return Err(Error::FeatureMismatch);
        }
        let mut state = self.state.borrow_mut();
        state.features = features;
        self.shared.write_through.set(!state.has(VIRTIO_BLK_F_FLUSH));
        Ok(())
    }

    fn get_protocol_features(&self) -> Result<VhostUserProtocolFeatures> {
        Ok(config::protocol_features())
    }

    fn set_protocol_features(&self, features: u64) -> Result<()> {
        if features & !config::protocol_features().bits() != 0 {
            return Err(Error::FeatureMismatch);
        }
        self.state.borrow_mut().protocol = features;
        Ok(())
    }

    fn set_mem_table(
        &self,
        regions: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _: Option<bool>,
    ) -> Result<Option<Vec<VhostUserMemoryRegionBase>>> {
        let table = Table::map(regions, files).map_err(Error::ReqHandlerError)?;
        let mut state = self.state.borrow_mut();
        for ring in state.running() {
            ring.set_memory(table.memory.clone());
        }
        state.memory = Some(table);
        Ok(None)
    }

    fn get_queue_num(&self) -> Result<u64> {
        Ok(u64::from(QUEUES_MAX))
    }

    fn set_vring_num(&self, index: u32, num: u32) -> Result<()> {
        let size = u16::try_from(num)
            .ok()
            .filter(|size| *size <= QUEUE_SIZE_MAX && size.is_power_of_two());
        let mut state = self.state.borrow_mut();
        state.ring(index)?.size = size.ok_or(Error::InvalidParam)?;
        Ok(())
    }

    fn set_vring_addr(
        &self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        _log: u64,
    ) -> Result<()> {
        if flags.contains(VhostUserVringAddrFlags::VHOST_VRING_F_LOG) {
            return no("writes of guest memory are not logged");
        }
        let mut state = self.state.borrow_mut();
        state.ring(index)?.places = [descriptor, used, available];
        Ok(())
    }

    fn set_vring_base(&self, index: u32, base: u32) -> Result<()> {
        let base = u16::try_from(base).map_err(|_| Error::InvalidParam)?;
        self.state.borrow_mut().ring(index)?.base = base;
        Ok(())
    }

    fn get_vring_base(&self, index: u32) -> Result<VhostUserVringState> {
        let mut state = self.state.borrow_mut();
        let setup = state.ring(index)?;
        if let Some(ring) = setup.running.take() {
            setup.base = ring.stop();
        }
        Ok(VhostUserVringState::new(index, u32::from(setup.base)))
    }

    fn set_vring_kick(&self, index: u8, fd: Option<File>) -> Result<()> {
        let Some(kick) = event(fd)? else {
            return no("rings are not polled: a kick descriptor is needed");
        };
        let index = u32::from(index);
        self.get_vring_base(index)?;
        self.start_ring(index, kick.into())
    }

    fn set_vring_call(&self, index: u8, fd: Option<File>) -> Result<()> {
        let call = event(fd)?;
        let mut state = self.state.borrow_mut();
        let setup = state.ring(index.into())?;
        if let Some(ring) = &setup.running {
            let again = call.as_ref().map(File::try_clone).transpose();
            ring.set_call(again.map_err(io_error)?);
        }
        setup.call = call;
        Ok(())
    }

    fn set_vring_err(&self, index: u8, fd: Option<File>) -> Result<()> {
        let error = event(fd)?;
        let mut state = self.state.borrow_mut();
        let setup = state.ring(index.into())?;
        if let Some(ring) = &setup.running {
            let again = error.as_ref().map(File::try_clone).transpose();
            ring.set_error(again.map_err(io_error)?);
        }
        setup.error = error;
        Ok(())
    }

    fn set_vring_enable(&self, index: u32, enable: bool) -> Result<()> {
        let mut state = self.state.borrow_mut();
        let setup = state.ring(index)?;
        setup.enabled = enable;
        if let Some(ring) = &setup.running {
            ring.enabled.set(enable);
            self.shared.changed.notify_waiters();
        }
        Ok(())
    }

    fn get_config(&self, offset: u32, size: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        let end = (offset as usize).checked_add(size as usize);
        match end {
            Some(end) if end <= CONFIG_BYTES => {
                let space = config::space(self.shared.disk.size_bytes());
                Ok(space[offset as usize..end].to_vec())
            }
            _ => Err(Error::InvalidParam),
        }
    }

    fn set_config(&self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        no("nothing in the configuration space can be written")
    }

    fn get_inflight_fd(&self, asked: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        let (queues, size) = (asked.num_queues, asked.queue_size);
        let (file, bytes) = inflight::create(queues, size).map_err(Error::ReqHandlerError)?;
        Ok((VhostUserInflight::new(bytes, 0, queues, size), file))
    }

    fn set_inflight_fd(&self, given: &VhostUserInflight, file: File) -> Result<()> {
        let mapped = Region::map(
            file,
            given.mmap_offset,
            given.mmap_size,
            given.num_queues,
            given.queue_size,
        );
        let mut state = self.state.borrow_mut();
        if state.running().next().is_some() {
            return no("rings are running that are accounted for elsewhere");
        }
        state.inflight = Some(Rc::new(mapped.map_err(Error::ReqHandlerError)?));
        Ok(())
    }

    // What is not offered.

    fn set_gpu_socket(&self, _: GpuBackend) -> Result<()> {
        no("this is a disk")
    }

    fn get_shared_object(&self, _: VhostUserSharedMsg) -> Result<File> {
        no("objects are not shared")
    }

    fn get_max_mem_slots(&self) -> Result<u64> {
        no("memory slots are not offered")
    }

    fn add_mem_region(
        &self,
        _: &VhostUserSingleMemoryRegion,
        _: File,
        _: Option<bool>,
    ) -> Result<Option<VhostUserMemoryRegionBase>> {
        no("memory slots are not offered")
    }

    fn remove_mem_region(&self, _: &VhostUserSingleMemoryRegion) -> Result<()> {
        no("memory slots are not offered")
    }

    fn set_device_state_fd(
        &self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        no("the device's state is not moved")
    }

    fn check_device_state(&self) -> Result<()> {
        no("the device's state is not moved")
    }

    fn get_shmem_config(&self) -> Result<VhostUserShMemConfig> {
        no("there is no memory of ours to share")
    }

    fn set_log_base(&self, _: &VhostUserLog, _: File) -> Result<()> {
        no("writes of guest memory are not logged")
    }
}
