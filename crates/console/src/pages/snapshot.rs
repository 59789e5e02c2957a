//! One snapshot: what it is, what it shares, what deleting it would free, and what changed since another one.

use super::{metered, one_snapshot, snapshots, snapshots_of};
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::pictures::{grid, heat};
use crate::{command, parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_events::Event;
use tidemark_ecs::actions::describe_snapshot_changes;
use tidemark_ecs::model::{LockedSnapshot, Snapshot};

/// Ranges that are listed.
const RANGES: &str = "20";

pub(super) async fn page(ctx: &Ctx, id: &str) -> Result<Page, ApiError> {
    let snapshot = one_snapshot(ctx, id).await?;
    let is_done = snapshot.status == "accomplished";
    let own = [("DiskId", snapshot.source_disk_id.as_str()), ("SnapshotId", id)];
    let rolls_back = is_done && snapshot.source_snapshot_id.is_empty() && ctx.may("ResetDisk", &own).await;
    let more = snapshots::more(ctx, &snapshot).await;
    let changes = match is_done {
        true => Some(changes_section(ctx, &snapshot).await),
        false => None,
    };
    let verdict = verdict(ctx, &snapshot).await;
    let lock = lock(ctx, id).await;
    let facts = facts(ctx, &snapshot, lock.as_ref()).await?;
    let body = html! {
        nav class="trail" aria-label="Trail" {
            a href=(ctx.link("/snapshots")) { "Snapshots" }
            " › " a href=(ctx.link(&format!("/disks/{}", snapshot.source_disk_id))) { (snapshot.source_disk_id) }
        }
        div class="title" {
            h1 { (text::or(&snapshot.snapshot_name, id)) }
            (parts::status(&snapshot.status))
            div class="actions" {
                (parts::opens(rolls_back, &ctx.dialog("roll-back", &own), "Roll Back Disk", id))
                @for item in &more { (item) }
            }
        }
        @if snapshot.status == "progressing" {
            p { (parts::progress(&snapshot.progress)) " " (parts::remaining(snapshot.remain_time)) }
        }
        (facts)
        @if let Some(changes) = &changes { (changes) }
        (verdict)
    };
    Ok(Page::new(Section::Snapshots, format!("Snapshot {id}"), body))
}

/// The lock of a snapshot, if it has one and the caller may know.
pub(crate) async fn lock(ctx: &Ctx, id: &str) -> Option<LockedSnapshot> {
    async fn asked(ctx: &Ctx, id: &str) -> Result<Option<LockedSnapshot>, ApiError> {
        let found = ask!(
            ctx,
            "DescribeLockedSnapshots",
            describe_locked_snapshots,
            &[("SnapshotIds.1", id)]
        );
        Ok(found.locked_snapshots_info.into_iter().next())
    }
    let lock = asked(ctx, id).await.ok()??;
    (lock.lock_status != "expired").then_some(lock)
}

/// What reading through the vault has found of this snapshot, newest first.
async fn verdict(ctx: &Ctx, snapshot: &Snapshot) -> Markup {
    async fn told(ctx: &Ctx, disk: &str) -> Result<Vec<Event>, ApiError> {
        let asked = [
            ("EventName.1", "Vault:DamageFound"),
            ("EventName.2", "Vault:Repaired"),
            ("ResourceId", disk),
            ("MaxResults", "100"),
        ];
        Ok(ask!(ctx, "DescribeEvents", describe_events, &asked).events)
    }
    let id = snapshot.snapshot_id.as_str();
    let Ok(events) = told(ctx, &snapshot.source_disk_id).await else {
        return html! {};
    };
    let is_about = |event: &&Event| {
        let ids = event
            .content
            .get("snapshotIds")
            .and_then(serde_json::Value::as_array);
        ids.is_some_and(|ids| ids.iter().any(|one| one.as_str() == Some(id)))
    };
    let found: Vec<&Event> = events.iter().filter(is_about).take(5).collect();
    html! {
        section aria-labelledby="verdict" {
            h2 id="verdict" { "Verified" }
            @if found.is_empty() {
                p { "No damage is known. The vault is read through again and again; Verify now does so at once for this snapshot, and what is found stands here." }
            } @else {
                @for event in &found {
                    @let what = event.content.get("what").and_then(|what| what.as_str()).unwrap_or_default();
                    div class=(if event.event_name == "Vault:Repaired" { "notice" } else { "notice bad" }) {
                        p {
                            (text::time(&event.event_time)) ": "
                            @if event.event_name == "Vault:Repaired" { "damage was found and repaired" } @else { "damage was found" }
                            @if !what.is_empty() { ": " (what) }
                        }
                    }
                }
            }
        }
    }
}

async fn facts(ctx: &Ctx, snapshot: &Snapshot, lock: Option<&LockedSnapshot>) -> Result<Markup, ApiError> {
    let id = snapshot.snapshot_id.as_str();
    let edits = ctx
        .may(
            "TagResources",
            &[("ResourceType", "snapshot"), ("ResourceId.1", id)],
        )
        .await;
    let unlocks = ctx.may("UnlockSnapshot", &[("SnapshotId", id)]).await;
    let items = metered(ctx, &[("SnapshotId", id)]).await?;
    let item = items.and_then(|items| items.into_iter().next());
    Ok(html! {
        dl class="facts" {
            (parts::fact("Snapshot ID", &html! { code { (id) } }))
            (parts::fact_text("Description", &snapshot.description))
            (parts::fact("Disk", &parts::id_link(&ctx.link(&format!("/disks/{}", snapshot.source_disk_id)), &snapshot.source_disk_id)))
            (parts::fact_text("Capacity", &text::gib(snapshot.source_disk_size)))
            (parts::fact_text("Disk type", parts::disk_type(&snapshot.source_disk_type)))
            (parts::fact_text("Kind", snapshots::kind(&snapshot.snapshot_type)))
            (parts::fact("Created at", &text::time(&snapshot.creation_time)))
            (parts::fact_text("Retention", &snapshots::kept(snapshot.retention_days)))
            (parts::fact_text("Encrypted", parts::yes(snapshot.encrypted)))
            (parts::fact_text("Usable", parts::yes(snapshot.available)))
            @if let Some(full) = snapshot.full_snapshot_size_in_bytes {
                (parts::fact("Data in it", &text::size(full)))
            }
            @if let Some(item) = &item {
                (parts::fact("Stored for it", &text::size(item.size)))
                @if let Some(cost) = &item.cost { (parts::fact_text("Cost this month", cost)) }
            }
            @if let Some(lock) = lock {
                (parts::fact("Locked until", &html! {
                    (text::time(&lock.lock_expired_time))
                    @if lock.lock_status == "compliance-cooloff" {
                        " " (parts::opens(unlocks, &ctx.dialog("unlock-snapshot", &[("SnapshotId", id)]), "Unlock", id))
                    }
                }))
            }
            (parts::fact("Tag", &parts::tags(ctx, &snapshot.tags, edits.then_some(("snapshot", id)))))
        }
    })
}

async fn changes(ctx: &Ctx, id: &str, base: &str) -> Result<describe_snapshot_changes::Response, ApiError> {
    let parts = grid::CELLS.to_string();
    let mut asked = vec![
        ("SnapshotId", id),
        ("Parts", parts.as_str()),
        ("MaxRanges", RANGES),
    ];
    if !base.is_empty() {
        asked.push(("BaseSnapshotId", base));
    }
    Ok(ask!(
        ctx,
        "DescribeSnapshotChanges",
        describe_snapshot_changes,
        &asked
    ))
}

async fn changes_section(ctx: &Ctx, snapshot: &Snapshot) -> Markup {
    let id = snapshot.snapshot_id.as_str();
    let base = ctx.query.text("base");
    let others = snapshots_of(ctx, &snapshot.source_disk_id)
        .await
        .unwrap_or_default();
    let found = changes(ctx, id, base).await;
    let mut line = format!(
        "tidemark ecs DescribeSnapshotChanges --RegionId {} --SnapshotId {}",
        command::quoted(&ctx.region),
        command::quoted(id)
    );
    if !base.is_empty() {
        line.push_str(&format!(" --BaseSnapshotId {}", command::quoted(base)));
    }
    html! {
        section aria-labelledby="changes" {
            h2 id="changes" { "What changed" }
            form class="filters" method="get" action=(format!("/console/snapshots/{id}")) data-filters {
                input type="hidden" name="region" value=(ctx.region);
                label {
                    span { "Compared with" }
                    select name="base" {
                        option value="" selected[base.is_empty()] { "the snapshot before it" }
                        @for other in others.iter().filter(|other| other.snapshot_id != id && other.status == "accomplished") {
                            option value=(other.snapshot_id) selected[other.snapshot_id == base] {
                                (text::or(&other.snapshot_name, &other.snapshot_id)) " · " (other.creation_time)
                            }
                        }
                    }
                }
                button type="submit" class="quiet" { "Compare" }
            }
            @match &found {
                Ok(changes) => { (shown(changes)) }
                Err(error) => { (parts::refusal(error)) }
            }
            (parts::command(&line))
        }
    }
}

fn shown(changes: &describe_snapshot_changes::Response) -> Markup {
    html! {
        p {
            @if changes.base_snapshot_id.is_empty() {
                "It is the first one of its disk: all its data is new."
            } @else {
                "Since " code { (changes.base_snapshot_id) } ": " (text::bytes(changes.changed_size)) " of " (text::bytes(changes.size)) "."
            }
        }
        (heat::draw(&changes.parts, changes.size))
        p {
            "Data that neither the snapshot before it nor the one after it has: " (text::size(changes.alone_size))
            ". Deleting this snapshot frees at most what that takes in the vault."
        }
        @if !changes.changed_ranges.is_empty() {
            details {
                summary { "The first ranges as a table" }
                div class="scroll" tabindex="0" {
                    table {
                        thead { tr { th { "From byte" } th { "Length" } } }
                        tbody {
                            @for range in &changes.changed_ranges {
                                tr { td { (range.offset) } td { (text::size(range.length)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}
