//! Which snapshots hold a stored copy: a set of snapshots as runs of numbers, and a table of them by copy.
//!
//! Snapshots are numbered by disk and age, so a copy that was made by one and overwritten before another has one run;
//! rollbacks and clones make more. A row of the table is 12 bytes: one run in place, or the number of a list
//! of runs that rows share.
//!
//! The table covers the packs of a window of pack numbers. When it grows past its limit the window's end moves down
//! and what lies past it is dropped, for another pass; one pack always stays.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

/// Snapshots `start .. end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Run {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Run {
    fn touches(self, other: Run) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    fn joined(self, other: Run) -> Run {
        Run {
            start: self.start.min(other.start),
            end: self.end.max(other.end),
        }
    }
}

/// A set of snapshots under construction. Not empty.
#[derive(Clone, Debug)]
pub(super) struct Runs {
    last: Run,
    /// In any order, with repetitions; few, since runs that touch the last one join it.
    before: Vec<Run>,
    tidy_at: usize,
}

impl Runs {
    pub(super) fn one(run: Run) -> Self {
        Self {
            last: run,
            before: Vec::new(),
            tidy_at: 8,
        }
    }

    pub(super) fn add(&mut self, run: Run) {
        if self.last.touches(run) {
            self.last = self.last.joined(run);
            return;
        }
        self.before.push(self.last);
        self.last = run;
        if self.before.len() >= self.tidy_at {
            self.tidy();
            self.tidy_at = (self.before.len() * 2).max(8);
        }
    }

    /// Puts the runs in order, none touching the next.
    pub(super) fn tidy(&mut self) {
        self.before.push(self.last);
        let mut runs = tidied(std::mem::take(&mut self.before));
        self.last = runs.pop().unwrap_or(self.last);
        self.before = runs;
    }

    /// The runs; in order only after [`Runs::tidy`].
    pub(super) fn iter(&self) -> impl Iterator<Item = Run> {
        self.before.iter().copied().chain([self.last])
    }

    /// The least number, after [`Runs::tidy`].
    pub(super) fn first(&self) -> u32 {
        self.before.first().unwrap_or(&self.last).start
    }
}

fn tidied(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    let mut tidy: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        match tidy.last_mut() {
            Some(last) if last.touches(run) => *last = last.joined(run),
            _ => tidy.push(run),
        }
    }
    tidy
}

/// A stored copy: its pack's number and its row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copied {
    pub(super) pack: u32,
    pub(super) ordinal: u16,
    pub(super) stored_len: u32,
}

/// `start == end`: held by nobody. `start == LIST`: by the list number `end`.
#[derive(Clone, Copy, Default)]
struct Row {
    start: u32,
    end: u32,
    stored_len: u32,
}

const LIST: u32 = u32::MAX;
const ROW_BYTES: u64 = size_of::<Row>() as u64;
const _: () = assert!(ROW_BYTES == 12);

/// What a list of runs costs: itself, and its place among all lists.
fn list_bytes(runs: &[Run]) -> u64 {
    size_of_val(runs) as u64 + 80
}

/// The holders of every copy in a window of packs.
pub(super) struct Table {
    window: Range<u32>,
    packs: Vec<Vec<Row>>,
    lists: Vec<Rc<[Run]>>,
    numbers: HashMap<Rc<[Run]>, u32>,
    bytes: u64,
    bytes_max: u64,
}

