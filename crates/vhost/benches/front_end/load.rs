//! The load: slots that each have one operation under way, and the loop that waits for answers and offers what comes next.

use crate::machine::{Answer, FLUSH_TYPE, IN, Machine, OUT};
use crate::tally::Tally;
use std::os::fd::AsRawFd;
use std::str::FromStr;
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

const SECTOR_BYTES: u64 = 512;
const BLOCK_BYTES: u64 = 4096;
/// A descriptor's most: what our back end tells a driver (`size_max`), and good enough for the others.
const SEGMENT_BYTES: u32 = 256 << 10;
const HEADER_BYTES: u64 = 16;
const READS_PERCENT: u64 = 70;
/// Without any answer for this long, something is broken.
const PATIENCE_MS: i32 = 20_000;

/// What an operation is, and where the next one goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    RandomRead,
    RandomWrite,
    Mixed,
    Synced,
    Fill,
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "read" => Kind::Read,
            "write" => Kind::Write,
            "randread" => Kind::RandomRead,
            "randwrite" => Kind::RandomWrite,
            "randrw" => Kind::Mixed,
            "synced" => Kind::Synced,
            "fill" => Kind::Fill,
            _ => return Err(()),
        })
    }
}

#[derive(Clone, Copy)]
pub struct Work {
    pub kind: Kind,
    pub bytes: u32,
    /// For each queue.
    pub depth: u16,
    /// Bytes of the disk that are worked on, from its start.
    pub span: u64,
}

impl Work {
    /// Whether the next operation reads.
    fn reads(self, draw: &mut Draw) -> bool {
        match self.kind {
            Kind::Read | Kind::RandomRead => true,
            Kind::Mixed => draw.below(100) < READS_PERCENT,
            Kind::Write | Kind::RandomWrite | Kind::Synced | Kind::Fill => false,
        }
    }

    fn is_sequential(self) -> bool {
        matches!(self.kind, Kind::Read | Kind::Write | Kind::Fill)
    }

    fn segments(self) -> u16 {
        self.bytes.div_ceil(SEGMENT_BYTES) as u16
    }

    /// Descriptors of a request: a header, data, a status.
    fn descriptors(self) -> u16 {
        self.segments() + 2
    }
}

/// Random numbers, the same in each run (SplitMix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Memory and descriptors for one request, and the one that is under way there.
struct Slot {
    head: u16,
    header: u64,
    data: u64,
    status: u64,
    kind: u32,
    /// Where on the disk.
    at: u64,
    /// When its operation was offered.
    begun: Instant,
}

pub struct Load<'m> {
    machine: &'m mut Machine,
    work: Work,
    /// By queue.
    slots: Vec<Vec<Slot>>,
    draw: Draw,
    /// Where the next one goes that follows the one before.
    next: u64,
    calls: Epoll,
    tally: Tally,
    under_way: usize,
}

/// When a run goes over to counting, and when it offers nothing more.
#[derive(Clone, Copy)]
struct Times {
    counts: Instant,
    ends: Instant,
}

impl<'m> Load<'m> {
    pub fn new(machine: &'m mut Machine, work: Work) -> Self {
        assert!(u64::from(work.bytes) <= work.span, "a request fits into the span");
        assert!(
            work.depth * work.descriptors() <= machine.queue_size,
            "the ring has room for the depth"
        );
        let calls = Epoll::new().unwrap();
        for (number, queue) in machine.queues.iter().enumerate() {
            let event = EpollEvent::new(EventSet::IN, number as u64);
            calls
                .ctl(ControlOperation::Add, queue.call.as_raw_fd(), event)
                .unwrap();
        }
        let mut draw = Draw(1);
        let queues = machine.queues.len();
        let slots = (0..queues)
            .map(|queue| {
                (0..work.depth)
                    .map(|_| slot(machine, queue, work, &mut draw))
                    .collect()
            })
            .collect();
        Self {
            machine,
            work,
            slots,
            draw,
            next: 0,
            calls,
            tally: Tally::default(),
            under_way: 0,
        }
    }

    /// Works for that long, of which a beginning does not count, until all is answered.
    pub fn run(mut self, time: Duration) -> Tally {
        let fills = self.work.kind == Kind::Fill;
        let warm = if fills {
            Duration::ZERO
        } else {
            (time / 4).min(Duration::from_millis(500))
        };
        let begun = Instant::now();
        let times = Times {
            counts: begun + warm,
            ends: begun + warm + time,
        };
        for queue in 0..self.slots.len() {
            for number in 0..self.slots[queue].len() {
                self.begin(queue, number, begun, times);
            }
            self.show(queue);
        }
        self.answer_all(times);
        self.tally.time = time;
        if fills {
            self.offer(0, 0, FLUSH_TYPE);
            self.show(0);
            self.answer_all(times);
            self.tally.time = begun.elapsed();
        }
        self.tally
    }

