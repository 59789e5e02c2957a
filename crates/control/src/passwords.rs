//! Passwords as they are kept: Argon2id, with the cost and the salt beside the hash, so that the cost can rise later.
//!
//! ```text
//! argon2id$<memory in KiB>$<passes>$<lanes>$<salt, hex>$<hash, hex>
//! ```
//! What must stay true: a check costs the same whether there is such a user or not ([`check`] with `None`); what is compared are hashes,
//! so the time of a comparison tells nothing of the password. Both take a while and 19 MiB: not on a thread that serves, and few at a time
//! ([`aside`]), whoever asks and however often.

use crate::control::random;
use argon2::{Algorithm, Argon2, Params, Version};
use data_encoding::HEXLOWER;
use tokio::sync::Semaphore;

/// What OWASP asks for at least: 19 MiB, two passes.
const COST: Cost = Cost {
    memory_kib: 19 * 1024,
    passes: 2,
    lanes: 1,
};
/// A catalogue that asks for more was changed by somebody.
const MEMORY_KIB_MAX: u32 = 256 * 1024;
const PASSES_MAX: u32 = 16;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// Places for hashing: more at a time would take the memory and the processors from everything else.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Runs [`keep`] or [`check`] on a thread that may take its time, when there is a place. The error is for the log.
pub(crate) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let place = PLACES.acquire().await.map_err(|error| error.to_string())?;
    let done = tokio::task::spawn_blocking(move || {
        // It goes on, and has its place, also when nobody waits for it any more.
        let _place = place;
        work()
    });
    done.await.map_err(|error| error.to_string())
}

#[derive(Clone, Copy)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

fn stretch(password: &str, salt: &[u8], cost: Cost) -> Result<[u8; HASH_BYTES], String> {
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(HASH_BYTES));
    let params = params.map_err(|error| error.to_string())?;
    let mut hash = [0; HASH_BYTES];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(password.as_bytes(), salt, &mut hash)
        .map_err(|error| error.to_string())?;
    Ok(hash)
}

/// A password as it is kept. The error is for the log.
pub(crate) fn keep(password: &str) -> Result<String, String> {
    let salt = random::<SALT_BYTES>();
    let hash = stretch(password, &salt, COST)?;
    let (salt, hash) = (HEXLOWER.encode(&salt), HEXLOWER.encode(&hash));
    let Cost {
        memory_kib,
        passes,
        lanes,
    } = COST;
    Ok(format!("argon2id${memory_kib}${passes}${lanes}${salt}${hash}"))
}

struct Kept {
    cost: Cost,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

fn read(kept: &str) -> Option<Kept> {
    let mut parts = kept.split('$');
    if parts.next()? != "argon2id" {
        return None;
    }
    let cost = Cost {
        memory_kib: parts.next()?.parse().ok().filter(|kib| *kib <= MEMORY_KIB_MAX)?,
        passes: parts
            .next()?
            .parse()
            .ok()
            .filter(|passes| *passes <= PASSES_MAX)?,
        lanes: parts.next()?.parse().ok().filter(|lanes| *lanes <= 4)?,
    };
    let salt = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?;
    let hash = HEXLOWER.decode(parts.next()?.as_bytes()).ok()?;
    parts.next().is_none().then_some(Kept { cost, salt, hash })
}

/// Whether the password is the one that is kept. `None`: nobody's; it costs the same, and is not.
pub(crate) fn check(password: &str, kept: Option<&str>) -> bool {
    let Some(known) = kept.and_then(read) else {
        // Nobody's hash is looked at; only the time counts.
        let _ = stretch(password, &[0; SALT_BYTES], COST);
        return false;
    };
    stretch(password, &known.salt, known.cost).is_ok_and(|hash| {
        // Hashes of hashes: how far two of these agree tells nothing of the first ones.
        let of = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
        of(&hash).as_ref() == of(&known.hash).as_ref()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_fits_and_each_has_a_salt_of_its_own() {
        let (kept, again) = (
            keep("correct horse").expect("kept"),
            keep("correct horse").expect("kept"),
        );
        assert_ne!(kept, again);
        assert!(!kept.contains("horse"));
        assert!(check("correct horse", Some(&kept)) && check("correct horse", Some(&again)));
        assert!(!check("correct horsf", Some(&kept)) && !check("", Some(&kept)));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn few_are_hashed_at_a_time() {
        use std::sync::Arc;
        use std::sync::atomic::{AtomicUsize, Ordering};
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let many: Vec<_> = (0..8)
            .map(|_| {
                let (running, most) = (Arc::clone(&running), Arc::clone(&most));
                tokio::spawn(aside(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    running.fetch_sub(1, Ordering::SeqCst);
                }))
            })
            .collect();
        for one in many {
            one.await.expect("no panic").expect("done");
        }
        assert!((1..=2).contains(&most.load(Ordering::SeqCst)));
    }

    #[test]
    fn nobody_and_nonsense_let_nobody_in() {
        let hostile = format!("argon2id$4294967295$2$1${}${}", "00".repeat(16), "00".repeat(32));
        for kept in [
            None,
            Some(""),
            Some("argon2id$1$1"),
            Some("plain$hush"),
            Some(hostile.as_str()),
        ] {
            assert!(!check("hush", kept), "{kept:?}");
        }
    }
}
