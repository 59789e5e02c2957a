//! The scrub: reads the whole vault through, slowly, round after round, and repairs what a disk of this node still has.
//!
//! It runs on the vault's thread at a settled rate, decodes at idle priority, and makes way for captures. A round is a walk
//! through all snapshots in the order of chunks; where it is is kept in a file, so a restart goes on there
//! ([`ScrubState`]). Damage stops the walk for a moment: it is repaired if that is possible, told of in the log and as an
//! event, and stays open in the file until a whole round did not meet it any more. Who cannot wait for the round asks
//! ([`ScrubRequests`]).
//!
//! What must stay true: a bucket that cannot be reached makes the scrub wait, and is no damage; nothing but a repair is
//! written to the vault; what an event tells of is in the file before, so that who missed the event finds it there. Not
//! here: how to verify and to repair (`tidemark_vault`).

mod pace;
mod state;

pub use state::{OpenLoss, RepairedLoss, SCRUB_FILE, ScrubRound, ScrubState, Verified, WholeRound};

use crate::types::Event;
use crate::vault::VaultHost;
use futures_util::future::select;
use pace::Pace;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::UnixMillis;
use tidemark_env::fs::{read_small, write_atomic};
use tidemark_units::SnapshotId;
use tidemark_vault::{
    Damage, Donor, Inventory, Part, RepairReport, Sample, VaultError, VerifyReport, losses,
};
use tokio::sync::Notify;

/// How long the scrub lets a starting service alone.
const START_DELAY: Duration = Duration::from_secs(30);
/// How long it walks with the snapshots that it knows before it asks which there are.
const SNAPSHOTS_FOR: Duration = Duration::from_secs(3600);
/// How long it walks before it notes where it is.
const LEG: Duration = Duration::from_secs(300);
/// Pauses after trouble: the first, and the longest.
const TROUBLE_PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3600));
/// The longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// How a node scrubs its vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubConfig {
    /// Bytes read per second, on average; 0: it does not scrub.
    pub bytes_per_second: u64,
    /// From the start of a round to the start of the next, if the round is over by then.
    pub every: Duration,
}

impl ScrubConfig {
    /// None.
    pub const OFF: Self = Self {
        bytes_per_second: 0,
        every: Duration::from_secs(7 * 24 * 3600),
    };
}

/// The disks that are there now, as a repair sees them.
pub type Donors = Box<dyn Fn() -> Vec<Rc<dyn Donor>>>;

/// Who wants something verified and repaired now.
#[derive(Default)]
pub struct ScrubRequests {
    /// In the order of asking; the first is being served.
    queue: RefCell<VecDeque<Request>>,
    last: Cell<i64>,
    asked: Notify,
    started: Cell<bool>,
}

#[derive(Clone)]
struct Request {
    number: i64,
    /// None: all there are.
    snapshots: BTreeSet<SnapshotId>,
}

impl ScrubRequests {
    /// Asks for these snapshots, or for all. [`ScrubState::asked`] reaches the number when it is done.
    pub fn ask(&self, now_ms: UnixMillis, snapshots: BTreeSet<SnapshotId>) -> i64 {
        let number = now_ms.max(self.last.get() + 1);
        self.last.set(number);
        self.queue.borrow_mut().push_back(Request { number, snapshots });
        self.asked.notify_one();
        number
    }

    /// Whether nobody has started the scrub yet; somebody has from now on.
    pub fn is_first_start(&self) -> bool {
        !self.started.replace(true)
    }

    /// Whether this snapshot is asked for, and that is not done yet.
    pub fn wants(&self, snapshot: &SnapshotId) -> bool {
        let queue = self.queue.borrow();
        queue
            .iter()
            .any(|request| request.snapshots.is_empty() || request.snapshots.contains(snapshot))
    }

    /// The next to serve.
    fn first(&self) -> Option<Request> {
        self.queue.borrow().front().cloned()
    }

    /// The first is done, and what came of it is in the file.
    fn served(&self) {
        self.queue.borrow_mut().pop_front();
    }

    /// Whether somebody waits.
    fn has_any(&self) -> bool {
        !self.queue.borrow().is_empty()
    }
}

