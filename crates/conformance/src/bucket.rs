//! What [`tidemark_env::Bucket`] promises.

use bytes::Bytes;
use futures_util::future::join_all;
use std::rc::Rc;
use tidemark_env::{Bucket, BucketError, BucketErrorKind, ObjectInfo, Precondition};

/// Further handles of one place.
pub type Handles = Box<dyn Fn() -> Rc<dyn Bucket>>;

/// What differs between worlds.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest name between two `/` that the place takes, in bytes; the trait's own limit is 255.
    pub component_bytes: usize,
    /// The large object's size.
    pub large_bytes: usize,
    /// Objects in the long list.
    pub listed: usize,
    /// Who try to create the same object at once.
    pub creators: usize,
}

/// Runs the whole suite; each part gets a place that is empty, or has not been made.
pub async fn all(limits: Limits, fresh: &mut dyn FnMut() -> Handles) {
    what_was_put_is_got(fresh()()).await;
    a_range_is_whole_or_an_error(fresh()()).await;
    keys_of_every_kind(limits, fresh()()).await;
    what_is_no_key_is_refused(fresh()()).await;
    objects_are_listed_whole_and_sorted(fresh()()).await;
    whether_there_is_anything_is_known(fresh()()).await;
    a_long_list_is_whole(limits, fresh()()).await;
    deleting_is_final_and_may_be_repeated(fresh()()).await;
    a_large_object_is_kept(limits, fresh()()).await;
    a_second_creator_is_told(fresh()).await;
    of_several_creators_one_wins(limits, fresh()).await;
    of_several_creators_of_the_same_bytes_one_wins(limits, fresh()).await;
}

fn body(text: &str) -> Vec<Bytes> {
    text.as_bytes().chunks(3).map(Bytes::copy_from_slice).collect()
}

fn kind<T>(result: Result<T, BucketError>) -> BucketErrorKind {
    result.err().expect("this fails").kind
}

async fn put(bucket: &dyn Bucket, key: &str, text: &str, pre: Precondition) {
    let put = bucket.put(key, body(text), pre).await;
    put.unwrap_or_else(|error| panic!("put {key}: {error}"));
}

async fn what_was_put_is_got(bucket: Rc<dyn Bucket>) {
    assert_eq!(kind(bucket.get("packs/ab/cd").await), BucketErrorKind::Missing);
    assert_eq!(bucket.list("").await.unwrap(), [], "an empty bucket is no error");
    put(&*bucket, "packs/ab/cd", "first content", Precondition::None).await;
    assert_eq!(bucket.get("packs/ab/cd").await.unwrap(), "first content");
    assert_eq!(bucket.size("packs/ab/cd").await.unwrap(), 13);
    put(&*bucket, "packs/ab/cd", "second", Precondition::None).await;
    assert_eq!(bucket.get("packs/ab/cd").await.unwrap(), "second");
    assert_eq!(bucket.size("packs/ab/cd").await.unwrap(), 6);
    put(&*bucket, "empty", "", Precondition::Absent).await;
    assert_eq!(bucket.get("empty").await.unwrap(), "");
    assert_eq!(bucket.size("empty").await.unwrap(), 0);
    assert!(!bucket.describe().is_empty());
}

async fn whether_there_is_anything_is_known(bucket: Rc<dyn Bucket>) {
    assert_eq!(bucket.any("").await.unwrap(), None);
    put(&*bucket, "d/one/h/0", "x", Precondition::None).await;
    put(&*bucket, "d/two/h/0", "x", Precondition::None).await;
    for prefix in ["", "d/", "d/two/"] {
        let found = bucket.any(prefix).await.unwrap().expect("an object");
        assert!(found.starts_with("d/") && found.starts_with(prefix), "{found}");
    }
    assert_eq!(bucket.any("e/").await.unwrap(), None);
    assert_eq!(kind(bucket.any("no/slash").await), BucketErrorKind::Other);
    for key in ["d/one/h/0", "d/two/h/0"] {
        bucket.delete(key).await.unwrap();
    }
    assert_eq!(bucket.any("").await.unwrap(), None);
}

