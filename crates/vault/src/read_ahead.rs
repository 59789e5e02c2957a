//! When reads look sequential, and what to ask for before it is asked for.
//!
//! Several readers, and the hydration of disks, share one snapshot: each of their runs is followed on its own. A run that
//! goes on is given a window of chunks ahead of it, twice as large each time, and the next window is asked for when half of
//! the last one is used up: at a steady pace nobody waits for the bucket.
//! Not here: the fetching ([`crate::Reader`]), where one leaf ends and the next begins.

use std::ops::Range;

/// Most chunks ahead of a run: 4 MiB.
pub(crate) const AHEAD_MAX: u32 = 64;
/// How far behind its run a read may be: several in flight arrive slightly out of order.
const BEHIND_MAX: u32 = 32;
/// Runs that are followed at a time.
const RUNS_MAX: usize = 8;

/// Reads of one chunk after the other.
struct Run {
    /// The chunk after the furthest that was read.
    next: u32,
    /// The chunk after the last that was asked for ahead.
    until: u32,
    window: u32,
    used: u64,
}

/// The runs of one snapshot.
#[derive(Default)]
pub(crate) struct ReadAhead {
    runs: Vec<Run>,
    tick: u64,
}

impl ReadAhead {
    /// Notes that chunk `index` is read, and says which chunks after it to fetch now as well.
    pub(crate) fn follow(&mut self, index: u32) -> Range<u32> {
        self.tick += 1;
        let goes_on = |run: &&mut Run| index.saturating_add(BEHIND_MAX) >= run.next && index <= run.until;
        let Some(run) = self.runs.iter_mut().find(goes_on) else {
            self.begin(index);
            return 0..0;
        };
        run.used = self.tick;
        run.next = run.next.max(index.saturating_add(1));
        let from = run.until.max(run.next);
        if from - run.next > run.window / 2 {
            return 0..0;
        }
        run.window = (run.window * 2).min(AHEAD_MAX);
        run.until = run.next.saturating_add(run.window).max(from);
        from..run.until
    }

    fn begin(&mut self, index: u32) {
        if self.runs.len() == RUNS_MAX
            && let Some((oldest, _)) = self.runs.iter().enumerate().min_by_key(|(_, run)| run.used)
        {
            self.runs.swap_remove(oldest);
        }
        let next = index.saturating_add(1);
        self.runs.push(Run {
            next,
            until: next,
            window: 1,
            used: self.tick,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_asked_for_once_and_ahead_of_time() {
        let mut ahead = ReadAhead::default();
        let mut asked = 12; // Two make a run.
        for index in 10..1000 {
            assert!(
                index == 10 || index < asked,
                "chunk {index} was asked for before its time"
            );
            let range = ahead.follow(index);
            if !range.is_empty() {
                assert_eq!(range.start, asked, "nothing twice, nothing left out");
                asked = range.end;
            }
            assert!(asked <= index + 1 + AHEAD_MAX);
            assert!(index < 200 || asked > index + AHEAD_MAX / 2);
        }
    }

    #[test]
    fn reads_here_and_there_ask_for_nothing() {
        let mut ahead = ReadAhead::default();
        for index in [5, 900, 70, 4000, 20_000, 300, u32::MAX, 7000, 2000, 100_000] {
            assert_eq!(ahead.follow(index), 0..0, "chunk {index}");
        }
    }

    #[test]
    fn runs_beside_each_other_are_told_apart() {
        let mut ahead = ReadAhead::default();
        let mut asked = [0; 4];
        for step in 0..200 {
            for (run, asked) in asked.iter_mut().enumerate() {
                *asked += ahead.follow(run as u32 * 100_000 + step).len();
            }
            // And somebody who reads anywhere.
            ahead.follow(1_000_000 + (step * 7919) % 50_000 * 64);
        }
        assert!(asked.iter().all(|n| *n > 200), "{asked:?}");
    }

    #[test]
    fn the_end_of_all_numbers_is_no_trouble() {
        let mut ahead = ReadAhead::default();
        for index in u32::MAX - 200..=u32::MAX {
            ahead.follow(index);
        }
    }
}
