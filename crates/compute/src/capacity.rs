//! Memory that guests were promised, and what is left of it.
//!
//! A guest takes its memory as it uses it, so what is free now says little: the sum of promises counts, and it stays below a bound. A
//! new guest must also fit into what is available now, because other programs have memory too.

use crate::error::{ComputeError, ComputeErrorKind};
use std::collections::HashMap;
use std::fs;
use std::sync::{Mutex, PoisonError};

#[derive(Debug)]
pub struct Capacity {
    max_mib: Option<u64>,
    promised: Mutex<HashMap<String, u64>>,
}

/// A machine's memory, in MiB.
#[derive(Debug, Clone, Copy)]
struct Memory {
    total: u64,
    available: u64,
}

impl Capacity {
    pub fn new(max_mib: Option<u64>) -> Self {
        let promised = Mutex::default();
        Self { max_mib, promised }
    }

    /// Promises a guest its memory.
    ///
    /// # Errors
    /// `NoCapacity`, with the figures.
    pub fn promise(&self, id: &str, mib: u64) -> Result<(), ComputeError> {
        self.promise_of(id, mib, memory())
    }

    fn promise_of(&self, id: &str, mib: u64, memory: Option<Memory>) -> Result<(), ComputeError> {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        let others: u64 = promised
            .iter()
            .filter(|(other, _)| *other != id)
            .map(|(_, mib)| mib)
            .sum();
        let no = |why: String| {
            let text = format!("guest {id} needs {mib} MiB of memory, {why}");
            Err(ComputeError::new(ComputeErrorKind::NoCapacity, text))
        };
        let max = self.max_mib.or(memory.map(|memory| memory.total / 10 * 9));
        if let Some(max) = max.filter(|max| others.saturating_add(mib) > *max) {
            return no(format!("others have {others} of {max}"));
        }
        if let Some(memory) = memory.filter(|memory| mib > memory.available) {
            return no(format!("and this machine has {} available", memory.available));
        }
        promised.insert(id.to_owned(), mib);
        Ok(())
    }

    /// Notes the memory of a guest that runs already.
    pub fn note(&self, id: &str, mib: u64) {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        promised.insert(id.to_owned(), mib);
    }

    pub fn free(&self, id: &str) {
        let mut promised = self.promised.lock().unwrap_or_else(PoisonError::into_inner);
        promised.remove(id);
    }
}

/// This machine's memory, or this container's where that is less. None if the kernel does not say.
fn memory() -> Option<Memory> {
    let mut memory = parse(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let limit = fs::read_to_string("/sys/fs/cgroup/memory.max");
    if let Some(bytes) = limit.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
        memory.total = memory.total.min(bytes >> 20);
    }
    Some(memory)
}

fn parse(text: &str) -> Option<Memory> {
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kib >> 10)
    };
    Some(Memory {
        total: mib("MemTotal:")?,
        available: mib("MemAvailable:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Option<Memory> = Some(Memory {
        total: 10_000,
        available: 4_000,
    });

    fn refused(outcome: Result<(), ComputeError>) -> String {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind, ComputeErrorKind::NoCapacity);
        error.message
    }

    #[test]
    fn promises_stay_below_the_bound() {
        let capacity = Capacity::new(Some(3_000));
        capacity.promise_of("a", 2_000, MACHINE).unwrap();
        let text = refused(capacity.promise_of("b", 1_001, MACHINE));
        assert!(text.contains("others have 2000 of 3000"), "{text}");
        // Its own promise is not another's.
        capacity.promise_of("a", 2_000, MACHINE).unwrap();
        capacity.free("a");
        capacity.promise_of("b", 3_000, MACHINE).unwrap();
        // An adopted guest counts even where it is too much.
        capacity.note("c", 9_000);
        refused(capacity.promise_of("d", 1, MACHINE));
    }

    #[test]
    fn the_machine_is_a_bound_too() {
        let capacity = Capacity::new(None);
        let text = refused(capacity.promise_of("a", 4_001, MACHINE));
        assert!(text.contains("4000 available"), "{text}");
        for id in ["a", "b"] {
            capacity.promise_of(id, 4_000, MACHINE).unwrap();
        }
        let text = refused(capacity.promise_of("c", 1_001, MACHINE));
        assert!(text.contains("8000 of 9000"), "{text}");
        capacity.promise_of("c", 1_000, MACHINE).unwrap();
    }

    #[test]
    fn the_kernels_table_is_read() {
        let memory = parse("MemTotal:       2048 kB\nMemFree: 1 kB\nMemAvailable:   1024 kB\n").unwrap();
        assert_eq!((memory.total, memory.available), (2, 1));
        assert!(parse("MemTotal: 1 kB").is_none());
    }
}
