//! A share of something, as people write it: `1%`, `0.01` or `1/100`.

use anyhow::{Result, bail};
use std::fmt;
use tidemark_vault::Sample;

const MILLION: u32 = 1_000_000;

/// So many of a million; at least one, at most all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share(u32);

impl Share {
    /// Everything.
    pub const ALL: Self = Self(MILLION);

    /// Whether nothing is left out.
    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    /// As the vault wants it.
    pub fn sample(self) -> Sample {
        match self.is_all() {
            true => Sample::All,
            false => Sample::PerMillion(self.0),
        }
    }

    /// Between 0 and 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(MILLION)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 10_000.0)
    }
}

/// Reads a share; the error says what was wrong with it.
pub fn parse(text: &str) -> Result<Share> {
    let number = |text: &str| -> Result<f64> {
        match text.trim().parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => bail!("{text:?} is no number; write for example 1%, 0.01 or 1/100"),
        }
    };
    let share = if let Some(percent) = text.trim().strip_suffix('%') {
        number(percent)? / 100.0
    } else if let Some((part, whole)) = text.split_once('/') {
        number(part)? / number(whole)?
    } else {
        number(text)?
    };
    let millionths = (share * f64::from(MILLION)).round();
    if !(1.0..=f64::from(MILLION)).contains(&millionths) {
        bail!("{text:?} is not a share from 0.0001% to 100%; write for example 1%, 0.01 or 1/100");
    }
    Ok(Share(millionths as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_as_people_write_them() {
        for (text, millionths) in [
            ("1%", 10_000),
            ("0.01", 10_000),
            ("1/100", 10_000),
            (" 2.5 %", 25_000),
            ("100%", MILLION),
            ("1", MILLION),
            ("0.0001%", 1),
            ("1/3", 333_333),
        ] {
            assert_eq!(parse(text).expect(text), Share(millionths), "{text}");
        }
        assert_eq!(parse("1%").unwrap().to_string(), "1 %");
        assert_eq!(parse("1/3").unwrap().to_string(), "33.3333 %");
    }

    #[test]
    fn refusals_name_the_text() {
        for text in [
            "", "%", "0", "0%", "2", "101%", "-1%", "1/0", "0/0", "x", "1%%", "inf", "nan", "1e-9",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains("write for example"), "{text}: {error}");
        }
    }
}
