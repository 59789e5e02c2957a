//! GetCallerIdentity, of the token service: the last step of `aliyun configure`, which checks new
//! credentials with it. Until users are managed, every key is its account's own.

use super::Call;
use serde::Serialize;
use tidemark_ecs::ApiError;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Identity<'a> {
    account_id: &'a str,
    arn: String,
    user_id: &'a str,
    principal_id: &'a str,
    identity_type: &'static str,
}

pub(super) async fn run(call: Call<'_>) -> Result<String, ApiError> {
    let account = call.caller.account.as_str();
    let identity = Identity {
        account_id: account,
        arn: format!("acs:ram::{account}:root"),
        user_id: account,
        principal_id: account,
        identity_type: "Account",
    };
    call.render("GetCallerIdentity", &identity)
}
