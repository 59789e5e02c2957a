//! One disk: what it is, its snapshots along the time, how it is being filled, what can be done with it.

use super::{disks, events, monitoring, one_disk, one_instance, snapshots, snapshots_of, stored_of};
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::pictures::timeline::{self, Mark};
use crate::pictures::{filling, grid};
use crate::{parts, text};
use maud::{Markup, html};
use std::collections::HashMap;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_disk_hydration;
use tidemark_ecs::model::{Disk, Snapshot};

/// Marks in the picture, and rows below it: the whole list is a click away.
const SHOWN: usize = 60;
const LISTED: usize = 10;

pub(super) async fn page(ctx: &Ctx, id: &str) -> Result<Page, ApiError> {
    let disk = one_disk(ctx, id).await?;
    let snapshots = snapshots_of(ctx, id).await?;
    let sizes = stored_of(ctx, id).await?;
    let filling = hydration(ctx, id).await;
    let own = [("DiskId", id)];
    let may_change = ctx.may("ModifyDiskHydration", &own).await;
    let first = disks::first(ctx, &disk).await;
    let more = disks::more(ctx, &disk).await;
    let listed = snapshots.get(..LISTED.min(snapshots.len())).unwrap_or_default();
    let table = snapshots::table(ctx, listed, false).await;
    let facts = facts(ctx, &disk).await;
    let latency = monitoring::of_disk(ctx, id).await;
    let events = events::link(ctx, id).await;
    let none_yet = match disks::is_never_attached(&disk) {
        true => {
            "Attach the disk to an instance first: while none has ever had it, nothing can have been written to it that a snapshot would \
             keep."
        }
        false => {
            "A snapshot keeps what the disk is like at this moment. The first one stores all that was ever written, later ones only what \
             changed since."
        }
    };
    let body = html! {
        nav class="trail" aria-label="Trail" { a href=(ctx.link("/disks")) { "Disks" } }
        div class="title" {
            h1 { (text::or(&disk.disk_name, id)) }
            @if !disk.disk_name.is_empty() { code { (id) } }
            (parts::disk_status(&disk.status))
            div class="actions" { (first) @for item in &more { (item) } (events) }
        }
        (facts)
        @if let Some(filling) = &filling { (filled(ctx, filling, disk.size, may_change)) }
        section aria-labelledby="timeline" {
            h2 id="timeline" { "Timeline" }
            @if snapshots.is_empty() {
                (parts::empty("No snapshot of this disk yet", none_yet, &first))
            } @else {
                @if let Some(sizes) = &sizes { (timeline::draw(marks(&snapshots, sizes))) }
                p {
                    a href=(ctx.link(&format!("/chains/{id}"))) { "The chain: what is shared and owned" }
                    " · "
                    a href=(ctx.link_with("/snapshots", &[("DiskId", id)])) { "All snapshots of this disk" }
                }
                (table)
            }
        }
        (latency)
    };
    let title = format!("Disk {}", text::named(&disk.disk_name, id));
    Ok(Page::new(Section::Disks, title, body))
}

