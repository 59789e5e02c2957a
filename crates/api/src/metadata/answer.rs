//! One request: who it is, whether it is answered, and with what (metadata-service.md 1, 2, 5).
//!
//! The order: how often, who (404 for nobody), whether the endpoint is on (403), a token wanted (PUT), the method (405),
//! the token sent (401 for a wrong one, 403 for none where one is needed), the path (404). Error bodies are short and
//! look like no value: scripts print them without asking for the status.

use super::doors::{Who, Wire};
use super::tree::{Node, Path, VERSIONS};
use super::{Inner, identity};
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use percent_encoding::percent_decode_str;
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tidemark_control::{InstanceMetadata, RoleKeys};

const TOKEN: &str = "x-aliyun-ecs-metadata-token";
const TOKEN_SECONDS: &str = "x-aliyun-ecs-metadata-token-ttl-seconds";
const FORWARDED: &str = "x-forwarded-for";
/// How long a token may live.
const SECONDS: std::ops::RangeInclusive<u32> = 1..=21_600;

/// Why a request is not answered with a value.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    NotFound,
    /// Who asks is no instance.
    Nobody,
    Forbidden,
    BadToken,
    BadSeconds,
    /// The method that there is at that path.
    Method(&'static str),
    TooMany,
    /// Ours; logged where it happened.
    Failed,
}

impl Refusal {
    fn response(&self) -> Response<Body> {
        let (status, text) = match self {
            Refusal::NotFound => (StatusCode::NOT_FOUND, "404 Not Found"),
            Refusal::Nobody => (StatusCode::NOT_FOUND, "404 No running instance has this address"),
            Refusal::Forbidden => (StatusCode::FORBIDDEN, "403 Forbidden"),
            Refusal::BadToken => (StatusCode::UNAUTHORIZED, "401 Invalid or expired token"),
            Refusal::BadSeconds => (StatusCode::BAD_REQUEST, "Missing or Invalid Parameters"),
            Refusal::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "405 Method Not Allowed"),
            Refusal::TooMany => (StatusCode::TOO_MANY_REQUESTS, "429 Too Many Requests"),
            Refusal::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "500 Internal Server Error"),
        };
        let mut response = plain(status, Body::from(text));
        match self {
            Refusal::Method(allowed) => {
                let allowed = HeaderValue::from_static(allowed);
                response.headers_mut().insert(header::ALLOW, allowed);
            }
            Refusal::TooMany => {
                let second = HeaderValue::from_static("1");
                response.headers_mut().insert(header::RETRY_AFTER, second);
            }
            _ => {}
        }
        response
    }
}

