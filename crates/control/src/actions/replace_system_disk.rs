//! ReplaceSystemDisk: an instance gets a new system disk, made from an image; then the old one is released.
//!
//! The old disk stays until the new one is there, so what cannot be made costs nothing; meanwhile it can be neither changed nor taken
//! off, and the instance not started. Its snapshots stay, automatic ones too, and belong to no disk of the instance any more.

use super::attach_disk::SYSTEM_DEVICE;
use super::create_snapshot::unfinished;
use super::image_rules::{self, FromImage};
use super::key_pair_rules;
use crate::catalogue::disks::{self, DiskKind, DiskRow};
use crate::catalogue::jobs::{self, JobKind};
use crate::error::node_refusal;
use crate::guests;
use crate::notices::By;
use crate::rules::{self, Token};
use crate::states::{DISK, DiskCause, DiskStatus, InstanceStatus};
use crate::store::Transaction;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::replace_system_disk::{Request, Response};
use tidemark_ecs::id::Kind;
use tidemark_ecs::rules::category;
use tidemark_node::{NodeError, NodeErrorKind};

/// Size of a system disk that nobody asked a size for, in GiB.
const SYSTEM_GIB: u64 = 40;

impl Control {
    /// Answers when the new disk is listed; it takes the old one's place soon after. When making it fails at once, that is the
    /// answer, and the old disk is where it was.
    pub async fn replace_system_disk(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let given = request.client_token.as_ref();
        let token = Token::new(
            caller,
            "ReplaceSystemDisk",
            given,
            &request,
            "LastTokenProcessing",
        )?;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| replace(t, &control, &caller, &request, token.as_ref());
        let (response, job) = self.store().write(work).await?;
        self.jobs().wake();
        let failed = self.jobs().linger(job.as_slice(), self.config().linger).await;
        failed
            .into_iter()
            .next()
            .map_or(Ok(response), |(_, error)| Err(refusal(&error)))
    }
}

fn replace(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
    token: Option<&Token>,
) -> Result<(Response, Option<i64>), ApiError> {
    let now = control.now_ms();
    if let Some(response) = Token::replay(token, t, now)? {
        return Ok((response, None));
    }
    control.check_region(request.region_id.as_deref())?;
    let mut instance = rules::instance(t, caller, &request.instance_id)?;
    let image = image_rules::for_instance(t, caller, &instance.region, Some(&request.image_id), None)?;
    rules::not_locked(&instance)?;
    guests::has_system(&instance.instance_type, &image)?;
    if instance.status != InstanceStatus::Stopped {
        return Err(rules::wrong_instance_state(403, &instance, "Stopped"));
    }
    let own = disks::of_instance(t, &instance.id)?;
    let Some(old) = own.into_iter().find(|disk| disk.kind == DiskKind::System) else {
        let message = format!("The instance {} has no system disk.", instance.id);
        return Err(ApiError::new(400, "InvalidInstance.NotFoundSystemDisk", message));
    };
    if old.status != DiskStatus::InUse {
        return Err(rules::wrong_disk_state(&old, "In_use"));
    }
    let making = "WHERE instance_id = $1 AND kind = 'system' AND status = 'Creating'";
    if let Some(disk) = DiskRow::select(t, making, &[(&instance.id).into()])?.first() {
        return Err(rules::wrong_disk_state(disk, "In_use"));
    }
    unfinished(t, &old.id, "DiskCreatingSnapshot")?;
    if !image.data.is_empty() {
        let message = format!(
            "The image {} has data disks; only a system disk can be replaced.",
            image.id
        );
        return Err(ApiError::new(400, "OperationDenied", message));
    }
    let encrypted = rules::encrypted(
        control,
        &instance.region,
        "Encrypted",
        request.encrypted,
        image.system_snapshot(),
    )?;
    let size = size(request, &old, &image)?;
    let key_pair = request.key_pair_name.as_ref();
    key_pair_rules::check(t, caller, &instance.region, key_pair.map(String::as_str), 400)?;
    if let Some(key_pair) = key_pair {
        instance.key_pair.clone_from(key_pair);
        instance.save(t)?;
    }
    let row = DiskRow {
        id: control.new_id(Kind::Disk, &instance.region),
        ordinal: DiskRow::next_ordinal(t)?,
        status: DISK.birth(DiskCause::ReplaceSystemDisk)?,
        status_before: String::new(),
        size_gib: i64::try_from(size).unwrap_or(i64::MAX),
        device: SYSTEM_DEVICE.into(),
        ever_attached: false,
        source_snapshot_id: image
            .system_snapshot()
            .map(|row| row.id.clone())
            .unwrap_or_default(),
        image_id: image.id,
        created_ms: now,
        attached_ms: None,
        detached_ms: None,
        encrypted,
        // Everything else is how the instance's system disk is.
        ..old
    };
    row.insert(t)?;
    let response = Response {
        disk_id: row.id.clone(),
    };
    Token::remember(token, t, &row.id, &response, false, now)?;
    // The old disk goes later; its event says who wanted that.
    let by = By::caller(caller, "ReplaceSystemDisk").to_text();
    let job = jobs::add(t, JobKind::ReplaceSystemDisk, &row.id, &instance.id, &by, now)?;
    Ok((response, Some(job)))
}

fn size(request: &Request, old: &DiskRow, image: &FromImage) -> Result<u64, ApiError> {
    let level = Some(old.performance_level.as_str()).filter(|level| !level.is_empty());
    let (least, most) = category(&old.category).map_or((1, 0), |category| {
        let sizes = category.system_sizes(level);
        (*sizes.start(), *sizes.end())
    });
    let of_image = image.system_gib();
    let Some(wished) = request.size else {
        let size = SYSTEM_GIB.max(least).max(of_image);
        if size <= most {
            return Ok(size);
        }
        let message = format!(
            "The image {} needs {of_image} GiB, and a system disk of category {} has at most {most}.",
            image.id, old.category
        );
        return Err(ApiError::new(
            400,
            "InvalidSystemDiskSize.ValueNotSupported",
            message,
        ));
    };
    let (code, why) = match u64::try_from(wished) {
        Ok(size) if size > most => (
            "InvalidSystemDiskSize.MoreThanMaxSize",
            format!("at most {most} GiB"),
        ),
        Ok(size) if size < least => (
            "InvalidSystemDiskSize.LessThanMinSize",
            format!("at least {least} GiB"),
        ),
        Ok(size) if size < of_image => (
            "InvalidSystemDiskSize.LessThanImageSize",
            format!("at least the image's {of_image} GiB"),
        ),
        Ok(size) => return Ok(size),
        Err(_) => (
            "InvalidSystemDiskSize.LessThanMinSize",
            format!("at least {least} GiB"),
        ),
    };
    let message =
        format!("The parameter \"SystemDisk.Size\" is not valid: {wished} GiB, where {why} are allowed.");
    Err(ApiError::new(404, code, message))
}

/// Why the node could not make the disk, in the contract's words.
pub(super) fn refusal(error: &NodeError) -> ApiError {
    match error.kind {
        NodeErrorKind::Full => node_refusal(500, "OperationDenied", "The storage has no room", error),
        NodeErrorKind::Missing | NodeErrorKind::Corrupt => node_refusal(
            403,
            "OperationDenied.ImageNotValid",
            "The image's snapshot cannot be used",
            error,
        ),
        _ => {
            tracing::error!(%error, "a system disk cannot be made");
            ApiError::internal()
        }
    }
}
