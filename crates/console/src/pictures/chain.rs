//! A chain as blocks shared and owned: each snapshot is a row; what it stores itself is a full block, what older ones store and it
//! may refer to is a light one.

use super::at;
use crate::text;
use maud::{Markup, html};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 220.0;
const ROW: f64 = 24.0;

/// A snapshot of the chain.
pub(crate) struct Link {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) href: String,
    /// Stored bytes that count for it.
    pub(crate) owned: u64,
}

/// Oldest first, a hundred at most.
pub(crate) fn draw(links: &[Link]) -> Markup {
    let total = links.iter().map(|link| link.owned).sum::<u64>().max(1);
    let room = WIDTH - LEFT - 8.0;
    let long = |bytes: u64| room * bytes as f64 / total as f64;
    let mut before = 0u64;
    let mut rows = Vec::new();
    for (number, link) in links.iter().enumerate() {
        rows.push((number as f64 * ROW, before, link));
        before += link.owned;
    }
    let height = links.len() as f64 * ROW + 8.0;
    html! {
        svg class="picture chain" viewBox=(format!("0 0 {WIDTH} {}", at(height))) role="group" aria-label="The chain's snapshots: what each stores itself, and what it shares with older ones" {
            @for (y, shared, link) in &rows {
                a href=(link.href) aria-label=(format!("{}: stores {}, shares up to {}", text::or(&link.name, &link.id), text::bytes(link.owned), text::bytes(*shared))) {
                    text class="axis" x="0" y=(at(y + 16.0)) { (short(text::or(&link.name, &link.id))) }
                    @if *shared > 0 {
                        rect class="shared" x=(at(LEFT)) y=(at(y + 4.0)) width=(at(long(*shared))) height="16" {}
                    }
                    rect class="owned" x=(at(LEFT + long(*shared))) y=(at(y + 4.0)) width=(at(long(link.owned).max(2.0))) height="16" {}
                }
            }
        }
        p class="legend" {
            "A full block is what the snapshot stores itself; the light, outlined one before it is what older snapshots store, of which it shares \
             whatever did not change. Any snapshot can be deleted: what others share stays."
        }
    }
}

/// As much of a name as fits.
fn short(name: &str) -> String {
    match name.char_indices().nth(26) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_snapshot_is_a_row_and_the_first_shares_nothing() {
        let link = |id: &str, owned: u64| Link {
            id: id.to_owned(),
            name: "é".repeat(60),
            href: "/console/snapshots/s".to_owned(),
            owned,
        };
        let picture = draw(&[link("s-1", 100), link("s-2", 10), link("s-3", 0)]).into_string();
        assert_eq!(picture.matches("class=\"owned\"").count(), 3);
        assert_eq!(picture.matches("class=\"shared\"").count(), 2);
        assert!(!draw(&[link("s-1", 0)]).into_string().contains("NaN"));
    }
}
