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

use maud::{Markup, html};

/// How wide a picture with amounts at its left is, and where its plot begins and how far from the right it ends: the same in all of them,
/// since the style sheet moves the beginning on narrow screens, where labels are larger.
pub(crate) const WIDTH: f64 = 960.0;
pub(crate) const LEFT: f64 = 84.0;
pub(crate) const RIGHT: f64 = 16.0;

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

/// The amounts that an axis names: from nothing to `most` in `parts` equal steps; and whether it may go where there is little room, as
/// every second one may. Steps of less than a unit are no steps: then there is only nothing.
pub(crate) fn steps(most: u64, parts: u64) -> Vec<(u64, bool)> {
    let step = most / parts.max(1);
    let mut steps: Vec<u64> = (0..=parts).map(|part| step * part).collect();
    steps.dedup();
    steps.into_iter().zip([false, true].into_iter().cycle()).collect()
}

/// The class of a label at the left of a plot; `is_rare`: as of [`steps`].
pub(crate) fn side(is_rare: bool) -> &'static str {
    if is_rare { "axis side rare" } else { "axis side" }
}

/// A sign of a picture and what it means, for its legend: drawn in the picture's own classes, on 24 by 12.
pub(crate) fn key(sign: &Markup, meaning: &str) -> Markup {
    html! {
        span class="meaning" {
            svg class="key" viewBox="0 0 24 12" aria-hidden="true" { (sign) }
            (meaning)
        }
        " "
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_names_each_amount_once() {
        let all = [(0, false), (64, true), (128, false), (192, true), (256, false)];
        assert_eq!(steps(256, 4), all);
        assert_eq!(steps(1, 4), [(0, false)]);
        assert_eq!(steps(0, 0), [(0, false)]);
        assert_eq!(steps(u64::MAX, 2).last(), Some(&(u64::MAX - 1, false)));
    }

    #[test]
    fn a_key_is_not_read_out_and_its_meaning_is() {
        let shown = key(&html! { circle class="mark" r="5" {} }, "<b>").into_string();
        assert!(
            shown.contains("aria-hidden") && shown.contains("&lt;b&gt;"),
            "{shown}"
        );
    }

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
