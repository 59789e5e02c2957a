//! One signed POST.
//!
//! What must stay true: of an answer only its status is looked at, and only whether it is 2xx is told to anybody; no
//! redirection is followed; addresses that lead to this machine or to what tells a machine its credentials are never
//! connected to, whatever name they hide behind: the check is on the address that is about to be used. What turns out to
//! be this machine under one of its own addresses is left before anything is sent.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::{TokioExecutor, TokioIo};
use ring::hmac;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tower_service::Service;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// What tells the machines of a cloud their credentials, beside the link-local addresses.
const METADATA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
/// The same in another cloud.
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// One event on its way.
pub(crate) struct Message<'a> {
    pub(crate) url: &'a str,
    pub(crate) secret: &'a str,
    /// Its id: the same each time it is sent.
    pub(crate) event: &'a str,
    /// How many events that it wanted the receiver has missed so far.
    pub(crate) dropped: i64,
    /// Seconds since 1970.
    pub(crate) at_s: i64,
    pub(crate) body: String,
}

type Https = Client<HttpsConnector<Away>, Full<Bytes>>;

/// Sends.
pub(crate) struct Sender {
    client: OnceLock<Https>,
    to_this_machine: bool,
}

/// What receivers compute too: HMAC-SHA256 of the time, a dot and the body, in hex.
fn signature(secret: &str, at_s: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, format!("{at_s}.{body}").as_bytes());
    HEXLOWER.encode(tag.as_ref())
}

impl Sender {
    pub(crate) fn new(to_this_machine: bool) -> Self {
        Self {
            client: OnceLock::new(),
            to_this_machine,
        }
    }

    /// Sends once. The error is for people, and says nothing about what was answered.
    pub(crate) async fn send(&self, message: &Message<'_>) -> Result<(), String> {
        let uri: Uri = message
            .url
            .parse()
            .map_err(|_| "its URL cannot be used".to_owned())?;
        if literal(&uri).is_some_and(|address| !self.allows(address)) {
            return Err("its address is not one that webhooks may go to".into());
        }
        let request = Request::post(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .header(
                header::USER_AGENT,
                concat!("tidemark/", env!("CARGO_PKG_VERSION")),
            )
            .header("x-tidemark-event-id", message.event)
            .header("x-tidemark-dropped", message.dropped)
            .header("x-tidemark-timestamp", message.at_s)
            .header(
                "x-tidemark-signature",
                format!("v1={}", signature(message.secret, message.at_s, &message.body)),
            )
            .body(Full::new(Bytes::from(message.body.clone())))
            .map_err(|_| "its URL cannot be used".to_owned())?;
        let answer = tokio::time::timeout(PATIENCE, self.client()?.request(request)).await;
        match answer {
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
            Ok(Err(error)) if error.is_connect() => Err("no connection to it".into()),
            Ok(Err(_)) => Err("the connection to it broke".into()),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(_)) => Err("it does not answer with success".into()),
        }
    }

    fn allows(&self, address: IpAddr) -> bool {
        allowed(address, self.to_this_machine)
    }

    fn client(&self) -> Result<&Https, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut tcp = HttpConnector::new_with_resolver(Guarded {
            names: GaiResolver::new(),
            to_this_machine: self.to_this_machine,
        });
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.enforce_http(false);
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls()?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Away {
                tcp,
                to_this_machine: self.to_this_machine,
            });
        // No connection is kept: the next event may be hours away.
        let made = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build(https);
        Ok(self.client.get_or_init(|| made))
    }
}

/// The system's certificates. A machine without any can still send by plain HTTP.
fn tls() -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// The address that a URL names as such; then no name is looked up.
fn literal(uri: &Uri) -> Option<IpAddr> {
    let host = uri.host()?;
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    bare.unwrap_or(host).parse().ok()
}

fn allowed(address: IpAddr, to_this_machine: bool) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) if v4.is_loopback() => to_this_machine,
        IpAddr::V6(v6) if v6.is_loopback() => to_this_machine,
        IpAddr::V4(v4) => {
            let odd = v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast();
            !odd && !v4.is_link_local() && v4 != METADATA
        }
        IpAddr::V6(v6) => {
            let odd = v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local();
            // A gateway would make the IPv4 address of it, and this machine's is the gateway's then.
            let within = carried(v6).is_none_or(|v4| allowed(v4.into(), false));
            !odd && v6 != METADATA_V6 && within
        }
    }
}

/// The IPv4 address that an IPv6 address stands for: of NAT64 (`64:ff9b::/96`) and of 6to4 (`2002::/16`).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let (high, low) = match [a, b, c, d, e, f] {
        [0x64, 0xff9b, 0, 0, 0, 0] => (g, h),
        [0x2002, high, low, ..] => (high, low),
        _ => return None,
    };
    Some(Ipv4Addr::from_bits((u32::from(high) << 16) | u32::from(low)))
}

