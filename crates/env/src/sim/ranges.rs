//! A set of numbers kept as disjoint ranges: which blocks of a simulated file own space.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint, non-adjacent ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RangeSet(BTreeMap<u64, u64>);

impl RangeSet {
    /// How many numbers of `range` are missing.
    pub(super) fn missing(&self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let held: u64 = self
            .touching(&range)
            .map(|(start, end)| end.min(range.end).saturating_sub(start.max(range.start)))
            .sum();
        range.end - range.start - held
    }

    /// Adds `range`.
    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let touching: Vec<_> = self.touching(&range).collect();
        let mut merged = range;
        for (start, end) in touching {
            self.0.remove(&start);
            merged = merged.start.min(start)..merged.end.max(end);
        }
        self.0.insert(merged.start, merged.end);
    }

    /// Removes `range`.
    pub(super) fn remove(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let touching: Vec<_> = self.touching(&range).collect();
        for (start, end) in touching {
            self.0.remove(&start);
            if start < range.start {
                self.0.insert(start, end.min(range.start));
            }
            if end > range.end {
                self.0.insert(start.max(range.end), end);
            }
        }
    }

    /// How many numbers it holds.
    pub(super) fn count(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    /// Ranges that overlap `range` or end or begin where it begins or ends, in order.
    fn touching(&self, range: &Range<u64>) -> impl Iterator<Item = (u64, u64)> + '_ {
        let before = self
            .0
            .range(..range.start)
            .next_back()
            .filter(|(_, end)| **end >= range.start);
        let first = before.map_or(range.start, |(start, _)| *start);
        self.0.range(first..=range.end).map(|(start, end)| (*start, *end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Whatever is inserted and removed, it is the set of numbers one would expect.
        #[test]
        fn behaves_like_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 1..40)) {
            let (mut ranges, mut model) = (RangeSet::default(), BTreeSet::new());
            for (insert, start, len) in steps {
                let range = start..start + len;
                prop_assert_eq!(ranges.missing(range.clone()), range.clone().filter(|n| !model.contains(n)).count() as u64);
                if insert {
                    ranges.insert(range.clone());
                    model.extend(range);
                } else {
                    ranges.remove(range.clone());
                    model.retain(|n| !range.contains(n));
                }
                prop_assert_eq!(ranges.count(), model.len() as u64);
                prop_assert!(ranges.0.iter().zip(ranges.0.iter().skip(1)).all(|(a, b)| a.1 < b.0));
            }
        }
    }
}
