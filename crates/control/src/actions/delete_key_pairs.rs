//! DeleteKeyPairs: all of them, or none; one that an instance has stays.

use super::key_pair_rules;
use crate::catalogue::tags::{self, ResourceType};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::delete_key_pairs::{Request, Response};

impl Control {
    /// A key that a machine has installed goes on working there.
    pub async fn delete_key_pairs(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| delete(t, &control, &caller, &request);
        self.store().write(work).await?;
        Ok(Response {})
    }
}

fn delete(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<(), ApiError> {
    let region = control.region(Some(&request.region_id))?;
    let mut names = request.key_pair_names.clone();
    names.sort_unstable();
    names.dedup();
    for name in &names {
        let row = key_pair_rules::named(t, caller, &region.id, name, 404)?;
        if let Some(instance) = row.holder(t)? {
            let message = format!(
                "The key pair {name:?} is bound to the instance {instance}; unbind it with DetachKeyPair first."
            );
            let code = "InvalidParameter.KeypairAlreadyAttachedInstance";
            return Err(ApiError::new(400, code, message));
        }
        tags::clear(t, ResourceType::KeyPair, &row.id)?;
        row.remove(t)?;
    }
    Ok(())
}
