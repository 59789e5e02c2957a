//! The scrub in simulated time: its rate, a restart, damage with and without a disk that can repair it, a vault that is away.

use super::*;
use crate::place::Place;
use crate::progress::ProgressBoard;
use crate::types::NodeConfig;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tidemark_env::sim::Sim;
use tidemark_env::{Env, LocalFuture, OpenMode};
use tidemark_units::{CHUNK_BYTES, DiskId, Lsn, SnapshotId};
use tidemark_vault::{CaptureOptions, CaptureSpec, Chunk, RecordDraft, SnapshotWriter};
use tokio::sync::broadcast;

const DAY: Duration = Duration::from_secs(24 * 3600);

async fn host(env: &Env, scrub: ScrubConfig) -> (Rc<VaultHost>, broadcast::Receiver<Event>) {
    let place = Place {
        env: env.clone(),
        net: None,
        bucket: None,
    };
    let config = NodeConfig {
        scrub,
        ..NodeConfig::new("data".into(), "vault".into())
    };
    let (events, heard) = broadcast::channel(1000);
    let host = VaultHost::open(place, config, ProgressBoard::default(), events).await;
    (host.unwrap(), heard)
}

/// Chunk number `index` of every disk here: two KiB of noise, and zeros.
fn content(index: u32) -> Bytes {
    let mut bytes = vec![0; CHUNK_BYTES as usize];
    let mut state = u64::from(index).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for piece in bytes[..2048].chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        piece.copy_from_slice(&state.to_le_bytes());
    }
    bytes.into()
}

async fn snapshot(host: &VaultHost, chunks: u32) {
    let spec = CaptureSpec {
        snapshot: SnapshotId::new("s-1").unwrap(),
        disk: DiskId::new("d-1").unwrap(),
        parent: None,
        size_bytes: u64::from(chunks) * CHUNK_BYTES,
        pending: (0..chunks).collect(),
        own_key: false,
    };
    let writer = SnapshotWriter::begin(&host.vault, Path::new("spool"), spec, CaptureOptions::default())
        .await
        .unwrap();
    for index in 0..chunks {
        writer.put(index, Chunk::Data(content(index))).await.unwrap();
    }
    let draft = RecordDraft {
        owner: None,
        created_ms: 0,
        parent: None,
        lsn: Lsn(1),
        meta: serde_json::Value::Null,
    };
    writer.finish(draft).await.unwrap();
}

/// A disk that still has these chunks.
struct Disk(DiskId, BTreeMap<u32, Bytes>);

impl Donor for Disk {
    fn disk(&self) -> &DiskId {
        &self.0
    }

    fn read(&self, index: u32) -> LocalFuture<'_, Option<Bytes>> {
        let found = self.1.get(&index).cloned();
        Box::pin(async move { found })
    }
}

fn start(env: &Env, host: &Rc<VaultHost>, chunks: std::ops::Range<u32>) {
    let has: BTreeMap<u32, Bytes> = chunks.map(|index| (index, content(index))).collect();
    let donors: Donors = Box::new(move || vec![Rc::new(Disk(DiskId::new("d-1").unwrap(), has.clone()))]);
    env.spawn(run(Rc::clone(host), donors));
}

async fn state(env: &Env) -> Option<ScrubState> {
    let file = read_small(&*env.fs, &Path::new("data").join(SCRUB_FILE))
        .await
        .unwrap()?;
    Some(ScrubState::decode(&file).unwrap())
}

async fn read(env: &Env, path: &Path) -> Bytes {
    read_small(&*env.fs, path).await.unwrap().unwrap()
}

async fn overwrite(env: &Env, path: &Path, at: u64, bytes: &[u8]) {
    let file = env.fs.open(path, OpenMode::ReadWrite).await.unwrap();
    file.write_at(at, vec![Bytes::copy_from_slice(bytes)])
        .await
        .unwrap();
    file.sync().await.unwrap();
}

/// Bytes of all data packs.
async fn stored_bytes(env: &Env) -> u64 {
    let (packs, mut bytes) = (Path::new("vault/packs"), 0);
    for dir in env.fs.list(packs).await.unwrap() {
        let sizes = env.fs.list_sizes(&packs.join(dir.name)).await.unwrap();
        bytes += sizes.into_iter().map(|(_, bytes)| bytes).sum::<u64>();
    }
    bytes
}

/// The one data pack.
async fn pack(env: &Env) -> PathBuf {
    let packs = Path::new("vault/packs");
    let dir = env.fs.list(packs).await.unwrap().remove(0).name;
    let name = env.fs.list(&packs.join(&dir)).await.unwrap().remove(0).name;
    packs.join(dir).join(name)
}

fn every(bytes_per_second: u64, every: Duration) -> ScrubConfig {
    ScrubConfig {
        bytes_per_second,
        every,
    }
}

