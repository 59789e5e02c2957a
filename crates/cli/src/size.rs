//! Sizes as people write and read them: `8G`, `512M`, `1536MiB`, `8 GiB`.
//!
//! Units are powers of 1024, as everywhere in storage tools. A number without a unit is bytes.

use anyhow::{Result, bail};
use tidemark_units::{GIB, KIB, MIB, TIB};

/// Reads a size; the error says what was wrong with it.
pub fn parse(text: &str) -> Result<u64> {
    let text = text.trim();
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits_end);
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => KIB,
        "m" | "mb" | "mib" => MIB,
        "g" | "gb" | "gib" => GIB,
        "t" | "tb" | "tib" => TIB,
        other => bail!("size {text:?}: unknown unit {other:?}; use K, M, G or T"),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.contains('.') {
        bail!("size {text:?} is not a number; write for example 8G or 512M");
    }
    let too_large = || anyhow::anyhow!("size {text:?} is too large");
    let whole: u64 = whole.parse().map_err(|_| too_large())?;
    let mut bytes = whole.checked_mul(factor).ok_or_else(too_large)?;
    if !fraction.is_empty() {
        if fraction.len() > 6 {
            bail!("size {text:?} has too many digits after the point");
        }
        let scale = 10u64.pow(fraction.len() as u32);
        let part = u128::from(fraction.parse::<u64>().unwrap_or(0)) * u128::from(factor);
        if part % u128::from(scale) != 0 {
            bail!("size {text:?} is not a whole number of bytes");
        }
        bytes = bytes
            .checked_add((part / u128::from(scale)) as u64)
            .ok_or_else(too_large)?;
    }
    if bytes == 0 {
        bail!("size {text:?} is nothing; give at least one byte");
    }
    Ok(bytes)
}

/// A size for people: at most one digit after the point, in the largest unit that keeps it above 1.
pub fn human(bytes: u64) -> String {
    for (unit, name) in [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes >= unit {
            return if bytes.is_multiple_of(unit) {
                format!("{} {name}", bytes / unit)
            } else {
                format!("{:.1} {name}", bytes as f64 / unit as f64)
            };
        }
    }
    format!("{bytes} B")
}

/// The whole GiB that a text names: the only unit of disk sizes in the ECS API. A bare number is GiB.
pub fn gib(text: &str) -> Result<u64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text.parse()?);
    }
    let bytes = parse(text)?;
    if !bytes.is_multiple_of(GIB) {
        bail!("size {text:?} is not a whole number of GiB, the unit of disk sizes");
    }
    Ok(bytes / GIB)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_as_people_write_them() {
        for (text, bytes) in [
            ("8G", 8 * GIB),
            ("8GiB", 8 * GIB),
            ("8 GiB", 8 * GIB),
            ("8gb", 8 * GIB),
            ("512M", 512 * MIB),
            ("64k", 64 * KIB),
            ("1.5G", 1536 * MIB),
            ("2T", 2 * TIB),
            ("4096", 4096),
            (" 1b ", 1),
        ] {
            assert_eq!(parse(text).expect(text), bytes, "{text}");
        }
    }

    #[test]
    fn refusals_name_the_text() {
        for text in [
            "",
            "G",
            "-1G",
            "8X",
            "1.G",
            ".5G",
            "1..5G",
            "99999999999T",
            "0",
            "1.3b",
            "1e3",
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(text), "{text}: {error}");
        }
    }

    #[test]
    fn gib_takes_bare_numbers_and_whole_gib() {
        assert_eq!(gib("20").unwrap(), 20);
        assert_eq!(gib("1T").unwrap(), 1024);
        assert!(gib("1.5G").is_err());
        assert!(gib("512M").is_err());
    }

    #[test]
    fn sizes_as_people_read_them() {
        assert_eq!(human(0), "0 B");
        assert_eq!(human(8 * GIB), "8 GiB");
        assert_eq!(human(GIB + GIB / 2), "1.5 GiB");
        assert_eq!(human(70_000), "68.4 KiB");
    }
}
