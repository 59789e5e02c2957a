//! Dialogs about disks (product.md 3.4 and 3.8).

use super::{Form, Shape, choice, precautions};
use crate::ask::ask;
use crate::layout::{Page, Section};
use crate::pages::{one_disk, one_snapshot};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::Disk;
use tidemark_ecs::rules::disk::{CATEGORIES, PERFORMANCE_LEVELS};

/// The disk that a dialog is about, for people.
pub(super) fn about(disk: &Disk) -> Markup {
    html! {
        dl class="facts" {
            (parts::fact("Disk", &html! { code { (disk.disk_id) } " " (disk.disk_name) }))
            (parts::fact_text("Disk category", parts::category(&disk.category)))
            (parts::fact_text("Capacity", &text::gib(disk.size)))
            (parts::fact_text("Type", parts::disk_type(&disk.disk_type)))
        }
    }
}

pub(super) async fn create(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let zones = ask!(
        ctx,
        "DescribeZones",
        describe_zones,
        &[("AcceptLanguage", "en-US")]
    )
    .zones;
    let zones: Vec<_> = zones
        .into_iter()
        .map(|zone| choice(zone.zone_id.clone(), zone.zone_id))
        .collect();
    let source = match form.fields.get("SnapshotId") {
        Some(id) => Some(one_snapshot(ctx, id).await?),
        None => None,
    };
    let asked = [("Status", "accomplished"), ("PageSize", "100")];
    let snapshots = ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked).snapshots;
    let mut sources = vec![choice("", "None: an empty disk")];
    let listed = snapshots.iter().chain(
        source
            .iter()
            .filter(|one| snapshots.iter().all(|other| other.snapshot_id != one.snapshot_id)),
    );
    sources.extend(listed.map(|snapshot| {
        let name = text::or(&snapshot.snapshot_name, &snapshot.snapshot_id);
        let size = text::gib(snapshot.source_disk_size);
        choice(
            snapshot.snapshot_id.clone(),
            format!("{name}, {size}, {}", snapshot.creation_time),
        )
    }));
    let categories: Vec<_> = CATEGORIES
        .iter()
        .map(|category| choice(category.name, parts::category(category.name)))
        .collect();
    let mut levels = vec![choice("", "As usual for its category")];
    levels.extend(PERFORMANCE_LEVELS.iter().map(|(level, _)| choice(*level, *level)));
    let least = source.as_ref().map(|source| source.source_disk_size.to_string());
    let encryption = [choice("", "No, or as its snapshot"), choice("true", "Yes")];
    let found = ask!(
        ctx,
        "DescribeInstances",
        describe_instances,
        &[("MaxResults", "100")]
    )
    .instances;
    let mut instances = vec![choice("", "Not Attach")];
    let fits = found
        .into_iter()
        .filter(|one| matches!(one.status.as_str(), "Running" | "Stopped"));
    instances.extend(fits.map(|instance| {
        let shown = format!("{} {}", instance.instance_id, instance.instance_name);
        choice(instance.instance_id, shown)
    }));
    let inner = html! {
        (form.select("Attach to ECS Instance", "_attach", &instances, ""))
        (form.select("Create from Snapshot", "SnapshotId", &sources, ""))
        (form.number("Capacity, GiB", "Size", "At least what the snapshot's disk had, if there is one; empty is as much as that.", least.as_deref().unwrap_or("40")))
        (form.select("Storage", "DiskCategory", &categories, "cloud_essd"))
        (form.select("Performance Level", "PerformanceLevel", &levels, ""))
        (form.select("Zone", "ZoneId", &zones, ""))
        (form.select("Disk Encryption", "Encrypted", &encryption, ""))
        (form.text("Disk Name", "DiskName", "2 to 128 letters, digits and : _ . -, beginning with a letter."))
        (form.text("Description", "Description", "2 to 256 characters."))
        (form.tags())
        (precautions(&[
            "A disk from a snapshot can be used at once; what is not there yet is fetched when it is read.",
            "Beside its source in one guest, a file system's UUID is there twice: change one before both are mounted.",
        ]))
    };
    let shape = Shape::new(Section::Disks, "Create Disk", "CreateDisk", "Create");
    Ok(form.page(&shape, &inner))
}

pub(super) async fn attach(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let mut disks = Vec::new();
    let mut instances = Vec::new();
    if form.fields.get("_pick") != Some("instance") && form.fields.get("InstanceId").is_some() {
        let asked = [("Status", "Available"), ("MaxResults", "100")];
        let found = ask!(ctx, "DescribeDisks", describe_disks, &asked).disks;
        disks.extend(found.into_iter().map(|disk| {
            let shown = format!("{} {}, {}", disk.disk_id, disk.disk_name, text::gib(disk.size));
            choice(disk.disk_id, shown)
        }));
    } else {
        let found = ask!(
            ctx,
            "DescribeInstances",
            describe_instances,
            &[("MaxResults", "100")]
        )
        .instances;
        let fits = found
            .into_iter()
            .filter(|one| matches!(one.status.as_str(), "Running" | "Stopped"));
        instances.extend(fits.map(|instance| {
            let shown = format!(
                "{} {}, {}",
                instance.instance_id, instance.instance_name, instance.status
            );
            choice(instance.instance_id, shown)
        }));
    }
    let picks_disk = instances.is_empty()
        && form.fields.get("_pick") != Some("instance")
        && form.fields.get("InstanceId").is_some();
    let nothing = if picks_disk {
        disks.is_empty()
    } else {
        instances.is_empty()
    };
    let inner = html! {
        @if picks_disk {
            (form.hidden("InstanceId"))
            (form.select("Target Disk", "DiskId", &disks, ""))
            @if nothing { p class="hint bad" { "No disk of this region is Unattached. Create one first." } }
        } @else {
            (form.hidden("DiskId"))
            input type="hidden" name="_pick" value="instance";
            (form.select("Target Instance", "InstanceId", &instances, ""))
            @if nothing { p class="hint bad" { "No instance of this region is Running or Stopped. Create one first." } }
        }
        (form.tick("Release Disk with Instance", "DeleteWithInstance", "true", false))
    };
    let shape = Shape::new(Section::Disks, "Attach", "AttachDisk", "OK, Attach");
    Ok(form.page_if(&shape, &inner, !nothing))
}

