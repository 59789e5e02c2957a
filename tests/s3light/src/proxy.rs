//! The proxy: passes requests on whole, and answers back as they are, or not.
//!
//! What must stay true: each fault is one that a real network, load balancer or store can play, so a client
//! that follows the rules survives it; in particular nothing is changed on the way to the store (bodies are
//! signed), and bytes on the way back are changed only where a checksum goes with them, unless asked.

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How often things go wrong, in 1/1,000 of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Up to 300 ms later.
    pub delayed: u32,
    /// The connection ends, and the store has seen nothing.
    pub dropped_before: u32,
    /// The store has done it, and the connection ends without an answer.
    pub dropped_after: u32,
    /// 503 with the store's code for "slow down", and nothing was done.
    pub slow_down: u32,
    /// 503 without any code, and nothing was done.
    pub unavailable_before: u32,
    /// 500, and it was done.
    pub failed_after: u32,
    /// 412 to a put with a condition, and nothing was done.
    pub precondition: u32,
    /// The answer's body ends early.
    pub truncated: u32,
    /// A bit of an object's bytes is wrong, and its checksum goes with it.
    pub garbled: u32,
}

impl Faults {
    /// Every fault at this rate.
    pub fn all(rate: u32) -> Self {
        Self {
            delayed: rate,
            dropped_before: rate,
            dropped_after: rate,
            slow_down: rate,
            unavailable_before: rate,
            failed_after: rate,
            precondition: rate,
            truncated: rate,
            garbled: rate,
        }
    }
}

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    DroppedBefore,
    DroppedAfter,
    SlowDown,
    UnavailableBefore,
    FailedAfter,
    Precondition,
    Truncated,
    Garbled,
}

type Body = BoxBody<Bytes, Gone>;

/// The connection is to end here.
#[derive(Debug)]
struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the proxy ends the connection")
    }
}

impl std::error::Error for Gone {}

/// A running proxy; ends when dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
    accepting: JoinHandle<()>,
}