async fn a_range_is_whole_or_an_error(bucket: Rc<dyn Bucket>) {
    put(&*bucket, "k", "0123456789", Precondition::None).await;
    assert_eq!(bucket.get_range("k", 2..5).await.unwrap(), "234");
    assert_eq!(bucket.get_range("k", 0..10).await.unwrap(), "0123456789");
    assert_eq!(bucket.get_range("k", 9..10).await.unwrap(), "9");
    assert_eq!(bucket.get_range("k", 10..10).await.unwrap(), "");
    for range in [5..11, 10..11, 11..11, 0..u64::MAX, 20..30] {
        assert_eq!(
            kind(bucket.get_range("k", range.clone()).await),
            BucketErrorKind::Other,
            "{range:?}"
        );
    }
    #[expect(clippy::reversed_empty_ranges, reason = "hostile input")]
    let reversed = bucket.get_range("k", 5..2).await;
    assert_eq!(kind(reversed), BucketErrorKind::Other);
    assert_eq!(
        kind(bucket.get_range("none", 0..1).await),
        BucketErrorKind::Missing
    );
    assert_eq!(
        kind(bucket.get_range("none", 0..0).await),
        BucketErrorKind::Missing
    );
    assert_eq!(kind(bucket.size("none").await), BucketErrorKind::Missing);
}

async fn keys_of_every_kind(limits: Limits, bucket: Rc<dyn Bucket>) {
    let long = "x".repeat(limits.component_bytes);
    // Every visible character that a URL, XML or a shell gives a meaning.
    let mut keys = vec![
        "a+b",
        "a%2Fb",
        "a%b",
        "a&b",
        "a=b",
        "a?b",
        "a#b",
        "a<b>",
        "a\"b'",
        "a\\b",
        "a;b",
        "a@b:c",
        "a~b",
        "a!b",
        "a*b",
        "(a)",
        "[a]",
        "{a}",
        "a|b",
        "a^b",
        "a`b",
        "a,b",
        "$a",
        "-a",
        "_a",
        "a.b.",
        "deep/er/and/deep/er",
        &long,
    ];
    for key in &keys {
        put(&*bucket, key, key, Precondition::Absent).await;
    }
    for key in &keys {
        assert_eq!(bucket.get(key).await.unwrap(), *key);
        assert_eq!(bucket.size(key).await.unwrap(), key.len() as u64);
        assert_eq!(bucket.get_range(key, 0..1).await.unwrap(), key[..1]);
    }
    keys.sort_unstable();
    let listed = bucket.list("").await.unwrap();
    assert_eq!(
        listed
            .iter()
            .map(|object| object.key.as_str())
            .collect::<Vec<_>>(),
        keys
    );
    for key in &keys {
        bucket.delete(key).await.unwrap();
    }
    assert_eq!(bucket.list("").await.unwrap(), []);
}

async fn what_is_no_key_is_refused(bucket: Rc<dyn Bucket>) {
    let long = "x".repeat(256);
    for key in [
        "", "/", "/etc/x", "../x", "a/../b", "a//b", "a/", ".", ".tmp/x", "a/.b", "ä", "a b", "a\nb", &long,
    ] {
        let put = bucket.put(key, body("x"), Precondition::None).await;
        assert_eq!(kind(put), BucketErrorKind::Other, "{key:?}");
        assert_eq!(kind(bucket.get(key).await), BucketErrorKind::Other, "{key:?}");
        assert_eq!(
            kind(bucket.get_range(key, 0..0).await),
            BucketErrorKind::Other,
            "{key:?}"
        );
        assert_eq!(kind(bucket.size(key).await), BucketErrorKind::Other, "{key:?}");
        assert_eq!(kind(bucket.delete(key).await), BucketErrorKind::Other, "{key:?}");
    }
    assert_eq!(bucket.list("").await.unwrap(), [], "a refused put leaves nothing");
}

async fn objects_are_listed_whole_and_sorted(bucket: Rc<dyn Bucket>) {
    let keys = ["z", "a/b/c", "a/b.c", "a/a", "b", "a0"];
    join_all(keys.map(|key| put(&*bucket, key, "12345", Precondition::Absent))).await;
    let listed = async |prefix: &str| {
        let all = bucket.list(prefix).await.unwrap();
        assert!(all.iter().all(|object| object.bytes == 5));
        all.into_iter()
            .map(|ObjectInfo { key, .. }| key)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, ["a/a", "a/b.c", "a/b/c", "a0", "b", "z"]);
    assert_eq!(listed("a/").await, ["a/a", "a/b.c", "a/b/c"]);
    assert_eq!(listed("a/b/").await, ["a/b/c"]);
    assert_eq!(listed("b/").await, [""; 0], "an object is no directory");
    assert_eq!(listed("none/").await, [""; 0]);
    for prefix in ["a", "../", "/", "a//", ".tmp/"] {
        assert_eq!(
            kind(bucket.list(prefix).await),
            BucketErrorKind::Other,
            "{prefix:?}"
        );
    }
}

