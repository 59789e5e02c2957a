//! Dialogs about snapshots and groups of them (product.md 3.5 and 3.7).

use super::disks::about;
use super::{Form, Shape, choice, precautions};
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::pages::{json_ids, metered, one_disk, one_instance, one_snapshot};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::Snapshot;

/// What everybody has to know who takes one (S21 to S27).
const NOTICE: &[&str] = &[
    "Do not stop or restart the instance while the snapshot is being created.",
    "Snapshots take space, and what they take is metered until they are deleted.",
    "The disk's performance falls by less than 10 % meanwhile; off-peak hours are best.",
    "What is written after this moment is not in the snapshot.",
    "A RAID array or a volume over several disks: take an instance snapshot, or stop all writing first.",
];

/// The snapshot that a dialog is about, for people.
pub(super) fn of(snapshot: &Snapshot) -> Markup {
    html! {
        dl class="facts" {
            (parts::fact("Snapshot", &html! { code { (snapshot.snapshot_id) } " " (snapshot.snapshot_name) }))
            (parts::fact("Disk", &html! { code { (snapshot.source_disk_id) } }))
            (parts::fact("Created at", &text::time(&snapshot.creation_time)))
        }
    }
}

pub(super) async fn create(form: &Form<'_>) -> Result<Page, ApiError> {
    let disk = one_disk(form.ctx, form.needed("DiskId")?).await?;
    let is_essd = disk.category.starts_with("cloud_essd") || disk.category == "cloud_auto";
    let inner = html! {
        (form.hidden("DiskId"))
        (about(&disk))
        (form.text("Snapshot Name", "SnapshotName", "2 to 128 letters, digits and : _ . -, beginning with a letter, not with auto."))
        (form.text("Description", "Description", "2 to 256 characters."))
        (form.number("Keep for, days", "RetentionDays", "Empty: for ever.", ""))
        @if is_essd {
            fieldset {
                legend { "Instant Access" }
                (form.tick("Instant Access", "InstantAccess", "true", false))
                (form.number("Duration of Instant Access, days", "InstantAccessRetentionDays", "Empty: as long as the snapshot is kept.", ""))
            }
            details {
                summary { "Older options" }
                (form.tick("Create Local Snapshot", "Category", "flash", false))
                p class="hint" { "Kept for compatibility, and not together with Instant Access: every snapshot here can be used at once." }
            }
        }
        (form.tags())
        @if !disk.instance_id.is_empty() {
            details open[form.fields.get("Consistency").is_some()] {
                summary { "Consistency" }
                (consistency(form))
            }
        }
        (precautions(NOTICE))
    };
    let shape = Shape::new(Section::Disks, "Create Snapshot", "CreateSnapshot", "Create");
    Ok(form.page(&shape, &inner))
}

pub(super) async fn delete(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let id = form.needed("SnapshotId")?;
    let snapshot = one_snapshot(ctx, id).await?;
    let lock = crate::pages::lock_of(ctx, id).await;
    let feeds_image = matches!(snapshot.usage.as_str(), "image" | "image_disk");
    let feeds_disk = matches!(snapshot.usage.as_str(), "disk" | "image_disk");
    let freed = freed(form, &snapshot).await;
    let undelete = text::undelete(ctx.control().undelete_window());
    let inner = html! {
        (form.hidden("SnapshotId"))
        (of(&snapshot))
        (freed)
        @if let Some(lock) = &lock {
            p class="notice bad" { "It is locked until " (text::time(&lock.lock_expired_time)) ", and cannot be deleted before." }
        }
        @if feeds_image {
            p class="notice bad" { "An image was made of it, and needs it. " a href=(ctx.link("/images")) { "Delete the image first." } }
        } @else if feeds_disk {
            p { "Disks were made from it. They keep their data, but cannot be re-initialized to it any more." }
            (form.tick("Proceed to Forcibly Delete", "Force", "true", false))
        }
        @if snapshot.status == "progressing" { p { "It is still being created; deleting it cancels that." } }
        (precautions(&[undelete.as_str()]))
    };
    let submit = if feeds_disk { "Force Delete" } else { "Delete" };
    let shape = Shape::new(Section::Snapshots, "Delete Snapshot", "DeleteSnapshot", submit);
    Ok(form.page_if(
        &shape.dangerous().then("/snapshots"),
        &inner,
        lock.is_none() && !feeds_image,
    ))
}

