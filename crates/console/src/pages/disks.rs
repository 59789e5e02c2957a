//! Storage & Snapshots > Disks: all disks of the region, attached or not (product.md 3.4). Its table is the one of an
//! instance's Cloud Disk tab, too.

use super::listing;
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::Disk;
use tidemark_ecs::rules::disk::CATEGORIES;

const STATUSES: &[(&str, &str)] = &[
    ("In_use", "In Use"),
    ("Available", "Unattached"),
    ("Creating", "Creating"),
    ("Attaching", "Attaching"),
    ("Detaching", "Detaching"),
    ("ReIniting", "Initializing"),
];
const TYPES: &[(&str, &str)] = &[("system", "System Disk"), ("data", "Data Disk")];

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let names = [
        "DiskName",
        "Category",
        "Status",
        "DiskType",
        "AutoSnapshotPolicyId",
        "Tag.1.Key",
        "Tag.1.Value",
    ];
    let asked = listing(ctx, &names);
    let found = ask!(ctx, "DescribeDisks", describe_disks, &asked);
    let may_make = ctx.may("CreateDisk", &[]).await;
    let create = html! {
        @if may_make { a class="primary" data-dialog href=(ctx.dialog("create-disk", &[])) { "Create Disk" } }
    };
    let table = table(ctx, &found.disks, true).await;
    let body = html! {
        div class="title" { h1 { "Disks" } (create) }
        (parts::filters(ctx, "DiskName", "Name", true))
        @if found.disks.is_empty() && asked.len() == 1 {
            (parts::empty(
                "No disk here yet",
                "A disk is created empty or from a snapshot, and is attached to an instance. From then on it can be snapshotted, also when it is \
                 detached again.",
                &create,
            ))
        } @else {
            (table)
            (parts::pager(ctx, found.disks.len(), found.page.total_count, &found.page.next_token))
        }
    };
    Ok(Page::new(Section::Disks, "Disks", body))
}

/// Disks with their filters and actions. `everywhere`: they may be attached to any instance, which is then shown.
pub(super) async fn table(ctx: &Ctx, disks: &[Disk], everywhere: bool) -> Markup {
    let categories: Vec<(&str, &str)> = CATEGORIES
        .iter()
        .map(|category| (category.name, parts::category(category.name)))
        .collect();
    let mut rows = Vec::new();
    let mut any = false;
    for disk in disks {
        let resizes = everywhere
            && matches!(disk.status.as_str(), "In_use" | "Available")
            && ctx.may("ResizeDisk", &[("DiskId", &disk.disk_id)]).await;
        any |= resizes;
        rows.push(row(ctx, disk, everywhere, resizes).await);
    }
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead { tr {
                    @if everywhere { th { "Choose" } }
                    th { "Disk ID/Name" }
                    @if everywhere { th { "Tag" } }
                    th { (parts::column_filter(ctx, "Disk Category", "Category", &categories)) }
                    th { (parts::column_filter(ctx, "Status", "Status", STATUSES)) }
                    th { "Capacity" } th { "Encrypted" }
                    th { (parts::column_filter(ctx, "Type", "DiskType", TYPES)) }
                    th { "Detachable" } th { "Billing Method" }
                    @if everywhere { th { "Instance" } th { "Zone" } } @else { th { "Mount point" } }
                    th { "Automatic policy" } th class="actions" { "Actions" }
                } }
                tbody {
                    @for row in &rows { (row) }
                    @if rows.is_empty() { tr { td class="none" colspan="13" { "No disk fits these filters." } } }
                }
            }
        }
        @if any { (parts::bulk(ctx, "resize-disks", "Resize Disk")) }
    }
}

