//! Dialogs: each is a page of its own, with a form whose fields are an action's parameters. A script shows it over the page that
//! opened it; without one it is where a link leads. A refused form comes back as its dialog, with what was typed and what is wrong.

mod access;
mod disks;
mod instances;
mod policies;
mod rollback;
mod snapshots;
mod things;

use crate::ask::Ctx;
use crate::fields::Fields;
use crate::layout::{Page, Section};
use crate::{acts, command, http, parts, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;

pub(crate) use disks::quantity;

/// Rows for tags that a dialog has without a script; with one, more can be added.
const TAG_ROWS: usize = 3;
/// Most tags that a dialog shows rows for.
const TAG_ROWS_MOST: usize = 20;

/// The dialog of that name. `fields`: what it is about, and what was typed already; `error`: why that was refused.
pub(crate) async fn page(
    ctx: &Ctx,
    name: &str,
    fields: &Fields,
    error: Option<&ApiError>,
) -> Result<Page, ApiError> {
    let form = Form {
        ctx,
        fields,
        error,
        name: name.to_owned(),
    };
    match name {
        "create-instance" => instances::create(&form).await,
        "start-instance" => instances::start(&form),
        "stop-instance" => instances::stop(&form),
        "restart-instance" => instances::restart(&form),
        "release-instance" => instances::release(&form),
        "rename-instance" => instances::rename(&form),
        "replace-system-disk" => instances::replace_system_disk(&form).await,
        "create-disk" => disks::create(&form).await,
        "attach-disk" => disks::attach(&form).await,
        "detach-disk" => disks::detach(&form),
        "release-disk" => disks::release(&form).await,
        "resize-disk" => disks::resize(&form).await,
        "resize-disks" => disks::resize_each(&form).await,
        "change-category" => disks::change_category(&form).await,
        "reinitialize-disk" => disks::reinitialize(&form).await,
        "modify-disk" => disks::modify(&form).await,
        "hydration" => disks::hydration(&form),
        "create-snapshot" => snapshots::create(&form).await,
        "delete-snapshot" => snapshots::delete(&form).await,
        "delete-snapshots" => snapshots::delete_each(&form).await,
        "copy-snapshot" => snapshots::copy(&form).await,
        "modify-snapshot" => snapshots::modify(&form).await,
        "lock-snapshot" => snapshots::lock(&form).await,
        "unlock-snapshot" => snapshots::unlock(&form),
        "undelete" => snapshots::undelete(&form),
        "verify" => snapshots::verify(&form),
        "create-instance-snapshot" => snapshots::create_group(&form).await,
        "delete-group" => snapshots::delete_group(&form).await,
        "roll-back" => rollback::disk(&form).await,
        "roll-back-instance" => rollback::instance(&form).await,
        "create-policy" => policies::create(&form),
        "modify-policy" => policies::modify(&form).await,
        "delete-policy" => policies::delete(&form),
        "apply-policy" => policies::apply(&form).await,
        "disk-policy" => policies::of_disk(&form).await,
        "cancel-policy" => policies::cancel(&form),
        "create-image" => things::create_image(&form).await,
        "delete-image" => things::delete_image(&form),
        "tags" => things::tags(&form).await,
        "untag" => things::untag(&form),
        "cancel-task" => things::cancel_task(&form).await,
        "create-user" => access::create_user(&form),
        "delete-user" => access::delete_user(&form),
        "set-password" => access::set_password(&form),
        "delete-password" => access::delete_password(&form),
        "create-key" => access::create_key(&form),
        "change-key" => access::change_key(&form),
        "delete-key" => access::delete_key(&form),
        "attach-policy" => access::attach_policy(&form).await,
        "detach-policy" => access::detach_policy(&form),
        _ => Err(ApiError::new(404, "NotFound", "There is no such dialog.")),
    }
}

/// What a dialog is made of.
pub(crate) struct Form<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) fields: &'a Fields,
    pub(crate) error: Option<&'a ApiError>,
    name: String,
}

/// What a dialog does.
pub(crate) struct Shape<'a> {
    pub(crate) section: Section,
    pub(crate) title: &'a str,
    /// The action that its form asks for.
    pub(crate) action: &'a str,
    /// What its button says.
    pub(crate) submit: &'a str,
    /// Whether something is lost by it.
    pub(crate) is_dangerous: bool,
    /// How: `do`, `each` for several things that `_each` names, or `preview`.
    pub(crate) way: &'static str,
    /// Whether its fields can be gone back to.
    pub(crate) has_back: bool,
    /// Where it leads, if the page that it was opened from is no more then.
    pub(crate) then: Option<String>,
    /// The command line, where it is not the action's own.
    pub(crate) command: Option<String>,
}

