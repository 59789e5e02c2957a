//! The front end: memory, rings filled by hand, and the `vhost` crate's half of the protocol.

use crate::back_end::{BackEnd, Content};
use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemark_env::real::IoChoice;
use tidemark_vhost::ServeLimits;
use vhost::vhost_user::message::{VhostUserHeaderFlag, VhostUserInflight};
use vhost::vhost_user::{Frontend, VhostUserFrontend, VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost::{VhostBackend, VhostUserMemoryRegionInfo, VringConfigData};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

pub const MEMORY_BYTES: u64 = 64 << 20;
pub const QUEUE_SIZE: u16 = 32;
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
pub const INDIRECT: u16 = 4;

pub const IN: u32 = 0;
pub const OUT: u32 = 1;
pub const FLUSH_TYPE: u32 = 4;
pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const ZEROES: u32 = 13;

/// A descriptor: address, length, flags, next.
pub type Descriptor = (u64, u32, u16, u16);

pub struct Queue {
    pub kick: EventFd,
    pub call: EventFd,
    pub error: EventFd,
    avail: u16,
    used: u16,
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

impl Machine {
    pub fn new(queues: usize) -> Self {
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
            inflight: None,
            features: FLUSH | EVENT_IDX,
            next_data: DATA,
        }
    }

    /// Connects to a new back end as far as agreeing on features and handing over memory.
    pub fn greet(&mut self, socket: UnixStream) -> Frontend {
        let mut front = Frontend::from_stream(socket, 64);
        front.set_owner().unwrap();
        let offered = front.get_features().unwrap();
        let wanted = self.features | VERSION_1 | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits();
        assert_eq!(wanted & !offered, 0, "what we want is offered");
        let protocol = front.get_protocol_features().unwrap();
        front.set_protocol_features(protocol).unwrap();
        assert!(protocol.contains(VhostUserProtocolFeatures::INFLIGHT_SHMFD));
        front.set_hdr_flags(VhostUserHeaderFlag::NEED_REPLY);
        assert_eq!(front.get_queue_num().unwrap(), 64);
        front.set_features(wanted).unwrap();
        front
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
        let mut front = self.greet(socket);
        if self.inflight.is_none() {
            let asked = VhostUserInflight::new(0, 0, self.queues.len() as u16, QUEUE_SIZE);
            self.inflight = Some(front.get_inflight_fd(&asked).unwrap());
        }
        let (region, file) = self.inflight.as_ref().unwrap();
        front.set_inflight_fd(region, file.as_raw_fd()).unwrap();
        front.set_mem_table(&[self.region()]).unwrap();
        for index in 0..self.queues.len() {
            self.start_queue(&mut front, index, self.queues[index].avail);
        }
        front
    }

    pub fn start_queue(&self, front: &mut Frontend, index: usize, base: u16) {
        let at = USER + QUEUE_BYTES * index as u64;
        let queue = &self.queues[index];
        front.set_vring_num(index, QUEUE_SIZE).unwrap();
        front.set_vring_base(index, base).unwrap();
        let places = VringConfigData {
            queue_max_size: QUEUE_SIZE,
            queue_size: QUEUE_SIZE,
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

    /// A place for data of that length.
    pub fn place(&mut self, len: u64) -> u64 {
        let at = self.next_data;
        // Unaligned on purpose.
        self.next_data += len.next_multiple_of(64) + 1;
        assert!(self.next_data < MEMORY_BYTES);
        at
    }

    pub fn put(&mut self, data: &[u8]) -> u64 {
        let at = self.place(data.len() as u64);
        self.memory.write_slice(data, GuestAddress(at)).unwrap();
        at
    }

    pub fn get(&self, at: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        self.memory.read_slice(&mut data, GuestAddress(at)).unwrap();
        data
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

    /// Offers the chain at `head`, and kicks.
    pub fn offer(&mut self, queue: usize, head: u16) {
        let at = QUEUE_BYTES * queue as u64 + AVAIL_AT;
        let slot = at + 4 + 2 * u64::from(self.queues[queue].avail % QUEUE_SIZE);
        self.memory.write_obj(head.to_le(), GuestAddress(slot)).unwrap();
        self.queues[queue].avail = self.queues[queue].avail.wrapping_add(1);
        self.set_avail(queue, self.queues[queue].avail);
        self.queues[queue].kick.write(1).unwrap();
    }

    pub fn set_avail(&self, queue: usize, index: u16) {
        let at = QUEUE_BYTES * queue as u64 + AVAIL_AT + 2;
        let order = std::sync::atomic::Ordering::SeqCst;
        self.memory.store(index.to_le(), GuestAddress(at), order).unwrap();
    }

    /// Offers buffers, each (address, length, writable); the head.
    pub fn submit(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> u16 {
        let head = self.queues[queue].free;
        for (number, (at, len, writable)) in buffers.iter().enumerate() {
            let index = (head + number as u16) % QUEUE_SIZE;
            let mut flags = if *writable { WRITE } else { 0 };
            if number + 1 < buffers.len() {
                flags |= NEXT;
            }
            let table = self.table(queue);
            self.set_descriptor(table, index, (*at, *len, flags, (index + 1) % QUEUE_SIZE));
        }
        self.queues[queue].free = (head + buffers.len() as u16) % QUEUE_SIZE;
        self.offer(queue, head);
        head
    }

    pub fn used_index(&self, queue: usize) -> u16 {
        let at = QUEUE_BYTES * queue as u64 + USED_AT + 2;
        let order = std::sync::atomic::Ordering::SeqCst;
        u16::from_le(self.memory.load(GuestAddress(at), order).unwrap())
    }

    /// The next answer, waited for by interrupts, as a driver does.
    pub fn answer(&mut self, queue: usize) -> Option<Answer> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(answer) = self.answer_now(queue) {
                return Some(answer);
            }
            if self.queues[queue].error.read().is_ok() {
                return None;
            }
            assert!(Instant::now() < deadline, "no answer");
            let _ = self.queues[queue].call.read();
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn answer_now(&mut self, queue: usize) -> Option<Answer> {
        if self.used_index(queue) == self.queues[queue].used {
            return None;
        }
        let at = QUEUE_BYTES * queue as u64 + USED_AT;
        let slot = at + 4 + 8 * u64::from(self.queues[queue].used % QUEUE_SIZE);
        let id: u32 = self.memory.read_obj(GuestAddress(slot)).unwrap();
        let written: u32 = self.memory.read_obj(GuestAddress(slot + 4)).unwrap();
        self.queues[queue].used = self.queues[queue].used.wrapping_add(1);
        // Interrupts from the next answer on.
        let event = QUEUE_BYTES * queue as u64 + AVAIL_AT + 4 + 2 * u64::from(QUEUE_SIZE);
        let used = self.queues[queue].used;
        self.memory.write_obj(used.to_le(), GuestAddress(event)).unwrap();
        Some(Answer {
            head: u32::from_le(id) as u16,
            written: u32::from_le(written),
        })
    }

    pub fn header(&mut self, kind: u32, sector: u64) -> u64 {
        let mut header = [0; 16];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&sector.to_le_bytes());
        self.put(&header)
    }

    /// Begins a request; (its head, where its data is read to, where its status is).
    pub fn begin(
        &mut self,
        queue: usize,
        kind: u32,
        sector: u64,
        out: &[u8],
        read: usize,
    ) -> (u16, u64, u64) {
        let header = self.header(kind, sector);
        let status = self.put(&[0xff]);
        let data = self.place(read as u64);
        let mut buffers = vec![(header, 16, false)];
        if !out.is_empty() {
            let at = self.put(out);
            let half = (out.len() / 2) as u32;
            buffers.push((at, half, false));
            buffers.push((at + u64::from(half), out.len() as u32 - half, false));
        }
        if read > 0 {
            let half = (read / 3) as u32;
            buffers.push((data, half, true));
            buffers.push((data + u64::from(half), read as u32 - half, true));
        }
        buffers.push((status, 1, true));
        (self.submit(queue, &buffers), data, status)
    }

    /// Makes a request and waits for its answer: (status, what was read).
    pub fn request(
        &mut self,
        queue: usize,
        kind: u32,
        sector: u64,
        out: &[u8],
        read: usize,
    ) -> (u8, Vec<u8>) {
        let (head, data, status) = self.begin(queue, kind, sector, out, read);
        let answer = self.answer(queue).expect("the ring is served");
        assert_eq!(answer.head, head);
        let status = self.get(status, 1)[0];
        let expected = if status == 0 { read as u32 + 1 } else { 1 };
        assert_eq!(answer.written, expected);
        (status, self.get(data, read))
    }
}

/// A machine with `queues` queues, connected to a back end.
pub fn connected(content: &Arc<Content>, queues: usize, io: IoChoice) -> (Machine, Frontend, BackEnd) {
    let mut machine = Machine::new(queues);
    let (back_end, socket) = BackEnd::start(content, io, ServeLimits::default());
    let front = machine.connect(socket);
    (machine, front, back_end)
}

pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "in 10 s this did not happen: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
