//! What a bucket says when things go wrong: each trouble with its kind and words, doubt as doubt, and no
//! secret anywhere.

mod common;

use bytes::Bytes;
use common::{BUCKET, SECRET, Store, bare, key, open, run, url};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;
use tidemark_env::{Bucket, BucketError, BucketErrorKind, Precondition};
use tidemark_s3::{CreateOnly, Failure, Location, S3Bucket, Trouble};
use tidemark_s3light::{Conditions, Faults};

fn trouble(error: &BucketError) -> Trouble {
    error
        .cause
        .downcast_ref::<Failure>()
        .expect("a cause of ours")
        .trouble
}

fn body(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
}

/// A server that says the same to everybody, or hangs up at once.
fn saying(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for socket in listener.incoming().flatten() {
            let mut socket = socket;
            let mut seen = Vec::new();
            let mut part = [0; 4096];
            // Requests of these tests fit into what is read once their head is there.
            while !seen.windows(4).any(|four| four == b"\r\n\r\n") {
                match socket.read(&mut part) {
                    Ok(0) | Err(_) => break,
                    Ok(n) => seen.extend_from_slice(&part[..n]),
                }
            }
            let _ = socket.write_all(answer.as_bytes());
        }
    });
    address
}

#[test]
fn wrong_keys_and_buckets_are_told_apart() {
    let store = Store::start(|_| ());
    let at = url(store.server.address(), "p", "");
    let with = |id: &str, secret: &str| {
        let location = Location::parse(&at, &bare).unwrap();
        S3Bucket::open(location, &key(id, secret)).unwrap()
    };
    run(async {
        for bucket in [with("testkey", "not-the-secret"), with("nobody", SECRET)] {
            for error in [
                bucket.get("k").await.unwrap_err(),
                bucket.size("k").await.unwrap_err(),
                bucket.put("k", body("x"), Precondition::None).await.unwrap_err(),
                bucket.list("").await.unwrap_err(),
            ] {
                assert_eq!(
                    (error.kind, trouble(&error)),
                    (BucketErrorKind::Denied, Trouble::Credentials)
                );
                assert!(error.to_string().contains("check the key"), "{error}");
            }
        }
        let absent = open(&at.replace(BUCKET, "no-such-bucket"));
        for error in [
            absent.get("k").await.unwrap_err(),
            absent.size("k").await.unwrap_err(),
            absent.list("").await.unwrap_err(),
        ] {
            assert_eq!(
                (error.kind, trouble(&error)),
                (BucketErrorKind::Other, Trouble::NoBucket),
                "{error}"
            );
            assert!(error.to_string().contains("no-such-bucket"), "{error}");
        }
    });
}

#[test]
fn a_store_that_is_not_there_is_unreachable() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let bucket = open(&url(free, "p", "&retry-seconds=0"));
    run(async {
        let error = bucket.get("k").await.unwrap_err();
        assert_eq!(
            (error.kind, trouble(&error)),
            (BucketErrorKind::Busy, Trouble::Unreachable)
        );
        assert!(error.to_string().contains(&free.to_string()), "{error}");
        // Nothing left this machine, so nothing can have happened.
        let error = bucket.put("k", body("x"), Precondition::None).await.unwrap_err();
        assert_eq!(error.kind, BucketErrorKind::Busy);
    });
}

#[test]
fn what_is_no_store_is_not_believed() {
    let answers = [
        ("", Trouble::Broken),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
            Trouble::Broken,
        ),
        ("SSH-2.0-OpenSSH_9.9\r\n", Trouble::Broken),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            Trouble::Garbled,
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
            Trouble::Refused,
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\n<html>",
            Trouble::Refused,
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
            Trouble::Elsewhere,
        ),
    ];
    for (answer, wanted) in answers {
        let bucket = open(&url(saying(answer), "p", "&retry-seconds=0"));
        let error = run(bucket.list("")).unwrap_err();
        assert_eq!(trouble(&error), wanted, "{answer:?}: {error}");
    }
}

#[test]
fn a_silent_store_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = url(
        listener.local_addr().unwrap(),
        "p",
        "&retry-seconds=0&request-seconds=1",
    );
    let bucket = open(&at);
    run(async {
        let error = bucket.get("k").await.unwrap_err();
        assert_eq!(
            (error.kind, trouble(&error)),
            (BucketErrorKind::Busy, Trouble::TimedOut)
        );
        // The store may have it all the same.
        let error = bucket.put("k", body("x"), Precondition::None).await.unwrap_err();
        assert_eq!(
            (error.kind, trouble(&error)),
            (BucketErrorKind::Unknown, Trouble::TimedOut)
        );
        let error = bucket.delete("k").await.unwrap_err();
        assert_eq!(error.kind, BucketErrorKind::Unknown);
    });
}