/// Several at once, ticked in a list.
pub(super) async fn delete_each(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let ids: Vec<&str> = form.fields.all("_each").filter(|id| !id.is_empty()).collect();
    let known = match ids.len() {
        1..=LISTED_MOST => named(ctx, &ids).await.unwrap_or_default(),
        _ => Vec::new(),
    };
    let freed = freed_by(form, &known).await;
    let about = |id: &str| known.iter().find(|snapshot| snapshot.snapshot_id == id);
    let undelete = text::undelete(ctx.control().undelete_window());
    let inner = html! {
        @if ids.is_empty() { p class="hint bad" { "No snapshot is ticked. Go back and tick some." } } @else {
            p { "Delete " (text::count(ids.len() as u64, "snapshot")) "?" }
            ul class="plain" {
                @for id in &ids {
                    li {
                        code { (id) }
                        @if let Some(snapshot) = about(id) { " " (snapshot.snapshot_name) " of " (text::time(&snapshot.creation_time)) }
                        input type="hidden" name="_each" value=(id);
                    }
                }
            }
            (freed)
            (form.tick("Proceed to Forcibly Delete those that disks were made from", "Force", "true", false))
            (precautions(&[undelete.as_str()]))
        }
    };
    let shape = Shape::new(Section::Snapshots, "Delete snapshots", "DeleteSnapshot", "Delete");
    let shape = shape.dangerous().each();
    Ok(form.page_if(&shape, &inner, !ids.is_empty()))
}

/// Most snapshots that a dialog about several looks into.
const LISTED_MOST: usize = 100;

/// Those of these snapshots that there are.
async fn named(ctx: &Ctx, ids: &[&str]) -> Result<Vec<Snapshot>, ApiError> {
    let asked = json_ids(ids);
    let asked = [("SnapshotIds", asked.as_str()), ("PageSize", "100")];
    Ok(ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked).snapshots)
}

/// What deleting the snapshot alone would free at most, and what is stored for it, in bytes; `None` where that is not known. It is a help to
/// decide, and no reason to keep anybody from deleting.
async fn freeable(ctx: &Ctx, snapshot: &Snapshot) -> Option<(u64, u64)> {
    async fn alone(ctx: &Ctx, id: &str) -> Result<(u64, u64), ApiError> {
        let asked = [("SnapshotId", id)];
        let changes = ask!(ctx, "DescribeSnapshotChanges", describe_snapshot_changes, &asked);
        Ok((changes.alone_size, changes.added_size))
    }
    if snapshot.status != "accomplished" {
        return None;
    }
    let id = snapshot.snapshot_id.as_str();
    let items = metered(ctx, &[("SnapshotId", id)]).await.ok().flatten()?;
    let stored = items.into_iter().next()?.size;
    let (alone, added) = alone(ctx, id).await.ok()?;
    // What is stored for it is what it added, compressed; of that goes what nobody else has.
    let share = u128::from(stored) * u128::from(alone) / u128::from(added.max(1));
    let freed = u64::try_from(share).unwrap_or(u64::MAX).min(stored);
    Some((freed, stored))
}

/// What deleting the snapshot would free, in a sentence.
async fn freed(form: &Form<'_>, snapshot: &Snapshot) -> Markup {
    let Some((freed, stored)) = freeable(form.ctx, snapshot).await else {
        return html! {};
    };
    html! {
        p class="freed" {
            "Deleting it would free at most about " strong { (text::bytes(freed)) } " of the " (text::bytes(stored)) " that are stored for it; the rest is shared with the snapshots beside it."
        }
    }
}

/// As [`freed`], of several that are deleted together. What only neighbours among them share goes with the last of them, and no single one tells
/// of that; so the bound of all together is what is stored for them.
async fn freed_by(form: &Form<'_>, snapshots: &[Snapshot]) -> Markup {
    // Each is a walk through two trees.
    if snapshots.is_empty() || snapshots.len() > WALKED_MOST {
        return html! {};
    }
    let (mut alone, mut most) = (0u64, 0u64);
    for snapshot in snapshots {
        let Some((freed, stored)) = freeable(form.ctx, snapshot).await else {
            return html! {};
        };
        alone = alone.saturating_add(freed);
        most = most.saturating_add(stored);
    }
    html! {
        p class="freed" {
            "Deleting them would free at most " strong { (text::bytes(most)) } ", which are stored for them. One by one, with the others kept, they would free at most about "
            (text::bytes(alone)) "; the rest is shared."
        }
    }
}

/// Most snapshots whose trees a dialog walks.
const WALKED_MOST: usize = 20;

