//! ImportKeyPair: a public key whose private half is somebody's own affair.

use super::key_pair_rules::{self, NewKeyPair};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::import_key_pair::{Request, Response};

impl Control {
    /// Kept as one line, so that it can be installed as it is.
    pub async fn import_key_pair(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (public_key, finger_print) = key_pair_rules::read(&request.public_key_body)?;
        let new = NewKeyPair {
            region_id: request.region_id,
            name: request.key_pair_name,
            resource_group_id: request.resource_group_id,
            tags: request.tags,
            public_key,
            finger_print,
        };
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| key_pair_rules::insert(t, &control, &caller, new);
        let row = self.store().write::<_, ApiError, _>(work).await?;
        Ok(Response {
            key_pair_name: row.name,
            key_pair_finger_print: row.finger_print,
        })
    }
}
