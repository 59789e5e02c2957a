//! The collector's protocol as a small machine, and every state that it can get into.
//!
//! Two writers and two collectors, each of which may be passed over for as long as it likes between any two of its requests,
//! a user who deletes, and an operator who releases what a disk holds. The bucket does one request at a time, as stores
//! with read-after-write do. What is here is the protocol of `src/gc/mod.rs` and nothing else: which requests are made in
//! which order, and what is decided from the answers. In each state, everything that a root in use reaches is there.
//!
//! Each rule of the protocol is left out in turn, and then a state is found in which something needed is gone.

use std::collections::HashSet;

/// Packs: P0 of snapshot S0, P1 and P2 of the two captures.
const P0: u8 = 1;
const P1: u8 = 2;
const P2: u8 = 4;
/// What the roots reach. The captures' parent is R0.
const R0: u8 = P0;
const R1: u8 = P0 | P1;
const R2: u8 = P0 | P2;

/// Facts in the log of disk D0: its snapshots, not purged, and what its volume holds.
const S0: u8 = 1;
const S1: u8 = 2;
const HELD0: u8 = 4;
const HELD1: u8 = 8;
/// Facts in the log of disk D1, which is made from S0.
const ADOPTED0: u8 = 1;
const S2: u8 = 2;

/// A rule that is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Broken {
    Nothing,
    OnePass,
    CapturesUnseen,
    CapturesAfterHeads,
    PacksLast,
    AdoptionChecksFirst,
    CommitUnguarded,
    RegisteredAfterUpload,
    UnregisteredBeforeCommit,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
struct Collector {
    step: u8,
    listed: u8,
    captures: u8,
    marked: u8,
    /// Logs read in the pass under way.
    read: u8,
    garbage: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    packs: u8,
    d0: u8,
    d1: u8,
    /// Registered captures, by the pack that they make.
    captures: u8,
    w0: u8,
    w1: u8,
    collectors: [Collector; 2],
}

const ENDED: u8 = 99;

fn reach_d0(log: u8) -> u8 {
    let mut reached = 0;
    if log & (S0 | HELD0) != 0 {
        reached |= R0;
    }
    if log & (S1 | HELD1) != 0 {
        reached |= R1;
    }
    reached
}

fn reach_d1(log: u8) -> u8 {
    let mut reached = 0;
    if log & ADOPTED0 != 0 {
        reached |= R0;
    }
    if log & S2 != 0 {
        reached |= R2;
    }
    reached
}

impl State {
    fn first() -> Self {
        Self {
            packs: P0,
            d0: S0 | HELD0,
            d1: 0,
            captures: 0,
            w0: 0,
            w1: 0,
            collectors: [Collector::default(); 2],
        }
    }

    /// What is gone although somebody relies on it.
    fn lost(&self) -> u8 {
        let mut needed = reach_d0(self.d0);
        if self.d1 & S2 != 0 {
            needed |= R2;
        }
        // The volume of D1 relies on R0 from the check on, until it has told that it does not.
        if (2..=7).contains(&self.w1) && self.d1 & ADOPTED0 != 0 {
            needed |= R0;
        }
        needed & !self.packs
    }

    fn next(&self, broken: Broken, out: &mut Vec<State>) {
        self.writer0(broken, out);
        self.writer1(broken, out);
        for n in 0..2 {
            self.collector(n, broken, out);
        }
        // Deleted snapshots are purged when their time comes; an operator, or the end of the disk, releases what is held.
        for fact in [S0, S1, HELD0, HELD1] {
            if self.d0 & fact != 0 {
                out.push(State {
                    d0: self.d0 & !fact,
                    ..*self
                });
            }
        }
        if self.d1 & S2 != 0 {
            out.push(State {
                d1: self.d1 & !S2,
                ..*self
            });
        }
    }

    /// Captures S1 of D0 relative to S0.
    fn writer0(&self, broken: Broken, out: &mut Vec<State>) {
        let mut next = *self;
        next.w0 += 1;
        let (register, upload) = match broken {
            Broken::RegisteredAfterUpload => (1, 0),
            _ => (0, 1),
        };
        match self.w0 {
            step if step == register => next.captures |= P1,
            step if step == upload => next.packs |= P1,
            2 if broken == Broken::UnregisteredBeforeCommit => next.captures &= !P1,
            2 => {}
            3 => {
                if self.d0 & (S0 | HELD0) == 0 && broken != Broken::CommitUnguarded {
                    next.w0 = ENDED;
                    next.captures &= !P1;
                } else {
                    next.d0 |= S1 | HELD1;
                }
            }
            4 => next.captures &= !P1,
            _ => return,
        }
        out.push(next);
    }