pub(super) async fn copy(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let snapshot = one_snapshot(ctx, form.needed("SnapshotId")?).await?;
    let mut regions: Vec<_> = ctx
        .regions
        .iter()
        .map(|region| {
            choice(
                region.region_id.clone(),
                text::or(&region.local_name, &region.region_id),
            )
        })
        .collect();
    // Another region first: that is what copies are for.
    regions.sort_by_key(|(id, _)| *id == ctx.region);
    let first = regions.first().map(|(id, _)| id.clone()).unwrap_or_default();
    let inner = html! {
        (form.hidden("SnapshotId"))
        (of(&snapshot))
        (form.select("Destination Region", "DestinationRegionId", &regions, &first))
        (form.text("Snapshot Name", "DestinationSnapshotName", "2 to 128 letters, digits and : _ . -, beginning with a letter, not with auto."))
        (form.text("Description", "DestinationSnapshotDescription", "2 to 256 characters."))
        (form.number("Keep for, days", "RetentionDays", "Empty: for ever.", ""))
        (form.tags())
        (precautions(&["The first copy of a disk's snapshots is a whole one; later ones only carry what changed.", "Tags and locks are not copied."]))
    };
    let shape = Shape::new(Section::Snapshots, "Copy Snapshot", "CopySnapshot", "OK");
    Ok(form.page(&shape, &inner))
}

pub(super) async fn modify(form: &Form<'_>) -> Result<Page, ApiError> {
    let snapshot = one_snapshot(form.ctx, form.needed("SnapshotId")?).await?;
    let inner = html! {
        (form.hidden("SnapshotId"))
        (of(&snapshot))
        (form.text("Snapshot Name", "SnapshotName", "Empty: as it is."))
        (form.text("Description", "Description", "Empty: as it is."))
        (form.number("Keep for, days", "RetentionDays", "Counted from its making. Empty: as it is.", ""))
    };
    let shape = Shape::new(
        Section::Snapshots,
        "Edit Name and Retention",
        "ModifySnapshotAttribute",
        "OK",
    );
    Ok(form.page(&shape, &inner))
}

pub(super) async fn lock(form: &Form<'_>) -> Result<Page, ApiError> {
    let snapshot = one_snapshot(form.ctx, form.needed("SnapshotId")?).await?;
    let inner = html! {
        (form.hidden("SnapshotId"))
        input type="hidden" name="LockMode" value="compliance";
        (of(&snapshot))
        (form.number("Lock for, days", "LockDuration", "1 to 36500, and no longer than it is kept.", "7"))
        (form.number("Can be unlocked for, hours", "CoolOffPeriod", "0 to 72. After that nobody can unlock it, whoever they are.", "24"))
        (precautions(&["Until the lock ends nobody can delete the snapshot, not even the account itself. A lock can be made longer, never shorter."]))
    };
    let shape = Shape::new(Section::Snapshots, "Lock", "LockSnapshot", "Lock").dangerous();
    Ok(form.page(&shape, &inner))
}

pub(super) fn unlock(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("SnapshotId")?;
    let shape = Shape::new(Section::Snapshots, "Unlock", "UnlockSnapshot", "OK");
    Ok(form.confirm(
        &shape,
        &["SnapshotId"],
        &format!("Take the lock off the snapshot {id}? It can be deleted then."),
    ))
}

pub(super) fn undelete(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("SnapshotId")?;
    let shape = Shape::new(Section::Snapshots, "Undelete", "UndeleteSnapshot", "OK");
    Ok(form.confirm(&shape, &["SnapshotId"], &format!("Bring the snapshot {id} back?")))
}

pub(super) fn verify(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("SnapshotId.1")?;
    let shape = Shape::new(Section::Snapshots, "Verify now", "StartVaultScrub", "OK");
    let text = format!(
        "Read the snapshot {id} through in the vault, and compare every byte with its checksum? What is damaged is repaired from the \
         disk where that still has it; the verdict stands on the snapshot's page, and damage in Events, too."
    );
    Ok(form.confirm(&shape, &["SnapshotId.1"], &text))
}

