//! Images of the catalogue, and the built-in one, as answers show them.

use crate::catalogue::disks::DiskKind;
use crate::catalogue::images::{self, ImageDiskRow, ImageRow};
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::control::DEFAULT_RESOURCE_GROUP;
use crate::rules::{EXTERNAL_IMAGE, EXTERNAL_IMAGE_FAMILY};
use crate::states::ImageStatus;
use crate::store::{StoreError, Transaction};
use crate::views::at;
use tidemark_ecs::model::{DiskDeviceMapping, Image, ImageFeatures, Tag};
use tidemark_ecs::time;

/// An image and what belongs to its picture.
pub(crate) struct ImageView {
    pub(crate) row: ImageRow,
    pub(crate) disks: Vec<ImageDiskView>,
    pub(crate) tags: Vec<Tag>,
    /// Instances that were made of it exist.
    pub(crate) used: bool,
    /// `system`, `self`, `others`.
    pub(crate) owner_alias: &'static str,
    shared: bool,
}

/// A disk of an image.
pub(crate) struct ImageDiskView {
    pub(crate) row: ImageDiskRow,
    percent: i64,
    encrypted: bool,
}

impl ImageView {
    pub(crate) fn read(t: &mut dyn Transaction, row: ImageRow, account: &str) -> Result<Self, StoreError> {
        let mut disks = Vec::new();
        for disk in images::disks(t, &row.id)? {
            let snapshot = SnapshotRow::get(t, &disk.snapshot_id)?;
            disks.push(ImageDiskView {
                row: disk,
                percent: snapshot.as_ref().map_or(100, |snapshot| snapshot.percent),
                encrypted: snapshot.is_some_and(|snapshot| snapshot.encrypted),
            });
        }
        let own = row.account == account;
        Ok(Self {
            tags: match own {
                true => tags::of(t, ResourceType::Image, &row.id)?,
                false => Vec::new(),
            },
            used: images::is_used(t, &row.id)?,
            owner_alias: if own { "self" } else { "others" },
            shared: !images::shares(t, &row.id)?.is_empty(),
            disks,
            row,
        })
    }

    /// The image that external instances have: older than any other, of no data, and nobody's.
    pub(crate) fn builtin(t: &mut dyn Transaction) -> Result<Self, StoreError> {
        let row = ImageRow {
            id: EXTERNAL_IMAGE.into(),
            ordinal: 0,
            account: String::new(),
            region: String::new(),
            name: EXTERNAL_IMAGE.into(),
            family: EXTERNAL_IMAGE_FAMILY.into(),
            version: String::new(),
            description: "Whatever runs on a machine that is not run here; its disks are empty.".into(),
            status: ImageStatus::Available,
            marked: true,
            failure: String::new(),
            os_type: "linux".into(),
            platform: "Others Linux".into(),
            architecture: "x86_64".into(),
            boot_mode: String::new(),
            imds_support: "v1".into(),
            nvme_support: "unsupported".into(),
            login_as_non_root: false,
            resource_group: DEFAULT_RESOURCE_GROUP.into(),
            source_instance_id: String::new(),
            created_ms: 0,
        };
        Ok(Self {
            used: images::is_used(t, EXTERNAL_IMAGE)?,
            disks: Vec::new(),
            tags: Vec::new(),
            owner_alias: "system",
            shared: false,
            row,
        })
    }

    /// The account as the number that it is.
    pub(crate) fn owner_id(&self) -> i64 {
        self.row.account.parse().unwrap_or(0)
    }

    pub(crate) fn show(self) -> Image {
        let owner_id = self.owner_id();
        let ImageView {
            row,
            disks,
            tags,
            used,
            owner_alias,
            shared,
        } = self;
        let creating = row.status == ImageStatus::Creating;
        let sum: i64 = disks.iter().map(|disk| disk.percent).sum();
        let average = sum / i64::try_from(disks.len().max(1)).unwrap_or(1);
        let percent = if creating { average.min(99) } else { 100 };
        let size = disks.iter().find(|disk| disk.row.kind == DiskKind::System);
        let size = size.map_or(0, |disk| disk.row.size_gib.unsigned_abs());
        Image {
            usable: row.status == ImageStatus::Available,
            image_id: row.id,
            image_name: row.name,
            image_family: row.family,
            image_version: row.version,
            description: match row.failure.as_str() {
                "" => row.description,
                why => format!("{} (failed: {why})", row.description)
                    .trim_start()
                    .to_owned(),
            },
            resource_group_id: row.resource_group,
            status: row.status.word().into(),
            progress: format!("{percent}%"),
            size,
            image_owner_alias: owner_alias.into(),
            image_owner_id: owner_id,
            os_type: row.os_type,
            os_name: row.platform.clone(),
            os_name_en: row.platform.clone(),
            platform: row.platform,
            architecture: row.architecture,
            boot_mode: row.boot_mode,
            usage: if used { "instance" } else { "none" }.into(),
            disk_device_mappings: disks.into_iter().map(ImageDiskView::show).collect(),
            is_support_io_optimized: true,
            is_self_shared: match (owner_alias, shared) {
                ("self", true) => "True".into(),
                ("self", false) => "False".into(),
                _ => String::new(),
            },
            login_as_non_root_supported: row.login_as_non_root,
            features: ImageFeatures {
                nvme_support: row.nvme_support,
                imds_support: row.imds_support,
            },
            creation_time: time::seconds(at(row.created_ms)),
            tags,
            ..Image::default()
        }
    }
}

impl ImageDiskView {
    fn show(self) -> DiskDeviceMapping {
        DiskDeviceMapping {
            disk_type: self.row.kind.word().into(),
            device: self.row.device,
            snapshot_id: self.row.snapshot_id,
            size: self.row.size_gib.to_string(),
            progress: format!("{}%", self.percent),
            encrypted: self.encrypted,
            ..DiskDeviceMapping::default()
        }
    }
}
