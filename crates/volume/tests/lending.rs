//! What is lent to a peer, on real files: the base and nothing else, and the peer gets the disk's bytes.

use bytes::Bytes;
use std::io::Read;
use std::os::unix::net::UnixStream;
use tidemark_env::Piece;
use tidemark_env::real::{RealEnv, RuntimeOptions, run};
use tidemark_volume::{CreateOptions, Volume, VolumeConfig};

const MIB: u64 = 1 << 20;

fn pattern(len: u64, seed: u32) -> Vec<u8> {
    (0..len as u32)
        .map(|n| (n / 5 * 31 + n / 4096 + seed) as u8)
        .collect()
}

/// In pieces of a length that fits nothing.
fn odd_pieces(bytes: &[u8]) -> Vec<Bytes> {
    bytes.chunks(10_007).map(Bytes::copy_from_slice).collect()
}

/// (bytes, whether they are lent) of each piece.
fn kinds(pieces: &[Piece]) -> Vec<(usize, bool)> {
    let kind = |piece: &Piece| (piece.len(), matches!(piece, Piece::Lent(_)));
    pieces.iter().map(kind).collect()
}

/// What a peer gets of the pieces.
async fn received(world: &RealEnv, pieces: Vec<Piece>) -> Vec<u8> {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let reader = std::thread::spawn(move || {
        let mut got = Vec::new();
        theirs.read_to_end(&mut got).unwrap();
        got
    });
    let stream = world.net.stream(ours.into());
    stream.send(pieces).await.unwrap();
    drop(stream);
    reader.join().unwrap()
}

#[test]
fn only_the_base_is_lent_and_the_peer_gets_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    run(RuntimeOptions::default(), async |world: RealEnv| {
        let place = dir.path().join("v");
        let config = VolumeConfig {
            segment_bytes: MIB,
            segments_max: Some(16),
            checkpoint_percent: 90,
            ..VolumeConfig::default()
        };
        let options = CreateOptions {
            name: "d-1".into(),
            size_bytes: 8 * MIB,
            source: None,
        };
        Volume::create(&world.env, &place, &options, &config)
            .await
            .unwrap();
        let volume = Volume::open(&world.env, &place, None, &config).await.unwrap();

        let mut disk = pattern(3 * MIB, 1);
        volume.write_vectored(0, odd_pieces(&disk), false).await.unwrap();
        let logged = volume.read_for_peer(0, 3 * MIB).await.unwrap();
        assert!(
            kinds(&logged).iter().all(|(_, lent)| !lent),
            "the log is recycled: {:?}",
            kinds(&logged)
        );
        assert!(received(&world, logged).await == disk);

        volume.checkpoint().await.unwrap();
        let based = volume.read_for_peer(0, 3 * MIB).await.unwrap();
        assert_eq!(kinds(&based), [(3 * MIB as usize, true)]);
        assert!(received(&world, based).await == disk);

        // Newer bytes in the middle, long enough to be lent if they were not in the log; the ends cover no whole block.
        let newer = pattern(300_000, 99);
        let at = MIB + 100;
        volume
            .write_vectored(at, odd_pieces(&newer), false)
            .await
            .unwrap();
        disk[at as usize..at as usize + newer.len()].copy_from_slice(&newer);
        let mixed = volume.read_for_peer(0, 3 * MIB).await.unwrap();
        let found = kinds(&mixed);
        let (first, last) = (found[0], found[found.len() - 1]);
        assert!(first == (MIB as usize, true) && last.1, "{found:?}");
        assert!(
            found[1..found.len() - 1].iter().all(|(_, lent)| !lent),
            "{found:?}"
        );
        assert!(received(&world, mixed).await == disk);

        // What is short, or begins within a block, is read.
        for (offset, len) in [(0, 4096), (1, MIB), (0, MIB - 1)] {
            let pieces = volume.read_for_peer(offset, len).await.unwrap();
            assert!(kinds(&pieces).iter().all(|(_, lent)| !lent));
            assert!(received(&world, pieces).await == disk[offset as usize..(offset + len) as usize]);
        }
        volume.close().await.unwrap();
    });
}
