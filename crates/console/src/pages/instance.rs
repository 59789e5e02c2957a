//! One instance: Instance Details, Cloud Disk, Snapshot, the groups of its snapshots (product.md 3.3), and what happened to it.

use super::{disks, events, instances, listing, monitoring, one_instance, snapshots};
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::Instance;

pub(super) async fn page(ctx: &Ctx, id: &str) -> Result<Page, ApiError> {
    let instance = one_instance(ctx, id).await?;
    let tab = match ctx.query.text("tab") {
        tab @ ("monitoring" | "disks" | "snapshots" | "groups" | "events") => tab,
        _ => "details",
    };
    let here = |tab: &str| ctx.link_with(&format!("/instances/{id}"), &[("tab", tab)]);
    let shown = match tab {
        "monitoring" => monitored(ctx, &instance).await?,
        "disks" => cloud_disk(ctx, &instance).await?,
        "snapshots" => snapshots_tab(ctx, &instance).await?,
        "groups" => snapshots::groups(ctx, Some(id)).await?,
        "events" => events::of(ctx, id).await?,
        _ => details(ctx, &instance).await,
    };
    let more = instances::more(ctx, &instance).await;
    let mut tabs = vec![
        ("details", "Instance Details", here("details")),
        ("disks", "Cloud Disk", here("disks")),
        ("snapshots", "Snapshot", here("snapshots")),
        ("groups", "Instance Snapshots", here("groups")),
        ("monitoring", "Monitoring", here("monitoring")),
    ];
    if ctx.may("DescribeEvents", &[("ResourceId", id)]).await {
        tabs.push(("events", "Events", here("events")));
    }
    let body = html! {
        nav class="trail" aria-label="Trail" { a href=(ctx.link("/instances")) { "Instances" } }
        div class="title" {
            h1 { (text::or(&instance.instance_name, id)) }
            @if !instance.instance_name.is_empty() { code { (id) } }
            (parts::status(&instance.status))
            div class="actions" { @for item in &more { (item) } }
        }
        (parts::tabs("Instance", tab, &tabs))
        (shown)
    };
    let title = format!("Instance {}", text::named(&instance.instance_name, id));
    Ok(Page::new(Section::Instances, title, body))
}

async fn details(ctx: &Ctx, instance: &Instance) -> Markup {
    let id = instance.instance_id.as_str();
    let edits = ctx
        .may(
            "TagResources",
            &[("ResourceType", "instance"), ("ResourceId.1", id)],
        )
        .await;
    let renames = ctx.may("ModifyInstanceAttribute", &[("InstanceId", id)]).await;
    let private = instance.vpc_attributes.private_ip_address.join(", ");
    html! {
        section aria-labelledby="basic" {
            h2 id="basic" { "Basic information" }
            dl class="facts" {
                (parts::fact("Instance ID", &html! { code { (id) } }))
                (parts::fact("Name", &html! {
                    (text::or(&instance.instance_name, "–")) " "
                    (parts::opens(renames, &ctx.dialog("rename-instance", &[("InstanceId", id), ("InstanceName", &instance.instance_name)]), "Rename", id))
                }))
                (parts::fact_text("Description", &instance.description))
                (parts::fact_text("Zone", &instance.zone_id))
                (parts::fact("Created at", &text::time(&instance.creation_time)))
                (parts::fact("Tag", &parts::tags(ctx, &instance.tags, edits.then_some(("instance", id)))))
            }
        }
        section aria-labelledby="configuration" {
            h2 id="configuration" { "Configuration information" }
            dl class="facts" {
                (parts::fact_text("Instance type", &instance.instance_type))
                (parts::fact_text("Image", &instance.image_id))
                (parts::fact_text("Private IP address", &private))
                (parts::fact_text("Host name", &instance.host_name))
            }
        }
        section aria-labelledby="payment" {
            h2 id="payment" { "Payment information" }
            dl class="facts" {
                (parts::fact_text("Billing method", "Pay-As-You-Go"))
                (parts::fact("Released automatically", &text::time(&instance.auto_release_time)))
            }
        }
    }
}

/// How long the instance waits for each of its disks.
async fn monitored(ctx: &Ctx, instance: &Instance) -> Result<Markup, ApiError> {
    let id = instance.instance_id.as_str();
    let found = ask!(
        ctx,
        "DescribeDisks",
        describe_disks,
        &[("InstanceId", id), ("MaxResults", "20")]
    );
    let mut shown = Vec::new();
    for disk in &found.disks {
        shown.push((disk, monitoring::of_disk(ctx, &disk.disk_id).await));
    }
    Ok(html! {
        @for (disk, latency) in &shown {
            p {
                (parts::id_and_name(&ctx.link(&format!("/disks/{}", disk.disk_id)), &disk.disk_id, &disk.disk_name))
                " " (parts::disk_type(&disk.disk_type))
            }
            (latency)
        }
        @if shown.is_empty() {
            (parts::empty("No disk is attached", "What is read from disks and written to them stands here, with how long that takes.", &html! {}))
        }
    })
}

async fn cloud_disk(ctx: &Ctx, instance: &Instance) -> Result<Markup, ApiError> {
    let id = instance.instance_id.as_str();
    let mut asked = listing(ctx, &["DiskName", "Category", "Status", "DiskType"]);
    let is_filtered = asked.len() > 1;
    asked.push(("InstanceId", id));
    let found = ask!(ctx, "DescribeDisks", describe_disks, &asked);
    let may_attach = ctx.may("AttachDisk", &[("InstanceId", id)]).await;
    let attach = html! {
        @if may_attach { a class="button" data-dialog href=(ctx.dialog("attach-disk", &[("InstanceId", id)])) { "Attach Disk" } }
    };
    let table = disks::table(ctx, &found.disks, false).await;
    Ok(html! {
        (parts::filters(ctx, "DiskName", "Name", false))
        div class="title" { (attach) }
        @if found.disks.is_empty() && !is_filtered {
            (parts::empty("No disk is attached", "Attach a disk that is Unattached, or create one for this instance.", &attach))
        } @else {
            (table)
            (parts::pager(ctx, found.disks.len(), found.page.total_count, &found.page.next_token))
        }
    })
}

async fn snapshots_tab(ctx: &Ctx, instance: &Instance) -> Result<Markup, ApiError> {
    let mut asked = listing(
        ctx,
        &[
            "SnapshotName",
            "SourceDiskType",
            "Status",
            "Tag.1.Key",
            "Tag.1.Value",
        ],
    );
    let is_filtered = asked.len() > 1;
    asked.push(("InstanceId", instance.instance_id.as_str()));
    let found = ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked);
    let table = snapshots::table(ctx, &found.snapshots, true).await;
    Ok(html! {
        (parts::filters(ctx, "SnapshotName", "Name", true))
        @if found.snapshots.is_empty() && !is_filtered {
            (parts::empty(
                "No snapshot of this instance's disks",
                "Open Cloud Disk and choose Create Snapshot in a disk's row: it takes a moment, whatever the disk's size, and the instance goes on.",
                &html! { a class="button" href=(ctx.link_with(&format!("/instances/{}", instance.instance_id), &[("tab", "disks")])) { "Cloud Disk" } },
            ))
        } @else {
            (table)
            (parts::pager(ctx, found.snapshots.len(), found.page.total_count, &found.page.next_token))
        }
    })
}
