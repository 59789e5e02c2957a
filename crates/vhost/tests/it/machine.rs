//! A virtual machine as its front end has it: memory, rings filled by hand, and the `vhost` crate's half of the protocol.
//!
//! Also what `benches/front_end` measures with, by including this file; so nothing in it is there for tests only.

use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserInflight};
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub const MEMORY_BYTES: u64 = 64 << 20;
/// Where the front end says that it has the guest's memory: not where anybody has it.
const USER: u64 = 0x7f00_0000_0000;
/// A queue's place.
const QUEUE_BYTES: u64 = 0x1_0000;
const AVAIL_AT: u64 = 0x4000;
const USED_AT: u64 = 0x8000;
/// Where data may lie.
pub const DATA: u64 = 0x40_0000;

pub const FLUSH: u64 = 1 << 9;
pub const EVENT_IDX: u64 = 1 << 29;
const VERSION_1: u64 = 1 << 32;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;

/// A flag of the used ring.
const NO_NOTIFY: u16 = 1;

pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH_TYPE: u32 = 4;

/// A descriptor: address, length, flags, next.
pub type Descriptor = (u64, u32, u16, u16);

pub struct Queue {
    pub kick: EventFd,
    pub call: EventFd,
    pub error: EventFd,
    /// What was added to the available ring, and what of it was shown.
    avail: u16,
    shown: u16,
    used: u16,
    /// The descriptor after those that were given out last.
    free: u16,
}

impl Queue {
    fn new() -> Self {
        let event = || EventFd::new(EFD_NONBLOCK).unwrap();
        Self {
            kick: event(),
            call: event(),
            error: event(),
            avail: 0,
            shown: 0,
            used: 0,
            free: 0,
        }
    }
}

/// A virtual machine: what outlives any back end.
pub struct Machine {
    pub file: File,
    pub memory: GuestMemoryMmap,
    pub queues: Vec<Queue>,
    /// Entries of each queue.
    pub queue_size: u16,
    pub inflight: Option<(VhostUserInflight, File)>,
    pub features: u64,
    next_data: u64,
}

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    pub head: u16,
    pub written: u32,
}

pub fn sealed(bytes: u64) -> File {
    let fd = rustix::fs::memfd_create("guest", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    rustix::fs::ftruncate(&fd, bytes).unwrap();
    rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW).unwrap();
    fd.into()
}

/// Of what a back end may offer, what we know how to use.
fn protocol_known() -> VhostUserProtocolFeatures {
    VhostUserProtocolFeatures::MQ
        | VhostUserProtocolFeatures::REPLY_ACK
        | VhostUserProtocolFeatures::CONFIG
        | VhostUserProtocolFeatures::BACKEND_REQ
        | VhostUserProtocolFeatures::INFLIGHT_SHMFD
}

impl Machine {
    pub fn new(queues: usize, queue_size: u16) -> Self {
        let file = sealed(MEMORY_BYTES);
        let range = (
            GuestAddress(0),
            MEMORY_BYTES as usize,
            Some(FileOffset::new(file.try_clone().unwrap(), 0)),
        );
        Self {
            memory: GuestMemoryMmap::from_ranges_with_files([range]).unwrap(),
            file,
            queues: (0..queues).map(|_| Queue::new()).collect(),
            queue_size,
            inflight: None,
            features: FLUSH | EVENT_IDX,
            next_data: DATA,
        }
    }

    /// Connects to a new back end as far as agreeing on features: who it is, and the protocol's features in use.
    pub fn greet(&mut self, socket: UnixStream) -> (Frontend, VhostUserProtocolFeatures) {
        let mut front = Frontend::from_stream(socket, 64);
        front.set_owner().unwrap();
        let offered = front.get_features().unwrap();
        let wanted = self.features | VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        assert_eq!(wanted & !offered, 0, "what we want is offered");
        let protocol = front.get_protocol_features().unwrap() & protocol_known();
        front.set_protocol_features(protocol).unwrap();
        front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        let queues = front.get_queue_num().unwrap();
        assert!(self.queues.len() as u64 <= queues, "{queues} queues are offered");
        front.set_features(wanted).unwrap();
        (front, protocol)
    }

    pub fn region(&self) -> VhostUserMemoryRegionInfo {
        VhostUserMemoryRegionInfo {
            guest_phys_addr: 0,
            memory_size: MEMORY_BYTES,
            userspace_addr: USER,
            mmap_offset: 0,
            mmap_handle: self.file.as_raw_fd(),
        }
    }

    /// Connects to a new back end and starts all rings.
    pub fn connect(&mut self, socket: UnixStream) -> Frontend {
        let (mut front, protocol) = self.greet(socket);
        if protocol.contains(VhostUserProtocolFeatures::INFLIGHT_SHMFD) {
            if self.inflight.is_none() {
                let asked = VhostUserInflight::new(0, 0, self.queues.len() as u16, self.queue_size);
                self.inflight = Some(front.get_inflight_fd(&asked).unwrap());
            }
            let (region, file) = self.inflight.as_ref().unwrap();
            front.set_inflight_fd(region, file.as_raw_fd()).unwrap();
        }
        front.set_mem_table(&[self.region()]).unwrap();
        for index in 0..self.queues.len() {
            self.start_queue(&mut front, index, self.queues[index].avail);
        }
        front
    }

