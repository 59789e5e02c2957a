//! HTTP beneath object_store: connections, time limits, and what every answer is checked for.
//!
//! What must stay true: an answer is handed up only whole, of the length that it announced, and, where the
//! store sent a checksum, with those bytes; everything else is a [`Failure`] with its trouble. object_store
//! composes and signs requests and reads listings; it never tries again by itself (see `client`), because
//! only we know what a repetition of ours may find.
//!
//! A request has its whole time from its start: that of the location and what its bytes need at a
//! slow link's rate, once for what is sent and once for what comes back.

use crate::failure::{Failure, Trouble, Where, clean};
use crate::location::Location;
use crate::resolve::Resolver;
use crate::tls;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use data_encoding::BASE64;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector as StoreConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody,
    HttpResponse, HttpService,
};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept: shorter than what servers and firewalls allow.
const IDLE: Duration = Duration::from_secs(20);
/// What a link carries at least, in bytes a second, however bad it is.
const SLOW_BYTES_PER_SECOND: u64 = 64 * 1024;
/// Longest answer that is taken in: several times the largest object of a vault.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Longest answer to a refused request that is read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Stands for "no answer had a date yet".
const NO_OFFSET: i64 = i64::MIN;

const SHA256: &str = "x-amz-checksum-sha256";
const CRC32C: &str = "x-amz-checksum-crc32c";

/// What answers have told about the store besides their content.
#[derive(Debug)]
pub struct Observed {
    clock_offset_seconds: AtomicI64,
    checksum_kept: AtomicBool,
}

impl Observed {
    /// How far the store's clock is ahead of ours, in seconds (an answer's date has no fractions), once known.
    pub fn clock_offset_seconds(&self) -> Option<i64> {
        match self.clock_offset_seconds.load(Ordering::Relaxed) {
            NO_OFFSET => None,
            offset => Some(offset),
        }
    }

    /// Whether the store has given an object's checksum back, so that reads of whole objects are verified.
    pub fn checksum_kept(&self) -> bool {
        self.checksum_kept.load(Ordering::Relaxed)
    }

    fn note(&self, headers: &HeaderMap) {
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(theirs) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) {
            let ours = jiff::Timestamp::now();
            let offset = theirs.timestamp().as_second() - ours.as_second();
            self.clock_offset_seconds.store(offset, Ordering::Relaxed);
        }
    }
}

/// Connections to one bucket's service. Clones share them.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Inner>);

struct Inner {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, HttpRequestBody>,
    place: Where,
    request: Duration,
    observed: Arc<Observed>,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transport({})", self.0.place.endpoint)
    }
}

impl Transport {
    /// Connects to nothing yet; the error is for people.
    pub(crate) fn new(location: &Location) -> Result<Self, String> {
        let mut tcp = HttpConnector::new_with_resolver(Resolver::new());
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let https = hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls::config(location)?);
        // Nothing that should be encrypted may leave in the open, whatever an answer says.
        let https = if location.is_plain() {
            https.https_or_http().enable_http1().wrap_connector(tcp)
        } else {
            https.https_only().enable_http1().wrap_connector(tcp)
        };
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(location.parallel)
            .build(https);
        Ok(Self(Arc::new(Inner {
            client,
            place: Where {
                bucket: location.bucket.clone(),
                endpoint: location.endpoint.clone(),
                region: location.region.clone(),
            },
            request: location.request,
            observed: Arc::new(Observed {
                clock_offset_seconds: AtomicI64::new(NO_OFFSET),
                checksum_kept: AtomicBool::new(false),
            }),
        })))
    }

    pub(crate) fn observed(&self) -> Arc<Observed> {
        Arc::clone(&self.0.observed)
    }

    async fn exchange(&self, request: HttpRequest) -> Result<Response<Bytes>, Failure> {
        let sent = request.body().content_length() as u64;
        let method = request.method().clone();
        let mut until = Instant::now() + self.0.request + carrying(sent);
        let answer = timeout_at(until, self.0.client.request(request))
            .await
            .map_err(|_| self.too_late())?
            .map_err(|error| self.no_answer(&error))?;
        let (parts, body) = answer.into_parts();
        self.0.observed.note(&parts.headers);
        if !parts.status.is_success() {
            let told = timeout_at(until, up_to(body, REFUSAL_BYTES_MAX))
                .await
                .unwrap_or_default();
            let bare = method == Method::HEAD;
            return Err(Failure::of_answer(
                &self.0.place,
                bare,
                parts.status,
                &parts.headers,
                &told,
            ));
        }
        if method == Method::HEAD {
            return Ok(Response::from_parts(parts, Bytes::new()));
        }
        let announced = body.size_hint().exact();
        let len = announced.unwrap_or(0);
        if len > ANSWER_BYTES_MAX {
            let text = format!("an answer of {len} bytes is larger than anything that a vault holds");
            return Err(Failure::new(Trouble::Refused, text));
        }
        until += carrying(announced.unwrap_or(ANSWER_BYTES_MAX));
        let body = timeout_at(until, whole(body, len))
            .await
            .map_err(|_| self.too_late())??;
        if method == Method::GET && is_whole_object(&parts, body.len()) {
            self.verify(&parts.headers, &body)?;
        }
        Ok(Response::from_parts(parts, body))
    }

    /// Compares a whole object with the checksum that the store sent along, if it did and we know its kind.
    fn verify(&self, headers: &HeaderMap, body: &[u8]) -> Result<(), Failure> {
        let (told, found) = if let Some(told) = headers.get(SHA256) {
            (
                told,
                BASE64.encode(ring::digest::digest(&ring::digest::SHA256, body).as_ref()),
            )
        } else if let Some(told) = headers.get(CRC32C) {
            (told, BASE64.encode(&crc32c::crc32c(body).to_be_bytes()))
        } else {
            return Ok(());
        };
        // With a dash: the checksum of parts' checksums, of an object that we did not write.
        if told.as_bytes().contains(&b'-') {
            return Ok(());
        }
        if told.as_bytes() != found.as_bytes() {
            let text = "the bytes that came do not have the checksum that came with them";
            return Err(Failure::new(Trouble::Garbled, text));
        }
        self.0.observed.checksum_kept.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn too_late(&self) -> Failure {
        let text = format!("{} did not answer in time", self.0.place.endpoint);
        Failure::new(Trouble::TimedOut, text)
    }

    fn no_answer(&self, error: &hyper_util::client::legacy::Error) -> Failure {
        let endpoint = &self.0.place.endpoint;
        let causes = causes(error);
        if causes.iter().any(|cause| is_tls(*cause)) {
            let text = format!(
                "no secure connection to {endpoint}: {}; if the store has a certificate of its own, name the file that \
                 vouches for it with ?ca=",
                innermost(&causes)
            );
            return Failure::new(Trouble::Tls, text);
        }
        if error.is_connect() {
            let text = format!(
                "{endpoint} cannot be reached: {}; is the address right, and is the store up?",
                innermost(&causes)
            );
            return Failure::new(Trouble::Unreachable, text);
        }
        let text = format!("the connection to {endpoint} broke: {}", innermost(&causes));
        Failure::new(Trouble::Broken, text)
    }
}

