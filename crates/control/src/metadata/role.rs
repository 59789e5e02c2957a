//! The keys of an instance's role: a set for six hours, and a fresh one half an hour before the end.
//!
//! Sets are temporary keys as AssumeRole gives them, so the catalogue knows them, and the API takes both until each
//! ends. What is handed out again is kept in memory: the catalogue has no secret in the open. After a restart an
//! instance gets a new set, and the one that it has goes on working.

use super::Memory;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::ram::RoleRow;
use crate::clock::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::ram::sts;
use crate::store::{StoreError, StoreErrorKind, Transaction};
use crate::{Control, ControlError, views};
use std::collections::HashMap;
use tidemark_ecs::ram::sts::TemporaryKeys;
use tidemark_ecs::ram::trust::Trust;
use tidemark_ecs::time;

/// How long a set lives.
const LIFE_MS: i64 = 6 * HOUR_MS;
/// How long before its end there is a fresh one.
const FRESH_BEFORE_MS: i64 = 30 * MINUTE_MS;

/// A set of keys, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKeys {
    /// The keys.
    pub keys: TemporaryKeys,
    /// `yyyy-MM-ddTHH:mm:ssZ`.
    pub last_updated: String,
}

/// By instance. Locked while a set is made, so that there are not two.
pub(super) type Issued = tokio::sync::Mutex<HashMap<String, Set>>;

/// What was handed out last.
pub(super) struct Set {
    role_id: String,
    expires_ms: i64,
    keys: RoleKeys,
}

impl Control {
    /// Keys of the role that the instance has, if it has this one.
    pub async fn metadata_role_keys(
        &self,
        instance_id: &str,
        role_name: &str,
    ) -> Result<Option<RoleKeys>, ControlError> {
        let (id, name) = (instance_id.to_owned(), role_name.to_owned());
        let read = move |t: &mut dyn Transaction| {
            let Some(row) = InstanceRow::get(t, id)? else {
                return Ok(None);
            };
            let own = row.read_attributes()?;
            let role = of(t, &row.account, &own.ram_role_name)?;
            Ok(role.filter(|role| role.name == name))
        };
        let Some(role) = self.store().read::<_, StoreError, _>(read).await? else {
            return Ok(None);
        };
        let Memory { roles, .. } = self.metadata();
        let mut issued = roles.lock().await;
        let now = self.now_ms();
        if let Some(set) = issued.get(instance_id)
            && set.role_id == role.id
            && now < set.expires_ms.saturating_sub(FRESH_BEFORE_MS)
        {
            return Ok(Some(set.keys.clone()));
        }
        let (control, role_id) = (self.clone(), role.id.clone());
        let session = format!("vm-ram-{instance_id}");
        let make = move |t: &mut dyn Transaction| {
            sts::issue(t, &control, &role, &session, String::new(), LIFE_MS / SECOND_MS)
        };
        let (keys, expires_ms) = self.store().write::<_, StoreError, _>(make).await?;
        tracing::info!(instance = instance_id, role = role_name, key = %keys.access_key_id, "temporary keys for an instance");
        let keys = RoleKeys {
            keys,
            last_updated: time::seconds(views::at(now)),
        };
        // Those of instances that are gone end, too.
        issued.retain(|_, set| now < set.expires_ms);
        let set = Set {
            role_id,
            expires_ms,
            keys: keys.clone(),
        };
        issued.insert(instance_id.to_owned(), set);
        Ok(Some(keys))
    }
}

/// The role of that name, if it is there and lets instances in.
pub(super) fn of(t: &mut dyn Transaction, account: &str, name: &str) -> Result<Option<RoleRow>, StoreError> {
    if name.is_empty() {
        return Ok(None);
    }
    let Some(role) = RoleRow::named(t, account, name)? else {
        return Ok(None);
    };
    let trust = Trust::parse(&role.trust)
        .map_err(|why| StoreError::new(StoreErrorKind::Corrupt, format!("the role {name}"), why))?;
    Ok(trust.admits_instances().then_some(role))
}
