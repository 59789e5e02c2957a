//! Whole operations: an attempt, and what comes after one that failed.
//!
//! What must stay true:
//! 1. Once an attempt may have had its effect, the operation is reported as failed without effect only if
//!    the store has since shown that; otherwise as unknown.
//! 2. A put that demands an absent key and finds one knows its own object by the token that every put
//!    leaves with it: a lost answer of ours is never reported as somebody else's win, nor a win of somebody
//!    else's, with the same bytes even, as ours.
//! 3. Attempts end with the location's retry time; an attempt that has begun is waited for.
//!
//! A request that was given up may still arrive later. The same bytes then land again at a key that was
//! absent or held them; who replaces objects under one key has to live with that. A vault replaces two kinds, neither of
//! which decides what content there is: a snapshot's record, when its name or tags change (a late put undoes a later
//! change there, until the next one), and a boot trace. Of a purged snapshot either means nothing when it comes back.

use crate::client::{Client, Demand, Head};
use crate::create_only::{self, CreateOnly};
use crate::failure::{Failure, Trouble};
use crate::location::Location;
use bytes::Bytes;
use data_encoding::HEXLOWER;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;
use tidemark_env::{BucketErrorKind, ObjectInfo, Precondition};
use tokio::sync::{Mutex, OnceCell, Semaphore, SemaphorePermit};
use tokio::time::Instant;

const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
const BACK_OFF_MAX: Duration = Duration::from_secs(3);

/// How an operation failed.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) kind: BucketErrorKind,
    pub(crate) failure: Failure,
}

/// All operations on one bucket.
pub(crate) struct Operations {
    client: Client,
    retry: Duration,
    /// All requests.
    places: Semaphore,
    /// Puts, which leave places for reads that somebody waits for.
    put_places: Semaphore,
    /// What was found out about creating.
    create_only: OnceCell<CreateOnly>,
    /// One creation at a time where we are the ones who decide.
    deciding: Mutex<()>,
}

/// The attempts of one operation.
struct Attempts {
    until: Instant,
    made: u32,
    /// One of those so far may have had its effect.
    in_doubt: bool,
}

impl Attempts {
    fn new(retry: Duration) -> Self {
        Self {
            until: Instant::now() + retry,
            made: 0,
            in_doubt: false,
        }
    }

    /// After a failure: waits and answers whether to try again.
    async fn again(&mut self, failure: &Failure) -> bool {
        self.in_doubt |= failure.trouble.may_have_happened();
        let pause = pause(self.made);
        self.made += 1;
        if !failure.trouble.passes() || Instant::now() + pause > self.until {
            return false;
        }
        tracing::debug!(%failure, attempts = self.made, "trying again");
        tokio::time::sleep(pause).await;
        true
    }

    /// What a failed change is, all attempts considered.
    fn change_failed(&self, failure: Failure) -> Failed {
        let kind = match failure.trouble.kind_of_read() {
            _ if self.in_doubt => BucketErrorKind::Unknown,
            kind => kind,
        };
        Failed { kind, failure }
    }
}

/// How long to wait after `made` failed attempts before this one: doubling, and spread by half.
fn pause(made: u32) -> Duration {
    let full = BACK_OFF_FIRST.saturating_mul(1 << made.min(16)).min(BACK_OFF_MAX);
    let [random] = random::<1>();
    full / 2 + full / 2 * u32::from(random) / 255
}

/// Fresh randomness; without any the process cannot go on safely, which the system does not let happen.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if let Err(error) = getrandom::fill(&mut bytes) {
        panic!("the system has no randomness: {error}");
    }
    bytes
}

fn read_failed(failure: Failure) -> Failed {
    Failed {
        kind: failure.trouble.kind_of_read(),
        failure,
    }
}

/// Whose object is at a key.
enum Owner {
    Us,
    Another,
    Nobody,
}

impl Operations {
    pub(crate) fn new(client: Client, location: &Location) -> Self {
        Self {
            client,
            retry: location.retry,
            places: Semaphore::new(location.parallel),
            put_places: Semaphore::new(location.parallel.div_ceil(2)),
            create_only: OnceCell::new(),
            deciding: Mutex::new(()),
        }
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A place among the requests under way. Nobody closes the semaphores; if somebody did, there is no bound.
    pub(crate) async fn place(&self) -> Option<SemaphorePermit<'_>> {
        self.places.acquire().await.ok()
    }

