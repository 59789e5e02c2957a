//! Faults of a simulated machine's files by rates, and damage to its medium: each strikes, and only where told.

use bytes::Bytes;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::fs::write_atomic;
use tidemark_env::sim::{FileFaults, Injected, Machine, Sim};
use tidemark_env::{Env, File, OpenMode};

const SECTOR: usize = 512;
const PAGE: usize = 4096;
const HALF: u32 = 5_000;
const ALWAYS: u32 = 10_000;

/// Runs `test` on a machine that has the synced empty files `f` and `other`.
fn on_a_machine(seed: u64, mut test: impl AsyncFnMut(&Machine, &Env, &dyn File)) -> Sim {
    let sim = Sim::new(seed);
    sim.run(async |_| {
        let machine = sim.machine("a");
        let env = machine.boot().env();
        for name in ["/f", "/other"] {
            write_atomic(&*env.fs, Path::new(name), Bytes::new())
                .await
                .unwrap();
        }
        let file = env.fs.open(Path::new("/f"), OpenMode::ReadWrite).await.unwrap();
        test(&machine, &env, &*file).await;
    });
    sim
}

/// `count` pieces of `len` bytes, each full of its own number from 1 on.
fn numbered(count: usize, len: usize) -> Bytes {
    (1..=count)
        .flat_map(|n| std::iter::repeat_n(n as u8, len))
        .collect()
}

async fn whole(env: &Env, path: &str) -> Vec<u8> {
    let file = env.fs.open(Path::new(path), OpenMode::Read).await.unwrap();
    let size = file.size().await.unwrap() as usize;
    file.read_at(0, size).await.unwrap().into()
}

#[test]
fn every_operation_fails_at_its_rate_and_no_other() {
    let never = FileFaults::default;
    let cases = [
        (
            FileFaults {
                read_eio: HALF,
                ..never()
            },
            Injected::ReadError,
        ),
        (
            FileFaults {
                write_eio: HALF,
                ..never()
            },
            Injected::WriteError,
        ),
        (
            FileFaults {
                sync_eio: HALF,
                ..never()
            },
            Injected::SyncError,
        ),
        (
            FileFaults {
                sync_dir_eio: HALF,
                ..never()
            },
            Injected::SyncDirError,
        ),
        (
            FileFaults {
                name_eio: HALF,
                ..never()
            },
            Injected::NameError,
        ),
        (
            FileFaults {
                enospc: HALF,
                ..never()
            },
            Injected::NoSpace,
        ),
    ];
    for (faults, injected) in cases {
        let sim = on_a_machine(1, async |machine, env, file| {
            machine.set_faults(faults.clone());
            let root = Path::new("/");
            let mut failed: [u32; 6] = [0; 6];
            for _ in 0..40 {
                let written = file.write_at(0, vec![numbered(1, SECTOR)]).await;
                let allocated = file.allocate(0, 1).await;
                let results = [
                    file.read_at(0, 0).await.err(),
                    written.err(),
                    file.sync().await.err(),
                    env.fs.sync_dir(root).await.err(),
                    env.fs.list(root).await.err(),
                    allocated.err(),
                ];
                for (failed, result) in failed.iter_mut().zip(results) {
                    *failed += u32::from(result.is_some());
                }
            }
            let struck: &[usize] = match injected {
                Injected::ReadError => &[0],
                Injected::WriteError => &[1],
                Injected::SyncError => &[2],
                Injected::SyncDirError => &[3],
                Injected::NameError => &[4],
                _ => &[1, 5],
            };
            for (operation, failed) in failed.into_iter().enumerate() {
                match struck.contains(&operation) {
                    true => assert!((5..=35).contains(&failed), "{injected:?} {operation}: {failed}"),
                    false => assert_eq!(failed, 0, "{injected:?} {operation}"),
                }
            }
            machine.set_faults(never());
            file.write_at(0, vec![numbered(1, SECTOR)]).await.unwrap();
        });
        let counts = sim.fault_counts();
        assert!(counts.get(injected) >= 5);
        assert_eq!(counts.total(), counts.get(injected));
    }
}

#[test]
fn faults_strike_only_the_paths_they_are_for() {
    on_a_machine(2, async |machine, env, file| {
        machine.set_faults(FileFaults {
            write_eio: ALWAYS,
            only: Some(Rc::new(|path| path.ends_with("other"))),
            ..FileFaults::default()
        });
        file.write_at(0, vec![numbered(1, 1)]).await.unwrap();
        let other = env
            .fs
            .open(Path::new("/other"), OpenMode::ReadWrite)
            .await
            .unwrap();
        let refused = other.write_at(0, vec![numbered(1, 1)]).await;
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(5));
    });
}

#[test]
fn names_need_space_and_existing_ones_do_not() {
    on_a_machine(3, async |machine, env, _| {
        env.fs.create_dir_all(Path::new("/d")).await.unwrap();
        machine.set_faults(FileFaults {
            enospc: ALWAYS,
            ..FileFaults::default()
        });
        let (fs, new) = (&env.fs, Path::new("/new"));
        let refused = [
            fs.open(new, OpenMode::Create).await.err(),
            fs.open(new, OpenMode::CreateNew).await.err(),
            fs.create_dir_all(new).await.err(),
            fs.rename(Path::new("/f"), new).await.err(),
            fs.link_new(Path::new("/f"), new).await.err(),
        ];
        for error in refused {
            assert_eq!(error.unwrap().kind(), ErrorKind::StorageFull);
        }
        assert!(!fs.exists(new).await.unwrap());
        fs.create_dir_all(Path::new("/d")).await.unwrap();
        fs.open(Path::new("/f"), OpenMode::Create).await.unwrap();
        fs.remove_file(Path::new("/f")).await.unwrap();
    });
}

