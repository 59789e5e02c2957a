//! The machine we run on: an executor of our own, files and sockets over io_uring or threads.
//!
//! [`run`] turns the current thread into an engine thread. Everything made in it stays on it. The
//! process-wide parts are two pools of threads: one for calls that may block, one of idle priority
//! for [`crate::Compute`].

mod file;
mod fs;
mod lend;
pub mod net;
mod op;
mod outside;
mod pool;
mod readiness;
mod runtime;
mod uring;

pub use lend::Lent;

use crate::Env;
use net::Net;
use runtime::Runtime;
use std::future::Future;
use std::io;
use std::rc::Rc;

/// How files and sockets are served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IoChoice {
    /// By io_uring if the kernel has and allows it, else as [`IoChoice::Threads`].
    #[default]
    Auto,
    /// By io_uring; an error where that is impossible.
    Uring,
    /// By epoll for sockets and a small pool of threads for files.
    Threads,
}

/// How to run a thread.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// How files and sockets are served.
    pub io: IoChoice,
}

/// The real world as one thread sees it. Cheap to clone.
#[derive(Clone)]
pub struct RealEnv {
    /// What the simulator has too.
    pub env: Env,
    /// Sockets.
    pub net: Net,
}

/// Runs `main` on this thread until it ends, together with the tasks it starts; then drops those
/// that are left, and waits for file operations that are still in flight.
///
/// # Panics
/// Where the kernel refuses what every thread needs (see [`try_run`]), and when a task panics.
pub fn run<T, F: Future<Output = T>>(options: RuntimeOptions, main: impl FnOnce(RealEnv) -> F) -> T {
    try_run(options, main).unwrap_or_else(|error| panic!("cannot run an engine thread: {error}"))
}

/// As [`run`].
///
/// # Errors
/// No file descriptors or memory left for the thread's own needs, or [`IoChoice::Uring`] was asked
/// for and io_uring is missing or forbidden.
pub fn try_run<T, F: Future<Output = T>>(
    options: RuntimeOptions,
    main: impl FnOnce(RealEnv) -> F,
) -> io::Result<T> {
    let runtime = Runtime::new(options.io)?;
    let outside = Rc::new(outside::Outside::new(&runtime));
    let env = Env {
        fs: Rc::new(fs::RealFs::new(runtime.clone())),
        clock: outside.clone(),
        entropy: outside.clone(),
        tasks: outside.clone(),
        compute: outside,
    };
    runtime.run(main(RealEnv {
        env,
        net: Net::new(runtime.clone()),
    }))
}
