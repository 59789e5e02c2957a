//! One chain: the snapshots of a disk, what each stores and what they share (product.md 3.6, Snapshot Chains > Details).

use super::{one_disk, snapshots, snapshots_of, stored_of};
use crate::ask::Ctx;
use crate::layout::{Page, Section};
use crate::pictures::chain::{self, Link};
use crate::{parts, text};
use maud::html;
use tidemark_ecs::ApiError;
use tidemark_ecs::model::Snapshot;

/// Rows below the picture: the whole list is a click away.
const LISTED: usize = 10;

pub(super) async fn page(ctx: &Ctx, disk: &str) -> Result<Page, ApiError> {
    let nodes = snapshots_of(ctx, disk).await?;
    // A disk that is gone has no name, and its chain is still there.
    let name = one_disk(ctx, disk)
        .await
        .map(|disk| disk.disk_name)
        .unwrap_or_default();
    let sizes = stored_of(ctx, disk).await?;
    let link = |node: &Snapshot, owned: u64| Link {
        href: ctx.link(&format!("/snapshots/{}", node.snapshot_id)),
        owned,
        full: node.full_snapshot_size_in_bytes,
        id: node.snapshot_id.clone(),
        name: node.snapshot_name.clone(),
    };
    // Nobody knows what is shared who may not know what is stored.
    let links: Option<Vec<Link>> = sizes.map(|sizes| {
        let owned = |node: &Snapshot| sizes.get(&node.snapshot_id).copied().unwrap_or_default();
        nodes.iter().rev().map(|node| link(node, owned(node))).collect()
    });
    let listed = nodes.get(..LISTED.min(nodes.len())).unwrap_or_default();
    let table = snapshots::table(ctx, listed, false).await;
    let body = html! {
        nav class="trail" aria-label="Trail" { a href=(ctx.link_with("/snapshots", &[("tab", "chains")])) { "Snapshot Chains" } }
        div class="title" { h1 { "Chain of " (text::or(&name, disk)) } @if !name.is_empty() { code { (disk) } } }
        @if nodes.is_empty() {
            (parts::empty("There is no snapshot of this disk", "Its chain begins with the first one.", &html! {}))
        } @else {
            p {
                (text::count(nodes.len() as u64, "snapshot"))
                @if let Some(links) = &links { ", " (text::bytes(links.iter().map(|link| link.owned).sum())) " together" }
                "."
            }
            @if let Some(links) = &links { (chain::draw(links)) }
            (table)
            p { a href=(ctx.link_with("/snapshots", &[("DiskId", disk)])) { "All snapshots of this disk" } }
        }
    };
    Ok(Page::new(Section::Snapshots, format!("Chain of {disk}"), body))
}
