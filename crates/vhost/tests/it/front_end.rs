//! What tests do with a machine: requests one by one, from places that are not aligned.

use crate::back_end::{BackEnd, Content};
pub use crate::machine::*;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemark_env::real::IoChoice;
use tidemark_vhost::ServeLimits;
use vhost::vhost_user::Frontend;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

pub const QUEUE_SIZE: u16 = 32;

pub const INDIRECT: u16 = 4;

pub const GET_ID: u32 = 8;
pub const DISCARD: u32 = 11;
pub const ZEROES: u32 = 13;

impl Machine {
    pub fn small(queues: usize) -> Self {
        Self::new(queues, QUEUE_SIZE)
    }

    /// A place for data of that length.
    pub fn place(&mut self, len: u64) -> u64 {
        // The next one is unaligned on purpose.
        self.reserve(len.next_multiple_of(64) + 1, 1)
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

    /// Offers the chain at `head`, and kicks if that is wanted.
    pub fn offer(&mut self, queue: usize, head: u16) {
        self.add(queue, head);
        if self.show(queue) {
            self.queues[queue].kick.write(1).unwrap();
        }
    }

    /// Offers buffers, each (address, length, writable); the head.
    pub fn submit(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> u16 {
        let head = self.reserve_chain(queue, buffers.len() as u16);
        self.set_chain(queue, head, buffers);
        self.offer(queue, head);
        head
    }

    /// The next answer, waited for by interrupt, as a driver does; `None` if the ring is said to be broken.
    pub fn answer(&mut self, queue: usize) -> Option<Answer> {
        let events = Epoll::new().unwrap();
        let Queue { call, error, .. } = &self.queues[queue];
        for event in [call, error] {
            let wanted = EpollEvent::new(EventSet::IN, 0);
            events
                .ctl(ControlOperation::Add, event.as_raw_fd(), wanted)
                .unwrap();
        }
        loop {
            if let Some(answer) = self.answer_now(queue) {
                return Some(answer);
            }
            if self.queues[queue].error.read().is_ok() {
                return None;
            }
            let ready = events.wait(10_000, &mut [EpollEvent::default()]).unwrap();
            assert!(ready > 0, "no answer, or no interrupt");
            let _ = self.queues[queue].call.read();
        }
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
    let mut machine = Machine::small(queues);
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