fn plain(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Answers one request.
pub(super) async fn answer(
    State(service): State<Arc<Inner>>,
    Extension(who): Extension<Who>,
    Extension(wire): Extension<Wire>,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let answered = respond(&service, &who, &wire, &parts.method, &parts.uri, &parts.headers).await;
    match answered {
        Ok(body) => {
            tracing::debug!(?who, method = %parts.method, path = parts.uri.path(), "metadata");
            plain(StatusCode::OK, body)
        }
        Err(refusal) => {
            tracing::debug!(?who, method = %parts.method, path = parts.uri.path(), ?refusal, "metadata refused");
            refusal.response()
        }
    }
}

async fn respond(
    service: &Inner,
    who: &Who,
    wire: &Wire,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Body, Refusal> {
    let name = match who {
        Who::Address(address) | Who::ThisMachine(address) => address.to_string(),
        Who::Instance(id) => id.clone(),
    };
    if !service.limit.admit(Instant::now(), &name) {
        return Err(Refusal::TooMany);
    }
    let own = identify(service, who).await?;
    if !own.options.enabled {
        return Err(Refusal::Forbidden);
    }
    let path = Path::parse(uri.path());
    let is_token = path.as_ref().is_some_and(is_token_path);
    if is_token && method == Method::PUT {
        return token(service, wire, &own, headers);
    }
    if is_token {
        return Err(Refusal::Method("PUT"));
    }
    if method != Method::GET {
        return Err(Refusal::Method("GET"));
    }
    check_token(service, &own, headers)?;
    value(service, &own, &path.ok_or(Refusal::NotFound)?, uri.query()).await
}

/// The instance that asks; by address, only a running one.
async fn identify(service: &Inner, who: &Who) -> Result<InstanceMetadata, Refusal> {
    let found = match who {
        Who::Instance(id) => service.control.metadata_of(id).await,
        Who::Address(address) | Who::ThisMachine(address) => {
            let loopback = [
                IpAddr::from(Ipv4Addr::LOCALHOST),
                IpAddr::from(Ipv6Addr::LOCALHOST),
            ];
            let may_be_a_guest = matches!(who, Who::ThisMachine(_)) || loopback.contains(address);
            if may_be_a_guest && service.refuse_this_machine.load(Ordering::Relaxed) {
                return Err(Refusal::Nobody);
            }
            service.control.metadata_by_address(*address).await
        }
    };
    match found {
        Ok(Some(own)) => Ok(own),
        Ok(None) => Err(Refusal::Nobody),
        Err(error) => {
            tracing::error!(?who, %error, "an instance's metadata cannot be read");
            Err(Refusal::Failed)
        }
    }
}

fn is_token_path(path: &Path) -> bool {
    match path.parts()[..] {
        [version, "api", "token"] => VERSIONS.contains(&version) && !path.is_directory,
        _ => false,
    }
}

/// A new token (metadata-service.md 5).
fn token(service: &Inner, wire: &Wire, own: &InstanceMetadata, headers: &HeaderMap) -> Result<Body, Refusal> {
    // It came through a proxy, which may well have been talked into it.
    if headers.contains_key(FORWARDED) {
        return Err(Refusal::Forbidden);
    }
    let seconds = seconds(headers).ok_or(Refusal::BadSeconds)?;
    if own.options.hop_limit == 1
        && let Err(error) = wire.limit_to_one_hop()
    {
        tracing::error!(%error, "the hops of a token cannot be limited: it is not given");
        return Err(Refusal::Failed);
    }
    let token = service.control.metadata_token(&own.instance_id, seconds);
    Ok(Body::from(token))
}

/// What the request says a token shall live, if that is possible.
fn seconds(headers: &HeaderMap) -> Option<u32> {
    let mut values = headers.get_all(TOKEN_SECONDS).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let text = value.to_str().ok()?;
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|seconds| SECONDS.contains(seconds))
}

/// A token that is sent must be right, needed or not; one must be sent where it is needed.
fn check_token(service: &Inner, own: &InstanceMetadata, headers: &HeaderMap) -> Result<(), Refusal> {
    let mut sent = headers.get_all(TOKEN).iter();
    match (sent.next(), sent.next()) {
        (None, _) if own.options.token_required => Err(Refusal::Forbidden),
        (None, _) => Ok(()),
        (Some(token), None) => {
            let token = token.to_str().unwrap_or_default();
            let valid = service.control.is_metadata_token(&own.instance_id, token);
            if valid { Ok(()) } else { Err(Refusal::BadToken) }
        }
        (Some(_), Some(_)) => Err(Refusal::BadToken),
    }
}

/// What is at a path.
async fn value(
    service: &Inner,
    own: &InstanceMetadata,
    path: &Path,
    query: Option<&str>,
) -> Result<Body, Refusal> {
    let mut parts = path.parts();
    if parts.is_empty() {
        return Ok(Body::from(VERSIONS.join("\n")));
    }
    if !VERSIONS.contains(&parts.remove(0)) {
        return Err(Refusal::NotFound);
    }
    // One old library writes it so.
    if parts.starts_with(&["meta-data", "Ram", "security-credentials"]) {
        parts[1] = "ram";
    }
    let tree = Node::of(own, &service.site);
    if parts == ["meta-data", "all"] && !path.is_directory {
        let all = tree.find(&["meta-data"]).and_then(Node::json);
        return Ok(Body::from(all.unwrap_or_default().to_string()));
    }
    let found = tree.find(&parts).ok_or(Refusal::NotFound)?;
    if let Some(listing) = found.listing() {
        return Ok(Body::from(listing));
    }
    // A value is no directory.
    if path.is_directory {
        return Err(Refusal::NotFound);
    }
    match found {
        Node::Text(text) => Ok(Body::from(text.clone())),
        Node::Bytes(bytes) => Ok(Body::from(bytes.clone())),
        Node::RoleKeys(role) => role_keys(service, own, role).await,
        Node::Document => Ok(Body::from(identity::document(own, None))),
        Node::Signature => signature(service, own, query),
        Node::Directory(_) => Err(Refusal::NotFound),
    }
}

/// Keys of a role, as credential libraries read them.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Credentials {
    access_key_id: String,
    access_key_secret: String,
    expiration: String,
    security_token: String,
    last_updated: String,
    code: &'static str,
}

