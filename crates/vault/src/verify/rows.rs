//! Which rows of some packs the trees point at: what a pack's footer said, where that is gone.

use super::union::{Member, Owners, Sink};
use super::{Damage, FullSpeed, Sample, Window};
use crate::error::Result;
use crate::id::{ChunkId, PackId};
use crate::pack::Location;
use crate::tree::{LeafEntry, TreeNode};
use crate::vault::Vault;
use crate::walk::Place;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use tidemark_env::LocalFuture;

/// Chunks by their packs: name, place, and an index at which a disk has it.
pub(crate) type Rows = HashMap<PackId, BTreeSet<(ChunkId, Location, u32)>>;

/// Collects the rows of some packs.
pub(crate) struct RowsOf<'a> {
    window: Window<'a>,
    rows: Rows,
}

/// A sink that collects the rows of these packs. Damaged nodes are passed over.
pub(crate) fn rows_of<'a>(vault: &'a Vault, packs: &[PackId]) -> RowsOf<'a> {
    RowsOf {
        window: Window::new(vault, Sample::TreeOnly, &FullSpeed, None),
        rows: packs.iter().map(|pack| (*pack, BTreeSet::new())).collect(),
    }
}

impl RowsOf<'_> {
    pub(crate) fn into_rows(self) -> Rows {
        self.rows
    }
}

impl Sink for RowsOf<'_> {
    fn chunk(&mut self, index: u32, entry: &LeafEntry, _: &Owners) {
        if let Some(rows) = self.rows.get_mut(&entry.at.pack) {
            rows.insert((entry.id, entry.at, index));
        }
    }

    fn nodes<'a>(
        &'a mut self,
        wanted: &'a [(Place, Member)],
    ) -> LocalFuture<'a, Result<Vec<Option<Arc<TreeNode>>>>> {
        self.window.nodes(wanted)
    }

    fn damaged(&mut self, _: Damage) {}

    fn passed(&mut self, _: u64, _: f64) -> LocalFuture<'_, Result<bool>> {
        Box::pin(async { Ok(true) })
    }
}
