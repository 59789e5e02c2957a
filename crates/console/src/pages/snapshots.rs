//! Storage & Snapshots > Snapshots: disk snapshots, instance snapshots, chains, what they take, automatic policies, and what was deleted
//! and can be brought back (product.md 3.6).

use super::{listing, meter};
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::pictures::curve;
use crate::{parts, text};
use maud::{Markup, html};
use std::collections::{BTreeSet, HashMap};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::{AutoSnapshotPolicy, Snapshot, SnapshotGroup};

const STATUSES: &[(&str, &str)] = &[
    ("progressing", "In Progress"),
    ("accomplished", "Accomplished"),
    ("failed", "Failed"),
];
const DISK_TYPES: &[(&str, &str)] = &[("system", "System Disk"), ("data", "Data Disk")];
const KINDS: &[(&str, &str)] = &[("user", "Manual"), ("auto", "Automatic")];
/// Days of the curve.
const DAYS: i64 = 15;
const HOUR_MS: i64 = 3_600_000;
/// How often the end of the curve moves, and the page with it.
const MINUTE_MS: i64 = 60_000;
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let tab = match ctx.query.text("tab") {
        tab @ ("groups" | "chains" | "size" | "policies" | "deleted") => tab,
        _ => "snapshots",
    };
    let here = |tab: &str| ctx.link_with("/snapshots", &[("tab", tab)]);
    let shown = match tab {
        "groups" => groups(ctx, None).await?,
        "chains" => chains(ctx).await?,
        "size" => size(ctx).await?,
        "policies" => policies(ctx).await?,
        "deleted" => deleted(ctx).await?,
        _ => list(ctx).await?,
    };
    let body = html! {
        div class="title" { h1 { "Snapshots" } }
        (parts::tabs("Snapshots", tab, &[
            ("snapshots", "Snapshots", here("snapshots")),
            ("groups", "Instance Snapshots", here("groups")),
            ("chains", "Snapshot Chains", here("chains")),
            ("size", "Snapshot Size", here("size")),
            ("policies", "Automatic Snapshot Policies", here("policies")),
            ("deleted", "Deleted", here("deleted")),
        ]))
        (shown)
    };
    Ok(Page::new(Section::Snapshots, "Snapshots", body))
}

async fn list(ctx: &Ctx) -> Result<Markup, ApiError> {
    let names = [
        "SnapshotName",
        "Status",
        "SnapshotType",
        "SourceDiskType",
        "DiskId",
        "InstanceId",
        "Tag.1.Key",
        "Tag.1.Value",
    ];
    let fields = parts::filters_and(ctx, "SnapshotName", "Name", true, &more_filters(ctx));
    let own = match looked_for(ctx) {
        Ok(own) => own,
        // What was typed can be mended where it was typed.
        Err(error) => return Ok(html! { (fields) (parts::refusal(&error)) }),
    };
    let mut asked = listing(ctx, &names);
    asked.extend(own.iter().map(|(name, value)| (*name, value.as_str())));
    let found = ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked);
    let table = table(ctx, &found.snapshots, true).await;
    Ok(html! {
        (fields)
        @if found.snapshots.is_empty() && asked.len() == 1 {
            (parts::empty(
                "No snapshot here yet",
                "Open a disk and choose Create Snapshot. It takes a moment, whatever the disk's size, and needs nothing installed in the guest.",
                &html! { a class="button" href=(ctx.link("/disks")) { "Disks" } },
            ))
        } @else {
            (table)
            (parts::pager(ctx, found.snapshots.len(), found.page.total_count, &found.page.next_token))
        }
    })
}