async fn facts(ctx: &Ctx, disk: &Disk) -> Markup {
    let id = disk.disk_id.as_str();
    let edits = ctx
        .may("TagResources", &[("ResourceType", "disk"), ("ResourceId.1", id)])
        .await;
    let instance = disk.instance_id.as_str();
    let instance_name = match instance {
        "" => String::new(),
        // One that the caller may not see has no name here.
        id => one_instance(ctx, id)
            .await
            .map(|one| one.instance_name)
            .unwrap_or_default(),
    };
    html! {
        dl class="facts" {
            (parts::fact("Disk ID", &html! { code { (id) } }))
            (parts::fact_text("Description", &disk.description))
            (parts::fact_text("Disk category", &format!("{} {}", parts::category(&disk.category), disk.performance_level)))
            (parts::fact_text("Capacity", &text::gib(disk.size)))
            (parts::fact_text("Type", parts::disk_type(&disk.disk_type)))
            (parts::fact_text("Encrypted", parts::yes(disk.encrypted)))
            (parts::fact_text("Zone", &disk.zone_id))
            (parts::fact("Instance", &html! {
                (parts::id_link(&ctx.link(&format!("/instances/{instance}")), instance))
                @if !instance_name.is_empty() { span class="name" { (instance_name) } }
            }))
            (parts::fact_text("Mount point", &disk.device))
            (parts::fact("Created from", &parts::id_link(&ctx.link(&format!("/snapshots/{}", disk.source_snapshot_id)), &disk.source_snapshot_id)))
            (parts::fact("Created at", &text::time(&disk.creation_time)))
            (parts::fact_text("Automatic policy", &disk.auto_snapshot_policy_id))
            (parts::fact_text("Release Disk with Instance", parts::yes(disk.delete_with_instance)))
            (parts::fact_text("Delete Automatic Snapshots While Releasing Disk", parts::yes(disk.delete_auto_snapshot)))
            (parts::fact("Tag", &parts::tags(ctx, &disk.tags, edits.then_some(("disk", id)))))
        }
    }
}

/// How the disk is being filled from its snapshot; `None`: it is whole, or nobody may know.
async fn hydration(ctx: &Ctx, id: &str) -> Option<describe_disk_hydration::Response> {
    async fn asked(ctx: &Ctx, id: &str) -> Result<describe_disk_hydration::Response, ApiError> {
        let parts = grid::CELLS.to_string();
        let asked = [("DiskId", id), ("Parts", parts.as_str())];
        Ok(ask!(
            ctx,
            "DescribeDiskHydration",
            describe_disk_hydration,
            &asked
        ))
    }
    let answer = asked(ctx, id).await.ok()?;
    (answer.absent_bytes > 0).then_some(answer)
}

fn filled(ctx: &Ctx, now: &describe_disk_hydration::Response, size_gib: u64, may_change: bool) -> Markup {
    let id = now.disk_id.as_str();
    let whole = now.fetched_bytes.saturating_add(now.data_bytes).max(1);
    let percent = (u128::from(now.fetched_bytes) * 100 / u128::from(whole)).to_string();
    html! {
        section aria-labelledby="filling" {
            h2 id="filling" { "Filling" }
            p {
                "This disk can be used. It is being filled from "
                (parts::id_link(&ctx.link(&format!("/snapshots/{}", now.snapshot_id)), &now.snapshot_id))
                "; what a guest reads comes first."
            }
            p { (parts::status(&now.status)) " " (parts::progress(&percent)) }
            (filling::draw(&now.parts, size_gib << 30, now.data_bytes))
            dl class="facts" {
                (parts::fact("Data still to come, at most", &text::size(now.data_bytes)))
                (parts::fact("Fetched", &text::size(now.fetched_bytes)))
                (parts::fact_text("Rate", &format!("{} in a second", text::bytes(now.rate_bytes))))
                (parts::fact_text("Time left", &now.remain_time.map_or_else(String::new, text::seconds)))
                (parts::fact_text("Trouble", &now.trouble))
            }
            @if may_change {
                p { a data-dialog class="button" href=(ctx.dialog("hydration", &[("DiskId", id)])) { "Pause, resume or limit" } }
            }
        }
    }
}

fn marks(snapshots: &[Snapshot], sizes: &HashMap<String, u64>) -> Vec<Mark> {
    let shown = snapshots.iter().take(SHOWN);
    shown
        .map(|snapshot| Mark {
            at_ms: text::millis(&snapshot.creation_time).unwrap_or_default(),
            bytes: sizes.get(&snapshot.snapshot_id).copied().unwrap_or_default(),
            is_automatic: snapshot.snapshot_type == "auto" || snapshot.snapshot_type == "timer",
            is_complete: snapshot.status == "accomplished",
            id: snapshot.snapshot_id.clone(),
            name: snapshot.snapshot_name.clone(),
        })
        .collect()
}