/// Scrubs for as long as the thread lives; without a rate only what is asked for.
pub async fn run(host: Rc<VaultHost>, donors: Donors) {
    let scrub = Scrub { host, donors };
    let (clock, config) = (Rc::clone(&scrub.host.env().clock), scrub.config());
    let mut state = scrub.load().await;
    let mut pause = TROUBLE_PAUSE.0;
    let mut not_before = clock.now() + START_DELAY.min(config.every);
    loop {
        while let Some(request) = scrub.host.scrub_requests.first() {
            scrub.serve(&mut state, request).await;
            scrub.host.scrub_requests.served();
        }
        if config.bytes_per_second == 0 {
            scrub.host.scrub_requests.asked.notified().await;
            continue;
        }
        let due = state.due_in(clock.unix_millis(), config.every);
        let wait = due.max(not_before.saturating_sub(clock.now()));
        if !wait.is_zero() {
            let asked = pin!(scrub.host.scrub_requests.asked.notified());
            select(clock.sleep(wait.min(SLEEP_MAX)), asked).await;
            continue;
        }
        match scrub.walk(&mut state).await {
            Ok(()) => pause = TROUBLE_PAUSE.0,
            Err(error) => {
                scrub.trouble(&mut state, &error).await;
                not_before = clock.now() + pause;
                pause = (pause * 2).min(TROUBLE_PAUSE.1);
            }
        }
    }
}

/// What the scrub has noted of this vault, if it has.
pub async fn noted(host: &VaultHost) -> io::Result<Option<ScrubState>> {
    let path = host.config.data_dir.join(SCRUB_FILE);
    let Some(bytes) = read_small(&*host.env().fs, &path).await? else {
        return Ok(None);
    };
    let state = ScrubState::decode(&bytes)?;
    Ok(Some(state).filter(|state| state.vault == host.vault.id().to_string()))
}

struct Scrub {
    host: Rc<VaultHost>,
    donors: Donors,
}

impl Scrub {
    fn config(&self) -> ScrubConfig {
        self.host.config.scrub
    }

    async fn load(&self) -> ScrubState {
        match noted(&self.host).await {
            Ok(Some(state)) => return state,
            Ok(None) => {}
            Err(error) => {
                let path = self.host.config.data_dir.join(SCRUB_FILE);
                tracing::warn!(%error, path = %path.display(), "what the scrub had noted is lost; it begins anew");
            }
        }
        ScrubState::new(self.host.vault.id().to_string())
    }

