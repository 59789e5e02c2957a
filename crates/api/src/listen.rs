//! Connections: how many, and how long each may take for what it sends and reads.
//!
//! Whoever can reach the port can open connections, long before any signature is looked at. So what they can
//! make the process hold is bounded here: [`Bounds::connections`] of them, each with a head of at most
//! [`Bounds::head_bytes`], and no longer than [`Bounds::head_time`] for a head (that also ends connections that
//! are kept open and idle: clients open a new one) or [`Bounds::unread_time`] for reading an answer. Bodies
//! are bounded where they are read (`request`, `serve`). One connection too many is told so and closed; it does
//! not wait, because waiting would hold what it is to be kept from.
//!
//! Where connections come from, and what they know of who is there, is a [`Door`]: the API has one, the metadata service
//! two kinds (`metadata::doors`).

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

/// What connections may take.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// At once.
    pub connections: usize,
    /// Request line and headers. Clients send all parameters in the query, so it is far more than a browser's.
    pub head_bytes: usize,
    /// From the end of one request to the end of the next one's head.
    pub head_time: Duration,
    /// How long an answer may stay unread.
    pub unread_time: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections: 512,
            head_bytes: 128 * 1024,
            head_time: Duration::from_secs(30),
            unread_time: Duration::from_secs(30),
        }
    }
}

/// How long to wait when the system has no more descriptors or memory for a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// For one connection too many. Its request is not read, so its format is not known: XML is the default.
const TURNED_AWAY: &str = concat!(
    "HTTP/1.1 503 Service Unavailable\r\n",
    "content-type: text/xml;charset=utf-8\r\n",
    "content-length: 234\r\n",
    "connection: close\r\n",
    "x-acs-retry-after: 1000\r\n",
    "\r\n",
);
const TURNED_AWAY_BODY: &str = concat!(
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
    "<Error><RequestId>00000000-0000-0000-0000-000000000000</RequestId><HostId></HostId><Code>ServiceUnavailable</Code>",
    "<Message>There are too many connections.</Message><Recommend></Recommend></Error>",
);

/// Where connections come from.
pub(crate) trait Door: Send + Sync + 'static {
    /// A connection.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Who has made it, as far as accepting tells.
    type Peer: std::fmt::Debug + Send + 'static;

    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;

    /// Prepares the socket, and tells requests what is known of it.
    fn enter(stream: &Self::Stream, peer: &Self::Peer, router: Router, bounds: &Bounds) -> Router;

    /// Says that there is no room. What does not fit into an empty socket's buffer is not worth waiting for.
    fn turn_away(stream: &Self::Stream);
}

/// The API's.
struct ApiDoor(TcpListener);

impl Door for ApiDoor {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.0.accept().await
    }

    fn enter(stream: &TcpStream, peer: &SocketAddr, router: Router, bounds: &Bounds) -> Router {
        prepare(stream, peer, bounds);
        // What policies may speak about: where the caller is.
        router.layer(Extension(ConnectInfo(*peer)))
    }

    fn turn_away(stream: &TcpStream) {
        let _ = stream.try_write(format!("{TURNED_AWAY}{TURNED_AWAY_BODY}").as_bytes());
    }
}

/// Small answers leave at once, and who does not read is not waited for.
pub(crate) fn prepare(stream: &TcpStream, peer: &SocketAddr, bounds: &Bounds) {
    let unread_ms = u32::try_from(bounds.unread_time.as_millis()).unwrap_or(u32::MAX);
    let prepared = stream
        .set_nodelay(true)
        .and_then(|()| Ok(rustix::net::sockopt::set_tcp_user_timeout(stream, unread_ms)?));
    if let Err(error) = prepared {
        // It is gone already, or the system knows no such option: the other bounds hold.
        tracing::debug!(%peer, %error, "a connection's socket cannot be prepared");
    }
}

/// Serves until `until` is over and then the requests that have begun.
pub async fn serve(listener: TcpListener, router: Router, bounds: Bounds, until: impl Future<Output = ()>) {
    serve_at(ApiDoor(listener), router, bounds, until).await;
}

