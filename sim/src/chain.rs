//! Chains: writes to several disks, each of which is issued when the one before was acknowledged.
//!
//! That is what one instant across disks is about: a database that writes its log to one disk and its tables to another
//! relies on no group having a write without those that its client knew to be done. Ordinary clients know one disk each;
//! a chain goes round the members of a group while they are being marked. The oracle compares what all clients of all
//! disks were told on one clock, so it needs to know nothing of chains.
//!
//! A chain stays with a disk for some writes before it goes on. If it did not, and a member was slow, every chain would wait
//! for that one with nothing behind it that another member was told since.
//!
//! Each chain writes one block of the last area of every disk, which no other client does.

use crate::guest::{AREA, BLOCK, Client};
use crate::world::World;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

/// Chains that there may be at once.
pub const LANES: usize = AREA / BLOCK;
/// Writes of a chain.
const WRITES_MAX: u32 = 150;
/// Writes of a chain to one disk before it goes on to the next.
const STAY_MAX: u64 = 4;

/// How a chain goes on.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// The next write right after the answer.
    Tight,
    /// Pauses that grow with the time that it took so far, so that a minute takes some dozen writes; and each answer must come
    /// within this time.
    Prompt(Duration),
}

impl World {
    /// Starts a chain over `disks`, beginning with number `first` of them, that ends with `going`. Without a free lane there is none.
    pub fn chain(self: &Rc<Self>, disks: &[usize], first: usize, pace: Pace, going: &Rc<Cell<bool>>) {
        let Some(lane) = self.lanes.borrow_mut().pop() else {
            return;
        };
        let (world, disks, going) = (Rc::clone(self), disks.to_vec(), Rc::clone(going));
        self.env.spawn(async move {
            world.write_chain(lane, &disks, first, pace, &going).await;
            world.lanes.borrow_mut().push(lane);
        });
    }

    async fn write_chain(
        self: &Rc<Self>,
        lane: usize,
        disks: &[usize],
        first: usize,
        pace: Pace,
        going: &Cell<bool>,
    ) {
        let began = self.sim.now();
        let (mut at, mut stays) = (first, 0);
        for _ in 0..WRITES_MAX {
            if stays == 0 {
                (at, stays) = (at + 1, 1 + self.sim.below(STAY_MAX));
            }
            stays -= 1;
            let number = disks[at % disks.len()];
            let disk = self.disk(number);
            let Some(wire) = disk.wire.borrow().clone() else {
                return;
            };
            let client = Client {
                world: Rc::clone(self),
                env: self.env.clone(),
                disk: number,
                me: (disk.work.len() + lane, disk.work.len() + LANES),
                wire,
                work: Rc::default(),
            };
            let from = disk.model.borrow().sectors() - AREA + lane * BLOCK;
            let values = (0..BLOCK).map(|_| self.value()).collect();
            let issued = self.sim.now();
            // Counted as a client: who looks after a death waits until this has been told.
            disk.clients.set(disk.clients.get() + 1);
            let written = client.write(from, values, false).await;
            drop(client);
            disk.clients.set(disk.clients.get() - 1);
            if let Err(gone) = written {
                return gone.note(&disk);
            }
            let now = self.sim.now();
            if let Pace::Prompt(limit) = pace {
                if now - issued > limit {
                    self.fail(format!(
                        "{}: a write took {:?} while a group was marked",
                        disk.id,
                        now - issued
                    ));
                }
                self.sleep((now - began) / 3).await;
            }
            if !going.get() {
                return;
            }
        }
    }
}
