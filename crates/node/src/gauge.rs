//! What a disk's clients asked for and how long they waited for it, over time: for people who look at it. Nothing decides by it
//! (captures follow [`crate::pace`]).
//!
//! In memory, so it begins when the disk is opened; bounded: the last hour in slots of [`SLOT`], before that a day in minutes. What is
//! not in a slot did not happen: silence takes no room. What was asked counts when it is answered, also when the answer is an error.

use crate::spread::Spread;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

/// The finest that is kept.
pub const SLOT: Duration = Duration::from_secs(10);
/// Slots that are kept: an hour.
const SLOTS: u64 = 360;
/// Slots in a minute.
const MINUTE: u64 = 6;
/// Minutes that are kept: a day.
const MINUTES: u64 = 1440;
/// All that is kept together.
const KEPT: Duration = Duration::from_secs(SLOT.as_secs() * MINUTE * MINUTES);

/// Which way the bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the client.
    Read,
    /// From the client, zeros that it only named among them.
    Write,
}

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long they took, all together, in microseconds.
    pub micros: u64,
    /// What ninety-nine of a hundred of them did not exceed, in microseconds, or an eighth too much.
    pub p99_micros: u64,
}

impl Served {
    /// But for the spread, which two pieces do not tell of their sum.
    fn add(&mut self, other: Served) {
        self.count += other.count;
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.micros = self.micros.saturating_add(other.micros);
    }
}

/// What was answered within some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Slot {
    /// Counted from the clock's beginning, in its own length.
    number: u64,
    read: Served,
    write: Served,
}

impl Slot {
    fn add(&mut self, other: &Slot) {
        self.read.add(other.read);
        self.write.add(other.write);
    }
}

/// What was answered in one piece of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// How long ago it began.
    pub ago: Duration,
    /// How long it was; what goes on is as long as it was until now.
    pub length: Duration,
    /// Reads.
    pub read: Served,
    /// Writes.
    pub write: Served,
}

/// A disk's past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How long it has been kept: what was before nobody knows.
    pub since: Duration,
    /// Oldest first; what is missing was silent.
    pub activities: Vec<Activity>,
}

/// The past of one disk, as it grows. All times are those of the thread's clock.
pub struct Gauge {
    began: Duration,
    kept: RefCell<Kept>,
}

/// The spread of what was answered within a slot or minute that goes on.
#[derive(Default)]
struct Spreads {
    number: u64,
    read: Spread,
    write: Spread,
}

impl Spreads {
    /// That of this slot or minute: what was of another one is over.
    fn of(&mut self, number: u64) -> &mut Self {
        if self.number != number {
            *self = Self {
                number,
                ..Self::default()
            };
        }
        self
    }

    fn mark(&self, slot: &mut Slot) {
        slot.read.p99_micros = self.read.p99();
        slot.write.p99_micros = self.write.p99();
    }
}

#[derive(Default)]
struct Kept {
    now: Slot,
    slot_spreads: Spreads,
    minute_spreads: Spreads,
    slots: VecDeque<Slot>,
    minutes: VecDeque<Slot>,
}

impl Gauge {
    /// Nothing was asked yet.
    pub fn new(began: Duration) -> Self {
        Self {
            began,
            kept: RefCell::default(),
        }
    }

    /// A client's request was answered.
    pub fn served(&self, way: Way, bytes: u64, begun: Duration, ended: Duration) {
        let number = ended.as_secs() / SLOT.as_secs();
        let mut kept = self.kept.borrow_mut();
        if kept.now.number != number {
            kept.turn(number);
        }
        let took = ended.saturating_sub(begun).as_micros();
        let micros = u64::try_from(took).unwrap_or(u64::MAX);
        let one = Served {
            count: 1,
            bytes,
            micros,
            p99_micros: 0,
        };
        let kept = &mut *kept;
        let spreads = [
            kept.slot_spreads.of(number),
            kept.minute_spreads.of(number / MINUTE),
        ];
        match way {
            Way::Read => kept.now.read.add(one),
            Way::Write => kept.now.write.add(one),
        }
        for spreads in spreads {
            match way {
                Way::Read => spreads.read.add(micros),
                Way::Write => spreads.write.add(micros),
            }
        }
    }

    /// All that is kept, at the moment `now`.
    pub fn history(&self, now: Duration) -> History {
        let number = now.as_secs() / SLOT.as_secs();
        let mut kept = self.kept.borrow_mut();
        kept.turn(number);
        let show = |slot: &Slot, length: Duration| {
            let from = length * u32::try_from(slot.number).unwrap_or(u32::MAX);
            let ago = now.saturating_sub(from);
            Activity {
                ago,
                length: length.min(ago),
                read: slot.read,
                write: slot.write,
            }
        };
        // A minute whose slots are all still there is shown by them.
        let first = number.saturating_sub(SLOTS).div_ceil(MINUTE);
        let minutes = kept.minutes.iter().filter(|minute| minute.number < first);
        let minutes = minutes.map(|minute| show(minute, SLOT * 6));
        let slots = kept.slots.iter().filter(|slot| slot.number / MINUTE >= first);
        let slots = slots.map(|slot| show(slot, SLOT));
        History {
            since: now.saturating_sub(self.began).min(KEPT),
            activities: minutes.chain(slots).collect(),
        }
    }
}

