//! CreateAutoSnapshotPolicy: a policy that no disk has yet.

use crate::catalogue::policies::{self, PolicyRow};
use crate::catalogue::tags::{self, ResourceType};
use crate::notices::Quota;
use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::create_auto_snapshot_policy::{Request, Response};
use tidemark_ecs::id::Kind;
use tidemark_ecs::rules::policy::{self, CopySettings, FOR_EVER};

impl Control {
    /// The policy is listed when this answers.
    pub async fn create_auto_snapshot_policy(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| insert(t, &control, &caller, request);
        let response = self.store().write(work).await?;
        // Whoever is told that the quota is near.
        self.jobs().wake();
        Ok(response)
    }

    /// A region that is not served is one more unusable parameter to the actions on policies.
    pub(super) fn check_policy_region(&self, region: &str) -> Result<(), ApiError> {
        let unknown = |_| policy::unusable("RegionId", format!("there is no region {region:?}"));
        self.check_region(Some(region)).map_err(unknown)
    }
}

fn insert(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: Request,
) -> Result<Response, ApiError> {
    control.check_policy_region(&request.region_id)?;
    let resource_group = rules::resource_group(request.resource_group_id.as_deref())?;
    let (hours, weekdays) = request.schedule.masks();
    let mut row = PolicyRow {
        id: control.new_id(Kind::AutoSnapshotPolicy, &request.region_id),
        ordinal: PolicyRow::next_ordinal(t)?,
        account: caller.account.clone(),
        region: request.region_id,
        name: request.name.unwrap_or_default(),
        hours,
        weekdays,
        retention_days: request.retention_days,
        resource_group,
        copy_enabled: false,
        copy_region: String::new(),
        copy_retention_days: FOR_EVER,
        copy_encrypted: false,
        created_ms: control.now_ms(),
    };
    set_copy(control, &mut row, request.copy)?;
    let most = control.limits().policies_per_region;
    let before = policies::count(t, &caller.account, &row.region)?;
    if before >= most {
        let message = format!(
            "There are {most} automatic snapshot policies in {} already.",
            row.region
        );
        return Err(ApiError::new(403, "AutoSnapshotPolicy.QuotaExceed", message));
    }
    row.insert(t)?;
    let quota = Quota {
        account: &row.account,
        region: &row.region,
        of: ("region", &row.region),
        what: "automatic snapshot policies in the region",
        limit: most,
    };
    quota.grown(t, (before, before + 1), row.created_ms)?;
    tags::set(t, &caller.account, ResourceType::Policy, &row.id, &request.tags)?;
    Ok(Response {
        auto_snapshot_policy_id: row.id,
    })
}

/// Changes what is given of the settings for copies; what comes out must make sense.
pub(super) fn set_copy(control: &Control, row: &mut PolicyRow, wish: CopySettings) -> Result<(), ApiError> {
    if let Some(region) = wish.region {
        if region == row.region {
            return Err(policy::bad_copy_region(format!(
                "{region} is the policy's own region"
            )));
        }
        control
            .check_region(Some(&region))
            .map_err(|_| policy::bad_copy_region(format!("there is no region {region:?}")))?;
        row.copy_region = region;
    }
    row.copy_enabled = wish.enabled.unwrap_or(row.copy_enabled);
    row.copy_retention_days = wish.retention_days.unwrap_or(row.copy_retention_days);
    row.copy_encrypted = wish.encrypted.unwrap_or(row.copy_encrypted);
    if row.copy_enabled && row.copy_region.is_empty() {
        return Err(policy::bad_copy_region(
            "EnableCrossRegionCopy needs a region to copy to",
        ));
    }
    if row.copy_enabled && row.copy_encrypted {
        let named = "CopyEncryptionConfiguration.Encrypted";
        rules::encrypted(control, &row.copy_region, named, Some(true), None)?;
    }
    Ok(())
}
