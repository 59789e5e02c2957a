//! A verification as a progress bar with rate and time left, or as plain lines.

use crate::people::progress::{Progress, Unit};
use crate::size::human;
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};
use tidemark_env::LocalFuture;
use tidemark_vault::{VerifyReport, Watch};

/// How often at most it is shown anew.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// Percent, in finer steps.
const STEPS: u64 = 10_000;

/// See the module.
pub struct Shown {
    progress: RefCell<Option<Progress>>,
    begun: Instant,
    shown_at: Cell<Option<Instant>>,
    /// Bytes asked for in all.
    bytes: Cell<u64>,
    /// Which part of all was done when the current window began, and will be when it ends.
    window: Cell<(f64, f64)>,
    /// Bytes of the current window: asked for, and in all.
    window_bytes: Cell<(u64, u64)>,
}

impl Shown {
    pub fn new(label: &str) -> Self {
        Self {
            progress: RefCell::new(Some(Progress::new(label, Unit::Percent, STEPS))),
            begun: Instant::now(),
            shown_at: Cell::new(None),
            bytes: Cell::new(0),
            window: Cell::new((0.0, 0.0)),
            window_bytes: Cell::new((0, 0)),
        }
    }

    fn part(&self) -> f64 {
        let ((from, to), (done, all)) = (self.window.get(), self.window_bytes.get());
        let within = if all > 0 {
            (done as f64 / all as f64).min(1.0)
        } else {
            0.0
        };
        from + (to - from).max(0.0) * within
    }

    fn show(&self) {
        if self.shown_at.get().is_some_and(|at| at.elapsed() < SHOW_EVERY) {
            return;
        }
        self.shown_at.set(Some(Instant::now()));
        let (part, seconds) = (self.part(), self.begun.elapsed().as_secs_f64());
        if let Some(progress) = &mut *self.progress.borrow_mut() {
            let rate = self.bytes.get() as f64 / seconds.max(0.001);
            let mut text = format!(
                "{:.1} %, {} read, {}/s",
                part * 100.0,
                human(self.bytes.get()),
                human(rate as u64)
            );
            if part > 0.001 {
                let left = seconds / part * (1.0 - part);
                text += &format!(", {} left", crate::people::progress::seconds(left.ceil() as u64));
            }
            progress.say((part * STEPS as f64) as u64, text);
        }
    }

    /// All was read.
    pub fn finish(&self) {
        if let Some(progress) = self.progress.borrow_mut().take() {
            progress.finish();
        }
    }

    /// It ends early; the error is told by somebody else.
    pub fn give_up(&self) {
        if let Some(progress) = self.progress.borrow_mut().take() {
            progress.abandon();
        }
    }
}

impl Watch for Shown {
    fn may_read(&self, bytes: u64) -> LocalFuture<'_, ()> {
        self.bytes.set(self.bytes.get() + bytes);
        let (done, all) = self.window_bytes.get();
        self.window_bytes.set(((done + bytes).min(all), all));
        self.show();
        Box::pin(async {})
    }

    fn reading(&self, bytes: u64, up_to: f64) {
        self.window.set((self.part(), up_to));
        self.window_bytes.set((0, bytes));
    }

    fn passed(&self, _: u64, part: f64, _: &VerifyReport) -> bool {
        self.window.set((part, part));
        self.window_bytes.set((0, 0));
        self.show();
        true
    }
}