    async fn put_place(&self) -> (Option<SemaphorePermit<'_>>, Option<SemaphorePermit<'_>>) {
        (self.put_places.acquire().await.ok(), self.place().await)
    }

    /// What the store makes of a put that demands an absent key: asked once, and again if there was no answer.
    pub(crate) async fn create_only(&self) -> Result<&CreateOnly, Failure> {
        self.create_only
            .get_or_try_init(|| async {
                let mut attempts = Attempts::new(self.retry);
                loop {
                    match create_only::probe(self).await {
                        Ok(found) => return Ok(found),
                        Err(failure) if attempts.again(&failure).await => {}
                        Err(failure) => return Err(failure),
                    }
                }
            })
            .await
    }

    pub(crate) async fn put(&self, key: &str, body: &[Bytes], pre: Precondition) -> Result<(), Failed> {
        let token = HEXLOWER.encode(&random::<16>());
        match pre {
            Precondition::None => self.put_over(key, body, &token).await,
            Precondition::Absent => match self.create_only().await.map_err(read_failed)? {
                CreateOnly::Honoured => self.create(key, body, &token).await,
                CreateOnly::Missing(_) => self.create_alone(key, body, &token).await,
            },
        }
    }

    async fn put_over(&self, key: &str, body: &[Bytes], token: &str) -> Result<(), Failed> {
        let mut attempts = Attempts::new(self.retry);
        loop {
            let Err(failure) = self.try_put(key, body, Demand::Nothing, token).await else {
                return Ok(());
            };
            if !attempts.again(&failure).await {
                return Err(attempts.change_failed(failure));
            }
        }
    }

    /// The store decides who was first.
    async fn create(&self, key: &str, body: &[Bytes], token: &str) -> Result<(), Failed> {
        let mut attempts = Attempts::new(self.retry);
        loop {
            let Err(mut failure) = self.try_put(key, body, Demand::Absent, token).await else {
                return Ok(());
            };
            if matches!(failure.trouble, Trouble::Exists | Trouble::Conflict) {
                match self.owner(key, body, token).await {
                    Ok(Owner::Us) => return Ok(()),
                    Ok(Owner::Another) => {
                        let kind = BucketErrorKind::Exists;
                        return Err(Failed { kind, failure });
                    }
                    // Removed again, or not there yet: asked again.
                    Ok(Owner::Nobody) => {
                        let text = "the store says that there is such an object, and that there is none";
                        failure = Failure::new(Trouble::Conflict, text);
                    }
                    // It may be ours.
                    Err(unread) => {
                        attempts.in_doubt = true;
                        failure = unread;
                    }
                }
            }
            if !attempts.again(&failure).await {
                return Err(attempts.change_failed(failure));
            }
        }
    }

    /// As [`Operations::create`] where the store cannot decide and nobody else writes.
    async fn create_alone(&self, key: &str, body: &[Bytes], token: &str) -> Result<(), Failed> {
        let _one = self.deciding.lock().await;
        let mut attempts = Attempts::new(self.retry);
        loop {
            let failure = match self.owner(key, body, token).await {
                Ok(Owner::Us) => return Ok(()),
                Ok(Owner::Another) => {
                    return Err(Failed {
                        kind: BucketErrorKind::Exists,
                        failure: Failure::new(Trouble::Exists, "there is such an object already"),
                    });
                }
                Ok(Owner::Nobody) => match self.try_put(key, body, Demand::Nothing, token).await {
                    Ok(()) => return Ok(()),
                    Err(failure) => failure,
                },
                Err(unread) => {
                    // A question that has had no answer changed nothing.
                    let in_doubt = attempts.in_doubt;
                    let again = attempts.again(&unread).await;
                    attempts.in_doubt = in_doubt;
                    if again {
                        continue;
                    }
                    return Err(attempts.change_failed(unread));
                }
            };
            if !attempts.again(&failure).await {
                return Err(attempts.change_failed(failure));
            }
        }
    }

    async fn try_put(&self, key: &str, body: &[Bytes], demand: Demand, token: &str) -> Result<(), Failure> {
        let _place = self.put_place().await;
        self.client.put(key, body, demand, token).await
    }

