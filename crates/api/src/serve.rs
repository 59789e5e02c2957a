//! From HTTP to an action and back.

use crate::actions::{self, Call};
use crate::request::{self, Incoming};
use crate::{answer, auth};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{Request, Response};
use axum::routing::{any, get};
use jiff::Timestamp;
use std::time::Instant;
use tidemark_control::{Caller, Clock, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::render::Format;
use tracing::Instrument as _;

/// What every request can reach.
#[derive(Clone, Debug)]
pub struct ApiState {
    /// What the actions act on.
    pub control: Control,
    /// What timestamps of requests are compared with.
    pub clock: Clock,
}

impl ApiState {
    /// On this machine's clock.
    pub fn new(control: Control) -> Self {
        Self {
            control,
            clock: Clock::system(),
        }
    }
}

/// Everything this crate serves: the API at `/`, `/healthz`.
pub fn router(state: ApiState) -> Router {
    Router::new()
        .route("/", any(api))
        .route("/healthz", get(|| async { "ok\n" }))
        .fallback(elsewhere)
        .with_state(state)
}

/// Settles the format, then lets [`act`] do the rest as a task of its own: it runs to its end even
/// when the caller hangs up, and a panic in it ends nothing else.
async fn api(State(state): State<ApiState>, request: Request<Body>) -> Response<Body> {
    let began = Instant::now();
    let request_id = answer::request_id();
    let (parts, body) = request.into_parts();
    let host = request::host(&parts.headers, &parts.uri);
    let read = request::read_body(body).await;
    let query = parts.uri.query().unwrap_or_default();
    let format = request::format(&parts.headers, query, read.as_deref().unwrap_or_default());
    let span = tracing::info_span!("request", %request_id);
    let id = request_id.clone();
    let task = async move { act(&state, &parts, read?, format, &id).await };
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
                tracing::info!(parent: &span, elapsed_us, %error, "refused");
            }
            answer::refusal(format, &error, &request_id, &host)
        }
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

/// Decode, authenticate, dispatch, render.
async fn act(
    state: &ApiState,
    parts: &Parts,
    body: Bytes,
    format: Format,
    request_id: &str,
) -> Result<String, ApiError> {
    let request = Incoming::new(parts, body)?;
    let now = Timestamp::from_millisecond(state.clock.now_ms()).map_err(|error| {
        tracing::error!(%error, "the clock is out of range");
        ApiError::internal()
    })?;
    let verified = auth::check(&state.control, now, &request).await?;
    let caller = Caller {
        // Clients add their profile's RegionId to everything; an action's own `regionId` says more.
        region: request.params.text("regionId"),
        ..state.control.caller(&verified.key)
    };
    tracing::debug!(action = verified.action.as_deref(), key = %verified.key.id, "authenticated");
    let run = actions::find(verified.action.as_deref(), verified.version.as_deref())?;
    run(Call {
        control: &state.control,
        caller: &caller,
        params: &request.params,
        host: &request.host,
        format,
        request_id,
    })
    .await
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
