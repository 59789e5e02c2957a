//! CreateKeyPair: the public half is kept, the private one is told once.

use super::key_pair_rules::{self, NewKeyPair};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::create_key_pair::{Request, Response};

impl Control {
    /// The private key is in this answer and in no other.
    pub async fn create_key_pair(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let made = key_pair_rules::make(&request.key_pair_name)?;
        let new = NewKeyPair {
            region_id: request.region_id,
            name: request.key_pair_name,
            resource_group_id: request.resource_group_id,
            tags: request.tags,
            public_key: made.public_key,
            finger_print: made.finger_print,
        };
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| key_pair_rules::insert(t, &control, &caller, new);
        let row = self.store().write::<_, ApiError, _>(work).await?;
        Ok(Response {
            key_pair_id: row.id,
            key_pair_name: row.name,
            key_pair_finger_print: row.finger_print,
            private_key_body: made.private_key,
        })
    }
}
