//! What was told of damage in vaults: the open damage of each region, and the repairs up to a number.

use super::record;
use crate::store::{StoreError, Transaction};
use tidemark_node::Loss;

record! {
    /// Open damage that an event tells of. `id`: its [`place`].
    ToldRow = "vault_damage_told" {
        id: String,
        region: String,
    }
}

record! {
    /// The newest repair that an event tells of.
    RepairsToldRow = "vault_repairs_told" {
        region: String,
        number: i64,
    }
}

/// What makes damage the same as another: as [`Loss::is_at`] has it, in one region.
pub(crate) fn place(region: &str, loss: &Loss) -> String {
    let disk = loss.disk.as_ref().map_or("", |disk| disk.as_str());
    format!(
        "{region} {:?} {} {}-{} {disk}",
        loss.kind, loss.object, loss.start, loss.end
    )
}

/// The places in a region that were told.
pub(crate) fn told(t: &mut dyn Transaction, region: &str) -> Result<Vec<String>, StoreError> {
    let rows = ToldRow::select(t, "WHERE region = $1", &[region.into()])?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

/// Remembers that a place was told.
pub(crate) fn remember(t: &mut dyn Transaction, region: &str, place: &str) -> Result<(), StoreError> {
    let row = ToldRow {
        id: place.to_owned(),
        region: region.to_owned(),
    };
    row.insert(t)
}

/// Damage at the place would be new again.
pub(crate) fn forget(t: &mut dyn Transaction, place: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM vault_damage_told WHERE id = $1";
    t.execute(sql, &[place.into()]).map(drop)
}

/// The number of the newest repair in a region that was told.
pub(crate) fn repairs_told(t: &mut dyn Transaction, region: &str) -> Result<i64, StoreError> {
    Ok(RepairsToldRow::get(t, region)?.map_or(0, |row| row.number))
}

/// Remembers that repairs were told up to a number.
pub(crate) fn remember_repairs(t: &mut dyn Transaction, region: &str, number: i64) -> Result<(), StoreError> {
    let row = RepairsToldRow {
        region: region.to_owned(),
        number,
    };
    match RepairsToldRow::get(t, region)? {
        Some(_) => row.save(t),
        None => row.insert(t),
    }
}
