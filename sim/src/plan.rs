//! Plans: what is done to the world, in which order, as data.
//!
//! A seed and a focus give a plan; the world's own chance (schedule, latencies, what a crash keeps) comes from the same
//! seed. A plan is a list of steps that stand on their own, so that a failing history can be made shorter by leaving
//! steps out. Indexes in steps are taken modulo what there is.

use crate::dice::Dice;
use clap::ValueEnum;
use tidemark_env::sim::{BucketFaults, FileFaults};

/// What a history looks hardest at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub enum Focus {
    /// Everything.
    Mixed,
    /// Power cuts and kills, many, close together, also during recovery.
    Crash,
    /// Snapshots, deletions, clones and rollbacks under load.
    Snapshots,
    /// Atomic snapshots of several disks.
    Groups,
    /// Lazy disks: clones and rollbacks that are written to while they fill.
    Lazy,
    /// File operations that fail.
    Files,
    /// File systems that are full.
    Space,
    /// A bucket that is slow, down, or lies about what it did.
    Bucket,
    /// Media that lose or swap what they had kept.
    Rot,
    /// Two nodes on one bucket, and two owners of one disk.
    Nodes,
    /// Two nodes on one bucket that make disks of each other's snapshots, delete them, and collect beside a third.
    Collect,
}

/// Every focus, the mixed one first.
pub const FOCUSES: [Focus; 11] = [
    Focus::Mixed,
    Focus::Crash,
    Focus::Snapshots,
    Focus::Groups,
    Focus::Lazy,
    Focus::Files,
    Focus::Space,
    Focus::Bucket,
    Focus::Rot,
    Focus::Nodes,
    Focus::Collect,
];

/// What is there at the start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Nodes, each on a machine of its own.
    pub nodes: usize,
    /// Chunks of 64 KiB of each disk; disk n is on node n modulo the nodes.
    pub disks: Vec<usize>,
    /// Clients per disk.
    pub clients: usize,
    /// The vault is in a directory of the (only) node's machine.
    pub directory: bool,
    /// The vault is encrypted.
    pub encrypted: bool,
    /// Segments of 128 KiB in a log.
    pub segments: u32,
    /// Most bytes in the spool.
    pub spool_bytes: u64,
    /// Bytes of a pack.
    pub pack_bytes: u64,
    /// How often a thread stalls after a poll, in 1/10,000.
    pub stalls: u32,
    /// Ids are as long as they may be, so that a superblock is larger than a sector, and torn by some power cuts.
    pub long_ids: bool,
    /// Unsynced sectors that a power cut puts in the wrong place, in 1/10,000.
    pub misdirected: u32,
    /// Milliseconds for which a deleted snapshot can be brought back.
    pub undelete_ms: u64,
}

/// Whose bits rot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// A log segment.
    Log,
    /// A superblock slot.
    Superblock,
    /// The base.
    Base,
    /// A capture's spool.
    Spool,
    /// An object.
    Bucket,
}

