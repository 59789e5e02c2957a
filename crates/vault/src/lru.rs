//! A cache bounded by weight that forgets what was used longest ago.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

struct Slot<V> {
    value: V,
    weight: u64,
    used: u64,
}

/// Values by key, at most `limit` of weight together.
pub(crate) struct Lru<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// Keys by the tick of their last use: the first is the next to go.
    order: BTreeMap<u64, K>,
    tick: u64,
    weight: u64,
    limit: u64,
}

impl<K: Copy + Eq + Hash, V: Clone> Lru<K, V> {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            slots: HashMap::new(),
            order: BTreeMap::new(),
            tick: 0,
            weight: 0,
            limit,
        }
    }

    /// The weight of all that is kept.
    pub(crate) fn weight(&self) -> u64 {
        self.weight
    }

    /// The most that weight may be.
    pub(crate) fn limit(&self) -> u64 {
        self.limit
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let slot = self.slots.get_mut(key)?;
        self.tick += 1;
        self.order.remove(&slot.used);
        slot.used = self.tick;
        self.order.insert(self.tick, *key);
        Some(slot.value.clone())
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.slots.contains_key(key)
    }

    pub(crate) fn insert(&mut self, key: K, value: V, weight: u64) {
        self.remove(&key);
        self.tick += 1;
        self.order.insert(self.tick, key);
        self.slots.insert(
            key,
            Slot {
                value,
                weight,
                used: self.tick,
            },
        );
        self.weight += weight;
        while self.weight > self.limit {
            let Some((_, oldest)) = self.order.pop_first() else {
                break;
            };
            if let Some(slot) = self.slots.remove(&oldest) {
                self.weight -= slot.weight;
            }
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(slot) = self.slots.remove(key) {
            self.order.remove(&slot.used);
            self.weight -= slot.weight;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_goes_first() {
        let mut lru = Lru::new(3);
        for key in 0..3 {
            lru.insert(key, key * 10, 1);
        }
        assert_eq!(lru.get(&0), Some(0));
        lru.insert(3, 30, 1);
        assert_eq!(lru.get(&1), None);
        assert_eq!(
            (lru.get(&0), lru.get(&2), lru.get(&3)),
            (Some(0), Some(20), Some(30))
        );
        lru.insert(4, 40, 9);
        assert_eq!(lru.get(&4), None, "what is larger than the cache is not kept");
        assert_eq!(lru.weight, 0);
    }
}
