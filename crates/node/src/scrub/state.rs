//! What the scrub keeps across restarts, in `<data>/scrub.json`: where it is, and which damage is open.
//!
//! For people and their tools as well: `tidemark verify --status` shows it. Losing it costs a round, nothing else.
//! Who wants to hear of all damage reads it here ([`crate::Node::scrub_state`]); events only say that it is time to.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io;
use std::time::Duration;
use tidemark_env::UnixMillis;
use tidemark_units::SnapshotId;
use tidemark_vault::{Loss, RepairReport, VerifyReport};

/// Its name in the data directory.
pub const SCRUB_FILE: &str = "scrub.json";
const VERSION: u32 = 1;
/// Losses that are kept; more are counted.
const OPEN_MAX: usize = 1000;
/// Repairs that are kept, the newest.
const REPAIRED_MAX: usize = 1000;
/// Snapshots whose own verification is kept, the newest.
const VERIFIED_MAX: usize = 1000;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScrubState {
    version: u32,
    /// The vault's id: what is noted of another one means nothing.
    pub vault: String,
    /// Whole rounds so far.
    pub rounds: u64,
    /// The round under way.
    pub running: Option<ScrubRound>,
    /// The last whole round.
    pub last: Option<WholeRound>,
    /// Why it does not get on, if it does not.
    #[serde(default)]
    pub trouble: Option<String>,
    /// The number of the last request ([`crate::Node::scrub_now`]) that was served.
    #[serde(default)]
    pub asked: i64,
    /// Damage that was met in this round or the one before, and not repaired.
    pub open: Vec<OpenLoss>,
    /// Open damage that is not listed.
    #[serde(default)]
    pub unlisted: u64,
    /// Of that, what was met in this round.
    #[serde(default)]
    pub unlisted_now: u64,
    /// What was repaired lately, oldest first.
    #[serde(default)]
    pub repaired: Vec<RepairedLoss>,
    /// Snapshots that somebody asked for, each as it was when it was verified last, oldest first.
    #[serde(default)]
    pub verified: Vec<Verified>,
}

/// How far a round is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ScrubRound {
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub begun_ms: UnixMillis,
    /// The chunk to go on with.
    pub next: u64,
    /// About which part of all is done, 0 to 1.
    pub part: f64,
    /// Tree nodes checked.
    pub nodes: u64,
    /// Chunks checked.
    pub chunks: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// Finds of damage.
    pub found: u64,
    /// Of these, chunks and pack frames that were repaired.
    pub repaired: u64,
}

/// A round that came to its end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct WholeRound {
    /// When it began, in milliseconds since 1970-01-01 UTC.
    pub begun_ms: UnixMillis,
    /// When it ended.
    pub ended_ms: UnixMillis,
    /// Tree nodes checked.
    pub nodes: u64,
    /// Chunks checked.
    pub chunks: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// Finds of damage.
    pub found: u64,
    /// Of these, chunks and pack frames that were repaired.
    pub repaired: u64,
}

/// Damage that is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct OpenLoss {
    /// What.
    pub loss: Loss,
    /// When it was met first, in milliseconds since 1970-01-01 UTC.
    pub since_ms: UnixMillis,
    /// The round that met it last, counted from 0.
    pub round: u64,
    /// When it was met last.
    #[serde(default)]
    pub met_ms: UnixMillis,
}

/// Damage that was repaired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct RepairedLoss {
    /// Grows with each, also when the file was lost in between: the time of the repair in milliseconds, or more.
    pub number: i64,
    /// What.
    pub loss: Loss,
}

/// A snapshot that was verified because somebody asked for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Verified {
    /// Which.
    pub snapshot: SnapshotId,
    /// When that began, in milliseconds since 1970-01-01 UTC.
    pub begun_ms: UnixMillis,
    /// When it was read to the end.
    pub ended_ms: UnixMillis,
    /// Finds of damage that hit it.
    pub found: u64,
    /// Of these, what was repaired.
    pub repaired: u64,
    /// `false`: the vault had no such snapshot, so nothing was read.
    pub is_there: bool,
}

impl Verified {
    /// Whether all of it was read as it was written, or is so again.
    pub fn is_whole(&self) -> bool {
        self.is_there && self.repaired == self.found
    }
}

impl ScrubState {
    /// Nothing done yet.
    pub fn new(vault: String) -> Self {
        Self {
            version: VERSION,
            vault,
            ..Self::default()
        }
    }

    /// Parses the file.
    pub fn decode(bytes: &[u8]) -> io::Result<Self> {
        let state: Self = serde_json::from_slice(bytes)?;
        match state.version {
            VERSION => Ok(state),
            other => Err(io::Error::other(format!("version {other} is not known here"))),
        }
    }

    /// The file's bytes.
    pub fn encode(&self) -> io::Result<Bytes> {
        Ok(serde_json::to_vec_pretty(self)?.into())
    }

