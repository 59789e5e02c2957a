//! Rules about images that several actions share.

use super::create_disk::usable_source;
use crate::Caller;
use crate::catalogue::disks::DiskKind;
use crate::catalogue::images::{self, ImageDiskRow, ImageRow};
use crate::catalogue::snapshots::SnapshotRow;
use crate::rules::{EXTERNAL_IMAGE, EXTERNAL_IMAGE_FAMILY};
use crate::states::{ImageStatus, SnapshotStatus};
use crate::store::Transaction;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::run_instances::DataDisk;
use tidemark_ecs::rules::category;

/// The category of an image's data disks that nobody asked another for.
const DATA_CATEGORY: &str = "cloud_efficiency";

/// The caller's own image; somebody else's does not exist, nor does one that is not begun yet.
pub(super) fn own(t: &mut dyn Transaction, caller: &Caller, id: &str) -> Result<ImageRow, ApiError> {
    ImageRow::get(t, id)?
        .filter(|image| caller.sees(&image.account, &image.region) && image.marked)
        .ok_or_else(|| ApiError::image_not_found(id))
}

/// What a new instance gets from its image.
pub(crate) struct FromImage {
    pub(crate) id: String,
    /// `None`: the image of external instances, whose system disk is empty.
    pub(crate) system: Option<Part>,
    pub(crate) data: Vec<Part>,
}

/// A disk of an image, with its snapshot if it is not an empty one.
pub(crate) struct Part {
    pub(crate) row: ImageDiskRow,
    pub(crate) snapshot: Option<SnapshotRow>,
}

impl FromImage {
    fn external() -> Self {
        Self {
            id: EXTERNAL_IMAGE.into(),
            system: None,
            data: Vec::new(),
        }
    }

    /// GiB that the system disk has at least.
    pub(super) fn system_gib(&self) -> u64 {
        self.system
            .as_ref()
            .map_or(0, |part| part.row.size_gib.unsigned_abs())
    }

    /// The snapshot that the system disk is made from.
    pub(super) fn system_snapshot(&self) -> Option<&SnapshotRow> {
        self.system.as_ref().and_then(|part| part.snapshot.as_ref())
    }

    /// A snapshot of one of its data disks.
    fn snapshot(&self, id: &str) -> Option<&SnapshotRow> {
        let snapshots = self.data.iter().filter_map(|part| part.snapshot.as_ref());
        snapshots.into_iter().find(|snapshot| snapshot.id == id)
    }

    /// The image's data disks, then those of `wished` that are for other devices. What was wished for an image's device goes
    /// before what the image says of it.
    pub(super) fn data_disks(&self, wished: &[DataDisk]) -> Vec<DataDisk> {
        let is_of = |disk: &DataDisk, part: &Part| disk.device.as_deref() == Some(part.row.device.as_str());
        let mut disks: Vec<DataDisk> = self
            .data
            .iter()
            .map(|part| match wished.iter().find(|disk| is_of(disk, part)) {
                Some(disk) => DataDisk {
                    size: match (disk.size, &disk.snapshot_id) {
                        (None, None) => Some(part.gib(&disk.category, disk.performance_level.as_deref())),
                        (size, _) => size,
                    },
                    snapshot_id: disk.snapshot_id.clone().or_else(|| part.snapshot_id()),
                    ..disk.clone()
                },
                None => part.as_disk(),
            })
            .collect();
        let others = wished
            .iter()
            .filter(|disk| !self.data.iter().any(|part| is_of(disk, part)));
        disks.extend(others.cloned());
        disks
    }

    /// The snapshot that a data disk is to be made from: one of the image's, or one of the caller's.
    pub(super) fn source(
        &self,
        t: &mut dyn Transaction,
        caller: &Caller,
        region: &str,
        id: &str,
    ) -> Result<SnapshotRow, ApiError> {
        match self.snapshot(id) {
            Some(snapshot) => Ok(snapshot.clone()),
            None => usable_source(t, caller, region, id),
        }
    }
}

impl Part {
    fn snapshot_id(&self) -> Option<String> {
        self.snapshot.as_ref().map(|snapshot| snapshot.id.clone())
    }

    /// GiB of a data disk like it, of that category.
    fn gib(&self, name: &str, level: Option<&str>) -> u64 {
        let floor = category(name).map_or(0, |category| *category.data_sizes(level).start());
        self.row.size_gib.unsigned_abs().max(floor)
    }

