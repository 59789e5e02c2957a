//! Pieces that pages share: what a status looks like, tags, empty lists, refusals, the parts of a table.

use crate::ask::Ctx;
use crate::text;
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::Tag;

/// Something that is told once, at the top of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notice {
    /// A sentence.
    pub(crate) text: String,
    /// An id that the sentence is about.
    pub(crate) about: String,
    /// What did not work, a sentence each.
    pub(crate) troubles: Vec<String>,
}

impl Notice {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            ..Self::default()
        }
    }

    pub(crate) fn show(&self) -> Markup {
        let class = if self.troubles.is_empty() {
            "notice good"
        } else {
            "notice bad"
        };
        html! {
            div class=(class) role="status" {
                p {
                    (self.text)
                    @if !self.about.is_empty() { " " code { (self.about) } }
                }
                @for trouble in &self.troubles { p { (trouble) } }
            }
        }
    }
}

/// How a state looks: a sign, a word, a colour; never the colour alone.
enum Mood {
    Good,
    Busy,
    Rest,
    Bad,
}

/// A state as people know it.
pub(crate) fn status(word: &str) -> Markup {
    let (mood, shown) = match word {
        "In_use" => (Mood::Good, "In Use"),
        "Available" => (Mood::Good, "Available"),
        "Running" => (Mood::Good, "Running"),
        "accomplished" => (Mood::Good, "Accomplished"),
        "Finished" => (Mood::Good, "Finished"),
        "Active" => (Mood::Good, "Active"),
        "complete" => (Mood::Good, "Complete"),
        "Stopped" => (Mood::Rest, "Stopped"),
        "Inactive" => (Mood::Rest, "Inactive"),
        "Deprecated" => (Mood::Rest, "Deprecated"),
        "paused" => (Mood::Rest, "Paused"),
        "failed" | "Failed" => (Mood::Bad, "Failed"),
        "CreateFailed" => (Mood::Bad, "Failed"),
        "waiting" => (Mood::Bad, "Waiting"),
        "ReIniting" => (Mood::Busy, "Initializing"),
        "progressing" => (Mood::Busy, "In Progress"),
        "running" => (Mood::Busy, "Running"),
        other => (Mood::Busy, other),
    };
    badge(&mood, shown)
}

/// A disk's state: one that is attached to nothing is not just "available".
pub(crate) fn disk_status(word: &str) -> Markup {
    match word {
        "Available" => badge(&Mood::Rest, "Unattached"),
        other => status(other),
    }
}

fn badge(mood: &Mood, word: &str) -> Markup {
    let (class, sign) = match mood {
        Mood::Good => ("badge good", "●"),
        Mood::Busy => ("badge busy", "◐"),
        Mood::Rest => ("badge rest", "○"),
        Mood::Bad => ("badge bad", "✕"),
    };
    html! { span class=(class) { span class="sign" aria-hidden="true" { (sign) } (word) } }
}

/// `System Disk` or `Data Disk`.
pub(crate) fn disk_type(word: &str) -> &str {
    match word {
        "system" => "System Disk",
        "data" => "Data Disk",
        other => other,
    }
}

/// The name that people know a category by.
pub(crate) fn category(word: &str) -> &str {
    match word {
        "cloud" => "Basic Disk",
        "cloud_efficiency" => "Ultra Disk",
        "cloud_ssd" => "Standard SSD",
        "cloud_essd" => "ESSD",
        "cloud_essd_entry" => "ESSD Entry",
        "cloud_auto" => "ESSD AutoPL",
        other => other,
    }
}

/// Yes or no.
pub(crate) fn yes(is: bool) -> &'static str {
    if is { "Yes" } else { "No" }
}

/// An id that leads somewhere, with a name below it.
pub(crate) fn id_and_name(link: &str, id: &str, name: &str) -> Markup {
    html! {
        a class="id" href=(link) { (id) }
        @if !name.is_empty() { span class="name" { (name) } }
    }
}

/// An id that leads somewhere, if there is one.
pub(crate) fn id_link(link: &str, id: &str) -> Markup {
    html! {
        @if id.is_empty() { span class="none" { "–" } } @else { a class="id" href=(link) { (id) } }
    }
}

