//! ModifyDiskSpec: another category or performance level for a disk, as a task.
//!
//! One engine serves all categories, and a category decides only which sizes and options may be asked for. So nothing has to
//! be moved, and the task is finished when it is answered.

use crate::catalogue::disks::{DiskKind, DiskRow};
use crate::catalogue::tasks::{self, NewTask};
use crate::rules::{self, Token};
use crate::states::DiskStatus;
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::modify_disk_spec::{Request, Response};
use tidemark_ecs::id::Kind;
use tidemark_ecs::rules::{Category, category};

/// The level of a cloud_essd that nobody chose one for.
const DEFAULT_LEVEL: &str = "PL1";

impl Control {
    /// The disk is what was asked for when this answers.
    pub async fn modify_disk_spec(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| modify(t, &control, &caller, &request);
        self.store().write(work).await
    }
}

fn modify(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
) -> Result<Response, ApiError> {
    let now = control.now_ms();
    let given = rules::token_given(request.client_token.as_ref(), request.dry_run);
    let token = Token::new(caller, "ModifyDiskSpec", given, request, "LastTokenProcessing")?;
    if let Some(response) = Token::replay(token.as_ref(), t, now)? {
        return Ok(response);
    }
    control.check_region(request.region_id.as_deref())?;
    let mut disk = rules::disk(t, caller, &request.disk_id)?;
    if let Some(id) = &disk.instance_id {
        rules::not_locked(&rules::instance(t, caller, id)?)?;
    }
    if !matches!(disk.status, DiskStatus::InUse | DiskStatus::Available) {
        return Err(rules::wrong_disk_state(&disk, "In_use or Available"));
    }
    apply(&mut disk, request)?;
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    disk.save(t)?;
    let new = NewTask {
        id: control.new_id(Kind::Task, &disk.region),
        account: &caller.account,
        region: &disk.region,
        action: "ModifyDiskSpec",
        resource_id: &disk.id,
        group_id: "",
        cancellable: false,
    };
    let mut task = tasks::begin(t, new, now)?;
    task.end(t, Ok(()), now)?;
    let response = Response { task_id: task.id };
    Token::remember(token.as_ref(), t, &response.task_id, &response, false, now)?;
    Ok(response)
}

/// The row as it will be, if its size and its options go with it.
fn apply(disk: &mut DiskRow, request: &Request) -> Result<(), ApiError> {
    if let Some(wanted) = &request.disk_category {
        disk.category = wanted.clone();
    }
    let Some(category) = category(&disk.category) else {
        tracing::error!(disk = %disk.id, category = %disk.category, "the catalogue has a category that is not known");
        return Err(ApiError::internal());
    };
    let level = match (category.has_performance_levels(), &request.performance_level) {
        (true, Some(level)) => level.clone(),
        (true, None) if disk.performance_level.is_empty() => DEFAULT_LEVEL.into(),
        (true, None) => disk.performance_level.clone(),
        (false, None) => String::new(),
        (false, Some(_)) => return Err(conflict("PerformanceLevel", &category)),
    };
    disk.provisioned_iops = match (category.is_auto(), request.provisioned_iops) {
        (true, Some(iops)) => iops,
        (true, None) => disk.provisioned_iops,
        (false, None) => 0,
        (false, Some(_)) => {
            let message = format!("A disk of category {} takes no ProvisionedIops.", category.name);
            return Err(ApiError::new(
                400,
                "ProvisionedIopsForDiskCategoryUnsupported",
                message,
            ));
        }
    };
    disk.bursting_enabled &= category.is_auto();
    let named = Some(level.as_str()).filter(|level| !level.is_empty());
    let sizes = match disk.kind {
        DiskKind::System => category.system_sizes(named),
        DiskKind::Data => category.data_sizes(named),
    };
    if !sizes.contains(&disk.size_gib.unsigned_abs()) {
        let message = format!(
            "The disk {} has {} GiB; {} {level} has {} to {} GiB.",
            disk.id,
            disk.size_gib,
            category.name,
            sizes.start(),
            sizes.end()
        );
        return Err(ApiError::new(400, "InvalidSize.ValueNotSupported", message));
    }
    disk.performance_level = level;
    Ok(())
}

fn conflict(parameter: &str, category: &Category) -> ApiError {
    let message = format!(
        "The parameter \"{parameter}\" cannot be given for category {}.",
        category.name
    );
    ApiError::new(400, "InvalidParameter.Conflict", message)
}
