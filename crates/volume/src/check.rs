//! Looking a closed volume over without changing it: what a doctor needs to know.
//!
//! The log is read by the same scan and replayed by the same code as at a start, so what this calls damaged is what
//! [`Volume::open`] refuses, and only that. One problem does not hide the others: what does not depend on it is looked
//! at all the same. Not here: whether the roots are still in their vault, words for people (`cli`).

use crate::base::Base;
use crate::error::{Result, VolumeErrorKind};
use crate::log::scan::scan;
use crate::log::segment::SegmentStore;
use crate::open::{lock, replay};
use crate::superblock::Superblock;
use crate::tracking::{Mark, PendingMark};
use crate::volume::{Core, Volume};
use std::cell::Cell;
use std::path::Path;
use tidemark_env::{Env, OpenMode, Space};
use tidemark_units::Lsn;

/// What was found in a volume's directory. Healthy: no `problems`.
#[derive(Clone, Debug)]
pub struct CheckReport {
    /// The two superblock slots.
    pub slots: [SlotReport; 2],
    /// What the volume is, by its newest valid slot.
    pub volume: Option<VolumeReport>,
    /// The log, if it can be read to its end.
    pub log: Option<LogReport>,
    /// Room in the file system that holds the directory.
    pub space: Option<Space>,
    /// What keeps the volume from being opened: a sentence each, with LSNs or byte ranges where there are any.
    pub problems: Vec<String>,
}

/// A superblock slot. One that is missing or damaged is no problem as long as the other is valid: a crash leaves that.
#[derive(Clone, Debug)]
pub struct SlotReport {
    /// Its generation, if it is valid; the higher one counts.
    pub generation: Option<u64>,
    /// Why it is not.
    pub problem: Option<String>,
}

/// What a volume is.
#[derive(Clone, Debug)]
pub struct VolumeReport {
    /// Its name.
    pub name: String,
    /// Size of the disk in bytes.
    pub size_bytes: u64,
    /// The base holds everything up to here.
    pub checkpoint_lsn: Lsn,
    /// Chunks that are not all local.
    pub absent_chunks: u64,
    /// Roots (opaque here) that it needs from its vault.
    pub roots: Vec<Vec<u8>>,
}

/// The log of a volume.
#[derive(Clone, Debug)]
pub struct LogReport {
    /// Segment files, in use or free.
    pub files: usize,
    /// Records that a start would apply.
    pub records: u64,
    /// The last one that counts.
    pub last_lsn: Lsn,
    /// The last record behind the end that was never promised to anybody: a torn tail, which a start leaves behind.
    pub torn_to: Option<Lsn>,
    /// Marks whose snapshot is not committed.
    pub pending: Vec<PendingMark>,
    /// Marks whose group has not decided, each with its group.
    pub prepared: Vec<(Mark, String)>,
}

impl Volume {
    /// Looks over the closed volume in `dir`, reading only. One that is open: [`VolumeErrorKind::Busy`]. Damage is in the
    /// report; an error means that the directory could not be looked at.
    pub async fn check(env: &Env, dir: &Path) -> Result<CheckReport> {
        let _lock = lock(env, dir).await?;
        let mut newest: Option<Superblock> = None;
        let mut slots = [const { None }; 2];
        let mut problems = Vec::new();
        for (slot, report) in slots.iter_mut().enumerate() {
            let found = Superblock::load_slot(env, dir, slot as u32).await;
            *report = Some(SlotReport {
                generation: found.as_ref().ok().map(|s| s.generation),
                problem: found.as_ref().err().map(|e| e.message.clone()),
            });
            match found {
                Ok(s) if newest.as_ref().is_none_or(|n| n.generation < s.generation) => newest = Some(s),
                Ok(_) => {}
                Err(e) if e.kind == VolumeErrorKind::Corrupt => {}
                // It might be the newer one, so the other must not be used.
                Err(e) => problems.push(format!("superblock slot {slot}: {e}")),
            }
        }
        let mut log = None;
        match &newest {
            None => problems.push("neither superblock slot is valid".into()),
            Some(superblock) => {
                if let Err(e) = Base::open(env, dir, superblock.size_bytes).await {
                    problems.push(e.message);
                }
                match check_log(env, dir, superblock).await {
                    Ok(report) => log = Some(report),
                    Err(e) => problems.push(e.message),
                }
            }
        }
        Ok(CheckReport {
            slots: slots.map(|slot| slot.expect("both were looked at")),
            volume: newest.map(|s| VolumeReport {
                roots: s.roots(),
                absent_chunks: s.states.absent().len(),
                name: s.name,
                size_bytes: s.size_bytes,
                checkpoint_lsn: s.checkpoint,
            }),
            log,
            space: env.fs.space(dir).await.ok(),
            problems,
        })
    }
}

async fn check_log(env: &Env, dir: &Path, superblock: &Superblock) -> Result<LogReport> {
    let store = SegmentStore::new(env.clone(), dir, superblock.segment_bytes);
    let files = store.open_all(OpenMode::Read).await?;
    let count = files.len();
    let core = Core::new(superblock);
    let records = Cell::new(0);
    let end = scan(files, superblock, |record| {
        let news = replay(&core, superblock, record)?;
        records.set(records.get() + u64::from(news));
        Ok(())
    })
    .await?;
    let state = core.state.borrow();
    Ok(LogReport {
        files: count,
        records: records.get(),
        last_lsn: end.last,
        torn_to: end.torn,
        pending: state.tracker.pending(),
        prepared: state.tracker.prepared(),
    })
}
