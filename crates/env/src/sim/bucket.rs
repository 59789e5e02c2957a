//! A simulated object store: shared by machines, atomic, durable, strongly consistent, and unreliable.
//!
//! What must stay true: a request takes effect once, at one moment between its start and its answer, or
//! never; the faults only decide whether, and what the client is told. What is stored outlives every
//! process and run. A client's request in flight when its process ends happens or never does; only a
//! late one ([`BucketFaults::timeout_late`]) happens in any case. Clients retry as they see fit: a put
//! that demands [`Precondition::Absent`] and was told [`BucketErrorKind::Unknown`] may find its own object.
//!
//! Not here: stale reads (the services in use have none), and [`Bucket::adopt`] (there are no local files).

use super::Sim;
use super::counts::Injected;
use super::process::{Process, ProcessState};
use super::world::World;
use crate::bucket::check_key;
use crate::{Bucket, BucketError, BucketErrorKind, LocalFuture, ObjectInfo, Precondition};
use bytes::Bytes;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

/// How long a slow request takes at most.
const SLOW_MICROS_MAX: u64 = 5_000_000;
/// How long a client waits at most before it gives a request up.
const TIMEOUT_MICROS_MAX: u64 = 30_000_000;
/// How long after that a late request takes effect at most.
const LATE_MICROS_MAX: u64 = 10_000_000;

/// How often requests fail, in 1/10,000 of them. The default is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BucketFaults {
    /// Takes up to seconds.
    pub slow: u32,
    /// [`BucketErrorKind::Busy`] at once.
    pub throttled: u32,
    /// [`BucketErrorKind::Denied`].
    pub denied: u32,
    /// [`BucketErrorKind::Full`], of puts.
    pub full: u32,
    /// [`BucketErrorKind::Unknown`] (of reads: `Busy`), and nothing happened.
    pub timeout_before: u32,
    /// The same, and it had happened.
    pub timeout_after: u32,
    /// [`BucketErrorKind::Unknown`], and it happens up to seconds later, even if the client is dead by then.
    /// Puts and deletes only.
    pub timeout_late: u32,
    /// A get's body ends early and the client notices: [`BucketErrorKind::Other`].
    pub truncated: u32,
    /// A get's body is short or has a wrong byte, and the client does not notice.
    pub garbled: u32,
}

/// A simulated object store. Clones are the same one.
#[derive(Clone)]
pub struct SimBucket(Rc<Store>);

struct Store {
    world: Rc<World>,
    objects: RefCell<BTreeMap<String, Bytes>>,
    faults: Cell<BucketFaults>,
    down: Cell<bool>,
}

impl SimBucket {
    /// An empty store, up and without faults.
    pub fn new(sim: &Sim) -> Self {
        Self(Rc::new(Store {
            world: sim.0.clone(),
            objects: RefCell::default(),
            faults: Cell::default(),
            down: Cell::new(false),
        }))
    }

    /// The store as `process` sees it.
    pub fn client(&self, process: &Process) -> Rc<dyn Bucket> {
        self.client_of(&process.state)
    }

    /// The store as the program of the present run sees it.
    ///
    /// # Panics
    /// Outside a run.
    pub fn client_of_run(&self) -> Rc<dyn Bucket> {
        let program = self.0.world.processes.borrow().first().cloned();
        self.client_of(&program.expect("a run's own client is made inside that run"))
    }

    /// Sets how often requests fail from now on.
    pub fn set_faults(&self, faults: BucketFaults) {
        self.0.faults.set(faults);
    }

    /// Takes the store down, or up again. While it is down, requests are answered with
    /// [`BucketErrorKind::Busy`], and the answers of those it was serving are lost.
    pub fn set_down(&self, down: bool) {
        self.0.down.set(down);
    }

    /// Everything that is stored.
    pub fn objects(&self) -> BTreeMap<String, Bytes> {
        self.0.objects.borrow().clone()
    }

    /// Flips one random bit of one of the objects whose key `matches`: its key and the offset of the byte.
    /// `None`: no such object has bytes.
    pub fn rot(&self, matches: impl Fn(&str) -> bool) -> Option<(String, u64)> {
        let (mut objects, mut rng) = (self.0.objects.borrow_mut(), self.0.world.rng.borrow_mut());
        let mut matching: Vec<_> = objects
            .iter_mut()
            .filter(|(key, body)| !body.is_empty() && matches(key))
            .collect();
        if matching.is_empty() {
            return None;
        }
        let (key, body) = matching.swap_remove(rng.below(matching.len() as u64) as usize);
        let offset = rng.below(body.len() as u64);
        let mut rotten = body.to_vec();
        rotten[offset as usize] ^= 1 << rng.below(8);
        *body = rotten.into();
        self.0.world.count(Injected::BucketRot, 1);
        Some((key.clone(), offset))
    }

