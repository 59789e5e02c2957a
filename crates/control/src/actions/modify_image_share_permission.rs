//! ModifyImageSharePermission: accounts come and go; all of them, or none.

use super::image_rules;
use crate::catalogue::images;
use crate::catalogue::snapshots::SnapshotRow;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_image_share_permission::{Request, Response};

/// Most accounts that an image is shared with.
const MOST: usize = 50;

impl Control {
    /// Adding one that has it, or removing one that has not, is fine.
    pub async fn modify_image_share_permission(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| modify(t, &control, &caller, &request);
        self.store().write(work).await?;
        Ok(Response {})
    }
}

fn modify(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<(), ApiError> {
    control.check_region(Some(&request.region_id))?;
    let image = image_rules::own(t, caller, &request.image_id)?;
    for account in &request.remove_accounts {
        images::unshare(t, &image.id, account)?;
    }
    if request.add_accounts.is_empty() {
        return Ok(());
    }
    for disk in images::disks(t, &image.id)? {
        let snapshot = SnapshotRow::get(t, &disk.snapshot_id)?;
        if snapshot.is_some_and(|snapshot| snapshot.encrypted) {
            let message = format!("The image {} is encrypted and stays with its account.", image.id);
            return Err(ApiError::new(403, "InvalidImage.EncryptedUnsupported", message));
        }
    }
    for account in request
        .add_accounts
        .iter()
        .filter(|account| **account != caller.account)
    {
        images::share(t, &image.id, account, control.now_ms())?;
    }
    let shares = images::shares(t, &image.id)?.len();
    if shares > MOST {
        let message = format!(
            "The image {} would be shared with {shares} accounts; {MOST} are allowed.",
            image.id
        );
        return Err(ApiError::new(403, "QuotaExceed.ImageShare", message));
    }
    Ok(())
}
