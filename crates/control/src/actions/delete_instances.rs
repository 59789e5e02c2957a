//! DeleteInstances: all of them, or none; each as DeleteInstance does it.

use super::delete_instance;
use crate::rules::{self, Token};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::actions::delete_instance as one;
use tidemark_ecs::actions::delete_instances::{Request, Response};
use tidemark_ecs::{ApiError, Params};

impl Control {
    /// The instances are off the lists when this answers; their disks follow.
    pub async fn delete_instances(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let given = rules::token_given(request.client_token.as_ref(), request.dry_run);
        let token = Token::new(caller, "DeleteInstances", given, &request, "IdempotentProcessing")?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| delete(t, &control, &caller, &request, token.as_ref());
        let jobs = self.store().write(work).await?;
        self.jobs().wake();
        self.jobs().linger(&jobs, self.config().linger).await;
        Ok(Response {})
    }
}

fn delete(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
    token: Option<&Token>,
) -> Result<Vec<i64>, ApiError> {
    let now = control.now_ms();
    if Token::replay::<Response>(token, t, now)?.is_some() {
        return Ok(Vec::new());
    }
    control.check_region(Some(&request.region_id))?;
    let force = if request.force { "true" } else { "false" };
    let mut jobs = Vec::new();
    for id in &request.instance_ids {
        let params = Params::from_pairs([("InstanceId", id.as_str()), ("Force", force)])?;
        jobs.extend(delete_instance::delete(
            t,
            control,
            caller,
            &one::Request::parse(&params)?,
        )?);
    }
    if request.dry_run {
        // An error takes it all back.
        return Err(ApiError::dry_run());
    }
    let all = request.instance_ids.join(" ");
    Token::remember(token, t, &all, &Response {}, false, now)?;
    Ok(jobs)
}
