//! What a form does once it is known who sent it: one action, the same one to each of several things, or only a look at what it would do.
//!
//! What must stay true: a form that is sent twice is done once, where the action can tell (`ClientToken`), and each of several things has a
//! token of its own; what is refused comes back as its dialog with what was typed; of several things, what was done and what was not is told.
//!
//! Not here: whose form it is (`serve`), what actions there are (`acts`), what comes after one (`afterwards`).

use crate::acts::{self, Act, Call};
use crate::ask::Ctx;
use crate::fields::Fields;
use crate::parts::Notice;
use crate::serve::{shown, with_region};
use crate::session::token;
use crate::{afterwards, dialogs, http, layout, pages, text};
use axum::body::Body;
use axum::http::{Response, StatusCode};
use serde_json::Value;
use std::time::Instant;
use tidemark_control::Caller;
use tidemark_ecs::actions::create_disk;
use tidemark_ecs::{ApiError, Params};

/// Most characters of a `ClientToken` that several things share: 64 in all, and a number behind them.
const TOKEN_COMMON: usize = 56;

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
    match perform(ctx, act, form).await {
        Ok(answer) if act.name == "CreateAccessKey" => {
            // Shown here and nowhere else, ever: so this page is the answer itself.
            shown(ctx, &pages::users::new_key(ctx, form, &answer))
        }
        Ok(answer) => {
            let notice = Notice {
                about: acts::made(&answer).unwrap_or_default().to_owned(),
                troubles: acts::failures(&answer),
                ..Notice::new(act.done)
            };
            back(ctx, form, notice)
        }
        Err(error) => again(ctx, form, &error).await,
    }
}

/// Does the same to each of several things, one after the other; what is refused of one keeps no other from it.
async fn act_on_each(ctx: &Ctx, each: &acts::Each, form: &Fields) -> Response<Body> {
    let Some(act) = acts::find(each.action) else {
        return no_such_form();
    };
    let (mut all, mut done, mut troubles) = (0, 0, Vec::new());
    for id in form.all("_each").filter(|id| !id.is_empty()) {
        all += 1;
        let one = nth(form, all).with(each.parameter, id);
        match perform(ctx, act, &one).await {
            Ok(_) => done += 1,
            Err(error) => troubles.push(format!("{id}: {} ({})", error.message, error.code)),
        }
    }
    let notice = Notice {
        troubles,
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
    let (mut made, mut refused) = (Vec::new(), None);
    for number in 1..=count {
        match perform(ctx, act, &nth(form, number)).await {
            Ok(answer) => made.push(acts::made(&answer).unwrap_or_default().to_owned()),
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    if let (Some(error), true) = (&refused, made.is_empty()) {
        return again(ctx, form, error).await;
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
    if is_back {
        return still(ctx, dialogs::page(ctx, "create-disk", &form, None).await);
    }
    if let Err(error) = check_disk(ctx, &form).await {
        return again(ctx, &form, &error).await;
    }
    let form = form.with("_step", "preview");
    still(ctx, dialogs::page(ctx, "create-disk", &form, None).await)
}

/// What can be known of a disk before it is made: its parameters, and whether the caller may.
async fn check_disk(ctx: &Ctx, form: &Fields) -> Result<(), ApiError> {
    dialogs::quantity(form)?;
    let params = params(ctx, form, true)?;
    create_disk::Request::parse(&params)?;
    let asked = ctx.control().authorize(&ctx.caller, "ecs", "CreateDisk", &params);
    asked.await
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
    still(ctx, Ok(page))
}

/// The answer to a form, which nobody can ask for again.
fn still(ctx: &Ctx, page: Result<layout::Page, ApiError>) -> Response<Body> {
    let page = page.unwrap_or_else(|error| pages::failed(&error));
    let page = layout::Page {
        is_still: true,
        ..page
    };
    shown(ctx, &page)
}

/// The form for one of several things that are asked for together, with a token of its own.
fn nth(form: &Fields, number: u64) -> Fields {
    match form.get("_token") {
        Some(token) => {
            let common: String = token.chars().take(TOKEN_COMMON).collect();
            form.with("_token", &format!("{common}-{number}"))
        }
        None => form.clone(),
    }
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

async fn perform(ctx: &Ctx, act: &'static Act, form: &Fields) -> Result<Value, ApiError> {
    let form = match (act.takes_token(), form.get("_token")) {
        (true, Some(token)) => form.with("ClientToken", token),
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
    let then = afterwards::Then::of(act.name, &form);
    then.check(ctx, &caller).await?;
    let asked_ms = text::now_ms();
    let call = Call {
        control: ctx.control(),
        caller: &caller,
        params: &params,
    };
    let by = caller.identity.arn(&caller.account);
    let outcome = act.perform(call).await;
    match outcome {
        Ok(answer) => {
            tracing::info!(action = act.name, %request_id, %by, "done from the console");
            then.begin(ctx, caller, acts::made(&answer), asked_ms);
            Ok(answer)
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
    fn each_of_several_things_has_a_token_of_its_own() {
        let form = Fields::parse(&format!("_token={}", "a".repeat(64))).expect("a form");
        let tokens: Vec<String> = (1..=100)
            .map(|n| nth(&form, n).text("_token").to_owned())
            .collect();
        assert_eq!(tokens[0], format!("{}-1", "a".repeat(56)));
        assert!(tokens.iter().all(|token| token.len() <= 64));
        let apart: std::collections::HashSet<&String> = tokens.iter().collect();
        assert_eq!(apart.len(), 100);
    }
}