#[test]
fn a_round_takes_as_long_as_its_rate_says_and_goes_on_after_a_restart() {
    const CHUNKS: u32 = 8000;
    const RATE: u64 = 20_000;
    let sim = Sim::new(1);
    let (stored, begun_ms) = sim.run(|env| async move {
        let (host, _) = host(&env, every(RATE, DAY)).await;
        snapshot(&host, CHUNKS).await;
        let stored = stored_bytes(&env).await;
        start(&env, &host, 0..0);
        env.clock.sleep(START_DELAY + LEG * 2).await;
        let state = state(&env).await.unwrap();
        let round = state.running.unwrap();
        assert!(
            round.next > 0 && round.next < u64::from(CHUNKS) && (0.1..0.9).contains(&round.part),
            "{round:?}"
        );
        assert_eq!(round.chunks, round.next);
        (stored, round.begun_ms)
    });
    sim.run(|env| async move {
        let (host, _) = host(&env, every(RATE, DAY)).await;
        start(&env, &host, 0..0);
        let mut last = None;
        while last.is_none() {
            env.clock.sleep(Duration::from_secs(60)).await;
            last = state(&env).await.unwrap().last;
        }
        let last = last.unwrap();
        assert_eq!(
            (last.begun_ms, last.chunks, last.found),
            (begun_ms, CHUNKS.into(), 0),
            "nothing twice, nothing left out"
        );
        let seconds = (last.ended_ms - last.begun_ms) as u64 / 1000;
        assert!(
            seconds >= stored / RATE * 9 / 10,
            "{seconds} s for {stored} bytes"
        );
        // The next round is a day later.
        let rounds = state(&env).await.unwrap().rounds;
        env.clock.sleep(DAY / 2).await;
        let later = state(&env).await.unwrap();
        assert_eq!((later.rounds, later.running), (rounds, None));
        env.clock.sleep(DAY).await;
        assert!(state(&env).await.unwrap().rounds > rounds);
    });
}

#[test]
fn damage_is_repaired_or_told_and_stays_open_until_it_is_gone() {
    let sim = Sim::new(2);
    sim.run(|env| async move {
        let (host, mut events) = host(&env, every(1 << 20, Duration::from_secs(600))).await;
        snapshot(&host, 100).await;
        let path = pack(&env).await;
        let whole = read(&env, &path).await;
        overwrite(&env, &path, 100, b"rot").await;
        start(&env, &host, 0..100);
        env.clock.sleep(Duration::from_secs(300)).await;
        assert_eq!(read(&env, &path).await, whole, "repaired to the byte");
        match events.try_recv() {
            Ok(Event::VaultRepaired(loss)) => {
                assert_eq!(loss.snapshots, [SnapshotId::new("s-1").unwrap()]);
                assert!(loss.bytes() >= CHUNK_BYTES && loss.object.starts_with("packs/"));
            }
            other => panic!("{other:?}"),
        }
        let first = state(&env).await.unwrap();
        assert_eq!(first.repaired.len(), 1, "who missed the event finds it here");
        let last = first.last.unwrap();
        assert!(
            last.found > 0 && last.found == last.repaired && first.open.is_empty(),
            "{last:?}"
        );
        assert!(events.try_recv().is_err());
    });
    let sim = Sim::new(3);
    sim.run(|env| async move {
        let (host, mut events) = host(&env, every(1 << 20, Duration::from_secs(600))).await;
        snapshot(&host, 100).await;
        let path = pack(&env).await;
        let whole = read(&env, &path).await;
        overwrite(&env, &path, 100, b"rot").await;
        let rotten = read(&env, &path).await;
        start(&env, &host, 0..0);
        // Several rounds: it is told once, and nothing is written.
        env.clock.sleep(Duration::from_secs(3000)).await;
        assert!(matches!(events.try_recv(), Ok(Event::VaultDamaged(_))));
        assert!(events.try_recv().is_err(), "known damage is not told again");
        let known = state(&env).await.unwrap();
        assert!(
            known.rounds > 2 && known.open.len() == 1 && known.open[0].loss.lost,
            "{known:?}"
        );
        assert_eq!(read(&env, &path).await, rotten);
        overwrite(&env, &path, 0, &whole).await;
        env.clock.sleep(Duration::from_secs(1500)).await;
        assert!(
            state(&env).await.unwrap().open.is_empty(),
            "somebody brought it back"
        );
    });
}