    fn client_of(&self, process: &Rc<ProcessState>) -> Rc<dyn Bucket> {
        Rc::new(Client {
            store: self.0.clone(),
            process: process.clone(),
        })
    }
}

/// Why a request is not served.
type Refusal = (BucketErrorKind, &'static str);

/// What chance decided about a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Served,
    Refused(Refusal),
    TimeoutBefore,
    TimeoutAfter,
    TimeoutLate,
}

/// What a request does, as far as faults care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    List,
    Put,
    Delete,
}

/// Whether an operation can be about `key`, and if not, why.
fn check_target(access: Access, key: &str) -> Result<(), &'static str> {
    match (access, key, key.strip_suffix('/')) {
        (Access::List, "", _) => Ok(()),
        (Access::List, _, None) => Err("a prefix is empty or ends with `/`"),
        (Access::List, _, Some(inner)) => check_key(inner),
        _ => check_key(key),
    }
}

impl Store {
    fn fate(&self, access: Access) -> Fate {
        use BucketErrorKind::{Busy, Denied, Full};
        let faults = self.faults.get();
        let writes = matches!(access, Access::Put | Access::Delete);
        let fates = [
            (
                faults.throttled,
                Injected::BucketThrottled,
                Fate::Refused((Busy, "slow down")),
            ),
            (
                faults.denied,
                Injected::BucketDenied,
                Fate::Refused((Denied, "access denied")),
            ),
            (
                faults.full,
                Injected::BucketFull,
                Fate::Refused((Full, "no room")),
            ),
            (
                faults.timeout_before,
                Injected::BucketTimeoutBefore,
                Fate::TimeoutBefore,
            ),
            (
                faults.timeout_after,
                Injected::BucketTimeoutAfter,
                Fate::TimeoutAfter,
            ),
            (
                faults.timeout_late,
                Injected::BucketTimeoutLate,
                Fate::TimeoutLate,
            ),
        ];
        for (rate, injected, fate) in fates {
            let possible = match injected {
                Injected::BucketFull => access == Access::Put,
                Injected::BucketTimeoutLate => writes,
                _ => true,
            };
            if possible && self.world.happens(rate) {
                self.world.count(injected, 1);
                return fate;
            }
        }
        Fate::Served
    }

    /// How long a request takes from its start to its answer.
    fn latency(&self, fate: Fate) -> Duration {
        let slow = self.world.happens(self.faults.get().slow);
        if slow {
            self.world.count(Injected::BucketSlow, 1);
        }
        let micros_max = match fate {
            Fate::TimeoutBefore | Fate::TimeoutAfter | Fate::TimeoutLate => TIMEOUT_MICROS_MAX,
            _ if slow => SLOW_MICROS_MAX,
            _ => 20_000,
        };
        self.micros(micros_max)
    }

    fn micros(&self, max: u64) -> Duration {
        Duration::from_micros(1 + self.world.rng.borrow_mut().below(max))
    }

    fn object(&self, key: &str) -> Result<Bytes, Refusal> {
        let objects = self.objects.borrow();
        objects
            .get(key)
            .cloned()
            .ok_or((BucketErrorKind::Missing, "no such object"))
    }

    /// `body` as it reaches the client.
    fn delivered(&self, body: Bytes) -> Result<Bytes, Refusal> {
        let faults = self.faults.get();
        if self.world.happens(faults.truncated) {
            self.world.count(Injected::BucketTruncated, 1);
            return Err((BucketErrorKind::Other, "the body ended early"));
        }
        if body.is_empty() || !self.world.happens(faults.garbled) {
            return Ok(body);
        }
        self.world.count(Injected::BucketGarbled, 1);
        let mut rng = self.world.rng.borrow_mut();
        let at = rng.below(body.len() as u64) as usize;
        if rng.coin(1, 2) {
            return Ok(body.slice(..at));
        }
        let mut garbled = body.to_vec();
        garbled[at] ^= 1 + rng.below(255) as u8;
        Ok(garbled.into())
    }
}

/// What a request came to, once it has had its effect.
type Slot<T> = Rc<RefCell<Option<Result<T, Refusal>>>>;

struct Client {
    store: Rc<Store>,
    process: Rc<ProcessState>,
}

