//! Extents of a metadata context, and the shape that a reply demands of them.

use super::wire::{STATE_HOLE, STATE_ZERO};

/// Most extents in one reply. A client whose range has more asks again from where the reply ends.
pub const EXTENTS_MAX: usize = 4096;

/// A run of bytes with one status, in some metadata context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Length in bytes.
    pub len: u64,
    /// Status bits; what they mean is the context's business.
    pub status: u32,
}

impl Extent {
    /// An extent of `base:allocation`: whether it has no space, and whether it reads as zeros.
    pub const fn allocation(len: u64, hole: bool, zero: bool) -> Extent {
        let hole = if hole { STATE_HOLE } else { 0 };
        Extent {
            len,
            status: hole | if zero { STATE_ZERO } else { 0 },
        }
    }
}

/// Extents as they may stand in the reply to a request for `len` bytes: none empty, no two neighbours
/// alike, none past the request's end, one if only `one` was asked for and [`EXTENTS_MAX`] at most.
/// Empty only if `found` holds nothing.
pub fn fit_extents(found: &[Extent], len: u64, one: bool) -> Vec<Extent> {
    let limit = if one { 1 } else { EXTENTS_MAX };
    let mut fitted: Vec<Extent> = Vec::new();
    let mut left = len;
    for extent in found {
        let part = extent.len.min(left);
        if part == 0 {
            continue;
        }
        let room = fitted.len() < limit;
        match fitted.last_mut() {
            Some(last) if last.status == extent.status => last.len += part,
            _ if !room => break,
            _ => fitted.push(Extent {
                len: part,
                status: extent.status,
            }),
        }
        left -= part;
    }
    fitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn data(len: u64) -> Extent {
        Extent::allocation(len, false, false)
    }

    fn hole(len: u64) -> Extent {
        Extent::allocation(len, true, true)
    }

    #[test]
    fn neighbours_merge_and_the_end_is_cut() {
        assert_eq!(
            fit_extents(&[data(4), data(4), hole(0), hole(100)], 10, false),
            [data(8), hole(2)]
        );
        assert_eq!(fit_extents(&[data(4), data(4), hole(100)], 10, true), [data(8)]);
        assert_eq!(
            fit_extents(&[hole(u64::MAX), hole(u64::MAX)], 10, true),
            [hole(10)]
        );
        assert_eq!(fit_extents(&[], 10, true), []);
    }

    #[test]
    fn a_long_list_is_cut_and_not_skipped_over() {
        let found: Vec<Extent> = (0..20_000)
            .map(|n| if n % 2 == 0 { data(1) } else { hole(1) })
            .collect();
        assert_eq!(fit_extents(&found, u64::MAX, false), found[..EXTENTS_MAX]);
    }

    proptest! {
        #[test]
        fn what_fits_is_a_prefix(lens in proptest::collection::vec((0u64..9, 0u32..3), 0..20), len in 1u64..60, one: bool) {
            let found: Vec<Extent> = lens.iter().map(|&(len, status)| Extent { len, status }).collect();
            let bytes = |extents: &[Extent]| -> Vec<u32> {
                extents.iter().flat_map(|e| std::iter::repeat_n(e.status, e.len as usize)).collect()
            };
            let fitted = fit_extents(&found, len, one);
            let (whole, kept) = (bytes(&found), bytes(&fitted));
            prop_assert!(whole.starts_with(&kept));
            prop_assert!(kept.len() as u64 <= len);
            prop_assert!(fitted.iter().all(|e| e.len > 0));
            prop_assert_eq!(kept.is_empty(), whole.is_empty());
            if !one {
                prop_assert_eq!(kept.len() as u64, len.min(whole.len() as u64));
            }
        }
    }
}