impl<'a> Shape<'a> {
    pub(crate) fn new(section: Section, title: &'a str, action: &'a str, submit: &'a str) -> Self {
        Self {
            section,
            title,
            action,
            submit,
            is_dangerous: false,
            way: "do",
            has_back: false,
            then: None,
            command: None,
        }
    }

    /// Something is lost by it.
    pub(crate) fn dangerous(self) -> Self {
        Self {
            is_dangerous: true,
            ..self
        }
    }

    /// Done to each of several things.
    pub(crate) fn each(self) -> Self {
        Self { way: "each", ..self }
    }

    /// Shown before it is done.
    pub(crate) fn previewed(self) -> Self {
        Self {
            way: "preview",
            ..self
        }
    }

    /// What was shown before it is done.
    pub(crate) fn with_back(self) -> Self {
        Self {
            has_back: true,
            ..self
        }
    }

    /// Leads to this place below `/console`, without a region.
    pub(crate) fn then(self, place: &str) -> Self {
        Self {
            then: Some(format!("/console{place}")),
            ..self
        }
    }

    pub(crate) fn command(self, line: String) -> Self {
        Self {
            command: Some(line),
            ..self
        }
    }
}

impl Form<'_> {
    /// A value that the dialog cannot do without.
    pub(crate) fn needed(&self, name: &str) -> Result<&str, ApiError> {
        self.fields
            .get(name)
            .ok_or_else(|| ApiError::missing_parameter(name))
    }

    /// Where the dialog leads when it is closed.
    fn then(&self) -> &str {
        let then = self.fields.text("_then");
        if http::is_ours(then) { then } else { "/console" }
    }

    /// The whole dialog; its button is there.
    pub(crate) fn page(&self, shape: &Shape<'_>, inner: &Markup) -> Page {
        self.page_if(shape, inner, true)
    }

    /// The whole dialog, its button only if it can be pressed now.
    pub(crate) fn page_if(&self, shape: &Shape<'_>, inner: &Markup, is_ready: bool) -> Page {
        let then = shape.then.as_deref().unwrap_or(self.then());
        let each = acts::EACH
            .iter()
            .find(|each| shape.way == "each" && each.action == shape.action);
        let line = match &shape.command {
            Some(line) => line.clone(),
            None => match each {
                Some(each) => command::each(each, &self.ctx.region, self.fields),
                None => command::line(shape.action, &self.ctx.region, self.fields),
            },
        };
        let own_line = shape.command.is_none();
        let submit = if shape.is_dangerous { "danger" } else { "primary" };
        let body = html! {
            h1 id="dialog-title" { (shape.title) }
            form method="post" action=(format!("/console/{}/{}", shape.way, shape.action)) data-action=[own_line.then_some(shape.action)] data-region=(self.ctx.region) data-each=[each.map(|each| each.parameter)] {
                input type="hidden" name="_csrf" value=(self.ctx.session.csrf);
                input type="hidden" name="_dialog" value=(self.name);
                input type="hidden" name="_then" value=(then);
                input type="hidden" name="region" value=(self.ctx.region);
                // Sent twice, it is done once. Without randomness it is as it would be without it.
                input type="hidden" name="_token" value=(crate::session::token().unwrap_or_default());
                @if let Some(error) = self.error { (parts::refusal(error)) }
                (inner)
                @if !line.is_empty() { (parts::command(&line)) }
                footer {
                    a class="button" data-close href=(self.closed()) { "Cancel" }
                    @if shape.has_back { button type="submit" name="_back" value="true" formaction=(format!("/console/preview/{}", shape.action)) { "Back" } }
                    @if is_ready { button type="submit" class=(submit) { (shape.submit) } }
                }
            }
        };
        Page {
            is_dialog: true,
            ..Page::new(shape.section, shape.title, body)
        }
    }

    fn closed(&self) -> String {
        let then = self.then();
        let sign = if then.contains('?') { '&' } else { '?' };
        format!(
            "{then}{sign}region={}",
            tidemark_ecs::sign::encode(&self.ctx.region)
        )
    }

    /// A question that has no fields.
    pub(crate) fn confirm(&self, shape: &Shape<'_>, names: &[&str], text: &str) -> Page {
        let inner = html! {
            @for name in names { (self.hidden(name)) }
            p { (text) }
        };
        self.page(shape, &inner)
    }

    /// A value that the dialog is about.
    pub(crate) fn hidden(&self, name: &str) -> Markup {
        html! { input type="hidden" name=(name) value=(self.fields.text(name)); }
    }

    fn is_wrong(&self, name: &str) -> bool {
        self.error.is_some_and(|error| {
            error
                .message
                .contains(&format!("\"{}\"", name.trim_start_matches('_')))
        })
    }

    /// A line of text. `more`: what is expected of it.
    pub(crate) fn text(&self, label: &str, name: &str, more: &str) -> Markup {
        self.input(label, name, more, "text", self.fields.text(name))
    }

    /// Something that nobody may read: what was typed is never shown again.
    pub(crate) fn secret(&self, label: &str, name: &str, more: &str) -> Markup {
        self.input(label, name, more, "password", "")
    }

    /// A number; `default` until something is typed.
    pub(crate) fn number(&self, label: &str, name: &str, more: &str, default: &str) -> Markup {
        let given = match self.error {
            Some(_) => self.fields.text(name),
            None => text::or(self.fields.text(name), default),
        };
        self.input(label, name, more, "number", given)
    }

    fn input(&self, label: &str, name: &str, more: &str, kind: &str, value: &str) -> Markup {
        let wrong = self.is_wrong(name);
        let message = self.error.map_or("", |error| error.message.as_str());
        html! {
            div class="field" {
                label for=(format!("f-{name}")) { (label) }
                input id=(format!("f-{name}")) type=(kind) name=(name) value=(value) autocomplete=(if kind == "password" { "new-password" } else { "off" })
                    aria-describedby=(format!("h-{name}")) aria-invalid=[wrong.then_some("true")];
                p class=(if wrong { "hint bad" } else { "hint" }) id=(format!("h-{name}")) {
                    @if wrong { (message) } @else { (more) }
                }
            }
        }
    }

    /// A tick. `default`: whether it is set when the dialog opens.
    pub(crate) fn tick(&self, label: &str, name: &str, value: &str, default: bool) -> Markup {
        let is_set = match self.error {
            Some(_) => self.fields.all(name).any(|given| given == value),
            None => default || self.fields.all(name).any(|given| given == value),
        };
        html! {
            label class="tick" { input type="checkbox" name=(name) value=(value) checked[is_set]; span { (label) } }
        }
    }

    /// One of several.
    pub(crate) fn select(
        &self,
        label: &str,
        name: &str,
        choices: &[(String, String)],
        default: &str,
    ) -> Markup {
        let chosen = match self.error {
            // What was chosen, also if it was nothing.
            Some(_) if self.fields.has(name) => self.fields.text(name),
            _ => text::or(self.fields.text(name), default),
        };
        html! {
            div class="field" {
                label for=(format!("f-{name}")) { (label) }
                select id=(format!("f-{name}")) name=(name) {
                    @for (value, shown) in choices { option value=(value) selected[value == chosen] { (shown) } }
                }
            }
        }
    }

    /// Rows for tags.
    pub(crate) fn tags(&self) -> Markup {
        let given = (1..=TAG_ROWS_MOST).filter(|row| self.fields.get(&format!("Tag.{row}.Key")).is_some());
        let rows = given.max().unwrap_or(0).max(TAG_ROWS);
        html! {
            fieldset class="tag-rows" data-tag-rows {
                legend { "Tag" }
                p class="hint" { "A key, and a value if you like; up to 20." }
                @for row in 1..=rows {
                    @let key = format!("Tag.{row}.Key");
                    @let value = format!("Tag.{row}.Value");
                    div class="tag-row" {
                        input name=(key) value=(self.fields.text(&key)) aria-label=(format!("Tag key {row}")) placeholder="Key" autocomplete="off";
                        input name=(value) value=(self.fields.text(&value)) aria-label=(format!("Tag value {row}")) placeholder="Value" autocomplete="off";
                    }
                }
                button type="button" class="quiet" data-add-tag hidden { "Add tag" }
            }
        }
    }
}

/// What must be known before: a list of sentences.
pub(crate) fn precautions(sentences: &[&str]) -> Markup {
    html! {
        ul class="precautions" { @for sentence in sentences { li { (sentence) } } }
    }
}

/// A value and what is shown for it.
pub(crate) fn choice(value: impl Into<String>, shown: impl Into<String>) -> (String, String) {
    (value.into(), shown.into())
}
