//! Policies, and who holds them.

use super::{date, exists, missing, new_id, note};
use crate::catalogue::events::EventKind;
use crate::catalogue::ram::{self, HolderKind, PolicyName, PolicyRow, RoleRow, UserRow};
use crate::identity::{SYSTEM_POLICIES, document};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use serde_json::json;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::Empty;
use tidemark_ecs::ram::NamePageInfo;
use tidemark_ecs::ram::policies::{
    Attachment, CUSTOM, CreatePolicy, CreatePolicyVersion, DeletePolicy, GetPolicy, GetPolicyAnswer, Holder,
    ListPolicies, PoliciesAnswer, PolicyAnswer, PolicyItem, PolicyVersion, SYSTEM,
};
use tidemark_ecs::ram::roles::OneRole;
use tidemark_ecs::ram::users::OneUser;

/// The one version that a policy has.
const VERSION: &str = "v1";

fn custom(name: &str) -> PolicyName {
    PolicyName {
        kind: CUSTOM.into(),
        name: name.to_owned(),
    }
}

/// A policy as it is shown, if there is one of that name.
fn item(
    t: &mut dyn Transaction,
    account: &str,
    policy: &PolicyName,
) -> Result<Option<PolicyItem>, StoreError> {
    let attachment_count = ram::attachments(t, account, policy)?;
    let shown = |description: &str, create_date: String, update_date: String| PolicyItem {
        policy_name: policy.name.clone(),
        policy_type: policy.kind.clone(),
        description: description.to_owned(),
        default_version: VERSION,
        attachment_count,
        create_date,
        update_date,
    };
    if policy.kind == SYSTEM {
        let found = SYSTEM_POLICIES.iter().find(|(name, ..)| *name == policy.name);
        return Ok(found.map(|(_, what, _)| shown(what, String::new(), String::new())));
    }
    let row = PolicyRow::named(t, account, &policy.name)?;
    Ok(row.map(|row| shown(&row.description, date(row.created_ms), date(row.updated_ms))))
}

fn must(t: &mut dyn Transaction, caller: &Caller, policy: &PolicyName) -> Result<PolicyItem, ApiError> {
    item(t, &caller.account, policy)?.ok_or_else(|| missing("Policy", &policy.name))
}

/// Who holds a policy, if they exist.
fn holder<'a>(
    t: &mut dyn Transaction,
    caller: &'a Caller,
    named: &'a Holder,
) -> Result<ram::Holder<'a>, ApiError> {
    let account = caller.account.as_str();
    let (kind, name) = match named {
        Holder::User(name) if UserRow::named(t, account, name)?.is_some() => (HolderKind::User, name),
        Holder::Role(name) if RoleRow::named(t, account, name)?.is_some() => (HolderKind::Role, name),
        Holder::User(name) => return Err(missing("User", name)),
        Holder::Role(name) => return Err(missing("Role", name)),
    };
    Ok(ram::Holder { account, kind, name })
}

/// `User` or `Role`, for codes.
fn word(kind: HolderKind) -> &'static str {
    match kind {
        HolderKind::User => "User",
        HolderKind::Role => "Role",
    }
}