    fn answer_all(&mut self, times: Times) {
        let mut events = vec![EpollEvent::default(); self.slots.len()];
        while self.under_way > 0 {
            let count = match self.calls.wait(PATIENCE_MS, &mut events) {
                Ok(0) => panic!("{} requests are not answered", self.under_way),
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => panic!("waiting for interrupts: {e}"),
            };
            for event in &events[..count] {
                let queue = event.data() as usize;
                self.tally.interrupts += self.machine.queues[queue].call.read().unwrap_or(0);
                while let Some(answer) = self.machine.answer_now(queue) {
                    self.take(queue, &answer, times);
                }
                self.show(queue);
            }
        }
    }

    /// Takes an answer, and offers what follows.
    fn take(&mut self, queue: usize, answer: &Answer, times: Times) {
        self.under_way -= 1;
        let number = usize::from(answer.head / self.work.descriptors());
        self.check(queue, number, answer);
        let now = Instant::now();
        let slot = &self.slots[queue][number];
        if self.work.kind == Kind::Synced && slot.kind == OUT {
            self.offer(queue, number, FLUSH_TYPE);
            return;
        }
        if now >= times.counts && now < times.ends || self.work.kind == Kind::Fill {
            self.tally.operation(now - slot.begun);
        } else if now < times.counts {
            // Everything that was counted so far was not for counting.
            self.tally.kicks = 0;
            self.tally.interrupts = 0;
        }
        self.begin(queue, number, now, times);
    }

    fn check(&mut self, queue: usize, number: usize, answer: &Answer) {
        let slot = &self.slots[queue][number];
        let memory = &self.machine.memory;
        let status: u8 = memory.read_obj(GuestAddress(slot.status)).unwrap();
        let reads = slot.kind == IN;
        let found = !reads
            || (0..u64::from(self.work.bytes))
                .step_by(BLOCK_BYTES as usize)
                .all(|block| {
                    let place: u64 = memory.read_obj(GuestAddress(slot.data + block)).unwrap();
                    place == slot.at + block
                });
        let written = if reads { self.work.bytes + 1 } else { 1 };
        if status != 0 || !found || answer.written != written {
            self.tally.errors += 1;
        }
    }

    /// Offers the slot's next operation, if there is one.
    fn begin(&mut self, queue: usize, number: usize, now: Instant, times: Times) {
        let fills = self.work.kind == Kind::Fill;
        let bytes = u64::from(self.work.bytes);
        if fills && self.next + bytes > self.work.span || !fills && now >= times.ends {
            return;
        }
        let at = if self.work.is_sequential() {
            let at = if self.next + bytes > self.work.span {
                0
            } else {
                self.next
            };
            self.next = at + bytes;
            at
        } else {
            self.draw.below(self.work.span / bytes) * bytes
        };
        let kind = if self.work.reads(&mut self.draw) { IN } else { OUT };
        let slot = &mut self.slots[queue][number];
        (slot.begun, slot.at) = (now, at);
        let (memory, data) = (&self.machine.memory, slot.data);
        for block in (0..bytes).step_by(BLOCK_BYTES as usize) {
            // What was there must not be taken for what is read now.
            let mark = if kind == OUT { at + block } else { u64::MAX };
            memory.write_obj(mark, GuestAddress(data + block)).unwrap();
        }
        self.offer(queue, number, kind);
    }

    /// Puts the slot's request into the ring; it is shown later.
    fn offer(&mut self, queue: usize, number: usize, kind: u32) {
        let slot = &mut self.slots[queue][number];
        slot.kind = kind;
        let mut header = [0; HEADER_BYTES as usize];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..].copy_from_slice(&(slot.at / SECTOR_BYTES).to_le_bytes());
        let memory = &self.machine.memory;
        memory.write_slice(&header, GuestAddress(slot.header)).unwrap();
        memory.write_obj(0xffu8, GuestAddress(slot.status)).unwrap();
        let mut buffers = vec![(slot.header, HEADER_BYTES as u32, false)];
        if kind != FLUSH_TYPE {
            buffers.extend((0..self.work.bytes).step_by(SEGMENT_BYTES as usize).map(|from| {
                let len = SEGMENT_BYTES.min(self.work.bytes - from);
                (slot.data + u64::from(from), len, kind == IN)
            }));
        }
        buffers.push((slot.status, 1, true));
        let head = slot.head;
        self.machine.set_chain(queue, head, &buffers);
        self.machine.add(queue, head);
        self.under_way += 1;
    }

    /// Shows what was offered, and kicks if the back end wants to be told of any of it.
    fn show(&mut self, queue: usize) {
        if self.machine.show(queue) {
            self.machine.queues[queue].kick.write(1).unwrap();
            self.tally.kicks += 1;
        }
    }
}

fn slot(machine: &mut Machine, queue: usize, work: Work, draw: &mut Draw) -> Slot {
    let data = machine.reserve(u64::from(work.bytes), BLOCK_BYTES);
    for at in (0..u64::from(work.bytes)).step_by(8) {
        machine
            .memory
            .write_obj(draw.next(), GuestAddress(data + at))
            .unwrap();
    }
    let header = machine.reserve(HEADER_BYTES, HEADER_BYTES);
    Slot {
        head: machine.reserve_chain(queue, work.descriptors()),
        header,
        data,
        status: machine.reserve(1, 1),
        kind: FLUSH_TYPE,
        at: 0,
        begun: Instant::now(),
    }
}
