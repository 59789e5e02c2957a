//! Dialogs about disks (product.md 3.4 and 3.8).

use super::{Form, Shape, choice, precautions};
use crate::afterwards::Then;
use crate::ask::{Ctx, ask};
use crate::fields::Fields;
use crate::layout::{Page, Section};
use crate::pages::{one_disk, one_snapshot};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::create_disk;
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

fn categories() -> Vec<(String, String)> {
    let each = CATEGORIES.iter();
    each.map(|category| choice(category.name, parts::category(category.name)))
        .collect()
}

/// `none`: what it means to choose none.
fn levels(none: &str) -> Vec<(String, String)> {
    let each = PERFORMANCE_LEVELS.iter().map(|(level, _)| choice(*level, *level));
    std::iter::once(choice("", none)).chain(each).collect()
}

/// The quota of data disks that an instance has, as the API names it.
const MOST_DATA_DISKS: &str = "max-data-disks-per-instance";
/// Most disks that are made at once.
const QUANTITY_MOST: u64 = 100;

/// How many disks the form asks for.
pub(crate) fn quantity(fields: &Fields) -> Result<u64, ApiError> {
    let given = text::or(fields.text("_Quantity"), "1");
    let count = given
        .parse()
        .ok()
        .filter(|count| (1..=QUANTITY_MOST).contains(count));
    count.ok_or_else(|| {
        let why = format!("{given:?} is no whole number from 1 to {QUANTITY_MOST}");
        ApiError::invalid_parameter("Quantity", why)
    })
}

pub(super) async fn create(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    if form.error.is_none() && form.fields.text("_step") == "preview" {
        return preview(form).await;
    }
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
        Some(id) => match one_snapshot(ctx, id).await {
            Ok(snapshot) => Some(snapshot),
            // What is wrong is told already, beside all that was typed.
            Err(_) if form.error.is_some() => None,
            Err(error) => return Err(error),
        },
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
    for instance in fits {
        let own = [("InstanceId", instance.instance_id.as_str())];
        if ctx.may("AttachDisk", &own).await {
            let shown = format!("{} {}", instance.instance_id, instance.instance_name);
            instances.push(choice(instance.instance_id, shown));
        }
    }
    // Who may not count them may still make some.
    let used = match disks_of(ctx, &[("MaxResults", "1")]).await {
        Ok((_, used)) => format!("{} in this region; ", text::count(used as u64, "disk")),
        Err(_) => String::new(),
    };
    let used =
        format!("1 to {QUANTITY_MOST}. {used}no quota bounds them here, only the room of this machine.");
    let inner = html! {
        (form.select("Attach to ECS Instance", "_attach", &instances, ""))
        (form.select("Create from Snapshot", "SnapshotId", &sources, ""))
        (form.number("Capacity, GiB", "Size", "At least what the snapshot's disk had, if there is one; empty is as much as that.", least.as_deref().unwrap_or("40")))
        (form.select("Storage", "DiskCategory", &categories(), "cloud_essd"))
        (form.select("Performance Level", "PerformanceLevel", &levels("Category default"), ""))
        (form.select("Zone", "ZoneId", &zones, ""))
        (form.select("Disk Encryption", "Encrypted", &encryption, ""))
        (form.number("Quantity", "_Quantity", &used, "1"))
        (form.text("Disk Name", "DiskName", "2 to 128 letters, digits and : _ . -, beginning with a letter."))
        (form.text("Description", "Description", "2 to 256 characters."))
        (form.tags())
        (precautions(&[
            "A disk from a snapshot can be used at once; what is not there yet is fetched when it is read.",
            "Beside its source in one guest, a file system's UUID is there twice: change one before both are mounted.",
        ]))
    };
    let shape = Shape::new(Section::Disks, "Create Disk", "CreateDisk", "Preview");
    Ok(form.page(&shape.previewed(), &inner))
}

/// Disks, and how many there are in all.
async fn disks_of(ctx: &Ctx, asked: &[(&str, &str)]) -> Result<(Vec<Disk>, usize), ApiError> {
    let found = ask!(ctx, "DescribeDisks", describe_disks, asked);
    Ok((found.disks, found.page.total_count))
}