/// Tags, and the way to change them.
pub(crate) fn tags(ctx: &Ctx, tags: &[Tag], edit: Option<(&str, &str)>) -> Markup {
    html! {
        ul class="tags" {
            @for tag in tags { li { (tag.key) @if !tag.value.is_empty() { ": " (tag.value) } } }
            @if tags.is_empty() { li class="none" { "–" } }
        }
        @if let Some((kind, id)) = edit {
            a class="quiet" data-dialog href=(ctx.dialog("tags", &[("ResourceType", kind), ("ResourceId.1", id)]))
                aria-label=(format!("Edit Tags of {id}")) { "Edit Tags" }
        }
    }
}

/// A link that opens a dialog, where the caller may do what it does.
pub(crate) fn opens(may: bool, href: &str, label: &str, about: &str) -> Markup {
    html! {
        @if may { a data-dialog href=(href) aria-label=(format!("{label} {about}")) { (label) } }
    }
}

/// Rare actions behind one word. Without a script it opens all the same.
pub(crate) fn more(about: &str, items: &[Markup]) -> Markup {
    let items: Vec<&Markup> = items.iter().filter(|item| !item.0.is_empty()).collect();
    html! {
        @if !items.is_empty() {
            details class="more" {
                summary aria-label=(format!("More actions on {about}")) { "More" }
                ul { @for item in &items { li { (item) } } }
            }
        }
    }
}

/// How far something is, 0 to 100, as a bar and a number.
pub(crate) fn progress(percent: &str) -> Markup {
    let number = percent.trim_end_matches('%');
    html! {
        progress max="100" value=(number) aria-label="Progress" { (percent) }
        " " span class="percent" { (number) "%" }
    }
}

/// Seconds that are left, if any are.
pub(crate) fn remaining(seconds: i64) -> Markup {
    html! {
        @if seconds > 0 { span class="name" { "about " (text::seconds(seconds.unsigned_abs())) " left" } }
    }
}

/// What stands where a list would be: what would be in it, and how to get there.
pub(crate) fn empty(title: &str, why: &str, action: &Markup) -> Markup {
    html! {
        div class="empty" {
            h2 { (title) }
            p { (why) }
            @if !action.0.is_empty() { p { (action) } }
        }
    }
}

/// A refusal: what it says, what to do, and the code that scripts see.
pub(crate) fn refusal(error: &ApiError) -> Markup {
    html! {
        div class="notice bad" role="alert" {
            p { (error.message) }
            @if let Some(advice) = advice(&error.code) { p class="advice" { (advice) } }
            p class="code" { "Error code: " code { (error.code) } }
        }
    }
}

/// What to do about a refusal whose message does not already say it.
fn advice(code: &str) -> Option<&'static str> {
    Some(match code {
        "Forbidden.RAM" | "NoPermission" => {
            "Ask whoever manages the account to attach a policy to you that allows it."
        }
        "IncorrectInstanceStatus" => "Stop or start the instance first; its page has the buttons.",
        "IncorrectDiskStatus" | "IncorrectDiskStatus.HasUnfinishedSnapshot" => {
            "Wait until the work on the disk is over: the page shows it, and changes by itself."
        }
        "IncorrectDiskStatus.NeverAttached" => "Attach the disk to an instance once, then try again.",
        "InvalidSnapshotId.NotReady" => "Wait until its progress is 100 %.",
        "QuotaExceed.Snapshot" => "Delete snapshots that nobody needs; each says what that would free.",
        "SnapshotCreatedDisk" => "Choose Force Delete: the disks that were made from it keep their data.",
        "SnapshotCreatedImage" => "Delete the image first.",
        "InvalidOperation.SnapshotLocked" => {
            "Wait until its lock ends, or unlock it while it can still be unlocked."
        }
        "Throttling" | "Throttling.User" => "Wait a little, then try again.",
        "ServiceUnavailable" => "Try again in a moment; the service's log says why.",
        "InternalError" => "The service's log has the cause.",
        _ => return None,
    })
}

/// The way to more rows.
pub(crate) fn pager(ctx: &Ctx, shown: usize, total: usize, next: &str) -> Markup {
    html! {
        nav class="pager" aria-label="Pages" {
            span { (shown) " of " (total) }
            @if ctx.query.get("NextToken").is_some() {
                a href=(ctx.here_with("NextToken", "")) { "First page" }
            }
            @if !next.is_empty() {
                a href=(ctx.here_with("NextToken", next)) { "Next page" }
            }
        }
    }
}

