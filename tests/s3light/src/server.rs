//! The server: connections in, `s3s` behind.

use crate::store::{Conditions, Store};
use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::host::{S3Host, VirtualHost};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3Result, s3_error};
use s3s_fs::FileSystem;
use std::net::SocketAddr;
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// How a server is started.
#[derive(Clone)]
pub struct Options {
    /// Where it listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Its directory; each directory in it is a bucket.
    pub root: PathBuf,
    /// The one key that it knows: id and secret.
    pub key: (String, String),
    /// What it makes of conditions.
    pub conditions: Conditions,
    /// Encrypted connections.
    pub tls: Option<TlsAcceptor>,
    /// Refuses requests that have the bucket's name in the path and not in the host's: `bucket.localhost`.
    pub only_virtual: bool,
}

impl Options {
    /// A server on a free port of the loopback that knows the key `testkey`, `testsecret`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            root: root.into(),
            key: ("testkey".into(), "testsecret".into()),
            conditions: Conditions::default(),
            tls: None,
            only_virtual: false,
        }
    }
}

/// Which bucket a host's name stands for: that before `.localhost`, or none.
struct Hosts {
    only_virtual: bool,
}

impl S3Host for Hosts {
    fn parse_host_header<'a>(&'a self, host: &'a str) -> S3Result<VirtualHost<'a>> {
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        match name.strip_suffix(".localhost") {
            Some(bucket) => Ok(VirtualHost::new("localhost").with_bucket(bucket)),
            None if self.only_virtual => Err(s3_error!(
                InvalidRequest,
                "the bucket's name belongs into the host's"
            )),
            None => Ok(VirtualHost::new(host)),
        }
    }
}

/// A running server; ends when dropped.
pub struct Server {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Starts it on the current tokio runtime.
    pub async fn start(options: Options) -> Result<Self> {
        std::fs::create_dir_all(&options.root)?;
        let files = FileSystem::new(&options.root).map_err(|e| anyhow::anyhow!("s3s-fs: {e:?}"))?;
        let mut builder = S3ServiceBuilder::new(Store::new(files, options.root.clone(), options.conditions));
        builder.set_host(Hosts {
            only_virtual: options.only_virtual,
        });
        builder.set_auth(SimpleAuth::from_single(options.key.0, options.key.1));
        let service = builder.build();
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                // An answer's head and body are two writes: the second would wait 40 ms for the client's acknowledgement.
                let _ = socket.set_nodelay(true);
                let (service, tls) = (service.clone(), options.tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, service).await,
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, service).await;
                            }
                        }
                    }
                });
            }
        });
        Ok(Self { address, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(socket: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, service: S3Service) {
    let connection =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service);
    // A client that goes away is no failure of ours.
    let _ = connection.await;
}