async fn role_keys(service: &Inner, own: &InstanceMetadata, role: &str) -> Result<Body, Refusal> {
    let id = &own.instance_id;
    match service.control.metadata_role_keys(id, role).await {
        Ok(Some(RoleKeys { keys, last_updated })) => {
            let credentials = Credentials {
                access_key_id: keys.access_key_id,
                access_key_secret: keys.access_key_secret,
                expiration: keys.expiration,
                security_token: keys.security_token,
                last_updated,
                code: "Success",
            };
            // Texts alone: nothing in it can fail to be written.
            let text = serde_json::to_string(&credentials).map_err(|_| Refusal::Failed)?;
            Ok(Body::from(text))
        }
        Ok(None) => Err(Refusal::NotFound),
        Err(error) => {
            tracing::error!(instance = %id, role, %error, "keys of a role cannot be given");
            Err(Refusal::Failed)
        }
    }
}

fn signature(service: &Inner, own: &InstanceMetadata, query: Option<&str>) -> Result<Body, Refusal> {
    let audience = audience(query.unwrap_or_default());
    let content = identity::document(own, audience.as_deref());
    match service.signer.pkcs7(content.as_bytes()) {
        Ok(text) => Ok(Body::from(text)),
        Err(error) => {
            tracing::error!(%error, "an identity document is not signed");
            Err(Refusal::Failed)
        }
    }
}

/// The `audience` of a query, decoded as forms are; empty is none.
fn audience(query: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(name, value)| *name == "audience" && !value.is_empty());
    let (_, value) = named.next()?;
    let value = value.replace('+', " ");
    Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_lives_for_whole_seconds_within_bounds() {
        let said = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                let value = HeaderValue::from_str(value).expect("a value");
                headers.append("X-Aliyun-ECS-Metadata-Token-TTL-Seconds", value);
            }
            seconds(&headers)
        };
        assert_eq!((said(&["1"]), said(&["21600"])), (Some(1), Some(21_600)));
        for odd in [
            &[][..],
            &[""],
            &["0"],
            &["21601"],
            &["-1"],
            &["+1"],
            &["1.5"],
            &["1 2"],
            &["ten"],
            &["99999999999999999999"],
            &["60", "60"],
        ] {
            assert_eq!(said(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn the_audience_is_decoded() {
        assert_eq!(audience("audience=a%22b+c").as_deref(), Some("a\"b c"));
        assert_eq!(audience("x=1&audience=a&audience=b").as_deref(), Some("a"));
        for none in ["", "audience", "audience=", "Audience=a", "x=audience"] {
            assert_eq!(audience(none), None, "{none}");
        }
    }

    #[test]
    fn a_token_is_at_one_path() {
        let is = |text: &str| is_token_path(&Path::parse(text).expect("a path"));
        assert!(is("/latest/api/token") && is("/2016-01-01/api/token"));
        for other in [
            "/latest/api/token/",
            "/latest/api",
            "/v1/api/token",
            "/latest/api/token/x",
        ] {
            assert!(!is(other), "{other}");
        }
    }
}
