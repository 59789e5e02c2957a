//! TagResources: sets tags on resources; all of them, or none.

use super::{image_rules, key_pair_rules};
use crate::catalogue::tags::{self, ResourceType};
use crate::rules;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::tag_resources::{Request, Response};

impl Control {
    /// A key that a resource has already gets the new value.
    pub async fn tag_resources(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| tag(t, &control, &caller, &request);
        self.store().write(work).await?;
        self.jobs().wake();
        Ok(Response {})
    }
}

fn tag(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<(), ApiError> {
    control.check_region(Some(&request.region_id))?;
    let kind = all_exist(t, caller, &request.resource_type, &request.resource_ids)?;
    for id in &request.resource_ids {
        note_change(t, control, kind, id)?;
        tags::set(t, &caller.account, kind, id, &request.tags)?;
        let most = control.limits().tags_per_resource;
        // Those that the service put there itself are not the caller's.
        let own = |tag: &tidemark_ecs::model::Tag| !tag.key.starts_with(tags::SYSTEM);
        let count = tags::of(t, kind, id)?.iter().filter(|tag| own(tag)).count() as u64;
        if count > most {
            let message = format!("The {kind} {id} would have {count} tags; {most} are allowed.");
            return Err(ApiError::new(403, "QuotaExceed.Tags", message));
        }
    }
    Ok(())
}

/// A snapshot's tags are in its record, too.
pub(super) fn note_change(
    t: &mut dyn Transaction,
    control: &Control,
    kind: ResourceType,
    id: &str,
) -> Result<(), StoreError> {
    match kind {
        ResourceType::Snapshot => rules::update_record(t, id, control.now_ms()),
        ResourceType::Instance
        | ResourceType::Disk
        | ResourceType::Image
        | ResourceType::SnapshotGroup
        | ResourceType::Policy
        | ResourceType::KeyPair => Ok(()),
    }
}

/// The type, if every resource is there and the caller's; else 404 `InvalidResourceId.NotFound`.
pub(crate) fn all_exist(
    t: &mut dyn Transaction,
    caller: &Caller,
    resource_type: &str,
    ids: &[String],
) -> Result<ResourceType, ApiError> {
    let missing = |id: &str| {
        let message = format!("The specified {resource_type} {id:?} does not exist.");
        ApiError::new(404, "InvalidResourceId.NotFound", message)
    };
    // Types that the contract knows and that nobody can make here: none of their ids exists.
    let Ok(kind) = resource_type.parse() else {
        return Err(missing(ids.first().map_or("", String::as_str)));
    };
    for id in ids {
        let found = match kind {
            ResourceType::Instance => rules::instance(t, caller, id).map(drop),
            ResourceType::Disk => rules::disk(t, caller, id).map(drop),
            ResourceType::Snapshot => rules::snapshot(t, caller, id).map(drop),
            ResourceType::Image => image_rules::own(t, caller, id).map(drop),
            ResourceType::SnapshotGroup => rules::snapshot_group(t, caller, id).map(drop),
            ResourceType::Policy => rules::policy(t, caller, id).map(drop),
            ResourceType::KeyPair => key_pair_rules::of_id(t, caller, id).map(drop),
        };
        found.map_err(|error| if error.status == 404 { missing(id) } else { error })?;
    }
    Ok(kind)
}