impl Client {
    /// A request: starts at its first poll, has its `effect` once or never, and is answered. What is no key
    /// or prefix is refused before it becomes one.
    fn request<T: 'static>(
        &self,
        step: &'static str,
        access: Access,
        key: &str,
        effect: impl FnOnce(&Store, &str) -> Result<T, Refusal> + 'static,
    ) -> LocalFuture<'static, Result<T, BucketError>> {
        let (store, process, key) = (self.store.clone(), self.process.clone(), key.to_owned());
        Box::pin(async move {
            let error = |kind, cause: Box<dyn std::error::Error + Send + Sync>| BucketError {
                kind,
                step,
                key: key.clone(),
                cause,
            };
            if let Err(why) = check_target(access, &key) {
                return Err(error(BucketErrorKind::Other, why.into()));
            }
            let alive = || {
                process
                    .check_alive()
                    .map_err(|dead| error(BucketErrorKind::Other, dead.into()))
            };
            alive()?;
            let slot = Slot::default();
            let fate = store.fate(access);
            let answered = store.world.now.get() + store.latency(fate);
            store.start(fate, &process, answered, {
                let (store, slot, key) = (store.clone(), slot.clone(), key.clone());
                Box::new(move || {
                    let done = store.serve(|| effect(&store, &key));
                    *slot.borrow_mut() = Some(done);
                })
            });
            store.world.timers.sleep_until(answered).await;
            alive()?;
            let done = slot.borrow_mut().take();
            store
                .answer(fate, access, done)
                .map_err(|(kind, why)| error(kind, why.into()))
        })
    }
}

impl Store {
    /// Lets `effect` happen when and if `fate` says.
    fn start(&self, fate: Fate, process: &ProcessState, answered: Duration, effect: Box<dyn FnOnce()>) {
        let now = self.world.now.get();
        match fate {
            Fate::Served | Fate::TimeoutAfter => {
                let halves = self.world.rng.borrow_mut().below(3) as u32;
                self.world
                    .at(now + (answered - now) * halves / 2, Some(process.id), effect);
            }
            Fate::TimeoutLate => self
                .world
                .at(answered + self.micros(LATE_MICROS_MAX), None, effect),
            Fate::Refused(_) | Fate::TimeoutBefore => {}
        }
    }

    fn serve<T>(&self, effect: impl FnOnce() -> Result<T, Refusal>) -> Result<T, Refusal> {
        if self.down.get() {
            self.world.count(Injected::BucketDown, 1);
            return Err((BucketErrorKind::Busy, "unreachable"));
        }
        effect()
    }

    /// What the client is told when `done` is what happened until now.
    fn answer<T>(&self, fate: Fate, access: Access, done: Option<Result<T, Refusal>>) -> Result<T, Refusal> {
        let lost = match access {
            Access::Read | Access::List => (BucketErrorKind::Busy, "no answer in time"),
            Access::Put | Access::Delete => (BucketErrorKind::Unknown, "no answer in time"),
        };
        match (fate, done) {
            (Fate::Refused(refusal), _) => Err(refusal),
            // It went down after it had served this.
            (Fate::Served, Some(Ok(_))) if self.down.get() => Err(lost),
            (Fate::Served, Some(done)) => done,
            _ => Err(lost),
        }
    }
}

impl Bucket for Client {
    fn put(
        &self,
        key: &str,
        body: Vec<Bytes>,
        pre: Precondition,
    ) -> LocalFuture<'_, Result<(), BucketError>> {
        self.request("put", Access::Put, key, move |store, key| {
            let mut objects = store.objects.borrow_mut();
            if pre == Precondition::Absent && objects.contains_key(key) {
                return Err((BucketErrorKind::Exists, "there is such an object"));
            }
            objects.insert(key.to_owned(), body.concat().into());
            Ok(())
        })
    }

    fn get(&self, key: &str) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        self.request("get", Access::Read, key, |store, key| {
            store.delivered(store.object(key)?)
        })
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        self.request("get range of", Access::Read, key, move |store, key| {
            let body = store.object(key)?;
            if range.start > range.end || range.end > body.len() as u64 {
                return Err((BucketErrorKind::Other, "the range ends past the object's end"));
            }
            store.delivered(body.slice(range.start as usize..range.end as usize))
        })
    }

    fn size(&self, key: &str) -> LocalFuture<'_, Result<u64, BucketError>> {
        self.request("size of", Access::Read, key, |store, key| {
            Ok(store.object(key)?.len() as u64)
        })
    }

    fn list(&self, prefix: &str) -> LocalFuture<'_, Result<Vec<ObjectInfo>, BucketError>> {
        self.request("list", Access::List, prefix, |store, prefix| {
            let objects = store.objects.borrow();
            let found = objects
                .range(prefix.to_owned()..)
                .take_while(|(key, _)| key.starts_with(prefix));
            let info = found.map(|(key, body)| ObjectInfo {
                key: key.clone(),
                bytes: body.len() as u64,
            });
            Ok(info.collect())
        })
    }

    fn delete(&self, key: &str) -> LocalFuture<'_, Result<(), BucketError>> {
        self.request("delete", Access::Delete, key, |store, key| {
            store.objects.borrow_mut().remove(key);
            Ok(())
        })
    }

    fn describe(&self) -> String {
        "a simulated bucket".to_owned()
    }
}