/// One step. Times are in virtual milliseconds; disks, nodes and snapshots are picked by number.
#[allow(missing_docs)]
#[derive(Clone, Debug)]
pub enum Step {
    /// A client of a disk gets operations to do.
    Load {
        disk: usize,
        client: usize,
        operations: u32,
    },
    /// Time passes.
    Wait { ms: u64 },
    /// Waits until the guests have done what they had to.
    Settle,
    /// A snapshot is asked for.
    Snapshot { disk: usize },
    /// A snapshot of several disks of one node is asked for.
    Group { node: usize, disks: u64 },
    /// The same on disks at rest, and after so many polls who coordinates it is passed over for a long time.
    HeldUpGroup { node: usize, disks: u64, polls: u64 },
    /// Waits until no capture is under way.
    Captured,
    /// A snapshot is deleted, or cancelled.
    Delete { pick: usize },
    /// A snapshot is asked for while the bucket is down, its disk is overwritten meanwhile, it is cancelled, and after so
    /// many polls of the thread that does that the node dies.
    Cancel { disk: usize, polls: u64, power: bool },
    /// A node dies while it writes a superblock of a disk, and soon after its restart, after so many polls, the power goes.
    BetweenSuperblocks { disk: usize, polls: u64 },
    /// A snapshot is asked for, and after so many microseconds the one before it is deleted.
    DeleteParent { disk: usize, micros: u64 },
    /// A disk is made from a snapshot.
    Clone { pick: usize, node: usize },
    /// A disk is rolled back to one of its snapshots; perhaps, before it is filled from that one, to another.
    Rollback {
        disk: usize,
        pick: usize,
        then: Option<usize>,
    },
    /// A disk is deleted.
    DeleteDisk { disk: usize },
    /// A snapshot is read and compared whole.
    Verify { pick: usize },
    /// A node is shut down and started.
    Restart { node: usize },
    /// A node dies after so many polls of one of its threads, with or without the power of its machine.
    Crash {
        node: usize,
        thread: usize,
        polls: u64,
        power: bool,
        again: Option<u64>,
    },
    /// A machine's files fail at these rates for some time.
    Files { node: usize, faults: Rates, ms: u64 },
    /// A machine has only so many bytes more for some time.
    Room { node: usize, bytes: u64, ms: u64 },
    /// The bucket fails at these rates for some time.
    BucketFaults { faults: BucketFaults, ms: u64 },
    /// The bucket is down for some time.
    BucketDown { ms: u64 },
    /// A machine's wall clock jumps.
    Clock { node: usize, ms: i64 },
    /// A bit rots while the node is off.
    Rot { node: usize, medium: Medium, page: bool },
    /// A copy of a disk is opened by another node.
    Copy { disk: usize },
    /// A node frees what nobody needs in the vault; the one after the last is somebody with no disks.
    Collect { node: usize },
    /// A deleted snapshot is brought back.
    Undelete { pick: usize },
}

/// Rates of file faults, in 1/10,000.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Reads.
    pub read: u32,
    /// Writes.
    pub write: u32,
    /// Syncs of files.
    pub sync: u32,
    /// Syncs of directories.
    pub dir: u32,
    /// Names.
    pub name: u32,
    /// No room.
    pub full: u32,
}

impl Rates {
    /// As the machine takes them.
    pub fn faults(self, misdirected: u32) -> FileFaults {
        FileFaults {
            read_eio: self.read,
            write_eio: self.write,
            sync_eio: self.sync,
            sync_dir_eio: self.dir,
            name_eio: self.name,
            enospc: self.full,
            misdirected,
            only: None,
        }
    }
}

/// A history to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that the steps do not.
    pub seed: u64,
    /// What it looks at.
    pub focus: Focus,
    /// What is there.
    pub setup: Setup,
    /// What happens, with the number that a step keeps when others are left out.
    pub steps: Vec<(u64, Step)>,
}

impl Plan {
    /// The plan of a seed.
    pub fn new(seed: u64, focus: Focus) -> Self {
        let mut dice = Dice::new(seed, 0x706c_616e ^ focus as u64);
        let setup = Setup {
            // From a die of its own: the rest of a history is the same in either kind of vault.
            encrypted: Dice::new(seed, 0x656e_6372).one_in(4),
            undelete_ms: undelete_ms(Dice::new(seed, 0x756e_6465)),
            ..setup(&mut dice, focus)
        };
        let count = 12 + dice.below(24);
        let mut steps: Vec<Step> = Vec::new();
        for disk in 0..setup.disks.len() {
            load(&mut dice, &setup, disk, &mut steps);
        }
        if matches!(focus, Focus::Lazy | Focus::Collect) {
            // Two snapshots that differ, so that there is something to go back and forth between.
            for disk in [0, 0, 1] {
                steps.push(Step::Snapshot { disk });
                steps.push(Step::Captured);
                load(&mut dice, &setup, disk, &mut steps);
            }
        }
        while (steps.len() as u64) < count {
            if focus == Focus::Lazy && dice.one_in(3) {
                filling(&mut dice, &setup, &mut steps);
                continue;
            }
            let step = step(&mut dice, focus);
            if focus == Focus::Groups && matches!(step, Step::Group { .. }) && !dice.one_in(4) {
                // Otherwise most of them would meet a capture of a member, and be refused.
                steps.push(Step::Captured);
            }
            steps.push(step);
            if dice.one_in(2) {
                let disk = dice.below(6) as usize;
                load(&mut dice, &setup, disk, &mut steps);
            }
            if dice.one_in(3) {
                steps.push(Step::Wait { ms: dice.below(80) });
            }
        }
        Self {
            seed,
            focus,
            setup,
            steps: (1..).zip(steps).collect(),
        }
    }

