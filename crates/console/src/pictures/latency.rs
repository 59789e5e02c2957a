//! How long a disk's clients waited, over time, with the times shaded in which snapshots of the disk were being taken.

use super::{LEFT, RIGHT, WIDTH, at, key, side, steps};
use crate::text;
use maud::{Markup, html};

const HEIGHT: f64 = 234.0;
const TOP: f64 = 20.0;
const GROUND: f64 = 186.0;
/// A shaded time is at least this wide: a snapshot may take less than a second.
const WINDOW_LEAST: f64 = 3.0;

/// One period, which begins then. A figure in microseconds; 0: there was none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Point {
    pub(crate) at_ms: i64,
    pub(crate) read: u64,
    pub(crate) write: u64,
}

/// A time in which a snapshot was being taken.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) from_ms: i64,
    pub(crate) until_ms: i64,
    pub(crate) name: String,
}

/// Points in the order of time, `period_ms` apart where nothing is missing, between the two times; four hundred at most. `figure`: what of a period is
/// drawn, in words.
pub(crate) fn draw(
    points: &[Point],
    period_ms: i64,
    times: (i64, i64),
    windows: &[Window],
    figure: &str,
) -> Markup {
    let (from, until) = times;
    let span = (until - from).max(1) as f64;
    let most = scale(
        points
            .iter()
            .map(|point| point.read.max(point.write))
            .max()
            .unwrap_or(0),
    );
    let steps = steps(most, 4);
    let x = |ms: i64| LEFT + (WIDTH - LEFT - RIGHT) * ((ms - from) as f64 / span).clamp(0.0, 1.0);
    let y = |micros: u64| GROUND - (GROUND - TOP) * micros as f64 / most as f64;
    // A period that nothing is known of, or in which nothing was asked, interrupts the line.
    let line = |of: fn(&Point) -> u64| {
        let mut path = String::new();
        let mut before = None;
        for point in points.iter().filter(|point| of(point) > 0) {
            let place = format!("{} {}", at(x(point.at_ms + period_ms / 2)), at(y(of(point))));
            if before == Some(point.at_ms - period_ms) {
                path.push_str(&format!("L{place}"));
            } else {
                path.push_str(&format!("M{place}h.1"));
            }
            before = Some(point.at_ms);
        }
        path
    };
    let (reads, writes) = (line(|point| point.read), line(|point| point.write));
    let said = said(points, windows, figure);
    let clock = |ms: i64| text::stamp(ms).chars().skip(11).take(5).collect::<String>();
    html! {
        svg class="picture latency" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(said) {
            title { (said) }
            g class="plot" {
                @for window in windows {
                    @let left = x(window.from_ms);
                    @let wide = (x(window.until_ms) - left).max(WINDOW_LEAST);
                    g {
                        title { (window.name) }
                        rect class="window" x=(at(left)) y=(at(TOP)) width=(at(wide)) height=(at(GROUND - TOP)) {}
                        path class="mark" d=(format!("M{} {}l5 8h-10z", at(left + wide / 2.0), at(GROUND + 3.0))) {}
                    }
                }
                @for (micros, _) in &steps {
                    line class="grid" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(y(*micros))) y2=(at(y(*micros))) {}
                }
                @if !reads.is_empty() { path class="line" d=(reads) {} }
                @if !writes.is_empty() { path class="line second" d=(writes) {} }
            }
            @for (micros, is_rare) in &steps {
                text class=(side(*is_rare)) x=(at(LEFT - 8.0)) y=(at(y(*micros))) text-anchor="end" { (text::micros(*micros)) }
            }
            text class="axis below begin" x=(at(LEFT)) y=(at(GROUND + 18.0)) { (clock(from)) " UTC" }
            text class="axis below" x=(at(WIDTH - RIGHT)) y=(at(GROUND + 18.0)) text-anchor="end" { (clock(until)) }
        }
        p class="legend" {
            (key(&html! { path class="line" d="M0 6h24" {} }, "reads"))
            (key(&html! { path class="line second" d="M0 6h24" {} }, "writes"))
            (key(
                &html! { rect class="window" x="1" y="1" width="8" height="10" {} path class="mark" d="M18 2l5 8h-10z" {} },
                "a snapshot was being taken",
            ))
            "The lines are " (figure) "."
        }
    }
}

/// Where the axis ends: 1, 2 or 5 times a power of ten, not below; and a number that four divides.
fn scale(micros: u64) -> u64 {
    let mut step = 40u64;
    loop {
        for times in [1, 2, 5] {
            let end = step.saturating_mul(times);
            if end >= micros || end == u64::MAX {
                return end;
            }
        }
        step = step.saturating_mul(10);
    }
}

fn said(points: &[Point], windows: &[Window], figure: &str) -> String {
    let worst = |of: fn(&Point) -> u64| points.iter().map(of).max().unwrap_or(0);
    format!(
        "Reads took {} at most and writes {} ({figure}, in a period); {} taken.",
        text::micros(worst(|point| point.read)),
        text::micros(worst(|point| point.write)),
        match windows.len() {
            1 => "1 snapshot was".to_owned(),
            count => format!("{count} snapshots were"),
        }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn silence_interrupts_the_line_and_windows_are_shaded() {
        let point = |at: i64, read: u64| Point {
            at_ms: at * MINUTE,
            read,
            write: 0,
        };
        let points = [
            point(0, 100),
            point(1, 200),
            point(2, 0),
            point(3, 100),
            point(5, 90),
        ];
        let window = Window {
            from_ms: MINUTE,
            until_ms: MINUTE + 1,
            name: "<b>".to_owned(),
        };
        let picture = draw(&points, MINUTE, (0, 10 * MINUTE), &[window], "mean").into_string();
        assert_eq!(picture.matches("h.1").count(), 3, "{picture}");
        let (drawn, legend) = picture.split_once("</svg>").expect("a legend");
        assert_eq!(drawn.matches("class=\"window\"").count(), 1);
        assert!(!drawn.contains("second"), "no writes, no line");
        assert!(legend.contains("line second"), "the key of what could be there");
        assert!(!picture.contains("<b>") && !picture.contains("NaN"));
    }

    #[test]
    fn it_is_bounded_and_nothing_is_no_trouble() {
        let points: Vec<_> = (0..400)
            .map(|at| Point {
                at_ms: at * MINUTE,
                read: 123_456,
                write: 99_999_999,
            })
            .collect();
        let picture = draw(&points, MINUTE, (0, 400 * MINUTE), &[], "mean").into_string();
        assert!(picture.len() < 16 * 1024, "{} bytes", picture.len());
        assert!(
            !draw(&[], MINUTE, (0, 0), &[], "mean")
                .into_string()
                .contains("NaN")
        );
    }

    #[test]
    fn axes_end_at_round_numbers() {
        for (micros, end) in [(0, 40), (41, 80), (180, 200), (201, 400), (90_000, 200_000)] {
            assert_eq!(scale(micros), end, "{micros}");
            assert_eq!(scale(micros) % 4, 0);
        }
        assert!(scale(u64::MAX) == u64::MAX);
    }
}
