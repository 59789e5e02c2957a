//! Rolling back: one disk, or several that were snapshotted together (product.md 2.9, 3.7). What is in the way is said before, and
//! a snapshot of how the disk is now is offered first.

use super::snapshots::of;
use super::{Form, Shape, precautions};
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::pages::{one_disk, one_instance, one_snapshot, snapshots_of};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::{Disk, Snapshot};

const WARNINGS: &[&str] = &[
    "Rolling back cannot be undone: all that was written to the disk after the snapshot is lost.",
    "The whole disk goes back, every partition, and its size, if it was resized since: its file system has to be grown again then.",
    "What was set on a system disk since (host name, network, keys) has to be set again.",
    "Snapshots stay, the newer ones too.",
    "A volume over several disks: stop all writing first, and roll back all of them.",
];

/// What the newest of a disk's snapshots is worth to somebody who wants to come back to how the disk is now; nothing: there is none beside the
/// one to go back to.
fn safety(snapshots: &[Snapshot], target: &str) -> Markup {
    let failed = snapshots.first().filter(|newest| newest.status == "failed");
    let newest = snapshots.iter().find(|snapshot| snapshot.status != "failed");
    html! {
        @if let Some(failed) = failed {
            p class="notice bad" {
                "The newest snapshot of " code { (failed.source_disk_id) } ", " code { (failed.snapshot_id) }
                ", has failed: nothing can be brought back from it."
            }
        }
        @if let Some(newest) = newest.filter(|newest| newest.snapshot_id != target) {
            p class="hint" {
                "The newest snapshot of " code { (newest.source_disk_id) } " is " code { (newest.snapshot_id) } " of " (text::time(&newest.creation_time))
                ": what was written after that is in none."
            }
        }
    }
}

/// What keeps a disk from being rolled back now; nothing: it can be.
async fn in_the_way(ctx: &Ctx, disk: &Disk) -> Result<Vec<String>, ApiError> {
    let mut reasons = Vec::new();
    if disk.status == "ReIniting" {
        reasons.push("The disk is being rolled back already.".to_owned());
    } else if !matches!(disk.status.as_str(), "In_use" | "Available") {
        reasons.push(format!(
            "The disk is {}; it has to be In Use or Unattached.",
            disk.status
        ));
    }
    if !disk.instance_id.is_empty() {
        let instance = one_instance(ctx, &disk.instance_id).await?;
        if instance.status != "Stopped" {
            reasons.push(format!(
                "The instance {} is {}; it has to be Stopped.",
                instance.instance_id, instance.status
            ));
        }
    }
    let others = snapshots_of(ctx, &disk.disk_id).await?;
    for other in others.iter().filter(|other| other.status == "progressing") {
        reasons.push(format!(
            "The snapshot {} is being created: {}.",
            other.snapshot_id, other.progress
        ));
    }
    Ok(reasons)
}

/// What is in the way, and `help` with it. A script keeps it as it is now while the dialog is open.
fn told(reasons: &[String], help: &Markup) -> Markup {
    html! {
        div id="in-the-way" data-live-part {
            @if !reasons.is_empty() {
                div class="notice bad" role="status" {
                    p { "This cannot be done now:" }
                    ul { @for reason in reasons { li { (reason) } } }
                }
            }
            (help)
        }
    }
}

pub(super) async fn disk(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let (disk, id) = (form.needed("DiskId")?, form.needed("SnapshotId")?);
    let snapshot = one_snapshot(ctx, id).await?;
    let disk = match one_disk(ctx, disk).await {
        Ok(disk) => disk,
        Err(error) if error.status == 404 => {
            let message = format!("The disk {disk} is no more. Make a new one from the snapshot instead.");
            return Err(ApiError { message, ..error });
        }
        Err(error) => return Err(error),
    };
    let reasons = in_the_way(ctx, &disk).await?;
    let own = [("DiskId", disk.disk_id.as_str())];
    let stops = [("InstanceId", disk.instance_id.as_str())];
    let can_snapshot =
        matches!(disk.status.as_str(), "In_use" | "Available") && ctx.may("CreateSnapshot", &own).await;
    let can_stop =
        !disk.instance_id.is_empty() && !reasons.is_empty() && ctx.may("StopInstance", &stops).await;
    let can_start = !disk.instance_id.is_empty() && ctx.may("StartInstance", &stops).await;
    // Both come back here: what is in the way goes, and the button comes.
    let again = format!(
        "/console/dialog/roll-back?{}",
        form.fields.without(&["_csrf", "_dialog", "region"]).query()
    );
    let first = ctx.link_with("/dialog/create-snapshot", &[own[0], ("_then", again.as_str())]);
    let stop = ctx.link_with("/dialog/stop-instance", &[stops[0], ("_then", again.as_str())]);
    let runs = reasons.iter().any(|reason| reason.starts_with("The instance"));
    let snapshots = snapshots_of(ctx, &disk.disk_id).await?;
    let help = html! {
        (safety(&snapshots, id))
        @if can_stop && runs { p { a class="button" data-dialog href=(stop) { "Stop the instance first" } } }
        @if can_snapshot {
            p {
                "To be able to come back to how the disk is now: "
                a class="button" data-dialog href=(first) { "Create Snapshot" }
            }
        }
    };
    let inner = html! {
        (form.hidden("DiskId"))
        (form.hidden("SnapshotId"))
        (of(&snapshot))
        (precautions(WARNINGS))
        (told(&reasons, &help))
        @if can_start {
            input type="hidden" name="_instance" value=(disk.instance_id);
            (form.tick("Start Instance Immediately after Rollback", "_start", "true", false))
        }
        (super::disks::about(&disk))
    };
    let shape = Shape::new(Section::Snapshots, "Roll Back Disk", "ResetDisk", "OK").dangerous();
    Ok(form.page_if(&shape, &inner, reasons.is_empty()))
}

