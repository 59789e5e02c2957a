//! What was counted, and the figures made of it.

use serde_json::{Value, json};
use std::time::Duration;

/// From some moment on.
#[derive(Default)]
pub struct Tally {
    /// How long each operation took, in nanoseconds.
    took: Vec<u64>,
    pub errors: u64,
    pub kicks: u64,
    /// Signals of the back end, also those that were met together.
    pub interrupts: u64,
    pub time: Duration,
}

impl Tally {
    pub fn operation(&mut self, took: Duration) {
        self.took.push(took.as_nanos() as u64);
    }

    /// As JSON, given the bytes of an operation. Latencies in microseconds, as `bench/fio.py` has them.
    pub fn report(mut self, bytes: u64) -> Value {
        self.took.sort_unstable();
        let operations = self.took.len() as f64;
        let seconds = self.time.as_secs_f64();
        json!({
            "iops": operations / seconds,
            "mib": operations * bytes as f64 / seconds / f64::from(1 << 20),
            "p50": self.percentile(0.5),
            "p99": self.percentile(0.99),
            "p999": self.percentile(0.999),
            "errors": self.errors,
            "kicks": self.kicks as f64 / operations,
            "interrupts": self.interrupts as f64 / operations,
        })
    }

    fn percentile(&self, share: f64) -> Option<f64> {
        let rank = (self.took.len() as f64 * share).ceil() as usize;
        let took = self.took.get(rank.saturating_sub(1))?;
        Some(*took as f64 / 1000.0)
    }
}
