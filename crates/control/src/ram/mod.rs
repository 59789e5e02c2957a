//! Users, keys, policies, roles and temporary keys: what the RAM actions and AssumeRole do.
//!
//! The same rules as for `actions`: everything is checked inside the transaction that makes the change, and a refusal
//! changes nothing. Every change is an event. What must stay true: a secret is shown once, when it is made; of the
//! account's own keys one always works; what is attached or in use is not deleted.

mod access_keys;
mod login_profiles;
mod policies;
mod roles;
pub(crate) mod sts;
mod users;

pub use login_profiles::Login;

use crate::Caller;
use crate::catalogue::events::{self, EventKind, Happening, Level};
use crate::control::Control;
use crate::keys::letters;
use crate::store::{StoreError, Transaction};
use crate::views;
use tidemark_ecs::{ApiError, time};

/// 404, there is no such thing of the account. `what` is `User`, `Role`, `Policy` …
fn missing(what: &str, name: &str) -> ApiError {
    let message = format!("The {} {name:?} does not exist.", what.to_lowercase());
    ApiError::new(404, format!("EntityNotExist.{what}"), message)
}

/// 409, there is one of that name already.
fn exists(what: &str, name: &str) -> ApiError {
    let message = format!("The {} {name:?} exists already.", what.to_lowercase());
    ApiError::new(409, format!("EntityAlreadyExists.{what}"), message)
}

fn date(ms: i64) -> String {
    time::seconds(views::at(ms))
}

/// The id of a new user, role or policy.
fn new_id() -> String {
    letters(20)
}

/// An event about one of these, in the transaction that makes it happen.
pub(crate) fn note(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    kind: EventKind,
    (resource_type, resource_id): (&str, &str),
    more: serde_json::Value,
) -> Result<(), StoreError> {
    let level = match kind {
        EventKind::KeyDisabled | EventKind::KeyDeleted => Level::Warn,
        _ => Level::Info,
    };
    let mut content = serde_json::json!({
        "by": caller.identity.arn(&caller.account),
        "requestId": caller.request_id.as_deref().unwrap_or_default(),
    });
    if let (Some(content), serde_json::Value::Object(more)) = (content.as_object_mut(), more) {
        content.extend(more);
    }
    let what = Happening {
        kind,
        level,
        account: &caller.account,
        region: "",
        resource_type,
        resource_id,
        content,
    };
    events::add(t, control.now_ms(), &what)
}