/// What is looked for beside names and tags, as the action knows it: one snapshot by its id, and when it was taken. Days are those of UTC, and both
/// belong to what is found.
fn looked_for(ctx: &Ctx) -> Result<Vec<(&'static str, String)>, ApiError> {
    let mut pairs = Vec::new();
    if let Some(id) = ctx.query.get("_id") {
        pairs.push(("SnapshotIds", super::json_ids(&[id.trim()])));
    }
    for (name, label) in [("_from", "Created from"), ("_until", "Created until")] {
        if let Some(day) = ctx.query.get(name)
            && day.parse::<jiff::civil::Date>().is_err()
        {
            let message = format!("{label}: {day:?} is no day; write it as 2026-01-31.");
            return Err(ApiError::new(400, "InvalidParameter", message));
        }
    }
    if let Some(day) = ctx.query.get("_from") {
        pairs.push(("Filter.1.Key", "CreationStartTime".to_owned()));
        pairs.push(("Filter.1.Value", format!("{day}T00:00:00Z")));
    }
    if let Some(day) = ctx.query.get("_until") {
        pairs.push(("Filter.2.Key", "CreationEndTime".to_owned()));
        pairs.push(("Filter.2.Value", format!("{day}T23:59:59Z")));
    }
    Ok(pairs)
}

/// Fields for what few look for; open while one of them is used.
fn more_filters(ctx: &Ctx) -> Markup {
    let fields = [
        ("_id", "Snapshot ID", "search"),
        ("DiskId", "Disk ID", "search"),
        ("InstanceId", "Instance ID", "search"),
        ("_from", "Created from (UTC)", "date"),
        ("_until", "Created until (UTC)", "date"),
    ];
    let is_used = fields.iter().any(|(name, ..)| ctx.query.get(name).is_some());
    html! {
        details open[is_used] {
            summary { "By ID and time" }
            div class="filters" {
                @for (name, label, kind) in fields {
                    label { span { (label) } input type=(kind) name=(name) value=(ctx.query.text(name)); }
                }
            }
        }
    }
}

/// Snapshots with their actions. `filters`: the page has the form that the filters in the head belong to.
pub(super) async fn table(ctx: &Ctx, snapshots: &[Snapshot], filters: bool) -> Markup {
    let filter = |label: &str, name: &str, choices: &[(&str, &str)]| match filters {
        true => parts::column_filter(ctx, label, name, choices),
        false => html! { (label) },
    };
    let mut rows = Vec::new();
    let mut any = false;
    let stored = stored(ctx, snapshots).await;
    for snapshot in snapshots {
        let deletes = ctx
            .may("DeleteSnapshot", &[("SnapshotId", &snapshot.snapshot_id)])
            .await;
        any |= deletes;
        let size = stored.get(&snapshot.snapshot_id).copied();
        rows.push(row(ctx, snapshot, deletes, size).await);
    }
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead { tr {
                    th { "Choose" } th { "Snapshot ID/Name" } th { "Progress" }
                    th { (filter("Status", "Status", STATUSES)) }
                    th { "Created at" } th { "Stored" } th { "Tag" } th { "Disk" } th { "Capacity" }
                    th { (filter("Disk Type", "SourceDiskType", DISK_TYPES)) }
                    th { (filter("Kind", "SnapshotType", KINDS)) }
                    th { "Retention" } th { "Encrypted" } th { "Instant Access" } th class="actions" { "Actions" }
                } }
                tbody {
                    @for row in &rows { (row) }
                    @if rows.is_empty() { tr { td class="none" colspan="15" { "No snapshot fits these filters." } } }
                }
            }
        }
        @if any { (parts::bulk(ctx, "delete-snapshots", "Delete")) }
    }
}

/// What is stored for each of these snapshots, by its id, as far as the caller may know it.
async fn stored(ctx: &Ctx, snapshots: &[Snapshot]) -> HashMap<String, u64> {
    let mut all = HashMap::new();
    // Each by itself: that is what the catalogue has an index for.
    for snapshot in snapshots {
        let id = snapshot.snapshot_id.as_str();
        // A figure beside the list: without it the list is still there.
        let Ok(Some(items)) = super::metered(ctx, &[("SnapshotId", id)]).await else {
            break;
        };
        all.extend(items.into_iter().map(|item| (item.snapshot_id, item.size)));
    }
    all
}

