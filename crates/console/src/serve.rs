//! From a request to a page, or to a form that somebody sent (`forms`).

use crate::ask::{self, Ctx};
use crate::fields::Fields;
use crate::http::{self, Incoming, REGION_COOKIE, SESSION_COOKIE};
use crate::session::Found;
use crate::state::ConsoleState;
use crate::{assets, forms, layout, live, pages, sign_in};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode, header};
use axum::routing::any;
use maud::html;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Instant;
use tidemark_control::{Caller, token_hash};
use tidemark_ecs::ApiError;

/// How long the region is remembered.
const REGION_SECONDS: u64 = 365 * 24 * 3600;

/// The console, at `/console` and below. It is merged with the API's router; served with connection information, callers
/// have the address that policies may speak about.
pub fn router(state: ConsoleState) -> Router {
    Router::new()
        .route("/console", any(handle))
        .route("/console/", any(handle))
        .route("/console/{*rest}", any(handle))
        .with_state(state)
}

/// What a form began runs to its end even when the browser goes away, as a task of its own; what is only looked at ends with whoever
/// looks, so that work is bounded as connections are.
async fn handle(State(state): State<ConsoleState>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::POST {
        let mut response = answer(&state, parts, body).await;
        http::guard(&mut response);
        return response;
    }
    let answered = tokio::spawn(async move { answer(&state, parts, body).await }).await;
    let mut response = answered.unwrap_or_else(|died| {
        tracing::error!(%died, "a request of the console ended early");
        let text = "Something went wrong in the service; its log has the cause.";
        http::plain(StatusCode::INTERNAL_SERVER_ERROR, text)
    });
    http::guard(&mut response);
    response
}

async fn answer(state: &ConsoleState, parts: Parts, body: Body) -> Response<Body> {
    let request = match Incoming::read(parts, body).await {
        Ok(request) => request,
        Err((status, text)) => return http::plain(status, &text),
    };
    if request.path.starts_with("assets/") {
        return assets::serve(&request.path);
    }
    if request.is_post && request.is_from_elsewhere() {
        let text = "This form was sent by another site, so nothing was done.";
        return http::plain(StatusCode::FORBIDDEN, text);
    }
    if request.path == "sign-in" {
        return sign_in::answer(state, &request).await;
    }
    let now = Instant::now();
    let browser = request.header(header::USER_AGENT.as_str());
    let session = request
        .cookie(SESSION_COOKIE)
        .and_then(|token| state.sessions.find(token, browser, now, !request.is_following()));
    let Some(session) = session else {
        return signed_out(&request);
    };
    match context(state, &request, session.clone()).await {
        Ok(Some(ctx)) => within(ctx, &request).await,
        Ok(None) => {
            state.sessions.end(&session.id);
            signed_out(&request)
        }
        Err(error) => {
            let body = html! { h1 { "The console cannot answer now" } (crate::parts::refusal(&error)) };
            http::page(status_of(error.status), layout::outside("Error", &body))
        }
    }
}

/// Who asks, where. `None`: whoever signed in may not any more.
async fn context(state: &ConsoleState, request: &Incoming, session: Found) -> Result<Option<Ctx>, ApiError> {
    let Some(caller) = ask::caller_of(&state.control, &session.who).await? else {
        return Ok(None);
    };
    let regions = ask::regions(&state.control, &caller).await?;
    if request.is_post
        && let Some(named) = request.form.get("region")
        && !regions.iter().any(|region| region.region_id == named)
    {
        let message = format!("The region {named:?} is not served here, so nothing was done.");
        return Err(ApiError::new(404, "InvalidRegionId.NotFound", message));
    }
    let query = match request.is_post {
        true => request.form.without(&["_csrf"]),
        false => request.query.clone(),
    };
    let named = query.get("region").or_else(|| request.cookie(REGION_COOKIE));
    let region = regions
        .iter()
        .find(|region| named == Some(region.region_id.as_str()));
    // There is always one.
    let region = region.or(regions.first());
    let region = region.map(|region| region.region_id.clone()).unwrap_or_default();
    Ok(Some(Ctx {
        caller: Caller {
            region: Some(region.clone()),
            source: request.source,
            ..caller
        },
        state: state.clone(),
        address: request.address(),
        path: request.path.clone(),
        session,
        region,
        regions,
        query,
        notices: Vec::new(),
    }))
}

