//! UntagResources: removes tags from resources; from all of them, or none.

use super::tag_resources::{all_exist, note_change};
use crate::catalogue::tags;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::untag_resources::{Keys, Request, Response};

impl Control {
    /// A key that a resource does not have is fine. Tags of the service itself stay.
    pub async fn untag_resources(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| untag(t, &control, &caller, &request);
        self.store().write(work).await?;
        self.jobs().wake();
        Ok(Response {})
    }
}

fn untag(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<(), ApiError> {
    control.check_region(Some(&request.region_id))?;
    let kind = all_exist(t, caller, &request.resource_type, &request.resource_ids)?;
    for id in &request.resource_ids {
        note_change(t, control, kind, id)?;
        match &request.keys {
            Keys::All => tags::unset_all(t, kind, id)?,
            Keys::Named(keys) => keys.iter().try_for_each(|key| tags::unset(t, kind, id, key))?,
        }
    }
    Ok(())
}
