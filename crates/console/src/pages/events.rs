//! Events: what happened, and who asked for it.

use super::listing;
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_events::Event;

const LEVELS: &[(&str, &str)] = &[("INFO", "Info"), ("WARN", "Warning"), ("CRITICAL", "Critical")];

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let asked = listing(ctx, &["Level", "ResourceType", "ResourceId"]);
    let found = ask!(ctx, "DescribeEvents", describe_events, &asked);
    let body = html! {
        div class="title" { h1 { "Events" } }
        (parts::filters(ctx, "ResourceId", "Resource ID", false))
        @if found.events.is_empty() && asked.len() == 1 {
            (parts::empty("Nothing has happened yet", "Whatever is created, changed, finished or found damaged stands here, with who asked for it.", &html! {}))
        } @else {
            (table(ctx, &found.events, true))
            (parts::pager(ctx, found.events.len(), found.page.total_count, &found.page.next_token))
        }
    };
    Ok(Page::new(Section::Events, "Events", body))
}

/// The events of one thing, for a tab of its page.
pub(super) async fn of(ctx: &Ctx, id: &str) -> Result<Markup, ApiError> {
    let mut asked = listing(ctx, &[]);
    asked.push(("ResourceId", id));
    let found = ask!(ctx, "DescribeEvents", describe_events, &asked);
    Ok(html! {
        @if found.events.is_empty() && ctx.query.get("NextToken").is_none() {
            (parts::empty("Nothing has happened yet", "Whatever is changed, finished or fails here is listed with who asked for it.", &html! {}))
        } @else {
            (table(ctx, &found.events, false))
            (parts::pager(ctx, found.events.len(), found.page.total_count, &found.page.next_token))
        }
    })
}

/// The way to the events of one thing, for who may see them.
pub(super) async fn link(ctx: &Ctx, id: &str) -> Markup {
    let own = [("ResourceId", id)];
    let may = ctx.may("DescribeEvents", &own).await;
    html! {
        @if may { a href=(ctx.link_with("/events", &own)) aria-label=(format!("Events of {id}")) { "Events" } }
    }
}

/// `filters`: the page has the form that the filter in the head belongs to.
fn table(ctx: &Ctx, events: &[Event], filters: bool) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead { tr {
                    th { "Time" }
                    th { @if filters { (parts::column_filter(ctx, "Level", "Level", LEVELS)) } @else { "Level" } }
                    th { "Event" } th { "Resource" } th { "Details" }
                } }
                tbody {
                    @for event in events { (row(ctx, event)) }
                    @if events.is_empty() { tr { td class="none" colspan="5" { "No event fits these filters." } } }
                }
            }
        }
    }
}

fn row(ctx: &Ctx, event: &Event) -> Markup {
    let place = match event.resource_type.as_str() {
        "disk" => Some(format!("/disks/{}", event.resource_id)),
        "snapshot" => Some(format!("/snapshots/{}", event.resource_id)),
        "instance" => Some(format!("/instances/{}", event.resource_id)),
        "user" => Some(format!("/users/{}", event.resource_id)),
        _ => None,
    };
    let members = event.content.as_object();
    html! {
        tr {
            td data-label="Time" { (text::time(&event.event_time)) }
            td data-label="Level" { (level(&event.level)) }
            td data-label="Event" { (event.event_name) }
            td data-label="Resource" {
                @match &place {
                    Some(place) => { a class="id" href=(ctx.link(place)) { (event.resource_id) } }
                    None => { span class="id" { (event.resource_id) } }
                }
            }
            td data-label="Details" {
                @if let Some(members) = members {
                    details class="content" {
                        summary aria-label=(format!("{}: details of {} at {}", brief(event), event.event_name, event.event_time)) { (brief(event)) }
                        dl class="facts" {
                            @for (name, value) in members {
                                (parts::fact_text(name, &plain(value)))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn level(word: &str) -> Markup {
    match word {
        "INFO" => html! { span class="badge rest" { span class="sign" aria-hidden="true" { "ℹ" } "Info" } },
        "WARN" => {
            html! { span class="badge busy" { span class="sign" aria-hidden="true" { "▲" } "Warning" } }
        }
        _ => html! { span class="badge bad" { span class="sign" aria-hidden="true" { "✕" } "Critical" } },
    }
}

fn plain(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What an event says first.
fn brief(event: &Event) -> String {
    let names = ["result", "reason", "operation", "state", "action", "by"];
    let said = names.iter().filter_map(|name| event.content.get(*name)?.as_str());
    let said: Vec<&str> = said.filter(|text| !text.is_empty()).take(2).collect();
    if said.is_empty() {
        "Details".to_owned()
    } else {
        said.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_its_result_first() {
        let event = |content: serde_json::Value| Event {
            event_id: "ev-1".to_owned(),
            region_id: String::new(),
            event_name: "Snapshot:CreateSnapshotCompleted".to_owned(),
            level: "INFO".to_owned(),
            event_time: "2026-01-02T03:04:05Z".to_owned(),
            resource_type: "snapshot".to_owned(),
            resource_id: "s-1".to_owned(),
            content,
        };
        assert_eq!(
            brief(&event(
                serde_json::json!({"result": "failed", "snapshotId": "s-1"})
            )),
            "failed"
        );
        assert_eq!(brief(&event(serde_json::json!({}))), "Details");
    }
}