    pub fn start_queue(&self, front: &mut Frontend, index: usize, base: u16) {
        let at = USER + QUEUE_BYTES * index as u64;
        let queue = &self.queues[index];
        front.set_vring_num(index, self.queue_size).unwrap();
        front.set_vring_base(index, base).unwrap();
        let places = VringConfigData {
            queue_max_size: self.queue_size,
            queue_size: self.queue_size,
            flags: 0,
            desc_table_addr: at,
            used_ring_addr: at + USED_AT,
            avail_ring_addr: at + AVAIL_AT,
            log_addr: None,
        };
        front.set_vring_addr(index, &places).unwrap();
        front.set_vring_err(index, &queue.error).unwrap();
        front.set_vring_kick(index, &queue.kick).unwrap();
        front.set_vring_call(index, &queue.call).unwrap();
        front.set_vring_enable(index, true).unwrap();
    }

    /// A free place for so many bytes, at a multiple of `align`.
    pub fn reserve(&mut self, len: u64, align: u64) -> u64 {
        let at = self.next_data.next_multiple_of(align);
        self.next_data = at + len;
        assert!(self.next_data < MEMORY_BYTES);
        at
    }

    /// The first of so many descriptors in a row (round the table's end). They go round, so earlier ones come again.
    pub fn reserve_chain(&mut self, queue: usize, descriptors: u16) -> u16 {
        let size = self.queue_size;
        let queue = &mut self.queues[queue];
        let head = queue.free;
        queue.free = (head + descriptors) % size;
        head
    }

    pub fn set_descriptor(&self, table: u64, index: u16, (at, len, flags, next): Descriptor) {
        let entry = table + 16 * u64::from(index);
        let put = |bytes: &[u8], at: u64| self.memory.write_slice(bytes, GuestAddress(at)).unwrap();
        put(&at.to_le_bytes(), entry);
        put(&len.to_le_bytes(), entry + 8);
        put(&flags.to_le_bytes(), entry + 12);
        put(&next.to_le_bytes(), entry + 14);
    }

    pub fn table(&self, queue: usize) -> u64 {
        QUEUE_BYTES * queue as u64
    }

    /// Makes a chain from `head` on of buffers, each (address, length, writable).
    pub fn set_chain(&self, queue: usize, head: u16, buffers: &[(u64, u32, bool)]) {
        for (number, (at, len, writable)) in buffers.iter().enumerate() {
            let index = (head + number as u16) % self.queue_size;
            let mut flags = if *writable { WRITE } else { 0 };
            if number + 1 < buffers.len() {
                flags |= NEXT;
            }
            let next = (index + 1) % self.queue_size;
            self.set_descriptor(self.table(queue), index, (*at, *len, flags, next));
        }
    }

    /// Puts the chain at `head` into the available ring, where nobody looks before `show`.
    pub fn add(&mut self, queue: usize, head: u16) {
        let at = self.table(queue) + AVAIL_AT;
        let slot = at + 4 + 2 * u64::from(self.queues[queue].avail % self.queue_size);
        self.memory.write_obj(head.to_le(), GuestAddress(slot)).unwrap();
        self.queues[queue].avail = self.queues[queue].avail.wrapping_add(1);
    }

    /// Shows what was added; whether the back end wants to be kicked for any of it.
    pub fn show(&mut self, queue: usize) -> bool {
        let to = self.queues[queue].avail;
        let from = std::mem::replace(&mut self.queues[queue].shown, to);
        self.set_avail(queue, to);
        let used = self.table(queue) + USED_AT;
        if self.features & EVENT_IDX == 0 {
            return from != to && self.load(used) & NO_NOTIFY == 0;
        }
        let event = self.load(used + 4 + 8 * u64::from(self.queue_size));
        to.wrapping_sub(event).wrapping_sub(1) < to.wrapping_sub(from)
    }

    pub fn set_avail(&self, queue: usize, index: u16) {
        self.store(self.table(queue) + AVAIL_AT + 2, index);
    }

    pub fn used_index(&self, queue: usize) -> u16 {
        self.load(self.table(queue) + USED_AT + 2)
    }

    pub fn answer_now(&mut self, queue: usize) -> Option<Answer> {
        if self.used_index(queue) == self.queues[queue].used {
            return None;
        }
        let table = self.table(queue);
        let slot = table + USED_AT + 4 + 8 * u64::from(self.queues[queue].used % self.queue_size);
        let id: u32 = self.memory.read_obj(GuestAddress(slot)).unwrap();
        let written: u32 = self.memory.read_obj(GuestAddress(slot + 4)).unwrap();
        let used = self.queues[queue].used.wrapping_add(1);
        self.queues[queue].used = used;
        // Interrupts from the next answer on.
        self.store(table + AVAIL_AT + 4 + 2 * u64::from(self.queue_size), used);
        Some(Answer {
            head: u32::from_le(id) as u16,
            written: u32::from_le(written),
        })
    }

    fn load(&self, at: u64) -> u16 {
        u16::from_le(self.memory.load(GuestAddress(at), Ordering::SeqCst).unwrap())
    }

    fn store(&self, at: u64, value: u16) {
        self.memory
            .store(value.to_le(), GuestAddress(at), Ordering::SeqCst)
            .unwrap();
    }
}
