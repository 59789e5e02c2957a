//! Numbers and times as people read them. The exact ones stand beside them, in titles.

use maud::{Markup, html};

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// `1.5 MiB`: three digits that count, or the bytes themselves.
pub(crate) fn bytes(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value >= 100.0 => format!("{value:.0} {}", UNITS[unit]),
        _ if value >= 10.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.2} {}", UNITS[unit]),
    }
}

/// A size whose exact number is in its title.
pub(crate) fn size(number: u64) -> Markup {
    html! { span class="size" title=(format!("{number} bytes")) { (bytes(number)) } }
}

/// `40 GiB`.
pub(crate) fn gib(number: u64) -> String {
    format!("{number} GiB")
}

/// Microseconds as people say them: `85 µs`, `1.25 ms`, `2.5 s`.
pub(crate) fn micros(micros: u64) -> String {
    let digits = |value: f64| {
        let text = match value {
            value if value >= 100.0 => format!("{value:.0}"),
            value if value >= 10.0 => format!("{value:.1}"),
            value => format!("{value:.2}"),
        };
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    };
    match micros {
        0..=999 => format!("{micros} µs"),
        1000..=999_999 => format!("{} ms", digits(micros as f64 / 1e3)),
        _ => format!("{} s", digits(micros as f64 / 1e6)),
    }
}

/// A number of money or hours: digits that count.
pub(crate) fn figure(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 0.1 => format!("{value:.2}"),
        value if value >= 0.001 => format!("{value:.4}"),
        value => format!("{value:.6}"),
    }
}

/// An amount of money with its currency. `price`: the service's, `0.120000 CNY`, whose currency may be missing.
pub(crate) fn money(value: f64, price: &str) -> String {
    match currency(price) {
        "" => figure(value),
        currency => format!("{} {currency}", figure(value)),
    }
}

/// The currency of a price; `""`: it names none.
pub(crate) fn currency(price: &str) -> &str {
    price.split(' ').nth(1).unwrap_or_default()
}

/// The number of an amount, `12.345678` or `12.345678 CNY`.
pub(crate) fn amount(text: &str) -> f64 {
    let number = text.split(' ').next().unwrap_or_default();
    number.parse().unwrap_or(0.0)
}

/// Seconds as a rough time: `40 s`, `12 min`, `3 h`, `2 days`.
pub(crate) fn seconds(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A time of the API, `2026-01-02T03:04:05Z`, for people; what is no time is shown as it is, nothing as a dash.
pub(crate) fn time(at: &str) -> Markup {
    if at.is_empty() {
        return html! { span class="none" { "–" } };
    }
    let shown = at.trim_end_matches('Z').replacen('T', " ", 1);
    html! { time datetime=(at) { (shown) " UTC" } }
}

/// Milliseconds of a time of the API; `None`: it is none.
pub(crate) fn millis(at: &str) -> Option<i64> {
    tidemark_ecs::time::parse_minutes_or_seconds(at).map(|at| at.as_millisecond())
}

/// Milliseconds as a time of the API.
pub(crate) fn stamp(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| String::new(), tidemark_ecs::time::seconds)
}

/// Now, in milliseconds.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// `1 snapshot`, `2 snapshots`.
pub(crate) fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {one}s"),
    }
}

/// `first`, or `second` where that is empty.
pub(crate) fn or<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

/// A name with its id beside it; the id alone where there is no name.
pub(crate) fn named(name: &str, id: &str) -> String {
    match name {
        "" => id.to_owned(),
        name => format!("{name} ({id})"),
    }
}

/// For how long what was deleted can be brought back, in a sentence.
pub(crate) fn undelete(window: std::time::Duration) -> String {
    match window.as_secs() {
        0 => {
            "What is deleted is gone at once, for good: the service was told so (undelete-window).".to_owned()
        }
        window => format!(
            "A deleted snapshot can be brought back for {}: Snapshots > Deleted.",
            seconds(window)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits_that_count() {
        for (number, expected) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.00 KiB"),
            (1536, "1.50 KiB"),
            (10 << 20, "10.0 MiB"),
            (250 << 30, "250 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(bytes(number), expected);
        }
    }

    #[test]
    fn times_of_the_api_are_read_and_written() {
        assert_eq!(
            stamp(millis("2026-01-02T03:04:05Z").expect("a time")),
            "2026-01-02T03:04:05Z"
        );
        assert_eq!(millis("2026-01-02T03:04Z"), millis("2026-01-02T03:04:00Z"));
        assert_eq!(millis("soon"), None);
        assert_eq!(
            time("2026-01-02T03:04Z").into_string(),
            "<time datetime=\"2026-01-02T03:04Z\">2026-01-02 03:04 UTC</time>"
        );
        assert!(!time("<b>").into_string().contains("<b>"));
    }

    #[test]
    fn money_has_its_currency() {
        for (value, price, shown) in [
            (0.000_056, "0.120000 CNY", "0.000056 CNY"),
            (1.25, "0.120000 CNY", "1.25 CNY"),
            (0.0, "0.120000 CNY", "0 CNY"),
            (1.25, "0.120000", "1.25"),
            (1.25, "", "1.25"),
        ] {
            assert_eq!(money(value, price), shown);
        }
        for (text, number) in [("12.500000", 12.5), ("0.25 CNY", 0.25), ("", 0.0)] {
            assert!((amount(text) - number).abs() < f64::EPSILON, "{text}");
        }
    }

    #[test]
    fn who_keeps_nothing_promises_nothing() {
        let window = std::time::Duration::from_secs;
        assert!(undelete(window(0)).contains("gone at once"));
        assert!(undelete(window(86_400)).contains("brought back for 24 h"));
    }

    #[test]
    fn a_name_does_not_hide_the_id() {
        assert_eq!(named("database", "d-1"), "database (d-1)");
        assert_eq!(named("", "d-1"), "d-1");
    }

    #[test]
    fn times_left_are_rough() {
        for (number, expected) in [(5, "5 s"), (130, "2 min"), (7200, "2 h"), (200_000, "2 days")] {
            assert_eq!(seconds(number), expected);
        }
    }

    #[test]
    fn times_are_short() {
        for (number, shown) in [
            (0, "0 µs"),
            (85, "85 µs"),
            (1000, "1 ms"),
            (1250, "1.25 ms"),
            (100_000, "100 ms"),
            (2_500_000, "2.5 s"),
        ] {
            assert_eq!(micros(number), shown);
        }
    }
}
