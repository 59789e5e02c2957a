//! CreateImage: an image names snapshots; from an instance, one of every disk is taken first.
//!
//! From snapshots it is one transaction. From an instance it goes as CreateSnapshot does: the rows of the image and of its snapshots are
//! committed together, then every disk is marked, then the image is shown (`marked`) and the caller answered. A mark that
//! fails takes everything back; so does the image's job when a crash came before the last mark. The marks follow one another: for
//! one instant over several disks, stop the writes or take a snapshot group and name its snapshots here.

use super::create_snapshot::{self, Begun as BegunSnapshot};
use super::image_rules;
use crate::catalogue::disks::{self, DiskKind, DiskRow};
use crate::catalogue::images::{self, ImageDiskRow, ImageRow};
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::jobs::image::take_back;
use crate::notices::Quota;
use crate::rules::{self, Token};
use crate::states::{IMAGE, ImageCause, InstanceStatus, SnapshotStatus};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use tidemark_ecs::actions::create_image::{Mapping, Request, Response, SYSTEM_DEVICE, Source, os_type};
use tidemark_ecs::id::Kind;
use tidemark_ecs::{ApiError, Params};

/// How an image's system starts unless somebody knows better.
const BOOT_MODE: &str = "UEFI-Preferred";
/// GiB of an empty data disk that nobody asked a size for.
const EMPTY_GIB: u64 = 5;

/// An image in the catalogue.
struct Begun {
    image: String,
    /// Its snapshots, still to be marked.
    unmarked: Vec<(SnapshotRow, serde_json::Value)>,
}

/// Ids for what is about to be made: lanes are held before the rows can be seen.
struct Ids {
    image: String,
    /// A snapshot and a chain for every disk.
    snapshots: Vec<(String, String)>,
}

impl Control {
    /// Answers when the image is listed and the content of all its disks is fixed; it becomes Available when its snapshots
    /// are complete.
    pub async fn create_image(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let task = tokio::spawn(async move { control.create_image_to_the_end(caller, request).await });
        task.await.unwrap_or_else(|error| {
            tracing::error!(%error, "CreateImage ended early");
            Err(ApiError::internal())
        })
    }

    async fn create_image_to_the_end(&self, caller: Caller, request: Request) -> Result<Response, ApiError> {
        let disks = match &request.source {
            Source::Instance(id) => self.disks_of(id).await?,
            Source::Mappings(_) | Source::Snapshot(_) => Vec::new(),
        };
        for disk in &disks {
            self.note_past_connections(disk).await?;
            self.settle_snapshots(disk).await?;
        }
        // For ids only: whether there is such a region is looked at after the token.
        let region = self.find_region(&request.region_id).unwrap_or(self.home_region());
        let region = &region.id;
        let ids = Ids {
            image: self.new_id(Kind::Image, region),
            snapshots: disks
                .iter()
                .map(|_| {
                    let snapshot = self.new_id(Kind::Snapshot, region);
                    (snapshot, self.new_id(Kind::SnapshotLink, region))
                })
                .collect(),
        };
        let lanes: Vec<_> = std::iter::once(&ids.image)
            .chain(ids.snapshots.iter().map(|(id, _)| id))
            .map(|id| self.hold_lane(id))
            .collect();
        let control = self.clone();
        let work = move |t: &mut dyn Transaction| begin(t, &control, &caller, &request, &ids);
        let begun = match self.store().write(work).await? {
            Ok(begun) => begun,
            Err(again) => return Ok(again),
        };
        let response = Response {
            image_id: begun.image.clone(),
        };
        if !begun.unmarked.is_empty() {
            self.mark_all(begun).await?;
        }
        drop(lanes);
        self.jobs().wake();
        Ok(response)
    }

    async fn disks_of(&self, instance: &str) -> Result<Vec<String>, StoreError> {
        let id = instance.to_owned();
        let rows = self.store().read(move |t| disks::of_instance(t, &id)).await?;
        Ok(rows.into_iter().map(|disk| disk.id).collect())
    }

