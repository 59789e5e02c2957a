//! One bar for each of several equal times: what was used in each.

use super::{WIDTH, at};
use maud::{Markup, html};

const HEIGHT: f64 = 202.0;
const LEFT: f64 = 12.0;
const TOP: f64 = 36.0;
const GROUND: f64 = 162.0;
/// Bars that have room for a label each.
const LABELLED: usize = 16;
/// The same on a narrow screen, where labels are larger.
const LABELLED_NARROW: usize = 4;

/// One time.
pub(crate) struct Bar {
    /// When, below the bar.
    pub(crate) name: String,
    pub(crate) value: f64,
    /// The value for people, above the bar.
    pub(crate) shown: String,
}

/// Oldest first, thirty at most. `said`: the same for who does not see it.
pub(crate) fn draw(bars: &[Bar], said: &str) -> Markup {
    if bars.is_empty() {
        return html! {};
    }
    let most = bars.iter().map(|bar| bar.value).fold(0.0, f64::max);
    let step = (WIDTH - 2.0 * LEFT) / bars.len() as f64;
    let wide = (step * 0.7).min(60.0);
    // Of many bars every second one is named, and so on; the newest always is.
    let every = bars.len().div_ceil(LABELLED);
    let seldom = bars.len().div_ceil(LABELLED_NARROW).next_multiple_of(every);
    let middle = |number: usize| LEFT + step * (number as f64 + 0.5);
    let tall = |bar: &Bar| match most > 0.0 {
        true => (GROUND - TOP) * bar.value / most,
        false => 0.0,
    };
    html! {
        svg class="picture bars" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(said) {
            title { (said) }
            line class="grid" x1=(at(LEFT)) x2=(at(WIDTH - LEFT)) y1=(at(GROUND)) y2=(at(GROUND)) {}
            @for (number, bar) in bars.iter().enumerate() {
                @if bar.value > 0.0 {
                    @let high = tall(bar).max(1.0);
                    rect class="owned" x=(at(middle(number) - wide / 2.0)) y=(at(GROUND - high)) width=(at(wide)) height=(at(high)) {
                        title { (bar.name) ": " (bar.shown) }
                    }
                }
            }
            // After all bars: a label may be wider than its own.
            @for (number, bar) in bars.iter().enumerate() {
                @let after = bars.len() - 1 - number;
                @let class = class(after, seldom);
                @if after.is_multiple_of(every) {
                    text class=(class) x=(at(middle(number))) y=(at(GROUND - tall(bar) - 6.0)) text-anchor="middle" { (bar.shown) }
                    text class=(format!("{class} below")) x=(at(middle(number))) y=(at(GROUND + 10.0)) text-anchor="middle" { (bar.name) }
                }
            }
        }
    }
}

/// The class of the labels of a bar that so many come after. On narrow screens only every `seldom` bar has some.
fn class(after: usize, seldom: usize) -> &'static str {
    match after {
        // It would reach over the edge there.
        0 => "axis newest",
        after if after.is_multiple_of(seldom) => "axis",
        _ => "axis rare",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_named_and_few_are_where_there_is_little_room() {
        for (count, named, rare) in [
            (1, 1, 0),
            (4, 4, 0),
            (7, 7, 3),
            (15, 15, 11),
            (24, 12, 8),
            (30, 15, 11),
        ] {
            let bars: Vec<Bar> = (0..count)
                .map(|number| Bar {
                    name: format!("time {number}"),
                    value: 1.0,
                    shown: String::new(),
                })
                .collect();
            let picture = draw(&bars, "said").into_string();
            assert_eq!(picture.matches("<text").count(), 2 * named, "{count}");
            assert_eq!(picture.matches("axis rare").count(), 2 * rare, "{count}");
            let newest = format!(">time {}</text>", count - 1);
            assert!(picture.contains(&newest), "{picture}");
        }
    }

    #[test]
    fn a_bar_for_each_time_that_has_something() {
        let bar = |value: f64| Bar {
            name: "<b>".to_owned(),
            value,
            shown: format!("{value}"),
        };
        let picture = draw(&[bar(0.0), bar(1.0), bar(2.0)], "said").into_string();
        assert_eq!(picture.matches("<rect").count(), 2);
        assert!(!picture.contains("<b>"));
        let flat = draw(&[bar(0.0)], "said").into_string();
        assert!(!flat.contains("NaN") && !flat.contains("<rect"));
        assert_eq!(draw(&[], "said").into_string(), "");
    }
}
