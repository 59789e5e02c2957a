//! Which chunks changed since which mark: exact, also after a crash.
//!
//! Marks cut history into intervals. An interval's changed chunks are those of its layers that were
//! checkpointed (kept here, saved with the superblock) plus those of its layers in the log (re-created by
//! replay). When a mark closes an interval, their union becomes the mark's *pending* chunks: what its
//! snapshot has to capture. They are forgotten only when the snapshot is committed; when it fails they are
//! merged into the next interval. *Untaken* ones are not yet durable in the spool, so the base must not lose them.
//!
//! A closed interval stays in the list until a checkpoint has passed its mark, whatever became of its
//! snapshot: replay would meet the mark again and needs the interval's chunks to be complete.
//! Not here: reading or storing chunks (capture is the node's).

use roaring::RoaringBitmap;
use std::collections::VecDeque;
use tidemark_env::mutant;
use tidemark_units::{Lsn, SnapshotId};

/// A point in a volume's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The snapshot that it was made for.
    pub snapshot: SnapshotId,
    /// Everything up to here is in it, nothing after.
    pub lsn: Lsn,
    /// When, in milliseconds since 1970-01-01 UTC.
    pub unix_millis: i64,
}

/// A mark whose snapshot is not committed yet.
#[derive(Clone, Debug, PartialEq)]
pub struct PendingMark {
    /// The mark.
    pub mark: Mark,
    /// Chunks that its snapshot has to capture.
    pub chunks: RoaringBitmap,
}

/// A mark as a superblock keeps it: still waiting for its snapshot, or for its group's decision.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedMark {
    /// The mark and what its snapshot has to capture.
    pub pending: PendingMark,
    /// The group that has not decided yet.
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// A mark only if its group says so; until then it is kept as if it were.
    Prepared {
        group: String,
    },
    /// Waits for its snapshot.
    Pending,
    Over,
}

/// Prepared or pending: the base must keep what it needs.
fn waits(closed: &Closed) -> bool {
    closed.outcome != Outcome::Over
}

#[derive(Debug)]
struct Interval {
    id: u64,
    /// Chunks of its checkpointed layers.
    checkpointed: RoaringBitmap,
    closed: Option<Closed>,
}

#[derive(Debug)]
struct Closed {
    mark: Mark,
    chunks: RoaringBitmap,
    untaken: RoaringBitmap,
    outcome: Outcome,
}

/// The intervals of a volume; the last one is open.
#[derive(Debug)]
pub struct Tracker {
    intervals: VecDeque<Interval>,
}

impl Tracker {
    /// As a superblock describes it.
    pub fn new(dirty: RoaringBitmap, saved: Vec<SavedMark>) -> Self {
        let mut intervals = VecDeque::new();
        for (id, SavedMark { pending, group }) in saved.into_iter().enumerate() {
            let closed = Closed {
                mark: pending.mark,
                untaken: pending.chunks.clone(),
                chunks: pending.chunks,
                outcome: group.map_or(Outcome::Pending, |group| Outcome::Prepared { group }),
            };
            intervals.push_back(Interval {
                id: id as u64,
                checkpointed: RoaringBitmap::new(),
                closed: Some(closed),
            });
        }
        let id = intervals.len() as u64;
        intervals.push_back(Interval {
            id,
            checkpointed: dirty,
            closed: None,
        });
        Self { intervals }
    }

    /// The interval that records belong to now.
    pub fn open_interval(&self) -> u64 {
        self.intervals
            .back()
            .expect("there is always an open interval")
            .id
    }

    fn open_mut(&mut self) -> &mut Interval {
        self.intervals
            .back_mut()
            .expect("there is always an open interval")
    }

    /// A mark was written, or prepared for `group`: closes the open interval, whose layers touch `layer_chunks`. Gives the
    /// new open one.
    pub fn close(&mut self, mark: Mark, group: Option<String>, layer_chunks: &RoaringBitmap) -> u64 {
        let open = self.open_mut();
        let chunks = &open.checkpointed | layer_chunks;
        open.closed = Some(Closed {
            mark,
            untaken: chunks.clone(),
            chunks,
            outcome: group.map_or(Outcome::Pending, |group| Outcome::Prepared { group }),
        });
        let id = open.id + 1;
        self.intervals.push_back(Interval {
            id,
            checkpointed: RoaringBitmap::new(),
            closed: None,
        });
        id
    }

