//! Names of hosts. What is below `localhost` is this machine (RFC 6761, section 6.3), whether or not the system's resolver
//! knows it, so that a store on this machine can be asked by `bucket.localhost`. All other names are the system's affair.

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use tower_service::Service;

/// See the module.
#[derive(Clone)]
pub(crate) struct Resolver(GaiResolver);

impl Resolver {
    pub(crate) fn new() -> Self {
        Self(GaiResolver::new())
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        if is_below_localhost(name.as_str()) {
            // The port is the URL's.
            let here = vec![
                SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                SocketAddr::from((Ipv6Addr::LOCALHOST, 0)),
            ];
            return Box::pin(async move { Ok(here.into_iter()) });
        }
        let found = self.0.call(name);
        Box::pin(async move { Ok(found.await?.collect::<Vec<_>>().into_iter()) })
    }
}

fn is_below_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.strip_suffix(".localhost")
        .is_some_and(|below| !below.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_below_localhost_are_ours() {
        for ours in ["bucket.localhost", "a.b.localhost", "Bucket.LocalHost."] {
            assert!(is_below_localhost(ours), "{ours}");
        }
        for theirs in [
            "localhost",
            ".localhost",
            "notlocalhost",
            "bucket.localhost.example",
            "",
        ] {
            assert!(!is_below_localhost(theirs), "{theirs}");
        }
    }
}