/// Whether a body is all of an object: the checksum that may come with a part is the whole's.
fn is_whole_object(parts: &http::response::Parts, len: usize) -> bool {
    match parts.headers.get(header::CONTENT_RANGE) {
        None => parts.status == StatusCode::OK,
        Some(range) => {
            let all = format!("bytes 0-{}/{len}", len.saturating_sub(1));
            len > 0 && range.as_bytes() == all.as_bytes()
        }
    }
}

/// How long `bytes` may take.
fn carrying(bytes: u64) -> Duration {
    Duration::from_secs(bytes / SLOW_BYTES_PER_SECOND)
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> Vec<&'a (dyn Error + 'static)> {
    let mut causes = vec![error];
    while let Some(cause) = causes[causes.len() - 1].source() {
        causes.push(cause);
    }
    causes
}

fn innermost(causes: &[&(dyn Error + 'static)]) -> String {
    causes
        .last()
        .map(|cause| clean(&cause.to_string()))
        .unwrap_or_default()
}

/// rustls's errors come inside of an `io::Error`, or of two, which hide them from `source()`.
fn is_tls(error: &(dyn Error + 'static)) -> bool {
    let mut error = error;
    while let Some(inner) = error
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
    {
        error = inner;
    }
    error.is::<rustls::Error>()
}

/// A body to its end; shorter than announced is broken.
async fn whole(mut body: Incoming, len: u64) -> Result<Bytes, Failure> {
    let broken = |why: &dyn std::fmt::Display| {
        Failure::new(
            Trouble::Broken,
            format!("the answer ended early: {}", clean(&why.to_string())),
        )
    };
    let mut bytes = BytesMut::with_capacity(len as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken(&innermost(&causes(&error))))?;
        if let Ok(data) = frame.into_data() {
            if (bytes.len() + data.len()) as u64 > ANSWER_BYTES_MAX {
                return Err(Failure::new(
                    Trouble::Refused,
                    "the answer is larger than anything that a vault holds",
                ));
            }
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes.freeze())
}

/// The first bytes of a body, as far as they come.
async fn up_to(mut body: Incoming, max: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(data) = frame.into_data() {
            let room = max - bytes.len();
            bytes.extend_from_slice(&data[..data.len().min(room)]);
        }
        if bytes.len() == max {
            break;
        }
    }
    bytes
}

#[async_trait]
impl HttpService for Transport {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        match self.exchange(request).await {
            Ok(answer) => Ok(answer.map(Into::into)),
            // As an error of its own, so that it arrives above as it is.
            Err(failure) => Err(HttpError::new(HttpErrorKind::Unknown, failure)),
        }
    }
}

impl StoreConnector for Transport {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}