    /// The base now holds a layer of `interval` that touches `chunks`, and everything up to `last`.
    pub fn checkpointed(&mut self, interval: u64, chunks: &RoaringBitmap, last: Lsn) {
        if let Some(found) = self.intervals.iter_mut().find(|i| i.id == interval) {
            found.checkpointed |= chunks;
        }
        while let Some(Interval {
            closed: Some(closed), ..
        }) = self.intervals.front()
            && closed.mark.lsn <= last
            && closed.outcome == Outcome::Over
        {
            self.intervals.pop_front();
        }
    }

    /// What a superblock whose base holds everything up to `checkpoint` has to save.
    pub fn saved(&self, checkpoint: Lsn) -> (RoaringBitmap, Vec<SavedMark>) {
        let mut marks = Vec::new();
        for interval in &self.intervals {
            match &interval.closed {
                Some(closed) if closed.mark.lsn <= checkpoint => {
                    let group = match &closed.outcome {
                        Outcome::Over => continue,
                        Outcome::Pending
                            if closed.untaken.is_empty() && mutant::on("volume-tracking-cleared-early") =>
                        {
                            continue;
                        }
                        Outcome::Pending => None,
                        Outcome::Prepared { group } => Some(group.clone()),
                    };
                    marks.push(SavedMark {
                        pending: PendingMark {
                            mark: closed.mark.clone(),
                            chunks: closed.chunks.clone(),
                        },
                        group,
                    });
                }
                _ => return (interval.checkpointed.clone(), marks),
            }
        }
        unreachable!("the open interval has no mark")
    }

    fn closed_iter(&self) -> impl Iterator<Item = (u64, &Closed)> {
        self.intervals
            .iter()
            .filter_map(|i| i.closed.as_ref().map(|c| (i.id, c)))
    }

    fn pending_iter(&self) -> impl Iterator<Item = (u64, &Closed)> {
        self.closed_iter().filter(|(_, c)| c.outcome == Outcome::Pending)
    }

    fn pending_mut(&mut self, snapshot: &SnapshotId) -> Option<&mut Closed> {
        self.intervals
            .iter_mut()
            .filter_map(|i| i.closed.as_mut())
            .find(|c| c.outcome == Outcome::Pending && &c.mark.snapshot == snapshot)
    }

    /// Marks that wait for their snapshot, oldest first.
    pub fn pending(&self) -> Vec<PendingMark> {
        self.pending_iter()
            .map(|(_, c)| PendingMark {
                mark: c.mark.clone(),
                chunks: c.chunks.clone(),
            })
            .collect()
    }

    /// The pending mark of a snapshot.
    pub fn mark_of(&self, snapshot: &SnapshotId) -> Option<Mark> {
        self.pending_iter()
            .find(|(_, c)| &c.mark.snapshot == snapshot)
            .map(|(_, c)| c.mark.clone())
    }

    /// The first mark that waits for its snapshot or for its group's decision.
    pub fn first_waiting(&self) -> Option<&Mark> {
        self.closed_iter().find(|(_, c)| waits(c)).map(|(_, c)| &c.mark)
    }

    /// Marks whose group has not decided, oldest first, each with its group.
    pub fn prepared(&self) -> Vec<(Mark, String)> {
        let prepared = |c: &Closed| match &c.outcome {
            Outcome::Prepared { group } => Some((c.mark.clone(), group.clone())),
            _ => None,
        };
        self.closed_iter().filter_map(|(_, c)| prepared(c)).collect()
    }

    /// The group decided that the prepared mark of `snapshot` is one. Of anything else: nothing to do (a replay may
    /// meet a decision whose mark is over already).
    pub fn commit_prepared(&mut self, snapshot: &SnapshotId) {
        let found = self.find(snapshot, |o| matches!(o, Outcome::Prepared { .. }));
        if let Some(closed) = found.and_then(|at| self.intervals[at].closed.as_mut()) {
            closed.outcome = Outcome::Pending;
        }
    }