/// A filter in the head of a column: its neutral choice is "(All)". It belongs to the form `filters`.
pub(crate) fn column_filter(ctx: &Ctx, label: &str, name: &str, choices: &[(&str, &str)]) -> Markup {
    let chosen = ctx.query.text(name);
    html! {
        select name=(name) form="filters" aria-label=(label) {
            option value="" selected[chosen.is_empty()] { (label) " (All)" }
            @for (value, shown) in choices {
                option value=(value) selected[chosen == *value] { (shown) }
            }
        }
    }
}

/// The form that filters belong to: what is looked for by name and tag, and a button for who has no script.
pub(crate) fn filters(ctx: &Ctx, name: &str, label: &str, with_tags: bool) -> Markup {
    filters_and(ctx, name, label, with_tags, &html! {})
}

/// As [`filters`], with `more` fields.
pub(crate) fn filters_and(ctx: &Ctx, name: &str, label: &str, with_tags: bool, more: &Markup) -> Markup {
    let field = |name: &'static str| ctx.query.text(name);
    // The actions about these compare whole names.
    let is_whole = matches!(name, "DiskName" | "SnapshotName");
    html! {
        form id="filters" class="filters" method="get" action=(format!("/console/{}", ctx.path)) data-filters role="search" {
            input type="hidden" name="region" value=(ctx.region);
            @if let Some(tab) = ctx.query.get("tab") { input type="hidden" name="tab" value=(tab); }
            label { span { (label) } input type="search" name=(name) value=(ctx.query.text(name)) placeholder=[is_whole.then_some("The whole name")]; }
            @if with_tags {
                label { span { "Tag key" } input type="search" name="Tag.1.Key" value=(field("Tag.1.Key")); }
                label { span { "Tag value" } input type="search" name="Tag.1.Value" value=(field("Tag.1.Value")); }
            }
            (more)
            button type="submit" class="quiet" { "Search" }
            a class="quiet" data-refresh href=(ctx.address_here()) { "Refresh" }
        }
    }
}

/// A box that chooses a row for [`bulk`].
pub(crate) fn choose(id: &str) -> Markup {
    html! { input type="checkbox" name="_each" value=(id) form="bulk" aria-label=(format!("Choose {id}")); }
}

/// What can be done with all rows that are chosen: a dialog about them.
pub(crate) fn bulk(ctx: &Ctx, dialog: &str, label: &str) -> Markup {
    html! {
        form id="bulk" class="filters" method="get" action=(format!("/console/dialog/{dialog}")) {
            input type="hidden" name="region" value=(ctx.region);
            input type="hidden" name="_then" value=(ctx.address);
            button type="submit" { (label) }
        }
    }
}

/// A command line beside what it does.
pub(crate) fn command(line: &str) -> Markup {
    html! {
        div class="command" {
            span class="label" { "Command line" }
            code data-command-line { (line) }
            button type="button" class="quiet" data-copy hidden { "Copy" }
        }
    }
}

/// A fact and its name, for lists of them.
pub(crate) fn fact(name: &str, value: &Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// A fact that is a text.
pub(crate) fn fact_text(name: &str, value: &str) -> Markup {
    fact(name, &html! { (text::or(value, "–")) })
}

/// Tabs: name, label, where.
pub(crate) fn tabs(label: &str, current: &str, items: &[(&str, &str, String)]) -> Markup {
    html! {
        nav class="tabs" aria-label=(label) {
            @for (name, shown, href) in items {
                a href=(href) aria-current=[(*name == current).then_some("page")] { (shown) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_elsewhere_is_escaped() {
        let hostile = "<script>alert(1)</script>\"'";
        let shown = [
            status(hostile),
            refusal(&ApiError::new(400, hostile.to_owned(), hostile)),
            id_and_name(hostile, hostile, hostile),
            command(hostile),
            fact_text(hostile, hostile),
            Notice {
                about: hostile.to_owned(),
                troubles: vec![hostile.to_owned()],
                ..Notice::new(hostile)
            }
            .show(),
        ];
        for markup in shown {
            let text = markup.into_string();
            assert!(!text.contains("<script"), "{text}");
            assert!(!text.contains("\"'\""), "{text}");
        }
    }

    #[test]
    fn a_state_is_a_word_and_a_sign() {
        assert!(disk_status("Available").into_string().contains("Unattached"));
        assert!(disk_status("In_use").into_string().contains("In Use"));
        assert!(status("accomplished").into_string().contains("Accomplished"));
    }

    #[test]
    fn more_is_not_there_where_nothing_is_behind_it() {
        assert_eq!(more("d-1", &[html! {}]).into_string(), "");
    }
}
