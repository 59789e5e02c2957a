//! How fast the scrub reads.

use crate::vault::VaultHost;
use futures_util::future::select;
use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;
use tidemark_env::LocalFuture;
use tidemark_vault::{VerifyReport, Watch};

/// Reads under way at once: the rate is what limits, not the width.
const WIDTH: usize = 2;
/// Chunks gathered before they are read: 128 MiB of disk.
const WINDOW_CHUNKS: usize = 1 << 11;
/// While captures run, the scrub reads so much slower: they have guests waiting behind them.
const MAKE_WAY: u64 = 8;

/// One leg of a walk at a rate.
pub struct Pace<'a> {
    host: &'a VaultHost,
    bytes_per_second: u64,
    /// When the next read may start.
    free_at: Cell<Duration>,
    until: Duration,
    /// Which part of the round lies before the leg, and how much of the rest it has walked.
    before: f64,
    walked: Cell<f64>,
    stops_for_requests: bool,
}

impl<'a> Pace<'a> {
    /// A leg that ends some time after `until`; `before` of the round is done.
    pub fn new(host: &'a VaultHost, bytes_per_second: u64, until: Duration, before: f64) -> Self {
        Self {
            host,
            bytes_per_second: bytes_per_second.max(1),
            free_at: Cell::new(Duration::ZERO),
            until,
            before,
            walked: Cell::new(0.0),
            stops_for_requests: true,
        }
    }

    /// Everything at once, until there is damage.
    pub fn unlimited(host: &'a VaultHost) -> Self {
        Self {
            stops_for_requests: false,
            ..Self::new(host, u64::MAX, Duration::MAX, 0.0)
        }
    }

    /// Which part of the round is done now.
    pub fn part(&self) -> f64 {
        self.before + (1.0 - self.before) * self.walked.get()
    }
}

impl Watch for Pace<'_> {
    fn may_read(&self, bytes: u64) -> LocalFuture<'_, ()> {
        Box::pin(async move {
            let clock = &self.host.env().clock;
            let now = clock.now();
            let rate = match self.host.is_capturing_any() {
                true => (self.bytes_per_second / MAKE_WAY).max(1),
                false => self.bytes_per_second,
            };
            let start = self.free_at.get().max(now);
            self.free_at
                .set(start + Duration::from_secs_f64(bytes as f64 / rate as f64));
            // Who asks does not wait for the walk that is under way: what is left of its window is read at once.
            let requests = &self.host.scrub_requests;
            if start > now && !(self.stops_for_requests && requests.has_any()) {
                select(clock.sleep(start - now), pin!(requests.asked.notified())).await;
            }
        })
    }

    fn passed(&self, _: u64, part: f64, so_far: &VerifyReport) -> bool {
        self.walked.set(part);
        let asked = self.stops_for_requests && self.host.scrub_requests.has_any();
        so_far.damage.is_empty() && !asked && self.host.env().clock.now() < self.until
    }

    fn width(&self) -> usize {
        WIDTH
    }

    fn window_chunks(&self) -> usize {
        WINDOW_CHUNKS
    }
}
