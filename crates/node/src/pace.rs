//! How fast a capture may read: a rate that follows the guest's latency.
//!
//! For each kind of request two averages are kept: what it *usually* takes, from the time when nothing is captured, and what it
//! takes *now*. While some kind takes much longer than usual, a capture pauses between its batches, twice as long each time; else half as
//! long. So it takes what the guest leaves, and never stops altogether. A guest that asks nothing slows nothing down.
//! Not here: the priorities of threads (`env::real`), what is read (`capture`).

use std::cell::{Cell, RefCell};
use std::time::Duration;

/// The part of a new value in the average of now, and of what is usual.
const NOW_PART: f64 = 1.0 / 16.0;
const USUAL_PART: f64 = 1.0 / 256.0;
/// Requests after which it is known what is usual.
const KNOWN_AFTER: u32 = 64;
/// Much longer than usual: so many times as long and so many microseconds more.
const STRAIN_TIMES: f64 = 2.0;
const STRAIN_MICROS: f64 = 100.0;
/// After so long without a request of its kind an average says nothing of now.
const STALE: Duration = Duration::from_millis(200);
/// After so long without a batch nothing is being captured.
const CAPTURED: Duration = Duration::from_secs(1);
/// The shortest pause between two batches, and the longest: with what a batch reads, about 40 MiB/s.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(48);

/// What a guest waits for.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Bytes, all of them local.
    Read,
    /// That a change is acknowledged.
    Change,
    /// That changes are durable.
    Flush,
}

#[derive(Clone, Copy, Default)]
struct Average {
    count: u32,
    usual: f64,
    now: f64,
    last: Duration,
}

/// One disk's guest, and how captures of the disk follow it. All times are those of the thread's clock.
#[derive(Default)]
pub struct Pace {
    averages: RefCell<[Average; 3]>,
    batch_at: Cell<Option<Duration>>,
    pause: Cell<Duration>,
}

impl Pace {
    /// A request of the guest was answered.
    pub fn served(&self, kind: Kind, begun: Duration, ended: Duration) {
        let took = ended.saturating_sub(begun).as_secs_f64() * 1e6;
        let is_captured = self.batch_at.get().is_some_and(|at| ended < at + CAPTURED);
        let average = &mut self.averages.borrow_mut()[kind as usize];
        if ended > average.last + STALE {
            average.now = took;
        }
        average.last = ended;
        average.now += (took - average.now) * NOW_PART;
        if !is_captured {
            // At first a plain mean, so that the first request does not count for long.
            let part = USUAL_PART.max(1.0 / f64::from(average.count + 1));
            average.usual += (took - average.usual) * part;
            average.count = average.count.saturating_add(1);
        }
    }

    /// How long to wait before the next batch is read.
    pub fn pause(&self, now: Duration) -> Duration {
        self.batch_at.set(Some(now));
        let is_strained = |average: &Average| {
            average.count >= KNOWN_AFTER
                && now < average.last + STALE
                && average.now > average.usual * STRAIN_TIMES + STRAIN_MICROS
        };
        let pause = match self.averages.borrow().iter().any(is_strained) {
            true => (self.pause.get() * 2).clamp(PAUSE_MIN, PAUSE_MAX),
            false if self.pause.get() > PAUSE_MIN => self.pause.get() / 2,
            false => Duration::ZERO,
        };
        self.pause.set(pause);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A guest whose requests take `micros` each, one per millisecond; gives the time of the last.
    fn serve(pace: &Pace, kind: Kind, from: Duration, count: u32, micros: u64) -> Duration {
        for n in 0..count {
            let at = from + MS * n;
            pace.served(kind, at, at + Duration::from_micros(micros));
        }
        from + MS * count
    }

    #[test]
    fn a_guest_that_waits_longer_than_usual_slows_a_capture_down_and_up_again() {
        let pace = Pace::default();
        let mut at = serve(&pace, Kind::Read, MS * 10, 200, 50);
        assert_eq!(pace.pause(at), Duration::ZERO);
        // As usual, and a little more.
        at = serve(&pace, Kind::Read, at, 50, 150);
        assert_eq!(pace.pause(at), Duration::ZERO);
        at = serve(&pace, Kind::Read, at, 50, 1000);
        let pauses: Vec<_> = (0..8).map(|_| pace.pause(at)).collect();
        assert_eq!(pauses[0], PAUSE_MIN);
        assert!(
            pauses
                .windows(2)
                .all(|pair| pair[1] == (pair[0] * 2).min(PAUSE_MAX))
        );
        assert_eq!(pauses[7], PAUSE_MAX);
        // What it takes during the capture has not become usual.
        at = serve(&pace, Kind::Read, at, 200, 50);
        let pauses: Vec<_> = (0..8).map(|_| pace.pause(at)).collect();
        assert!(pauses.windows(2).all(|pair| pair[1] <= pair[0] / 2));
        assert_eq!(pauses[7], Duration::ZERO);
    }

    #[test]
    fn kinds_are_not_mixed_and_silence_slows_nothing_down() {
        let pace = Pace::default();
        let at = serve(&pace, Kind::Read, MS, 200, 20);
        // Flushes take long, and always did.
        let at = serve(&pace, Kind::Flush, at, 200, 5000);
        pace.pause(at);
        let at = serve(&pace, Kind::Flush, at, 50, 5000);
        assert_eq!(pace.pause(at), Duration::ZERO);
        let at = serve(&pace, Kind::Flush, at, 50, 50_000);
        assert!(pace.pause(at) > Duration::ZERO);
        assert_eq!(pace.pause(at + STALE * 2), Duration::ZERO);
    }

    #[test]
    fn before_it_is_known_what_is_usual_nothing_is_slow() {
        let pace = Pace::default();
        pace.pause(MS);
        let at = serve(&pace, Kind::Change, MS * 2, 500, 100_000);
        assert_eq!(pace.pause(at), Duration::ZERO);
    }
}
