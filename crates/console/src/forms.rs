//! What a form does once it is known who sent it: one action, the same one to each of several things, or only a look at what it would do.
//!
//! What must stay true: a form that is sent twice is done once, where the action can tell (`ClientToken`), and one that was changed in between is another
//! one; each of several things has a token of its own; what is refused comes back as its dialog with what was typed; of several things, what was
//! done and what was not is told.
//!
//! Not here: whose form it is (`serve`), what actions there are (`acts`), what comes after one (`afterwards`).

use crate::acts::{self, Act, Call};
use crate::afterwards::Then;
use crate::ask::Ctx;
use crate::fields::Fields;
use crate::parts::Notice;
use crate::serve::{shown, with_region};
use crate::session::token;
use crate::{dialogs, http, layout, pages, text};
use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::Value;
use std::time::{Duration, Instant};
use tidemark_control::{Caller, token_hash};
use tidemark_ecs::{ApiError, Params};

/// How long one form of several things waits all together for its turn, where the calls of an account are limited.
const PATIENCE: Duration = Duration::from_secs(60);

/// An action that was done.
struct Done {
    answer: Value,
    /// Who asked, with the request's id.
    caller: Caller,
    asked_ms: i64,
}

impl Done {
    fn made(&self) -> String {
        acts::made(&self.answer).unwrap_or_default().to_owned()
    }
}

/// The answer to the form that was sent to this place below `/console/`.
pub(crate) async fn answer(ctx: &Ctx, path: &str, form: &Fields) -> Response<Body> {
    match path.split_once('/') {
        Some(("preview", "CreateDisk")) => preview(ctx, form).await,
        Some(("do", "CreateDisk")) => create_disks(ctx, form).await,
        Some(("do", name)) => match acts::find(name) {
            Some(act) => act_on(ctx, act, form).await,
            None => no_such_form(),
        },
        Some(("each", name)) => match acts::EACH.iter().find(|each| each.action == name) {
            Some(each) => act_on_each(ctx, each, form).await,
            None => no_such_form(),
        },
        _ => no_such_form(),
    }
}

fn no_such_form() -> Response<Body> {
    http::plain(StatusCode::NOT_FOUND, "There is no such form.")
}

/// Does what a form says; then the page where it came from, or the form again with what is wrong.
async fn act_on(ctx: &Ctx, act: &'static Act, form: &Fields) -> Response<Body> {
    match perform(ctx, act, form, "").await {
        Ok(done) if act.name == "CreateAccessKey" => {
            // Shown here and nowhere else, ever: so this page is the answer itself.
            shown(ctx, &pages::users::new_key(ctx, form, &done.answer))
        }
        Ok(done) => {
            let notice = Notice {
                about: done.made(),
                troubles: acts::failures(&done.answer),
                ..Notice::new(act.done)
            };
            Then::of(act.name, form).begin(ctx, done.caller.clone(), vec![done.made()], done.asked_ms);
            back(ctx, form, notice)
        }
        Err(error) => again(ctx, form, &error).await,
    }
}

/// Does the same to each of several things, one after the other; what is refused of one keeps no other from it. If all are refused,
/// the form comes back.
async fn act_on_each(ctx: &Ctx, each: &acts::Each, form: &Fields) -> Response<Body> {
    let Some(act) = acts::find(each.action) else {
        return no_such_form();
    };
    let patience = Instant::now() + PATIENCE;
    let (mut all, mut done, mut refused) = (0, 0, Vec::new());
    for id in form.all("_each").filter(|id| !id.is_empty()) {
        all += 1;
        match in_turn(ctx, act, &form.with(each.parameter, id), "", patience).await {
            Ok(_) => done += 1,
            Err(error) => refused.push((id, error)),
        }
    }
    let told = |(id, error): &(&str, ApiError)| format!("{id}: {} ({})", error.message, error.code);
    if done == 0 {
        let nothing = || ApiError::new(400, "MissingParameter", "Nothing is ticked, so nothing was done.");
        let error = match refused.as_slice() {
            [] => nothing(),
            [(_, only)] => only.clone(),
            [(_, first), ..] => ApiError {
                message: refused.iter().map(told).collect::<Vec<_>>().join(" "),
                ..first.clone()
            },
        };
        return again(ctx, form, &error).await;
    }
    let notice = Notice {
        troubles: refused.iter().map(told).collect(),
        ..Notice::new(&format!(
            "{done} of {} {}.",
            text::count(all, each.noun),
            each.done
        ))
    };
    back(ctx, form, notice)
}

