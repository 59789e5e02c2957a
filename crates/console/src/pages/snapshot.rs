//! One snapshot: what it is, what it shares, what deleting it would free, and what changed since another one.

use super::{costs, events, one_disk, one_snapshot, snapshots, snapshots_of};
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::pictures::{grid, heat};
use crate::{command, parts, text};
use maud::{Markup, html};
use tidemark_control::{KnownDamage, Verification};
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
    let verdict = match is_done {
        true => Some(verdict(ctx, &snapshot).await),
        false => None,
    };
    let lock = lock(ctx, id).await;
    // A disk that is gone, or that the caller may not see, has no name here.
    let disk = one_disk(ctx, &snapshot.source_disk_id).await;
    let disk_name = disk.map(|disk| disk.disk_name).unwrap_or_default();
    let facts = facts(ctx, &snapshot, &disk_name, lock.as_ref()).await?;
    let events = events::link(ctx, id).await;
    let body = html! {
        nav class="trail" aria-label="Trail" {
            a href=(ctx.link("/snapshots")) { "Snapshots" }
            " › " a href=(ctx.link(&format!("/disks/{}", snapshot.source_disk_id))) { (text::named(&disk_name, &snapshot.source_disk_id)) }
        }
        div class="title" {
            h1 { (text::or(&snapshot.snapshot_name, id)) }
            @if !snapshot.snapshot_name.is_empty() { code { (id) } }
            (parts::status(&snapshot.status))
            div class="actions" {
                (parts::opens(rolls_back, &ctx.dialog("roll-back", &own), "Roll Back Disk", id))
                @for item in &more { (item) }
                (events)
            }
        }
        @if snapshot.status == "progressing" {
            p { (parts::progress(&snapshot.progress)) " " (parts::remaining(snapshot.remain_time)) }
        }
        (facts)
        @if let Some(changes) = &changes { (changes) }
        @if let Some(verdict) = &verdict { (verdict) }
    };
    let title = format!("Snapshot {}", text::named(&snapshot.snapshot_name, id));
    Ok(Page::new(Section::Snapshots, title, body))
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