pub(super) async fn create_group(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let Some(id) = form.fields.get("InstanceId") else {
        return group_of_which(form).await;
    };
    let instance = one_instance(ctx, id).await?;
    let asked = [
        ("InstanceId", instance.instance_id.as_str()),
        ("MaxResults", "100"),
    ];
    let disks = ask!(ctx, "DescribeDisks", describe_disks, &asked).disks;
    let inner = html! {
        (form.hidden("InstanceId"))
        // Without any disk the action would take all of them.
        input type="hidden" name="_some" value="DiskId.";
        fieldset {
            legend { "Disks" }
            @for (number, disk) in disks.iter().enumerate() {
                (form.tick(
                    &format!("{} {} {}, {}", disk.disk_id, disk.disk_name, parts::disk_type(&disk.disk_type), text::gib(disk.size)),
                    &format!("DiskId.{}", number + 1),
                    &disk.disk_id,
                    true,
                ))
            }
            @if disks.is_empty() { p class="hint bad" { "No disk is attached to this instance." } }
        }
        (form.text("Instance Snapshot Name", "Name", "2 to 128 letters, digits and : _ . -, beginning with a letter."))
        (form.text("Description", "Description", "2 to 256 characters."))
        (form.tick("Instant Access", "InstantAccess", "true", false))
        (form.number("Duration of Instant Access, days", "InstantAccessRetentionDays", "Empty: as long as the snapshots are kept.", ""))
        (consistency(form))
        (form.tags())
        (precautions(&[
            "All disks are taken at one instant: a write that came after another is in no snapshot without it.",
            "Do not stop or restart the instance while the snapshots are being created.",
        ]))
    };
    let title = "Create Instance Snapshot";
    let shape = Shape::new(Section::Instances, title, "CreateSnapshotGroup", "OK");
    Ok(form.page_if(&shape, &inner, !disks.is_empty()))
}

/// How far the guest is told of it: ticks as the vendor's console has them, which together are one parameter.
fn consistency(form: &Form<'_>) -> Markup {
    html! {
        fieldset {
            legend { "Consistency" }
            (form.tick("Enable Application-consistent Snapshot", "Consistency", "Application", false))
            (form.tick("Enable File System Freeze and Thaw", "Consistency", "FileSystem", false))
            p class="hint" {
                "With neither, the snapshot is what the disk would be after a power cut, and needs nothing in the guest. With one, the QEMU guest agent is asked to "
                "freeze the file systems, and for an application-consistent snapshot to run /tmp/prescript.sh before that and /tmp/postscript.sh after it. Where "
                "that cannot be, the snapshot is taken all the same, and its tags say what was reached and why not more."
            }
        }
    }
}

/// Which instance's disks it is to be of.
async fn group_of_which(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let found = ask!(
        ctx,
        "DescribeInstances",
        describe_instances,
        &[("MaxResults", "100")]
    )
    .instances;
    let of = |id: &str| {
        let pairs = [("InstanceId", id), ("_then", form.fields.text("_then"))];
        ctx.link_with("/dialog/create-instance-snapshot", &pairs)
    };
    let inner = html! {
        p { "Of which instance?" }
        ul class="plain" {
            @for instance in &found {
                li { a data-dialog href=(of(&instance.instance_id)) { (instance.instance_id) " " (instance.instance_name) } }
            }
        }
        @if found.is_empty() { p class="hint bad" { "There is no instance in this region. Create one first." } }
    };
    let title = "Create Instance Snapshot";
    let shape = Shape::new(Section::Snapshots, title, "CreateSnapshotGroup", "OK").command(String::new());
    Ok(form.page_if(&shape, &inner, false))
}

pub(super) async fn delete_group(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let id = form.needed("SnapshotGroupId")?;
    let asked = [("SnapshotGroupId.1", id)];
    let found = ask!(ctx, "DescribeSnapshotGroups", describe_snapshot_groups, &asked);
    let group = found.snapshot_groups.into_iter().next();
    let members = group.as_ref().map_or(&[][..], |group| group.snapshots.as_slice());
    let ids: Vec<&str> = members.iter().map(|member| member.snapshot_id.as_str()).collect();
    let known = match ids.is_empty() {
        true => Vec::new(),
        false => named(ctx, &ids).await.unwrap_or_default(),
    };
    let freed = freed_by(form, &known).await;
    let undelete = text::undelete(ctx.control().undelete_window());
    let inner = html! {
        (form.hidden("SnapshotGroupId"))
        p { "Delete the instance snapshot " code { (id) } " with all its snapshots?" }
        ul class="plain" {
            @for member in members { li { code { (member.snapshot_id) } " of the disk " code { (member.source_disk_id) } } }
        }
        (freed)
        (precautions(&[undelete.as_str()]))
    };
    let shape = Shape::new(Section::Snapshots, "Delete", "DeleteSnapshotGroup", "OK").dangerous();
    Ok(form.page(&shape, &inner))
}
