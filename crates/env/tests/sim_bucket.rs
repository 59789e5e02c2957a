//! The simulated bucket: what it promises without faults, and what each fault does to a client.

use bytes::Bytes;
use std::time::Duration;
use tidemark_env::sim::{BucketFaults, Injected, Sim, SimBucket};
use tidemark_env::{Bucket, BucketError, BucketErrorKind, Env, Precondition};

const ALWAYS: u32 = 10_000;
const HALF: u32 = 5_000;

fn kind<T>(result: Result<T, BucketError>) -> BucketErrorKind {
    result.err().expect("this fails").kind
}

async fn put(bucket: &dyn Bucket, key: &str, body: &'static str) -> Result<(), BucketError> {
    let pieces = body.as_bytes().chunks(3).map(Bytes::from_static).collect();
    bucket.put(key, pieces, Precondition::Absent).await
}

/// Runs `test` with a bucket that holds `old` under `k/old` and then has `faults`.
fn with_faults(seed: u64, faults: BucketFaults, test: impl AsyncFn(&SimBucket, &dyn Bucket)) -> Sim {
    let sim = Sim::new(seed);
    let bucket = SimBucket::new(&sim);
    sim.run(async |_: Env| {
        let client = bucket.client_of_run();
        put(&*client, "k/old", "old").await.unwrap();
        bucket.set_faults(faults);
        test(&bucket, &*client).await;
    });
    sim
}

#[test]
fn it_keeps_what_buckets_promise() {
    let sim = Sim::new(1);
    let bucket = SimBucket::new(&sim);
    sim.run(async |_| {
        let (a, b) = (sim.machine("a").boot(), sim.machine("b").boot());
        let (one, two) = (bucket.client(&a), bucket.client(&b));
        assert_eq!(kind(one.get("packs/ab").await), BucketErrorKind::Missing);
        assert_eq!(kind(one.size("packs/ab").await), BucketErrorKind::Missing);
        put(&*one, "packs/ab", "first content").await.unwrap();
        assert_eq!(two.get("packs/ab").await.unwrap(), "first content");
        assert_eq!(two.size("packs/ab").await.unwrap(), 13);
        assert_eq!(two.get_range("packs/ab", 6..13).await.unwrap(), "content");
        assert_eq!(
            kind(two.get_range("packs/ab", 6..14).await),
            BucketErrorKind::Other
        );
        assert_eq!(
            kind(put(&*two, "packs/ab", "second").await),
            BucketErrorKind::Exists
        );
        two.put("packs/ab", vec!["second".into()], Precondition::None)
            .await
            .unwrap();
        assert_eq!(one.get("packs/ab").await.unwrap(), "second");
        put(&*one, "packs-of-mine", "").await.unwrap();
        put(&*one, "packs/aa/x", "12").await.unwrap();
        let keys = |infos: Vec<tidemark_env::ObjectInfo>| {
            infos
                .into_iter()
                .map(|info| (info.key, info.bytes))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            keys(one.list("packs/").await.unwrap()),
            [("packs/aa/x".to_owned(), 2), ("packs/ab".to_owned(), 6)]
        );
        assert_eq!(one.list("").await.unwrap().len(), 3);
        assert_eq!(kind(one.list("pac").await), BucketErrorKind::Other);
        one.delete("packs/ab").await.unwrap();
        one.delete("packs/ab").await.unwrap();
        assert_eq!(kind(two.get("packs/ab").await), BucketErrorKind::Missing);
        assert_eq!(kind(put(&*one, "packs//ab", "x").await), BucketErrorKind::Other);
        assert!(!one.adopt("packs/ab", std::path::Path::new("f")).await.unwrap());
    });
    assert_eq!(
        bucket.objects().into_keys().collect::<Vec<_>>(),
        ["packs-of-mine", "packs/aa/x"]
    );
    assert_eq!(sim.fault_counts().total(), 0);
}

#[test]
fn a_dead_client_asks_nothing_more_and_its_request_happened_or_not() {
    let mut seen = [0, 0];
    for seed in 0..40 {
        let sim = Sim::new(seed);
        let bucket = SimBucket::new(&sim);
        sim.run(async |main: Env| {
            let process = sim.machine("a").boot();
            let client = bucket.client(&process);
            let of_task = client.clone();
            process.env().spawn(async move {
                let _ = put(&*of_task, "k", "body").await;
            });
            process.kill_after(1);
            process.died().await;
            let stored = bucket.objects();
            seen[stored.len()] += 1;
            assert!(stored.values().all(|body| body == "body"));
            assert!(put(&*client, "k2", "body").await.is_err());
            main.clock.sleep(Duration::from_secs(60)).await;
            assert_eq!(bucket.objects(), stored);
        });
    }
    assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
}

#[test]
fn refusals_change_nothing() {
    let never = BucketFaults::default();
    let cases = [
        (
            BucketFaults {
                throttled: ALWAYS,
                ..never
            },
            BucketErrorKind::Busy,
            Injected::BucketThrottled,
        ),
        (
            BucketFaults {
                denied: ALWAYS,
                ..never
            },
            BucketErrorKind::Denied,
            Injected::BucketDenied,
        ),
        (
            BucketFaults {
                full: ALWAYS,
                ..never
            },
            BucketErrorKind::Full,
            Injected::BucketFull,
        ),
        (
            BucketFaults {
                timeout_before: ALWAYS,
                ..never
            },
            BucketErrorKind::Unknown,
            Injected::BucketTimeoutBefore,
        ),
    ];
    for (faults, expected, injected) in cases {
        let sim = with_faults(2, faults, async |bucket, client| {
            assert_eq!(kind(put(client, "k/new", "new").await), expected);
            assert_eq!(bucket.objects().len(), 1);
            let read = client.get("k/old").await;
            match faults.full {
                0 => assert_ne!(kind(read), BucketErrorKind::Unknown),
                _ => assert_eq!(read.unwrap(), "old"),
            }
        });
        assert!(sim.fault_counts().get(injected) > 0, "{injected:?}");
    }
}

