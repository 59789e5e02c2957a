//! Times on the wire: always UTC with a literal `Z`, with one of two precisions (ecs-api.md 1.5).
//!
//! Some clients parse strictly, so each field has exactly one format. Sub-second parts are cut
//! off, never rounded up: a time in an answer is never in the future of the event.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

/// `yyyy-MM-ddTHH:mm:ssZ`: snapshots, disks, images, links, policies, locks.
pub fn seconds(at: Timestamp) -> String {
    let t = at.to_zoned(TimeZone::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        t.year(),
        t.month(),
        t.day(),
        t.hour(),
        t.minute(),
        t.second()
    )
}

/// `yyyy-MM-ddTHH:mmZ`: instance times, disk expiry, tasks.
pub fn minutes(at: Timestamp) -> String {
    let t = at.to_zoned(TimeZone::UTC);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}Z",
        t.year(),
        t.month(),
        t.day(),
        t.hour(),
        t.minute()
    )
}

/// When a pay-as-you-go resource expires: never, which the API writes as a far day.
pub const NEVER_EXPIRES: &str = "2999-09-08T16:00Z";

/// Reads `yyyy-MM-ddTHH:mm:ssZ`, digits in exactly these places; `None` for anything else.
pub fn parse_seconds(text: &str) -> Option<Timestamp> {
    parse(text, "dddd-dd-ddTdd:dd:ddZ")
}

/// Reads `yyyy-MM-ddTHH:mmZ`, and seconds too, as filters may hold either.
pub fn parse_minutes_or_seconds(text: &str) -> Option<Timestamp> {
    parse(text, "dddd-dd-ddTdd:ddZ").or_else(|| parse_seconds(text))
}

/// `shape`: `d` stands for a digit, the rest for itself.
fn parse(text: &str, shape: &str) -> Option<Timestamp> {
    let fits = |(t, s): (u8, u8)| if s == b'd' { t.is_ascii_digit() } else { t == s };
    if text.len() != shape.len() || !text.bytes().zip(shape.bytes()).all(fits) {
        return None;
    }
    let number = |from: usize, len: usize| -> Option<i16> { text.get(from..from + len)?.parse().ok() };
    let two = |from: usize| -> Option<i8> { number(from, 2)?.try_into().ok() };
    let second = if text.len() > 17 { two(17)? } else { 0 };
    let civil = DateTime::new(number(0, 4)?, two(5)?, two(8)?, two(11)?, two(14)?, second, 0).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a test's own time")
    }

    #[test]
    fn formats_cut_and_never_round() {
        let t = at("2026-01-02T03:04:59.999999Z");
        assert_eq!(seconds(t), "2026-01-02T03:04:59Z");
        assert_eq!(minutes(t), "2026-01-02T03:04Z");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let t = at("2026-01-02T03:04:05Z");
        assert_eq!(parse_seconds(&seconds(t)), Some(t));
        assert_eq!(parse_minutes_or_seconds(&seconds(t)), Some(t));
        assert_eq!(
            parse_minutes_or_seconds(&minutes(t)),
            Some(at("2026-01-02T03:04:00Z"))
        );
        assert_eq!(
            parse_minutes_or_seconds(NEVER_EXPIRES),
            Some(at("2999-09-08T16:00:00Z"))
        );
    }

    #[test]
    fn other_shapes_are_refused() {
        for text in [
            "",
            "2026-01-02T03:04Z",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05+08:00",
            "2026-1-2T3:4:5Z",
            "2026-13-02T03:04:05Z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T25:04:05Z",
            "2026-01-02T03:04:05.1Z",
            "+026-01-02T03:04:05Z",
            "２０２６-01-02T03:0Z",
        ] {
            assert_eq!(parse_seconds(text), None, "{text:?}");
        }
    }
}