    /// The group decided that the prepared mark of `snapshot` is none: its changes are those of the interval after it.
    /// Of anything else: nothing to do.
    pub fn abort_prepared(&mut self, snapshot: &SnapshotId) {
        if let Some(at) = self.find(snapshot, |o| matches!(o, Outcome::Prepared { .. })) {
            self.merge_into_next(at);
        }
    }

    /// Which of `chunks`, about to be overwritten by a layer of `interval`, some earlier mark still needs.
    pub fn needed(&self, interval: u64, chunks: &RoaringBitmap) -> RoaringBitmap {
        let mut needed = RoaringBitmap::new();
        for (_, closed) in self.closed_iter().filter(|(id, c)| *id < interval && waits(c)) {
            needed |= &closed.untaken & chunks;
        }
        needed
    }

    /// Whether the snapshot still has to take `chunk`.
    pub fn is_untaken(&self, snapshot: &SnapshotId, chunk: u32) -> bool {
        self.pending_iter()
            .any(|(_, c)| &c.mark.snapshot == snapshot && c.untaken.contains(chunk))
    }

    /// `chunks` of the snapshot are durable in the spool.
    pub fn taken(&mut self, snapshot: &SnapshotId, chunks: &RoaringBitmap) {
        if let Some(closed) = self.pending_mut(snapshot) {
            closed.untaken -= chunks;
        }
    }

    /// The snapshot is committed: its chunks are no longer changed ones. `false` if it was not pending.
    pub fn commit(&mut self, snapshot: &SnapshotId) -> bool {
        let Some(closed) = self.pending_mut(snapshot) else {
            return false;
        };
        closed.outcome = Outcome::Over;
        closed.untaken.clear();
        true
    }

    /// The snapshot will never be: its chunks count as changed in the interval after it. `false` if it was not pending.
    pub fn fail(&mut self, snapshot: &SnapshotId) -> bool {
        let found = self.find(snapshot, |o| *o == Outcome::Pending);
        found.is_some_and(|at| {
            self.merge_into_next(at);
            true
        })
    }

    /// The closed interval whose mark is `snapshot`'s and whose outcome fits.
    fn find(&self, snapshot: &SnapshotId, fits: impl Fn(&Outcome) -> bool) -> Option<usize> {
        self.intervals.iter().position(|i| {
            i.closed
                .as_ref()
                .is_some_and(|c| fits(&c.outcome) && &c.mark.snapshot == snapshot)
        })
    }

    /// The mark of a closed interval is over without a snapshot: the next one that is not takes its chunks on.
    fn merge_into_next(&mut self, at: usize) {
        let Some(closed) = self.intervals[at].closed.as_mut() else {
            return;
        };
        closed.outcome = Outcome::Over;
        closed.untaken.clear();
        let chunks = closed.chunks.clone();
        if mutant::on("volume-fail-loses-bits") {
            return;
        }
        for next in self.intervals.iter_mut().skip(at + 1) {
            match &mut next.closed {
                Some(later) if later.outcome == Outcome::Over => {}
                Some(later) => {
                    later.untaken |= &chunks - &later.chunks;
                    later.chunks |= &chunks;
                    return;
                }
                None => {
                    next.checkpointed |= &chunks;
                    return;
                }
            }
        }
    }

    /// Counts `chunks` as changed since the last mark. In every interval: a superblock saves the bits of the first one
    /// whose mark is not checkpointed, and a replay carries them on from there. No mark may be pending.
    pub fn touch(&mut self, chunks: &RoaringBitmap) {
        for interval in &mut self.intervals {
            interval.checkpointed |= chunks;
        }
    }

    /// Chunks changed since the last mark by checkpointed records.
    pub fn open_checkpointed(&self) -> &RoaringBitmap {
        &self
            .intervals
            .back()
            .expect("there is always an open interval")
            .checkpointed
    }

