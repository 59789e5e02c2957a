//! Pictures where people would rather look than read: drawn here as SVG, in colours of the stylesheet, so that they fit either theme.
//!
//! What must stay true: nothing is said by colour alone (shape, size, hatching or a label say it too); every picture has a title and
//! a description for who does not see it, and the page has the same figures as text; its size is bounded whatever it shows.

pub(crate) mod bars;
pub(crate) mod chain;
pub(crate) mod curve;
pub(crate) mod filling;
pub(crate) mod grid;
pub(crate) mod heat;
pub(crate) mod latency;
pub(crate) mod timeline;

/// A coordinate: one digit after the point is finer than any screen.
pub(crate) fn at(value: f64) -> String {
    let text = format!("{value:.1}");
    match text.strip_suffix(".0") {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// A round number not below `value`: where an axis may end. In steps of binary units.
pub(crate) fn round_up(value: u64) -> u64 {
    let mut step = 1u64;
    while step.saturating_mul(8) < value {
        step = step.saturating_mul(2);
    }
    value.div_ceil(step).saturating_mul(step).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, expected) in [(0, 1), (1, 1), (9, 10), (1000, 1024), (1025, 1280)] {
            assert_eq!(round_up(value), expected, "{value}");
            assert!(round_up(value) >= value);
        }
    }

    #[test]
    fn coordinates_are_short() {
        assert_eq!(
            (at(1.0), at(1.25), at(0.04)),
            ("1".into(), "1.2".into(), "0".into())
        );
    }
}
