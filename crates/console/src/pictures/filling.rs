//! A disk that is being filled from its snapshot: in each cell a square that is as large as the part of it that is here already.

use super::{grid, key};
use crate::text;
use maud::{Markup, html};

/// `absent`: of equal parts of the disk the bytes that are not here yet, [`grid::CELLS`] at most; `size`: the disk's; `data`: so many of
/// those that are not here are data at most. The others are zeros, and where they are nobody has looked yet.
pub(crate) fn draw(absent: &[u64], size: u64, data: u64) -> Markup {
    if absent.is_empty() {
        return html! {};
    }
    let each = (size as f64 / absent.len() as f64).max(1.0);
    let shares: Vec<f64> = absent
        .iter()
        .map(|absent| (1.0 - *absent as f64 / each).clamp(0.0, 1.0))
        .collect();
    let whole = absent.iter().filter(|absent| **absent == 0).count();
    let left: u64 = absent.iter().sum();
    let to_come = if data < left {
        format!(
            "Of {} that are not here yet {} at most are data and have to be fetched; the rest is zeros, which take no time.",
            text::bytes(left),
            text::bytes(data)
        )
    } else {
        format!("{} are to come.", text::bytes(left))
    };
    let said = format!(
        "{whole} of {} parts of the disk are all here. {to_come} Each part is {}.",
        absent.len(),
        text::bytes(each as u64)
    );
    let (width, height) = grid::size(absent.len());
    let path: String = grid::squares(&shares).concat();
    html! {
        svg class="picture filling" viewBox=(format!("0 0 {width} {height}")) role="img" aria-label=(said) {
            title { (said) }
            path class="grid" d=(grid::borders(absent.len())) {}
            path class="owned" d=(path) {}
        }
        p class="legend" {
            (key(&html! { rect class="owned" x="9.5" y="3.5" width="5" height="5" {} }, "a little of a part is here"))
            (key(&html! { rect class="owned" x="6.5" y=".5" width="11" height="11" {} }, "all of it is"))
            "The disk from its first byte (top left) to its last (bottom right). " (said)
            " What is not here is fetched at once when it is read."
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
        let size = (CELLS as u64) << 30;
        let empty = draw(&absent, size, size).into_string();
        assert!(
            empty.contains("class=\"owned\" d=\"\"") && empty.contains("0 of 512 parts"),
            "{empty}"
        );
        assert!(empty.contains("512 GiB are to come"), "{empty}");
        absent[7] = 0;
        absent[9] = 1 << 29;
        let picture = draw(&absent, size, 0).into_string();
        let squares = picture
            .split("class=\"owned\" d=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        assert_eq!(
            squares.map(|path| path.matches('M').count()),
            Some(2),
            "{picture}"
        );
        assert!(picture.contains("1 of 512 parts"));
        assert_eq!(draw(&[], 0, 0).into_string(), "");
    }

    #[test]
    fn zeros_that_nobody_has_looked_at_are_not_said_to_be_to_come() {
        let absent = vec![200 << 20; CELLS];
        let said = draw(&absent, 100 << 30, 996 << 20).into_string();
        assert!(
            said.contains("Of 100 GiB that are not here yet 996 MiB at most are data"),
            "{said}"
        );
        assert!(!said.contains("are to come"), "{said}");
    }
}
