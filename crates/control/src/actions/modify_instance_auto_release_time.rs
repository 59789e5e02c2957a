//! ModifyInstanceAutoReleaseTime: the clock releases the instance then, with Force.

use crate::rules;
use crate::store::Transaction;
use crate::{Caller, Control};
use jiff::Timestamp;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_instance_auto_release_time::{Request, Response};

impl Control {
    /// Without a time it is never released by itself.
    pub async fn modify_instance_auto_release_time(
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
    control.check_region(request.region_id.as_deref())?;
    let mut instance = rules::instance(t, caller, &request.instance_id)?;
    instance.auto_release_ms = release_time(control, request.auto_release_time)?;
    Ok(instance.save(t)?)
}

/// When an instance is to be released, as it is stored: to the minute. A time that is over is refused.
pub(super) fn release_time(control: &Control, wished: Option<Timestamp>) -> Result<Option<i64>, ApiError> {
    let at = wished.map(|at| at.as_millisecond() / 60_000 * 60_000);
    if let Some(past) = at.filter(|at| *at <= control.now_ms()) {
        let message = format!(
            "The parameter \"AutoReleaseTime\" is not valid: {} is over.",
            tidemark_ecs::time::minutes(crate::views::at(past))
        );
        return Err(ApiError::new(400, "InvalidAutoReleaseTime.Malformed", message));
    }
    Ok(at)
}
