//! `tidemark-s3light`: the server, and in front of it the proxy if asked for, as a process of their own.

use anyhow::{Context, Result};
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use tidemark_s3light::{Conditions, Faults, Options, Proxy, Server};

/// A light S3 server over a directory, for tests.
#[derive(Debug, Parser)]
struct Args {
    /// Where objects are kept
    #[arg(long, value_name = "DIR")]
    root: PathBuf,
    /// A bucket to make
    #[arg(long, value_name = "NAME")]
    bucket: Option<String>,
    /// Where it listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The key's id
    #[arg(long, default_value = "testkey")]
    key: String,
    /// The key's secret
    #[arg(long, default_value = "testsecret")]
    secret: String,
    /// What becomes of `If-None-Match: *`
    #[arg(long, value_enum, default_value = "honoured")]
    conditions: Conditions,
    /// Put a proxy in front that plays every fault in so many of 1,000 requests
    #[arg(long, value_name = "RATE")]
    faults: Option<u32>,
    /// What the proxy's choices follow from
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(bucket) = &args.bucket {
        std::fs::create_dir_all(args.root.join(bucket)).context("cannot make the bucket")?;
    }
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::start(Options {
        listen: if args.faults.is_some() { free } else { args.listen },
        key: (args.key, args.secret),
        conditions: args.conditions,
        ..Options::new(args.root)
    })
    .await?;
    let proxy = match args.faults {
        Some(rate) => Some(Proxy::start(args.listen, server.address(), args.seed, Faults::all(rate)).await?),
        None => None,
    };
    let address = proxy.as_ref().map_or(server.address(), Proxy::address);
    println!("ready: http://{address}");
    std::future::pending::<()>().await;
    Ok(())
}
