//! Who is signed in. Sessions live in memory: they end with the process, and nothing of them is on a medium.
//!
//! What must stay true: a session is known by the hash of its token, so whoever sees this memory's dump still has no cookie; it
//! ends after [`IDLE`] without a request of a person's and after [`LONGEST`] in any case; it is bound to the browser that
//! began it; and it says who, never what they may: that is asked anew for every request.

use crate::parts::Notice;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tidemark_control::{Login, token_hash};

/// How long a session lives without use.
pub(crate) const IDLE: Duration = Duration::from_secs(30 * 60);
/// How long a session lives.
pub(crate) const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// Most sessions at once; beyond, the one that was not used longest ends.
const SESSIONS_MOST: usize = 1024;
/// Most that is kept to be told to one.
const NOTICES_MOST: usize = 8;
/// Bytes of randomness in a token.
const TOKEN_BYTES: usize = 32;

/// Who signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Who {
    /// With an access key of this id.
    Key(String),
    /// As a user with a password.
    User(Login),
}

/// A session, as a request needs it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The hash of its token: how [`Sessions`] knows it.
    pub(crate) id: String,
    pub(crate) who: Who,
    /// What every form of it has to carry.
    pub(crate) csrf: String,
}

struct Session {
    who: Who,
    csrf: String,
    browser: String,
    began: Instant,
    used: Instant,
    notices: Vec<Notice>,
}

impl Session {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.used) >= IDLE
            || now.saturating_duration_since(self.began) >= LONGEST
    }
}

/// All sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    by_id: Mutex<HashMap<String, Session>>,
}

impl std::fmt::Debug for Sessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions")
            .field("count", &self.all().len())
            .finish()
    }
}

/// Something that nobody can guess; `None`: the kernel has no randomness now.
pub(crate) fn token() -> Option<String> {
    let mut bytes = [0u8; TOKEN_BYTES];
    match getrandom::fill(&mut bytes) {
        Ok(()) => Some(data_encoding::HEXLOWER.encode(&bytes)),
        Err(error) => {
            tracing::error!(%error, "no randomness for a session");
            None
        }
    }
}

impl Sessions {
    fn all(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new session; answers its token, which is nowhere else then.
    pub(crate) fn begin(&self, who: Who, browser: &str, now: Instant) -> Option<String> {
        let (token, csrf) = (token()?, token()?);
        let mut all = self.all();
        all.retain(|_, session| !session.is_over(now));
        if all.len() >= SESSIONS_MOST {
            let oldest = all.iter().min_by_key(|(_, session)| session.used);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                all.remove(&oldest);
            }
        }
        let session = Session {
            who,
            csrf,
            browser: token_hash(browser),
            began: now,
            used: now,
            notices: Vec::new(),
        };
        all.insert(token_hash(&token), session);
        Some(token)
    }

    /// The session of a token, for the browser that began it. `touch`: a person uses it.
    pub(crate) fn find(&self, token: &str, browser: &str, now: Instant, touch: bool) -> Option<Found> {
        let id = token_hash(token);
        let mut all = self.all();
        let session = all.get_mut(&id)?;
        if session.is_over(now) || session.browser != token_hash(browser) {
            all.remove(&id);
            return None;
        }
        if touch {
            session.used = now;
        }
        Some(Found {
            who: session.who.clone(),
            csrf: session.csrf.clone(),
            id,
        })
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&self, id: &str, now: Instant) -> bool {
        self.all().get(id).is_some_and(|session| !session.is_over(now))
    }

    /// Ends it.
    pub(crate) fn end(&self, id: &str) {
        self.all().remove(id);
    }

    /// Keeps something to be told on the next page.
    pub(crate) fn notify(&self, id: &str, notice: Notice) {
        if let Some(session) = self.all().get_mut(id) {
            // Of somebody who never looks, the last ones are enough.
            let over = (session.notices.len() + 1).saturating_sub(NOTICES_MOST);
            session.notices.drain(..over);
            session.notices.push(notice);
        }
    }

    /// What is to be told, once.
    pub(crate) fn take_notices(&self, id: &str) -> Vec<Notice> {
        let mut all = self.all();
        let session = all.get_mut(id);
        session
            .map(|session| std::mem::take(&mut session.notices))
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Who {
        Who::Key("k".to_owned())
    }

    #[test]
    fn a_session_ends_by_rest_by_age_and_by_another_browser() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let token = sessions.begin(key(), "browser", now).expect("randomness");
        let found = sessions.find(&token, "browser", now, true).expect("it began");
        assert_eq!(found.who, key());
        assert_ne!(found.csrf, token);
        assert!(sessions.find("other", "browser", now, true).is_none());
        // Used often, it still ends.
        let mut at = now;
        while at < now + LONGEST {
            assert!(sessions.find(&token, "browser", at, true).is_some());
            at += IDLE / 2;
        }
        assert!(sessions.find(&token, "browser", at, true).is_none());
        // Followed by a script, it ends as if nobody were there.
        let token = sessions.begin(key(), "browser", now).expect("randomness");
        assert!(sessions.find(&token, "browser", now + IDLE / 2, false).is_some());
        assert!(sessions.find(&token, "browser", now + IDLE, false).is_none());
        // A stolen cookie in another browser ends it for both.
        let token = sessions.begin(key(), "browser", now).expect("randomness");
        assert!(sessions.find(&token, "thief", now, true).is_none());
        assert!(sessions.find(&token, "browser", now, true).is_none());
    }

    #[test]
    fn sessions_are_bounded_and_signing_out_ends_one() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let first = sessions.begin(key(), "b", now).expect("randomness");
        for at in 1..=SESSIONS_MOST as u64 {
            sessions.begin(key(), "b", now + Duration::from_millis(at));
        }
        assert_eq!(sessions.all().len(), SESSIONS_MOST);
        assert!(sessions.find(&first, "b", now, true).is_none());
        let token = sessions
            .begin(key(), "b", now + Duration::from_secs(2))
            .expect("randomness");
        let found = sessions
            .find(&token, "b", now + Duration::from_secs(2), true)
            .expect("it began");
        sessions.end(&found.id);
        assert!(!sessions.is_alive(&found.id, now));
    }
}
