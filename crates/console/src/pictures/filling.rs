//! A disk that is being filled from its snapshot: in each cell a square that is as large as the part of it that is here already.

use super::{at, grid};
use crate::text;
use maud::{Markup, html};

/// `absent`: of equal parts of the disk the bytes that are not here yet, [`grid::CELLS`] at most; `size`: the disk's.
pub(crate) fn draw(absent: &[u64], size: u64) -> Markup {
    if absent.is_empty() {
        return html! {};
    }
    let each = (size as f64 / absent.len() as f64).max(1.0);
    let shares: Vec<f64> = absent
        .iter()
        .map(|absent| (1.0 - *absent as f64 / each).clamp(0.0, 1.0))
        .collect();
    let whole = absent.iter().filter(|absent| **absent == 0).count();
    let said = format!(
        "{whole} of {} parts of the disk are all here, {} are to come. Each part is {}.",
        absent.len(),
        text::bytes(absent.iter().sum()),
        text::bytes(each as u64)
    );
    let (width, height) = grid::size(absent.len());
    let path: String = grid::squares(&shares).concat();
    html! {
        svg class="picture filling" viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(said) {
            title { (said) }
            rect class="ground" x="0" y="0" width=(at(width)) height=(at(height)) {}
            path class="owned" d=(path) {}
        }
        p class="legend" {
            "The disk from its first byte (top left) to its last (bottom right). " (said)
            " The larger a square, the more of its part is here; an empty place is fetched when it is read."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::grid::CELLS;

    #[test]
    fn what_is_here_is_drawn_and_what_is_not_is_left_open() {
        let mut absent = vec![1 << 30; CELLS];
        let empty = draw(&absent, (CELLS as u64) << 30).into_string();
        assert!(
            empty.contains("d=\"\"") && empty.contains("0 of 512 parts"),
            "{empty}"
        );
        absent[7] = 0;
        absent[9] = 1 << 29;
        let picture = draw(&absent, (CELLS as u64) << 30).into_string();
        assert_eq!(
            picture.matches('M').count() - picture.matches("MiB").count(),
            2,
            "{picture}"
        );
        assert!(picture.contains("1 of 512 parts"));
        assert_eq!(draw(&[], 0).into_string(), "");
    }
}