/// Whether the snapshot is whole, as far as anybody has looked; nothing for who may not see events, which is where damage is told.
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
    // The snapshot and its events are what the caller may see; this is what is known of both, and no action of its own.
    let known = ctx.control().snapshot_verification(&ctx.caller, id).await;
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
            @match &known {
                Ok(known) => { (said(known, text::millis(&snapshot.creation_time))) }
                Err(error) => { p class="none" { (error.message) } }
            }
            @if !found.is_empty() {
                details {
                    summary { "What was found, newest first" }
                    ul class="plain" {
                        @for event in &found {
                            @let what = event.content.get("what").and_then(|what| what.as_str()).unwrap_or_default();
                            li {
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
}

/// What is known, in sentences. `created_ms`: when the snapshot was taken.
fn said(known: &Verification, created_ms: Option<i64>) -> Markup {
    let time = |ms: i64| text::time(&text::stamp(ms));
    html! {
        @if known.is_under_way {
            p {
                (parts::status("Verifying"))
                " All of it is read in the vault and compared with its checksums, when its turn has come. What comes of it stands here."
            }
        }
        @for damage in &known.damage { (damaged(damage)) }
        @match &known.own {
            _ if known.is_under_way => {}
            Some(own) if !own.is_there => {
                div class="notice bad" { p { "It was not found in the vault when it was to be verified, " (time(own.ended_ms)) ": it is not there, or the list that names it is damaged." } }
            }
            Some(own) if !known.damage.is_empty() => { p { "Verified by itself " (time(own.ended_ms)) "." } }
            Some(own) if own.is_whole => {
                p {
                    (whole()) ": verified " (time(own.ended_ms))
                    @if own.repaired > 0 { "; damage was found and repaired" }
                    "."
                }
            }
            Some(own) if known.unlisted > 0 => { p { "Damage was found when it was verified " (time(own.ended_ms)) "." } }
            // A whole round has not met it any more.
            Some(own) => {
                p { "Damage was found when it was verified " (time(own.ended_ms)) ", and none is known now. Verify it once more to be sure." }
            }
            None if known.damage.is_empty() && known.unlisted == 0 => { p { "Not verified by itself yet, and no damage of it is known." } }
            None => {}
        }
        @if known.unlisted > 0 {
            p { "So much of the vault is damaged that " (text::count(known.unlisted, "find")) " are not listed; some may be of this snapshot." }
        }
        p { (scrubbed(known, created_ms)) }
        @if known.is_in_trouble {
            p { "The vault could not be read when that was tried last, so nothing more is known; the service's log says why." }
        }
    }
}

fn whole() -> Markup {
    html! { span class="badge good" { span class="sign" aria-hidden="true" { "●" } "Whole" } }
}

/// What the background scrub has had to do with it.
fn scrubbed(known: &Verification, created_ms: Option<i64>) -> Markup {
    let time = |ms: i64| text::time(&text::stamp(ms));
    html! {
        @match known.round {
            Some((begun, ended)) => {
                "The background scrub last read the whole vault from " (time(begun)) " to " (time(ended))
                @if created_ms.is_some_and(|created| created >= begun) { ", and had begun before this snapshot was taken" }
                "."
            }
            None if known.scrubs_by_itself => { "The background scrub, which reads the whole vault again and again, is not through with it yet." }
            None => {}
        }
        @if !known.scrubs_by_itself { " The service does not read its vault without being asked (--scrub-rate 0)." }
    }
}

fn damaged(damage: &KnownDamage) -> Markup {
    let length = damage.end.saturating_sub(damage.start);
    html! {
        div class="notice bad" {
            p {
                strong { "Damaged" } ": " (damage.what) ". "
                @if length > 0 { "It hits " (text::size(length)) " of the disk, from byte " (damage.start) " on. " }
                @if damage.content_lost {
                    "That content cannot be read from this snapshot."
                } @else {
                    "All content can still be read in another way."
                }
            }
            p class="code" { "Known since " (text::time(&text::stamp(damage.since_ms))) ", last met " (text::time(&text::stamp(damage.met_ms))) " (Verify now looks again), in " code { (damage.object) } }
        }
    }
}

async fn facts(
    ctx: &Ctx,
    snapshot: &Snapshot,
    disk_name: &str,
    lock: Option<&LockedSnapshot>,
) -> Result<Markup, ApiError> {
    let id = snapshot.snapshot_id.as_str();
    let edits = ctx
        .may(
            "TagResources",
            &[("ResourceType", "snapshot"), ("ResourceId.1", id)],
        )
        .await;
    let unlocks = ctx.may("UnlockSnapshot", &[("SnapshotId", id)]).await;
    let figures = costs::priced(ctx, &[("SnapshotId", id)]).await?;
    Ok(html! {
        dl class="facts" {
            (parts::fact("Snapshot ID", &html! { code { (id) } }))
            (parts::fact_text("Description", &snapshot.description))
            (parts::fact("Disk", &parts::id_and_name(&ctx.link(&format!("/disks/{}", snapshot.source_disk_id)), &snapshot.source_disk_id, disk_name)))
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
            @if let Some(figures) = &figures {
                @if let Some(item) = &figures.item { (parts::fact("Stored for it", &text::size(item.size))) }
                @if let Some(cost) = figures.cost() { (parts::fact_text("Cost this month", &cost)) }
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
                                (text::named(&other.snapshot_name, &other.snapshot_id)) " · " (other.creation_time)
                            }
                        }
                    }
                }
                button type="submit" class="quiet" { "Compare" }
            }
            @match &found {
                Ok(changes) => { (shown(changes, &others)) }
                Err(error) => { (parts::refusal(error)) }
            }
            (parts::command(&line))
        }
    }
}

/// `others`: the disk's snapshots, for the name of the one that it is compared with.
fn shown(changes: &describe_snapshot_changes::Response, others: &[Snapshot]) -> Markup {
    let base = others
        .iter()
        .find(|other| other.snapshot_id == changes.base_snapshot_id);
    let base_name = base.map_or("", |base| base.snapshot_name.as_str());
    html! {
        p {
            @if changes.base_snapshot_id.is_empty() {
                "It is the first one of its disk: all its data is new."
            } @else {
                "Since " @if !base_name.is_empty() { (base_name) " " } code { (changes.base_snapshot_id) } ": " (text::bytes(changes.changed_size)) " of " (text::bytes(changes.size)) "."
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_control::OwnVerification;

    fn text_of(known: &Verification, created: i64) -> String {
        said(known, Some(created)).into_string()
    }

    #[test]
    fn what_is_said_is_what_is_known() {
        let mut known = Verification {
            scrubs_by_itself: true,
            ..Verification::default()
        };
        let said = text_of(&known, 0);
        assert!(
            said.contains("Not verified by itself yet") && said.contains("not through with it yet"),
            "{said}"
        );
        known.round = Some((5000, 9000));
        let said = text_of(&known, 6000);
        assert!(
            said.contains("1970-01-01 00:00:09") && said.contains("had begun before"),
            "{said}"
        );
        assert!(!text_of(&known, 4000).contains("had begun before"));
        known.is_under_way = true;
        let said = text_of(&known, 0);
        assert!(
            said.contains("Verifying") && !said.contains("Not verified"),
            "{said}"
        );
        known.is_under_way = false;
        known.own = Some(OwnVerification {
            ended_ms: 12_000,
            is_whole: true,
            repaired: 0,
            is_there: true,
        });
        let said = text_of(&known, 0);
        assert!(
            said.contains("Whole") && said.contains("1970-01-01 00:00:12") && !said.contains("notice bad"),
            "{said}"
        );
    }

    #[test]
    fn nothing_is_called_whole_where_not_all_is_listed_or_found() {
        let own = |is_there: bool| OwnVerification {
            ended_ms: 12_000,
            is_whole: false,
            repaired: 0,
            is_there,
        };
        let mut known = Verification {
            unlisted: 3,
            ..Verification::default()
        };
        let said = text_of(&known, 0);
        assert!(
            said.contains("3 finds are not listed") && !said.contains("no damage of it"),
            "{said}"
        );
        known.own = Some(own(true));
        let said = text_of(&known, 0);
        assert!(
            said.contains("Damage was found") && !said.contains("none is known"),
            "{said}"
        );
        known = Verification {
            own: Some(own(false)),
            ..Verification::default()
        };
        let said = text_of(&known, 0);
        assert!(
            said.contains("not found in the vault") && !said.contains("Whole"),
            "{said}"
        );
    }

    #[test]
    fn damage_is_said_with_what_it_hits_and_is_not_whole() {
        let known = Verification {
            own: Some(OwnVerification {
                ended_ms: 12_000,
                is_whole: false,
                repaired: 0,
                is_there: true,
            }),
            damage: vec![KnownDamage {
                since_ms: 11_000,
                met_ms: 11_500,
                object: "packs/ab/<b>".to_owned(),
                what: "it is not there".to_owned(),
                content_lost: true,
                start: 65_536,
                end: 131_072,
            }],
            ..Verification::default()
        };
        let said = text_of(&known, 0);
        assert!(
            said.contains("Damaged") && said.contains("64.0 KiB") && said.contains("from byte 65536"),
            "{said}"
        );
        assert!(!said.contains("Whole") && !said.contains("<b>"), "{said}");
        assert!(said.contains("--scrub-rate 0"), "{said}");
    }
}