impl Control {
    /// A policy that nobody holds yet.
    pub async fn create_policy(
        &self,
        caller: &Caller,
        request: CreatePolicy,
    ) -> Result<PolicyAnswer, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let name = custom(&request.policy_name);
            // Where only the name is shown, one could pass for the other.
            let system = SYSTEM_POLICIES.iter().any(|(known, ..)| *known == name.name);
            if system || item(t, &caller.account, &name)?.is_some() {
                return Err(exists("Policy", &name.name));
            }
            let now = control.now_ms();
            let row = PolicyRow {
                id: new_id(),
                account: caller.account.clone(),
                name: request.policy_name,
                description: request.description,
                document: request.policy_document,
                version: 1,
                created_ms: now,
                updated_ms: now,
            };
            row.insert(t)?;
            let more = json!({ "change": "created" });
            note(
                t,
                &control,
                &caller,
                EventKind::PolicyChanged,
                ("policy", &row.name),
                more,
            )?;
            let policy = must(t, &caller, &name)?;
            Ok(PolicyAnswer { policy })
        };
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// What a policy says is replaced, for all who hold it, from the next request on.
    pub async fn create_policy_version(
        &self,
        caller: &Caller,
        request: CreatePolicyVersion,
    ) -> Result<PolicyAnswer, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let found = PolicyRow::named(t, &caller.account, &request.policy_name)?;
            let mut row = found.ok_or_else(|| missing("Policy", &request.policy_name))?;
            row.document = request.policy_document;
            row.version += 1;
            row.updated_ms = control.now_ms();
            row.save(t)?;
            let more = json!({ "change": "changed" });
            note(
                t,
                &control,
                &caller,
                EventKind::PolicyChanged,
                ("policy", &row.name),
                more,
            )?;
            let policy = must(t, &caller, &custom(&row.name))?;
            Ok(PolicyAnswer { policy })
        };
        let answer = self.store().write::<_, ApiError, _>(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// A policy and what it says.
    pub async fn get_policy(&self, caller: &Caller, request: GetPolicy) -> Result<GetPolicyAnswer, ApiError> {
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| {
            let name = PolicyName {
                kind: request.policy_type,
                name: request.policy_name,
            };
            let policy = must(t, &caller, &name)?;
            let text = document(t, &caller.account, &name)?;
            Ok(GetPolicyAnswer {
                policy,
                default_policy_version: PolicyVersion {
                    version_id: VERSION,
                    is_default_version: true,
                    policy_document: text.unwrap_or_default(),
                },
            })
        };
        self.store().read::<_, ApiError, _>(read).await
    }

    /// Policies by name: those that come with the service, and the account's.
    pub async fn list_policies(
        &self,
        caller: &Caller,
        request: ListPolicies,
    ) -> Result<PoliciesAnswer, ApiError> {
        let account = caller.account.clone();
        let read = move |t: &mut dyn Transaction| {
            let page = request.page;
            let wanted = |kind: &str| request.policy_type.as_deref().is_none_or(|only| only == kind);
            let mut names = Vec::new();
            if wanted(SYSTEM) {
                let system = SYSTEM_POLICIES.iter().map(|(name, ..)| PolicyName {
                    kind: SYSTEM.into(),
                    name: (*name).to_owned(),
                });
                names.extend(system.filter(|policy| policy.name > page.after));
            }
            if wanted(CUSTOM) {
                let rows = PolicyRow::page(t, &account, &page.after, page.size)?;
                names.extend(rows.into_iter().map(|row| custom(&row.name)));
            }
            names.sort_by(|a, b| a.name.cmp(&b.name));
            let page = page.cut(&mut names, |policy| &policy.name);
            let mut policies = Vec::new();
            for name in &names {
                policies.extend(item(t, &account, name)?);
            }
            Ok(PoliciesAnswer { policies, page })
        };
        self.store().read::<_, ApiError, _>(read).await
    }

    /// Refused while anybody holds it.
    pub async fn delete_policy(&self, caller: &Caller, request: DeletePolicy) -> Result<Empty, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let name = custom(&request.policy_name);
            let found = PolicyRow::named(t, &caller.account, &name.name)?;
            let row = found.ok_or_else(|| missing("Policy", &name.name))?;
            if ram::attachments(t, &caller.account, &name)? > 0 {
                let message = format!("The policy {:?} is attached; detach it first.", name.name);
                return Err(ApiError::new(409, "DeleteConflict.Policy.Attached", message));
            }
            row.remove(t)?;
            let more = json!({ "change": "deleted" });
            note(
                t,
                &control,
                &caller,
                EventKind::PolicyChanged,
                ("policy", &row.name),
                more,
            )?;
            Ok(Empty {})
        };
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// The policy counts for the holder from the next request on.
    pub async fn attach_policy(&self, caller: &Caller, request: Attachment) -> Result<Empty, ApiError> {
        self.change_attachment(caller, request, true).await
    }

    /// The policy does not count for the holder any more.
    pub async fn detach_policy(&self, caller: &Caller, request: Attachment) -> Result<Empty, ApiError> {
        self.change_attachment(caller, request, false).await
    }

    async fn change_attachment(
        &self,
        caller: &Caller,
        request: Attachment,
        attach: bool,
    ) -> Result<Empty, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let policy = PolicyName {
                kind: request.policy_type,
                name: request.policy_name,
            };
            let to = holder(t, &caller, &request.holder)?;
            must(t, &caller, &policy)?;
            let done = match attach {
                true => {
                    let most = control.limits().policies_per_holder;
                    if to.policies(t)?.len() as u64 >= most {
                        let code = format!("LimitExceeded.{}.Policy", word(to.kind));
                        let message = format!("{most} policies are attached to {:?} already.", to.name);
                        return Err(ApiError::new(409, code, message));
                    }
                    to.attach(t, &policy, control.now_ms())?
                }
                false => to.detach(t, &policy)?,
            };
            if !done {
                let what = format!("{}.Policy", word(to.kind));
                return Err(if attach {
                    exists(&what, &policy.name)
                } else {
                    missing(&what, &policy.name)
                });
            }
            let kind = if attach {
                EventKind::PolicyAttached
            } else {
                EventKind::PolicyDetached
            };
            let more = json!({ "policyType": policy.kind, "policyName": policy.name });
            note(t, &control, &caller, kind, (to.kind.word(), to.name), more)?;
            Ok(Empty {})
        };
        let answer = self.store().write(work).await?;
        self.jobs().wake();
        Ok(answer)
    }

    /// What is attached to a user.
    pub async fn list_policies_for_user(
        &self,
        caller: &Caller,
        request: OneUser,
    ) -> Result<PoliciesAnswer, ApiError> {
        self.list_policies_of(caller, Holder::User(request.user_name))
            .await
    }

    /// What is attached to a role.
    pub async fn list_policies_for_role(
        &self,
        caller: &Caller,
        request: OneRole,
    ) -> Result<PoliciesAnswer, ApiError> {
        self.list_policies_of(caller, Holder::Role(request.role_name))
            .await
    }

    async fn list_policies_of(&self, caller: &Caller, named: Holder) -> Result<PoliciesAnswer, ApiError> {
        let caller = caller.clone();
        let read = move |t: &mut dyn Transaction| {
            let mut policies = Vec::new();
            for policy in holder(t, &caller, &named)?.policies(t)? {
                policies.extend(item(t, &caller.account, &policy)?);
            }
            Ok(PoliciesAnswer {
                policies,
                page: NamePageInfo::default(),
            })
        };
        self.store().read::<_, ApiError, _>(read).await
    }
}
