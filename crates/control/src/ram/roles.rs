//! Roles: what temporary keys may do, and who may have them.

use super::{date, exists, missing, new_id, note};
use crate::catalogue::events::EventKind;
use crate::catalogue::ram::{Holder, HolderKind, RoleRow};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use serde_json::json;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::Empty;
use tidemark_ecs::ram::roles::{CreateRole, ListRoles, OneRole, Role, RoleAnswer, RolesAnswer};

fn show(row: RoleRow) -> Role {
    Role {
        arn: format!("acs:ram::{}:role/{}", row.account, row.name),
        role_id: row.id,
        role_name: row.name,
        description: row.description,
        assume_role_policy_document: row.trust,
        max_session_duration: row.max_session_s,
        create_date: date(row.created_ms),
    }
}

/// The account's role of that name.
pub(super) fn role(t: &mut dyn Transaction, caller: &Caller, name: &str) -> Result<RoleRow, ApiError> {
    RoleRow::named(t, &caller.account, name)?.ok_or_else(|| missing("Role", name))
}

impl Control {
    /// A role that may do nothing yet.
    pub async fn create_role(&self, caller: &Caller, request: CreateRole) -> Result<RoleAnswer, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            if RoleRow::named(t, &caller.account, &request.role_name)?.is_some() {
                return Err(exists("Role", &request.role_name));
            }
            let row = RoleRow {
                id: new_id(),
                account: caller.account.clone(),
                name: request.role_name,
                description: request.description,
                trust: request.assume_role_policy_document,
                max_session_s: request.max_session_duration,
                created_ms: control.now_ms(),
            };
            row.insert(t)?;
            note(
                t,
                &control,
                &caller,
                EventKind::RoleCreated,
                ("role", &row.name),
                json!({}),
            )?;
            Ok(RoleAnswer { role: show(row) })
        };
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// One role.
    pub async fn get_role(&self, caller: &Caller, request: OneRole) -> Result<RoleAnswer, ApiError> {
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| role(t, &caller, &request.role_name);
        let row: RoleRow = self.store().read(read).await?;
        Ok(RoleAnswer { role: show(row) })
    }

    /// Roles by name.
    pub async fn list_roles(&self, caller: &Caller, request: ListRoles) -> Result<RolesAnswer, ApiError> {
        let (account, page) = (caller.account.clone(), request.page.clone());
        let read = move |t: &mut dyn Transaction| RoleRow::page(t, &account, &page.after, page.size);
        let mut rows = self.store().read::<_, StoreError, _>(read).await?;
        let page = request.page.cut(&mut rows, |row| &row.name);
        Ok(RolesAnswer {
            roles: rows.into_iter().map(show).collect(),
            page,
        })
    }

    /// Refused while policies are attached. Its temporary keys end with it.
    pub async fn delete_role(&self, caller: &Caller, request: OneRole) -> Result<Empty, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let row = role(t, &caller, &request.role_name)?;
            let holder = Holder {
                account: &caller.account,
                kind: HolderKind::Role,
                name: &row.name,
            };
            if !holder.policies(t)?.is_empty() {
                let message = format!("The role {:?} still has policies attached.", row.name);
                return Err(ApiError::new(409, "DeleteConflict.Role.Policy", message));
            }
            t.execute("DELETE FROM sessions WHERE role_id = $1", &[(&row.id).into()])?;
            row.remove(t)?;
            note(
                t,
                &control,
                &caller,
                EventKind::RoleDeleted,
                ("role", &row.name),
                json!({}),
            )?;
            Ok(Empty {})
        };
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }
}
