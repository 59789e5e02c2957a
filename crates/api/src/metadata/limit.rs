//! How often one instance may ask: so that a loop in one guest does not keep the others waiting.
//!
//! A bucket per instance holds one second's worth. What is remembered is bounded by [`BUCKETS_MAX`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Requests per second of one instance.
const RATE: f64 = 100.0;
/// Most instances that are remembered. One that is forgotten may ask as one that was silent.
const BUCKETS_MAX: usize = 4096;

/// Who asked lately: how many requests each has left, and as of when.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<HashMap<String, (f64, Instant)>>);

impl Limit {
    /// Counts a request; false: too many.
    pub(super) fn admit(&self, now: Instant, who: &str) -> bool {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |(left, at): (f64, Instant)| {
            let more = now.saturating_duration_since(at).as_secs_f64() * RATE;
            (left + more).min(RATE)
        };
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(who) {
            buckets.retain(|_, bucket| filled(*bucket) < RATE);
            if buckets.len() >= BUCKETS_MAX {
                buckets.clear();
            }
        }
        let left = buckets.get(who).map_or(RATE, |bucket| filled(*bucket));
        let admitted = left >= 1.0;
        let left = if admitted { left - 1.0 } else { left };
        buckets.insert(who.to_owned(), (left, now));
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_hundred_a_second_each() {
        let (limit, now) = (Limit::default(), Instant::now());
        let passing = |now, who| (0..1000).filter(|_| limit.admit(now, who)).count();
        assert_eq!(passing(now, "i-1"), 100);
        assert_eq!(passing(now, "i-2"), 100, "another's requests do not count");
        assert_eq!(passing(now + Duration::from_millis(500), "i-1"), 50);
        assert_eq!(passing(now + Duration::from_secs(60), "i-1"), 100);
    }

    #[test]
    fn memory_is_bounded() {
        let (limit, now) = (Limit::default(), Instant::now());
        for who in 0..3 * BUCKETS_MAX {
            assert!(limit.admit(now, &who.to_string()));
            assert!(limit.0.lock().expect("whole").len() <= BUCKETS_MAX);
        }
    }
}