    /// Forgets all changes (a rollback made the disk equal to a snapshot). No mark may wait for anything.
    pub fn reset(&mut self) {
        assert!(
            self.first_waiting().is_none(),
            "a pending mark's changes are not to be forgotten"
        );
        let id = self.open_interval();
        self.intervals.clear();
        self.intervals.push_back(Interval {
            id,
            checkpointed: RoaringBitmap::new(),
            closed: None,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(chunks: &[u32]) -> RoaringBitmap {
        chunks.iter().copied().collect()
    }

    fn mark(name: &str, lsn: u64) -> Mark {
        Mark {
            snapshot: SnapshotId::new(name).unwrap(),
            lsn: Lsn(lsn),
            unix_millis: 0,
        }
    }

    #[test]
    fn a_mark_takes_over_all_changes_and_a_failure_gives_them_back() {
        let mut t = Tracker::new(bits(&[1]), vec![]);
        t.close(mark("s-1", 10), None, &bits(&[2]));
        assert_eq!(t.pending()[0].chunks, bits(&[1, 2]));
        assert!(t.fail(&SnapshotId::new("s-1").unwrap()));
        t.close(mark("s-2", 20), None, &bits(&[3]));
        assert_eq!(t.pending()[0].chunks, bits(&[1, 2, 3]));
    }

    #[test]
    fn what_is_saved_before_a_mark_is_checkpointed_still_knows_the_changes_before_it() {
        // The mark at 10 was committed, but the base only holds records up to 5: after a crash the mark is
        // replayed and must find everything that was changed before it.
        let mut t = Tracker::new(bits(&[1]), vec![]);
        t.close(mark("s-1", 10), None, &bits(&[2]));
        t.commit(&SnapshotId::new("s-1").unwrap());
        assert_eq!(t.saved(Lsn(5)), (bits(&[1]), vec![]));
        t.checkpointed(0, &bits(&[2]), Lsn(10));
        assert_eq!(t.saved(Lsn(10)), (bits(&[]), vec![]));
    }

    #[test]
    fn only_untaken_chunks_of_earlier_marks_are_needed() {
        let mut t = Tracker::new(bits(&[1, 2, 3]), vec![]);
        let open = t.close(mark("s-1", 10), None, &bits(&[]));
        let s1 = SnapshotId::new("s-1").unwrap();
        t.taken(&s1, &bits(&[2]));
        assert_eq!(t.needed(open, &bits(&[1, 2, 9])), bits(&[1]));
        assert_eq!(
            t.needed(open - 1, &bits(&[1, 2, 9])),
            bits(&[]),
            "the mark's own interval overwrites nothing of it"
        );
    }

    #[test]
    fn a_prepared_mark_is_kept_like_a_pending_one_until_its_group_decides() {
        let s1 = SnapshotId::new("s-1").unwrap();
        let prepared = || {
            let mut t = Tracker::new(bits(&[1]), vec![]);
            let open = t.close(mark("s-1", 10), Some("g-1".into()), &bits(&[2]));
            assert!(
                t.pending().is_empty() && t.mark_of(&s1).is_none(),
                "no capture may start"
            );
            assert_eq!(t.needed(open, &bits(&[2, 3])), bits(&[2]), "the base keeps it");
            assert_eq!(t.prepared(), vec![(mark("s-1", 10), "g-1".into())]);
            t
        };
        let mut t = prepared();
        t.commit_prepared(&s1);
        t.abort_prepared(&s1);
        assert_eq!(
            t.pending()[0].chunks,
            bits(&[1, 2]),
            "what is decided stays decided"
        );
        let mut t = prepared();
        t.abort_prepared(&s1);
        t.commit_prepared(&s1);
        assert!(t.first_waiting().is_none());
        assert_eq!(
            t.open_checkpointed(),
            &bits(&[1, 2]),
            "its changes belong to the next"
        );
        let (dirty, saved) = prepared().saved(Lsn(10));
        let t = Tracker::new(dirty, saved);
        assert_eq!(
            t.prepared(),
            vec![(mark("s-1", 10), "g-1".into())],
            "a superblock keeps it"
        );
    }
}