    async fn mark_all(&self, begun: Begun) -> Result<(), ApiError> {
        let Begun { image, unmarked } = begun;
        let now = self.now_ms();
        for (row, meta) in unmarked {
            match self.mark(&row, meta).await {
                Ok(marked) => {
                    let control = self.clone();
                    let note = move |t: &mut dyn Transaction| {
                        create_snapshot::note_mark(t, &control, &row.id, marked)
                    };
                    self.store().write(note).await?;
                }
                Err(error) => {
                    tracing::error!(snapshot = %row.id, disk = %row.source_disk_id, %image, %error, "no mark");
                    let undo = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
                        // A mark that the node knows nothing of needs no removal there.
                        create_snapshot::take_back(t, row)?;
                        match ImageRow::get(t, &image)? {
                            Some(image) => take_back(t, image, now),
                            None => Ok(()),
                        }
                    };
                    self.store().write(undo).await?;
                    self.jobs().wake();
                    return Err(create_snapshot::refusal(&error));
                }
            }
        }
        let show = move |t: &mut dyn Transaction| -> Result<(), StoreError> {
            if let Some(mut row) = ImageRow::get(t, &image)? {
                row.marked = true;
                row.save(t)?;
            }
            tokens::answered(t, &image)
        };
        Ok(self.store().write(show).await?)
    }
}

/// `Err`: the answer that was given before.
fn begin(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
    ids: &Ids,
) -> Result<Result<Begun, Response>, ApiError> {
    let now = control.now_ms();
    let given = rules::token_given(request.client_token.as_ref(), request.dry_run);
    let token = Token::new(caller, "CreateImage", given, request, "IdempotentProcessing")?;
    if let Some(response) = Token::replay(token.as_ref(), t, now)? {
        return Ok(Err(response));
    }
    let region = &control.region(Some(&request.region_id))?.id;
    let resource_group = rules::resource_group(request.resource_group_id.as_deref())?;
    let name = request.image_name.as_ref().unwrap_or(&ids.image);
    image_rules::name_is_free(t, &caller.account, region, name)?;
    let (mut disks, mut unmarked) = (Vec::new(), Vec::new());
    let mut source_image = None;
    match &request.source {
        Source::Instance(id) => {
            source_image = take_of_instance(t, control, caller, id, ids, &mut disks, &mut unmarked)?;
        }
        Source::Mappings(mappings) => disks = of_mappings(t, caller, mappings, &ids.image)?,
        Source::Snapshot(id) => disks.push(of_snapshot(t, caller, id, &ids.image)?),
    }
    let most = control.limits().images;
    let before = images::count(t, &caller.account, region)?;
    if before >= most {
        let message = format!("There are {most} images already.");
        return Err(ApiError::new(403, "QuotaExceed.Image", message));
    }
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    let of_source = |field: fn(&ImageRow) -> &String| source_image.as_ref().map(field).cloned();
    let mut image = ImageRow {
        id: ids.image.clone(),
        ordinal: ImageRow::next_ordinal(t)?,
        account: caller.account.clone(),
        region: region.clone(),
        name: name.clone(),
        family: request.image_family.clone().unwrap_or_default(),
        version: request.image_version.clone().unwrap_or_default(),
        description: request.description.clone().unwrap_or_default(),
        status: IMAGE.birth(ImageCause::CreateImage)?,
        marked: unmarked.is_empty(),
        failure: String::new(),
        os_type: os_type(&request.platform).into(),
        platform: request.platform.clone(),
        architecture: request.architecture.clone(),
        boot_mode: request
            .boot_mode
            .clone()
            .or_else(|| of_source(|image| &image.boot_mode))
            .unwrap_or_else(|| BOOT_MODE.into()),
        imds_support: request.imds_support.clone().unwrap_or_else(|| "v1".into()),
        nvme_support: of_source(|image| &image.nvme_support).unwrap_or_else(|| "unsupported".into()),
        login_as_non_root: false,
        resource_group,
        source_instance_id: match &request.source {
            Source::Instance(id) => id.clone(),
            Source::Mappings(_) | Source::Snapshot(_) => String::new(),
        },
        created_ms: now,
    };
    image.insert(t)?;
    let quota = Quota {
        account: &image.account,
        region,
        of: ("region", region),
        what: "images in the region",
        limit: most,
    };
    quota.grown(t, (before, before + 1), now)?;
    for disk in &disks {
        disk.insert(t)?;
    }
    tags::set(t, &caller.account, ResourceType::Image, &image.id, &request.tags)?;
    let response = Response {
        image_id: image.id.clone(),
    };
    Token::remember(token.as_ref(), t, &image.id, &response, !image.marked, now)?;
    match image.marked {
        true => drop(image.step(t, ImageCause::Ready)?),
        false => drop(jobs::add(
            t,
            JobKind::CompleteImage,
            &image.id,
            &image.id,
            "",
            now,
        )?),
    }
    Ok(Ok(Begun {
        image: image.id,
        unmarked,
    }))
}

