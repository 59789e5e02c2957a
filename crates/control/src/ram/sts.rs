//! AssumeRole: temporary keys.

use super::date;
use crate::catalogue::keys::SessionRow;
use crate::catalogue::ram::RoleRow;
use crate::clock::SECOND_MS;
use crate::keys::{TEMPORARY, letters, owner, token_hash};
use crate::store::{StoreError, StoreErrorKind, Transaction};
use crate::{Caller, Control, Identity};
use tidemark_ecs::ApiError;
use tidemark_ecs::ram::sts::{AssumeRole, AssumeRoleAnswer, AssumedRoleUser, TemporaryKeys};
use tidemark_ecs::ram::trust::Trust;

impl Control {
    /// Keys that may do what the role may, and no longer than asked for. They are in the catalogue when this answers,
    /// and are forgotten some time after they have ended.
    pub async fn assume_role(
        &self,
        caller: &Caller,
        request: AssumeRole,
    ) -> Result<AssumeRoleAnswer, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| assume(t, &control, &caller, request);
        self.store().write(work).await
    }
}

fn assume(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: AssumeRole,
) -> Result<AssumeRoleAnswer, ApiError> {
    let (account, name) = &request.role;
    let arn = format!("acs:ram::{account}:role/{name}");
    // Whether there is such a role is told only to those whom it would let in.
    let closed = || {
        let message =
            format!("You are not authorized to do this action: {arn} does not exist or does not let you in.");
        ApiError::new(403, "NoPermission", message)
    };
    let role = RoleRow::named(t, account, name)?.filter(|role| role.account == caller.account);
    let role = role.ok_or_else(closed)?;
    let trust = Trust::parse(&role.trust)
        .map_err(|why| StoreError::new(StoreErrorKind::Corrupt, format!("the role {name}"), why))?;
    if !trust.admits(&caller.account, &principal(caller)) {
        return Err(closed());
    }
    if request.duration_seconds > role.max_session_s {
        let message = format!(
            "The parameter \"DurationSeconds\" is not valid: the role allows {} seconds at most.",
            role.max_session_s
        );
        return Err(ApiError::new(400, "InvalidParameter.DurationSeconds", message));
    }
    let session = request.role_session_name;
    let policy = request.policy.unwrap_or_default();
    let (credentials, _) = issue(t, control, &role, &session, policy, request.duration_seconds)?;
    tracing::info!(role = %arn, %session, by = %caller.access_key, key = %credentials.access_key_id, "temporary keys");
    Ok(AssumeRoleAnswer {
        credentials,
        assumed_role_user: AssumedRoleUser {
            arn: format!("acs:ram::{}:assumed-role/{name}/{session}", role.account),
            assumed_role_id: format!("{}:{session}", role.id),
        },
    })
}

/// New keys of a role, and when they end, in milliseconds since 1970. Whether they may be had was found out before.
pub(crate) fn issue(
    t: &mut dyn Transaction,
    control: &Control,
    role: &RoleRow,
    session: &str,
    policy: String,
    seconds: i64,
) -> Result<(TemporaryKeys, i64), StoreError> {
    let (id, secret, token) = (format!("{TEMPORARY}TM{}", letters(20)), letters(40), letters(64));
    let now = control.now_ms();
    let row = SessionRow {
        secret: control.secrets().seal(&owner(&id), &secret),
        account: role.account.clone(),
        token_hash: token_hash(&token),
        role_id: role.id.clone(),
        name: session.to_owned(),
        policy,
        created_ms: now,
        expires_ms: now.saturating_add(seconds.saturating_mul(SECOND_MS)),
        id,
    };
    row.insert(t)?;
    let keys = TemporaryKeys {
        expiration: date(row.expires_ms),
        access_key_id: row.id,
        access_key_secret: secret,
        security_token: token,
    };
    Ok((keys, row.expires_ms))
}

/// What trust policies call the caller: temporary keys are their role.
fn principal(caller: &Caller) -> String {
    match &caller.identity {
        Identity::Role { name, .. } => format!("acs:ram::{}:role/{name}", caller.account),
        own => own.arn(&caller.account),
    }
}