/// Adds to the newest one, if it is of the same time, or follows it.
fn put_by(slots: &mut VecDeque<Slot>, done: Slot) -> &mut Slot {
    match slots.back_mut() {
        Some(last) if last.number == done.number => last.add(&done),
        _ => slots.push_back(done),
    }
    let last = slots.len() - 1;
    &mut slots[last]
}

impl Kept {
    /// Puts the present slot by, and begins another one.
    fn turn(&mut self, number: u64) {
        let done = std::mem::replace(
            &mut self.now,
            Slot {
                number,
                ..Slot::default()
            },
        );
        if done.read.count + done.write.count > 0 {
            // Looked at in the middle of a slot, it comes in two parts. Its spread is of all of it.
            let minute = done.number / MINUTE;
            let whole = Slot {
                number: minute,
                ..done
            };
            self.slot_spreads.mark(put_by(&mut self.slots, done));
            self.minute_spreads.mark(put_by(&mut self.minutes, whole));
        }
        while self
            .slots
            .front()
            .is_some_and(|slot| slot.number + SLOTS < number)
        {
            self.slots.pop_front();
        }
        let minute = number / MINUTE;
        while self
            .minutes
            .front()
            .is_some_and(|slot| slot.number + MINUTES < minute)
        {
            self.minutes.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_asked_is_there_with_when_it_was_and_how_long_it_took() {
        let gauge = Gauge::new(at(1000));
        gauge.served(Way::Read, 4096, at(1001), at(1001) + MS);
        gauge.served(Way::Read, 4096, at(1002), at(1002) + MS * 3);
        gauge.served(Way::Write, 512, at(1031), at(1031) + MS);
        // Of the slot that goes on only what has passed counts.
        let running = gauge.history(at(1034)).activities;
        assert_eq!(
            running.last().map(|one| (one.ago, one.length)),
            Some((at(4), at(4)))
        );
        for _ in 0..2 {
            // Looking changes nothing.
            let history = gauge.history(at(1040));
            assert_eq!(history.since, at(40));
            let [first, second] = history.activities[..] else {
                panic!("{history:?}");
            };
            assert_eq!((first.ago, first.length), (at(40), SLOT));
            assert_eq!(
                first.read,
                Served {
                    count: 2,
                    bytes: 8192,
                    micros: 4000,
                    p99_micros: 3071
                }
            );
            assert_eq!(
                (second.ago, second.write.count, second.write.bytes),
                (at(10), 1, 512)
            );
        }
        // A slot that was looked at in its middle goes on.
        gauge.served(Way::Write, 512, at(1039), at(1039) + MS);
        let history = gauge.history(at(1041));
        assert_eq!(history.activities.len(), 2);
        assert_eq!(history.activities[1].write.count, 2);
    }

    #[test]
    fn the_slowest_are_those_of_the_whole_slot_or_minute_however_often_it_is_looked_at() {
        let gauge = Gauge::new(Duration::ZERO);
        let slowest = |now: u64| {
            let all = gauge.history(at(now)).activities;
            all.iter().map(|one| one.read.p99_micros).collect::<Vec<_>>()
        };
        for number in 0..198u32 {
            gauge.served(Way::Read, 1, at(5), at(5) + MS);
            if number == 100 {
                gauge.served(Way::Read, 1, at(5), at(5) + MS * 500);
                assert!(slowest(6)[0] < 1100, "one of a hundred and two");
            }
        }
        gauge.served(Way::Read, 1, at(15), at(15) + MS * 9);
        let [first, second] = slowest(16)[..] else {
            panic!()
        };
        assert!(first < 1100 && second >= 9000, "{first} {second}");
        // In the minute it is two of two hundred.
        let minutes = gauge.kept.borrow().minutes.clone();
        assert!(
            minutes.len() == 1 && minutes[0].read.p99_micros < 1100,
            "{minutes:?}"
        );
    }

    #[test]
    fn the_past_is_bounded_and_nothing_is_counted_twice() {
        let gauge = Gauge::new(Duration::ZERO);
        let day = 24 * 3600;
        for second in (0..2 * day).step_by(5) {
            gauge.served(Way::Read, 1, at(second), at(second));
        }
        let history = gauge.history(at(2 * day));
        assert!(history.activities.len() as u64 <= SLOTS + MINUTES + 2);
        let reads: u64 = history.activities.iter().map(|one| one.read.count).sum();
        let kept = history.activities.first().expect("not empty").ago.as_secs() / 5;
        assert_eq!(reads, kept);
        let mut end = None;
        for one in &history.activities {
            assert!(end.is_none_or(|end| one.ago == end), "{one:?}");
            end = Some(one.ago - one.length);
        }
        let silent = gauge.history(at(4 * day));
        assert!(silent.activities.is_empty());
        assert_eq!(silent.since, at(day), "what was before that is forgotten");
    }
}
