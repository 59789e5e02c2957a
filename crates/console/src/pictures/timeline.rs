//! A disk's life: its marks along the time, and how much each holds that no older one does.

use super::{LEFT, RIGHT, WIDTH, at, key, round_up, side, steps};
use crate::text;
use maud::{Markup, html};

const HEIGHT: f64 = 214.0;
const TOP: f64 = 20.0;
const GROUND: f64 = 164.0;
/// Marks closer than this are drawn this far apart, so that each can be seen.
const APART: f64 = 6.0;

/// One snapshot on the line.
pub(crate) struct Mark {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) at_ms: i64,
    /// Stored bytes that count for it.
    pub(crate) bytes: u64,
    pub(crate) is_automatic: bool,
    pub(crate) is_complete: bool,
}

/// Marks in any order; a page shows no more than sixty.
pub(crate) fn draw(mut marks: Vec<Mark>) -> Markup {
    if marks.is_empty() {
        return html! {};
    }
    marks.sort_by_key(|mark| mark.at_ms);
    let first = marks.first().map_or(0, |mark| mark.at_ms);
    let last = marks.last().map_or(0, |mark| mark.at_ms);
    let span = (last - first).max(1) as f64;
    let room = WIDTH - LEFT - RIGHT;
    let most = round_up(marks.iter().map(|mark| mark.bytes).max().unwrap_or(0));
    let mut places = Vec::new();
    let mut before = LEFT - APART;
    for mark in &marks {
        let wanted = LEFT + 8.0 + (mark.at_ms - first) as f64 / span * (room - 16.0);
        let place = wanted.max(before + APART);
        places.push(place);
        before = place;
    }
    // Many marks in one moment push the last ones out: then all are drawn evenly.
    if before > WIDTH - RIGHT {
        let step = room / places.len() as f64;
        for (number, place) in places.iter_mut().enumerate() {
            *place = LEFT + step * (number as f64 + 0.5);
        }
    }
    let said = format!(
        "{} of this disk along the time; the largest stores {}.",
        text::count(marks.len() as u64, "snapshot"),
        text::bytes(marks.iter().map(|mark| mark.bytes).max().unwrap_or(0))
    );
    let steps = steps(most, 2);
    let height = |bytes: u64| (GROUND - TOP) * bytes as f64 / most as f64;
    html! {
        svg class="picture timeline" viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(said) {
            title { (said) }
            g class="plot" {
                @for (bytes, _) in &steps {
                    @let y = GROUND - height(*bytes);
                    line class="grid" x1=(at(LEFT)) x2=(at(WIDTH - RIGHT)) y1=(at(y)) y2=(at(y)) {}
                }
                @for (mark, x) in marks.iter().zip(&places) {
                    @let tall = height(mark.bytes).max(2.0);
                    @let top = GROUND - tall;
                    // Too small to be pressed: the list below has the links.
                    g {
                        title { (label(mark)) }
                        rect class=(if mark.is_complete { "owned" } else { "unfinished" }) x=(at(x - 2.0)) y=(at(top)) width="4" height=(at(tall)) {}
                        @if mark.is_automatic {
                            rect class="mark" x=(at(x - 4.0)) y=(at(GROUND + 6.0)) width="8" height="8" transform=(format!("rotate(45 {} {})", at(*x), at(GROUND + 10.0))) {}
                        } @else {
                            circle class="mark" cx=(at(*x)) cy=(at(GROUND + 10.0)) r="5" {}
                        }
                    }
                }
            }
            @for (bytes, is_rare) in &steps {
                text class=(side(*is_rare)) x=(at(LEFT - 8.0)) y=(at(GROUND - height(*bytes))) text-anchor="end" { (text::bytes(*bytes)) }
            }
            text class="axis below begin" x=(at(LEFT)) y=(at(GROUND + 22.0)) { (text::stamp(first).replace('T', " ").trim_end_matches('Z')) }
            @if last > first {
                text class="axis below" x=(at(WIDTH - RIGHT)) y=(at(GROUND + 22.0)) text-anchor="end" { (text::stamp(last).replace('T', " ").trim_end_matches('Z')) }
            }
        }
        p class="legend" {
            (key(&html! { circle class="mark" cx="12" cy="6" r="5" {} }, "taken by somebody"))
            (key(&html! { rect class="mark" x="8" y="2" width="8" height="8" transform="rotate(45 12 6)" {} }, "automatic"))
            (key(&html! { rect class="owned" x="10" y="0" width="4" height="12" {} }, "stored for it, and for no older one"))
            (key(&html! { rect class="unfinished" x="10" y="1" width="4" height="10" {} }, "not complete yet"))
        }
    }
}

fn label(mark: &Mark) -> String {
    let kind = if mark.is_automatic { "automatic" } else { "manual" };
    let state = if mark.is_complete { "" } else { ", not complete" };
    let name = text::or(&mark.name, &mark.id);
    let made = text::stamp(mark.at_ms);
    format!("{name}, {kind}, {made}, {}{state}", text::bytes(mark.bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(at_ms: i64, bytes: u64) -> Mark {
        Mark {
            id: format!("s-{at_ms}"),
            name: "<b>".to_owned(),
            at_ms,
            bytes,
            is_automatic: at_ms % 2 == 0,
            is_complete: true,
        }
    }

    #[test]
    fn every_mark_is_in_the_picture() {
        let marks = (0..60)
            .map(|at| mark(1_700_000_000_000 + at, 1 << at.min(40)))
            .collect();
        let picture = draw(marks).into_string();
        assert_eq!(picture.matches("<g>").count(), 60);
        assert!(!picture.contains("<b>"), "names are escaped");
        assert!(!picture.contains("NaN") && !picture.contains("inf"), "{picture}");
        assert!(picture.len() < 40_000, "{} bytes", picture.len());
    }

    #[test]
    fn one_mark_or_none_is_fine() {
        assert_eq!(draw(Vec::new()).into_string(), "");
        let one = draw(vec![mark(1, 0)]).into_string();
        let (drawn, legend) = one.split_once("</svg>").expect("a legend");
        assert_eq!(drawn.matches("<circle class=\"mark\"").count(), 1, "{drawn}");
        assert_eq!(drawn.matches("0 B</text>").count(), 1, "an amount is named once");
        assert!(
            legend.contains("<circle class=\"mark\""),
            "the key is what is drawn"
        );
    }
}
