//! Pages that follow what happens: a stream of events that says when a page would look different.
//!
//! The page is made anew every second (a slow one less often, see [`pace`]) and compared by its version; the script then fetches it and puts it in place. So there is one
//! way to make a page, and whatever it shows is followed. What must stay true: who may see the page is asked each time; a
//! stream ends with its session, with the service, and after [`LONGEST`] (the browser opens another); it is nobody at the keyboard, so it
//! keeps no session alive; streams are bounded.

use crate::ask::{self, Ctx};
use crate::fields::Fields;
use crate::{http, pages, serve};
use axum::body::Body;
use axum::http::{Response, StatusCode, header};
use futures_util::stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tidemark_control::Caller;
use tokio::sync::OwnedSemaphorePermit;

/// How often a page is made anew.
const EVERY: Duration = Duration::from_secs(1);
/// How often one is that asks the vault's trees, which are mostly in memory, or its head logs, which cost requests.
const EVERY_OF_TREES: Duration = Duration::from_secs(5);
const EVERY_OF_HEADS: Duration = Duration::from_secs(30);
/// A page takes at most one part in so many of the time.
const SHARE: u32 = 20;
/// How long a stream may be silent: what is in between must not take it for dead.
const SILENCE: Duration = Duration::from_secs(15);
/// How long a stream lives.
const LONGEST: Duration = Duration::from_secs(10 * 60);

struct Follower {
    ctx: Ctx,
    seen: String,
    began: Instant,
    /// How long the page took to make.
    took: Duration,
    has_greeted: bool,
    _slot: OwnedSemaphorePermit,
}

/// Follows the page at `at`; `seen` is the version that the browser has.
pub(crate) fn follow(mut ctx: Ctx) -> Response<Body> {
    let Ok(slot) = Arc::clone(&ctx.state.following).try_acquire_owned() else {
        return http::plain(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many pages are followed already.",
        );
    };
    let seen = ctx.query.text("seen").to_owned();
    let at = ctx.query.text("at").to_owned();
    if !http::is_ours(&at) {
        return http::plain(StatusCode::BAD_REQUEST, "There is nothing to follow.");
    }
    let (path, query) = at.split_once('?').unwrap_or((at.as_str(), ""));
    let Ok(query) = Fields::parse(query) else {
        return http::plain(StatusCode::BAD_REQUEST, "There is nothing to follow.");
    };
    let below = path.strip_prefix("/console").unwrap_or(path);
    ctx.path = below.trim_matches('/').to_owned();
    // As the page had it: what is compared has addresses in it.
    let rest = query.without(&["region"]).query();
    ctx.address = match (ctx.path.as_str(), rest.as_str()) {
        ("", "") => "/console".to_owned(),
        (path, "") => format!("/console/{path}"),
        (path, rest) => format!("/console/{path}?{rest}"),
    };
    ctx.query = query;
    let follower = Follower {
        ctx,
        seen,
        began: Instant::now(),
        took: Duration::ZERO,
        has_greeted: false,
        _slot: slot,
    };
    let mut response = Response::new(Body::from_stream(stream::unfold(follower, Follower::next)));
    http::set(&mut response, header::CONTENT_TYPE, "text/event-stream");
    response
}

/// How long to wait before the page is made again.
fn pace(ctx: &Ctx, took: Duration) -> Duration {
    let least = match ctx.path.as_str() {
        "snapshots" if ctx.query.get("tab") == Some("deleted") => EVERY_OF_HEADS,
        path if path.starts_with("snapshots/") => EVERY_OF_TREES,
        _ => EVERY,
    };
    least.max(took.saturating_mul(SHARE))
}

impl Follower {
    /// What is said next; `None` ends the stream.
    async fn next(mut self) -> Option<(Result<String, Infallible>, Self)> {
        if !self.has_greeted {
            self.has_greeted = true;
            // The browser tries again after so many milliseconds when the stream ends.
            return Some((Ok("retry: 2000\n\n".to_owned()), self));
        }
        let said = Instant::now();
        loop {
            if !self.wait().await {
                return None;
            }
            let making = Instant::now();
            let page = pages::page(&self.ctx).await;
            self.took = making.elapsed();
            let version = serve::version(&page);
            if version != self.seen {
                self.seen.clone_from(&version);
                return Some((Ok(format!("event: changed\ndata: {version}\n\n")), self));
            }
            if said.elapsed() >= SILENCE {
                return Some((Ok(": still here\n\n".to_owned()), self));
            }
        }
    }

    /// Waits for the next look; false: there is none.
    async fn wait(&mut self) -> bool {
        let mut closing = self.ctx.state.closing.clone();
        let closed = async move {
            // The sender's end is an end, too.
            let _ = closing.wait_for(|closing| *closing).await;
        };
        let pace = pace(&self.ctx, self.took);
        tokio::select! {
            () = tokio::time::sleep(pace) => {}
            () = closed => return false,
        }
        let is_alive = self
            .ctx
            .state
            .sessions
            .is_alive(&self.ctx.session.id, Instant::now());
        if !is_alive || self.began.elapsed() >= LONGEST {
            return false;
        }
        match ask::caller_of(&self.ctx.state.control, &self.ctx.session.who).await {
            Ok(Some(caller)) => {
                self.ctx.caller = Caller {
                    region: self.ctx.caller.region.clone(),
                    source: self.ctx.caller.source,
                    ..caller
                };
                true
            }
            Ok(None) | Err(_) => false,
        }
    }
}