/// Data disks that an instance may have.
async fn most_data_disks(ctx: &Ctx) -> Result<Option<u64>, ApiError> {
    let asked = [("AttributeName.1", MOST_DATA_DISKS)];
    let found = ask!(
        ctx,
        "DescribeAccountAttributes",
        describe_account_attributes,
        &asked
    );
    let attribute = found.account_attribute_items.into_iter().next();
    let value = attribute.and_then(|attribute| attribute.attribute_values.into_iter().next());
    Ok(value.and_then(|value| value.value.parse().ok()))
}

/// Refuses more new disks than the instance has room for; who may not see what it has is told by the action.
async fn room_on(ctx: &Ctx, instance: &str, count: u64) -> Result<(), ApiError> {
    let asked = [
        ("InstanceId", instance),
        ("DiskType", "data"),
        ("MaxResults", "1"),
    ];
    let (Ok(Some(most)), Ok((_, used))) = (most_data_disks(ctx).await, disks_of(ctx, &asked).await) else {
        return Ok(());
    };
    let free = most.saturating_sub(used as u64);
    if count <= free {
        return Ok(());
    }
    let message = format!(
        "The \"Quantity\" is more than the instance {instance} has room for: {free} of its {most} data disks are free."
    );
    Err(ApiError::new(403, "InstanceDiskLimitExceeded", message))
}

