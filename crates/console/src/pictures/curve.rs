//! Stored bytes over time.

use super::{LEFT, RIGHT, WIDTH, at, round_up, side, steps};
use crate::text;
use maud::{Markup, html};

const HEIGHT: f64 = 248.0;
const TOP: f64 = 20.0;
const GROUND: f64 = 208.0;

/// Points in the order of time: milliseconds and bytes. Four hundred at most.
pub(crate) fn draw(points: &[(i64, u64)], label: &str) -> Markup {
    let (Some((first, _)), Some((last, newest))) = (points.first(), points.last()) else {
        return html! {};
    };
    let span = (last - first).max(1) as f64;
    let most = round_up(points.iter().map(|(_, bytes)| *bytes).max().unwrap_or(0));
    let steps = steps(most, 4);
    let x = |ms: i64| LEFT + (WIDTH - LEFT - RIGHT) * (ms - first) as f64 / span;
    let y = |bytes: u64| GROUND - (GROUND - TOP) * bytes as f64 / most as f64;
    let line: Vec<String> = points
        .iter()
        .map(|(ms, bytes)| format!("{} {}", at(x(*ms)), at(y(*bytes))))
        .collect();
    let line = line.join("L");
    let area = format!("M{line}L{} {GROUND}L{} {GROUND}z", at(x(*last)), at(x(*first)));
    let day = |ms: i64| {
        text::stamp(ms)
            .chars()
            .take(16)
            .collect::<String>()
            .replace('T', " ")
    };
    let said = format!("{label}: {} at the end.", text::bytes(*newest));
    html! {
        svg class="picture curve" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(said) {
            title { (said) }
            g class="plot" {
                @for (bytes, _) in &steps {
                    line class="grid" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(y(*bytes))) y2=(at(y(*bytes))) {}
                }
                path class="area" d=(area) {}
                path class="line" d=(format!("M{line}")) {}
            }
            @for (bytes, is_rare) in &steps {
                text class=(side(*is_rare)) x=(at(LEFT - 8.0)) y=(at(y(*bytes))) text-anchor="end" { (text::bytes(*bytes)) }
            }
            text class="axis below begin" x=(at(LEFT)) y=(at(GROUND + 10.0)) { (day(*first)) }
            @if last > first {
                text class="axis below" x=(at(WIDTH - RIGHT)) y=(at(GROUND + 10.0)) text-anchor="end" { (day(*last)) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curve_has_all_points_and_stays_small() {
        let points: Vec<_> = (0..400).map(|at| (at * 3_600_000, (at as u64) << 30)).collect();
        let picture = draw(&points, "Stored").into_string();
        assert!(
            picture.contains("class=\"line\"") && picture.len() < 16 * 1024,
            "{} bytes",
            picture.len()
        );
        assert_eq!(draw(&[], "Stored").into_string(), "");
        assert!(!draw(&[(0, 0)], "Stored").into_string().contains("NaN"));
    }

    #[test]
    fn amounts_that_are_the_same_are_named_once() {
        let nothing = draw(&[(0, 0), (3_600_000, 0)], "Stored").into_string();
        assert_eq!(
            nothing.matches("text-anchor=\"end\">0 B<").count(),
            1,
            "{nothing}"
        );
        assert_eq!(nothing.matches("axis side").count(), 1);
        let level = draw(&[(0, 1 << 30), (3_600_000, 1 << 30)], "Stored").into_string();
        assert_eq!(level.matches("axis side").count(), 5);
        assert_eq!(level.matches("axis side rare").count(), 2);
    }
}