/// Makes as many disks as are asked for. What is refused ends it, and what was made before that is told.
async fn create_disks(ctx: &Ctx, form: &Fields) -> Response<Body> {
    let Some(act) = acts::find("CreateDisk") else {
        return no_such_form();
    };
    let count = match dialogs::quantity(form) {
        Ok(1) => return act_on(ctx, act, form).await,
        Ok(count) => count,
        Err(error) => return again(ctx, form, &error).await,
    };
    let patience = Instant::now() + PATIENCE;
    let (mut made, mut first, mut refused) = (Vec::new(), None, None);
    for number in 1..=count {
        match in_turn(ctx, act, form, &number.to_string(), patience).await {
            Ok(done) => {
                made.push(done.made());
                first.get_or_insert(done);
            }
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    match (first, &refused) {
        (Some(first), _) => {
            let then = Then::of(act.name, form);
            then.begin(ctx, first.caller, made.clone(), first.asked_ms);
        }
        (None, Some(error)) => return again(ctx, form, error).await,
        (None, None) => {}
    }
    let notice = Notice {
        about: made.join(", "),
        troubles: refused
            .map(|error| format!("{} ({})", error.message, error.code))
            .into_iter()
            .collect(),
        ..Notice::new(&format!("{} of {count} disks are being made:", made.len()))
    };
    back(ctx, form, notice)
}

/// Shows what Create Disk would do, and what is wrong with it already; or leads back to it.
async fn preview(ctx: &Ctx, form: &Fields) -> Response<Body> {
    let is_back = form.get("_back").is_some();
    let form = form.without(&["_step", "_back"]);
    let step = match is_back {
        true => form.clone(),
        false => form.with("_step", "preview"),
    };
    match dialogs::page(ctx, "create-disk", &step, None).await {
        Ok(page) => still(ctx, page),
        Err(error) => again(ctx, &form, &error).await,
    }
}

/// The page that a form was opened from, with what is to be told there.
fn back(ctx: &Ctx, form: &Fields, notice: Notice) -> Response<Body> {
    ctx.state.sessions.notify(&ctx.session.id, notice);
    let then = text::or(form.text("_then"), "/console");
    http::redirect(&with_region(then, &ctx.region))
}

/// A form that was refused: its dialog again.
async fn again(ctx: &Ctx, form: &Fields, error: &ApiError) -> Response<Body> {
    let page = dialogs::page(ctx, form.text("_dialog"), form, Some(error)).await;
    let page = page.unwrap_or_else(|_| pages::failed(error));
    let page = layout::Page {
        status: error.status,
        ..page
    };
    still(ctx, page)
}

/// The answer to a form, which nobody can ask for again.
fn still(ctx: &Ctx, page: layout::Page) -> Response<Body> {
    let page = layout::Page {
        is_still: true,
        ..page
    };
    shown(ctx, &page)
}

/// The parameters that a form means; of what is in a region, in the page's.
fn params(ctx: &Ctx, form: &Fields, in_region: bool) -> Result<Params, ApiError> {
    let mut pairs = form.parameters();
    if let Some(some) = form.get("_some")
        && !pairs.iter().any(|(name, _)| name.starts_with(some))
    {
        return Err(ApiError::missing_parameter(some.trim_end_matches('.')));
    }
    if in_region {
        pairs.retain(|(name, _)| name != "RegionId");
        pairs.push(("RegionId".to_owned(), ctx.region.clone()));
    }
    Params::from_pairs(pairs)
}

/// As [`perform`], for one of several things: where the account's calls are limited, it waits for its turn.
async fn in_turn(
    ctx: &Ctx,
    act: &'static Act,
    form: &Fields,
    which: &str,
    patience: Instant,
) -> Result<Done, ApiError> {
    loop {
        match perform(ctx, act, form, which).await {
            Err(ApiError {
                retry_after_ms: Some(ms),
                ..
            }) if Instant::now() + Duration::from_millis(ms) < patience => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
            }
            outcome => return outcome,
        }
    }
}

/// What makes the same form, sent again, the same request: its own token and all that it says. `which`: one of several that say the same.
fn client_token(form: &Fields, which: &str) -> Option<String> {
    let token = form.get("_token")?;
    // Hashed, it has the 64 characters that a ClientToken may have at most.
    let said = tidemark_ecs::sign::encode_form(
        form.parameters()
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str())),
    );
    Some(token_hash(&format!("{token}&{which}&{said}")))
}

async fn perform(ctx: &Ctx, act: &'static Act, form: &Fields, which: &str) -> Result<Done, ApiError> {
    let form = match (act.takes_token(), client_token(form, which)) {
        (true, Some(token)) => form.with("ClientToken", &token),
        _ => form.clone(),
    };
    let params = params(ctx, &form, !act.is_ram)?;
    let request_id = request_id();
    let who = match act.is_ram {
        true => ctx.everywhere(),
        false => ctx.caller.clone(),
    };
    let caller = Caller {
        request_id: Some(request_id.clone()),
        ..who
    };
    let throttle = &ctx.state.throttle;
    throttle.admit(Instant::now(), &caller.account, act.name)?;
    Then::of(act.name, &form).check(ctx, &caller).await?;
    let asked_ms = text::now_ms();
    let call = Call {
        control: ctx.control(),
        caller: &caller,
        params: &params,
    };
    let by = caller.identity.arn(&caller.account);
    match act.perform(call).await {
        Ok(answer) => {
            tracing::info!(action = act.name, %request_id, %by, "done from the console");
            Ok(Done {
                answer,
                caller,
                asked_ms,
            })
        }
        Err(error) => {
            tracing::info!(action = act.name, %request_id, %by, code = %error.code, "refused to the console");
            Err(error)
        }
    }
}

/// As the API makes them: a random UUID in upper case. It names a line in the log and guards nothing.
fn request_id() -> String {
    let hex = token().unwrap_or_else(|| "0".repeat(64)).to_ascii_uppercase();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_the_same_is_the_same_and_everything_else_is_not() {
        let token = |text: &str, which: &str| client_token(&Fields::parse(text).expect("a form"), which);
        let one = token("_token=t&DiskId=d-1&NewSize=3&_csrf=a", "");
        assert_eq!(one, token("_token=t&DiskId=d-1&NewSize=3&_csrf=b", ""));
        assert!(one.as_ref().is_some_and(|one| one.len() == 64));
        for (text, which) in [
            ("_token=t&DiskId=d-1&NewSize=4", ""),
            ("_token=t&DiskId=d-2&NewSize=3", ""),
            ("_token=u&DiskId=d-1&NewSize=3", ""),
            ("_token=t&DiskId=d-1&NewSize=3", "2"),
        ] {
            assert_ne!(one, token(text, which), "{text} {which}");
        }
        assert_eq!(token("DiskId=d-1", ""), None);
    }
}