    /// Whether the medium may lose what it had promised to keep.
    pub fn has_rot(&self) -> bool {
        self.steps
            .iter()
            .any(|(_, step)| matches!(step, Step::Rot { .. }))
    }

    /// Whether something may happen for which a snapshot may fail, loudly.
    pub fn may_fail_snapshots(&self) -> bool {
        self.steps.iter().any(|(_, step)| {
            matches!(
                step,
                Step::Rot { .. }
                    | Step::Files { .. }
                    | Step::Room { .. }
                    | Step::BucketFaults { .. }
                    | Step::BucketDown { .. }
                    | Step::Cancel { .. }
                    | Step::Copy { .. }
            )
        })
    }
}

fn undelete_ms(mut dice: Dice) -> u64 {
    if dice.one_in(3) { 1 + dice.skewed(17) } else { 0 }
}

fn setup(dice: &mut Dice, focus: Focus) -> Setup {
    let nodes = match focus {
        Focus::Nodes | Focus::Collect => 2,
        Focus::Mixed if dice.one_in(5) => 2,
        _ => 1,
    };
    let disks = match focus {
        Focus::Groups => 2 + dice.below(2),
        Focus::Nodes | Focus::Collect => 2,
        Focus::Crash | Focus::Files => 1,
        _ => 1 + dice.below(2),
    }
    .max(nodes as u64);
    // Groups are about orders, not amounts.
    let chunks_more = if focus == Focus::Groups { 8 } else { 20 };
    Setup {
        nodes,
        disks: (0..disks).map(|_| 4 + dice.below(chunks_more) as usize).collect(),
        clients: 1 + dice.below(4) as usize,
        directory: nodes == 1 && !matches!(focus, Focus::Bucket) && dice.one_in(3),
        encrypted: false,
        segments: 4 + dice.below(4) as u32,
        spool_bytes: (1 + dice.below(8)) << 18,
        pack_bytes: (1 + dice.below(8)) << 16,
        stalls: match focus {
            // Long enough, and often enough, for a lease to run out between two members.
            Focus::Groups if !dice.one_in(3) => 20 + dice.below(400) as u32,
            _ if dice.one_in(2) => dice.skewed(9) as u32,
            _ => 0,
        },
        long_ids: false,
        misdirected: if dice.one_in(3) { 200 } else { 0 },
        undelete_ms: 0,
    }
}

fn load(dice: &mut Dice, setup: &Setup, disk: usize, steps: &mut Vec<Step>) {
    for client in 0..setup.clients {
        steps.push(Step::Load {
            disk,
            client,
            operations: 2 + dice.below(25) as u32,
        });
    }
}

fn rollback(dice: &mut Dice, any: usize) -> Step {
    Step::Rollback {
        disk: any,
        pick: dice.below(64) as usize,
        then: dice.one_in(3).then(|| dice.below(64) as usize),
    }
}

