//! Instances & Images > Images: the account's own images.

use super::listing;
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::Image;

const STATUSES: &[(&str, &str)] = &[
    ("Creating", "Creating"),
    ("Available", "Available"),
    ("CreateFailed", "Failed"),
    ("Deprecated", "Deprecated"),
];

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let mut asked = listing(ctx, &["ImageName", "Status"]);
    let is_filtered = asked.len() > 1;
    asked.push(("ImageOwnerAlias", "self"));
    if ctx.query.get("Status").is_none() {
        asked.push(("Status", "Creating,Available,CreateFailed,Deprecated"));
    }
    let found = ask!(ctx, "DescribeImages", describe_images, &asked);
    let mut rows = Vec::new();
    for image in &found.images {
        rows.push(row(ctx, image).await);
    }
    let body = html! {
        div class="title" { h1 { "Images" } }
        (parts::filters(ctx, "ImageName", "Name", false))
        @if rows.is_empty() && !is_filtered {
            (parts::empty(
                "No image of your own yet",
                "An image is what new instances are created from: the snapshot of a system disk, with those of data disks if there are any. Choose \
                 Create Custom Image on an instance, or on the snapshot of a system disk.",
                &html! { a class="button" href=(ctx.link_with("/snapshots", &[("SourceDiskType", "system")])) { "Snapshots of system disks" } },
            ))
        } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr {
                        th { "Image ID/Name" } th { "Tag" } th { "System" } th { "Size" } th { "Snapshots" }
                        th { (parts::column_filter(ctx, "Status", "Status", STATUSES)) }
                        th { "Progress" } th { "Created at" } th class="actions" { "Actions" }
                    } }
                    tbody {
                        @for row in &rows { (row) }
                        @if rows.is_empty() { tr { td class="none" colspan="9" { "No image fits these filters." } } }
                    }
                }
            }
            (parts::pager(ctx, rows.len(), found.page.total_count, &found.page.next_token))
        }
    };
    Ok(Page::new(Section::Images, "Images", body))
}

async fn row(ctx: &Ctx, image: &Image) -> Markup {
    let id = image.image_id.as_str();
    let edits = ctx
        .may("TagResources", &[("ResourceType", "image"), ("ResourceId.1", id)])
        .await;
    let deletes = ctx.may("DeleteImage", &[("ImageId", id)]).await;
    html! {
        tr {
            td data-label="Image ID/Name" { span class="id" { (id) } span class="name" { (image.image_name) } }
            td data-label="Tag" { (parts::tags(ctx, &image.tags, edits.then_some(("image", id)))) }
            td data-label="System" { (text::or(&image.os_name_en, &image.platform)) }
            td data-label="Size" { (text::gib(image.size)) }
            td data-label="Snapshots" {
                @for mapping in image.disk_device_mappings.iter().filter(|mapping| !mapping.snapshot_id.is_empty()) {
                    a class="id" href=(ctx.link(&format!("/snapshots/{}", mapping.snapshot_id))) { (mapping.snapshot_id) } " "
                }
            }
            td data-label="Status" { (parts::status(&image.status)) }
            td data-label="Progress" { (parts::progress(&image.progress)) }
            td data-label="Created at" { (text::time(&image.creation_time)) }
            td data-label="Actions" class="actions" {
                (parts::opens(deletes, &ctx.dialog("delete-image", &[("ImageId", id)]), "Delete", id))
            }
        }
    }
}
