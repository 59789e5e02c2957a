//! What goes back: status, headers, body.

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use tidemark_ecs::{ApiError, render, render::Format};

/// Bytes of a random UUID.
const UUID_BYTES: usize = 16;

/// A new RequestId: a random UUID in upper case.
pub(crate) fn request_id() -> String {
    let mut bytes = [0u8; UUID_BYTES];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // An id names a line in the log and guards nothing: a dull one beats no answer.
        tracing::warn!(%error, "no randomness for a RequestId");
    }
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = data_encoding::HEXUPPER.encode(&bytes);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A rendered success.
pub(crate) fn success(format: Format, body: String) -> Response<Body> {
    build(StatusCode::OK, format, body)
}

/// A refusal, in the caller's format.
pub(crate) fn refusal(format: Format, error: &ApiError, request_id: &str, host: &str) -> Response<Body> {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = build(status, format, render::error(format, error, request_id, host));
    if let Some(wait) = error.retry_after_ms {
        response
            .headers_mut()
            .insert("x-acs-retry-after", HeaderValue::from(wait));
    }
    response
}

fn build(status: StatusCode, format: Format, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_upper_case_uuids() {
        let id = request_id();
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12]);
        assert!(
            id.chars()
                .all(|c| c == '-' || c.is_ascii_digit() || ('A'..='F').contains(&c)),
            "{id}"
        );
        assert_ne!(id, request_id());
    }

    #[test]
    fn throttled_callers_are_told_how_long() {
        let response = refusal(Format::Json, &ApiError::throttling(1500), "ID", "h");
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["x-acs-retry-after"], "1500");
        assert_eq!(
            response.headers()["content-type"],
            "application/json;charset=utf-8"
        );
    }
}