/// A disk is made lazy while the bucket is slow, used and perhaps marked while it fills, and its machine may lose its power
/// before all of that is durable.
fn filling(dice: &mut Dice, setup: &Setup, steps: &mut Vec<Step>) {
    let any = dice.below(64) as usize;
    steps.push(Step::BucketFaults {
        faults: BucketFaults {
            slow: 1000 + dice.below(5000) as u32,
            ..BucketFaults::default()
        },
        ms: 1000 + dice.below(20_000),
    });
    steps.push(match dice.below(4) {
        0 => Step::Clone { pick: any, node: any },
        1 => rollback(dice, any),
        _ => Step::Rollback {
            disk: any,
            pick: dice.below(64) as usize,
            then: Some(dice.below(64) as usize),
        },
    });
    if dice.one_in(2) {
        load(dice, setup, any, steps);
    }
    if dice.one_in(2) {
        steps.push(Step::Wait { ms: dice.skewed(12) });
    }
    steps.push(Step::Snapshot { disk: any });
    // Either anywhere, or right after the commit, which writes a superblock while fetched data is not synced.
    let committed = dice.one_in(2);
    steps.push(match committed {
        true => Step::Captured,
        false => Step::Wait { ms: dice.skewed(13) },
    });
    if !dice.one_in(3) {
        steps.push(Step::Crash {
            node: any,
            thread: dice.below(4) as usize,
            polls: dice.skewed(if committed { 6 } else { 10 }),
            power: !dice.one_in(6),
            again: None,
        });
        // It is to come before anybody does more.
        steps.push(Step::Wait { ms: dice.skewed(9) });
    }
}

fn crash(dice: &mut Dice) -> Step {
    Step::Crash {
        node: dice.below(2) as usize,
        thread: dice.below(4) as usize,
        polls: dice.skewed(13),
        power: !dice.one_in(4),
        again: dice.one_in(4).then(|| dice.skewed(10)),
    }
}

fn files(dice: &mut Dice) -> Step {
    let mut rate = |often: u64| {
        if dice.one_in(often) {
            1 + dice.skewed(12) as u32
        } else {
            0
        }
    };
    let faults = Rates {
        read: rate(4),
        write: rate(3),
        sync: rate(2),
        dir: rate(3),
        name: rate(4),
        full: rate(4),
    };
    Step::Files {
        node: dice.below(2) as usize,
        faults,
        ms: 1 + dice.below(400),
    }
}

fn bucket(dice: &mut Dice) -> Step {
    let mut rate = |often: u64| {
        if dice.one_in(often) {
            1 + dice.below(2500) as u32
        } else {
            0
        }
    };
    let faults = BucketFaults {
        slow: rate(2),
        throttled: rate(2),
        denied: rate(12),
        full: rate(12),
        timeout_before: rate(3),
        timeout_after: rate(2),
        timeout_late: rate(4),
        truncated: rate(4),
        garbled: rate(6),
    };
    Step::BucketFaults {
        faults,
        ms: 1 + dice.below(20_000),
    }
}