#[test]
fn a_vault_that_is_away_is_waited_for() {
    let sim = Sim::new(4);
    sim.run(|env| async move {
        let (host, mut events) = host(&env, every(1 << 20, Duration::from_secs(600))).await;
        snapshot(&host, 10).await;
        let (vault, away) = (Path::new("vault"), Path::new("away"));
        start(&env, &host, 0..0);
        env.clock.sleep(Duration::from_secs(200)).await;
        assert_eq!(state(&env).await.unwrap().rounds, 1);
        // In the middle of a round, its snapshots known.
        env.fs.rename(&vault.join("packs"), away).await.unwrap();
        env.fs
            .rename(&vault.join("format"), Path::new("format"))
            .await
            .unwrap();
        env.clock.sleep(Duration::from_secs(3000)).await;
        let waiting = state(&env).await.unwrap();
        assert!(
            waiting.trouble.is_some() && waiting.open.is_empty() && waiting.rounds == 1,
            "{waiting:?}"
        );
        env.fs.rename(away, &vault.join("packs")).await.unwrap();
        env.fs
            .rename(Path::new("format"), &vault.join("format"))
            .await
            .unwrap();
        env.clock.sleep(Duration::from_secs(8000)).await;
        let back = state(&env).await.unwrap();
        assert!(
            back.trouble.is_none() && back.rounds > 1 && back.open.is_empty(),
            "{back:?}"
        );
        assert!(events.try_recv().is_err());
    });
}

/// Asked, it repairs at once, also where it does not scrub by itself, and only what was asked for.
#[test]
fn who_asks_is_served_at_once() {
    for rate in [0, 1] {
        let sim = Sim::new(6);
        sim.run(|env| async move {
            let (host, mut events) = host(&env, every(rate, DAY)).await;
            snapshot(&host, 100).await;
            let path = pack(&env).await;
            let whole = read(&env, &path).await;
            overwrite(&env, &path, 100, b"rot").await;
            start(&env, &host, 0..100);
            env.clock.sleep(Duration::from_secs(60)).await;
            let ask = |name: &str| {
                let names = BTreeSet::from([SnapshotId::new(name).unwrap()]);
                host.scrub_requests.ask(env.clock.unix_millis(), names)
            };
            let (other, ours) = (ask("s-other"), ask("s-1"));
            assert!(ours > other);
            let id = |name: &str| SnapshotId::new(name).unwrap();
            let wants = |name: &str| host.scrub_requests.wants(&id(name));
            assert!(wants("s-1") && wants("s-other") && !wants("s-2"));
            // At one byte a second, a walk under way would take days.
            while state(&env).await.is_none_or(|state| state.asked < ours) {
                assert!(env.clock.now() < Duration::from_secs(120));
                env.clock.sleep(Duration::from_secs(1)).await;
            }
            assert_eq!(read(&env, &path).await, whole);
            assert!(matches!(events.try_recv(), Ok(Event::VaultRepaired(_))));
            let noted = state(&env).await.unwrap();
            assert_eq!(noted.open, []);
            env.clock.sleep(Duration::from_secs(1)).await;
            assert!(!wants("s-1") && !wants("s-other"), "both are done");
            let verified = noted.verified_of(&id("s-1")).unwrap();
            // A walk that was under way may have found and repaired it before it gave way.
            let is_found = verified.found > 0 || rate > 0;
            assert!(verified.is_whole() && is_found, "{verified:?}");
            assert!(verified.ended_ms >= verified.begun_ms && verified.begun_ms > 0);
            let missing = noted.verified_of(&id("s-other")).unwrap();
            assert!(
                !missing.is_there && !missing.is_whole(),
                "the vault has no such snapshot"
            );
            assert_eq!(noted.verified_of(&id("s-2")), None);
        });
    }
}

/// A snapshot that its disk's damaged log does not name any more is not just "not there": the damage is noted, though it hits nothing
/// that was asked for.
#[test]
fn a_snapshot_that_is_not_found_points_at_the_damaged_log() {
    let sim = Sim::new(7);
    sim.run(|env| async move {
        let (host, _events) = host(&env, ScrubConfig::OFF).await;
        snapshot(&host, 10).await;
        let log = Path::new("vault/d/d-1/h");
        for entry in env.fs.list(log).await.unwrap() {
            overwrite(&env, &log.join(entry.name), 0, &[0x5a; 64]).await;
        }
        drop(host);
        let (host, _events) = self::host(&env, ScrubConfig::OFF).await;
        start(&env, &host, 0..0);
        let asked = SnapshotId::new("s-1").unwrap();
        let names = BTreeSet::from([asked.clone()]);
        let number = host.scrub_requests.ask(env.clock.unix_millis(), names);
        while state(&env).await.is_none_or(|state| state.asked < number) {
            assert!(env.clock.now() < Duration::from_secs(120));
            env.clock.sleep(Duration::from_secs(1)).await;
        }
        let noted = state(&env).await.unwrap();
        assert!(!noted.verified_of(&asked).unwrap().is_there, "{noted:?}");
        assert!(
            noted
                .open
                .iter()
                .any(|open| open.loss.object.starts_with("d/d-1/h/")),
            "{noted:?}"
        );
    });
}

#[test]
fn no_rate_is_no_scrub() {
    let sim = Sim::new(5);
    sim.run(|env| async move {
        let (host, _) = host(&env, ScrubConfig::OFF).await;
        snapshot(&host, 10).await;
        start(&env, &host, 0..0);
        env.clock.sleep(DAY * 30).await;
        assert_eq!(state(&env).await, None);
    });
}
