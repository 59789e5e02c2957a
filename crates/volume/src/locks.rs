//! Blocks that a read-modify-write holds: writers of the same blocks wait.
//!
//! A write smaller than a block reads the block, changes part of it and logs the whole. A write that got
//! in between would be undone for the bytes the first one did not mean to touch. Almost always nothing is held, so
//! asking costs nothing.

use std::cell::{Cell, RefCell};
use tidemark_units::BlockRange;
use tokio::sync::Notify;

/// The held ranges of one volume.
#[derive(Default)]
pub struct RangeLocks {
    held: RefCell<Vec<(u64, BlockRange)>>,
    next: Cell<u64>,
    freed: Notify,
}

/// Holds a range until dropped.
pub struct RangeGuard<'a> {
    locks: &'a RangeLocks,
    key: u64,
}

impl RangeLocks {
    fn is_held(&self, blocks: BlockRange) -> bool {
        self.held
            .borrow()
            .iter()
            .any(|(_, held)| !held.intersect(blocks).is_empty())
    }

    /// Completes when nobody holds any of `blocks`; until the caller awaits again, nobody will.
    pub async fn free(&self, blocks: BlockRange) {
        loop {
            let freed = self.freed.notified();
            if !self.is_held(blocks) {
                return;
            }
            freed.await;
        }
    }

    /// Holds `blocks`.
    pub async fn hold(&self, blocks: BlockRange) -> RangeGuard<'_> {
        self.free(blocks).await;
        let key = self.next.get();
        self.next.set(key + 1);
        self.held.borrow_mut().push((key, blocks));
        RangeGuard { locks: self, key }
    }
}

impl Drop for RangeGuard<'_> {
    fn drop(&mut self) {
        self.locks.held.borrow_mut().retain(|(key, _)| *key != self.key);
        self.locks.freed.notify_waiters();
    }
}
