//! What a form asks for once its action is really done: an instance that starts when its disks are rolled back, a disk that is
//! attached when it is made. No action of ECS promises that, so this process waits; one that stops meanwhile leaves it undone, and the
//! page shows it undone.
//!
//! What must stay true: permission for the second step is asked for before the first one, so that nobody loses a disk's content and is then told
//! that it cannot be started.

use crate::ask::Ctx;
use crate::fields::Fields;
use std::time::{Duration, Instant};
use tidemark_control::{Caller, Control};
use tidemark_ecs::actions::{attach_disk, describe_disks, start_instance};
use tidemark_ecs::{ApiError, Params};

/// How often is looked, and how long at most.
const LOOK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// The second step.
pub(crate) enum Then {
    Nothing,
    /// Starts this instance.
    Start(String),
    /// Attaches the new disk to this instance.
    Attach(String),
}

impl Then {
    /// What a form asks for beside its action.
    pub(crate) fn of(action: &str, form: &Fields) -> Self {
        let is_rollback = matches!(action, "ResetDisk" | "ResetDisks") && form.get("_start") == Some("true");
        match (form.get("_instance"), form.get("_attach")) {
            (Some(instance), _) if is_rollback => Then::Start(instance.to_owned()),
            (_, Some(instance)) if action == "CreateDisk" => Then::Attach(instance.to_owned()),
            _ => Then::Nothing,
        }
    }

    /// Refuses what the caller may not.
    pub(crate) async fn check(&self, ctx: &Ctx, caller: &Caller) -> Result<(), ApiError> {
        let (action, instance) = match self {
            Then::Nothing => return Ok(()),
            Then::Start(instance) => ("StartInstance", instance),
            Then::Attach(instance) => ("AttachDisk", instance),
        };
        let params = ctx.params(&[("InstanceId", instance.as_str())])?;
        ctx.control().authorize(caller, "ecs", action, &params).await
    }

    /// Waits for the first step's end, and takes the second. `made`: what the first one made.
    pub(crate) fn begin(self, control: &Control, caller: Caller, made: Option<&str>) {
        let control = control.clone();
        let made = made.map(str::to_owned);
        match (self, made) {
            (Then::Start(instance), _) => drop(tokio::spawn(async move {
                if let Err(error) = start(&control, &caller, &instance).await {
                    tracing::warn!(%instance, %error, "the instance was not started after the rollback");
                }
            })),
            (Then::Attach(instance), Some(disk)) => drop(tokio::spawn(async move {
                if let Err(error) = attach(&control, &caller, &instance, &disk).await {
                    tracing::warn!(%instance, %disk, %error, "the new disk was not attached");
                }
            })),
            (Then::Nothing | Then::Attach(_), _) => {}
        }
    }
}

/// Parameters in the caller's region.
fn params(caller: &Caller, pairs: &[(&str, &str)]) -> Result<Params, ApiError> {
    let region = caller.region.as_deref().unwrap_or_default();
    let own = [("RegionId", region)];
    Params::from_pairs(own.iter().chain(pairs).map(|(name, value)| (*name, *value)))
}

/// The states of some disks.
async fn states(control: &Control, caller: &Caller, pairs: &[(&str, &str)]) -> Result<Vec<String>, ApiError> {
    let request = describe_disks::Request::parse(&params(caller, pairs)?)?;
    let disks = control.describe_disks(caller, request).await?.disks;
    Ok(disks.into_iter().map(|disk| disk.status).collect())
}

async fn start(control: &Control, caller: &Caller, instance: &str) -> Result<(), ApiError> {
    let own = [("InstanceId", instance), ("PageSize", "100")];
    let began = Instant::now();
    while states(control, caller, &own)
        .await?
        .iter()
        .any(|state| state == "ReIniting")
    {
        wait(began).await?;
    }
    let params = params(caller, &own)?;
    control.authorize(caller, "ecs", "StartInstance", &params).await?;
    let request = start_instance::Request::parse(&params)?;
    control.start_instance(caller, request).await?;
    Ok(())
}

async fn attach(control: &Control, caller: &Caller, instance: &str, disk: &str) -> Result<(), ApiError> {
    let ids = serde_json::Value::from(vec![disk]).to_string();
    let began = Instant::now();
    while states(control, caller, &[("DiskIds", &ids)])
        .await?
        .iter()
        .any(|state| state == "Creating")
    {
        wait(began).await?;
    }
    let own = [("InstanceId", instance), ("DiskId", disk)];
    let params = params(caller, &own)?;
    // About the disk, too, which nobody could be asked about before it was there.
    control.authorize(caller, "ecs", "AttachDisk", &params).await?;
    let request = attach_disk::Request::parse(&params)?;
    control.attach_disk(caller, request).await?;
    Ok(())
}

async fn wait(began: Instant) -> Result<(), ApiError> {
    if began.elapsed() >= PATIENCE {
        return Err(ApiError::service_unavailable("the first step takes too long"));
    }
    tokio::time::sleep(LOOK).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(action: &str, form: &str) -> String {
        match Then::of(action, &Fields::parse(form).expect("a form")) {
            Then::Nothing => "nothing".to_owned(),
            Then::Start(instance) => format!("start {instance}"),
            Then::Attach(instance) => format!("attach {instance}"),
        }
    }

    #[test]
    fn only_who_asks_gets_a_second_step() {
        assert_eq!(of("ResetDisk", "_start=true&_instance=i-1"), "start i-1");
        assert_eq!(of("ResetDisk", "_instance=i-1"), "nothing");
        assert_eq!(of("CreateDisk", "_attach=i-1"), "attach i-1");
        assert_eq!(of("CreateDisk", "_attach="), "nothing");
        assert_eq!(
            of("DeleteDisk", "_attach=i-1&_start=true&_instance=i-1"),
            "nothing"
        );
    }
}