/// As [`serve`], at any door.
pub(crate) async fn serve_at<D: Door>(
    door: D,
    router: Router,
    bounds: Bounds,
    until: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    let closing = watch::Sender::new(false);
    let mut until = pin!(until);
    loop {
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            () = &mut until => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match Arc::clone(&slots).try_acquire_owned() {
            Ok(slot) => {
                let router = D::enter(&stream, &peer, router.clone(), &bounds);
                let one = connection(stream, peer, router, bounds.clone(), closing.subscribe(), slot);
                tokio::spawn(one);
            }
            Err(_) => {
                tracing::warn!(?peer, "one connection too many: closed");
                D::turn_away(&stream);
            }
        }
    }
    drop(door);
    closing.send_replace(true);
    let all = u32::try_from(bounds.connections).unwrap_or(u32::MAX);
    // Nobody closes the semaphore.
    let _ = slots.acquire_many(all).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: impl std::fmt::Debug,
    router: Router,
    bounds: Bounds,
    mut closing: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let serving = http1::Builder::new()
        // A client may have said all and wait for the answer. One that is gone is noticed when the answer is written: what it
        // asked for is done to its end.
        .half_close(true)
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head_time)
        .max_buf_size(bounds.head_bytes)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = pin!(serving);
    let early = tokio::select! {
        ended = serving.as_mut() => Some(ended),
        // It changes once; the sender's end is an end, too.
        _ = closing.changed() => None,
    };
    let ended = match early {
        Some(ended) => ended,
        None => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(?peer, %error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::time::Instant;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    struct Served {
        address: SocketAddr,
        stop: tokio::sync::oneshot::Sender<()>,
        task: tokio::task::JoinHandle<()>,
    }

    async fn served(bounds: Bounds) -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("known");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let slow = get(|| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "late"
        });
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/slow", slow);
        let task = tokio::spawn(serve(listener, router, bounds, async {
            let _ = stopped.await;
        }));
        Served { address, stop, task }
    }

    async fn send(served: &Served, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(served.address).await.expect("connects");
        stream.write_all(text.as_bytes()).await.expect("sent");
        stream
    }

    async fn all(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        // A reset after the answer is an end, too.
        let _ = stream.read_to_end(&mut bytes).await;
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn the_words_for_one_too_many_are_well_formed() {
        let length = format!("content-length: {}\r\n", TURNED_AWAY_BODY.len());
        assert!(TURNED_AWAY.contains(&length), "{length}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn heads_are_bounded_in_time_and_bytes() {
        let bounds = Bounds {
            head_time: Duration::from_millis(200),
            head_bytes: 16 * 1024,
            ..Bounds::default()
        };
        let served = served(bounds).await;
        let slow = send(&served, "GET / HTTP/1.1\r\nhost:").await;
        let silent = send(&served, "").await;
        let begun = Instant::now();
        let (slow, silent) = (all(slow).await, all(silent).await);
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "they were held for {:?}",
            begun.elapsed()
        );
        assert!(
            !slow.contains("200 OK") && !silent.contains("200 OK"),
            "{slow}{silent}"
        );
        let long = format!("GET /?{} HTTP/1.1\r\nhost: h\r\n\r\n", "a".repeat(64 * 1024));
        let answer = all(send(&served, &long).await).await;
        assert!(!answer.contains("200 OK"), "{answer}");
        let fine = send(&served, "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
        assert!(all(fine).await.ends_with("ok"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn one_connection_too_many_is_told_and_the_next_is_served() {
        let served = served(Bounds {
            connections: 2,
            ..Bounds::default()
        })
        .await;
        let held = [
            send(&served, "GET / HTTP").await,
            send(&served, "GET / HTTP").await,
        ];
        // Accepting is in order, so this one comes third.
        let third = all(send(&served, "").await).await;
        assert!(
            third.starts_with("HTTP/1.1 503") && third.contains("<Code>ServiceUnavailable</Code>"),
            "{third}"
        );
        drop(held);
        let ask = "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        let begun = Instant::now();
        while !all(send(&served, ask).await).await.ends_with("ok") {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "nobody is served any more"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn stopping_finishes_what_has_begun_and_no_more() {
        let served = served(Bounds::default()).await;
        let under_way = send(&served, "GET /slow HTTP/1.1\r\nhost: h\r\n\r\n").await;
        let idle = send(&served, "").await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        served.stop.send(()).expect("it serves");
        served.task.await.expect("it ends");
        assert!(all(under_way).await.ends_with("late"));
        assert_eq!(all(idle).await, "");
    }
}
