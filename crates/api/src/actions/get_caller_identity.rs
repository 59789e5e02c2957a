//! GetCallerIdentity, of the token service: the last step of `aliyun configure`, which checks new
//! credentials with it. Anybody with a key may ask who they are.

use crate::call::Call;
use serde::Serialize;
use tidemark_control::{Caller, Identity};
use tidemark_ecs::ApiError;

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    account_id: String,
    arn: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    role_id: Option<String>,
    principal_id: String,
    identity_type: &'static str,
}

pub(crate) async fn run(call: Call<'_>) -> Result<String, ApiError> {
    call.render("GetCallerIdentity", &answer(call.caller))
}

fn answer(caller: &Caller) -> Answer {
    let account = &caller.account;
    let (user_id, role_id, principal_id, identity_type) = match &caller.identity {
        Identity::Root => (Some(account.clone()), None, account.clone(), "Account"),
        Identity::User { id, .. } => (Some(id.clone()), None, id.clone(), "RAMUser"),
        Identity::Role { id, session, .. } => (
            None,
            Some(id.clone()),
            format!("{id}:{session}"),
            "AssumedRoleUser",
        ),
    };
    Answer {
        account_id: account.clone(),
        arn: caller.identity.arn(account),
        user_id,
        role_id,
        principal_id,
        identity_type,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(identity: Identity) -> (String, String, &'static str) {
        let caller = Caller {
            account: "1".into(),
            access_key: "k".into(),
            identity,
            source: None,
            region: None,
            request_id: None,
        };
        let answer = answer(&caller);
        (answer.arn, answer.principal_id, answer.identity_type)
    }

    #[test]
    fn root_users_and_roles_are_told_apart() {
        let user = Identity::User {
            id: "u".into(),
            name: "alice".into(),
            policies: [].into(),
        };
        let role = Identity::Role {
            id: "r".into(),
            name: "backup".into(),
            session: "night".into(),
            policies: [].into(),
            within: None,
        };
        assert_eq!(
            of(Identity::Root),
            ("acs:ram::1:root".into(), "1".into(), "Account")
        );
        assert_eq!(of(user), ("acs:ram::1:user/alice".into(), "u".into(), "RAMUser"));
        assert_eq!(
            of(role),
            (
                "acs:ram::1:assumed-role/backup/night".into(),
                "r:night".into(),
                "AssumedRoleUser"
            )
        );
    }
}