    /// Whose object is at `key`, seen from the put of `body` with `token`.
    async fn owner(&self, key: &str, body: &[Bytes], token: &str) -> Result<Owner, Failure> {
        let head = match self.head(key).await {
            Err(failure) if failure.trouble == Trouble::NoObject => return Ok(Owner::Nobody),
            head => head?,
        };
        Ok(match head.token {
            Some(found) if found == token => Owner::Us,
            Some(_) => Owner::Another,
            // By another program, or the store drops metadata: then the bytes have to tell.
            None if head.bytes != body.iter().map(|part| part.len() as u64).sum::<u64>() => Owner::Another,
            None => match self.get_patiently(key, None).await {
                Ok(found) if found == body.concat() => Owner::Us,
                Ok(_) => Owner::Another,
                Err(failure) if failure.trouble == Trouble::NoObject => Owner::Nobody,
                Err(failure) => return Err(failure),
            },
        })
    }

    async fn get_patiently(&self, key: &str, range: Option<Range<u64>>) -> Result<Bytes, Failure> {
        let mut attempts = Attempts::new(self.retry);
        loop {
            let place = self.place().await;
            let got = self.client.get(key, range.clone()).await;
            drop(place);
            match got {
                Ok(bytes) => return Ok(bytes),
                Err(failure) if attempts.again(&failure).await => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Bytes, Failed> {
        self.get_patiently(key, None).await.map_err(read_failed)
    }

    pub(crate) async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Failed> {
        if range.start < range.end {
            return self.get_patiently(key, Some(range)).await.map_err(read_failed);
        }
        // No request can ask for nothing.
        let size = self.head(key).await.map_err(read_failed)?.bytes;
        if range.start > range.end || range.end > size {
            let text = format!(
                "bytes {}..{} of an object of {size} bytes",
                range.start, range.end
            );
            return Err(read_failed(Failure::new(Trouble::Range, text)));
        }
        Ok(Bytes::new())
    }

    /// An object's head. Answers to this have no body to say what is missing or refused: those to a list do.
    async fn head(&self, key: &str) -> Result<Head, Failure> {
        let mut attempts = Attempts::new(self.retry);
        loop {
            let place = self.place().await;
            let head = match self.client.head(key).await {
                Err(failure) if matches!(failure.trouble, Trouble::NoObject | Trouble::Denied) => {
                    self.client.list(key, None, Some(1)).await.and(Err(failure))
                }
                head => head,
            };
            drop(place);
            match head {
                Ok(head) => return Ok(head),
                Err(failure) if attempts.again(&failure).await => {}
                Err(failure) => return Err(failure),
            }
        }
    }

    pub(crate) async fn size(&self, key: &str) -> Result<u64, Failed> {
        Ok(self.head(key).await.map_err(read_failed)?.bytes)
    }

    /// All pages; each has its own attempts.
    pub(crate) async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, Failed> {
        self.pages(prefix, |_| false).await
    }

    /// The key of some object, from the first page that has any: what is no key of ours is on pages, too.
    pub(crate) async fn any(&self, prefix: &str) -> Result<Option<String>, Failed> {
        let found = self.pages(prefix, |found| !found.is_empty()).await?;
        Ok(found.into_iter().next().map(|object| object.key))
    }

    /// Pages until there are no more, or what was found is `enough`.
    async fn pages(
        &self,
        prefix: &str,
        enough: impl Fn(&BTreeMap<String, u64>) -> bool,
    ) -> Result<Vec<ObjectInfo>, Failed> {
        // By key, so that an object which is on two pages is there once.
        let mut found = BTreeMap::new();
        let mut after = None;
        loop {
            let mut attempts = Attempts::new(self.retry);
            let page = loop {
                let place = self.place().await;
                let page = self.client.list(prefix, after.clone(), None).await;
                drop(place);
                match page {
                    Ok(page) => break page,
                    Err(failure) if attempts.again(&failure).await => {}
                    Err(failure) => return Err(read_failed(failure)),
                }
            };
            found.extend(page.objects.into_iter().map(|object| (object.key, object.bytes)));
            if page.next.is_none() || enough(&found) {
                break;
            }
            if page.next == after {
                let text = "the store says where the list goes on, and it is the same place again";
                return Err(read_failed(Failure::new(Trouble::Garbled, text)));
            }
            after = page.next;
        }
        Ok(found
            .into_iter()
            .map(|(key, bytes)| ObjectInfo { key, bytes })
            .collect())
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), Failed> {
        let mut attempts = Attempts::new(self.retry);
        loop {
            let place = self.place().await;
            let deleted = self.client.delete(key).await;
            drop(place);
            let Err(failure) = deleted else { return Ok(()) };
            if !attempts.again(&failure).await {
                return Err(attempts.change_failed(failure));
            }
        }
    }
}
