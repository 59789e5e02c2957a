//! A store to test against, on threads of its own, and buckets in it as the engine uses them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use tempfile::TempDir;
use tidemark_conformance::bucket::Handles;
use tidemark_env::Bucket;
use tidemark_env::real::{IoChoice, RuntimeOptions};
use tidemark_s3::{Credentials, Location, S3Bucket, Scheme};
use tidemark_s3light::{Faults, Options, Proxy, Server};
use tokio::runtime::Runtime;

/// The bucket that every store here has.
pub const BUCKET: &str = "test-bucket";
/// The store's secret: in no text.
pub const SECRET: &str = "testsecret";

/// A running store.
pub struct Store {
    pub server: Server,
    pub runtime: Runtime,
    pub dir: TempDir,
    places: Cell<u32>,
}

impl Store {
    pub fn start(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(BUCKET)).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut options = Options::new(dir.path());
        change(&mut options);
        let server = runtime.block_on(Server::start(options)).unwrap();
        Self {
            server,
            runtime,
            dir,
            places: Cell::new(0),
        }
    }

    pub fn proxy(&self, seed: u64, faults: Faults) -> Proxy {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let proxy = Proxy::start(any, self.server.address(), seed, faults);
        self.runtime.block_on(proxy).unwrap()
    }

    /// Places for the suite, each below a prefix of its own, reached at `address`.
    pub fn places(&self, address: SocketAddr, options: &str) -> impl FnMut() -> Handles {
        move || {
            self.places.set(self.places.get() + 1);
            let url = url(address, &format!("place/{}", self.places.get()), options);
            Box::new(move || Rc::new(open(&url)) as Rc<dyn Bucket>)
        }
    }

    /// Whether an object is there, seen in the server's directory.
    pub fn holds(&self, key: &str) -> bool {
        Path::new(self.dir.path()).join(BUCKET).join(key).exists()
    }
}

/// The URL of a place in the store at `address`.
pub fn url(address: SocketAddr, prefix: &str, options: &str) -> String {
    format!("s3://{BUCKET}/{prefix}?endpoint=http://{address}{options}")
}

/// Nothing in the environment.
pub fn bare(_: &str) -> Option<String> {
    None
}

/// A key that is `id`, `secret`.
pub fn key(id: &str, secret: &str) -> Credentials {
    let env = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(id.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(secret.to_owned()),
        _ => None,
    };
    Credentials::from_env(Scheme::S3, &env).unwrap()
}

/// A bucket with the store's key.
pub fn open(url: &str) -> S3Bucket {
    let location = Location::parse(url, &bare).unwrap();
    S3Bucket::open(location, &key("testkey", SECRET)).unwrap()
}

/// Runs a test as the engine runs its threads: without tokio.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    tidemark_env::real::run(
        RuntimeOptions {
            io: IoChoice::Threads,
        },
        |_| test,
    )
}
