//! Access keys: of users, and of the account itself.

use super::users::user;
use super::{date, missing, note};
use crate::catalogue::events::EventKind;
use crate::catalogue::keys::{self, KeyRow};
use crate::keys::{new_pair, owner};
use crate::store::Transaction;
use crate::{Caller, Control, Identity, views};
use serde_json::json;
use tidemark_ecs::actions::Empty;
use tidemark_ecs::ram::keys::{
    AccessKeyItem, KeysAnswer, KeysOf, LastUsed, LastUsedAnswer, NewAccessKey, NewKeyAnswer, OneKey,
    UpdateAccessKey,
};
use tidemark_ecs::{ApiError, time};

const fn status(active: bool) -> &'static str {
    if active { "Active" } else { "Inactive" }
}

fn last_used(row: &KeyRow) -> String {
    row.last_used_ms
        .map_or_else(String::new, |ms| time::minutes(views::at(ms)))
}

/// Whose keys are meant: the named user's, else the caller's own; empty: the account's.
fn whose(t: &mut dyn Transaction, caller: &Caller, named: Option<&str>) -> Result<String, ApiError> {
    match (named, &caller.identity) {
        (Some(name), _) => Ok(user(t, caller, name)?.name),
        (None, Identity::Root) => Ok(String::new()),
        (None, Identity::User { name, .. }) => Ok(name.clone()),
        (None, Identity::Role { .. }) => Err(ApiError::missing_parameter("UserName")),
    }
}

/// The key, if it is one of theirs.
fn key(t: &mut dyn Transaction, caller: &Caller, user_name: &str, id: &str) -> Result<KeyRow, ApiError> {
    KeyRow::get(t, id)?
        .filter(|row| row.account == caller.account && row.user_name == user_name)
        .ok_or_else(|| missing("User.AccessKey", id))
}

/// Refuses to take away the last of the account's own keys that works: nobody could ever do all again.
fn another_root(t: &mut dyn Transaction, row: &KeyRow) -> Result<(), ApiError> {
    let others = keys::of_user(t, &row.account, "")?;
    if !row.root || others.iter().any(|other| other.active && other.id != row.id) {
        return Ok(());
    }
    let message = format!(
        "The key {} is the only one of the account itself that works; make another first.",
        row.id
    );
    Err(ApiError::new(409, "DeleteConflict.LastRootKey", message))
}

impl Control {
    /// A new key. Its secret is in this answer and in no other.
    pub async fn create_access_key(
        &self,
        caller: &Caller,
        request: KeysOf,
    ) -> Result<NewKeyAnswer, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let user_name = whose(t, &caller, request.user_name.as_deref())?;
            let most = control.limits().access_keys_per_user;
            if keys::of_user(t, &caller.account, &user_name)?.len() as u64 >= most {
                let message = format!("There are {most} access keys already; delete one first.");
                return Err(ApiError::new(409, "LimitExceeded.User.AccessKey", message));
            }
            let (id, secret) = new_pair();
            let row = KeyRow {
                secret: control.secrets().seal(&owner(&id), &secret),
                account: caller.account.clone(),
                active: true,
                root: user_name.is_empty(),
                created_ms: control.now_ms(),
                sealed: true,
                user_name,
                last_used_ms: None,
                id,
            };
            row.insert(t)?;
            let about = ("accesskey", row.id.as_str());
            let more = json!({ "userName": row.user_name });
            note(t, &control, &caller, EventKind::KeyCreated, about, more)?;
            Ok(NewKeyAnswer {
                access_key: NewAccessKey {
                    access_key_id: row.id,
                    access_key_secret: secret,
                    status: status(true),
                    create_date: date(row.created_ms),
                },
            })
        };
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// Keys, without their secrets.
    pub async fn list_access_keys(&self, caller: &Caller, request: KeysOf) -> Result<KeysAnswer, ApiError> {
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| {
            let user_name = whose(t, &caller, request.user_name.as_deref())?;
            let rows = keys::of_user(t, &caller.account, &user_name)?;
            let show = |row: KeyRow| AccessKeyItem {
                status: status(row.active),
                create_date: date(row.created_ms),
                last_used_date: last_used(&row),
                access_key_id: row.id,
            };
            Ok(KeysAnswer {
                access_keys: rows.into_iter().map(show).collect(),
            })
        };
        self.store().read::<_, ApiError, _>(read).await
    }

    /// Takes a key out of use, or back into it; from the next request on.
    pub async fn update_access_key(
        &self,
        caller: &Caller,
        request: UpdateAccessKey,
    ) -> Result<Empty, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let user_name = whose(t, &caller, request.user_name.as_deref())?;
            let mut row = key(t, &caller, &user_name, &request.user_access_key_id)?;
            if row.active == request.active {
                return Ok(Empty {});
            }
            if !request.active {
                another_root(t, &row)?;
            }
            row.active = request.active;
            row.save(t)?;
            let kind = match row.active {
                true => EventKind::KeyEnabled,
                false => EventKind::KeyDisabled,
            };
            let more = json!({ "userName": row.user_name });
            note(t, &control, &caller, kind, ("accesskey", &row.id), more)?;
            Ok(Empty {})
        };
        let answer = self.store().write::<_, ApiError, _>(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// From the next request on, the key is unknown.
    pub async fn delete_access_key(&self, caller: &Caller, request: OneKey) -> Result<Empty, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let user_name = whose(t, &caller, request.user_name.as_deref())?;
            let row = key(t, &caller, &user_name, &request.user_access_key_id)?;
            another_root(t, &row)?;
            row.remove(t)?;
            let more = json!({ "userName": row.user_name });
            note(
                t,
                &control,
                &caller,
                EventKind::KeyDeleted,
                ("accesskey", &row.id),
                more,
            )?;
            Ok(Empty {})
        };
        let answer = self.store().write::<_, ApiError, _>(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// When a key was last used.
    pub async fn get_access_key_last_used(
        &self,
        caller: &Caller,
        request: OneKey,
    ) -> Result<LastUsedAnswer, ApiError> {
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| {
            let user_name = whose(t, &caller, request.user_name.as_deref())?;
            let row = key(t, &caller, &user_name, &request.user_access_key_id)?;
            Ok(LastUsedAnswer {
                access_key_last_used: LastUsed {
                    last_used_date: last_used(&row),
                },
            })
        };
        self.store().read::<_, ApiError, _>(read).await
    }
}
