//! Dialogs about images, tags and tasks.

use super::{Form, Shape, choice, precautions};
use crate::ask::ask;
use crate::layout::{Page, Section};
use crate::pages::one_snapshot;
use crate::text;
use maud::html;
use tidemark_ecs::ApiError;

/// Data disks that a dialog has rows for.
const DATA_DISKS: usize = 4;

pub(super) async fn create_image(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    // Of an instance: all its disks; of a system disk's snapshot: that, with snapshots of data disks if wanted.
    let instance = form.fields.get("InstanceId");
    let system = form
        .fields
        .get("SnapshotId")
        .or_else(|| form.fields.get("DiskDeviceMapping.1.SnapshotId"));
    let mut data = vec![choice("", "None")];
    if instance.is_none() {
        let asked = [
            ("SourceDiskType", "data"),
            ("Status", "accomplished"),
            ("PageSize", "100"),
        ];
        let found = ask!(ctx, "DescribeSnapshots", describe_snapshots, &asked).snapshots;
        data.extend(found.into_iter().map(|snapshot| {
            let shown = format!("{} {}", snapshot.snapshot_id, snapshot.snapshot_name);
            choice(snapshot.snapshot_id, shown)
        }));
    }
    let source = match (instance, system) {
        (None, Some(id)) => Some(one_snapshot(ctx, id).await?),
        (None, None) => return Err(ApiError::missing_parameter("SnapshotId")),
        (Some(_), _) => None,
    };
    let inner = html! {
        @if let Some(id) = instance {
            (form.hidden("InstanceId"))
            p { "Of all disks of the instance " code { (id) } ". It need not be stopped, but must not be while the image is being created." }
        }
        @if let Some(source) = &source {
            div class="field" {
                label for="system" { "System Snapshot ID" }
                input id="system" name="DiskDeviceMapping.1.SnapshotId" value=(source.snapshot_id) readonly;
                input type="hidden" name="DiskDeviceMapping.1.DiskType" value="system";
                input type="hidden" name="DiskDeviceMapping.1.Device" value=(tidemark_ecs::actions::create_image::SYSTEM_DEVICE);
            }
        }
        (form.text("Custom Image Name", "ImageName", "2 to 128 letters, digits and : _ . -, beginning with a letter."))
        (form.text("Custom Image Description", "Description", "2 to 256 characters."))
        @if source.is_some() && data.len() > 1 {
            details {
                summary { "Add Data Disk Snapshot" }
                @for row in 2..DATA_DISKS + 2 {
                    (form.select(&format!("Data disk {}", row - 1), &format!("DiskDeviceMapping.{row}.SnapshotId"), &data, ""))
                }
            }
        }
        (form.tags())
    };
    let shape = Shape::new(Section::Images, "Create Custom Image", "CreateImage", "Create");
    Ok(form.page(&shape, &inner))
}

pub(super) fn delete_image(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("ImageId")?;
    let inner = html! {
        (form.hidden("ImageId"))
        p { "Delete the image " code { (id) } "? Its snapshots stay, and so do the instances that were made of it." }
        (form.tick("Although instances use it", "Force", "true", false))
    };
    let shape = Shape::new(Section::Images, "Delete", "DeleteImage", "OK").dangerous();
    Ok(form.page(&shape, &inner))
}

pub(super) async fn tags(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let (kind, id) = (form.needed("ResourceType")?, form.needed("ResourceId.1")?);
    let own = [
        ("ResourceType", kind),
        ("ResourceId.1", id),
        ("MaxResults", "100"),
    ];
    let now = ask!(ctx, "ListTagResources", list_tag_resources, &own).tag_resources;
    let may_remove = ctx.may("UntagResources", &[own[0], own[1]]).await;
    let then = form.fields.text("_then");
    let inner = html! {
        (form.hidden("ResourceType"))
        (form.hidden("ResourceId.1"))
        p { "Tags of " code { (id) } }
        ul class="tags" {
            @for tag in &now {
                @let off = [own[0], own[1], ("TagKey.1", tag.tag_key.as_str()), ("_then", then)];
                li {
                    (tag.tag_key) @if !tag.tag_value.is_empty() { ": " (tag.tag_value) }
                    @if may_remove {
                        " " a data-dialog href=(ctx.link_with("/dialog/untag", &off)) aria-label=(format!("Remove the tag {}", tag.tag_key)) { "Remove" }
                    }
                }
            }
            @if now.is_empty() { li class="none" { "No tag yet" } }
        }
        (form.tags())
        (precautions(&["A key that is there already gets the new value."]))
    };
    let shape = Shape::new(section(kind), "Edit Tags", "TagResources", "OK");
    Ok(form.page(&shape, &inner))
}

pub(super) fn untag(form: &Form<'_>) -> Result<Page, ApiError> {
    let (kind, id) = (form.needed("ResourceType")?, form.needed("ResourceId.1")?);
    let key = form.needed("TagKey.1")?;
    let shape = Shape::new(section(kind), "Remove a tag", "UntagResources", "OK");
    let text = format!("Remove the tag {key} from {id}?");
    Ok(form.confirm(&shape, &["ResourceType", "ResourceId.1", "TagKey.1"], &text))
}

fn section(kind: &str) -> Section {
    match kind {
        "disk" => Section::Disks,
        "snapshot" => Section::Snapshots,
        "image" => Section::Images,
        _ => Section::Instances,
    }
}

pub(super) async fn cancel_task(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("TaskId")?;
    let task = ask!(
        form.ctx,
        "DescribeTaskAttribute",
        describe_task_attribute,
        &[("TaskId", id)]
    );
    let done = text::or(&task.task_process, "0%");
    let shape = Shape::new(Section::Tasks, "Cancel", "CancelTask", "OK").dangerous();
    let text = format!("Cancel the task {id}, which is at {done}?");
    Ok(form.confirm(&shape, &["TaskId"], &text))
}
