//! The bucket suite, on a store as it is, on stores that do not decide who was first, and through a proxy
//! that breaks what passes.

mod common;

use common::{BUCKET, Store, open, run, url};
use std::cell::Cell;
use std::rc::Rc;
use tidemark_conformance::bucket::{self, Limits};
use tidemark_env::{Bucket, Precondition};
use tidemark_s3light::{Conditions, Faults};

const LIMITS: Limits = Limits {
    // The light server makes a file's name of a key's base64.
    component_bytes: 120,
    large_bytes: 40 << 20,
    // More than a page.
    listed: 1_100,
    creators: 8,
};
const SMALL: Limits = Limits {
    large_bytes: 3 << 20,
    listed: 120,
    ..LIMITS
};
const SEEDS: u64 = 4;

#[test]
fn a_store_is_a_bucket() {
    let store = Store::start(|_| ());
    run(bucket::all(LIMITS, &mut store.places(store.server.address(), "")));
}

/// `bucket.localhost` is this machine, and the bucket's name is in no path.
#[test]
fn a_bucket_in_the_hosts_name_is_a_bucket() {
    let store = Store::start(|options| options.only_virtual = true);
    let port = store.server.address().port();
    let place = Cell::new(0);
    let url = |style: &str| {
        place.set(place.get() + 1);
        let place = place.get();
        format!("s3://{BUCKET}/place/{place}?endpoint=http://localhost:{port}&retry-seconds=0&style={style}")
    };
    run(bucket::all(SMALL, &mut || {
        let url = url("virtual");
        Box::new(move || Rc::new(open(&url)))
    }));
    let by_path = run(async { open(&url("path")).list("").await });
    assert!(by_path.is_err_and(|error| error.to_string().contains("belongs into the host's")));
}

/// However many ask, no more requests than allowed are under way, and no fewer where so many are wanted.
#[test]
fn requests_are_parallel_and_no_more_than_allowed() {
    let store = Store::start(|_| ());
    let slow = Faults {
        delayed: 1000,
        ..Faults::default()
    };
    for allowed in [1, 3] {
        let proxy = store.proxy(1, slow);
        let bucket = open(&url(proxy.address(), "parallel", &format!("&parallel={allowed}")));
        run(async {
            bucket
                .put("k", vec!["0123456789".into()], Precondition::None)
                .await
                .unwrap();
            let gets = (0..12).map(|at| bucket.get_range("k", at % 9..at % 9 + 1));
            for (at, got) in futures_util::future::join_all(gets).await.into_iter().enumerate() {
                assert_eq!(got.unwrap(), (at % 9).to_string());
            }
        });
        assert_eq!(proxy.most_at_once(), allowed);
    }
}

#[test]
fn one_request_at_a_time_is_enough() {
    let store = Store::start(|_| ());
    let mut places = store.places(store.server.address(), "&parallel=1&checksum=none");
    run(bucket::all(SMALL, &mut places));
}

/// Two handles are two processes: where the store does not decide, only one may write. All else holds.
#[test]
fn a_store_without_conditions_is_a_bucket_for_one_writer() {
    for conditions in [Conditions::Ignored, Conditions::Refused] {
        let store = Store::start(|options| options.conditions = conditions);
        let mut places = store.places(store.server.address(), "&checksum=crc64nvme");
        run(bucket::all(SMALL, &mut || {
            let one = places()();
            Box::new(move || one.clone())
        }));
    }
}

#[test]
fn a_store_behind_a_bad_network_is_a_bucket() {
    for seed in 0..SEEDS {
        let store = Store::start(|_| ());
        let proxy = store.proxy(seed, Faults::all(20));
        let mut places = store.places(proxy.address(), "&retry-seconds=120");
        run(bucket::all(SMALL, &mut places));
        let (played, kinds) = proxy.played();
        assert!(
            played > 50 && kinds >= 7,
            "seed {seed}: {played} faults of {kinds} kinds"
        );
    }
}

/// The worst case for the one who decides alone: nothing that is lost may look like somebody else's.
#[test]
fn one_writer_behind_a_bad_network_loses_to_nobody() {
    let store = Store::start(|options| options.conditions = Conditions::Ignored);
    let faults = Faults {
        precondition: 0,
        ..Faults::all(30)
    };
    let proxy = store.proxy(7, faults);
    let mut places = store.places(proxy.address(), "&retry-seconds=120");
    run(bucket::all(SMALL, &mut || {
        let one = places()();
        Box::new(move || one.clone())
    }));
}
