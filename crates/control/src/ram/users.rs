//! Users.

use super::{date, exists, missing, new_id, note};
use crate::catalogue::events::EventKind;
use crate::catalogue::keys;
use crate::catalogue::ram::{Holder, HolderKind, LoginProfileRow, UserRow};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use serde_json::json;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::Empty;
use tidemark_ecs::ram::users::{CreateUser, ListUsers, OneUser, User, UserAnswer, UsersAnswer};

fn show(row: UserRow) -> User {
    User {
        user_id: row.id,
        user_name: row.name,
        display_name: row.display_name,
        comments: row.comments,
        create_date: date(row.created_ms),
    }
}

/// The account's user of that name.
pub(super) fn user(t: &mut dyn Transaction, caller: &Caller, name: &str) -> Result<UserRow, ApiError> {
    UserRow::named(t, &caller.account, name)?.ok_or_else(|| missing("User", name))
}

impl Control {
    /// A user who may do nothing yet.
    pub async fn create_user(&self, caller: &Caller, request: CreateUser) -> Result<UserAnswer, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            if UserRow::named(t, &caller.account, &request.user_name)?.is_some() {
                return Err(exists("User", &request.user_name));
            }
            let row = UserRow {
                id: new_id(),
                account: caller.account.clone(),
                name: request.user_name,
                display_name: request.display_name,
                comments: request.comments,
                created_ms: control.now_ms(),
            };
            row.insert(t)?;
            note(
                t,
                &control,
                &caller,
                EventKind::UserCreated,
                ("user", &row.name),
                json!({}),
            )?;
            Ok(UserAnswer { user: show(row) })
        };
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// One user.
    pub async fn get_user(&self, caller: &Caller, request: OneUser) -> Result<UserAnswer, ApiError> {
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| user(t, &caller, &request.user_name);
        let row: UserRow = self.store().read(read).await?;
        Ok(UserAnswer { user: show(row) })
    }

    /// Users by name.
    pub async fn list_users(&self, caller: &Caller, request: ListUsers) -> Result<UsersAnswer, ApiError> {
        let (account, page) = (caller.account.clone(), request.page.clone());
        let read = move |t: &mut dyn Transaction| UserRow::page(t, &account, &page.after, page.size);
        let mut rows = self.store().read::<_, StoreError, _>(read).await?;
        let page = request.page.cut(&mut rows, |row| &row.name);
        Ok(UsersAnswer {
            users: rows.into_iter().map(show).collect(),
            page,
        })
    }

    /// Refused while the user has keys or policies.
    pub async fn delete_user(&self, caller: &Caller, request: OneUser) -> Result<Empty, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let row = user(t, &caller, &request.user_name)?;
            let conflict = |what: &str, why: &str| {
                let message = format!("The user {:?} still has {why}.", row.name);
                Err(ApiError::new(409, format!("DeleteConflict.User.{what}"), message))
            };
            if !keys::of_user(t, &caller.account, &row.name)?.is_empty() {
                return conflict("AccessKey", "access keys");
            }
            let holder = Holder {
                account: &caller.account,
                kind: HolderKind::User,
                name: &row.name,
            };
            if !holder.policies(t)?.is_empty() {
                return conflict("Policy", "policies attached");
            }
            if let Some(profile) = LoginProfileRow::get(t, row.id.as_str())? {
                profile.remove(t)?;
            }
            row.remove(t)?;
            note(
                t,
                &control,
                &caller,
                EventKind::UserDeleted,
                ("user", &row.name),
                json!({}),
            )?;
            Ok(Empty {})
        };
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }
}
