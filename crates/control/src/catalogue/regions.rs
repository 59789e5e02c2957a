//! Which regions the catalogue's rows are in.

use super::record;
use crate::store::{StoreError, Transaction};
use std::collections::BTreeSet;

record! {
    /// A region that a service has served with this catalogue.
    RegionRow = "regions" {
        id: String,
        /// Its node's data lies in the data directory itself.
        home: bool,
    }
}

/// Tables whose rows are in a region.
const TABLES: &[&str] = &[
    "disks",
    "instances",
    "snapshots",
    "links",
    "policies",
    "key_pairs",
];

/// The home region, once there is one.
pub(crate) fn home(t: &mut dyn Transaction) -> Result<Option<RegionRow>, StoreError> {
    Ok(RegionRow::select(t, "WHERE home = 1", &[])?.pop())
}

/// Regions that have rows. `""`: from before there were regions.
pub(crate) fn in_use(t: &mut dyn Transaction) -> Result<BTreeSet<String>, StoreError> {
    let mut found = BTreeSet::new();
    for table in TABLES {
        let rows = t.query(&format!("SELECT DISTINCT region FROM {table}"), &[])?;
        for row in rows {
            found.insert(row.text(0)?);
        }
    }
    Ok(found)
}

/// Gives rows from before there were regions to one.
pub(crate) fn adopt(t: &mut dyn Transaction, region: &str) -> Result<(), StoreError> {
    for table in TABLES {
        let sql = format!("UPDATE {table} SET region = $1 WHERE region = ''");
        t.execute(&sql, &[region.into()])?;
    }
    Ok(())
}
