//! From HTTP to an action and back.

use crate::actions;
use crate::call::{Call, Reply};
use crate::request::{self, Incoming};
use crate::{answer, auth, openapi};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::{ConnectInfo, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Request, Response, header};
use axum::routing::{any, get};
use jiff::Timestamp;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tidemark_control::{Caller, Clock, Control, Throttle};
use tidemark_ecs::ApiError;
use tokio::sync::Semaphore;
use tracing::Instrument as _;

/// Requests with a body that are read and worked on at once: with the largest body, what they can hold. Clients put
/// all parameters into the query, so few have one.
const BODIES_MAX: usize = 128;

/// Most characters of a refusal that are written down.
const LOGGED_MOST: usize = 300;

/// What every request can reach.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// What the actions act on.
    pub control: Control,
    /// What timestamps of requests are compared with.
    pub clock: Clock,
    throttle: Arc<Throttle>,
    bodies: Arc<Semaphore>,
}

impl ApiState {
    /// On this machine's clock. `throttle` counts what comes in elsewhere, too.
    pub fn new(control: Control, throttle: Arc<Throttle>) -> Self {
        Self {
            control,
            clock: Clock::system(),
            throttle,
            bodies: Arc::new(Semaphore::new(BODIES_MAX)),
        }
    }
}

/// Everything this crate serves: the API at `/`, its description at `/openapi.json`, `/healthz`. Served with connection
/// information, callers have the address that policies may speak about.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/", any(api))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/openapi.json", get(description))
        .fallback(elsewhere)
        .with_state(state)
}

