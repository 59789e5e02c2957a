//! Answers, in memory that is cut up as no driver would.

use super::*;
use std::sync::Arc;
use tidemark_env::OpenMode;
use tidemark_env::real::{RealEnv, RuntimeOptions, run};
use vm_memory::GuestMemoryMmap;

const START: u64 = 0x1000;
const HALF: u64 = 1 << 20;

/// Two regions side by side, so that a buffer can lie across them.
fn memory() -> Memory {
    let regions = [
        (GuestAddress(START), HALF as usize),
        (GuestAddress(START + HALF), HALF as usize),
    ];
    Arc::new(GuestMemoryMmap::from_ranges(&regions).unwrap())
}

fn buffers(writable: &[(u64, u32)]) -> Buffers {
    let segment = |&(at, len): &(u64, u32)| Segment {
        at: GuestAddress(at),
        len,
    };
    Buffers {
        readable: Vec::new(),
        writable: writable.iter().map(segment).collect(),
        status: GuestAddress(START),
        flaw: None,
    }
}

#[test]
fn what_is_in_memory_and_what_is_lent_land_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    run(RuntimeOptions::default(), async |world: RealEnv| {
        let content: Vec<u8> = (0..700_000u32).map(|n| (n / 7 % 251) as u8).collect();
        let path = dir.path().join("file");
        let file = world.env.fs.open(&path, OpenMode::Create).await.unwrap();
        file.write_at(0, vec![content.clone().into()]).await.unwrap();
        let lent = |offset, len| Piece::Lent(file.lend(offset, len).expect("it was just written"));
        let pieces = vec![
            Bytes::from(vec![1; 777]).into(),
            lent(4096, 600_000),
            Bytes::from(vec![2; 10]).into(),
            lent(5, 1000),
        ];
        let expected = [
            &[1; 777][..],
            &content[4096..604_096],
            &[2; 10],
            &content[5..1005],
        ]
        .concat();
        let memory = memory();
        let across = START + HALF - 100_000;
        let places = [
            (START + 512, 300),
            (across, 400_000),
            (START + 1024, 200_001),
            (START + HALF + 500_000, 50_000),
        ];
        let filled = buffers(&places).fill(&memory, pieces).unwrap();
        assert_eq!(filled as usize, expected.len());
        let mut found = Vec::new();
        for (at, len) in places {
            let mut part = vec![0; len as usize];
            memory.read_slice(&mut part, GuestAddress(at)).unwrap();
            found.extend(part);
        }
        assert!(found[..expected.len()] == expected);
        assert!(found[expected.len()..].iter().all(|byte| *byte == 0));
    });
}

#[test]
fn a_lent_file_that_has_lost_its_end_fails_the_request() {
    let dir = tempfile::tempdir().unwrap();
    run(RuntimeOptions::default(), async |world: RealEnv| {
        let path = dir.path().join("file");
        let file = world.env.fs.open(&path, OpenMode::Create).await.unwrap();
        file.write_at(0, vec![vec![7; 200_000].into()]).await.unwrap();
        let lent = file.lend(0, 200_000).expect("it was just written");
        let plain = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        plain.set_len(100_000).unwrap();
        let refusal = buffers(&[(START, 200_000)])
            .fill(&memory(), vec![Piece::Lent(lent)])
            .unwrap_err();
        assert_eq!(refusal.status, IOERR);
    });
}
