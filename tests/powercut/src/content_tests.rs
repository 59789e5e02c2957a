//! What a file keeps and loses.

use super::*;

const MIB: u64 = 1 << 20;

fn after_cut(mut content: Content, seed: u64) -> Content {
    content.cut(&mut Rng::new(seed));
    assert!(!content.is_dirty());
    content
}

#[test]
fn what_was_synced_stays() {
    for seed in 0..200 {
        let mut content = Content::default();
        content.write(100, &[7; 10_000]);
        content.sync();
        content.write(20_000, &[8; 512]);
        let left = after_cut(content, seed);
        assert_eq!(left.read(100..10_100), vec![7; 10_000]);
        assert!(left.size() == 10_100 || left.size() == 20_512);
    }
}

#[test]
fn an_unsynced_overwrite_leaves_old_and_new_sectors_in_every_mixture() {
    let mut mixtures = std::collections::HashSet::new();
    for seed in 0..2000 {
        let mut content = Content::default();
        content.write(0, &[1; 4096]);
        content.sync();
        content.write(0, &[2; 2048]);
        let left = after_cut(content, seed).read(0..4096);
        for sector in left.chunks(SECTOR_BYTES) {
            assert!(
                sector.iter().all(|byte| *byte == sector[0]),
                "a sector is never torn"
            );
        }
        assert!(left[2048..].iter().all(|byte| *byte == 1));
        mixtures.insert(
            (0..4)
                .map(|sector| left[sector * SECTOR_BYTES])
                .collect::<Vec<_>>(),
        );
    }
    assert_eq!(mixtures.len(), 16);
}

#[test]
fn an_unsynced_file_can_lose_all_or_keep_all() {
    let sizes: std::collections::BTreeSet<u64> = (0..100)
        .map(|seed| {
            let mut content = Content::default();
            content.write(0, &[1; 4096]);
            content.write(4096, &[1; 4096]);
            after_cut(content, seed).size()
        })
        .collect();
    assert_eq!(sizes.into_iter().collect::<Vec<_>>(), [0, 4096, 8192]);
}

#[test]
fn a_page_written_back_early_can_show_an_overwritten_version() {
    let seen: std::collections::BTreeSet<u8> = (0..100)
        .map(|seed| {
            let mut content = Content::default();
            content.write(0, &[1; 512]);
            content.sync();
            content.write(0, &[2; 512]);
            content.write_back_one(&mut Rng::new(seed));
            content.write(0, &[3; 512]);
            after_cut(content, seed).read(0..1)[0]
        })
        .collect();
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn an_unsynced_hole_may_let_old_bytes_come_back_but_never_others() {
    for seed in 0..200 {
        let mut content = Content::default();
        content.write(0, &[5; 8192]);
        content.sync();
        content.punch(0..4096);
        assert_eq!(content.read(0..4096), vec![0; 4096]);
        assert_eq!(content.allocated(), 1);
        let left = after_cut(content, seed).read(0..8192);
        assert!(left[..4096].iter().all(|byte| [0, 5].contains(byte)));
        assert_eq!(left[4096..], vec![5; 4096]);
    }
}

#[test]
fn shrinking_and_growing_reads_zeros_also_after_a_cut() {
    for seed in 0..200 {
        let mut content = Content::default();
        content.write(0, &[5; 8192]);
        content.sync();
        content.set_size(100);
        content.sync();
        content.set_size(8192);
        assert_eq!(content.read(100..8192), vec![0; 8092]);
        let left = after_cut(content, seed);
        let rest = left.read(100..8192);
        assert!(rest.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn space_and_seeking_follow_writes_reservations_and_holes() {
    let mut content = Content::default();
    content.set_size(16 * MIB);
    assert_eq!(content.seek(0, true), None);
    assert_eq!(content.seek(0, false), Some(0));
    content.write(MIB, &[0; 8192]);
    content.write(3 * MIB, b"x");
    content.reserve(2 * MIB..2 * MIB + 4096);
    assert_eq!(content.allocated(), 4);
    assert_eq!(content.missing(&(MIB..MIB + 3 * 4096)), 1);
    assert_eq!(content.seek(0, true), Some(MIB));
    assert_eq!(content.seek(MIB, false), Some(MIB + 8192));
    // Reserved space was never written: still a hole.
    assert_eq!(content.seek(MIB + 8192, true), Some(3 * MIB));
    content.sync();
    content.punch(0..2 * MIB);
    assert_eq!(content.seek(0, true), Some(3 * MIB));
    assert_eq!(content.seek(4 * MIB, true), None);
    assert_eq!(content.seek(16 * MIB, false), None);
    assert_eq!(content.allocated(), 2);
}