async fn a_long_list_is_whole(limits: Limits, bucket: Rc<dyn Bucket>) {
    let keys: Vec<String> = (0..limits.listed)
        .map(|n| format!("d/{:02}/{n:06}", n % 7))
        .collect();
    for some in keys.chunks(50) {
        join_all(some.iter().map(|key| put(&*bucket, key, "1", Precondition::None))).await;
    }
    let mut wanted = keys.clone();
    wanted.sort_unstable();
    let listed = bucket.list("d/").await.unwrap();
    assert_eq!(
        listed.into_iter().map(|object| object.key).collect::<Vec<_>>(),
        wanted
    );
}

async fn deleting_is_final_and_may_be_repeated(bucket: Rc<dyn Bucket>) {
    put(&*bucket, "a/k", "x", Precondition::None).await;
    bucket.delete("a/k").await.unwrap();
    bucket.delete("a/k").await.unwrap();
    bucket.delete("never/was").await.unwrap();
    assert_eq!(kind(bucket.get("a/k").await), BucketErrorKind::Missing);
    put(&*bucket, "a/k", "y", Precondition::Absent).await;
    assert_eq!(
        kind(bucket.get("a").await),
        BucketErrorKind::Missing,
        "a prefix is no object"
    );
    assert_eq!(bucket.get("a/k").await.unwrap(), "y");
}

async fn a_large_object_is_kept(limits: Limits, bucket: Rc<dyn Bucket>) {
    // Bytes in which every place looks different from its neighbours.
    let large: Vec<u8> = (0..limits.large_bytes as u64)
        .map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect();
    let pieces = large.chunks(1_000_003).map(Bytes::copy_from_slice).collect();
    bucket.put("large", pieces, Precondition::None).await.unwrap();
    assert_eq!(bucket.size("large").await.unwrap(), large.len() as u64);
    assert!(bucket.get("large").await.unwrap() == large);
    let end = large.len() as u64;
    for range in [0..1, end - 1..end, end / 3..end / 2] {
        let got = bucket.get_range("large", range.clone()).await.unwrap();
        assert!(
            got == large[range.start as usize..range.end as usize],
            "{range:?}"
        );
    }
}

async fn a_second_creator_is_told(handles: Handles) {
    let (first, second) = (handles(), handles());
    put(&*first, "d/1/h/1", "mine", Precondition::Absent).await;
    for handle in [&first, &second] {
        for text in ["mine", "other"] {
            let again = handle.put("d/1/h/1", body(text), Precondition::Absent).await;
            assert_eq!(kind(again), BucketErrorKind::Exists, "{text}");
        }
        assert_eq!(handle.get("d/1/h/1").await.unwrap(), "mine");
    }
}

async fn of_several_creators_one_wins(limits: Limits, handles: Handles) {
    let buckets: Vec<_> = (0..limits.creators).map(|_| handles()).collect();
    for round in 0..4 {
        let key = format!("d/1/h/{round}");
        let puts = buckets.iter().enumerate().map(|(n, bucket)| {
            let body = vec![Bytes::from(n.to_string())];
            bucket.put(&key, body, Precondition::Absent)
        });
        let winner = winner_of(join_all(puts).await);
        assert_eq!(buckets[0].get(&key).await.unwrap(), winner.to_string());
    }
}

async fn of_several_creators_of_the_same_bytes_one_wins(limits: Limits, handles: Handles) {
    let buckets: Vec<_> = (0..limits.creators).map(|_| handles()).collect();
    let puts = buckets
        .iter()
        .map(|bucket| bucket.put("d/1/h/1", body("same"), Precondition::Absent));
    winner_of(join_all(puts).await);
}

/// The one that was not refused.
fn winner_of(results: Vec<Result<(), BucketError>>) -> usize {
    let winners: Vec<_> = (0..results.len()).filter(|n| results[*n].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.kind, BucketErrorKind::Exists, "{error}");
    }
    winners[0]
}