async fn row(ctx: &Ctx, snapshot: &Snapshot, deletes: bool, stored: Option<u64>) -> Markup {
    let id = snapshot.snapshot_id.as_str();
    let here = ctx.link(&format!("/snapshots/{id}"));
    let edits = ctx
        .may(
            "TagResources",
            &[("ResourceType", "snapshot"), ("ResourceId.1", id)],
        )
        .await;
    let is_done = snapshot.status == "accomplished";
    let own = [("DiskId", snapshot.source_disk_id.as_str()), ("SnapshotId", id)];
    let rolls_back = is_done && snapshot.source_snapshot_id.is_empty() && ctx.may("ResetDisk", &own).await;
    let more = more(ctx, snapshot).await;
    html! {
        tr {
            td data-label="Choose" {
                @if deletes { (parts::choose(id)) }
            }
            td data-label="Snapshot ID/Name" { (parts::id_and_name(&here, id, &snapshot.snapshot_name)) }
            td data-label="Progress" { (parts::progress(&snapshot.progress)) (parts::remaining(snapshot.remain_time)) }
            td data-label="Status" { (parts::status(&snapshot.status)) }
            td data-label="Created at" { (text::time(&snapshot.creation_time)) }
            td data-label="Stored" { @if let Some(stored) = stored { (text::size(stored)) } @else { span class="none" { "–" } } }
            td data-label="Tag" { (parts::tags(ctx, &snapshot.tags, edits.then_some(("snapshot", id)))) }
            td data-label="Disk" { (parts::id_link(&ctx.link(&format!("/disks/{}", snapshot.source_disk_id)), &snapshot.source_disk_id)) }
            td data-label="Capacity" { (text::gib(snapshot.source_disk_size)) }
            td data-label="Disk Type" { (parts::disk_type(&snapshot.source_disk_type)) }
            td data-label="Kind" { (kind(&snapshot.snapshot_type)) }
            td data-label="Retention" { (kept(snapshot.retention_days)) }
            td data-label="Encrypted" { (parts::yes(snapshot.encrypted)) }
            td data-label="Instant Access" { (parts::yes(snapshot.instant_access)) }
            td data-label="Actions" class="actions" {
                (parts::opens(rolls_back, &ctx.dialog("roll-back", &own), "Roll Back Disk", id))
                (parts::more(id, &more))
            }
        }
    }
}

pub(super) fn kind(word: &str) -> &str {
    match word {
        "auto" | "timer" => "Automatic",
        "user" => "Manual",
        "copied" => "Copied",
        "imported" => "Imported",
        other => other,
    }
}

pub(super) fn kept(days: Option<i64>) -> String {
    match days {
        Some(days) if days > 0 => text::count(days.unsigned_abs(), "day"),
        _ => "Always Keep".to_owned(),
    }
}

/// What else can be done with a snapshot, as far as the caller may and its state allows.
pub(super) async fn more(ctx: &Ctx, snapshot: &Snapshot) -> Vec<Markup> {
    let id = snapshot.snapshot_id.as_str();
    let own = [("SnapshotId", id)];
    let is_done = snapshot.status == "accomplished";
    let is_system = snapshot.source_disk_type == "system";
    let open = |may: bool, dialog: &str, label: &str| parts::opens(may, &ctx.dialog(dialog, &own), label, id);
    let verify = [("SnapshotId.1", id)];
    vec![
        open(
            is_done && ctx.may("CreateDisk", &own).await,
            "create-disk",
            "Create Disk",
        ),
        open(
            is_done && is_system && ctx.may("CreateImage", &own).await,
            "create-image",
            "Create Custom Image",
        ),
        open(
            is_done
                && ctx
                    .may(
                        "CopySnapshot",
                        &[("SnapshotId", id), ("DestinationRegionId", &ctx.region)],
                    )
                    .await,
            "copy-snapshot",
            "Copy Snapshot",
        ),
        open(
            ctx.may("ModifySnapshotAttribute", &own).await,
            "modify-snapshot",
            "Edit Name and Retention",
        ),
        open(
            is_done && ctx.may("LockSnapshot", &own).await,
            "lock-snapshot",
            "Lock",
        ),
        parts::opens(
            is_done && ctx.may("StartVaultScrub", &verify).await,
            &ctx.dialog("verify", &verify),
            "Verify now",
            id,
        ),
        open(
            ctx.may("DeleteSnapshot", &own).await,
            "delete-snapshot",
            "Delete Snapshot",
        ),
    ]
}

