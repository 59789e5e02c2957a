//! All keys of an open vault.

use super::cipher::{CipherKeys, KeyId};
use super::naming::Naming;
use super::secret::Key;
use crate::id::{Nonce, VaultId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tidemark_units::DiskId;

const KEY_ID_CONTEXT: &str = "tidemark vault 2026 key id";
const DISK_ID_CONTEXT: &str = "tidemark vault 2026 disk key id";

/// The keys of every generation, and of the disks met so far. Used by several threads: encryption happens elsewhere.
#[derive(Debug)]
pub(crate) struct Keyring {
    vault: VaultId,
    masters: Vec<Key>,
    generations: Vec<Arc<CipherKeys>>,
    naming: Naming,
    disk_ids: Key,
    disks: Mutex<HashMap<KeyId, Arc<CipherKeys>>>,
}

/// The first half of a hash.
fn short(hash: &[u8; 32]) -> KeyId {
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    Nonce(id)
}

impl Keyring {
    /// The keys of a vault whose generations have these master keys. There is at least one.
    pub(crate) fn new(vault: VaultId, masters: Vec<Key>) -> Self {
        let first = masters.first().expect("a vault has a first generation");
        let keys = |master: &Key| {
            let id = short(master.derive(KEY_ID_CONTEXT).bytes());
            Arc::new(CipherKeys::new(vault, id, master))
        };
        Self {
            vault,
            naming: Naming::keyed(first),
            disk_ids: first.derive(DISK_ID_CONTEXT),
            generations: masters.iter().map(keys).collect(),
            disks: Mutex::default(),
            masters,
        }
    }

    /// The keys that the objects in `tests/golden` were made with.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn golden(vault: VaultId) -> Self {
        Self::new(vault, [[0x4d; 32], [0x4e; 32]].map(Key::new).to_vec())
    }

    pub(crate) fn naming(&self) -> &Naming {
        &self.naming
    }

    /// The master keys, the newest last.
    pub(super) fn masters(&self) -> &[Key] {
        &self.masters
    }

    /// The keys of the newest generation: what is new is encrypted under them.
    pub(crate) fn newest(&self) -> Arc<CipherKeys> {
        Arc::clone(self.generations.last().expect("a vault has a first generation"))
    }

    /// The name of a disk's keys. It tells nobody without the master key which disk it is.
    pub(crate) fn disk_key_id(&self, disk: &DiskId) -> KeyId {
        short(self.disk_ids.for_name(0, disk.as_str().as_bytes()).bytes())
    }

    fn disks(&self) -> MutexGuard<'_, HashMap<KeyId, Arc<CipherKeys>>> {
        // Nothing panics while it holds this: a poisoned map is whole.
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of this name, if they are at hand.
    pub(crate) fn find(&self, id: KeyId) -> Option<Arc<CipherKeys>> {
        let of_vault = self.generations.iter().rev().find(|keys| keys.id() == id);
        of_vault.cloned().or_else(|| self.disks().get(&id).cloned())
    }

    /// Takes a disk's key in.
    pub(super) fn learn_disk(&self, id: KeyId, key: &Key) -> Arc<CipherKeys> {
        let keys = Arc::new(CipherKeys::new(self.vault, id, key));
        self.disks().insert(id, Arc::clone(&keys));
        keys
    }

    /// Forgets a disk's key.
    pub(super) fn forget_disk(&self, id: KeyId) {
        self.disks().remove(&id);
    }
}