impl Table {
    /// About packs `from ..` of so many, as far as `bytes_max` allows.
    pub(super) fn new(from: u32, packs: u32, bytes_max: u64) -> Self {
        Self {
            window: from..packs,
            packs: vec![Vec::new(); (packs - from) as usize],
            lists: Vec::new(),
            numbers: HashMap::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Where the window ended up to end.
    pub(super) fn end(&self) -> u32 {
        self.window.end
    }

    /// Notes that more snapshots hold a copy.
    pub(super) fn hold(&mut self, copy: Copied, by: impl Iterator<Item = Run>) {
        if !self.window.contains(&copy.pack) {
            return;
        }
        let pack = (copy.pack - self.window.start) as usize;
        let at = usize::from(copy.ordinal);
        let rows = &mut self.packs[pack];
        if rows.len() <= at {
            let capacity = rows.capacity();
            rows.resize(at + 1, Row::default());
            self.bytes += (rows.capacity() - capacity) as u64 * ROW_BYTES;
        }
        let mut row = rows[at];
        row.stored_len = row.stored_len.max(copy.stored_len);
        for run in by {
            self.extend(&mut row, run);
        }
        self.packs[pack][at] = row;
        while self.bytes > self.bytes_max && self.window.len() > 1 {
            self.shrink();
        }
    }

    fn extend(&mut self, row: &mut Row, run: Run) {
        let held = Run {
            start: row.start,
            end: row.end,
        };
        if row.start == LIST {
            let list = &self.lists[row.end as usize];
            let covers = |held: &Run| held.start <= run.start && run.end <= held.end;
            if list.iter().any(covers) {
                return;
            }
            let runs = tidied(list.iter().copied().chain([run]).collect());
            self.keep(row, runs);
        } else if held.start == held.end {
            (row.start, row.end) = (run.start, run.end);
        } else if held.touches(run) {
            let joined = held.joined(run);
            (row.start, row.end) = (joined.start, joined.end);
        } else {
            self.keep(row, tidied(vec![held, run]));
        }
    }

    /// Makes these the row's runs.
    fn keep(&mut self, row: &mut Row, runs: Vec<Run>) {
        if let [run] = runs[..] {
            (row.start, row.end) = (run.start, run.end);
            return;
        }
        let number = match self.numbers.get(runs.as_slice()) {
            Some(number) => *number,
            None => {
                let (list, number): (Rc<[Run]>, _) = (runs.into(), self.lists.len() as u32);
                self.bytes += list_bytes(&list);
                self.lists.push(list.clone());
                self.numbers.insert(list, number);
                number
            }
        };
        (row.start, row.end) = (LIST, number);
    }

    /// Leaves the window's further half to another pass, and forgets lists that no row names any more. If these
    /// were all, nothing is left.
    fn shrink(&mut self) {
        let kept = self.window.len() / 2;
        self.window.end = self.window.start + kept as u32;
        self.packs.truncate(kept);
        self.packs.shrink_to_fit();
        let lists = std::mem::take(&mut self.lists);
        self.numbers.clear();
        let rows: u64 = self.packs.iter().map(|rows| rows.capacity() as u64).sum();
        self.bytes = rows * ROW_BYTES;
        let mut packs = std::mem::take(&mut self.packs);
        for row in packs.iter_mut().flatten().filter(|row| row.start == LIST) {
            let runs = lists[row.end as usize].to_vec();
            self.keep(row, runs);
        }
        self.packs = packs;
    }

    /// For each pack of the window its number and its copies that somebody holds: stored bytes and the runs of their holders.
    pub(super) fn packs(&self) -> impl Iterator<Item = (u32, impl Iterator<Item = (u64, Held<'_>)>)> {
        (self.window.start..).zip(&self.packs).map(|(number, rows)| {
            let held = rows.iter().filter(|row| row.start != row.end);
            let held = held.map(|row| {
                let runs = match row.start {
                    LIST => Held::List(&self.lists[row.end as usize]),
                    start => Held::Run([Run { start, end: row.end }]),
                };
                (u64::from(row.stored_len), runs)
            });
            (number, held)
        })
    }
}

/// Who holds a copy.
pub(super) enum Held<'a> {
    Run([Run; 1]),
    List(&'a [Run]),
}

impl Held<'_> {
    /// In order, none touching the next, at least one.
    pub(super) fn runs(&self) -> &[Run] {
        match self {
            Held::Run(run) => run,
            Held::List(list) => list,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn run(start: u32, len: u32) -> Run {
        Run {
            start,
            end: start + len,
        }
    }

    fn members(runs: impl IntoIterator<Item = Run>) -> BTreeSet<u32> {
        runs.into_iter().flat_map(|run| run.start..run.end).collect()
    }

    proptest! {
        #[test]
        fn a_row_holds_the_union_of_all_it_was_told(
            told in prop::collection::vec((0..6u32, 0..5u16, 0..40u32, 1..5u32), 1..200),
            bytes_max in prop_oneof![Just(u64::MAX), 100..4000u64],
        ) {
            let mut expected: BTreeMap<(u32, u16), BTreeSet<u32>> = BTreeMap::new();
            for (pack, ordinal, start, len) in &told {
                expected.entry((*pack, *ordinal)).or_default().extend(*start..start + len);
            }
            let mut found: BTreeMap<(u32, u16), BTreeSet<u32>> = BTreeMap::new();
            let mut from = 0;
            while from < 6 {
                let mut table = Table::new(from, 6, bytes_max);
                for (pack, ordinal, start, len) in &told {
                    let copy = Copied { pack: *pack, ordinal: *ordinal, stored_len: u32::from(*ordinal) + 1 };
                    table.hold(copy, [run(*start, *len)].into_iter());
                }
                prop_assert!(table.end() > from);
                from = table.end();
                for (pack, copies) in table.packs() {
                    for (bytes, held) in copies {
                        prop_assert!(held.runs().windows(2).all(|pair| pair[0].end < pair[1].start));
                        found.insert((pack, bytes as u16 - 1), members(held.runs().to_vec()));
                    }
                }
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_set_is_what_was_added(added in prop::collection::vec((0..60u32, 1..5u32), 1..100)) {
            let mut runs = Runs::one(run(added[0].0, added[0].1));
            for (start, len) in &added {
                runs.add(run(*start, *len));
            }
            runs.tidy();
            let expected = members(added.iter().map(|(start, len)| run(*start, *len)));
            prop_assert_eq!(runs.first(), *expected.first().unwrap());
            let tidy: Vec<Run> = runs.iter().collect();
            prop_assert!(tidy.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert_eq!(members(tidy), expected);
        }
    }
}
