//! `--waiter expr=.. to=.. [timeout=1..600, 180] [interval=2..10, 5]`: repeats a call until an
//! expression on its answer yields a text.
//!
//! The value must be a string; anything else, and any refusal by the API, ends the wait with an
//! error. The last answer is the output.

use super::query::search;
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::time::{Duration, Instant};

/// What to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    expression: String,
    to: String,
    timeout: Duration,
    interval: Duration,
}

/// What the world offers a wait; replaced in tests.
pub trait Pace {
    /// Time passed since the wait began.
    fn elapsed(&mut self) -> Duration;
    /// Waits.
    fn sleep(&mut self, time: Duration);
}

/// Real time.
pub struct RealPace(pub Instant);

impl Pace for RealPace {
    fn elapsed(&mut self) -> Duration {
        self.0.elapsed()
    }
    fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
    }
}

/// Whole seconds in a range.
fn seconds(
    name: &str,
    text: Option<&str>,
    range: std::ops::RangeInclusive<u64>,
    default: u64,
) -> Result<Duration> {
    let Some(text) = text else {
        return Ok(Duration::from_secs(default));
    };
    let Ok(value) = text.parse::<i64>() else {
        bail!("--waiter {name}={text} must be integer")
    };
    match u64::try_from(value) {
        Ok(value) if range.contains(&value) => Ok(Duration::from_secs(value)),
        _ => bail!(
            "--waiter {name}={text} must between {}-{} (seconds)",
            range.start(),
            range.end()
        ),
    }
}

impl Waiter {
    /// Checks the flag's fields.
    pub fn new(
        expression: String,
        to: String,
        timeout: Option<&str>,
        interval: Option<&str>,
    ) -> Result<Self> {
        Ok(Self {
            expression,
            to,
            timeout: seconds("timeout", timeout, 1..=600, 180)?,
            interval: seconds("interval", interval, 2..=10, 5)?,
        })
    }

    /// Calls until the value is there; returns the answer that held it.
    pub fn run(&self, mut call: impl FnMut() -> Result<String>, pace: &mut dyn Pace) -> Result<String> {
        loop {
            let answer = call()?;
            let parsed: Value = serde_json::from_str(&answer).context("unmarshal failed")?;
            let value = match search(&self.expression, &parsed)? {
                Value::String(value) => value,
                other => bail!("'{}': object {other} isn't string", self.expression),
            };
            if value == self.to {
                return Ok(answer);
            }
            if pace.elapsed() > self.timeout {
                bail!(
                    "wait '{}' to '{}' timeout({}seconds), last='{value}'",
                    self.expression,
                    self.to,
                    self.timeout.as_secs()
                );
            }
            pace.sleep(self.interval);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct FakePace(Vec<Duration>);

    impl Pace for FakePace {
        fn elapsed(&mut self) -> Duration {
            self.0.iter().sum()
        }
        fn sleep(&mut self, time: Duration) {
            self.0.push(time);
        }
    }

    fn waiter(timeout: Option<&str>, interval: Option<&str>) -> Result<Waiter> {
        Waiter::new("S[0].Status".into(), "done".into(), timeout, interval)
    }

    fn answer(value: &str) -> String {
        format!(r#"{{"S":[{{"Status":{value}}}]}}"#)
    }

    #[test]
    fn polls_until_the_value_is_there() {
        let mut answers = [answer("\"busy\""), answer("\"busy\""), answer("\"done\"")].into_iter();
        let mut pace = FakePace(Vec::new());
        let last = waiter(None, None)
            .unwrap()
            .run(|| Ok(answers.next().unwrap()), &mut pace)
            .unwrap();
        assert_eq!(last, answer("\"done\""));
        assert_eq!(pace.0, [Duration::from_secs(5); 2]);
    }

    #[test]
    fn gives_up_after_the_timeout_and_says_what_was_last() {
        let mut pace = FakePace(Vec::new());
        let error = waiter(Some("7"), Some("2"))
            .unwrap()
            .run(|| Ok(answer("\"busy\"")), &mut pace)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "wait 'S[0].Status' to 'done' timeout(7seconds), last='busy'"
        );
        assert_eq!(pace.0.len(), 4, "8 s is the first poll past 7 s");
    }

    #[test]
    fn only_strings_can_be_waited_for() {
        for value in ["true", "1", "null", "{}"] {
            let result = waiter(None, None)
                .unwrap()
                .run(|| Ok(answer(value)), &mut FakePace(Vec::new()));
            assert!(
                result.unwrap_err().to_string().contains("isn't string"),
                "{value}"
            );
        }
    }

    #[test]
    fn bounds_of_timeout_and_interval() {
        for (timeout, interval, good) in [
            (Some("1"), Some("2"), true),
            (Some("600"), Some("10"), true),
            (Some("0"), None, false),
            (Some("601"), None, false),
            (Some("-5"), None, false),
            (Some("x"), None, false),
            (None, Some("1"), false),
            (None, Some("11"), false),
        ] {
            assert_eq!(
                waiter(timeout, interval).is_ok(),
                good,
                "{timeout:?} {interval:?}"
            );
        }
    }
}
