//! What content is called, so that two vaults can find out what they have in common.
//!
//! In a vault without encryption a tree's top is named by a plain hash: equal content has an equal name everywhere. In
//! an encrypted one names are keyed, and mean something within that vault alone; there a copy's record says what the
//! content was called where it was captured ([`Origin`]). Two snapshots are the same if they have one name in common.
//!
//! Not here: deciding that two are different. Without a common name they may still be the same.

use crate::id::{NodeId, VaultId};
use crate::record::Origin;
use crate::tree::Root;
use crate::vault::Vault;

/// Where a name means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Realm {
    /// Everywhere.
    Plain,
    /// In one vault, and wherever a record names it as the origin.
    Vault(VaultId),
}

/// A name of a disk's whole content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Name {
    realm: Realm,
    top: Option<NodeId>,
    size_bytes: u64,
}

/// All names that a vault knows of one content.
#[derive(Clone, Debug)]
pub(super) struct Names(Vec<Name>);

impl Names {
    pub(super) fn of(vault: &Vault, root: &Root, origin: Option<&Origin>) -> Self {
        let name = |realm, root: &Root| Name {
            realm,
            top: root.top().map(|top| top.id),
            size_bytes: root.size_bytes(),
        };
        let mut names = vec![name(Realm::Vault(vault.id()), root)];
        // Zeros are zeros, keyed or not.
        if !vault.is_encrypted() || root.top().is_none() {
            names.push(name(Realm::Plain, root));
        }
        names.extend(origin.map(|origin| name(Realm::Vault(origin.vault), &origin.root)));
        Self(names)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Name> {
        self.0.iter()
    }

    /// Whether both are known to be the same content.
    pub(super) fn meet(&self, others: &Names) -> bool {
        self.0.iter().any(|name| others.0.contains(name))
    }
}

/// Whether two vaults give equal content equal names.
pub(super) fn same_names(a: &Vault, b: &Vault) -> bool {
    a.id() == b.id() || !a.is_encrypted() && !b.is_encrypted()
}
