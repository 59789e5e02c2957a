//! Who asks, and what they may: a root key, a user, or somebody who has taken on a role.

use crate::catalogue::ram::{Holder, HolderKind, PolicyName, PolicyRow};
use crate::store::{StoreError, StoreErrorKind, Transaction};
use std::sync::Arc;
use tidemark_ecs::ram::policies::{CUSTOM, SYSTEM};
use tidemark_ecs::ram::policy::{Policy, Question, Verdict, judge};

/// Policies that come with the service: name, what for, document.
pub(crate) const SYSTEM_POLICIES: &[(&str, &str, &str)] = &[
    (
        "AdministratorAccess",
        "Everything",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#,
    ),
    (
        "AliyunECSFullAccess",
        "Everything about disks, snapshots and instances",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"ecs:*","Resource":"*"}]}"#,
    ),
    (
        "AliyunECSReadOnlyAccess",
        "Looking at disks, snapshots and instances",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":["ecs:Describe*","ecs:List*"],"Resource":"*"}]}"#,
    ),
    (
        "AliyunRAMFullAccess",
        "Everything about users, keys and policies",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"ram:*","Resource":"*"}]}"#,
    ),
    (
        "AliyunSTSAssumeRoleAccess",
        "Taking on any role that lets one in",
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}]}"#,
    ),
];

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The account itself: it may do all.
    Root,
    /// One of its users.
    User {
        /// The user's id.
        id: String,
        /// The user's name.
        name: String,
        /// What is attached to the user.
        policies: Arc<[Policy]>,
    },
    /// Somebody with temporary keys of a role.
    Role {
        /// The role's id.
        id: String,
        /// The role's name.
        name: String,
        /// What they call themselves.
        session: String,
        /// What is attached to the role.
        policies: Arc<[Policy]>,
        /// What they were kept to when they took the role on.
        within: Option<Arc<Policy>>,
    },
}

impl Identity {
    /// What the policies say to a question.
    pub(crate) fn judge(&self, question: &Question<'_>) -> Verdict {
        match self {
            Identity::Root => Verdict::Allowed,
            Identity::User { policies, .. } => judge(&**policies, question),
            Identity::Role { policies, within, .. } => {
                let by_role = judge(&**policies, question);
                match within.as_deref().map(|policy| judge([policy], question)) {
                    Some(narrower) if by_role == Verdict::Allowed => narrower,
                    _ => by_role,
                }
            }
        }
    }

    /// The name that policies use: `acs:ram::<account>:user/<name>`.
    pub fn arn(&self, account: &str) -> String {
        match self {
            Identity::Root => format!("acs:ram::{account}:root"),
            Identity::User { name, .. } => format!("acs:ram::{account}:user/{name}"),
            Identity::Role { name, session, .. } => {
                format!("acs:ram::{account}:assumed-role/{name}/{session}")
            }
        }
    }

    /// The user's name, if it is one.
    pub(crate) fn user_name(&self) -> Option<&str> {
        match self {
            Identity::User { name, .. } => Some(name),
            Identity::Root | Identity::Role { .. } => None,
        }
    }
}

/// The document of a policy, if there is one of that name.
pub(crate) fn document(
    t: &mut dyn Transaction,
    account: &str,
    policy: &PolicyName,
) -> Result<Option<String>, StoreError> {
    match policy.kind.as_str() {
        SYSTEM => Ok(SYSTEM_POLICIES
            .iter()
            .find(|(name, ..)| *name == policy.name)
            .map(|(.., document)| (*document).to_owned())),
        CUSTOM => Ok(PolicyRow::named(t, account, &policy.name)?.map(|row| row.document)),
        _ => Ok(None),
    }
}

/// All that is attached to somebody. A document that cannot be read is no reason to guess: nobody is let in with it.
pub(crate) fn policies_of(
    t: &mut dyn Transaction,
    account: &str,
    kind: HolderKind,
    name: &str,
) -> Result<Arc<[Policy]>, StoreError> {
    let holder = Holder { account, kind, name };
    let mut policies = Vec::new();
    for attached in holder.policies(t)? {
        if let Some(text) = document(t, account, &attached)? {
            policies.push(parsed(&attached.name, &text)?);
        }
    }
    Ok(policies.into())
}

/// A document of the catalogue, which was checked when it was made.
pub(crate) fn parsed(name: &str, document: &str) -> Result<Policy, StoreError> {
    Policy::parse(document)
        .map_err(|why| StoreError::new(StoreErrorKind::Corrupt, format!("the policy {name}"), why))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_ecs::ram::condition::Facts;

    #[test]
    fn every_policy_that_comes_along_is_understood() {
        for (name, _, document) in SYSTEM_POLICIES {
            parsed(name, document).expect(name);
        }
    }

    #[test]
    fn temporary_keys_may_never_do_more_than_their_role_nor_than_they_were_kept_to() {
        let parse = |text: &str| Policy::parse(text).expect("understood");
        let named = |name: &str| {
            let found = SYSTEM_POLICIES.iter().find(|(known, ..)| *known == name);
            parse(found.expect("there is one").2)
        };
        let role = |policies: Vec<Policy>, within: Option<Policy>| Identity::Role {
            id: String::new(),
            name: "r".into(),
            session: "s".into(),
            policies: policies.into(),
            within: within.map(Arc::new),
        };
        let read = named("AliyunECSReadOnlyAccess");
        let all = named("AdministratorAccess");
        let deny = parse(r#"{"Version":"1","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#);
        for (identity, action, expected) in [
            (role(vec![all.clone()], None), "ecs:DeleteDisk", Verdict::Allowed),
            (
                role(vec![all.clone()], Some(read.clone())),
                "ecs:DeleteDisk",
                Verdict::NotAllowed,
            ),
            (
                role(vec![all.clone()], Some(read.clone())),
                "ecs:DescribeDisks",
                Verdict::Allowed,
            ),
            (
                role(vec![read.clone()], Some(all.clone())),
                "ecs:DeleteDisk",
                Verdict::NotAllowed,
            ),
            (
                role(vec![read.clone(), deny], Some(all)),
                "ecs:DescribeDisks",
                Verdict::Denied,
            ),
            (role(vec![], Some(read)), "ecs:DescribeDisks", Verdict::NotAllowed),
        ] {
            let question = Question {
                action,
                resource: "*",
                facts: &Facts::default(),
            };
            assert_eq!(identity.judge(&question), expected, "{identity:?} {action}");
        }
    }
}
