//! Progress of long work on standard error: a bar with rate and time left in a terminal, plain
//! lines that can be kept in a log elsewhere.

use super::watched;
use crate::size::human;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::{Duration, Instant};

/// Pause between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(1);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Of 100.
    Percent,
    /// Of a known number of bytes.
    Bytes,
}

/// Work with a known end.
pub struct Progress {
    label: String,
    unit: Unit,
    total: u64,
    begun: Instant,
    first: Option<u64>,
    bar: Option<ProgressBar>,
    last_line: Option<(Instant, u64)>,
}

impl Progress {
    /// Work of which `total` is all.
    pub fn new(label: impl Into<String>, unit: Unit, total: u64) -> Self {
        let label = label.into();
        let bar = watched().then(|| {
            let style = ProgressStyle::with_template("{prefix} [{bar:30}] {msg}")
                .expect("the template is fixed")
                .progress_chars("=> ");
            ProgressBar::new(total.max(1))
                .with_style(style)
                .with_prefix(label.clone())
        });
        Self {
            label,
            unit,
            total,
            begun: Instant::now(),
            first: None,
            bar,
            last_line: None,
        }
    }

    /// Shows that `done` of the total is done. `left` is a better estimate than ours, in seconds.
    pub fn show(&mut self, done: u64, left: Option<u64>) {
        let done = done.min(self.total);
        let first = *self.first.get_or_insert(done);
        let elapsed = self.begun.elapsed().as_secs_f64();
        // What was done before we looked says nothing about the rate.
        let rate = (done > first && elapsed > 0.0).then(|| (done - first) as f64 / elapsed);
        let message = describe(self.unit, done, self.total, rate, left);
        self.say(done, message);
    }

    /// As [`Progress::show`], in the caller's own words.
    pub fn say(&mut self, done: u64, message: String) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                bar.set_message(message);
            }
            None => {
                let due = self
                    .last_line
                    .is_none_or(|(at, was)| was != done && at.elapsed() >= LINE_EVERY);
                if due {
                    self.last_line = Some((Instant::now(), done));
                    tell(&format!("{}: {message}", self.label));
                }
            }
        }
    }

    /// It ends early; why is for the caller to tell.
    pub fn abandon(self) {
        if let Some(bar) = self.bar {
            bar.abandon();
        }
    }

    /// All is done.
    pub fn finish(self) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let amount = match self.unit {
            Unit::Percent => "100 %".to_string(),
            Unit::Bytes => human(self.total),
        };
        let message = format!("{amount} in {seconds:.1} s");
        match self.bar {
            Some(bar) => {
                bar.set_position(self.total);
                bar.finish_with_message(message);
            }
            None => tell(&format!("{}: {message}", self.label)),
        }
    }
}

/// A line for whoever watches. That nobody does any more is no reason to end the work.
fn tell(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// `37 %, 4.2 %/s, 15 s left` or `12 MiB of 1 GiB, 80 MiB/s, 13 s left`.
fn describe(unit: Unit, done: u64, total: u64, rate: Option<f64>, left: Option<u64>) -> String {
    let mut parts = vec![match unit {
        Unit::Percent => format!("{done} %"),
        Unit::Bytes => format!("{} of {}", human(done), human(total)),
    }];
    if let Some(rate) = rate {
        parts.push(match unit {
            Unit::Percent => format!("{rate:.1} %/s"),
            Unit::Bytes => format!("{}/s", human(rate as u64)),
        });
    }
    let estimate = left
        .filter(|left| *left > 0)
        .or(rate.map(|rate| ((total - done) as f64 / rate).ceil() as u64));
    if let Some(left) = estimate.filter(|_| done < total) {
        parts.push(format!("{} left", seconds(left)));
    }
    parts.join(", ")
}

/// `45 s`, `3 min 20 s`, `2 h 5 min`.
pub fn seconds(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Work without a known end: only what state it is in.
pub struct Activity {
    label: String,
    bar: Option<ProgressBar>,
    last: String,
}

impl Activity {
    /// Work on something.
    pub fn new(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            bar: None,
            last: String::new(),
        }
    }

    /// Shows its state, when it is another one.
    pub fn show(&mut self, state: &str) {
        if self.last == state {
            return;
        }
        self.last = state.to_string();
        let line = format!("{}: {state}", self.label);
        if watched() {
            let bar = self.bar.get_or_insert_with(|| {
                let bar = ProgressBar::new_spinner();
                bar.enable_steady_tick(Duration::from_millis(100));
                bar
            });
            bar.set_message(line);
        } else {
            tell(&line);
        }
    }

    /// Ends the display; the result is for the caller to tell.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_units::{GIB, MIB};

    #[test]
    fn rate_and_time_left() {
        assert_eq!(describe(Unit::Percent, 0, 100, None, None), "0 %");
        assert_eq!(
            describe(Unit::Percent, 40, 100, Some(4.0), None),
            "40 %, 4.0 %/s, 15 s left"
        );
        assert_eq!(
            describe(Unit::Percent, 40, 100, Some(4.0), Some(200)),
            "40 %, 4.0 %/s, 3 min 20 s left"
        );
        assert_eq!(
            describe(Unit::Percent, 100, 100, Some(4.0), Some(0)),
            "100 %, 4.0 %/s"
        );
        assert_eq!(
            describe(Unit::Bytes, 512 * MIB, GIB, Some(64.0 * MIB as f64), None),
            "512 MiB of 1 GiB, 64 MiB/s, 8 s left"
        );
    }

    #[test]
    fn times_as_people_read_them() {
        assert_eq!(
            (seconds(59), seconds(61), seconds(7500)),
            ("59 s".into(), "1 min 1 s".into(), "2 h 5 min".into())
        );
    }
}
