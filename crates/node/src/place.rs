//! Where engine threads run: [`Launch`] starts them, [`Place`] is the world that each of them sees.
//!
//! [`Threads`] gives every engine thread a thread of this machine. The simulator has a launcher of its own, so that
//! all that a node does, the messages between its threads included, runs in one deterministic process.
//! What must stay true: a thread's tasks, handles and locks are gone once [`Thread::ended`] has completed.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tidemark_env::real::net::Net;
use tidemark_env::real::{self, RuntimeOptions};
use tidemark_env::{Bucket, Env, LocalFuture};
use tokio::sync::oneshot;

/// One engine thread's world.
#[derive(Clone)]
pub struct Place {
    /// Files, time, randomness, tasks.
    pub env: Env,
    /// Sockets, where there are any.
    pub net: Option<Net>,
    /// The vault's bucket, if it is not the directory that the configuration names.
    pub bucket: Option<Rc<dyn Bucket>>,
}

/// What an engine thread does from its start to its end.
pub type Main = Box<dyn FnOnce(Place) -> LocalFuture<'static, ()> + Send>;

/// Starts engine threads.
pub trait Launch: Send + Sync {
    /// Starts a thread that runs `main`; what it left running is dropped when `main` has ended.
    fn launch(&self, name: String, main: Main) -> io::Result<Thread>;

    /// Gives threads of another launcher handles of the vault's bucket, if it is not the directory that the configuration
    /// names.
    fn bucket(&self) -> Option<BucketHandles> {
        None
    }
}

/// A launcher that the parts of a node share.
pub type SharedLauncher = Arc<dyn Launch>;

/// A started engine thread.
pub struct Thread {
    ended: oneshot::Receiver<()>,
}

impl Thread {
    /// A thread that has ended once the given sender is used or dropped.
    pub fn new() -> (oneshot::Sender<()>, Self) {
        let (end, ended) = oneshot::channel();
        (end, Self { ended })
    }

    /// Waits for its end.
    pub async fn ended(self) {
        // A sender that was dropped says the same: the thread is gone.
        let _ = self.ended.await;
    }
}

/// Gives each engine thread its own handle of the vault's bucket.
pub type BucketHandles = Arc<dyn Fn() -> Rc<dyn Bucket> + Send + Sync>;

/// Engine threads as threads of this machine.
pub struct Threads {
    /// How they run.
    pub options: RuntimeOptions,
    /// The vault's bucket, if it is not the directory that the configuration names.
    pub bucket: Option<BucketHandles>,
}

impl Launch for Threads {
    fn launch(&self, name: String, main: Main) -> io::Result<Thread> {
        let (end, thread) = Thread::new();
        let (options, bucket) = (self.options.clone(), self.bucket.clone());
        std::thread::Builder::new().name(name).spawn(move || {
            // Dropped last, also when the thread panics.
            let _end = end;
            let outcome = real::try_run(options, |here| {
                main(Place {
                    env: here.env,
                    net: Some(here.net),
                    bucket: bucket.map(|handle| handle()),
                })
            });
            if let Err(e) = outcome {
                tracing::error!(error = %e, "an engine thread could not start");
            }
        })?;
        Ok(thread)
    }

    fn bucket(&self) -> Option<BucketHandles> {
        self.bucket.clone()
    }
}
