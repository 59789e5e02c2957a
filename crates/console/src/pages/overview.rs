//! What somebody wants to know first: what is protected, what is going on, what it takes.

use super::metered;
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::{Disk, Snapshot};

/// A disk whose newest snapshot is older is named.
const RECENT_MS: i64 = 7 * 24 * 3600 * 1000;
/// Most disks that are named.
const NAMED_MOST: usize = 40;
/// Most disks that are looked at one by one.
const LOOKED_AT_MOST: usize = 100;

/// A disk and its newest snapshot that is whole.
struct Protection {
    disk: Disk,
    newest: Option<Snapshot>,
    /// Whether the caller may take one.
    may: bool,
}

impl Protection {
    fn is_recent(&self, now: i64) -> bool {
        let made = self
            .newest
            .as_ref()
            .and_then(|newest| text::millis(&newest.creation_time));
        made.is_some_and(|made| now - made < RECENT_MS)
    }
}

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let disks = ask!(ctx, "DescribeDisks", describe_disks, &[("MaxResults", "100")]);
    let all_disks = disks.page.total_count;
    let mut protections = Vec::new();
    let asked = [("Status", "progressing"), ("PageSize", "100")];
    let under_way = ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked).snapshots;
    for disk in disks.disks.into_iter().take(LOOKED_AT_MOST) {
        let asked = [
            ("DiskId", disk.disk_id.as_str()),
            ("Status", "accomplished"),
            ("PageSize", "1"),
        ];
        let newest = ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked).snapshots;
        let own = [("DiskId", disk.disk_id.as_str())];
        let fits = matches!(disk.status.as_str(), "In_use" | "Available");
        protections.push(Protection {
            may: fits && ctx.may("CreateSnapshot", &own).await,
            disk,
            newest: newest.into_iter().next(),
        });
    }
    let makes_disks = ctx.may("CreateDisk", &[]).await;
    let makes_instances = ctx
        .may("RunInstances", &[("InstanceType", "tidemark.external")])
        .await;
    // Rounded, so that the page is another one only when something has changed.
    let now = text::now_ms() / 60_000 * 60_000;
    let bare: Vec<&Protection> = protections.iter().filter(|one| !one.is_recent(now)).collect();
    // Not all of them: then nothing is said of all of them.
    let of_first = (all_disks > protections.len()).then_some(protections.len());
    let counted = match of_first {
        Some(first) => format!("{} of the first {first}", bare.len()),
        None => bare.len().to_string(),
    };
    let metered = metered(ctx, &[("GroupBy", "Region")]).await?;
    let stored = metered
        .as_ref()
        .map(|items| items.iter().map(|region| region.size).sum());
    let region = metered.and_then(|items| items.into_iter().next());
    let cost = region.as_ref().and_then(|region| region.cost.clone());
    let body = html! {
        h1 { "Overview" }
        ul class="figures" {
            (figure("Disks", &all_disks.to_string(), &ctx.link("/disks")))
            (figure("Without a recent snapshot", &counted, "#bare"))
            (figure("Snapshots being created", &under_way.len().to_string(), "#now"))
            @if let Some(stored) = stored {
                (figure("Stored by snapshots", &text::bytes(stored), &ctx.link_with("/snapshots", &[("tab", "size")])))
            }
            @if let Some(cost) = &cost {
                (figure("Cost this month", &text::figure(super::costs::number(cost)), &ctx.link_with("/snapshots", &[("tab", "size")])))
            }
        }
        section aria-labelledby="now" {
            h2 id="now" { "Going on" }
            @if under_way.is_empty() {
                p class="none" { "No snapshot is being created. " a href=(ctx.link("/tasks")) { "Tasks" } " has everything else that takes time." }
            } @else {
                (going_on(ctx, &under_way))
            }
        }
        section aria-labelledby="bare" {
            h2 id="bare" { "Disks without a recent snapshot" }
            @if all_disks == 0 {
                (first_steps(ctx, makes_disks, makes_instances))
            } @else if bare.is_empty() {
                p {
                    @match of_first {
                        Some(first) => { "Each of the first " (first) " disks has a snapshot of the last seven days; the others were not looked at." }
                        None => "Every disk has a snapshot of the last seven days."
                    }
                }
            } @else {
                (unprotected(ctx, &bare))
            }
        }
    };
    Ok(Page::new(Section::Overview, "Overview", body))
}

fn figure(name: &str, value: &str, href: &str) -> Markup {
    html! { li { a href=(href) { span class="value" { (value) } span class="name" { (name) } } } }
}

fn going_on(ctx: &Ctx, snapshots: &[Snapshot]) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead { tr { th { "Snapshot" } th { "Disk" } th { "Progress" } th { "Time left" } } }
                tbody {
                    @for snapshot in snapshots {
                        tr {
                            td data-label="Snapshot" {
                                (parts::id_and_name(&ctx.link(&format!("/snapshots/{}", snapshot.snapshot_id)), &snapshot.snapshot_id, &snapshot.snapshot_name))
                            }
                            td data-label="Disk" {
                                (parts::id_link(&ctx.link(&format!("/disks/{}", snapshot.source_disk_id)), &snapshot.source_disk_id))
                            }
                            td data-label="Progress" { (parts::progress(&snapshot.progress)) }
                            td data-label="Time left" { (parts::remaining(snapshot.remain_time)) }
                        }
                    }
                }
            }
        }
    }
}

fn unprotected(ctx: &Ctx, disks: &[&Protection]) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead { tr { th { "Disk ID/Name" } th { "Status" } th { "Newest snapshot" } th { "Automatic policy" } th { "Actions" } } }
                tbody {
                    @for one in disks.iter().take(NAMED_MOST) {
                        @let disk = &one.disk;
                        tr {
                            td data-label="Disk ID/Name" {
                                (parts::id_and_name(&ctx.link(&format!("/disks/{}", disk.disk_id)), &disk.disk_id, &disk.disk_name))
                            }
                            td data-label="Status" { (parts::disk_status(&disk.status)) }
                            td data-label="Newest snapshot" {
                                @if let Some(newest) = &one.newest { (text::time(&newest.creation_time)) } @else { "never" }
                            }
                            td data-label="Automatic policy" {
                                (text::or(&disk.auto_snapshot_policy_id, "none"))
                            }
                            td data-label="Actions" class="actions" {
                                (parts::opens(one.may, &ctx.dialog("create-snapshot", &[("DiskId", &disk.disk_id)]), "Create Snapshot", &disk.disk_id))
                            }
                        }
                    }
                }
            }
        }
        @if disks.len() > NAMED_MOST { p class="none" { "And " (disks.len() - NAMED_MOST) " more." } }
    }
}

fn first_steps(ctx: &Ctx, makes_disks: bool, makes_instances: bool) -> Markup {
    parts::empty(
        "There is no disk yet",
        "A disk holds what a machine keeps. Make one, attach it to an instance, and take a snapshot of it: from then on \
         whatever happens to the disk, what it was like at that moment is one click away.",
        &html! {
            @if makes_disks { a class="primary" data-dialog href=(ctx.dialog("create-disk", &[])) { "Create Disk" } }
            @if makes_instances { " " a class="button" data-dialog href=(ctx.dialog("create-instance", &[])) { "Create Instance" } }
        },
    )
}