/// Connections that have not come back to this machine: what it connects to under an address of its own, it connects to
/// from that address.
#[derive(Clone)]
struct Away {
    tcp: HttpConnector<Guarded>,
    to_this_machine: bool,
}

impl Service<Uri> for Away {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, to_this_machine) = (self.tcp.call(uri), self.to_this_machine);
        Box::pin(async move {
            let connection = connecting.await?;
            let (own, other) = (connection.inner().local_addr()?, connection.inner().peer_addr()?);
            if own.ip() == other.ip() && !to_this_machine {
                return Err("it is this machine".into());
            }
            Ok(connection)
        })
    }
}

/// Names of hosts, without the addresses that are not allowed.
#[derive(Clone)]
struct Guarded {
    names: GaiResolver,
    to_this_machine: bool,
}

impl Service<Name> for Guarded {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.names.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (found, to_this_machine) = (self.names.call(name), self.to_this_machine);
        Box::pin(async move {
            let found = found
                .await?
                .filter(|address| allowed(address.ip(), to_this_machine));
            Ok(found.collect::<Vec<_>>().into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_webhooks_may_go() {
        for (address, anywhere, here) in [
            ("203.0.113.9", true, true),
            ("10.0.0.1", true, true),
            ("192.168.1.1", true, true),
            ("2001:db8::1", true, true),
            ("127.0.0.1", false, true),
            ("127.9.9.9", false, true),
            ("::1", false, true),
            ("::ffff:127.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("::ffff:169.254.169.254", false, false),
            ("100.100.100.200", false, false),
            ("0.0.0.0", false, false),
            ("255.255.255.255", false, false),
            ("224.0.0.1", false, false),
            ("::", false, false),
            ("fe80::1", false, false),
            ("ff02::1", false, false),
            ("fd00:ec2::254", false, false),
            ("fd00:ec2::253", true, true),
            ("64:ff9b::169.254.169.254", false, false),
            ("64:ff9b::127.0.0.1", false, false),
            ("64:ff9b::203.0.113.9", true, true),
            ("2002:a9fe:a9fe::1", false, false),
            ("2002:7f00:1::", false, false),
            ("2002:cb00:7109::1", true, true),
        ] {
            let address: IpAddr = address.parse().expect("an address");
            assert_eq!(
                (allowed(address, false), allowed(address, true)),
                (anywhere, here),
                "{address}"
            );
        }
    }

    #[test]
    fn addresses_in_urls_are_seen() {
        for (url, expected) in [
            ("http://127.0.0.1/a", Some("127.0.0.1")),
            ("http://[::1]:80/a", Some("::1")),
            ("https://hooks.example/a", None),
        ] {
            let uri: Uri = url.parse().expect("a URL");
            assert_eq!(
                literal(&uri).map(|address| address.to_string()).as_deref(),
                expected,
                "{url}"
            );
        }
    }

    #[tokio::test]
    async fn a_name_of_this_machine_is_not_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        for host in ["localhost", "127.0.0.1", "2130706433"] {
            let url = format!("http://{host}:{port}/");
            let message = Message {
                url: &url,
                secret: "s",
                event: "e",
                dropped: 0,
                at_s: 0,
                body: String::new(),
            };
            Sender::new(false).send(&message).await.expect_err(host);
        }
        let came = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(came.is_err(), "something connected");
    }

    #[tokio::test]
    async fn nothing_is_sent_to_another_address_of_this_machine() {
        // Which address would it speak from? Nothing is sent for that; where there is no network, there is no such address.
        let asked = std::net::UdpSocket::bind("0.0.0.0:0").expect("bound");
        let Ok(own) = asked.connect("192.0.2.1:9").and_then(|()| asked.local_addr()) else {
            return;
        };
        if !allowed(own.ip(), false) {
            return;
        }
        let listener = tokio::net::TcpListener::bind((own.ip(), 0)).await.expect("bound");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let message = Message {
            url: &url,
            secret: "s",
            event: "e",
            dropped: 0,
            at_s: 0,
            body: "told".into(),
        };
        Sender::new(false).send(&message).await.expect_err("refused");
        let (mut stream, _) = listener.accept().await.expect("it connected");
        let mut came = Vec::new();
        // Closed without a word; a reset says the same.
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut came).await;
        assert!(came.is_empty(), "{came:?}");
    }

    #[test]
    fn the_signature_is_what_receivers_compute() {
        // echo -n '1767225600.{"a":1}' | openssl dgst -sha256 -hmac topsecret
        let expected = "4fe3c47468405ef2cad64bcbf4ce28b3077d4978f27c8082e5bc2a941bf2e6ac";
        assert_eq!(signature("topsecret", 1_767_225_600, r#"{"a":1}"#), expected);
    }
}
