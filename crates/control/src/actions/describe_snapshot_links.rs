//! DescribeSnapshotLinks: the chains of snapshots, that of the newest snapshot first, and what each takes.

use crate::catalogue::disks::DiskRow;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::snapshots::SnapshotRow;
use crate::rules;
use crate::states::SnapshotStatus;
use crate::store::{Row, StoreError, Transaction};
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_links::{Request, Response};
use tidemark_ecs::model::SnapshotLink;
use tidemark_ecs::page::Cursor;

/// A chain, as its snapshots say together.
struct Chain {
    id: String,
    disk: String,
    snapshots: u64,
    /// The number of its first snapshot: the list's order, which does not change while the chain grows.
    ordinal: i64,
    newest: i64,
    instant_access: bool,
}

impl Control {
    /// One page.
    pub async fn describe_snapshot_links(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let region = request.region_id.clone();
        self.check_region(Some(&region)).map_err(|error| ApiError {
            status: 400,
            code: "InvalidRegionId".into(),
            ..error
        })?;
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| {
            if let Some(id) = &request.instance_id {
                rules::instance(t, &caller, id).map_err(|error| ApiError { status: 400, ..error })?;
            }
            let chains = chains(t, &caller, &request)?;
            let (chains, page) = request.page.cut(chains, |chain| Cursor {
                created: chain.ordinal,
                id: chain.id.clone(),
            });
            let snapshot_links = chains
                .into_iter()
                .map(|chain| show(t, &region, chain))
                .collect::<Result<Vec<_>, _>>()?;
            Ok(Response { snapshot_links, page })
        };
        self.store().read(read).await
    }
}

fn chains(t: &mut dyn Transaction, caller: &Caller, request: &Request) -> Result<Vec<Chain>, StoreError> {
    let sql = "SELECT link_id, source_disk_id, COUNT(*), MIN(ordinal), MAX(ordinal), MAX(instant_access) \
               FROM snapshots WHERE account = $1 AND status <> $2 AND region = $3 GROUP BY link_id, source_disk_id";
    let deleting = SnapshotStatus::Deleting.word().into();
    let rows = t.query(
        sql,
        &[(&caller.account).into(), deleting, (&request.region_id).into()],
    )?;
    let read = |row: &Row| {
        Ok(Chain {
            id: row.text(0)?,
            disk: row.text(1)?,
            snapshots: row.integer(2)?.unsigned_abs(),
            ordinal: row.integer(3)?,
            newest: row.integer(4)?,
            instant_access: row.flag(5)?,
        })
    };
    let mut chains = rows.iter().map(read).collect::<Result<Vec<_>, StoreError>>()?;
    if let Some(ids) = &request.snapshot_link_ids {
        chains.retain(|chain| ids.contains(&chain.id));
    }
    if let Some(ids) = &request.disk_ids {
        chains.retain(|chain| ids.contains(&chain.disk));
    }
    if let Some(instance) = &request.instance_id {
        let attached = crate::catalogue::disks::of_instance(t, instance)?;
        chains.retain(|chain| attached.iter().any(|disk| disk.id == chain.disk));
    }
    Ok(chains)
}

fn show(t: &mut dyn Transaction, region: &str, chain: Chain) -> Result<SnapshotLink, StoreError> {
    let size = "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM snapshot_usage WHERE link_id = $1 AND until_ms IS NULL";
    let size = t.query_one(size, &[(&chain.id).into()])?;
    let total_size = size.map_or(Ok(0), |row| row.integer(0))?.unsigned_abs();
    let newest = SnapshotRow::select(t, "WHERE ordinal = $1", &[chain.newest.into()])?.pop();
    let disk = DiskRow::get(t, chain.disk.as_str())?;
    let instance_id = disk.as_ref().and_then(|disk| disk.instance_id.clone());
    let instance = match &instance_id {
        Some(id) => InstanceRow::get(t, id.as_str())?,
        None => None,
    };
    let of_newest = |size: fn(&SnapshotRow) -> i64| newest.as_ref().map_or(0, size);
    let gib = disk
        .as_ref()
        .map_or_else(|| of_newest(|row| row.source_disk_size_gib), |disk| disk.size_gib);
    Ok(SnapshotLink {
        snapshot_link_id: chain.id,
        source_disk_size: gib.unsigned_abs(),
        source_disk_type: newest
            .as_ref()
            .map(|row| row.source_disk_kind.word().to_owned())
            .unwrap_or_default(),
        category: newest.map(|row| row.category).unwrap_or_default(),
        source_disk_id: chain.disk,
        source_disk_name: disk.map(|disk| disk.name).unwrap_or_default(),
        instance_id: instance_id.unwrap_or_default(),
        instance_name: instance.map(|instance| instance.name).unwrap_or_default(),
        region_id: region.to_owned(),
        instant_access: chain.instant_access,
        total_count: chain.snapshots,
        total_size,
    })
}
