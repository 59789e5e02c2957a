//! Tags: those that there are, on how many resources of each kind, and the way to these.

use super::listing;
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::CountedTag;

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let asked = listing(ctx, &["Tag.1.Key"]);
    let is_filtered = asked.len() > 1;
    let found = ask!(ctx, "DescribeTags", describe_tags, &asked);
    let body = html! {
        div class="title" { h1 { "Tags" } }
        (parts::filters(ctx, "Tag.1.Key", "Tag key", false))
        @if found.tags.is_empty() && !is_filtered {
            (parts::empty(
                "No tag here yet",
                "A tag is a key, and a value if you like, on an instance, a disk, a snapshot or an image. Lists can be searched by it, costs are told by it, \
                 and what users may do can depend on it. Choose Edit Tags where one of these is listed.",
                &html! { a class="button" href=(ctx.link("/disks")) { "Disks" } },
            ))
        } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr { th { "Tag key" } th { "Tag value" } th { "Instances" } th { "Disks" } th { "Snapshots" } th { "Images" } } }
                    tbody {
                        @for tag in &found.tags { (row(ctx, tag)) }
                        @if found.tags.is_empty() { tr { td class="none" colspan="6" { "No tag has this key." } } }
                    }
                }
            }
            (parts::pager(ctx, found.tags.len(), found.page.total_count, &found.page.next_token))
        }
    };
    Ok(Page::new(Section::Tags, "Tags", body))
}

fn row(ctx: &Ctx, tag: &CountedTag) -> Markup {
    let filter = [
        ("Tag.1.Key", tag.tag_key.as_str()),
        ("Tag.1.Value", tag.tag_value.as_str()),
    ];
    let counts = &tag.resource_type_count;
    let counted = |label: &str, place: &str, count: i64| {
        html! {
            td data-label=(label) {
                @if count > 0 { a href=(ctx.link_with(place, &filter)) aria-label=(format!("{label} with the tag {}: {count}", tag.tag_key)) { (count) } }
                @else { span class="none" { "–" } }
            }
        }
    };
    html! {
        tr {
            td data-label="Tag key" { (tag.tag_key) }
            td data-label="Tag value" { (text::or(&tag.tag_value, "–")) }
            (counted("Instances", "/instances", counts.instance))
            (counted("Disks", "/disks", counts.disk))
            (counted("Snapshots", "/snapshots", counts.snapshot))
            // The list of images is not searched by tag.
            td data-label="Images" { @if counts.image > 0 { (counts.image) } @else { span class="none" { "–" } } }
        }
    }
}
