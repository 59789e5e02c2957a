//! AttachKeyPair and DetachKeyPair: which key an instance is told of by the metadata service. Each instance for itself.
//!
//! A machine reads it when it starts, so a change takes effect then. A second key takes the first one's place.

use super::key_pair_rules;
use crate::catalogue::instances::InstanceRow;
use crate::catalogue::key_pairs::KeyPairRow;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::{attach_key_pair, detach_key_pair};
use tidemark_ecs::model::KeyPairResult;

/// What is done to each instance.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Attach,
    Detach,
}

impl Control {
    /// An instance that cannot have it does not keep the others from it: the answer says which.
    pub async fn attach_key_pair(
        &self,
        caller: &Caller,
        request: attach_key_pair::Request,
    ) -> Result<attach_key_pair::Response, ApiError> {
        self.bind_key_pair(caller, request, Then::Attach).await
    }

    /// As [`Control::attach_key_pair`]; an instance that has another key, or none, is one that cannot.
    pub async fn detach_key_pair(
        &self,
        caller: &Caller,
        request: detach_key_pair::Request,
    ) -> Result<detach_key_pair::Response, ApiError> {
        self.bind_key_pair(caller, request, Then::Detach).await
    }

    async fn bind_key_pair(
        &self,
        caller: &Caller,
        request: attach_key_pair::Request,
        then: Then,
    ) -> Result<attach_key_pair::Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            let region = control.region(Some(&request.region_id))?;
            let pair = key_pair_rules::named(t, &caller, &region.id, &request.key_pair_name, 400)?;
            let mut results = Vec::new();
            for id in &request.instance_ids {
                let bound = bind(t, &caller, &pair, id, then);
                results.push(result(id, bound)?);
            }
            let failed = results.iter().filter(|result| result.success != "true").count();
            Ok(attach_key_pair::Response {
                key_pair_name: pair.name,
                total_count: results.len().to_string(),
                fail_count: failed.to_string(),
                results,
            })
        };
        self.store().write::<_, ApiError, _>(work).await
    }
}

fn bind(
    t: &mut dyn Transaction,
    caller: &Caller,
    pair: &KeyPairRow,
    id: &str,
    then: Then,
) -> Result<(), ApiError> {
    let mut instance = rules::instance(t, caller, id)?;
    if instance.region != pair.region {
        return Err(ApiError::instance_not_found(id));
    }
    let name = &pair.name;
    rules::not_locked(&instance)?;
    instance.key_pair = match then {
        Then::Attach => name.clone(),
        Then::Detach if instance.key_pair == *name => String::new(),
        Then::Detach => {
            let message = format!("The key pair {name:?} is not bound to the instance {id}.");
            return Err(ApiError::new(400, "InvalidParameter.KeypairNotAttached", message));
        }
    };
    Ok(InstanceRow::save(&instance, t)?)
}

/// A refusal is the instance's own; that we cannot do it is everybody's.
fn result(id: &str, bound: Result<(), ApiError>) -> Result<KeyPairResult, ApiError> {
    let (success, code, message) = match bound {
        Ok(()) => ("true", "200".into(), "successful".to_owned()),
        Err(error) if error.is_server_fault() => return Err(error),
        Err(error) => ("false", error.code, error.message),
    };
    Ok(KeyPairResult {
        instance_id: id.to_owned(),
        success: success.to_owned(),
        code: code.into_owned(),
        message,
    })
}
