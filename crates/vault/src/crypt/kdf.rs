//! From a passphrase to a key: Argon2id, its cost within limits.
//!
//! The cost comes from an object in a bucket, which is hostile: it is checked before memory is asked for.

use super::secret::Key;
use argon2::{Algorithm, Argon2, Block, Params, Version};
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

/// How much work turning a passphrase into a key is. The default is RFC 9106's second recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KdfCost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// How many times all of it is gone through.
    pub passes: u32,
    /// How many lanes it is divided into.
    pub lanes: u32,
}

impl Default for KdfCost {
    fn default() -> Self {
        Self {
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

/// No passphrase costs more memory: 1 GiB.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const LANES_MAX: u32 = 64;
/// Memory times passes: some ten seconds of work.
const WORK_KIB_MAX: u64 = 8 << 20;

impl KdfCost {
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let work = u64::from(self.memory_kib) * u64::from(self.passes);
        let possible = self.passes >= 1
            && (1..=LANES_MAX).contains(&self.lanes)
            && self.memory_kib >= 8 * self.lanes
            && self.memory_kib <= MEMORY_KIB_MAX
            && work <= WORK_KIB_MAX;
        if possible {
            return Ok(());
        }
        Err(format!(
            "Argon2id with {} KiB of memory, {} passes and {} lanes is outside what is accepted: 8 KiB per lane to \
             {MEMORY_KIB_MAX} KiB, 1 to {LANES_MAX} lanes, at most {WORK_KIB_MAX} KiB times passes",
            self.memory_kib, self.passes, self.lanes
        ))
    }
}

/// The key of a passphrase. Takes a while and [`KdfCost::memory_kib`] of memory, once the cost has been checked.
pub(super) fn stretch(passphrase: &[u8], salt: &[u8], cost: KdfCost) -> Result<Key, String> {
    cost.check()?;
    let params =
        Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).map_err(|e| e.to_string())?;
    let blocks = params.block_count();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(blocks)
        .map_err(|_| format!("{} KiB of memory cannot be had", cost.memory_kib))?;
    memory.resize(blocks, Block::default());
    let mut out = [0; 32];
    let done = argon2.hash_password_into_with_memory(passphrase, salt, &mut out, &mut memory);
    for block in &mut memory {
        block.zeroize();
    }
    let key = Key::new(out);
    out.zeroize();
    done.map(|()| key).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_cost_is_refused_before_any_memory_is_taken() {
        let good = KdfCost::default();
        good.check().unwrap();
        for bad in [
            KdfCost {
                memory_kib: u32::MAX,
                ..good
            },
            KdfCost {
                memory_kib: 31,
                ..good
            },
            KdfCost { passes: 0, ..good },
            KdfCost {
                passes: u32::MAX,
                ..good
            },
            KdfCost { lanes: 0, ..good },
            KdfCost {
                lanes: u32::MAX,
                ..good
            },
        ] {
            let error = stretch(b"p", b"sixteen bytes ok", bad).unwrap_err();
            assert!(error.contains(&bad.memory_kib.to_string()), "{error}");
        }
    }

    /// The library computes what the standard says: RFC 9106's parameters cannot be used (they have a secret and
    /// associated data), so this value is from the reference implementation's command line:
    /// `echo -n password | argon2 somesalt -id -t 2 -k 256 -p 1 -l 32`.
    #[test]
    fn it_is_the_standards_argon2id() {
        let cost = KdfCost {
            memory_kib: 256,
            passes: 2,
            lanes: 1,
        };
        let key = stretch(b"password", b"somesalt", cost).unwrap();
        let expected = "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe";
        assert_eq!(data_encoding::HEXLOWER.encode(key.bytes()), expected);
    }
}