/// Instance snapshots: several disks at one instant. Of one instance, or all.
pub(super) async fn groups(ctx: &Ctx, instance: Option<&str>) -> Result<Markup, ApiError> {
    let mut asked = listing(ctx, &["Name"]);
    asked.extend(instance.map(|id| ("InstanceId", id)));
    let found = ask!(ctx, "DescribeSnapshotGroups", describe_snapshot_groups, &asked);
    let mut rows = Vec::new();
    for group in &found.snapshot_groups {
        rows.push(group_row(ctx, group).await);
    }
    let own: Vec<(&str, &str)> = instance.map(|id| ("InstanceId", id)).into_iter().collect();
    let may_make = ctx.may("CreateSnapshotGroup", &own).await;
    let create = html! {
        @if may_make { a class="button" data-dialog href=(ctx.dialog("create-instance-snapshot", &own)) { "Create Instance Snapshot" } }
    };
    Ok(html! {
        @if rows.is_empty() {
            (parts::empty(
                "No instance snapshot yet",
                "An instance snapshot takes several disks at one instant: what spans disks, a RAID array or a database with its log, fits together \
                 afterwards.",
                &create,
            ))
        } @else {
            div class="title" { (create) }
            div class="scroll" tabindex="0" {
                table {
                    thead { tr {
                        th { "Instance Snapshot ID/Name" } th { "Instance" } th { "Snapshots" } th { "Tag" } th { "Created at" }
                        th { "Status" } th class="actions" { "Actions" }
                    } }
                    tbody { @for row in &rows { (row) } }
                }
            }
            @if !found.next_token.is_empty() { nav class="pager" aria-label="Pages" { a href=(ctx.here_with("NextToken", &found.next_token)) { "Next page" } } }
        }
    })
}

/// Tags of a group and of its snapshots, each once: how consistent they are stands with these. The service's own, which say where they come from, are
/// said by other columns.
fn tags_of(group: &SnapshotGroup) -> BTreeSet<(&str, &str)> {
    let of_members = group.snapshots.iter().flat_map(|member| &member.tags);
    let all = group.tags.iter().chain(of_members);
    all.map(|tag| (tag.key.as_str(), tag.value.as_str()))
        .filter(|(key, _)| !key.starts_with("acs:"))
        .collect()
}

async fn group_row(ctx: &Ctx, group: &SnapshotGroup) -> Markup {
    let id = group.snapshot_group_id.as_str();
    let tags = tags_of(group);
    let own = [("SnapshotGroupId", id)];
    let deletes = ctx.may("DeleteSnapshotGroup", &own).await;
    let first = group
        .snapshots
        .first()
        .map_or("", |member| member.source_disk_id.as_str());
    let rolls_back = group.status == "accomplished"
        && ctx
            .may(
                "ResetDisks",
                &[("Disk.1.DiskId", first), ("Disk.1.SnapshotId", "s")],
            )
            .await;
    html! {
        tr {
            td data-label="Instance Snapshot ID/Name" { span class="id" { (id) } @if !group.name.is_empty() { span class="name" { (group.name) } } }
            td data-label="Instance" { (parts::id_link(&ctx.link(&format!("/instances/{}", group.instance_id)), &group.instance_id)) }
            td data-label="Snapshots" {
                ul class="plain" {
                    @for member in &group.snapshots {
                        li {
                            a class="id" href=(ctx.link(&format!("/snapshots/{}", member.snapshot_id))) { (member.snapshot_id) }
                            " " span class="name" { (parts::disk_type(&member.source_disk_type)) " " (member.progress) }
                        }
                    }
                }
            }
            td data-label="Tag" {
                ul class="tags" {
                    @for (key, value) in &tags { li { (key) @if !value.is_empty() { ": " (value) } } }
                    @if tags.is_empty() { li class="none" { "–" } }
                }
            }
            td data-label="Created at" { (text::time(&group.creation_time)) }
            td data-label="Status" { (parts::status(&group.status)) }
            td data-label="Actions" class="actions" {
                (parts::opens(rolls_back, &ctx.dialog("roll-back-instance", &[("_group", id)]), "Rollback instance", id))
                (parts::opens(deletes, &ctx.dialog("delete-group", &own), "Delete", id))
            }
        }
    }
}