pub(super) fn detach(form: &Form<'_>) -> Result<Page, ApiError> {
    let (disk, instance) = (form.needed("DiskId")?, form.needed("InstanceId")?);
    let shape = Shape::new(Section::Disks, "Detach", "DetachDisk", "OK").dangerous();
    let text =
        format!("Detach the disk {disk} from {instance}? Unmount its file systems in the guest first.");
    Ok(form.confirm(&shape, &["DiskId", "InstanceId"], &text))
}

pub(super) async fn release(form: &Form<'_>) -> Result<Page, ApiError> {
    let disk = one_disk(form.ctx, form.needed("DiskId")?).await?;
    let automatic = if disk.delete_auto_snapshot {
        "Its automatic snapshots go with it; those that somebody took stay, and a disk can be made from them."
    } else {
        "All its snapshots stay, and a disk can be made from them."
    };
    let inner = html! {
        (form.hidden("DiskId"))
        (about(&disk))
        p { "Release this disk? What is on it is gone then." }
        (precautions(&[automatic]))
    };
    let shape = Shape::new(Section::Disks, "Release", "DeleteDisk", "Confirm Release");
    Ok(form.page(&shape.dangerous().then("/disks"), &inner))
}

pub(super) async fn resize(form: &Form<'_>) -> Result<Page, ApiError> {
    let disk = one_disk(form.ctx, form.needed("DiskId")?).await?;
    let ways = [
        choice("offline", "When the instance starts next"),
        choice("online", "At once"),
    ];
    let inner = html! {
        (form.hidden("DiskId"))
        (about(&disk))
        (form.number("New capacity, GiB", "NewSize", "More than now: a disk never shrinks.", ""))
        (form.select("Seen by the guest", "Type", &ways, "offline"))
        (precautions(&[
            "Take a snapshot first, and wait until its progress is 100 %.",
            "The file system has to be grown in the guest afterwards.",
        ]))
    };
    let shape = Shape::new(Section::Disks, "Resize Disk", "ResizeDisk", "OK");
    Ok(form.page(&shape, &inner))
}

pub(super) async fn reinitialize(form: &Form<'_>) -> Result<Page, ApiError> {
    let disk = one_disk(form.ctx, form.needed("DiskId")?).await?;
    let to = match (disk.disk_type.as_str(), disk.source_snapshot_id.as_str()) {
        ("system", _) => "what its image is",
        (_, "") => "an empty disk",
        _ => "the snapshot that it was made from",
    };
    let inner = html! {
        (form.hidden("DiskId"))
        (about(&disk))
        p { "The disk becomes " (to) " again. All that was written since is lost; its snapshots stay." }
        @if !disk.instance_id.is_empty() { (form.tick("Start Instance Immediately afterwards", "AutoStartInstance", "true", false)) }
    };
    let shape = Shape::new(Section::Disks, "Reinitialize Disk", "ReInitDisk", "OK").dangerous();
    Ok(form.page(&shape, &inner))
}

pub(super) async fn modify(form: &Form<'_>) -> Result<Page, ApiError> {
    let disk = one_disk(form.ctx, form.needed("DiskId")?).await?;
    let word = |is: bool| if is { "true" } else { "false" };
    let either = [choice("true", "Yes"), choice("false", "No")];
    let inner = html! {
        (form.hidden("DiskId"))
        (about(&disk))
        (form.text("New name", "DiskName", "Empty: as it is."))
        (form.text("New description", "Description", "Empty: as it is."))
        (form.select("Release Disk with Instance", "DeleteWithInstance", &either, word(disk.delete_with_instance)))
        (form.select("Delete Automatic Snapshots While Releasing Disk", "DeleteAutoSnapshot", &either, word(disk.delete_auto_snapshot)))
    };
    let shape = Shape::new(
        Section::Disks,
        "Modify Disk Property",
        "ModifyDiskAttribute",
        "OK",
    );
    Ok(form.page(&shape, &inner))
}

pub(super) fn hydration(form: &Form<'_>) -> Result<Page, ApiError> {
    form.needed("DiskId")?;
    let either = [choice("false", "Go on"), choice("true", "Pause")];
    let inner = html! {
        (form.hidden("DiskId"))
        (form.select("Filling in the background", "Paused", &either, "false"))
        (form.number("At most, bytes in a second", "LimitBytes", "0: as fast as it can; empty: as it is.", ""))
        (precautions(&["What a guest reads is fetched all the same."]))
    };
    let shape = Shape::new(Section::Disks, "Filling", "ModifyDiskHydration", "OK");
    Ok(form.page(&shape, &inner))
}