    /// Makes D1 from S0, captures S2 of it relative to S0, and no longer needs S0.
    fn writer1(&self, broken: Broken, out: &mut Vec<State>) {
        let mut next = *self;
        next.w1 += 1;
        let (hold, check) = match broken {
            Broken::AdoptionChecksFirst => (1, 0),
            _ => (0, 1),
        };
        match self.w1 {
            step if step == hold => next.d1 |= ADOPTED0,
            step if step == check => {
                if self.d0 & S0 == 0 {
                    next.w1 = ENDED;
                    next.d1 &= !ADOPTED0;
                }
            }
            2 => next.captures |= P2,
            3 => next.packs |= P2,
            4 => {
                if self.d1 & ADOPTED0 == 0 && broken != Broken::CommitUnguarded {
                    next.w1 = ENDED;
                } else {
                    next.d1 |= S2;
                }
            }
            5 => next.captures &= !P2,
            6 => next.d1 &= !ADOPTED0,
            _ => return,
        }
        out.push(next);
    }

    fn collector(&self, n: usize, broken: Broken, out: &mut Vec<State>) {
        let at = self.collectors[n];
        let mut push = |mut collector: Collector, packs: u8| {
            if collector.step == 4 {
                // It has decided, and what it decided from no longer matters: fewer states.
                let found = collector.listed & !collector.marked & !collector.captures;
                collector = Collector {
                    step: 4,
                    garbage: collector.garbage | found,
                    ..Collector::default()
                };
            }
            let mut next = State { packs, ..*self };
            next.collectors[n] = collector;
            // They are alike: which is which does not matter.
            next.collectors.sort_unstable();
            out.push(next);
        };
        let passes = if broken == Broken::OnePass { 1 } else { 2 };
        // The logs of a pass are read in either order.
        let mut read = |step: u8| {
            for (log, reached) in [(1, reach_d0(self.d0)), (2, reach_d1(self.d1))] {
                if at.read & log != 0 {
                    continue;
                }
                let mut next = at;
                next.marked |= reached;
                next.read |= log;
                if next.read == 3 {
                    next.read = 0;
                    next.step = step + 1;
                }
                push(next, self.packs);
            }
        };
        let list = Collector {
            listed: self.packs,
            step: at.step + 1,
            ..at
        };
        let captures = Collector {
            captures: if broken == Broken::CapturesUnseen {
                0
            } else {
                self.captures
            },
            step: at.step + 1,
            ..at
        };
        let order: [u8; 4] = match broken {
            Broken::CapturesAfterHeads => [b'l', b'1', b'2', b'c'],
            Broken::PacksLast => [b'c', b'1', b'2', b'l'],
            _ => [b'l', b'c', b'1', b'2'],
        };
        match at.step {
            step @ 0..=3 => match order[usize::from(step)] {
                b'l' => push(list, self.packs),
                b'c' => push(captures, self.packs),
                b'2' if passes == 1 => push(Collector { step: step + 1, ..at }, self.packs),
                _ => read(step),
            },
            4 => {
                for pack in [P0, P1, P2] {
                    if at.garbage & pack != 0 {
                        let mut next = at;
                        next.garbage &= !pack;
                        push(next, self.packs & !pack);
                    }
                }
            }
            _ => {}
        }
    }
}

impl State {
    /// All of it in one number, to be remembered by.
    fn key(&self) -> u64 {
        let collector = |c: &Collector| {
            let fields = [
                (c.step, 3),
                (c.listed, 3),
                (c.captures, 3),
                (c.marked, 3),
                (c.read, 2),
                (c.garbage, 3),
            ];
            fields
                .iter()
                .fold(0u64, |all, (field, bits)| all << bits | u64::from(*field))
        };
        let [a, b] = &self.collectors;
        let writers = [
            (self.packs, 3),
            (self.d0, 4),
            (self.d1, 2),
            (self.captures, 3),
            (self.w0.min(7), 3),
            (self.w1.min(15), 4),
        ];
        let writers = writers
            .iter()
            .fold(0u64, |all, (field, bits)| all << bits | u64::from(*field));
        writers << 34 | collector(a) << 17 | collector(b)
    }
}

/// Every state that can be reached; `Err` at the first in which something needed is gone.
fn explore(broken: Broken) -> Result<usize, State> {
    let mut seen: HashSet<u64> = HashSet::from([State::first().key()]);
    let mut open = vec![State::first()];
    let mut next = Vec::new();
    while let Some(state) = open.pop() {
        if state.lost() != 0 {
            return Err(state);
        }
        state.next(broken, &mut next);
        for state in next.drain(..) {
            if seen.insert(state.key()) {
                open.push(state);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn no_order_of_requests_loses_what_is_needed() {
    let states = explore(Broken::Nothing).unwrap_or_else(|state| panic!("lost: {state:?}"));
    println!("{states} states");
    assert!(
        states > 100_000,
        "only {states} states: the model has lost its parts"
    );
}

#[test]
fn every_rule_of_the_protocol_is_needed() {
    use Broken::*;
    for broken in [
        OnePass,
        CapturesUnseen,
        CapturesAfterHeads,
        PacksLast,
        AdoptionChecksFirst,
        CommitUnguarded,
        RegisteredAfterUpload,
        UnregisteredBeforeCommit,
    ] {
        assert!(
            explore(broken).is_err(),
            "nothing is lost without the rule {broken:?}"
        );
    }
}