/// Signed in.
async fn within(mut ctx: Ctx, request: &Incoming) -> Response<Body> {
    if request.is_post {
        // Equal texts have equal hashes, and how long their comparison takes tells nothing of the texts.
        if token_hash(request.form.text("_csrf")) != token_hash(&ctx.session.csrf) {
            let text =
                "This form is of another session, so nothing was done. Go back, reload the page, try again.";
            return http::plain(StatusCode::FORBIDDEN, text);
        }
        return match request.path.as_str() {
            "sign-out" => {
                ctx.state.sessions.end(&ctx.session.id);
                let mut response = http::redirect("/console/sign-in?out=1");
                http::set_cookie(&mut response, request, SESSION_COOKIE, "", 0);
                response
            }
            path => forms::answer(&ctx, path, &request.form).await,
        };
    }
    if request.path == "live" {
        return live::follow(ctx);
    }
    if !request.is_following() {
        ctx.notices = ctx.state.sessions.take_notices(&ctx.session.id);
    }
    let page = pages::page(&ctx).await;
    let mut response = shown(&ctx, &page);
    if request.query.has("region") && request.cookie(REGION_COOKIE) != Some(ctx.region.as_str()) {
        http::set_cookie(&mut response, request, REGION_COOKIE, &ctx.region, REGION_SECONDS);
    }
    response
}

/// The whole page.
pub(crate) fn shown(ctx: &Ctx, page: &layout::Page) -> Response<Body> {
    let version = version(page);
    http::page(status_of(page.status), layout::whole(ctx, page, &version))
}

/// Changes with what the page shows. It guards nothing.
pub(crate) fn version(page: &layout::Page) -> String {
    let mut hasher = DefaultHasher::new();
    page.body.0.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Nobody, or nobody any more: a page leads to the way in, and back to itself.
fn signed_out(request: &Incoming) -> Response<Body> {
    if request.is_following() {
        return http::plain(StatusCode::UNAUTHORIZED, "Sign in first.");
    }
    // A link on another site does not bring the session's cookie along. Asked for once more by this page itself, it comes.
    if !request.is_post && request.header("sec-fetch-site") == "cross-site" {
        let place = match request.query.get("region") {
            Some(region) => with_region(&request.address(), region),
            None => request.address(),
        };
        let body = html! {
            meta http-equiv="refresh" content=(format!("0; url={place}"));
            p { a href=(place) { "Open the console" } }
        };
        return http::page(StatusCode::OK, layout::outside("Opening", &body));
    }
    let then = match request.is_post {
        true => request.form.text("_then").to_owned(),
        false => request.address(),
    };
    let query = Fields::default().with("then", &then).query();
    http::redirect(&format!("/console/sign-in?{query}"))
}

/// A place of ours in a region.
pub(crate) fn with_region(place: &str, region: &str) -> String {
    let sign = if place.contains('?') { '&' } else { '?' };
    format!("{place}{sign}region={}", tidemark_ecs::sign::encode(region))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_keeps_its_query_beside_the_region() {
        assert_eq!(with_region("/console", "a"), "/console?region=a");
        assert_eq!(
            with_region("/console/disks?x=1", "a b"),
            "/console/disks?x=1&region=a%20b"
        );
    }

    #[test]
    fn a_page_has_another_version_when_it_shows_something_else() {
        let page = |text: &str| layout::Page::new(layout::Section::Disks, "t", html! { p { (text) } });
        assert_eq!(version(&page("a")), version(&page("a")));
        assert_ne!(version(&page("a")), version(&page("b")));
    }
}