async fn chains(ctx: &Ctx) -> Result<Markup, ApiError> {
    let asked = listing(ctx, &[]);
    let found = ask!(ctx, "DescribeSnapshotLinks", describe_snapshot_links, &asked);
    Ok(html! {
        @if found.snapshot_links.is_empty() {
            (parts::empty("No chain yet", "All snapshots of one disk are its chain. It begins with the first snapshot.", &html! {}))
        } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr {
                        th { "Disk ID/Name" } th { "Disk Type" } th { "Capacity" } th { "Instance" }
                        th { "Snapshots" } th { "Total size" } th class="actions" { "Actions" }
                    } }
                    tbody {
                        @for link in &found.snapshot_links {
                            @let here = ctx.link(&format!("/chains/{}", link.source_disk_id));
                            tr {
                                td data-label="Disk ID/Name" { (parts::id_and_name(&here, &link.source_disk_id, &link.source_disk_name)) }
                                td data-label="Disk Type" { (parts::disk_type(&link.source_disk_type)) }
                                td data-label="Capacity" { (text::gib(link.source_disk_size)) }
                                td data-label="Instance" { (parts::id_link(&ctx.link(&format!("/instances/{}", link.instance_id)), &link.instance_id)) }
                                td data-label="Snapshots" { (link.total_count) }
                                td data-label="Total size" { (text::size(link.total_size)) }
                                td data-label="Actions" class="actions" { a href=(here) aria-label=(format!("Details of the chain of {}", link.source_disk_id)) { "Details" } }
                            }
                        }
                    }
                }
            }
            (parts::pager(ctx, found.snapshot_links.len(), found.page.total_count, &found.page.next_token))
        }
    })
}