#[test]
fn after_a_time_out_that_succeeded_a_retry_meets_its_own_object() {
    let faults = BucketFaults {
        timeout_after: ALWAYS,
        ..BucketFaults::default()
    };
    with_faults(3, faults, async |bucket, client| {
        assert_eq!(kind(put(client, "k/new", "new").await), BucketErrorKind::Unknown);
        bucket.set_faults(BucketFaults::default());
        assert_eq!(kind(put(client, "k/new", "new").await), BucketErrorKind::Exists);
        assert_eq!(client.get("k/new").await.unwrap(), "new");
    });
}

#[test]
fn a_late_request_outlives_its_client() {
    let sim = Sim::new(4);
    let bucket = SimBucket::new(&sim);
    sim.run(async |main: Env| {
        bucket.set_faults(BucketFaults {
            timeout_late: ALWAYS,
            ..BucketFaults::default()
        });
        let process = sim.machine("a").boot();
        let client = bucket.client(&process);
        assert_eq!(kind(put(&*client, "k", "body").await), BucketErrorKind::Unknown);
        assert!(bucket.objects().is_empty());
        process.kill();
        main.clock.sleep(Duration::from_secs(10)).await;
        assert_eq!(bucket.objects()["k"], "body");
    });
    assert_eq!(sim.fault_counts().get(Injected::BucketTimeoutLate), 1);
}

#[test]
fn a_bucket_that_is_down_is_busy_and_loses_the_answers_it_owed() {
    let (mut unknown, mut busy) = (0, 0);
    for seed in 0..40 {
        let sim = Sim::new(seed);
        let bucket = SimBucket::new(&sim);
        sim.run(async |env: Env| {
            let client = bucket.client_of_run();
            let (goes_down, clock) = (bucket.clone(), env.clock.clone());
            env.spawn(async move {
                clock.sleep(Duration::from_micros(200)).await;
                goes_down.set_down(true);
            });
            match put(&*client, "k", "body").await {
                Ok(()) => {}
                Err(error) if error.kind == BucketErrorKind::Unknown => {
                    unknown += 1;
                    assert_eq!(bucket.objects().len(), 1);
                }
                Err(error) => {
                    busy += 1;
                    assert_eq!(error.kind, BucketErrorKind::Busy);
                    assert!(bucket.objects().is_empty());
                }
            }
            env.clock.sleep(Duration::from_millis(1)).await;
            assert_eq!(kind(client.list("").await), BucketErrorKind::Busy);
            bucket.set_down(false);
            client.list("").await.unwrap();
        });
        assert!(sim.fault_counts().get(Injected::BucketDown) > 0);
    }
    assert!(unknown > 3 && busy > 3, "{unknown} unknown, {busy} busy");
}

#[test]
fn slow_requests_take_long_and_succeed() {
    let slow = BucketFaults {
        slow: ALWAYS,
        ..BucketFaults::default()
    };
    let taken = |faults| {
        with_faults(5, faults, async |_, client| {
            assert_eq!(client.get("k/old").await.unwrap(), "old");
        })
        .now()
    };
    assert!(taken(slow) > taken(BucketFaults::default()) + Duration::from_millis(100));
}

#[test]
fn bodies_are_truncated_and_garbled() {
    let truncated = BucketFaults {
        truncated: ALWAYS,
        ..BucketFaults::default()
    };
    with_faults(6, truncated, async |_, client| {
        assert_eq!(kind(client.get("k/old").await), BucketErrorKind::Other);
        assert_eq!(client.size("k/old").await.unwrap(), 3);
    });
    let garbled = BucketFaults {
        garbled: HALF,
        ..BucketFaults::default()
    };
    let sim = with_faults(7, garbled, async |bucket, client| {
        let (mut whole, mut short, mut wrong) = (0, 0, 0);
        for _ in 0..100 {
            let body = client.get_range("k/old", 0..3).await.unwrap();
            match body.len() {
                3 if body == "old" => whole += 1,
                3 => wrong += 1,
                _ => short += 1,
            }
        }
        assert!(whole > 10 && short > 10 && wrong > 10, "{whole} {short} {wrong}");
        assert_eq!(bucket.objects()["k/old"], "old", "what is stored is whole");
    });
    assert!(sim.fault_counts().get(Injected::BucketGarbled) > 20);
}

#[test]
fn a_rotten_object_has_one_wrong_bit() {
    let sim = with_faults(8, BucketFaults::default(), async |bucket, client| {
        assert_eq!(bucket.rot(|key| key == "k/absent"), None);
        let (key, offset) = bucket.rot(|key| key.starts_with("k/")).unwrap();
        assert_eq!(key, "k/old");
        let body = client.get(&key).await.unwrap();
        let wrong: Vec<(usize, u32)> = (0..3)
            .map(|at| (at, (body[at] ^ b"old"[at]).count_ones()))
            .filter(|(_, bits)| *bits > 0)
            .collect();
        assert_eq!(wrong, [(offset as usize, 1)]);
    });
    assert_eq!(sim.fault_counts().get(Injected::BucketRot), 1);
}
