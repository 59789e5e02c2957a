//! CreateInstance: one instance as RunInstances makes them, and it is left stopped.

use super::run_instances::{Then, insert_all, refusal};
use crate::rules::{self, Token};
use crate::store::Transaction;
use crate::{Caller, Control};
use std::time::Duration;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::create_instance::{Request, Response};

/// Clients start the instance right after the answer, so it has to be Stopped by then: the answer waits longer than others do,
/// and less than clients wait for it.
const PATIENCE: Duration = Duration::from_secs(5);

impl Control {
    /// Answers when the instance is Stopped, which takes no longer than its disks do. When making it fails, that is the answer.
    pub async fn create_instance(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let Request(request) = request;
        let given = rules::token_given(request.client_token.as_ref(), request.dry_run);
        let token = Token::new(caller, "CreateInstance", given, &request, "LastTokenProcessing")?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            insert_all(t, &control, &caller, &request, token.as_ref(), Then::Stop)
        };
        let (made, jobs) = self.store().write(work).await?;
        self.jobs().wake();
        let ids: Vec<i64> = jobs.iter().map(|(job, _)| *job).collect();
        let failed = self.jobs().linger(&ids, self.config().linger.max(PATIENCE)).await;
        match failed.first() {
            Some((_, error)) => Err(refusal(error)),
            None => Ok(Response {
                instance_id: made.instance_id_sets.into_iter().next().unwrap_or_default(),
            }),
        }
    }
}