/// Begins a snapshot of every disk of an instance; answers the custom image that the instance itself was made of.
fn take_of_instance(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    id: &str,
    ids: &Ids,
    disks: &mut Vec<ImageDiskRow>,
    unmarked: &mut Vec<(SnapshotRow, serde_json::Value)>,
) -> Result<Option<ImageRow>, ApiError> {
    let instance = rules::instance(t, caller, id)?;
    rules::not_locked(&instance).map_err(|error| ApiError { status: 400, ..error })?;
    if !matches!(instance.status, InstanceStatus::Running | InstanceStatus::Stopped) {
        return Err(rules::wrong_instance_state(400, &instance, "Running or Stopped"));
    }
    let own = disks::of_instance(t, id)?;
    if !own.iter().any(|disk| disk.kind == DiskKind::System) {
        let message = format!("The instance {id} has no system disk.");
        return Err(ApiError::new(400, "InvalidInstance.NotFoundSystemDisk", message));
    }
    if own.len() != ids.snapshots.len() {
        return Err(ApiError::operation_conflict(format!(
            "disks of the instance {id} come or go"
        )));
    }
    for (disk, (snapshot, link)) in own.iter().zip(&ids.snapshots) {
        let request = snapshot_request(disk, &ids.image)?;
        let begun = create_snapshot::insert(t, control, caller, &request, snapshot.clone(), link)?;
        let BegunSnapshot::New(row, meta) = begun else {
            return Err(ApiError::internal()); // only a request with a token was ever answered before
        };
        disks.push(ImageDiskRow::new(
            &ids.image,
            disk.kind,
            &disk.device,
            &row.id,
            disk.size_gib,
        ));
        unmarked.push((*row, meta));
    }
    Ok(ImageRow::get(t, &instance.image_id)?)
}

/// What CreateSnapshot would be asked: the snapshot is an ordinary one, named after what it is for.
fn snapshot_request(
    disk: &DiskRow,
    image: &str,
) -> Result<tidemark_ecs::actions::create_snapshot::Request, ApiError> {
    let device = disk.device.strip_prefix("/dev/").unwrap_or(&disk.device);
    let name = format!("{image}_{device}");
    let description = format!("Taken for the image {image}.");
    let pairs = [
        ("DiskId", disk.id.as_str()),
        ("SnapshotName", &name),
        ("Description", &description),
    ];
    tidemark_ecs::actions::create_snapshot::Request::parse(&Params::from_pairs(pairs)?)
}

