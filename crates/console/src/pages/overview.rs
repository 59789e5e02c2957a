//! What somebody wants to know first: what is protected, what is in progress, what it takes.

use super::{costs, disks};
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::{Disk, Image, Snapshot};

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
    /// What comes first with the disk.
    first: Markup,
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
    let under_way = ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked);
    let (under_way, all_under_way) = (under_way.snapshots, under_way.page.total_count);
    // Who may not see images sees the rest all the same.
    let images = images(ctx).await.ok();
    for disk in disks.disks.into_iter().take(LOOKED_AT_MOST) {
        let asked = [
            ("DiskId", disk.disk_id.as_str()),
            ("Status", "accomplished"),
            ("PageSize", "1"),
        ];
        let newest = ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked).snapshots;
        protections.push(Protection {
            first: disks::first(ctx, &disk).await,
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
    let figures = costs::priced(ctx, &[("GroupBy", "Region")]).await?;
    let stored = figures
        .as_ref()
        .map(|figures| figures.item.as_ref().map_or(0, |region| region.size));
    let cost = figures.and_then(|figures| figures.cost());
    let changing: Vec<&Disk> = protections
        .iter()
        .map(|one| &one.disk)
        .filter(|disk| !matches!(disk.status.as_str(), "In_use" | "Available"))
        .collect();
    let body = html! {
        h1 { "Overview" }
        ul class="figures" {
            (figure("Disks", &all_disks.to_string(), &ctx.link("/disks")))
            (figure("Without a recent snapshot", &counted, "#bare"))
            (figure("Snapshots being created", &all_under_way.to_string(), "#now"))
            @if let Some(stored) = stored {
                (figure("Stored by snapshots", &text::bytes(stored), &ctx.link_with("/snapshots", &[("tab", "size")])))
            }
            @if let Some(cost) = &cost {
                (figure("Cost this month", cost, &ctx.link_with("/snapshots", &[("tab", "size")])))
            }
        }
        @if all_disks > 0 { p { (protected(&protections, bare.len(), of_first)) } }
        section aria-labelledby="now" {
            h2 id="now" { "In progress now" }
            @let created = images.as_deref().unwrap_or_default();
            @if under_way.is_empty() && created.is_empty() && changing.is_empty() {
                p class="none" {
                    @if images.is_some() { "No snapshot and no image is being created." } @else { "No snapshot is being created." }
                    @if of_first.is_none() { " No disk is being created, attached, detached or rolled back." }
                }
            } @else {
                (in_progress(ctx, &under_way, created, &changing, &protections))
            }
            p class="legend" { "A disk that is being filled from a snapshot can be used, and shows on its own page how far that is." }
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

/// The caller's images that are being created.
async fn images(ctx: &Ctx) -> Result<Vec<Image>, ApiError> {
    let asked = [
        ("ImageOwnerAlias", "self"),
        ("Status", "Creating"),
        ("PageSize", "100"),
    ];
    Ok(ask!(ctx, "DescribeImages", describe_images, &asked).images)
}

/// How many disks could be gone back with, in a sentence.
fn protected(disks: &[Protection], bare: usize, of_first: Option<usize>) -> String {
    let all = disks.len();
    let with_policy = disks
        .iter()
        .filter(|one| one.disk.enable_automated_snapshot_policy)
        .count();
    let which = match of_first {
        Some(first) => format!("the first {first} disks"),
        None => text::count(all as u64, "disk"),
    };
    format!(
        "{} of {which} {} a snapshot of the last seven days; {with_policy} {} an automatic policy.",
        all - bare,
        have(all - bare),
        have(with_policy)
    )
}

fn have(number: usize) -> &'static str {
    if number == 1 { "has" } else { "have" }
}

/// `disks`: those that are between two states; `known`: all that have a name here.
fn in_progress(
    ctx: &Ctx,
    snapshots: &[Snapshot],
    images: &[Image],
    disks: &[&Disk],
    known: &[Protection],
) -> Markup {
    let disk_link = |id: &str| {
        let named = known.iter().find(|one| one.disk.disk_id == id);
        let name = named.map_or("", |one| one.disk.disk_name.as_str());
        parts::id_and_name(&ctx.link(&format!("/disks/{id}")), id, name)
    };
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead { tr { th { "What" } th { "ID/Name" } th { "Disk" } th { "Progress" } th { "Time left" } } }
                tbody {
                    @for snapshot in snapshots {
                        tr {
                            td data-label="What" { "Snapshot" }
                            td data-label="ID/Name" {
                                (parts::id_and_name(&ctx.link(&format!("/snapshots/{}", snapshot.snapshot_id)), &snapshot.snapshot_id, &snapshot.snapshot_name))
                            }
                            td data-label="Disk" { (disk_link(&snapshot.source_disk_id)) }
                            td data-label="Progress" { (parts::progress(&snapshot.progress)) }
                            td data-label="Time left" { (parts::remaining(snapshot.remain_time)) }
                        }
                    }
                    @for image in images {
                        tr {
                            td data-label="What" { "Image" }
                            td data-label="ID/Name" {
                                (parts::id_and_name(&ctx.link_with("/images", &[("ImageName", &image.image_name)]), &image.image_id, &image.image_name))
                            }
                            td data-label="Disk" { span class="none" { "–" } }
                            td data-label="Progress" { (parts::progress(&image.progress)) }
                            td data-label="Time left" {}
                        }
                    }
                    @for disk in disks {
                        tr {
                            td data-label="What" { "Disk" }
                            td data-label="ID/Name" { (disk_link(&disk.disk_id)) }
                            td data-label="Disk" { span class="none" { "–" } }
                            td data-label="Progress" { (parts::disk_status(&disk.status)) }
                            td data-label="Time left" {}
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
                thead { tr { th { "Disk ID/Name" } th { "Status" } th { "Newest snapshot" } th { "Automatic policy" } th class="actions" { "Actions" } } }
                tbody {
                    @for one in disks.iter().take(NAMED_MOST) {
                        @let disk = &one.disk;
                        tr {
                            td data-label="Disk ID/Name" {
                                (parts::id_and_name(&ctx.link(&format!("/disks/{}", disk.disk_id)), &disk.disk_id, &disk.disk_name))
                            }
                            td data-label="Status" { (parts::disk_status(&disk.status)) }
                            td data-label="Newest snapshot" {
                                @if let Some(newest) = &one.newest {
                                    (text::time(&newest.creation_time))
                                } @else if disks::is_never_attached(disk) {
                                    "none: it was never attached"
                                } @else {
                                    "never"
                                }
                            }
                            td data-label="Automatic policy" {
                                (text::or(&disk.auto_snapshot_policy_id, "none"))
                            }
                            td data-label="Actions" class="actions" {
                                (one.first)
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
    // A disk that is created alone has to be attached before it can be snapshotted, so an instance with one comes first.
    let disk = if makes_instances { "button" } else { "primary" };
    parts::empty(
        "There is no disk yet",
        "A disk holds what a machine keeps. Create an instance with a data disk, and take a snapshot of that disk: whatever happens to it from \
         then on, what it was like at that moment is one click away. A disk that is created alone is attached to an instance first.",
        &html! {
            @if makes_instances { a class="primary" data-dialog href=(ctx.dialog("create-instance", &[])) { "Create Instance" } }
            @if makes_disks { " " a class=(disk) data-dialog href=(ctx.dialog("create-disk", &[])) { "Create Disk" } }
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected_is_one_sentence() {
        let disk = |policy: bool| Protection {
            disk: Disk {
                enable_automated_snapshot_policy: policy,
                ..Disk::default()
            },
            newest: None,
            first: html! {},
        };
        assert_eq!(
            protected(&[disk(false), disk(true), disk(false)], 1, None),
            "2 of 3 disks have a snapshot of the last seven days; 1 has an automatic policy."
        );
        assert_eq!(
            protected(&[disk(false)], 0, None),
            "1 of 1 disk has a snapshot of the last seven days; 0 have an automatic policy."
        );
        assert_eq!(
            protected(&[disk(false), disk(false)], 2, Some(2)),
            "0 of the first 2 disks have a snapshot of the last seven days; 0 have an automatic policy."
        );
    }
}
