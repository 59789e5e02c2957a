//! Whether a snapshot is whole, as far as anybody has looked: what came of verifying it alone, what damage is known, and how far
//! the background scrub is.
//!
//! No action of the API tells it yet; the console shows it. It says no more of damage than events do, so it is for whoever may
//! see the snapshot and the events.

use crate::store::Transaction;
use crate::{Caller, Control, rules};
use tidemark_ecs::ApiError;
use tidemark_node::{NodeError, OpenLoss, ScrubState};
use tidemark_units::SnapshotId;

/// What is known of a snapshot in the vault. Times are milliseconds since 1970-01-01 UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Somebody has asked for it to be verified, and that is not done yet.
    pub is_under_way: bool,
    /// What came of it the last time that somebody asked.
    pub own: Option<OwnVerification>,
    /// What is damaged now, as far as it was met.
    pub damage: Vec<KnownDamage>,
    /// Finds that are known beyond what is listed; of which snapshots is not.
    pub unlisted: u64,
    /// Whether the vault is read through without anybody asking.
    pub scrubs_by_itself: bool,
    /// When the background scrub last read the whole vault: from when to when.
    pub round: Option<(i64, i64)>,
    /// The vault could not be read when that was tried last.
    pub is_in_trouble: bool,
}

/// What came of verifying one snapshot because somebody asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnVerification {
    /// When it was read to the end.
    pub ended_ms: i64,
    /// All of it was read as it was written, or is so again.
    pub is_whole: bool,
    /// Finds of damage that were repaired.
    pub repaired: u64,
    /// `false`: the vault had no such snapshot.
    pub is_there: bool,
}

/// Damage that hits a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownDamage {
    /// When it was met first.
    pub since_ms: i64,
    /// When it was met last.
    pub met_ms: i64,
    /// The object's key in the bucket.
    pub object: String,
    /// What is wrong, in a few words.
    pub what: String,
    /// Whether content cannot be had; `false`: it can be read in another way.
    pub content_lost: bool,
    /// First byte of the disk that it hits.
    pub start: u64,
    /// One past the last; `start` where no content is hit.
    pub end: u64,
}

impl Control {
    /// What is known of the caller's snapshot now.
    pub async fn snapshot_verification(
        &self,
        caller: &Caller,
        snapshot: &str,
    ) -> Result<Verification, ApiError> {
        let (caller, id) = (caller.clone(), snapshot.to_owned());
        let find = move |t: &mut dyn Transaction| -> Result<_, ApiError> { rules::snapshot(t, &caller, &id) };
        let row = self.store().read(find).await?;
        let id = SnapshotId::new(row.id.as_str()).map_err(|_| ApiError::internal())?;
        let node = self.node_of(&row.region)?;
        // In this order: what ends in between is in the file by then.
        let is_under_way = node.is_being_verified(&id).await.map_err(unknown)?;
        let noted = node.scrub_state().await.map_err(unknown)?;
        Ok(Verification {
            is_under_way,
            scrubs_by_itself: node.scrubs_by_itself(),
            ..noted.map_or_else(Verification::default, |state| of(&state, &id))
        })
    }
}

fn unknown(error: NodeError) -> ApiError {
    tracing::warn!(%error, "what the scrub has noted cannot be read now");
    ApiError::service_unavailable("what was verified cannot be read now; the service's log says why")
}

/// What the scrub has noted of a snapshot.
fn of(state: &ScrubState, snapshot: &SnapshotId) -> Verification {
    let own = state.verified_of(snapshot).map(|one| OwnVerification {
        ended_ms: one.ended_ms,
        is_whole: one.is_whole(),
        repaired: one.repaired,
        is_there: one.is_there,
    });
    let damage = state.damage_of(snapshot).into_iter().map(|open| {
        let OpenLoss {
            loss,
            since_ms,
            met_ms,
            ..
        } = open;
        KnownDamage {
            since_ms: *since_ms,
            // A file of an older version does not tell.
            met_ms: (*met_ms).max(*since_ms),
            object: loss.object.clone(),
            what: loss.what.clone(),
            content_lost: loss.lost,
            start: loss.start,
            end: loss.end,
        }
    });
    Verification {
        own,
        damage: damage.collect(),
        unlisted: state.unlisted,
        round: state.last.as_ref().map(|last| (last.begun_ms, last.ended_ms)),
        is_in_trouble: state.trouble.is_some(),
        ..Verification::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn noted(verified: serde_json::Value) -> ScrubState {
        let loss = json!({
            "Object": "packs/ab/abcd", "Kind": "Chunks", "Lost": true, "Disk": "d-1", "Snapshots": ["s-1"],
            "Start": 65536, "End": 131_072, "What": "its bytes are not what they were", "Error": "its hash is another",
        });
        let state = json!({
            "Version": 1, "Vault": "v", "Rounds": 1, "Running": null,
            "Last": {
                "BegunMs": 5, "EndedMs": 9, "Nodes": 1, "Chunks": 1, "Bytes": 1, "Found": 1, "Repaired": 0,
            },
            "Open": [{"Loss": loss, "SinceMs": 7, "Round": 0, "MetMs": 8}],
            "Verified": verified,
        });
        ScrubState::decode(state.to_string().as_bytes()).expect("a state")
    }

    #[test]
    fn damage_is_of_the_snapshots_that_it_hits() {
        let (hit, other) = (
            SnapshotId::new("s-1").expect("an id"),
            SnapshotId::new("s-2").expect("an id"),
        );
        let state = noted(json!([]));
        let known = of(&state, &hit);
        assert_eq!((known.own, known.round), (None, Some((5, 9))));
        assert_eq!(known.damage.len(), 1);
        assert_eq!(
            (
                known.damage[0].object.as_str(),
                known.damage[0].start,
                known.damage[0].since_ms
            ),
            ("packs/ab/abcd", 65536, 7)
        );
        assert_eq!(of(&state, &other).damage, []);
    }

    #[test]
    fn what_was_verified_later_and_found_whole_is_whole() {
        let hit = SnapshotId::new("s-1").expect("an id");
        let verified = |begun: i64, found: u64| {
            json!([{
                "Snapshot": "s-1", "BegunMs": begun, "EndedMs": begun + 1, "Found": found, "Repaired": 0, "IsThere": true,
            }])
        };
        let known = of(&noted(verified(10, 0)), &hit);
        assert_eq!(known.damage, []);
        assert!(known.own.is_some_and(|own| own.is_whole && own.ended_ms == 11));
        let known = of(&noted(verified(8, 1)), &hit);
        assert_eq!(known.damage.len(), 1);
        assert!(known.own.is_some_and(|own| !own.is_whole && own.is_there));
    }
}