struct State {
    target: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    random: Mutex<u64>,
    faults: Mutex<Faults>,
    played: Mutex<BTreeMap<Fault, u64>>,
    /// Requests under way now, and the most that ever were.
    under_way: Mutex<(usize, usize)>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// Starts it on the current tokio runtime, in front of `target`.
    pub async fn start(listen: SocketAddr, target: SocketAddr, seed: u64, faults: Faults) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("cannot listen on {listen}"))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            target,
            client: Client::builder(TokioExecutor::new()).build_http(),
            random: Mutex::new(seed),
            faults: Mutex::new(faults),
            played: Mutex::default(),
            under_way: Mutex::default(),
        });
        let shared = Arc::clone(&state);
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    let service = service_fn(move |request| {
                        let state = Arc::clone(&state);
                        async move {
                            state.enter();
                            let passed = state.pass(request).await;
                            lock(&state.under_way).0 -= 1;
                            passed
                        }
                    });
                    let connection = hyper::server::conn::http1::Builder::new();
                    let _ = connection.serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Ok(Self {
            address,
            state,
            accepting,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets how often things go wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        *lock(&self.state.faults) = faults;
    }

    /// The most requests that were under way at the same time.
    pub fn most_at_once(&self) -> usize {
        lock(&self.state.under_way).1
    }

    /// How many faults of how many kinds were played.
    pub fn played(&self) -> (u64, usize) {
        let played = lock(&self.state.played);
        (played.values().sum(), played.len())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl State {
    /// SplitMix64: enough to choose faults with.
    fn random(&self) -> u64 {
        let mut state = lock(&self.random);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn happens(&self, rate: u32) -> bool {
        self.random() % 1000 < u64::from(rate)
    }

    fn choose(&self, conditional: bool) -> Option<Fault> {
        let faults = *lock(&self.faults);
        let table = [
            (faults.dropped_before, Fault::DroppedBefore),
            (faults.dropped_after, Fault::DroppedAfter),
            (faults.slow_down, Fault::SlowDown),
            (faults.unavailable_before, Fault::UnavailableBefore),
            (faults.failed_after, Fault::FailedAfter),
            (faults.precondition, Fault::Precondition),
            (faults.truncated, Fault::Truncated),
            (faults.garbled, Fault::Garbled),
        ];
        let mut chosen = table
            .into_iter()
            .filter(|(rate, _)| self.happens(*rate))
            .map(|(_, fault)| fault);
        chosen.find(|fault| conditional || *fault != Fault::Precondition)
    }

    fn enter(&self) {
        let mut under_way = lock(&self.under_way);
        under_way.0 += 1;
        under_way.1 = under_way.1.max(under_way.0);
    }

    fn play(&self, fault: Fault) {
        *lock(&self.played).entry(fault).or_default() += 1;
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, Gone> {
        if self.happens(lock(&self.faults).delayed) {
            tokio::time::sleep(Duration::from_millis(self.random() % 300)).await;
        }
        let conditional = request.headers().contains_key(http::header::IF_NONE_MATCH);
        let fault = self.choose(conditional);
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Gone)?.to_bytes();
        match fault {
            Some(Fault::DroppedBefore) => {
                self.play(Fault::DroppedBefore);
                return Err(Gone);
            }
            Some(Fault::SlowDown) => {
                self.play(Fault::SlowDown);
                return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, "SlowDown"));
            }
            Some(Fault::UnavailableBefore) => {
                self.play(Fault::UnavailableBefore);
                return Ok(refusal(StatusCode::SERVICE_UNAVAILABLE, ""));
            }
            Some(Fault::Precondition) => {
                self.play(Fault::Precondition);
                return Ok(refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
            }
            _ => {}
        }
        let method = parts.method.clone();
        let answer = self.forward(parts, body).await?;
        match fault {
            Some(Fault::DroppedAfter) => {
                self.play(Fault::DroppedAfter);
                Err(Gone)
            }
            Some(Fault::FailedAfter) => {
                self.play(Fault::FailedAfter);
                Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"))
            }
            fault => Ok(self.back(&method, answer, fault)),
        }
    }

    async fn forward(&self, mut parts: http::request::Parts, body: Bytes) -> Result<Response<Bytes>, Gone> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        parts.uri = format!("http://{}{path}", self.target)
            .parse()
            .map_err(|_| Gone)?;
        let answer = self
            .client
            .request(Request::from_parts(parts, Full::new(body)))
            .await
            .map_err(|_| Gone)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| Gone)?.to_bytes();
        Ok(Response::from_parts(parts, body))
    }

    fn back(&self, method: &Method, answer: Response<Bytes>, fault: Option<Fault>) -> Response<Body> {
        let (mut parts, body) = answer.into_parts();
        if method == Method::HEAD {
            // The length stands for the object's, not for this body's.
            return Response::from_parts(parts, full(Bytes::new()));
        }
        parts.headers.remove(http::header::TRANSFER_ENCODING);
        parts
            .headers
            .insert(http::header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        if body.is_empty() {
            return Response::from_parts(parts, full(body));
        }
        match fault {
            Some(Fault::Truncated) => {
                self.play(Fault::Truncated);
                let kept = body.slice(..self.random() as usize % body.len());
                let frames = [Ok(Frame::data(kept)), Err(Gone)];
                Response::from_parts(parts, StreamBody::new(stream::iter(frames)).boxed())
            }
            Some(Fault::Garbled) if has_checksum(&parts.headers) => {
                self.play(Fault::Garbled);
                let mut garbled = body.to_vec();
                let at = self.random() as usize % garbled.len();
                garbled[at] ^= 1 << (self.random() % 8);
                Response::from_parts(parts, full(garbled.into()))
            }
            _ => Response::from_parts(parts, full(body)),
        }
    }
}

fn has_checksum(headers: &HeaderMap) -> bool {
    headers.contains_key("x-amz-checksum-sha256")
}

fn full(body: Bytes) -> Body {
    Full::new(body).map_err(|never| match never {}).boxed()
}

fn refusal(status: StatusCode, code: &str) -> Response<Body> {
    let body = match code {
        "" => "<html>no server is available</html>".to_owned(),
        code => format!("<Error><Code>{code}</Code><Message>played</Message></Error>"),
    };
    let mut answer = Response::new(full(body.into()));
    *answer.status_mut() = status;
    answer
}
