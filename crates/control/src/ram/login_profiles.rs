//! Passwords of users, for the console: set, changed, taken away; and who may come in with one.

use super::users::user;
use super::{date, exists, missing, note};
use crate::catalogue::events::EventKind;
use crate::catalogue::ram::{HolderKind, LoginProfileRow, UserRow};
use crate::identity::{Identity, policies_of};
use crate::keys::token_hash;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, ControlError, passwords};
use serde_json::json;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::Empty;
use tidemark_ecs::ram::login::{LoginProfile, LoginProfileAnswer, SetPassword};
use tidemark_ecs::ram::users::OneUser;

/// Who came in with which password: as long as the user has that one, and no other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    account: String,
    name: String,
    /// Of the password as it is kept, so of its salt, too: another one that is set has another, even if it is the same word.
    password: String,
}

fn show(user: &UserRow, row: &LoginProfileRow) -> LoginProfileAnswer {
    LoginProfileAnswer {
        login_profile: LoginProfile {
            user_name: user.name.clone(),
            create_date: date(row.created_ms),
            password_reset_required: false,
            mfa_bind_required: false,
        },
    }
}

fn profile(t: &mut dyn Transaction, user: &UserRow) -> Result<LoginProfileRow, ApiError> {
    LoginProfileRow::get(t, user.id.as_str())?.ok_or_else(|| missing("User.LoginProfile", &user.name))
}

/// What the user has now, if a password may be set: a new one where there is none, another one where there is one.
fn settable(
    t: &mut dyn Transaction,
    user: &UserRow,
    is_new: bool,
) -> Result<Option<LoginProfileRow>, ApiError> {
    let there = LoginProfileRow::get(t, user.id.as_str())?;
    match (there.is_some(), is_new) {
        (true, true) => Err(exists("User.LoginProfile", &user.name)),
        (false, false) => Err(missing("User.LoginProfile", &user.name)),
        _ => Ok(there),
    }
}

/// The password as it is kept.
async fn kept(password: String) -> Result<String, ApiError> {
    let kept = passwords::aside(move || passwords::keep(&password)).await;
    kept.and_then(|kept| kept).map_err(|error| {
        tracing::error!(%error, "a password cannot be hashed");
        ApiError::internal()
    })
}

impl Control {
    /// A password for a user who has none.
    pub async fn create_login_profile(
        &self,
        caller: &Caller,
        request: SetPassword,
    ) -> Result<LoginProfileAnswer, ApiError> {
        self.set_password(caller, request, true).await
    }

    /// Another password for a user who has one.
    pub async fn update_login_profile(
        &self,
        caller: &Caller,
        request: SetPassword,
    ) -> Result<LoginProfileAnswer, ApiError> {
        self.set_password(caller, request, false).await
    }

    async fn set_password(
        &self,
        caller: &Caller,
        request: SetPassword,
        is_new: bool,
    ) -> Result<LoginProfileAnswer, ApiError> {
        let SetPassword { user_name, password } = request;
        // What is refused costs no hash.
        let (asker, name) = (caller.clone(), user_name.clone());
        let look = move |t: &mut dyn Transaction| {
            let user = user(t, &asker, &name)?;
            settable(t, &user, is_new).map(drop)
        };
        self.store().read::<_, ApiError, _>(look).await?;
        let hash = kept(password).await?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let user = user(t, &caller, &user_name)?;
            let there = settable(t, &user, is_new)?;
            let row = LoginProfileRow {
                user_id: user.id.clone(),
                hash,
                created_ms: there.as_ref().map_or(control.now_ms(), |there| there.created_ms),
            };
            match is_new {
                true => row.insert(t)?,
                false => row.save(t)?,
            }
            let kind = EventKind::PasswordSet;
            note(t, &control, &caller, kind, ("user", &user.name), json!({}))?;
            Ok(show(&user, &row))
        };
        let answer = self.store().write::<_, ApiError, _>(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// Since when a user has a password.
    pub async fn get_login_profile(
        &self,
        caller: &Caller,
        request: OneUser,
    ) -> Result<LoginProfileAnswer, ApiError> {
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| {
            let user = user(t, &caller, &request.user_name)?;
            let row = profile(t, &user)?;
            Ok(show(&user, &row))
        };
        self.store().read::<_, ApiError, _>(read).await
    }

    /// From the next request on, nobody is in the console with it; so it is with one that is changed.
    pub async fn delete_login_profile(&self, caller: &Caller, request: OneUser) -> Result<Empty, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let user = user(t, &caller, &request.user_name)?;
            profile(t, &user)?.remove(t)?;
            let kind = EventKind::PasswordRemoved;
            note(t, &control, &caller, kind, ("user", &user.name), json!({}))?;
            Ok(Empty {})
        };
        let answer = self.store().write::<_, ApiError, _>(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// The user whose name and password these are; `None`: nobody's. It takes as long either way.
    pub async fn console_password(&self, name: &str, password: &str) -> Result<Option<Login>, ControlError> {
        let (account, wanted) = (self.config().account.clone(), name.to_owned());
        let read = move |t: &mut dyn Transaction| -> Result<Option<(UserRow, LoginProfileRow)>, StoreError> {
            let Some(user) = UserRow::named(t, &account, &wanted)? else {
                return Ok(None);
            };
            let row = LoginProfileRow::get(t, user.id.as_str())?;
            Ok(row.map(|row| (user, row)))
        };
        let found = self.store().read::<_, StoreError, _>(read).await?;
        let (given, hash) = (
            password.to_owned(),
            found.as_ref().map(|(_, row)| row.hash.clone()),
        );
        let checked = passwords::aside(move || passwords::check(&given, hash.as_deref())).await;
        let fits = checked.map_err(|error| ControlError::Config(format!("checking a password: {error}")))?;
        Ok(found.filter(|_| fits).map(|(user, row)| Login {
            account: user.account,
            name: user.name,
            password: token_hash(&row.hash),
        }))
    }

    /// A user who is in the console with a password, with what they may do as of now; `None`: they may not be any more, since the user
    /// is gone (one of the same name is another), or has another password or none.
    pub async fn console_user(&self, login: &Login) -> Result<Option<Caller>, ControlError> {
        let login = login.clone();
        let read = move |t: &mut dyn Transaction| -> Result<Option<Caller>, StoreError> {
            let account = login.account;
            let Some(user) = UserRow::named(t, &account, &login.name)? else {
                return Ok(None);
            };
            let now = LoginProfileRow::get(t, user.id.as_str())?;
            if now.is_none_or(|now| token_hash(&now.hash) != login.password) {
                return Ok(None);
            }
            let policies = policies_of(t, &account, HolderKind::User, &user.name)?;
            Ok(Some(Caller {
                account,
                access_key: String::new(),
                identity: Identity::User {
                    id: user.id,
                    name: user.name,
                    policies,
                },
                source: None,
                region: None,
                request_id: None,
            }))
        };
        Ok(self.store().read::<_, StoreError, _>(read).await?)
    }
}
