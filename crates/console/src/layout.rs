//! What is around every page: the bar with the region, the pane with two levels on the left, and what is told once.

use crate::ask::Ctx;
use crate::assets;
use crate::text;
use maud::{DOCTYPE, Markup, html};
use tidemark_control::Identity;

/// Where a page stands in the left pane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Overview,
    Tags,
    Instances,
    Images,
    Disks,
    Snapshots,
    Tasks,
    Events,
    Users,
}

/// A page below the bar.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) title: String,
    pub(crate) section: Section,
    pub(crate) body: Markup,
    /// Whether the body is a dialog's: a script shows it over the page that opened it.
    pub(crate) is_dialog: bool,
    /// Whether it stays as it is: the answer to a form, which nobody can ask for again.
    pub(crate) is_still: bool,
    /// Answered as this status.
    pub(crate) status: u16,
}

impl Page {
    pub(crate) fn new(section: Section, title: impl Into<String>, body: Markup) -> Self {
        Self {
            title: title.into(),
            section,
            body,
            is_dialog: false,
            is_still: false,
            status: 200,
        }
    }
}

/// A group of the left pane: its name, or none, and what is in it.
type Group = (&'static str, &'static [(Section, &'static str, &'static str)]);

const PANE: &[Group] = &[
    (
        "",
        &[
            (Section::Overview, "Overview", ""),
            (Section::Tags, "Tags", "/tags"),
        ],
    ),
    (
        "Instances & Images",
        &[
            (Section::Instances, "Instances", "/instances"),
            (Section::Images, "Images", "/images"),
        ],
    ),
    (
        "Storage & Snapshots",
        &[
            (Section::Disks, "Disks", "/disks"),
            (Section::Snapshots, "Snapshots", "/snapshots"),
        ],
    ),
    (
        "Maintenance & Monitoring",
        &[
            (Section::Tasks, "Tasks", "/tasks"),
            (Section::Events, "Events", "/events"),
        ],
    ),
    ("Access", &[(Section::Users, "Users & Keys", "/users")]),
];

fn head(title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · ECS console" }
            link rel="icon" type="image/svg+xml" href=(assets::icon());
            link rel="stylesheet" href=(assets::style());
            script src=(assets::script()) defer {}
        }
    }
}

/// A page of its own, around which there is nothing yet: nobody is signed in.
pub(crate) fn outside(title: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(title))
            body class="outside" { main id="main" { (body) } }
        }
    }
}

/// Who is signed in, for people.
fn signed_in(ctx: &Ctx) -> String {
    match &ctx.caller.identity {
        Identity::Root => format!("Account {}", ctx.caller.account),
        Identity::User { name, .. } | Identity::Role { name, .. } => name.clone(),
    }
}

/// The whole document. `version`: of the body, which followers compare.
pub(crate) fn whole(ctx: &Ctx, page: &Page, version: &str) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            (head(&page.title))
            body data-version=(version) data-region=(ctx.region) {
                a class="skip" href="#main" { "Skip to the content" }
                (bar(ctx))
                div class="columns" {
                    (pane(ctx, page.section))
                    main id="main" tabindex="-1" {
                        p id="connection" role="status" hidden { "The service does not answer. This page tries again by itself." }
                        @for notice in &ctx.notices { (notice.show()) }
                        @if page.is_dialog {
                            section class="dialog" data-dialog-page aria-labelledby="dialog-title" { (page.body) }
                        } @else if page.is_still {
                            div { (page.body) }
                        } @else {
                            div id="live" { (page.body) }
                        }
                    }
                }
                dialog id="dialog" aria-labelledby="dialog-title" {}
            }
        }
    }
}

fn bar(ctx: &Ctx) -> Markup {
    html! {
        header class="bar" {
            a class="brand" href=(ctx.link("")) { "Tidemark" span { "ECS console" } }
            form class="region" method="get" action=(format!("/console/{}", ctx.region_home())) {
                @if let Some(tab) = ctx.query.get("tab") { input type="hidden" name="tab" value=(tab); }
                label for="region" { "Region" }
                select id="region" name="region" data-submit {
                    @for region in &ctx.regions {
                        option value=(region.region_id) selected[region.region_id == ctx.region] {
                            (text::or(&region.local_name, &region.region_id))
                            @if region.local_name != region.region_id && !region.local_name.is_empty() {
                                " · " (region.region_id)
                            }
                        }
                    }
                }
                button type="submit" class="quiet" data-scriptless { "Go" }
            }
            div class="account" {
                span { (signed_in(ctx)) }
                form method="post" action="/console/sign-out" {
                    input type="hidden" name="_csrf" value=(ctx.session.csrf);
                    button type="submit" class="quiet" { "Sign out" }
                }
            }
        }
    }
}

fn pane(ctx: &Ctx, current: Section) -> Markup {
    html! {
        nav class="pane" aria-label="Console" {
            @for (group, items) in PANE {
                @if !group.is_empty() { p class="group" { (group) } }
                ul {
                    @for (section, name, path) in *items {
                        li {
                            a href=(ctx.link(path)) aria-current=[(*section == current).then_some("page")] { (name) }
                        }
                    }
                }
            }
        }
    }
}

impl Ctx {
    /// Where another region's choice leads: the same list; a single thing is in one region only, so its list.
    fn region_home(&self) -> &str {
        match self.path.split('/').next() {
            Some("dialog" | "do" | "each" | "preview") | None => "",
            Some("chains") => "snapshots",
            Some(list) => list,
        }
    }
}
