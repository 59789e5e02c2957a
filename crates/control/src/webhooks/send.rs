//! One signed POST.
//!
//! What must stay true: of an answer only its status is looked at, and only whether it is 2xx is told to anybody; no
//! redirection is followed; addresses that lead to this machine or to what tells a machine its credentials are never
//! connected to, whatever name they hide behind: the check is on the address that is about to be used.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::rt::TokioExecutor;
use ring::hmac;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tower_service::Service;

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(5);
/// What tells the machines of a cloud their credentials, beside the link-local addresses.
const METADATA: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);

/// One event on its way.
pub(crate) struct Message<'a> {
    pub(crate) url: &'a str,
    pub(crate) secret: &'a str,
    /// Its id: the same each time it is sent.
    pub(crate) event: &'a str,
    /// How many events the receiver has missed so far.
    pub(crate) dropped: i64,
    /// Seconds since 1970.
    pub(crate) at_s: i64,
    pub(crate) body: String,
}

type Https = Client<HttpsConnector<HttpConnector<Guarded>>, Full<Bytes>>;

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
            .wrap_connector(tcp);
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
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast() && !v6.is_unicast_link_local(),
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

    #[test]
    fn the_signature_is_what_receivers_compute() {
        // echo -n '1767225600.{"a":1}' | openssl dgst -sha256 -hmac topsecret
        let expected = "4fe3c47468405ef2cad64bcbf4ce28b3077d4978f27c8082e5bc2a941bf2e6ac";
        assert_eq!(signature("topsecret", 1_767_225_600, r#"{"a":1}"#), expected);
    }
}
