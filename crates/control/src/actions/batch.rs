//! StartInstances, StopInstances, RebootInstances: each instance as the action for one does it.
//!
//! AllTogether is one transaction: the first refusal is the answer, and nothing has changed. SuccessFirst is one for each, and each
//! has its own code in the answer.

use super::{reboot_instance, start_instance, stop_instance};
use crate::catalogue::instances::InstanceRow;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use tidemark_ecs::actions::start_instances::{Request, Response};
use tidemark_ecs::actions::{reboot_instance as reboot, start_instance as start, stop_instance as stop};
use tidemark_ecs::model::InstanceResponse;
use tidemark_ecs::{ApiError, Params};

/// What is done to one instance; answers its job.
type Act = fn(&mut dyn Transaction, &Control, &Caller, &Params) -> Result<i64, ApiError>;

/// An instance of which something was asked, and the job that does it if it is to be done.
type Done = (InstanceResponse, Option<i64>);

impl Control {
    /// As StartInstance, for many.
    pub async fn start_instances(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let act: Act = |t, control, caller, params| {
            start_instance::start(t, control, caller, &start::Request::parse(params)?)
        };
        self.act_on_all(caller, request, act).await
    }

    /// As StopInstance, for many.
    pub async fn stop_instances(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let act: Act = |t, control, caller, params| {
            stop_instance::stop(t, control, caller, &stop::Request::parse(params)?)
        };
        self.act_on_all(caller, request, act).await
    }

    /// As RebootInstance, for many.
    pub async fn reboot_instances(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let act: Act = |t, control, caller, params| {
            reboot_instance::reboot(t, control, caller, &reboot::Request::parse(params)?)
        };
        self.act_on_all(caller, request, act).await
    }

    async fn act_on_all(&self, caller: &Caller, request: Request, act: Act) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (ids, force) = (request.instance_ids, request.force);
        let mut done: Vec<Done> = Vec::with_capacity(ids.len());
        if request.all_together || request.dry_run {
            let (control, caller) = (self.clone(), caller.clone());
            let work = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
                let each = ids.iter().map(|id| act_on(t, &control, &caller, id, force, act));
                let all = each.collect::<Result<Vec<_>, _>>()?;
                // An error takes it all back.
                if request.dry_run {
                    Err(ApiError::dry_run())
                } else {
                    Ok(all)
                }
            };
            done = self.store().write(work).await?;
        } else {
            for id in ids {
                let (control, caller, one) = (self.clone(), caller.clone(), id.clone());
                let work = move |t: &mut dyn Transaction| act_on(t, &control, &caller, &one, force, act);
                match self.store().write(work).await {
                    Ok(one) => done.push(one),
                    Err(error) => done.push((self.refused(id, error).await?, None)),
                }
            }
        }
        self.jobs().wake();
        let jobs: Vec<i64> = done.iter().filter_map(|(_, job)| *job).collect();
        for (id, error) in self.jobs().linger(&jobs, self.config().linger).await {
            if let Some((response, _)) = done.iter_mut().find(|(_, job)| *job == Some(id)) {
                response.code = "DiskError".into();
                response.message = error.message;
                response.current_status.clone_from(&response.previous_status);
            }
        }
        Ok(Response {
            instance_responses: done.into_iter().map(|(response, _)| response).collect(),
        })
    }

    async fn refused(&self, id: String, error: ApiError) -> Result<InstanceResponse, StoreError> {
        let one = id.clone();
        let row = self.store().read(move |t| InstanceRow::get(t, &one)).await?;
        // Somebody else's instance does not exist.
        let row = row.filter(|_| error.status != 404);
        let status = row.map(|row| row.status.word().to_owned()).unwrap_or_default();
        Ok(InstanceResponse {
            instance_id: id,
            code: error.code.into_owned(),
            message: error.message,
            previous_status: status.clone(),
            current_status: status,
        })
    }
}

fn act_on(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    id: &str,
    force: bool,
    act: Act,
) -> Result<Done, ApiError> {
    let before = InstanceRow::get(t, id)?;
    let force = if force { "true" } else { "false" };
    let job = act(
        t,
        control,
        caller,
        &Params::from_pairs([("InstanceId", id), ("ForceStop", force)])?,
    )?;
    let word = |row: Option<InstanceRow>| row.map(|row| row.status.word().to_owned()).unwrap_or_default();
    let response = InstanceResponse {
        instance_id: id.to_owned(),
        code: "200".into(),
        message: "success".into(),
        previous_status: word(before),
        current_status: word(InstanceRow::get(t, id)?),
    };
    Ok((response, Some(job)))
}