async fn size(ctx: &Ctx) -> Result<Markup, ApiError> {
    let usage = ask!(ctx, "DescribeSnapshotsUsage", describe_snapshots_usage, &[]);
    let end = text::now_ms() / HOUR_MS * HOUR_MS;
    let days = match ctx.query.text("days") {
        "1" => 1,
        "7" => 7,
        _ => DAYS,
    };
    let costs = super::costs::section(ctx, days, end + HOUR_MS).await?;
    let (start, end) = (text::stamp(end - days * 24 * HOUR_MS), text::stamp(end));
    let asked = [
        ("StartTime", start.as_str()),
        ("EndTime", end.as_str()),
        ("Period", "3600"),
    ];
    let curve = ask!(
        ctx,
        "DescribeSnapshotMonitorData",
        describe_snapshot_monitor_data,
        &asked
    )
    .monitor_data;
    let mut points: Vec<(i64, u64)> = curve
        .iter()
        .filter_map(|point| Some((text::millis(&point.time_stamp)?, point.size)))
        .collect();
    // The curve has full hours; what is stored now is its end.
    points.push((text::now_ms() / MINUTE_MS * MINUTE_MS, usage.snapshot_size));
    let asked = [("GroupBy", "Link"), ("PageSize", "100")];
    let by_disk = meter(ctx, &asked).await?;
    let (disks, price) = by_disk.map_or_else(Default::default, |answer| {
        (answer.meter_items, answer.price.unwrap_or_default())
    });
    let cost = |amount: &str| text::money(text::amount(amount), &price);
    let priced = disks.iter().any(|disk| disk.cost.is_some());
    Ok(html! {
        ul class="figures" {
            li { span class="value" { (text::bytes(usage.snapshot_size)) } span class="name" { "stored now" } }
            li { span class="value" { (usage.snapshot_count) } span class="name" { "snapshots" } }
        }
        nav class="tabs small" aria-label="Time" {
            @for (value, shown) in [("1", "1 day"), ("7", "7 days"), ("15", "15 days")] {
                a href=(ctx.here_with("days", value)) aria-current=[(value == days.to_string()).then_some("true")] { (shown) }
            }
        }
        (curve::draw(&points, "Stored by snapshots"))
        details {
            summary { "The same as a table" }
            div class="scroll" tabindex="0" {
                table {
                    thead { tr { th { "Time" } th { "Stored" } } }
                    tbody {
                        @for point in curve.iter().rev().step_by(24) {
                            tr { td { (text::time(&point.time_stamp)) } td { (text::size(point.size)) } }
                        }
                    }
                }
            }
        }
        (costs)
        h2 { "By disk, this month" }
        @if disks.is_empty() { p class="none" { "Nothing is metered yet." } } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr { th { "Disk" } th { "Stored now" } th { "GiB-hours" } @if priced { th { "Cost" } } } }
                    tbody {
                        @for disk in &disks {
                            tr {
                                td data-label="Disk" { (parts::id_link(&ctx.link(&format!("/chains/{}", disk.source_disk_id)), &disk.source_disk_id)) }
                                td data-label="Stored now" { (text::size(disk.size)) }
                                td data-label="GiB-hours" { (disk.gib_hours) }
                                @if priced { td data-label="Cost" { (disk.cost.as_deref().map_or_else(|| "–".to_owned(), cost)) } }
                            }
                        }
                    }
                }
            }
        }
        (parts::command(&format!("tidemark ecs DescribeSnapshotMetering --RegionId {} --GroupBy Link", crate::command::quoted(&ctx.region))))
    })
}

async fn policies(ctx: &Ctx) -> Result<Markup, ApiError> {
    let asked = listing(ctx, &["AutoSnapshotPolicyName"]);
    let found = ask!(
        ctx,
        "DescribeAutoSnapshotPolicyEx",
        describe_auto_snapshot_policy_ex,
        &asked
    );
    let may_make = ctx.may("CreateAutoSnapshotPolicy", &[]).await;
    let may_change = ctx.may("ModifyAutoSnapshotPolicyEx", &[]).await;
    let may_apply = ctx
        .may("ApplyAutoSnapshotPolicy", &[("diskIds", "[\"*\"]")])
        .await;
    let may_delete = ctx.may("DeleteAutoSnapshotPolicy", &[]).await;
    let create = html! {
        @if may_make { a class="primary" data-dialog href=(ctx.dialog("create-policy", &[])) { "Create Policy" } }
    };
    Ok(html! {
        div class="title" { (create) }
        @if found.auto_snapshot_policies.is_empty() {
            (parts::empty(
                "No policy yet",
                "A policy takes snapshots of the disks that it is applied to, at the hours and on the days that you choose, and deletes them when they are old enough.",
                &create,
            ))
        } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr {
                        th { "Policy ID/Name" } th { "Tag" } th { "Executed At" } th { "Execution Frequency" } th { "Keep Snapshots" }
                        th { "Disks" } th { "Copies to" } th class="actions" { "Actions" }
                    } }
                    tbody { @for policy in &found.auto_snapshot_policies { (policy_row(ctx, policy, may_change, may_apply, may_delete)) } }
                }
            }
            (parts::pager(ctx, found.auto_snapshot_policies.len(), found.page.total_count, &found.page.next_token))
        }
    })
}