    /// How long until there is something to do, at this time of the wall clock.
    pub fn due_in(&self, now_ms: UnixMillis, every: Duration) -> Duration {
        let (None, Some(last)) = (&self.running, &self.last) else {
            return Duration::ZERO;
        };
        // A clock that was set back would put the next round off by as much.
        let since = now_ms.saturating_sub(last.begun_ms);
        match u64::try_from(since) {
            Ok(since) => every.saturating_sub(Duration::from_millis(since)),
            Err(_) => Duration::ZERO,
        }
    }

    /// Begins a round, unless one is under way.
    pub fn begin_round(&mut self, now_ms: UnixMillis) {
        self.running.get_or_insert_with(|| ScrubRound {
            begun_ms: now_ms,
            ..ScrubRound::default()
        });
    }

    /// The chunk to go on with, and which part of the round is done.
    pub fn place(&self) -> (u64, f64) {
        self.running
            .as_ref()
            .map_or((0, 0.0), |round| (round.next, round.part))
    }

    /// A leg was walked.
    pub fn advance(&mut self, report: &VerifyReport, done: &RepairReport, part: f64) {
        let Some(round) = &mut self.running else { return };
        round.nodes += report.nodes;
        round.chunks += report.chunks;
        round.bytes += report.bytes;
        round.found += report.damage_count;
        round.repaired += (done.chunks.len() + done.frames.len()) as u64;
        round.part = part.clamp(0.0, 1.0);
        if let Some(next) = report.next {
            round.next = next;
        }
    }

    /// Notes damage that is not repaired, and gives back what is new of it.
    pub fn meet(&mut self, losses: Vec<Loss>, now_ms: UnixMillis) -> Vec<Loss> {
        let (round, mut new) = (self.rounds, Vec::new());
        for loss in losses {
            if let Some(known) = self.open.iter_mut().find(|open| open.loss.is_at(&loss)) {
                *known = OpenLoss {
                    loss,
                    since_ms: known.since_ms,
                    round,
                    met_ms: now_ms,
                };
                continue;
            }
            new.push(loss.clone());
            match self.open.len() < OPEN_MAX {
                true => self.open.push(OpenLoss {
                    loss,
                    since_ms: now_ms,
                    round,
                    met_ms: now_ms,
                }),
                false => {
                    self.unlisted_now += 1;
                    self.unlisted = self.unlisted.max(self.unlisted_now);
                }
            }
        }
        new
    }

    /// Notes what was repaired. It is not open any more.
    pub fn note_repaired(&mut self, losses: &[Loss], now_ms: UnixMillis) {
        for loss in losses {
            self.open.retain(|open| !open.loss.is_at(loss));
            let last = self.repaired.last().map_or(0, |repaired| repaired.number);
            self.repaired.push(RepairedLoss {
                number: now_ms.max(last.saturating_add(1)),
                loss: loss.clone(),
            });
        }
        let surplus = self.repaired.len().saturating_sub(REPAIRED_MAX);
        self.repaired.drain(..surplus);
    }

    /// Who looked at some snapshots only saw which of those are hit: of damage that is known already, the others still are.
    pub fn widen(&self, losses: &mut [Loss]) {
        for loss in losses {
            let Some(known) = self.open.iter().find(|open| open.loss.is_at(loss)) else {
                continue;
            };
            for snapshot in &known.loss.snapshots {
                if !loss.snapshots.contains(snapshot) {
                    loss.snapshots.push(snapshot.clone());
                }
            }
        }
    }

    /// Notes what was verified because somebody asked.
    pub fn note_verified(&mut self, new: Vec<Verified>) {
        let again: BTreeSet<&SnapshotId> = new.iter().map(|one| &one.snapshot).collect();
        self.verified.retain(|known| !again.contains(&known.snapshot));
        self.verified.extend(new);
        let surplus = self.verified.len().saturating_sub(VERIFIED_MAX);
        self.verified.drain(..surplus);
    }

    /// How a snapshot was when it was last verified because somebody asked.
    pub fn verified_of(&self, snapshot: &SnapshotId) -> Option<&Verified> {
        self.verified.iter().rev().find(|one| one.snapshot == *snapshot)
    }

    /// The damage that hits a snapshot. What its own verification did not meet any more is not of it.
    pub fn damage_of(&self, snapshot: &SnapshotId) -> Vec<&OpenLoss> {
        let read = self.verified_of(snapshot).filter(|one| one.is_there);
        let since_ms = read.map_or(UnixMillis::MIN, |one| one.begun_ms);
        let hits = |open: &&OpenLoss| open.loss.snapshots.contains(snapshot) && open.met_ms >= since_ms;
        self.open.iter().filter(hits).collect()
    }