fn of_snapshot(
    t: &mut dyn Transaction,
    caller: &Caller,
    id: &str,
    image: &str,
) -> Result<ImageDiskRow, ApiError> {
    let snapshot = usable(t, caller, id)?;
    if snapshot.source_disk_kind != DiskKind::System {
        let message = format!("The snapshot {id} is not one of a system disk.");
        return Err(ApiError::new(403, "OperationDenied", message));
    }
    Ok(ImageDiskRow::new(
        image,
        DiskKind::System,
        SYSTEM_DEVICE,
        id,
        snapshot.source_disk_size_gib,
    ))
}

/// A snapshot that an image can be made of.
fn usable(t: &mut dyn Transaction, caller: &Caller, id: &str) -> Result<SnapshotRow, ApiError> {
    let snapshot = rules::snapshot(t, caller, id)?;
    match snapshot.status {
        SnapshotStatus::Accomplished => Ok(snapshot),
        SnapshotStatus::Progressing => {
            let message = format!("The snapshot {id} is still being created.");
            Err(ApiError::new(403, "InvalidSnapshotId.NotReady", message))
        }
        SnapshotStatus::Failed | SnapshotStatus::Deleting => {
            let message = format!("The snapshot {id} is {} and has no content.", snapshot.status);
            Err(ApiError::new(403, "OperationDenied", message))
        }
    }
}

fn of_mappings(
    t: &mut dyn Transaction,
    caller: &Caller,
    mappings: &[Mapping],
    image: &str,
) -> Result<Vec<ImageDiskRow>, ApiError> {
    let wished: Vec<&String> = mappings
        .iter()
        .filter_map(|mapping| mapping.device.as_ref())
        .collect();
    let mut free = ('b'..='z')
        .map(|letter| format!("/dev/xvd{letter}"))
        .filter(|device| !wished.contains(&device));
    let mut disks: Vec<ImageDiskRow> = Vec::with_capacity(mappings.len());
    for mapping in mappings {
        let snapshot = match &mapping.snapshot_id {
            Some(id) => Some(usable(t, caller, id)?),
            None => None,
        };
        let kind = match (mapping.disk_type.as_deref(), mapping.device.as_deref()) {
            (Some("system"), _) | (None, Some(SYSTEM_DEVICE)) => DiskKind::System,
            (Some(_), _) | (None, Some(_)) => DiskKind::Data,
            (None, None) => snapshot
                .as_ref()
                .map_or(DiskKind::Data, |row| row.source_disk_kind),
        };
        let device = match (kind, &mapping.device) {
            (DiskKind::System, None) => SYSTEM_DEVICE.to_owned(),
            (DiskKind::Data, None) => free.next().unwrap_or_default(),
            (_, Some(device)) => device.clone(),
        };
        if (device == SYSTEM_DEVICE) != (kind == DiskKind::System) {
            let message = format!("{device:?} is not a device of a {kind} disk.");
            return Err(ApiError::new(400, "InvalidDevice.Malformed", message));
        }
        let least = snapshot
            .as_ref()
            .map_or(0, |row| row.source_disk_size_gib.unsigned_abs());
        let size = mapping.size.unwrap_or(if least > 0 { least } else { EMPTY_GIB });
        if size < least {
            let message =
                format!("{size} GiB for the device {device} are less than its snapshot's {least} GiB.");
            return Err(ApiError::new(400, "InvalidSize.ValueNotSupported", message));
        }
        let id = snapshot.map(|row| row.id).unwrap_or_default();
        if kind == DiskKind::System && (id.is_empty() || disks.iter().any(|disk| disk.kind == kind)) {
            let message = "An image has exactly one system disk, and that is made of a snapshot.";
            return Err(ApiError::new(400, "OperationDenied", message));
        }
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        disks.push(ImageDiskRow::new(image, kind, &device, &id, size));
    }
    match disks.iter().any(|disk| disk.kind == DiskKind::System) {
        true => Ok(disks),
        false => Err(ApiError::new(
            400,
            "OperationDenied",
            "None of the snapshots is for a system disk, so nothing could start from the image.",
        )),
    }
}
