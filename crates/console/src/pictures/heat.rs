//! Which parts of a disk changed between two snapshots: in each cell a square that is as large as the part of it that changed.

use super::{grid, key};
use crate::text;
use maud::{Markup, html};

/// `parts`: the changed bytes of equal parts of the disk, [`grid::CELLS`] at most; `size`: the disk's.
pub(crate) fn draw(parts: &[u64], size: u64) -> Markup {
    if parts.is_empty() {
        return html! {};
    }
    let each = (size as f64 / parts.len() as f64).max(1.0);
    let touched = parts.iter().filter(|changed| **changed > 0).count();
    let changed: u64 = parts.iter().sum();
    let said = format!(
        "{} of {} parts of the disk changed, {} together. Each part is {}.",
        touched,
        parts.len(),
        text::bytes(changed),
        text::bytes(each as u64)
    );
    let shares: Vec<f64> = parts.iter().map(|changed| *changed as f64 / each).collect();
    let paths = grid::squares(&shares);
    let (width, height) = grid::size(parts.len());
    html! {
        svg class="picture heat" viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(said) {
            title { (said) }
            path class="grid" d=(grid::borders(parts.len())) {}
            @for (class, path) in paths.iter().enumerate() {
                @if !path.is_empty() { path class=(format!("heat-{class}")) d=(path) {} }
            }
        }
        p class="legend" {
            (key(&html! { rect class="heat-0" x="9.5" y="3.5" width="5" height="5" {} }, "a little of a part changed"))
            (key(&html! { rect class="heat-3" x="6.5" y=".5" width="11" height="11" {} }, "all of it did"))
            "The disk from its first byte (top left) to its last (bottom right). " (said)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::grid::CELLS;

    #[test]
    fn a_square_for_each_part_that_changed() {
        let mut parts = vec![0u64; CELLS];
        parts[0] = 64 << 10;
        parts[65] = 1 << 30;
        let picture = draw(&parts, (CELLS as u64) << 30).into_string();
        assert_eq!(picture.matches("<path class=\"heat-").count(), 2, "{picture}");
        assert_eq!(picture.matches("<path class=\"grid\"").count(), 1);
        assert!(picture.contains("2 of 512 parts"));
    }

    #[test]
    fn the_picture_is_bounded() {
        let mut parts = vec![1 << 29; CELLS];
        parts[0] = 1 << 30;
        let picture = draw(&parts, (CELLS as u64) << 30).into_string();
        assert!(picture.len() < 24 * 1024, "{} bytes", picture.len());
        assert_eq!(draw(&[], 0).into_string(), "");
        assert!(!draw(&[1], 0).into_string().contains("NaN"));
    }
}
