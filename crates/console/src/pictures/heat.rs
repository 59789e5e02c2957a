//! Which parts of a disk changed between two snapshots: the disk as a grid, left to right and down; in each cell a square that
//! is as large as the part of it that changed.

use super::at;
use crate::text;
use maud::{Markup, html};

/// Cells in a row.
pub(crate) const COLUMNS: usize = 64;
/// Cells of the picture.
pub(crate) const CELLS: usize = COLUMNS * 8;
const CELL: f64 = 15.0;

/// `parts`: the changed bytes of equal parts of the disk, [`CELLS`] at most; `size`: the disk's.
pub(crate) fn draw(parts: &[u64], size: u64) -> Markup {
    if parts.is_empty() {
        return html! {};
    }
    let each = (size as f64 / parts.len() as f64).max(1.0);
    let rows = parts.len().div_ceil(COLUMNS);
    let touched = parts.iter().filter(|changed| **changed > 0).count();
    let changed: u64 = parts.iter().sum();
    let said = format!(
        "{} of {} parts of the disk changed, {} together. Each part is {}.",
        touched,
        parts.len(),
        text::bytes(changed),
        text::bytes(each as u64)
    );
    // Four classes of shade, one path each: small, whatever the disk.
    let mut paths = [const { String::new() }; 4];
    for (number, changed) in parts.iter().enumerate().filter(|(_, changed)| **changed > 0) {
        let share = (*changed as f64 / each).clamp(0.0, 1.0);
        let side = (CELL - 2.0) * share.sqrt().max(0.3);
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        let x = column as f64 * CELL + (CELL - side) / 2.0;
        let y = row as f64 * CELL + (CELL - side) / 2.0;
        let class = ((share * 4.0) as usize).min(3);
        let side = at(side);
        paths[class].push_str(&format!("M{} {}h{side}v{side}h-{side}z", at(x), at(y)));
    }
    let (width, height) = (COLUMNS as f64 * CELL, rows as f64 * CELL);
    html! {
        svg class="picture heat" viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(said) {
            title { (said) }
            rect class="ground" x="0" y="0" width=(at(width)) height=(at(height)) {}
            @for (class, path) in paths.iter().enumerate() {
                @if !path.is_empty() { path class=(format!("heat-{class}")) d=(path) {} }
            }
        }
        p class="legend" {
            "The disk from its first byte (top left) to its last (bottom right). " (said)
            " The larger a square, the more of its part changed."
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_square_for_each_part_that_changed() {
        let mut parts = vec![0u64; CELLS];
        parts[0] = 64 << 10;
        parts[65] = 1 << 30;
        let picture = draw(&parts, (CELLS as u64) << 30).into_string();
        assert_eq!(picture.matches('M').count() - picture.matches("MiB").count(), 2, "{picture}");
        assert!(picture.contains("2 of 512 parts"));
    }

    #[test]
    fn the_picture_is_bounded() {
        let picture = draw(&vec![1 << 30; CELLS], (CELLS as u64) << 30).into_string();
        assert!(picture.len() < 24 * 1024, "{} bytes", picture.len());
        assert_eq!(draw(&[], 0).into_string(), "");
        assert!(!draw(&[1], 0).into_string().contains("NaN"));
    }
}