async fn row(ctx: &Ctx, disk: &Disk, everywhere: bool, resizes: bool) -> Markup {
    let id = disk.disk_id.as_str();
    let here = ctx.link(&format!("/disks/{id}"));
    let edits = everywhere
        && ctx
            .may("TagResources", &[("ResourceType", "disk"), ("ResourceId.1", id)])
            .await;
    let first = first(ctx, disk).await;
    let more = more(ctx, disk).await;
    html! {
        tr {
            @if everywhere { td data-label="Choose" { @if resizes { (parts::choose(id)) } } }
            td data-label="Disk ID/Name" { (parts::id_and_name(&here, id, &disk.disk_name)) }
            @if everywhere { td data-label="Tag" { (parts::tags(ctx, &disk.tags, edits.then_some(("disk", id)))) } }
            td data-label="Disk Category" { (parts::category(&disk.category)) " " (disk.performance_level) }
            td data-label="Status" { (parts::disk_status(&disk.status)) }
            td data-label="Capacity" { (text::gib(disk.size)) }
            td data-label="Encrypted" { (parts::yes(disk.encrypted)) }
            td data-label="Type" { (parts::disk_type(&disk.disk_type)) }
            td data-label="Detachable" { (parts::yes(disk.portable)) }
            td data-label="Billing Method" { "Pay-As-You-Go" }
            @if everywhere {
                td data-label="Instance" { (parts::id_link(&ctx.link(&format!("/instances/{}", disk.instance_id)), &disk.instance_id)) }
                td data-label="Zone" { (disk.zone_id) }
            } @else {
                td data-label="Mount point" { (text::or(&disk.device, "–")) }
            }
            td data-label="Automatic policy" { (text::or(&disk.auto_snapshot_policy_id, "–")) }
            td data-label="Actions" class="actions" {
                (first)
                (parts::more(id, &more))
            }
        }
    }
}

/// Whether no instance has had the disk yet. Nobody can have written to it, so the API refuses to snapshot it. It is exported only while it
/// is attached, and keeps the time when it was detached.
pub(super) fn is_never_attached(disk: &Disk) -> bool {
    disk.status == "Available" && disk.detached_time.is_empty()
}

/// What comes first with a disk, as far as the caller may: a snapshot, or what has to come before one.
pub(super) async fn first(ctx: &Ctx, disk: &Disk) -> Markup {
    let id = disk.disk_id.as_str();
    let own = [("DiskId", id)];
    if is_never_attached(disk) {
        let may = ctx.may("AttachDisk", &own).await;
        return parts::opens(may, &ctx.dialog("attach-disk", &own), "Attach", id);
    }
    let may = matches!(disk.status.as_str(), "In_use" | "Available") && ctx.may("CreateSnapshot", &own).await;
    parts::opens(may, &ctx.dialog("create-snapshot", &own), "Create Snapshot", id)
}

/// What else can be done with a disk, as far as the caller may and its state allows.
pub(super) async fn more(ctx: &Ctx, disk: &Disk) -> Vec<Markup> {
    let id = disk.disk_id.as_str();
    let own = [("DiskId", id)];
    let with_instance = [("DiskId", id), ("InstanceId", disk.instance_id.as_str())];
    let open = |may: bool, dialog: &str, label: &str, pairs: &[(&str, &str)]| {
        parts::opens(may, &ctx.dialog(dialog, pairs), label, id)
    };
    let (in_use, free) = (disk.status == "In_use", disk.status == "Available");
    let ids = super::json_ids(&[id]);
    let policy = [("diskIds", ids.as_str())];
    vec![
        open(
            ctx.may("ApplyAutoSnapshotPolicy", &policy).await,
            "disk-policy",
            "Configure Automatic Snapshot Policy",
            &own,
        ),
        open(
            // It comes first otherwise.
            free && !is_never_attached(disk) && ctx.may("AttachDisk", &own).await,
            "attach-disk",
            "Attach",
            &own,
        ),
        open(
            in_use && disk.disk_type == "data" && ctx.may("DetachDisk", &with_instance).await,
            "detach-disk",
            "Detach",
            &with_instance,
        ),
        open(
            (in_use || free) && ctx.may("ReInitDisk", &own).await,
            "reinitialize-disk",
            "Reinitialize Disk",
            &own,
        ),
        open(
            (in_use || free) && ctx.may("ResizeDisk", &own).await,
            "resize-disk",
            "Resize Disk",
            &own,
        ),
        open(
            (in_use || free) && ctx.may("ModifyDiskSpec", &own).await,
            "change-category",
            "Change Category",
            &own,
        ),
        open(
            ctx.may("ModifyDiskAttribute", &own).await,
            "modify-disk",
            "Modify Disk Property",
            &own,
        ),
        open(
            free && ctx.may("DeleteDisk", &own).await,
            "release-disk",
            "Release",
            &own,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_was_detached_has_been_attached() {
        let disk = |status: &str, detached: &str| Disk {
            status: status.to_owned(),
            detached_time: detached.to_owned(),
            ..Disk::default()
        };
        assert!(is_never_attached(&disk("Available", "")));
        assert!(!is_never_attached(&disk("Available", "2026-01-02T03:04:05Z")));
        for status in ["In_use", "Creating", "Attaching", "Detaching", "ReIniting"] {
            assert!(!is_never_attached(&disk(status, "")), "{status}");
        }
    }
}
