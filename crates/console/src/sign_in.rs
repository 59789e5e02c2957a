//! The way in: an access key's id and secret, or a user's name and password, in one form.
//!
//! What must stay true: an answer takes as long and says the same whatever was wrong, so it tells nobody whether there is such a key or
//! user; failures slow down who makes them ([`crate::limiter`]); a secret is compared and forgotten, it is in no page, no
//! cookie and no log; a new session has a token that nobody had before.

use crate::http::{self, Incoming, SESSION_COOKIE};
use crate::session::{LONGEST, Who};
use crate::state::ConsoleState;
use crate::{layout, text};
use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use maud::{Markup, html};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemark_control::token_hash;
use tidemark_ecs::ApiError;

/// No answer comes before: more than any of the ways to one takes.
const LEAST: Duration = Duration::from_millis(400);

/// The page, or what its form leads to.
pub(crate) async fn answer(state: &ConsoleState, request: &Incoming) -> Response<Body> {
    if !request.is_post {
        let told = match request.query.has("out") {
            true => Some(("notice", "You are signed out.".to_owned())),
            false => None,
        };
        let then = request.query.text("then");
        return http::page(StatusCode::OK, form(then, "", told));
    }
    let began = Instant::now();
    let name = request.form.text("name").trim();
    let then = request.form.text("then");
    // A slot first: of tries that come all at once, no more than have one are not yet counted. Nobody closes the semaphore.
    let _slot = Arc::clone(&state.signing_in).acquire_owned().await.ok();
    if let Some(wait) = state.limiter.wait(request.source, name, Instant::now()) {
        let seconds = wait.as_secs() + 1;
        let told = format!("Too many tries. Try again in {}.", text::seconds(seconds));
        let page = form(then, name, Some(("notice bad", told)));
        let mut response = http::page(StatusCode::TOO_MANY_REQUESTS, page);
        http::set(&mut response, header::RETRY_AFTER, &seconds.to_string());
        return response;
    }
    let found = who(state, name, request.form.text("secret")).await;
    tokio::time::sleep(LEAST.saturating_sub(began.elapsed())).await;
    let browser = request.header(header::USER_AGENT.as_str());
    match found {
        Ok(Some(who)) => {
            state.limiter.succeeded(request.source, name);
            let Some(token) = state.sessions.begin(who, browser, Instant::now()) else {
                return http::plain(StatusCode::INTERNAL_SERVER_ERROR, "No session can be made now.");
            };
            tracing::info!(source = ?request.source, "signed in to the console");
            let mut response = http::redirect(text::or(then, "/console"));
            http::set_cookie(&mut response, request, SESSION_COOKIE, &token, LONGEST.as_secs());
            response
        }
        Ok(None) => {
            state.limiter.failed(request.source, name, Instant::now());
            tracing::warn!(source = ?request.source, "a sign-in to the console was refused");
            let told = "The name or the secret is wrong.".to_owned();
            let page = form(then, name, Some(("notice bad", told)));
            http::page(StatusCode::UNAUTHORIZED, page)
        }
        Err(error) => {
            let page = form(then, name, Some(("notice bad", error.message)));
            http::page(StatusCode::SERVICE_UNAVAILABLE, page)
        }
    }
}

/// Who that is. Every way does the same work.
async fn who(state: &ConsoleState, name: &str, secret: &str) -> Result<Option<Who>, ApiError> {
    let unknown = |error: tidemark_control::ControlError| {
        tracing::error!(%error, "the catalogue cannot be asked who signs in");
        ApiError::service_unavailable("access keys cannot be read")
    };
    let key = state.control.access_key(name).await.map_err(unknown)?;
    // A temporary key needs its token as well, and there is no place for one.
    let key = key.filter(|key| key.active && key.session.is_none());
    let kept = token_hash(key.as_ref().map_or("", |key| key.secret.as_str()));
    let fits = !secret.is_empty() && kept == token_hash(secret);
    let user = state
        .control
        .console_password(name, secret)
        .await
        .map_err(unknown)?;
    Ok(match key {
        Some(key) if fits => Some(Who::Key(key.id)),
        _ => user.map(Who::User),
    })
}

fn form(then: &str, name: &str, told: Option<(&str, String)>) -> Markup {
    let then = if http::is_ours(then) { then } else { "/console" };
    let body = html! {
        div class="sign-in" {
            p class="brand" { "Tidemark" span { "ECS console" } }
            h1 { "Sign in" }
            @if let Some((class, text)) = &told {
                div class=(class) role="alert" { p { (text) } }
            }
            form method="post" action="/console/sign-in" {
                input type="hidden" name="then" value=(then);
                label for="name" { "Access key ID or user name" }
                input id="name" name="name" value=(name) autocomplete="username" autocapitalize="none"
                    spellcheck="false" required autofocus;
                label for="secret" { "Access key secret or password" }
                input id="secret" name="secret" type="password" autocomplete="current-password" required;
                button type="submit" class="primary" { "Sign in" }
            }
            p class="hint" {
                "The first key is in " code { "credentials.toml" } " in the service's data directory; "
                code { "tidemark up" } " names the file when it is ready."
            }
        }
    };
    layout::outside("Sign in", &body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_leads_only_to_our_own_places_and_shows_what_was_typed_escaped() {
        let page = form("https://evil.example", "<b>\"", None).into_string();
        assert!(page.contains("value=\"/console\"") && !page.contains("evil.example"));
        assert!(!page.contains("<b>"));
        let page = form("/console/disks/d-1", "", None).into_string();
        assert!(page.contains("value=\"/console/disks/d-1\""));
    }
}