fn policy_row(
    ctx: &Ctx,
    policy: &AutoSnapshotPolicy,
    may_change: bool,
    may_apply: bool,
    may_delete: bool,
) -> Markup {
    let id = policy.auto_snapshot_policy_id.as_str();
    let own = [("autoSnapshotPolicyId", id)];
    let disks = ctx.link_with("/disks", &[("AutoSnapshotPolicyId", id)]);
    html! {
        tr {
            td data-label="Policy ID/Name" { span class="id" { (id) } span class="name" { (policy.auto_snapshot_policy_name) } }
            td data-label="Tag" { (parts::tags(ctx, &policy.tags, None)) }
            td data-label="Executed At" { (hours(&policy.time_points)) " UTC+8" }
            td data-label="Execution Frequency" { (weekdays(&policy.repeat_weekdays)) }
            td data-label="Keep Snapshots" {
                @if policy.retention_days > 0 { (text::count(policy.retention_days.unsigned_abs(), "day")) } @else { "Always Keep" }
            }
            td data-label="Disks" { a href=(disks) { (text::count(policy.disk_nums, "disk")) } }
            td data-label="Copies to" { @if policy.enable_cross_region_copy { (policy.target_copy_regions) } @else { span class="none" { "–" } } }
            td data-label="Actions" class="actions" {
                (parts::opens(may_apply, &ctx.dialog("apply-policy", &own), "Apply Policy", id))
                (parts::opens(may_change, &ctx.dialog("modify-policy", &own), "Modify Policy", id))
                (parts::opens(may_delete, &ctx.dialog("delete-policy", &own), "Delete", id))
            }
        }
    }
}

/// Numbers of a JSON list of texts, as policies have them.
pub(crate) fn numbers(json: &str) -> Vec<u8> {
    let texts: Vec<String> = serde_json::from_str(json).unwrap_or_default();
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn hours(json: &str) -> String {
    let hours: Vec<String> = numbers(json).iter().map(|hour| format!("{hour:02}:00")).collect();
    hours.join(", ")
}

fn weekdays(json: &str) -> String {
    let days = numbers(json);
    if days.len() == 7 {
        return "every day".to_owned();
    }
    let name = |day: &u8| WEEKDAYS.get(usize::from(*day).checked_sub(1)?).copied();
    days.iter().filter_map(name).collect::<Vec<_>>().join(", ")
}

async fn deleted(ctx: &Ctx) -> Result<Markup, ApiError> {
    let found = ask!(ctx, "DescribeDeletedSnapshots", describe_deleted_snapshots, &[]).deleted_snapshots;
    let mut rows = Vec::new();
    for snapshot in found {
        let id = snapshot.snapshot_id.clone();
        let may = ctx.may("UndeleteSnapshot", &[("SnapshotId", &id)]).await;
        rows.push((snapshot, may));
    }
    Ok(html! {
        @if rows.is_empty() {
            (parts::empty(
                "Nothing to bring back",
                &crate::text::undelete(ctx.control().undelete_window()),
                &html! {},
            ))
        } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr { th { "Snapshot ID/Name" } th { "Disk" } th { "Gone for good" } th class="actions" { "Actions" } } }
                    tbody {
                        @for (snapshot, may) in &rows {
                            tr {
                                td data-label="Snapshot ID/Name" { span class="id" { (snapshot.snapshot_id) } span class="name" { (snapshot.snapshot_name) } }
                                td data-label="Disk" { (snapshot.source_disk_id) }
                                td data-label="Gone for good" { (text::time(&snapshot.deleted_until)) }
                                td data-label="Actions" class="actions" {
                                    (parts::opens(*may, &ctx.dialog("undelete", &[("SnapshotId", &snapshot.snapshot_id)]), "Undelete", &snapshot.snapshot_id))
                                }
                            }
                        }
                    }
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_are_read_as_people_say_them() {
        assert_eq!(hours("[\"1\",\"13\"]"), "01:00, 13:00");
        assert_eq!(weekdays("[\"1\",\"7\"]"), "Mon, Sun");
        assert_eq!(
            weekdays("[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\"]"),
            "every day"
        );
        assert_eq!(
            (hours("nonsense"), weekdays("[\"0\",\"9\"]")),
            (String::new(), String::new())
        );
        assert_eq!(
            (kept(Some(1)), kept(Some(30)), kept(None)),
            ("1 day".into(), "30 days".into(), "Always Keep".into())
        );
    }
}
