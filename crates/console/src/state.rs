//! What every request can reach.

use crate::limiter::Limiter;
use crate::session::Sessions;
use std::sync::Arc;
use tidemark_control::{Control, Throttle};
use tokio::sync::{Semaphore, watch};

/// Pages that are followed at once: each is made anew every second, so they are bounded.
const FOLLOWED_MOST: usize = 48;
/// Sign-ins that are looked at once: a password costs memory and time on purpose.
const SIGN_INS_MOST: usize = 4;

/// What the console needs of the rest. Clones share it; sessions live as long as the process.
#[derive(Clone, Debug)]
pub struct ConsoleState {
    /// What pages show and forms act on.
    pub(crate) control: Control,
    /// Of what forms do; the API counts with the same one.
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) limiter: Arc<Limiter>,
    pub(crate) following: Arc<Semaphore>,
    pub(crate) signing_in: Arc<Semaphore>,
    pub(crate) closing: watch::Receiver<bool>,
}

impl ConsoleState {
    /// `closing` becomes true when the service stops: pages that are followed end then.
    pub fn new(control: Control, throttle: Arc<Throttle>, closing: watch::Receiver<bool>) -> Self {
        Self {
            control,
            throttle,
            sessions: Arc::new(Sessions::default()),
            limiter: Arc::new(Limiter::default()),
            following: Arc::new(Semaphore::new(FOLLOWED_MOST)),
            signing_in: Arc::new(Semaphore::new(SIGN_INS_MOST)),
            closing,
        }
    }
}
