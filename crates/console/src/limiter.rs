//! How often somebody may try to sign in.
//!
//! Failures are counted for a name from one address, and for an address alone with more patience: who tries names from one
//! place is slowed down, and nobody can lock another out from elsewhere. Behind a proxy on this machine all come from one place, and only names are counted. After the free tries each further failure doubles the
//! wait, up to a quarter of an hour; a success forgets the name's failures. Memory is bounded: the oldest are forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures of one name from one address that cost nothing.
const FREE: u32 = 5;
/// Failures of one address, whatever the name, that cost nothing.
const FREE_OF_ADDRESS: u32 = 30;
/// Longest wait, and how long a failure is remembered.
const LONGEST: Duration = Duration::from_secs(15 * 60);
/// Most that are remembered.
const KEPT_MOST: usize = 4096;

/// What failed lately.
#[derive(Debug, Default)]
pub(crate) struct Limiter {
    failures: Mutex<HashMap<String, Failures>>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn wait(&self, free: u32, now: Instant) -> Option<Duration> {
        let over = self.count.checked_sub(free)?;
        let wait = Duration::from_secs(1u64 << over.min(10)).min(LONGEST);
        wait.checked_sub(now.saturating_duration_since(self.last))
            .filter(|left| !left.is_zero())
    }
}

/// One place: of IPv6, the network that one host has as a rule (RFC 6177).
fn of_address(source: Option<IpAddr>) -> String {
    match source.map(|address| address.to_canonical()) {
        None => "-".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// Whether an address stands for one place: behind a proxy on this machine everybody has the same, and one would lock all others out.
fn is_one_place(source: Option<IpAddr>) -> bool {
    source.is_some_and(|address| !address.to_canonical().is_loopback())
}

fn of_name(source: Option<IpAddr>, name: &str) -> String {
    // Of a name that nobody could have, the beginning is enough.
    let name: String = name.chars().take(80).collect();
    format!("{} {name}", of_address(source))
}

impl Limiter {
    /// How long to wait before trying this name from this address; `None`: not at all.
    pub(crate) fn wait(&self, source: Option<IpAddr>, name: &str, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |key: String, free: u32| failures.get(&key).and_then(|failures| failures.wait(free, now));
        let own = of(of_name(source, name), FREE);
        match is_one_place(source) {
            true => own.max(of(of_address(source), FREE_OF_ADDRESS)),
            false => own,
        }
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, source: Option<IpAddr>, name: &str, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= KEPT_MOST {
            failures.retain(|_, failures| now.saturating_duration_since(failures.last) < LONGEST);
            if failures.len() >= KEPT_MOST {
                failures.clear();
            }
        }
        for key in [of_name(source, name), of_address(source)] {
            let entry = failures.entry(key).or_insert(Failures { count: 0, last: now });
            if now.saturating_duration_since(entry.last) >= LONGEST {
                entry.count = 0;
            }
            entry.count = entry.count.saturating_add(1);
            entry.last = now;
        }
    }

    /// Forgets the failures of a name from an address.
    pub(crate) fn succeeded(&self, source: Option<IpAddr>, name: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&of_name(source, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    #[test]
    fn each_failure_after_the_free_ones_doubles_the_wait() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        for _ in 0..FREE {
            assert_eq!(limiter.wait(HERE, "a", now), None);
            limiter.failed(HERE, "a", now);
        }
        assert_eq!(limiter.wait(HERE, "a", now), Some(Duration::from_secs(1)));
        limiter.failed(HERE, "a", now);
        assert_eq!(limiter.wait(HERE, "a", now), Some(Duration::from_secs(2)));
        assert_eq!(limiter.wait(HERE, "a", now + Duration::from_secs(2)), None);
        assert_eq!(
            limiter.wait(None, "a", now),
            None,
            "another address is not locked out"
        );
        limiter.succeeded(HERE, "a");
        assert_eq!(limiter.wait(HERE, "a", now), None);
    }

    #[test]
    fn trying_many_names_from_one_place_is_slowed_down_too() {
        let (limiter, now) = (Limiter::default(), Instant::now());
        for at in 0..=FREE_OF_ADDRESS {
            limiter.failed(HERE, &format!("name-{at}"), now);
        }
        assert!(limiter.wait(HERE, "fresh", now).is_some());
        // A proxy on this machine stands for everybody.
        let proxy = Some(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST));
        for at in 0..=FREE_OF_ADDRESS {
            limiter.failed(proxy, &format!("name-{at}"), now);
        }
        assert_eq!(limiter.wait(proxy, "fresh", now), None);
        // Addresses of one host's network are one place.
        let of = |last: u16| Some(IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]));
        for at in 0..=FREE_OF_ADDRESS as u16 {
            limiter.failed(of(at), "a", now);
        }
        assert!(limiter.wait(of(999), "a", now).is_some());
        for at in 0..3 * KEPT_MOST {
            limiter.failed(HERE, &format!("name-{at}"), now);
        }
        assert!(limiter.failures.lock().expect("whole").len() <= KEPT_MOST + 2);
    }
}
