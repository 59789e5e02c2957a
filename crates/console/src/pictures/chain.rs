//! A chain as blocks shared and owned: each snapshot is a row; what it stores itself is a full block, what older ones store and it
//! may refer to is a light one.
//!
//! Rows are text with a drawing of blocks each, not one drawing: so names are as large as any text, however wide the screen is.

use super::{at, key};
use crate::text;
use maud::{Markup, html};

/// All that the chain stores, in per cent of the room there is.
const ALL: f64 = 100.0;
/// A block is at least this wide.
const LEAST: f64 = 0.6;

/// A snapshot of the chain.
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) href: String,
    /// Stored bytes that count for it.
    pub(crate) owned: u64,
    /// Its data, as if it shared nothing; `None`: it is not complete.
    pub(crate) full: Option<u64>,
}

impl Link {
    /// The most that it can share with older ones, which store so much: of its own data what does not count for it. What is stored is never
    /// more than the data it stands for.
    fn shared(&self, before: u64) -> u64 {
        before.min(self.full.map_or(before, |full| full.saturating_sub(self.owned)))
    }
}

/// Oldest first, a hundred at most.
pub(crate) fn draw(links: &[Link]) -> Markup {
    let total = links.iter().map(|link| link.owned).sum::<u64>().max(1);
    let long = |bytes: u64| ALL * bytes as f64 / total as f64;
    let percent = |value: f64| format!("{}%", at(value));
    let mut before = 0u64;
    let mut rows = Vec::new();
    for link in links {
        rows.push((before, link.shared(before), link));
        before = before.saturating_add(link.owned);
    }
    html! {
        ol class="picture chain" aria-label="The chain's snapshots, the oldest first: what each stores itself, and what it shares with older ones at most" {
            @for (before, shared, link) in &rows {
                @let name = text::or(&link.name, &link.id);
                @let owned = text::bytes(link.owned);
                @let start = long(*before).min(ALL - LEAST);
                @let light = long(*shared).min(start);
                li {
                    a href=(link.href) {
                        span class="what" { (name) }
                        svg class="blocks" aria-hidden="true" {
                            @if *shared > 0 {
                                rect class="shared" x=(percent(start - light)) width=(percent(light)) height="100%" {}
                            }
                            rect class="owned" x=(percent(start)) width=(percent(long(link.owned).clamp(LEAST, ALL))) height="100%" {}
                        }
                        span class="amount" {
                            (owned)
                            span class="unseen" { " stored, up to " (text::bytes(*shared)) " shared" }
                        }
                    }
                }
            }
        }
        p class="legend" {
            (key(&html! { rect class="owned" x="1" y="1" width="22" height="10" {} }, "stored for it"))
            (key(&html! { rect class="shared" x="1" y="1" width="22" height="10" {} }, "shared with older ones, at most: no more than they store, nor than it holds"))
            "Any snapshot can be deleted: what others share stays."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(id: &str, owned: u64, full: Option<u64>) -> Link {
        Link {
            id: id.to_owned(),
            name: "é".repeat(60),
            href: "/console/snapshots/s".to_owned(),
            owned,
            full,
        }
    }

    /// What is drawn, without the legend.
    fn drawn(links: &[Link]) -> String {
        let picture = draw(links).into_string();
        picture.split("</ol>").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn each_snapshot_is_a_row_and_the_first_shares_nothing() {
        let links = [
            link("s-1", 100, None),
            link("s-2", 10, None),
            link("s-3", 0, None),
        ];
        let picture = drawn(&links);
        assert_eq!(picture.matches("<li>").count(), 3);
        assert_eq!(picture.matches("class=\"owned\"").count(), 3);
        assert_eq!(picture.matches("class=\"shared\"").count(), 2);
        assert!(!drawn(&[link("s-1", 0, None)]).contains("NaN"));
        assert_eq!(drawn(&[]).matches("<li>").count(), 0);
    }

    #[test]
    fn what_is_shared_is_no_more_than_the_snapshot_holds() {
        let own = link("s-2", 10, Some(30));
        assert_eq!((own.shared(100), own.shared(5)), (20, 5));
        // Its own data takes all that it holds.
        assert_eq!(link("s-2", 10, Some(4)).shared(100), 0);
        assert_eq!(link("s-2", 10, None).shared(100), 100);
        let picture = drawn(&[link("s-1", 90, Some(90)), link("s-2", 10, Some(40))]);
        assert!(
            picture.contains("10 B<span class=\"unseen\"> stored, up to 30 B shared"),
            "{picture}"
        );
        let shared = "class=\"shared\" x=\"60%\" width=\"30%\"";
        assert!(picture.contains(shared), "{picture}");
    }

    #[test]
    fn the_picture_is_bounded() {
        let links: Vec<Link> = (0..100)
            .map(|number| link("s-1", number << 20, Some(1 << 40)))
            .collect();
        let picture = draw(&links).into_string();
        assert!(picture.len() < 64 * 1024, "{} bytes", picture.len());
    }
}