    /// A state that is not kept costs work, nothing else.
    async fn save(&self, state: &ScrubState) {
        let path = self.host.config.data_dir.join(SCRUB_FILE);
        let kept = match state.encode() {
            Ok(bytes) => write_atomic(&*self.host.env().fs, &path, bytes)
                .await
                .map_err(|e| e.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = kept {
            tracing::warn!(error, "where the scrub is cannot be noted");
        }
    }

    async fn trouble(&self, state: &mut ScrubState, error: &VaultError) {
        tracing::warn!(%error, "the vault cannot be scrubbed now; trying again later");
        state.trouble = Some(error.to_string());
        self.save(state).await;
    }

    /// Does what somebody asked for.
    async fn serve(&self, state: &mut ScrubState, request: Request) {
        if let Err(error) = self.look_at(state, &request.snapshots).await {
            self.trouble(state, &error).await;
        }
        state.asked = request.number;
        self.save(state).await;
    }

    /// Verifies and repairs these snapshots as fast as it can. The round does not count it.
    async fn look_at(&self, state: &mut ScrubState, asked: &BTreeSet<SnapshotId>) -> Result<(), VaultError> {
        let (vault, clock) = (&self.host.vault, &self.host.env().clock);
        let begun_ms = clock.unix_millis();
        let found = vault.inventory().await?;
        state.trouble = None;
        let chosen: Vec<u32> = (0..)
            .zip(&found.targets)
            .filter_map(|(at, target)| (asked.is_empty() || asked.contains(&target.snapshot)).then_some(at))
            .collect();
        let targets: Vec<_> = chosen
            .iter()
            .map(|at| found.targets[*at as usize].clone())
            .collect();
        // What hits each of them, by its index, and what of that is left.
        let (mut met, mut left) = (BTreeMap::new(), BTreeMap::new());
        // More than is listed may hit any of them.
        let mut unlisted = 0;
        let is_chosen = |damage: &&Damage| damage.hits.iter().any(|hit| chosen.binary_search(hit).is_ok());
        let records: Vec<Damage> = found.damage.iter().filter(is_chosen).cloned().collect();
        count(&mut met, &records);
        count(&mut left, &records);
        self.meet(state, losses(&found.targets, &records)).await;
        let there: BTreeSet<&SnapshotId> = targets.iter().map(|target| &target.snapshot).collect();
        let missing: Vec<&SnapshotId> = asked
            .iter()
            .filter(|snapshot| !there.contains(snapshot))
            .collect();
        if !missing.is_empty() {
            // A head log that is damaged may be why it is not found, and that hits nothing that is.
            let is_head = |damage: &&Damage| matches!(damage.part, Part::Head(_));
            let heads: Vec<Damage> = found.damage.iter().filter(is_head).cloned().collect();
            self.meet(state, losses(&found.targets, &heads)).await;
        }
        let mut next = Some(0);
        while let Some(from) = next {
            let pace = Pace::unlimited(&self.host);
            let mut report = vault.verify_snapshots(&targets, Sample::All, from, &pace).await?;
            for damage in &mut report.damage {
                damage.hits = damage.hits.iter().map(|hit| chosen[*hit as usize]).collect();
            }
            count(&mut met, &report.damage);
            unlisted += report.damage_count.saturating_sub(report.damage.len() as u64);
            self.repair(state, &found, &mut report).await?;
            count(&mut left, &report.damage);
            let mut open = losses(&found.targets, &report.damage);
            state.widen(&mut open);
            self.meet(state, open).await;
            next = report.next;
        }
        let ended_ms = clock.unix_millis();
        let verified = |snapshot: &SnapshotId, is_there: bool, met: u64, left: u64| Verified {
            snapshot: snapshot.clone(),
            begun_ms,
            ended_ms,
            found: met + unlisted,
            repaired: met.saturating_sub(left),
            is_there,
        };
        let of = |hits: &BTreeMap<u32, u64>, at: &u32| hits.get(at).copied().unwrap_or_default();
        let mut all: Vec<Verified> = chosen
            .iter()
            .zip(&targets)
            .map(|(at, target)| verified(&target.snapshot, true, of(&met, at), of(&left, at)))
            .collect();
        all.extend(
            missing
                .into_iter()
                .map(|snapshot| verified(snapshot, false, 0, 0)),
        );
        state.note_verified(all);
        Ok(())
    }

    /// Walks for a while, or to the end of the round.
    async fn walk(&self, state: &mut ScrubState) -> Result<(), VaultError> {
        let (env, vault) = (self.host.env(), &self.host.vault);
        let found = vault.inventory().await?;
        state.trouble = None;
        state.begin_round(env.clock.unix_millis());
        self.save(state).await;
        self.meet(state, losses(&found.targets, &found.damage)).await;
        let since = env.clock.now();
        while env.clock.now().saturating_sub(since) < SNAPSHOTS_FOR && !self.host.scrub_requests.has_any() {
            let (next, part) = state.place();
            let pace = Pace::new(
                &self.host,
                self.config().bytes_per_second,
                env.clock.now() + LEG,
                part,
            );
            let mut report = vault
                .verify_snapshots(&found.targets, Sample::All, next, &pace)
                .await?;
            let done = self.repair(state, &found, &mut report).await?;
            state.advance(&report, &done, pace.part());
            self.meet(state, losses(&found.targets, &report.damage)).await;
            if report.next.is_none() {
                state.end_round(env.clock.unix_millis());
                tracing::info!(open = state.open.len(), "the vault was scrubbed to the end");
                self.save(state).await;
                return Ok(());
            }
            self.save(state).await;
        }
        Ok(())
    }

    /// Repairs what can be repaired, and leaves the rest in the report.
    async fn repair(
        &self,
        state: &mut ScrubState,
        found: &Inventory,
        report: &mut VerifyReport,
    ) -> Result<RepairReport, VaultError> {
        if report.damage.is_empty() {
            return Ok(RepairReport::default());
        }
        let done = self
            .host
            .vault
            .repair(&found.targets, &report.damage, &(self.donors)())
            .await?;
        for (object, why) in &done.left {
            tracing::warn!(object, why, "damage that cannot be repaired from here");
        }
        let repaired: Vec<_> = report
            .damage
            .extract_if(.., |damage| done.has_repaired(damage))
            .collect();
        let repaired = losses(&found.targets, &repaired);
        if !repaired.is_empty() {
            state.note_repaired(&repaired, self.host.env().clock.unix_millis());
            self.save(state).await;
        }
        for loss in repaired {
            tracing::warn!(object = loss.object, disk = ?loss.disk, start = loss.start, end = loss.end,
                snapshots = ?loss.snapshots, was = loss.what, "damage in the vault was repaired");
            let _ = self.host.events.send(Event::VaultRepaired(loss));
        }
        Ok(done)
    }

    /// Notes damage that is not repaired, then tells of what was not known.
    async fn meet(&self, state: &mut ScrubState, met: Vec<tidemark_vault::Loss>) {
        let new = state.meet(met, self.host.env().clock.unix_millis());
        if !new.is_empty() {
            self.save(state).await;
        }
        for loss in new {
            tracing::error!(object = loss.object, disk = ?loss.disk, start = loss.start, end = loss.end,
                snapshots = ?loss.snapshots, error = loss.error, "damage in the vault");
            let _ = self.host.events.send(Event::VaultDamaged(loss));
        }
    }
}

/// Adds up how many finds hit each snapshot, by its index.
fn count(hits: &mut BTreeMap<u32, u64>, damage: &[Damage]) {
    for hit in damage.iter().flat_map(|find| find.hits.iter()) {
        *hits.entry(*hit).or_default() += 1;
    }
}

#[cfg(test)]
mod tests;
