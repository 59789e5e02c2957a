//! What a form asks for once its action is really done: an instance that starts when its disks are rolled back, a disk that is
//! attached when it is made. No action of ECS promises that, so this process waits; one that stops meanwhile leaves it undone, and the
//! page shows it undone.
//!
//! What must stay true: permission for the second step is asked for before the first one, so that nobody loses a disk's content and is then told
//! that it cannot be started, and once more when its time has come; an instance does not start with a disk that was not rolled back; what
//! did not work is told on the next page.

use crate::ask::{self, Ctx};
use crate::fields::Fields;
use crate::pages::json_ids;
use crate::parts::Notice;
use crate::session::Found;
use crate::state::ConsoleState;
use crate::text;
use std::time::{Duration, Instant};
use tidemark_control::Caller;
use tidemark_ecs::actions::{attach_disk, describe_disks, describe_events, start_instance};
use tidemark_ecs::model::Disk;
use tidemark_ecs::{ApiError, Params};

/// How often is looked, and how long at most.
const LOOK: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// The second step.
pub(crate) enum Then {
    Nothing,
    /// Starts this instance.
    Start(String),
    /// Attaches the new disks to this instance.
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

    /// Waits for the first step's end, and takes the second. `made`: what the first one made. `asked_ms`: when it was asked for.
    pub(crate) fn begin(self, ctx: &Ctx, caller: Caller, made: Vec<String>, asked_ms: i64) {
        if matches!(self, Then::Nothing) {
            return;
        }
        let after = After {
            state: ctx.state.clone(),
            session: ctx.session.clone(),
            caller,
            began: Instant::now(),
        };
        drop(tokio::spawn(async move {
            match self {
                Then::Nothing => {}
                Then::Start(instance) => {
                    if let Err(error) = after.start(&instance, asked_ms).await {
                        let undone = format!("The instance {instance} was not started after the rollback.");
                        after.tell(&undone, vec![error.message]);
                    }
                }
                Then::Attach(instance) => {
                    let mut troubles = Vec::new();
                    for disk in made.iter().filter(|disk| !disk.is_empty()) {
                        if let Err(error) = after.attach(&instance, disk).await {
                            troubles.push(format!("{disk}: {}", error.message));
                        }
                    }
                    if !troubles.is_empty() {
                        let undone = match made.len() {
                            1 => format!("The new disk was not attached to {instance}."),
                            all => format!(
                                "{} of {all} new disks were not attached to {instance}.",
                                troubles.len()
                            ),
                        };
                        after.tell(&undone, troubles);
                    }
                }
            }
        }));
    }
}

/// A second step that waits.
struct After {
    state: ConsoleState,
    session: Found,
    /// Who asked, in the region of the page.
    caller: Caller,
    began: Instant,
}

impl After {
    fn tell(&self, undone: &str, troubles: Vec<String>) {
        tracing::warn!(?troubles, "{undone}");
        let notice = Notice {
            troubles,
            ..Notice::new(undone)
        };
        self.state.sessions.notify(&self.session.id, notice);
    }

    fn params(&self, pairs: &[(&str, &str)]) -> Result<Params, ApiError> {
        let region = self.caller.region.as_deref().unwrap_or_default();
        let own = [("RegionId", region)];
        Params::from_pairs(own.iter().chain(pairs).map(|(name, value)| (*name, *value)))
    }

    /// Who asked, if they still may.
    async fn permitted(&self, action: &str, params: &Params) -> Result<Caller, ApiError> {
        let control = &self.state.control;
        let now = ask::caller_of(control, &self.session.who).await?;
        let now = now.ok_or_else(|| {
            ApiError::new(403, "Forbidden", "Whoever asked for it may not sign in any more.")
        })?;
        let caller = Caller {
            region: self.caller.region.clone(),
            source: self.caller.source,
            request_id: self.caller.request_id.clone(),
            ..now
        };
        control.authorize(&caller, "ecs", action, params).await?;
        Ok(caller)
    }

    /// Counts the second step as a call of its own, when its turn has come.
    async fn counted(&self, action: &'static str) -> Result<(), ApiError> {
        loop {
            let counted = self
                .state
                .throttle
                .admit(Instant::now(), &self.caller.account, action);
            match counted {
                Err(ApiError {
                    retry_after_ms: Some(ms),
                    ..
                }) if self.began.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(ms)).await,
                counted => return counted,
            }
        }
    }

    /// Waits until none of the disks is in this state, and answers them.
    async fn settled(&self, pairs: &[(&str, &str)], state: &str) -> Result<Vec<Disk>, ApiError> {
        loop {
            let request = describe_disks::Request::parse(&self.params(pairs)?)?;
            match self.state.control.describe_disks(&self.caller, request).await {
                Ok(answer) if answer.disks.iter().all(|disk| disk.status != state) => {
                    return Ok(answer.disks);
                }
                Err(error) if error.status < 500 => return Err(error),
                // It goes on, or cannot be seen just now.
                Ok(_) | Err(_) => {}
            }
            if self.began.elapsed() >= PATIENCE {
                return Err(ApiError::service_unavailable("the first step takes too long"));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn start(&self, instance: &str, asked_ms: i64) -> Result<(), ApiError> {
        let own = [("InstanceId", instance), ("PageSize", "100")];
        for disk in self.settled(&own, "ReIniting").await? {
            if let Some(reason) = self.failed_reset(&disk.disk_id, asked_ms).await? {
                let message = format!("The disk {} was not rolled back: {reason}", disk.disk_id);
                return Err(ApiError::new(403, "IncorrectDiskStatus", message));
            }
        }
        let params = self.params(&[("InstanceId", instance)])?;
        self.counted("StartInstance").await?;
        let caller = self.permitted("StartInstance", &params).await?;
        let request = start_instance::Request::parse(&params)?;
        self.state.control.start_instance(&caller, request).await?;
        Ok(())
    }

    /// Why the disk's rollback failed that was asked for then.
    async fn failed_reset(&self, disk: &str, asked_ms: i64) -> Result<Option<String>, ApiError> {
        let since = text::stamp(asked_ms);
        let params = self.params(&[
            ("ResourceId", disk),
            ("EventName.1", "Disk:ResetDiskCompleted"),
            ("StartTime", &since),
        ])?;
        let request = describe_events::Request::parse(&params)?;
        let events = self
            .state
            .control
            .describe_events(&self.caller, request)
            .await?
            .events;
        let text_of = |event: &describe_events::Event, name: &str| {
            let value = event.content.get(name).and_then(|value| value.as_str());
            value.unwrap_or_default().to_owned()
        };
        let newest = events.into_iter().next();
        Ok(newest
            .filter(|event| text_of(event, "result") == "failed")
            .map(|event| text_of(&event, "reason")))
    }

    async fn attach(&self, instance: &str, disk: &str) -> Result<(), ApiError> {
        let disks = self
            .settled(&[("DiskIds", &json_ids(&[disk]))], "Creating")
            .await?;
        // Asked for twice, it was done the first time.
        if !disks.is_empty() && disks.iter().all(|disk| disk.instance_id == instance) {
            return Ok(());
        }
        self.counted("AttachDisk").await?;
        let params = self.params(&[("InstanceId", instance), ("DiskId", disk)])?;
        // About the disk, too, which nobody could be asked about before it was there.
        let caller = self.permitted("AttachDisk", &params).await?;
        let request = attach_disk::Request::parse(&params)?;
        self.state.control.attach_disk(&caller, request).await?;
        Ok(())
    }
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
