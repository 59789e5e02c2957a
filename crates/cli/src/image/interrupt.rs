//! Ctrl-C, SIGTERM and SIGHUP as a wish that long work looks at, so that it can take away what it made.
//!
//! A second signal ends the process at once, whatever it leaves behind.

use anyhow::{Context, Result, bail};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// How a process ends that a user interrupted.
const INTERRUPTED: i32 = 130;

/// Listens until the process ends.
#[derive(Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// From here on signals are wishes.
    pub fn listen() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let on = |kind| signal(kind).context("cannot listen to signals");
        let entered = runtime.enter();
        let (mut interrupt, mut term) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
        let mut hangup = on(SignalKind::hangup())?;
        drop(entered);
        let wished = Self(Arc::default());
        let theirs = wished.clone();
        let wait = move || {
            runtime.block_on(async {
                for _ in 0..2 {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = term.recv() => {}
                        _ = hangup.recv() => {}
                    }
                    if theirs.0.swap(true, Ordering::SeqCst) {
                        std::process::exit(INTERRUPTED);
                    }
                }
            });
        };
        std::thread::Builder::new().name("signals".into()).spawn(wait)?;
        Ok(wished)
    }

    /// Fails once the user wishes that the work ends.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::SeqCst) {
            bail!("interrupted");
        }
        Ok(())
    }
}