    fn as_disk(&self) -> DataDisk {
        DataDisk {
            size: Some(self.gib(DATA_CATEGORY, None)),
            snapshot_id: self.snapshot_id(),
            category: DATA_CATEGORY.into(),
            performance_level: None,
            disk_name: None,
            description: None,
            device: Some(self.row.device.clone()),
            delete_with_instance: true,
            auto_snapshot_policy_id: None,
            encrypted: None,
            provisioned_iops: None,
            bursting_enabled: false,
        }
    }
}

/// The image that an instance in the region is to be made of, with everything that it needs. 404 `InvalidImageId.NotFound`, or 403
/// `OperationDenied.ImageNotValid` when nothing can be made of it now.
pub(super) fn for_instance(
    t: &mut dyn Transaction,
    caller: &Caller,
    region: &str,
    id: Option<&str>,
    family: Option<&str>,
) -> Result<FromImage, ApiError> {
    let image = match (id, family) {
        (Some(EXTERNAL_IMAGE), _) | (None, None | Some(EXTERNAL_IMAGE_FAMILY)) => {
            return Ok(FromImage::external());
        }
        (Some(id), _) => visible(t, caller, region, id)?,
        (None, Some(family)) => {
            newest_of(t, caller, region, family)?.ok_or_else(|| ApiError::image_not_found(family))?
        }
    };
    if image.status != ImageStatus::Available {
        let message = format!(
            "The image {} is {}; it must be Available.",
            image.id, image.status
        );
        return Err(ApiError::new(403, "OperationDenied.ImageNotValid", message));
    }
    let (mut system, mut data) = (None, Vec::new());
    for row in images::disks(t, &image.id)? {
        let snapshot = match row.snapshot_id.as_str() {
            "" => None,
            id => Some(SnapshotRow::get(t, id)?),
        };
        let usable = snapshot.as_ref().is_none_or(|snapshot| {
            let is_done = |row: &SnapshotRow| row.status == SnapshotStatus::Accomplished;
            snapshot.as_ref().is_some_and(is_done)
        });
        if !usable {
            let message = format!(
                "The snapshot {} of the image {} is gone.",
                row.snapshot_id, image.id
            );
            return Err(ApiError::new(403, "OperationDenied.ImageNotValid", message));
        }
        let part = Part {
            snapshot: snapshot.flatten(),
            row,
        };
        match part.row.kind {
            DiskKind::System => system = Some(part),
            DiskKind::Data => data.push(part),
        }
    }
    Ok(FromImage {
        id: image.id,
        system,
        data,
    })
}

/// An image of the region that the caller may use: an own one, or one that is shared with the caller.
fn visible(t: &mut dyn Transaction, caller: &Caller, region: &str, id: &str) -> Result<ImageRow, ApiError> {
    let image = ImageRow::get(t, id)?.filter(|image| image.marked && image.region == region);
    let Some(image) = image else {
        return Err(ApiError::image_not_found(id));
    };
    let shared = image.account == caller.account
        || images::shares(t, id)?
            .iter()
            .any(|(account, _)| *account == caller.account);
    match shared {
        true => Ok(image),
        false => Err(ApiError::image_not_found(id)),
    }
}

/// The newest image of a family that instances in the region can be made of.
pub(super) fn newest_of(
    t: &mut dyn Transaction,
    caller: &Caller,
    region: &str,
    family: &str,
) -> Result<Option<ImageRow>, ApiError> {
    let rest = "WHERE family = $1 AND status = $2 AND region = $4 AND (account = $3 OR EXISTS (SELECT 1 FROM image_shares \
                WHERE image_shares.image_id = images.id AND image_shares.account = $3)) \
                ORDER BY ordinal DESC LIMIT 1";
    let available = ImageStatus::Available.word().into();
    let found = ImageRow::select(
        t,
        rest,
        &[family.into(), available, (&caller.account).into(), region.into()],
    )?;
    Ok(found.into_iter().next())
}

/// Refuses a name that another image of the account in the region has.
pub(super) fn name_is_free(
    t: &mut dyn Transaction,
    account: &str,
    region: &str,
    name: &str,
) -> Result<(), ApiError> {
    if !images::has_name(t, account, region, name)? {
        return Ok(());
    }
    let message = format!("There is an image of the name {name:?} already.");
    Err(ApiError::new(400, "InvalidImageName.Duplicated", message))
}
