//! A disk as a grid, left to right and down, each cell an equal part of it with a square that is as large as its share of something.

use super::at;

/// Cells in a row.
pub(crate) const COLUMNS: usize = 64;
/// Cells of a picture.
pub(crate) const CELLS: usize = COLUMNS * 8;
/// How wide a cell is.
pub(crate) const CELL: f64 = 15.0;
/// Classes of shade.
pub(crate) const CLASSES: usize = 4;

/// The size of a grid of so many cells.
pub(crate) fn size(cells: usize) -> (f64, f64) {
    (COLUMNS as f64 * CELL, cells.div_ceil(COLUMNS) as f64 * CELL)
}

/// The borders between so many cells, as one path: without them nobody sees of which cell a small square is.
pub(crate) fn borders(cells: usize) -> String {
    let (wide, high) = size(cells);
    let rows = cells.div_ceil(COLUMNS);
    // The last row may end before the others.
    let last = cells - rows.saturating_sub(1) * COLUMNS;
    let mut path = String::new();
    for row in 1..rows {
        path.push_str(&format!("M0 {}h{}", at(row as f64 * CELL), at(wide)));
    }
    for column in 1..COLUMNS {
        let missing = if column > last { CELL } else { 0.0 };
        if high > missing {
            path.push_str(&format!("M{} 0v{}", at(column as f64 * CELL), at(high - missing)));
        }
    }
    path
}

/// How large the square of a share is: also the smallest can be seen.
fn side(share: f64) -> f64 {
    (CELL - 2.0) * (0.45 + 0.55 * share.clamp(0.0, 1.0).sqrt())
}

/// One path for each class of shade, the faintest first: small, whatever the disk. What is nothing has no square; neighbours in a row
/// that are all full are one piece.
pub(crate) fn squares(shares: &[f64]) -> [String; CLASSES] {
    let mut paths = [const { String::new() }; CLASSES];
    let mut number = 0;
    while let Some(share) = shares.get(number) {
        let (column, row) = (number % COLUMNS, number / COLUMNS);
        let full = |share: &f64| *share > 0.999;
        let run = match full(share) {
            true => {
                let rest = shares.get(number..).unwrap_or_default();
                let rest = rest.iter().take(COLUMNS - column);
                rest.take_while(|share| full(share)).count()
            }
            false => 1,
        };
        if *share > 0.0 {
            let side = side(*share);
            let wide = side + CELL * (run as f64 - 1.0);
            let x = column as f64 * CELL + (CELL - side) / 2.0;
            let y = row as f64 * CELL + (CELL - side) / 2.0;
            let class = ((share * CLASSES as f64) as usize).min(CLASSES - 1);
            if let Some(path) = paths.get_mut(class) {
                let (wide, side) = (at(wide), at(side));
                path.push_str(&format!("M{} {}h{wide}v{side}h-{wide}z", at(x), at(y)));
            }
        }
        number += run;
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_neighbours_are_one_piece_and_a_row_ends_at_its_end() {
        let mut shares = vec![1.0; COLUMNS * 2];
        shares[3] = 0.5;
        shares[4] = 0.0;
        let paths = squares(&shares);
        // Cells 0 to 2, 5 to the row's end, the second row.
        assert_eq!(paths[3].matches('M').count(), 3, "{paths:?}");
        assert_eq!(paths[2].matches('M').count(), 1);
        assert_eq!(size(COLUMNS + 1), (960.0, 30.0));
    }

    #[test]
    fn what_is_more_is_larger_and_the_least_can_be_seen() {
        let sides = [0.000_01, 0.01, 0.25, 0.5, 1.0].map(side);
        assert!(sides.is_sorted() && sides[0] > CELL / 3.0, "{sides:?}");
        assert_eq!((side(1.0), side(7.0)), (CELL - 2.0, CELL - 2.0));
    }

    #[test]
    fn borders_are_where_cells_are() {
        let all = borders(CELLS);
        assert_eq!(all.matches('M').count(), COLUMNS - 1 + CELLS / COLUMNS - 1);
        assert_eq!(all.matches("v120").count(), COLUMNS - 1);
        // Three of a second row.
        let some = borders(COLUMNS + 3);
        let ends = (some.matches("v30").count(), some.matches("v15").count());
        assert_eq!(ends, (3, COLUMNS - 4), "{some}");
        // A single row that is not full has none behind its end.
        assert_eq!(borders(2), "M15 0v15M30 0v15");
        assert_eq!(borders(0), "");
    }
}
