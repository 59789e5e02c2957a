//! One bar for each of several equal times: what was used in each.

use super::at;
use maud::{Markup, html};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 12.0;
const TOP: f64 = 24.0;
const GROUND: f64 = 150.0;
/// Bars that have room for a label each.
const LABELLED: usize = 16;

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
    // Of many bars every second one is named, and so on.
    let every = bars.len().div_ceil(LABELLED);
    html! {
        svg class="picture bars" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(said) {
            title { (said) }
            line class="grid" x1=(at(LEFT)) x2=(at(WIDTH - LEFT)) y1=(at(GROUND)) y2=(at(GROUND)) {}
            @for (number, bar) in bars.iter().enumerate() {
                @let middle = LEFT + step * (number as f64 + 0.5);
                @let tall = if most > 0.0 { (GROUND - TOP) * bar.value / most } else { 0.0 };
                g {
                    title { (bar.name) ": " (bar.shown) }
                    @if bar.value > 0.0 {
                        rect class="owned" x=(at(middle - wide / 2.0)) y=(at(GROUND - tall.max(1.0))) width=(at(wide)) height=(at(tall.max(1.0))) {}
                    }
                    @if number % every == 0 {
                        text class="axis" x=(at(middle)) y=(at(GROUND - tall - 6.0)) text-anchor="middle" { (bar.shown) }
                        text class="axis" x=(at(middle)) y=(at(GROUND + 18.0)) text-anchor="middle" { (bar.name) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