async fn description() -> Response<Body> {
    // The first caller's takes a while to make.
    let made = tokio::task::spawn_blocking(openapi::document).await;
    let mut response = Response::new(Body::from(made.unwrap_or_default()));
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Settles the format, then lets [`act`] do the rest as a task of its own: it runs to its end even
/// when the caller hangs up, and a panic in it ends nothing else.
async fn api(State(state): State<ApiState>, request: Request<Body>) -> Response<Body> {
    let began = Instant::now();
    let request_id = answer::request_id();
    let (parts, body) = request.into_parts();
    let source = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    let source = source.map(|ConnectInfo(address)| address.ip());
    let host = request::host(&parts.headers, &parts.uri);
    let (_held, read) = if body.is_end_stream() {
        (None, Ok(Bytes::new()))
    } else {
        // Nobody closes the semaphore; who waits here has its connection bounded.
        let held = Arc::clone(&state.bodies).acquire_owned().await.ok();
        (held, request::read_body(body).await)
    };
    let query = parts.uri.query().unwrap_or_default();
    let format = request::format(&parts.headers, query, read.as_deref().unwrap_or_default());
    let span = tracing::info_span!("request", %request_id);
    let id = request_id.clone();
    let known = Arc::new(AtomicBool::new(false));
    let is_known = Arc::clone(&known);
    let task = async move {
        let reply = Reply {
            format,
            request_id: &id,
        };
        act(&state, &parts, read?, source, &is_known, reply).await
    };
    let outcome = to_its_end(task.instrument(span.clone())).await;
    let elapsed_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    match outcome {
        Ok(body) => {
            tracing::debug!(parent: &span, elapsed_us, "answered");
            answer::success(format, body)
        }
        Err(error) => {
            if error.is_server_fault() {
                tracing::error!(parent: &span, elapsed_us, %error, "failed");
            } else {
                tracing::info!(parent: &span, elapsed_us, error = %for_log(&error, known.load(Ordering::Relaxed)), "refused");
            }
            answer::refusal(format, &error, &request_id, &host)
        }
    }
}

/// A refusal as it may be written down. While nobody knows who asks, it is their text in any length, and may hold what
/// they did not mean to send: a secret in the place of its id, a token in what was signed.
fn for_log(error: &ApiError, known: bool) -> String {
    let brief = format!("{} ({})", error.code, error.status);
    if !known {
        return brief;
    }
    match error.message.char_indices().nth(LOGGED_MOST) {
        Some((end, _)) => format!("{brief}: {}…", &error.message[..end]),
        None => error.to_string(),
    }
}

/// Runs a request as a task of its own. A panic in it is logged and answered as ours.
async fn to_its_end(
    task: impl Future<Output = Result<String, ApiError>> + Send + 'static,
) -> Result<String, ApiError> {
    tokio::spawn(task).await.unwrap_or_else(|died| {
        tracing::error!(%died, "a request ended early");
        Err(ApiError::internal())
    })
}

/// Decode, authenticate, dispatch, render. `known` is set once the signature is right.
async fn act(
    state: &ApiState,
    parts: &Parts,
    body: Bytes,
    source: Option<IpAddr>,
    known: &AtomicBool,
    reply: Reply<'_>,
) -> Result<String, ApiError> {
    let request = Incoming::new(parts, body)?;
    let now = Timestamp::from_millisecond(state.clock.now_ms()).map_err(|error| {
        tracing::error!(%error, "the clock is out of range");
        ApiError::internal()
    })?;
    let verified = auth::check(&state.control, now, &request).await?;
    known.store(true, Ordering::Relaxed);
    // Not before: V1 signs both spellings.
    let params = request.params.one_region();
    let caller = Caller {
        region: params.text("RegionId"),
        source,
        request_id: Some(reply.request_id.to_owned()),
        ..state.control.caller(&verified.key)
    };
    tracing::debug!(action = verified.action.as_deref(), key = %verified.key.id, "authenticated");
    let action = actions::find(verified.action.as_deref(), verified.version.as_deref())?;
    state
        .throttle
        .admit(Instant::now(), &caller.account, action.name)?;
    let named = (action.service(), action.name);
    let call = Call::new(&state.control, named, &caller, &params, &request.host, reply);
    action.perform(call).await
}

/// Any other path. Nothing is served there, whoever asks.
async fn elsewhere(request: Request<Body>) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let format = request::format(&parts.headers, parts.uri.query().unwrap_or_default(), b"");
    let error = ApiError::new(
        404,
        "InvalidAction.NotFound",
        format!(
            "Nothing is served at {:?}; the API is at \"/\".",
            parts.uri.path()
        ),
    );
    answer::refusal(
        format,
        &error,
        &answer::request_id(),
        &request::host(&parts.headers, &parts.uri),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime")
            .block_on(future)
    }

    #[test]
    fn what_strangers_send_is_not_written_down_and_nothing_at_any_length() {
        let told = |code: &'static str, message: String| ApiError::new(400, code, message);
        for error in [
            told("SignatureDoesNotMatch", "POST&%2F&SecurityToken%3Dhush".into()),
            told("InvalidAccessKeyId.NotFound", "\"hush\" does not exist".into()),
        ] {
            let written = for_log(&error, false);
            assert_eq!(written, format!("{} (400)", error.code));
        }
        let short = ApiError::disk_not_found("d-1");
        assert_eq!(for_log(&short, true), short.to_string());
        let long = told("InvalidParameter", "é".repeat(5000));
        let written = for_log(&long, true);
        assert!(written.starts_with("InvalidParameter (400): é") && written.chars().count() < 340);
    }

    #[test]
    fn a_panic_is_answered_as_ours() {
        let outcome = block_on(to_its_end(async { panic!("on purpose") }));
        assert_eq!(outcome, Err(ApiError::internal()));
    }

    #[test]
    fn a_caller_that_hangs_up_does_not_stop_the_action() {
        block_on(async {
            let (begin, begun) = tokio::sync::oneshot::channel();
            let (done, finished) = tokio::sync::oneshot::channel();
            let waiting = to_its_end(async move {
                begun.await.map_err(|_| ApiError::internal())?;
                done.send(()).map_err(|()| ApiError::internal())?;
                Ok(String::new())
            });
            let mut waiting = Box::pin(waiting);
            // Once, so that the task is spawned; then the caller is gone.
            assert!(poll_once(waiting.as_mut()).is_pending());
            drop(waiting);
            begin.send(()).expect("the task lives");
            finished.await.expect("the task ran to its end");
        });
    }

    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
        future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }
}