fn step(dice: &mut Dice, focus: Focus) -> Step {
    // A copy of a disk that another node goes on with is on its own: what it needs may be deleted before it is known there.
    let deletes = focus != Focus::Nodes;
    let any = dice.below(64) as usize;
    let special = dice.below(3) > 0;
    if special {
        match focus {
            Focus::Crash if dice.one_in(3) => {
                return Step::BetweenSuperblocks {
                    disk: any,
                    polls: 1 + dice.skewed(9),
                };
            }
            Focus::Crash => return crash(dice),
            Focus::Snapshots if dice.one_in(6) => {
                return Step::DeleteParent {
                    disk: any,
                    micros: dice.skewed(14),
                };
            }
            Focus::Groups => {
                let disks = dice.below(u64::MAX);
                return match dice.below(8) {
                    0 => Step::HeldUpGroup {
                        node: 0,
                        disks,
                        polls: 1 + dice.below(20),
                    },
                    1 => Step::Captured,
                    _ => Step::Group { node: 0, disks },
                };
            }
            Focus::Lazy => {
                return match dice.below(6) {
                    0 => Step::Snapshot { disk: any },
                    1 => Step::Clone { pick: any, node: any },
                    2 | 3 => rollback(dice, any),
                    4 => Step::BucketFaults {
                        faults: BucketFaults {
                            slow: 4000,
                            ..BucketFaults::default()
                        },
                        ms: dice.below(4000),
                    },
                    _ => Step::Captured,
                };
            }
            Focus::Files => {
                return if dice.one_in(3) {
                    Step::Snapshot { disk: any }
                } else {
                    files(dice)
                };
            }
            Focus::Space => {
                return match dice.below(3) {
                    0 => Step::Snapshot { disk: any },
                    _ => Step::Room {
                        node: any,
                        bytes: dice.below(1 << 21),
                        ms: 50 + dice.below(3000),
                    },
                };
            }
            Focus::Bucket => {
                return match dice.below(5) {
                    0 => Step::BucketDown {
                        ms: 64 * dice.skewed(14),
                    },
                    1 => Step::Snapshot { disk: any },
                    2 => Step::Cancel {
                        disk: any,
                        polls: 1 + dice.below(80),
                        power: dice.one_in(2),
                    },
                    _ => bucket(dice),
                };
            }
            Focus::Rot => {
                let medium = [
                    Medium::Log,
                    Medium::Superblock,
                    Medium::Base,
                    Medium::Spool,
                    Medium::Bucket,
                ];
                return match dice.below(3) {
                    0 => Step::Snapshot { disk: any },
                    _ => Step::Rot {
                        node: any,
                        medium: *dice.pick(&medium).unwrap_or(&Medium::Log),
                        page: dice.one_in(4),
                    },
                };
            }
            Focus::Collect => {
                return match dice.below(14) {
                    0..=2 => Step::Snapshot { disk: any },
                    3 | 4 => Step::Delete { pick: any },
                    5 => Step::Clone { pick: any, node: any },
                    6 => rollback(dice, any),
                    7 => Step::Undelete { pick: any },
                    8 | 9 => Step::Captured,
                    10 => Step::BucketFaults {
                        // Requests of one wait while another's are done.
                        faults: BucketFaults {
                            slow: 1000 + dice.below(5000) as u32,
                            ..BucketFaults::default()
                        },
                        ms: 1000 + dice.below(20_000),
                    },
                    _ => Step::Collect {
                        node: dice.below(3) as usize,
                    },
                };
            }
            Focus::Nodes => match dice.below(10) {
                0 | 1 => return Step::Copy { disk: any },
                2..=4 => return Step::Snapshot { disk: any },
                5 => return Step::Captured,
                _ => {}
            },
            _ => {}
        }
    }
    let kinds = if matches!(focus, Focus::Snapshots | Focus::Collect) {
        9
    } else {
        16
    };
    match dice.below(kinds) {
        0..=2 => Step::Snapshot { disk: any },
        3 => Step::Clone { pick: any, node: any },
        4 => Step::Rollback {
            disk: any,
            pick: any,
            then: None,
        },
        5 if deletes => Step::Delete { pick: any },
        6 if deletes && dice.one_in(3) => Step::DeleteDisk { disk: any },
        6 => Step::Verify { pick: any },
        7 => Step::Captured,
        8 => Step::Group {
            node: any,
            disks: dice.below(u64::MAX),
        },
        9 => Step::Restart { node: any },
        10 if focus == Focus::Mixed => bucket(dice),
        11 if focus == Focus::Mixed => Step::BucketDown { ms: dice.below(5000) },
        12 => Step::Clock {
            node: any,
            ms: dice.below(200_000_000) as i64 - 100_000_000,
        },
        13 => Step::Settle,
        14 if focus == Focus::Mixed && dice.one_in(3) => files(dice),
        _ => crash(dice),
    }
}
