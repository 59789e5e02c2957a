//! What stands at which place. A page is made from the address and the caller alone, so it can be made again to see
//! whether it has changed (`live`).

mod chain;
mod costs;
mod disk;
mod disks;
mod events;
mod images;
mod instance;
mod instances;
mod monitoring;
mod overview;
mod snapshot;
mod snapshots;
mod tags;
mod tasks;
pub(crate) mod users;

pub(crate) use snapshot::lock as lock_of;
pub(crate) use snapshots::numbers as numbers_of;

use crate::ask::{Ctx, ask};
use crate::dialogs;
use crate::layout::{Page, Section};
use crate::parts;
use maud::html;
use std::collections::HashMap;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_metering::{self, MeterItem};
use tidemark_ecs::model::{Disk, Instance, Snapshot};

/// The page at the request's place, or what is wrong.
pub(crate) async fn page(ctx: &Ctx) -> Page {
    match find(ctx).await {
        Ok(page) => page,
        Err(error) => failed(&error),
    }
}

async fn find(ctx: &Ctx) -> Result<Page, ApiError> {
    let parts: Vec<&str> = ctx.path.split('/').collect();
    match parts.as_slice() {
        [""] => overview::page(ctx).await,
        ["instances"] => instances::page(ctx).await,
        ["instances", id] => instance::page(ctx, id).await,
        ["images"] => images::page(ctx).await,
        ["disks"] => disks::page(ctx).await,
        ["disks", id] => disk::page(ctx, id).await,
        ["snapshots"] => snapshots::page(ctx).await,
        ["snapshots", id] => snapshot::page(ctx, id).await,
        ["chains", disk] => chain::page(ctx, disk).await,
        ["tags"] => tags::page(ctx).await,
        ["tasks"] => tasks::page(ctx).await,
        ["events"] => events::page(ctx).await,
        ["users"] => users::page(ctx).await,
        ["users", name] => users::one(ctx, name).await,
        ["dialog", name] => dialogs::page(ctx, name, &ctx.query, None).await,
        _ => Err(ApiError::new(404, "NotFound", "There is no such page.")),
    }
}

/// A page about what went wrong.
pub(crate) fn failed(error: &ApiError) -> Page {
    let title = match error.status {
        403 => "Not allowed",
        404 => "Not found",
        500.. => "The service has a problem",
        _ => "That did not work",
    };
    let body = html! {
        h1 { (title) }
        (parts::refusal(error))
        p { a href="/console" { "Overview" } }
    };
    Page {
        status: error.status,
        ..Page::new(Section::Overview, title, body)
    }
}

/// Ids as the list actions take them.
pub(crate) fn json_ids(ids: &[&str]) -> String {
    serde_json::Value::from(ids.to_vec()).to_string()
}

/// One disk of the region.
pub(crate) async fn one_disk(ctx: &Ctx, id: &str) -> Result<Disk, ApiError> {
    let ids = json_ids(&[id]);
    let found = ask!(ctx, "DescribeDisks", describe_disks, &[("DiskIds", &ids)]);
    let disk = found.disks.into_iter().next();
    disk.ok_or_else(|| ApiError::disk_not_found(id))
}

/// One snapshot of the region.
pub(crate) async fn one_snapshot(ctx: &Ctx, id: &str) -> Result<Snapshot, ApiError> {
    let ids = json_ids(&[id]);
    let found = ask!(
        ctx,
        "DescribeSnapshots",
        describe_snapshots,
        &[("SnapshotIds", &ids)]
    );
    let snapshot = found.snapshots.into_iter().next();
    snapshot.ok_or_else(|| ApiError::snapshot_not_found(id))
}

/// One instance of the region.
pub(crate) async fn one_instance(ctx: &Ctx, id: &str) -> Result<Instance, ApiError> {
    let ids = json_ids(&[id]);
    let found = ask!(
        ctx,
        "DescribeInstances",
        describe_instances,
        &[("InstanceIds", &ids)]
    );
    let instance = found.instances.into_iter().next();
    instance.ok_or_else(|| ApiError::instance_not_found(id))
}

/// The newest snapshots of a disk, the newest first, at most a hundred.
pub(crate) async fn snapshots_of(ctx: &Ctx, disk: &str) -> Result<Vec<Snapshot>, ApiError> {
    let asked = [("DiskId", disk), ("PageSize", "100")];
    Ok(ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked).snapshots)
}

/// What the meter says of a region's snapshots, with the price; `None`: the caller may not see what it costs, and still sees what there is.
pub(crate) async fn meter(
    ctx: &Ctx,
    pairs: &[(&str, &str)],
) -> Result<Option<describe_snapshot_metering::Response>, ApiError> {
    if !ctx.may("DescribeSnapshotMetering", pairs).await {
        return Ok(None);
    }
    let answer = ask!(ctx, "DescribeSnapshotMetering", describe_snapshot_metering, pairs);
    Ok(Some(answer))
}

/// As [`meter`], the figures alone.
pub(crate) async fn metered(ctx: &Ctx, pairs: &[(&str, &str)]) -> Result<Option<Vec<MeterItem>>, ApiError> {
    Ok(meter(ctx, pairs).await?.map(|answer| answer.meter_items))
}

/// What is stored for each of a disk's snapshots, in bytes, by its id; `None`: as of [`metered`].
pub(crate) async fn stored_of(ctx: &Ctx, disk: &str) -> Result<Option<HashMap<String, u64>>, ApiError> {
    let items = metered(ctx, &[("DiskId", disk), ("PageSize", "100")]).await?;
    Ok(items.map(|items| {
        items
            .into_iter()
            .map(|item| (item.snapshot_id, item.size))
            .collect()
    }))
}

/// Rows of a list: as many as keep a page below 100 KiB with all that can be done with each.
const ROWS: &str = "15";

/// What list actions are asked for beside a page's own filters.
pub(crate) fn listing<'a>(ctx: &'a Ctx, names: &[&'a str]) -> Vec<(&'a str, &'a str)> {
    let mut pairs = vec![("MaxResults", ROWS)];
    let own = names.iter().chain(&["NextToken"]);
    pairs.extend(own.filter_map(|name| Some((*name, ctx.query.get(name)?))));
    // A tag's value alone is no filter: the action would refuse it.
    if ctx.query.get("Tag.1.Key").is_none() {
        pairs.retain(|(name, _)| *name != "Tag.1.Value");
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_json_list_whatever_is_in_them() {
        assert_eq!(json_ids(&["d-1"]), "[\"d-1\"]");
        assert_eq!(json_ids(&["\"],x"]), "[\"\\\"],x\"]");
    }

    #[test]
    fn what_went_wrong_says_what_to_do() {
        let page = failed(&ApiError::new(403, "Forbidden.RAM", "No."));
        assert_eq!((page.status, page.title.as_str()), (403, "Not allowed"));
        assert!(page.body.into_string().contains("attach a policy"));
    }
}