#[test]
fn a_lost_answer_is_settled_where_it_can_be_and_unknown_where_not() {
    let store = Store::start(|_| ());
    let proxy = store.proxy(1, Faults::default());
    let patient = open(&url(proxy.address(), "p", "&retry-seconds=60"));
    let hasty = open(&url(proxy.address(), "p", "&retry-seconds=0"));
    let lost = Faults {
        dropped_after: 1000,
        ..Faults::default()
    };
    run(async {
        for bucket in [&patient, &hasty] {
            assert_eq!(bucket.create_only().await.unwrap(), CreateOnly::Honoured);
        }
        proxy.set_faults(lost);
        let error = hasty
            .put("one", body("mine"), Precondition::Absent)
            .await
            .unwrap_err();
        assert_eq!(error.kind, BucketErrorKind::Unknown);
        let error = hasty.delete("none").await.unwrap_err();
        assert_eq!(error.kind, BucketErrorKind::Unknown);
        assert!(store.holds("p/one"), "it was done, and only the answer was lost");

        // The answer is lost until the network is well again; the second try then meets the first one's object.
        let put = patient.put("two", body("mine"), Precondition::Absent);
        let healing = async {
            while !store.holds("p/two") {
                tokio_sleep(&store).await;
            }
            proxy.set_faults(Faults::default());
        };
        let (put, ()) = futures_util::join!(put, healing);
        put.unwrap();
        // And what it was told apart from, another's object with the same bytes, is not taken for ours.
        let again = patient
            .put("two", body("mine"), Precondition::Absent)
            .await
            .unwrap_err();
        assert_eq!(again.kind, BucketErrorKind::Exists);
    });
}

/// Some time passes, on the store's runtime.
async fn tokio_sleep(store: &Store) {
    let slept = store
        .runtime
        .spawn(async { tokio::time::sleep(Duration::from_millis(5)).await });
    slept.await.unwrap();
}

#[test]
fn who_decides_about_creation_is_found_out() {
    for (conditions, words) in [
        (Conditions::Honoured, None),
        (Conditions::Ignored, Some("replaced")),
        (Conditions::Refused, Some("refuses the condition")),
    ] {
        let store = Store::start(|options| options.conditions = conditions);
        let bucket = open(&url(store.server.address(), "p", ""));
        run(async {
            match (bucket.create_only().await.unwrap(), words) {
                (CreateOnly::Honoured, None) => {}
                (CreateOnly::Missing(how), Some(words)) => assert!(how.contains(words), "{how}"),
                (found, _) => panic!("{conditions:?}: {found:?}"),
            }
            assert_eq!(bucket.list("").await.unwrap(), [], "a probe leaves nothing");
        });
        let left = std::fs::read_dir(store.dir.path().join(BUCKET).join("p/.tidemark-probe"));
        assert_eq!(left.map(Iterator::count).unwrap_or(0), 0);
    }
}

#[test]
fn damage_on_the_way_and_in_the_store_is_noticed() {
    let store = Store::start(|_| ());
    let bucket = open(&url(store.server.address(), "p", "&retry-seconds=1"));
    run(async {
        bucket
            .put("k", body("0123456789"), Precondition::None)
            .await
            .unwrap();
        assert_eq!(bucket.get("k").await.unwrap(), "0123456789");
        assert!(bucket.observed().checksum_kept());
        assert!(
            bucket
                .observed()
                .clock_offset_seconds()
                .is_some_and(|offset| offset.abs() < 60)
        );
        std::fs::write(store.dir.path().join(BUCKET).join("p/k"), "0123x56789").unwrap();
        let error = bucket.get("k").await.unwrap_err();
        assert_eq!(
            (error.kind, trouble(&error)),
            (BucketErrorKind::Other, Trouble::Garbled)
        );
        assert!(error.to_string().contains("checksum"), "{error}");
    });
}

#[test]
fn foreign_objects_are_left_alone() {
    let store = Store::start(|_| ());
    let bucket = open(&url(store.server.address(), "p", ""));
    let root = store.dir.path().join(BUCKET);
    run(async {
        bucket.put("k", body("x"), Precondition::None).await.unwrap();
        std::fs::create_dir_all(root.join("p/.hidden")).unwrap();
        std::fs::create_dir_all(root.join("p2")).unwrap();
        for other in ["p/.hidden/x", "p/with space", "p2/k", "outside"] {
            std::fs::write(root.join(other), "x").unwrap();
        }
        let listed = bucket.list("").await.unwrap();
        assert_eq!(
            listed
                .iter()
                .map(|object| object.key.as_str())
                .collect::<Vec<_>>(),
            ["k"]
        );
    });
}

#[test]
fn no_text_holds_a_secret() {
    let store = Store::start(|_| ());
    let at = url(store.server.address(), "p", "&retry-seconds=0");
    let location = Location::parse(&at, &bare).unwrap();
    let wrong = S3Bucket::open(location, &key("the-key-id", "hunter2hunter2")).unwrap();
    run(async {
        let mut texts = vec![
            format!("{wrong:?}"),
            wrong.describe(),
            format!("{:?}", wrong.location()),
        ];
        for error in [
            wrong.get("k").await.unwrap_err(),
            wrong.put("k", body("x"), Precondition::Absent).await.unwrap_err(),
        ] {
            texts.extend([error.to_string(), format!("{error:?}"), format!("{error:#?}")]);
        }
        for text in texts {
            assert!(
                !text.contains("hunter2") && !text.contains("the-key-id"),
                "{text}"
            );
        }
    });
}

#[test]
fn a_caller_that_goes_away_takes_its_request_along() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let bucket = open(&url(listener.local_addr().unwrap(), "p", ""));
    listener.set_nonblocking(false).unwrap();
    run(async {
        let mut get = bucket.get("k");
        let first = futures_util::poll!(&mut get);
        assert!(first.is_pending());
        let (mut socket, _) = listener.accept().unwrap();
        drop(get);
        drop(bucket);
        // The connection ends with the request, and the thread with the last handle.
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).unwrap();
    });
}