/// What would be made, before it is; or what is wrong with it already, as far as that can be known.
async fn preview(form: &Form<'_>) -> Result<Page, ApiError> {
    let (ctx, fields) = (form.ctx, form.fields);
    let count = quantity(fields)?;
    let pairs = fields.parameters();
    let pairs: Vec<(&str, &str)> = pairs
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let params = ctx.params(&pairs)?;
    create_disk::Request::parse(&params)?;
    let asked = ctx.control().authorize(&ctx.caller, "ecs", "CreateDisk", &params);
    asked.await?;
    Then::of("CreateDisk", fields).check(ctx, &ctx.caller).await?;
    if let Some(instance) = fields.get("_attach") {
        room_on(ctx, instance, count).await?;
    }
    // A disk is never smaller than what it is made from.
    let least = match fields.get("SnapshotId") {
        Some(id) => one_snapshot(ctx, id).await?.source_disk_size,
        None => 0,
    };
    let size = fields.text("Size").parse::<u64>().unwrap_or(0).max(least);
    let capacity = match count {
        1 => text::gib(size),
        _ => format!(
            "{} each, {} in all",
            text::gib(size),
            text::gib(size.saturating_mul(count))
        ),
    };
    let tags: Vec<String> = (1..=super::TAG_ROWS_MOST)
        .filter_map(|row| {
            let key = fields.get(&format!("Tag.{row}.Key"))?;
            let value = fields.text(&format!("Tag.{row}.Value"));
            Some(if value.is_empty() {
                key.to_owned()
            } else {
                format!("{key}: {value}")
            })
        })
        .collect();
    let encrypted = match fields.text("Encrypted") {
        "true" => "Yes",
        _ if fields.get("SnapshotId").is_some() => "As its snapshot",
        _ => "No",
    };
    let storage = format!(
        "{} {}",
        parts::category(fields.text("DiskCategory")),
        fields.text("PerformanceLevel")
    );
    // What the form has by itself, and what only says which step this is.
    let own = ["_csrf", "_dialog", "_then", "_token", "_step", "_back", "region"];
    let kept = fields.without(&own);
    let inner = html! {
        @for (name, value) in kept.pairs().filter(|(_, value)| !value.is_empty()) {
            input type="hidden" name=(name) value=(value);
        }
        dl class="facts" {
            (parts::fact_text("Attach to ECS Instance", text::or(fields.text("_attach"), "Not Attach")))
            (parts::fact_text("Billing Method", "Pay-As-You-Go"))
            (parts::fact_text("Zone", fields.text("ZoneId")))
            (parts::fact_text("Storage", storage.trim_end()))
            (parts::fact_text("Capacity", &capacity))
            (parts::fact_text("Create from Snapshot", text::or(fields.text("SnapshotId"), "None: an empty disk")))
            (parts::fact_text("Disk Encryption", encrypted))
            (parts::fact_text("Quantity", &count.to_string()))
            (parts::fact_text("Disk Name", fields.text("DiskName")))
            (parts::fact_text("Description", fields.text("Description")))
            (parts::fact_text("Tag", &tags.join(", ")))
        }
        (precautions(&[
            "A disk takes room as it is written to, not its capacity at once.",
            "You pay for its snapshots only; the disk itself costs nothing here.",
        ]))
    };
    let shape = Shape::new(Section::Disks, "Create Disk: Preview", "CreateDisk", "Create");
    Ok(form.page(&shape.with_back(), &inner))
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

/// What must be known before.
const RESIZE: &[&str] = &[
    "Take a snapshot first, and wait until its progress is 100 %.",
    "The file system has to be grown in the guest afterwards.",
];

fn resize_ways() -> [(String, String); 2] {
    [
        choice("offline", "When the instance starts next"),
        choice("online", "At once"),
    ]
}

pub(super) async fn resize(form: &Form<'_>) -> Result<Page, ApiError> {
    let disk = one_disk(form.ctx, form.needed("DiskId")?).await?;
    let inner = html! {
        (form.hidden("DiskId"))
        (about(&disk))
        (form.number("New capacity, GiB", "NewSize", "More than now: a disk never shrinks.", ""))
        (form.select("Seen by the guest", "Type", &resize_ways(), "offline"))
        (precautions(RESIZE))
    };
    let shape = Shape::new(Section::Disks, "Resize Disk", "ResizeDisk", "OK");
    Ok(form.page(&shape, &inner))
}

/// Several at once, ticked in a list, to one size.
pub(super) async fn resize_each(form: &Form<'_>) -> Result<Page, ApiError> {
    let ids: Vec<&str> = form.fields.all("_each").filter(|id| !id.is_empty()).collect();
    let mut disks = Vec::new();
    for id in &ids {
        match one_disk(form.ctx, id).await {
            Ok(disk) => disks.push(disk),
            // It went while somebody looked; the others are still there.
            Err(error) if error.status == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let largest = disks.iter().map(|disk| disk.size).max().unwrap_or_default();
    let more = format!(
        "More than each has now, so above {}: a disk never shrinks.",
        text::gib(largest)
    );
    let inner = html! {
        @if disks.is_empty() { p class="hint bad" { "No disk is ticked. Go back and tick some." } } @else {
            ul class="plain" {
                @for disk in &disks {
                    li {
                        code { (disk.disk_id) } " " (disk.disk_name) ", " (text::gib(disk.size))
                        input type="hidden" name="_each" value=(disk.disk_id);
                    }
                }
            }
            (form.number("New capacity of each, GiB", "NewSize", &more, ""))
            (form.select("Seen by the guest", "Type", &resize_ways(), "offline"))
            (precautions(RESIZE))
        }
    };
    let shape = Shape::new(Section::Disks, "Resize Disk", "ResizeDisk", "OK").each();
    Ok(form.page_if(&shape, &inner, !disks.is_empty()))
}

/// Another category or performance level.
pub(super) async fn change_category(form: &Form<'_>) -> Result<Page, ApiError> {
    let disk = one_disk(form.ctx, form.needed("DiskId")?).await?;
    let inner = html! {
        (form.hidden("DiskId"))
        (about(&disk))
        (form.select("Storage", "DiskCategory", &categories(), &disk.category))
        (form.select("Performance Level", "PerformanceLevel", &levels("Unchanged, or PL1 when it becomes an ESSD"), &disk.performance_level))
        (precautions(&[
            "Nothing is moved and nobody waits: one engine serves all categories here.",
            "A category decides which sizes a disk may have; performance levels are of ESSD only.",
        ]))
    };
    let shape = Shape::new(Section::Disks, "Change Category", "ModifyDiskSpec", "OK");
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