    /// The round has come to its end: what it did not meet is not there any more.
    pub fn end_round(&mut self, now_ms: UnixMillis) {
        let Some(round) = self.running.take() else { return };
        let this = self.rounds;
        self.open.retain(|open| open.round == this);
        self.unlisted = std::mem::take(&mut self.unlisted_now);
        self.rounds += 1;
        self.last = Some(WholeRound {
            begun_ms: round.begun_ms,
            ended_ms: now_ms,
            nodes: round.nodes,
            chunks: round.chunks,
            bytes: round.bytes,
            found: round.found,
            repaired: round.repaired,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_vault::LossKind;

    fn loss(object: &str) -> Loss {
        Loss {
            object: object.into(),
            kind: LossKind::Chunks,
            lost: true,
            disk: None,
            snapshots: Vec::new(),
            start: 0,
            end: 1,
            what: String::new(),
            error: String::new(),
        }
    }

    #[test]
    fn damage_stays_open_until_a_whole_round_did_not_meet_it() {
        let mut state = ScrubState::new("v".into());
        state.begin_round(1000);
        assert_eq!(state.meet(vec![loss("a"), loss("b")], 1001).len(), 2);
        state.end_round(2000);
        state.begin_round(3000);
        assert_eq!(state.meet(vec![loss("a")], 3001), [], "it is known");
        assert_eq!(state.open.len(), 2);
        state.end_round(4000);
        assert_eq!(
            (state.open.len(), state.open[0].since_ms, state.rounds),
            (1, 1001, 2)
        );
        state.begin_round(5000);
        state.end_round(6000);
        assert!(state.open.is_empty());
        let back = ScrubState::decode(&state.encode().unwrap()).unwrap();
        assert_eq!(back, state);
        assert!(ScrubState::decode(b"{}").is_err() && ScrubState::decode(br#"{"Version":9}"#).is_err());
    }

    #[test]
    fn repairs_are_numbered_bounded_and_not_open_any_more() {
        let mut state = ScrubState::new("v".into());
        state.meet(vec![loss("a"), loss("b")], 1);
        state.note_repaired(&[loss("a"), loss("c")], 1000);
        state.note_repaired(&[loss("d")], 5);
        assert_eq!(state.open.len(), 1);
        let numbers: Vec<_> = state.repaired.iter().map(|repaired| repaired.number).collect();
        assert_eq!(numbers, [1000, 1001, 1002], "whatever the clock does");
        state.note_repaired(&vec![loss("e"); REPAIRED_MAX], 5000);
        assert_eq!(state.repaired.len(), REPAIRED_MAX);
        assert_eq!(state.repaired[0].number, 5000);
    }

    #[test]
    fn damage_of_a_snapshot_is_what_its_own_verification_still_met() {
        let id = |text: &str| SnapshotId::new(text).unwrap();
        let hit = |object: &str, snapshots: &[&str]| Loss {
            snapshots: snapshots.iter().map(|text| id(text)).collect(),
            ..loss(object)
        };
        let verified = |begun_ms: UnixMillis, found: u64| Verified {
            snapshot: id("s-1"),
            begun_ms,
            ended_ms: begun_ms + 1,
            found,
            repaired: 0,
            is_there: true,
        };
        let mut state = ScrubState::new("v".into());
        state.meet(vec![hit("a", &["s-1", "s-2"]), hit("b", &["s-1"])], 1000);
        let objects = |state: &ScrubState, of: &str| -> Vec<String> {
            let damage = state.damage_of(&id(of));
            damage.iter().map(|open| open.loss.object.clone()).collect()
        };
        assert_eq!(objects(&state, "s-1"), ["a", "b"]);
        // A look at the one alone meets the first once more, and takes nothing from the other.
        let mut again = vec![hit("a", &["s-1"])];
        state.widen(&mut again);
        assert_eq!(state.meet(again, 2001), []);
        state.note_verified(vec![verified(2000, 1)]);
        assert!(!state.verified_of(&id("s-1")).unwrap().is_whole());
        assert_eq!(
            (objects(&state, "s-1"), objects(&state, "s-2")),
            (vec!["a".to_owned()], vec!["a".to_owned()])
        );
        state.note_verified(vec![verified(3000, 0)]);
        assert!(state.verified_of(&id("s-1")).unwrap().is_whole());
        assert_eq!((state.verified.len(), objects(&state, "s-1").len()), (1, 0));
        assert_eq!(objects(&state, "s-2"), ["a"]);
        let back = ScrubState::decode(&state.encode().unwrap()).unwrap();
        assert_eq!(back, state);
        state.note_verified(vec![verified(4000, 0); VERIFIED_MAX + 1]);
        assert_eq!(state.verified.len(), VERIFIED_MAX);
    }

    #[test]
    fn rounds_begin_at_their_time_whatever_the_clock_does() {
        let every = Duration::from_secs(100);
        let mut state = ScrubState::new("v".into());
        assert_eq!(state.due_in(5, every), Duration::ZERO);
        state.begin_round(1_000_000);
        assert_eq!(state.due_in(1_000_001, every), Duration::ZERO, "it goes on");
        state.end_round(1_020_000);
        assert_eq!(state.due_in(1_020_000, every), Duration::from_secs(80));
        assert_eq!(state.due_in(1_200_000, every), Duration::ZERO);
        assert_eq!(state.due_in(10, every), Duration::ZERO, "the clock was set back");
    }
}
