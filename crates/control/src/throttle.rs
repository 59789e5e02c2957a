//! Flow control: how often an account may call (ecs-api.md 1.9). Off unless somebody sets a rate.
//!
//! Token buckets, one per account and action and one per account. A bucket holds two seconds' worth, so that a
//! short burst passes. Who is refused is told in milliseconds when the next call would pass; real clients wait
//! for that long and try again. Only requests with a right signature come here, so nobody can use up another's
//! calls, and buckets are bounded by what accounts and actions there are; and by [`BUCKETS_MAX`]. One of them counts for all
//! ways in: what the API's actions and the console's forms change. What a page of the console shows is many actions at once, which nobody chose
//! one by one: pages do not count, and are bounded by the console's own means.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tidemark_ecs::ApiError;

/// Most buckets that are remembered. One that is forgotten is full again.
const BUCKETS_MAX: usize = 4096;
/// How many seconds' worth a bucket holds.
const BURST_SECONDS: f64 = 2.0;

/// Rates in calls per second; none is set by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThrottleConfig {
    /// Of an account, all actions together.
    pub per_account: Option<u32>,
    /// Of an account, each action for itself.
    pub per_action: Option<u32>,
    /// Instead of `per_action`, for the actions named.
    pub actions: BTreeMap<String, u32>,
}

/// What was called lately.
#[derive(Debug)]
pub struct Throttle {
    config: ThrottleConfig,
    buckets: Mutex<HashMap<(String, &'static str), Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    calls: f64,
    at: Instant,
    rate: f64,
}

impl Bucket {
    fn full(rate: u32, now: Instant) -> Self {
        let rate = f64::from(rate.max(1));
        Self {
            calls: rate * BURST_SECONDS,
            at: now,
            rate,
        }
    }

    fn refill(&mut self, now: Instant) {
        let more = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.calls = (self.calls + more).min(self.rate * BURST_SECONDS);
        self.at = now;
    }

    fn is_full(&self, now: Instant) -> bool {
        let more = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.calls + more >= self.rate * BURST_SECONDS
    }

    /// Until one call is in it.
    fn wait(&self) -> Option<Duration> {
        (self.calls < 1.0).then(|| Duration::from_secs_f64((1.0 - self.calls) / self.rate))
    }
}

impl Throttle {
    /// Nothing was called yet.
    pub fn new(config: ThrottleConfig) -> Self {
        Self {
            config,
            buckets: Mutex::default(),
        }
    }

    /// Counts one call, or says when to come again: 400 `Throttling` for the action's rate, `Throttling.User`
    /// for the account's. A call that is refused by one rate does not count for the other.
    pub fn admit(&self, now: Instant, account: &str, action: &'static str) -> Result<(), ApiError> {
        let own = self
            .config
            .actions
            .get(action)
            .copied()
            .or(self.config.per_action);
        let rates = [
            (action, own, "Throttling"),
            ("", self.config.per_account, "Throttling.User"),
        ];
        if rates.iter().all(|(_, rate, _)| rate.is_none()) {
            return Ok(());
        }
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, rate, code) in rates {
            let Some(rate) = rate else { continue };
            let bucket = bucket(&mut buckets, (account.to_owned(), name), rate, now);
            if let Some(wait) = bucket.wait() {
                let ms = u64::try_from(wait.as_millis())
                    .unwrap_or(u64::MAX)
                    .saturating_add(1);
                return Err(ApiError {
                    code: code.into(),
                    ..ApiError::throttling(ms)
                });
            }
        }
        for (name, _, _) in rates.iter().filter(|(_, rate, _)| rate.is_some()) {
            if let Some(bucket) = buckets.get_mut(&(account.to_owned(), *name)) {
                bucket.calls -= 1.0;
            }
        }
        Ok(())
    }
}

fn bucket<'a>(
    buckets: &'a mut HashMap<(String, &'static str), Bucket>,
    key: (String, &'static str),
    rate: u32,
    now: Instant,
) -> &'a mut Bucket {
    if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
        // What is full says nothing; and if none is, all begin anew rather than that memory grows.
        buckets.retain(|_, bucket| !bucket.is_full(now));
        if buckets.len() >= BUCKETS_MAX {
            buckets.clear();
        }
    }
    let bucket = buckets.entry(key).or_insert_with(|| Bucket::full(rate, now));
    bucket.refill(now);
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(per_account: Option<u32>, per_action: Option<u32>, named: &[(&str, u32)]) -> Throttle {
        Throttle::new(ThrottleConfig {
            per_account,
            per_action,
            actions: named
                .iter()
                .map(|(name, rate)| ((*name).to_owned(), *rate))
                .collect(),
        })
    }

    /// How many calls pass at once, and what the next one is told.
    fn passing(
        throttle: &Throttle,
        now: Instant,
        account: &str,
        action: &'static str,
    ) -> (usize, String, u64) {
        for passed in 0..10_000 {
            if let Err(error) = throttle.admit(now, account, action) {
                return (
                    passed,
                    error.code.into_owned(),
                    error.retry_after_ms.expect("told when"),
                );
            }
        }
        (10_000, String::new(), 0)
    }

    #[test]
    fn nothing_is_held_back_unless_a_rate_is_set() {
        let (off, now) = (throttle(None, None, &[("CreateDisk", 1)]), Instant::now());
        assert_eq!(passing(&off, now, "1", "DescribeDisks").0, 10_000);
        assert_eq!(passing(&off, now, "1", "CreateDisk").0, 2);
        assert_eq!(off.buckets.lock().expect("whole").len(), 1);
    }

    #[test]
    fn each_account_and_action_has_its_own_and_who_waits_passes() {
        let (limits, now) = (throttle(None, Some(10), &[("CreateDisk", 1)]), Instant::now());
        assert_eq!(
            passing(&limits, now, "1", "DescribeDisks"),
            (20, "Throttling".into(), 101)
        );
        assert_eq!(passing(&limits, now, "1", "DescribeZones").0, 20);
        assert_eq!(passing(&limits, now, "2", "DescribeDisks").0, 20);
        let (passed, _, wait) = passing(&limits, now, "1", "CreateDisk");
        assert_eq!((passed, wait), (2, 1001));
        let then = now + Duration::from_millis(wait);
        assert_eq!(passing(&limits, then, "1", "CreateDisk").0, 1);
        assert_eq!(
            passing(&limits, now + Duration::from_secs(60), "1", "CreateDisk").0,
            2
        );
    }

    #[test]
    fn an_accounts_rate_is_over_all_actions_and_a_refusal_costs_nothing() {
        let (limits, now) = (throttle(Some(5), Some(3), &[]), Instant::now());
        assert_eq!(passing(&limits, now, "1", "DescribeDisks").1, "Throttling");
        let (passed, code, _) = passing(&limits, now, "1", "DescribeZones");
        assert_eq!((passed, code.as_str()), (4, "Throttling.User"));
        // Ten seconds later DescribeZones has what the account's refusal did not take from it.
        assert_eq!(
            passing(&limits, now + Duration::from_secs(10), "1", "DescribeZones").0,
            6
        );
    }

    #[test]
    fn memory_is_bounded() {
        let (limits, now) = (throttle(None, Some(1), &[]), Instant::now());
        for account in 0..3 * BUCKETS_MAX {
            let _ = limits.admit(now, &account.to_string(), "DescribeDisks");
            assert!(limits.buckets.lock().expect("whole").len() <= BUCKETS_MAX);
        }
    }
}