#[test]
fn a_failed_write_may_have_written_any_number_of_sectors() {
    for enospc in [false, true] {
        let mut written = BTreeSet::new();
        for seed in 0..60 {
            on_a_machine(seed, async |machine, env, file| {
                file.write_at(0, vec![vec![0; 8 * SECTOR].into()]).await.unwrap();
                machine.set_faults(match enospc {
                    true => FileFaults {
                        enospc: ALWAYS,
                        ..FileFaults::default()
                    },
                    false => FileFaults {
                        write_eio: ALWAYS,
                        ..FileFaults::default()
                    },
                });
                let data = vec![numbered(3, SECTOR), numbered(5, SECTOR)];
                file.write_at(0, data.clone()).await.unwrap_err();
                machine.set_faults(FileFaults::default());
                let found = whole(env, "/f").await;
                let done = found.iter().filter(|byte| **byte != 0).count();
                assert_eq!(found[..done], data.concat()[..done]);
                assert_eq!(done % SECTOR, 0);
                written.insert(done / SECTOR);
            });
        }
        assert_eq!(written, (0..=8).collect());
    }
}

#[test]
fn at_a_power_cut_a_sector_may_get_the_bytes_of_another_unsynced_one() {
    let mut strays = 0;
    for (seed, misdirected) in (0..60).map(|seed| (seed, if seed % 3 == 0 { 0 } else { 1_000 })) {
        let sim = on_a_machine(seed, async |machine, _, file| {
            machine.set_faults(FileFaults {
                misdirected,
                ..FileFaults::default()
            });
            file.write_at(0, vec![numbered(16, SECTOR)]).await.unwrap();
            file.sync().await.unwrap();
            let newer: Vec<u8> = numbered(8, SECTOR).iter().map(|byte| byte + 100).collect();
            file.write_at(0, vec![newer.into()]).await.unwrap();
            machine.power_cut();
            let found = whole(&machine.boot().env(), "/f").await;
            let mut seen = 0;
            for (index, sector) in found.chunks(SECTOR).enumerate() {
                let own = index as u8 + 1;
                assert!(
                    sector.iter().all(|byte| *byte == sector[0]),
                    "sectors are not torn"
                );
                if index >= 8 || sector[0] == own || sector[0] == own + 100 {
                    assert!(index < 8 || sector[0] == own, "a synced sector is as it was");
                } else {
                    assert!((101..=108).contains(&sector[0]), "{}", sector[0]);
                    seen += 1;
                }
            }
            assert!(misdirected > 0 || seen == 0);
            strays += seen;
        });
        assert_eq!(sim.fault_counts().get(Injected::PowerCut), 1);
    }
    assert!(strays > 5, "{strays}");
}

#[test]
fn rot_flips_one_bit_of_data_for_good_and_of_no_other_file() {
    let mut offsets = BTreeSet::new();
    for seed in 0..30 {
        let sim = on_a_machine(seed, async |machine, env, file| {
            assert_eq!(
                machine.rot(|path| path.ends_with("f")),
                None,
                "an empty file has no bits"
            );
            // Data, a hole, and a last page that is not full.
            file.write_at(0, vec![numbered(1, PAGE)]).await.unwrap();
            file.write_at(4 * PAGE as u64, vec![numbered(1, 100)])
                .await
                .unwrap();
            assert_eq!(machine.rot(|_| true), None, "nothing is on the medium");
            file.sync().await.unwrap();
            let before = whole(env, "/f").await;
            // A newer sector in the cache hides what rots below it, until a power cut.
            file.write_at(0, vec![numbered(1, SECTOR)]).await.unwrap();
            let (path, offset) = machine.rot(|_| true).unwrap();
            assert_eq!(path, Path::new("/f"));
            let hidden = (offset as usize) < SECTOR;
            let flipped = |found: &[u8]| -> Vec<(usize, u32)> {
                let wrong = before.iter().zip(found).map(|(a, b)| (a ^ b).count_ones());
                wrong.enumerate().filter(|(_, bits)| *bits > 0).collect()
            };
            let expected = [(offset as usize, 1)];
            assert_eq!(flipped(&whole(env, "/f").await), expected[usize::from(hidden)..]);
            machine.power_cut();
            let found = flipped(&whole(&machine.boot().env(), "/f").await);
            assert!(found == expected || hidden && found.is_empty(), "{found:?}");
            offsets.insert(offset as usize / PAGE);
        });
        assert_eq!(sim.fault_counts().get(Injected::FileRot), 1);
    }
    assert_eq!(offsets, BTreeSet::from([0, 4]));
}

#[test]
fn a_misdirected_write_of_the_medium_replaces_a_page_by_another() {
    for seed in 0..30 {
        let sim = on_a_machine(seed, async |machine, env, file| {
            file.write_at(0, vec![numbered(1, PAGE)]).await.unwrap();
            file.sync().await.unwrap();
            assert_eq!(machine.misdirect(|_| true), None, "there is no other page");
            let before = numbered(4, PAGE);
            file.write_at(0, vec![before.clone()]).await.unwrap();
            file.sync().await.unwrap();
            let (path, offset) = machine.misdirect(|path| path.ends_with("f")).unwrap();
            assert_eq!(path, Path::new("/f"));
            let found = whole(env, "/f").await;
            for (index, page) in found.chunks(PAGE).enumerate() {
                let own = &before[index * PAGE..][..PAGE];
                match index * PAGE == offset as usize {
                    true => assert!(page != own && before.chunks(PAGE).any(|other| other == page)),
                    false => assert_eq!(page, own),
                }
            }
            machine.power_cut();
            assert_eq!(whole(&machine.boot().env(), "/f").await, found);
        });
        assert_eq!(sim.fault_counts().get(Injected::StrayPage), 1);
    }
}
