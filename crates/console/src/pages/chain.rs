//! One chain: the snapshots of a disk, what each stores and what they share (product.md 3.6, Snapshot Chains > Details).

use super::{metered, snapshots, snapshots_of};
use crate::ask::Ctx;
use crate::layout::{Page, Section};
use crate::pictures::chain::{self, Link};
use crate::{parts, text};
use maud::html;
use std::collections::HashMap;
use tidemark_ecs::ApiError;

/// Rows below the picture: the whole list is a click away.
const LISTED: usize = 10;

pub(super) async fn page(ctx: &Ctx, disk: &str) -> Result<Page, ApiError> {
    let nodes = snapshots_of(ctx, disk).await?;
    let sizes: HashMap<String, u64> = metered(ctx, &[("DiskId", disk), ("PageSize", "100")])
        .await
        .into_iter()
        .map(|item| (item.snapshot_id, item.size))
        .collect();
    let links: Vec<Link> = nodes
        .iter()
        .rev()
        .map(|node| Link {
            href: ctx.link(&format!("/snapshots/{}", node.snapshot_id)),
            owned: sizes.get(&node.snapshot_id).copied().unwrap_or_default(),
            id: node.snapshot_id.clone(),
            name: node.snapshot_name.clone(),
        })
        .collect();
    let total: u64 = links.iter().map(|link| link.owned).sum();
    let listed = nodes.get(..LISTED.min(nodes.len())).unwrap_or_default();
    let table = snapshots::table(ctx, listed, false).await;
    let body = html! {
        nav class="trail" aria-label="Trail" { a href=(ctx.link_with("/snapshots", &[("tab", "chains")])) { "Snapshot Chains" } }
        div class="title" { h1 { "Chain of " (disk) } }
        @if nodes.is_empty() {
            (parts::empty("There is no snapshot of this disk", "Its chain begins with the first one.", &html! {}))
        } @else {
            p { (text::count(links.len() as u64, "snapshot")) ", " (text::bytes(total)) " together." }
            (chain::draw(&links))
            (table)
            p { a href=(ctx.link_with("/snapshots", &[("DiskId", disk)])) { "All snapshots of this disk" } }
        }
    };
    Ok(Page::new(Section::Snapshots, format!("Chain of {disk}"), body))
}