pub(super) async fn instance(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let id = form.needed("_group")?;
    let found = ask!(
        ctx,
        "DescribeSnapshotGroups",
        describe_snapshot_groups,
        &[("SnapshotGroupId.1", id)]
    );
    let group = found.snapshot_groups.into_iter().next();
    let group = group.ok_or_else(|| {
        ApiError::new(
            404,
            "InvalidSnapshotGroup.NotFound",
            format!("There is no instance snapshot {id:?}."),
        )
    })?;
    let mut reasons = Vec::new();
    let mut members = Vec::new();
    let mut gone = Vec::new();
    let mut worth = Vec::new();
    for member in &group.snapshots {
        match one_disk(ctx, &member.source_disk_id).await {
            Ok(disk) => {
                for reason in in_the_way(ctx, &disk).await? {
                    if !reasons.contains(&reason) {
                        reasons.push(reason);
                    }
                }
                worth.push(safety(
                    &snapshots_of(ctx, &disk.disk_id).await?,
                    &member.snapshot_id,
                ));
                members.push((member, disk));
            }
            Err(error) if error.status == 404 => gone.push(member),
            Err(error) => return Err(error),
        }
    }
    if members.is_empty() {
        reasons.push("None of its disks is there any more. Make new ones from the snapshots.".to_owned());
    }
    let can_start = !group.instance_id.is_empty()
        && ctx
            .may("StartInstance", &[("InstanceId", &group.instance_id)])
            .await;
    let of_instance = [("InstanceId", group.instance_id.as_str())];
    let runs = reasons.iter().any(|reason| reason.starts_with("The instance"));
    let has_instance = !group.instance_id.is_empty() && !members.is_empty();
    let can_stop = has_instance && runs && ctx.may("StopInstance", &of_instance).await;
    let can_snapshot = has_instance && ctx.may("CreateSnapshotGroup", &of_instance).await;
    // Both come back here: what is in the way goes, and the button comes.
    let again = format!(
        "/console/dialog/roll-back-instance?{}",
        form.fields.without(&["_csrf", "_dialog", "region"]).query()
    );
    let back_here = [of_instance[0], ("_then", again.as_str())];
    let stop = ctx.link_with("/dialog/stop-instance", &back_here);
    let first = ctx.link_with("/dialog/create-instance-snapshot", &back_here);
    let help = html! {
        @for worth in &worth { (worth) }
        @if can_stop { p { a class="button" data-dialog href=(stop) { "Stop the instance first" } } }
        @if can_snapshot {
            p {
                "To be able to come back to how the disks are now: "
                a class="button" data-dialog href=(first) { "Create Instance Snapshot" }
            }
        }
    };
    let inner = html! {
        (form.hidden("_group"))
        (precautions(WARNINGS))
        @for member in &gone {
            p class="notice" {
                "The disk " code { (member.source_disk_id) } " is no more, so it is left out. A new disk can be created from its snapshot "
                code { (member.snapshot_id) } "."
            }
        }
        (told(&reasons, &help))
        @if can_start {
            input type="hidden" name="_instance" value=(group.instance_id);
            (form.tick("Start Instance Immediately after Rollback", "_start", "true", false))
        }
        fieldset data-pairs {
            legend { "Cloud disk snapshot" }
            @for (number, (member, disk)) in members.iter().enumerate() {
                (form.tick(
                    &format!("{} {}, {} to {}", parts::disk_type(&disk.disk_type), text::or(&disk.disk_name, &disk.disk_id), text::gib(disk.size), member.snapshot_id),
                    &format!("Disk.{}.DiskId", number + 1),
                    &disk.disk_id,
                    true,
                ))
                input type="hidden" name=(format!("Disk.{}.SnapshotId", number + 1)) value=(member.snapshot_id);
            }
        }
    };
    let shape = Shape::new(
        Section::Snapshots,
        "Rollback instance",
        "ResetDisks",
        "OK Rollback",
    )
    .dangerous();
    Ok(form.page_if(&shape, &inner, reasons.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safety_snapshot_that_failed_is_told_and_the_one_before_it_too() {
        let snapshot = |id: &str, status: &str| Snapshot {
            snapshot_id: id.to_owned(),
            source_disk_id: "d-1".to_owned(),
            status: status.to_owned(),
            ..Snapshot::default()
        };
        let said = |all: &[Snapshot]| safety(all, "s-target").into_string();
        let target = snapshot("s-target", "accomplished");
        assert_eq!(said(std::slice::from_ref(&target)), "");
        assert_eq!(said(&[]), "");
        let kept = said(&[snapshot("s-new", "accomplished"), target.clone()]);
        assert!(kept.contains("s-new") && !kept.contains("bad"), "{kept}");
        let failed = said(&[
            snapshot("s-bad", "failed"),
            snapshot("s-old", "accomplished"),
            target,
        ]);
        assert!(
            failed.contains("s-bad") && failed.contains("nothing can be brought back"),
            "{failed}"
        );
        assert!(failed.contains("s-old"), "{failed}");
    }
}
