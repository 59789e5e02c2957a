//! Rows of the catalogue as the objects that answers show.

use crate::Control;
use crate::actions::network;
use crate::catalogue::disks::{self, DiskKind, DiskRow};
use crate::catalogue::groups;
use crate::catalogue::images::{self, ImageRow};
use crate::catalogue::instances::{Attributes, InstanceRow};
use crate::catalogue::policies::{self, PolicyRow};
use crate::catalogue::snapshots::{SnapshotRow, SnapshotType};
use crate::catalogue::tags::{self, ResourceType};
use crate::instance_types::guest_type;
use crate::metadata;
use crate::rules::EXTERNAL_IMAGE;
use crate::states::{DiskStatus, InstanceStatus, SnapshotStatus};
use crate::store::{StoreError, Transaction};
use jiff::Timestamp;
use tidemark_ecs::model::{
    Attachment, AutoSnapshotPolicy, CopyEncryption, Disk, DiskLock, Instance, InstanceLock, MetadataOptions,
    NetworkInterface, PrivateIpSet, Snapshot, Tag, VpcAttributes,
};
use tidemark_ecs::schedule::json_text;
use tidemark_ecs::{id, time};

/// A time of the catalogue. Milliseconds beyond what a timestamp holds cannot come from a clock.
pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn seconds(ms: Option<i64>) -> String {
    ms.map_or_else(String::new, |ms| time::seconds(at(ms)))
}

fn minutes(ms: Option<i64>) -> String {
    ms.map_or_else(String::new, |ms| time::minutes(at(ms)))
}

/// A disk and what belongs to its picture.
pub(crate) struct DiskView {
    pub(crate) row: DiskRow,
    tags: Vec<Tag>,
    locked: bool,
    /// The policy that it has had longest.
    policy_id: Option<String>,
}

impl DiskView {
    pub(crate) fn read(t: &mut dyn Transaction, row: DiskRow) -> Result<Self, StoreError> {
        let tags = tags::of(t, ResourceType::Disk, &row.id)?;
        let locked = match (&row.instance_id, row.status) {
            (Some(id), DiskStatus::InUse) => InstanceRow::get(t, id)?.is_some_and(|i| i.security_lock),
            _ => false,
        };
        let policy_id = policies::of_disk(t, &row.id)?
            .into_iter()
            .next()
            .map(|applied| applied.policy_id);
        Ok(Self {
            row,
            tags,
            locked,
            policy_id,
        })
    }

    pub(crate) fn show(self) -> Disk {
        let DiskView {
            row,
            tags,
            locked,
            policy_id,
        } = self;
        // A rollback does not take the disk off its instance, so the attachment stays visible.
        let attached = matches!(
            row.status,
            DiskStatus::InUse | DiskStatus::Detaching | DiskStatus::ReIniting
        );
        let instance_id = row.instance_id.filter(|_| attached).unwrap_or_default();
        let attached = attached && !instance_id.is_empty();
        let device = if attached { row.device } else { String::new() };
        let attached_time = seconds(row.attached_ms.filter(|_| attached));
        let attachment = Attachment {
            instance_id: instance_id.clone(),
            device: device.clone(),
            attached_time: attached_time.clone(),
        };
        Disk {
            serial_number: id::disk_serial(&row.id).to_owned(),
            disk_id: row.id,
            disk_name: row.name,
            description: row.description,
            region_id: row.region,
            zone_id: row.zone,
            resource_group_id: row.resource_group,
            disk_type: row.kind.word().into(),
            category: row.category,
            performance_level: row.performance_level,
            size: row.size_gib.unsigned_abs(),
            status: row.status.word().into(),
            attachments: if attached { vec![attachment] } else { Vec::new() },
            instance_id,
            device,
            attached_time,
            detached_time: seconds(row.detached_ms.filter(|_| row.status == DiskStatus::Available)),
            creation_time: time::seconds(at(row.created_ms)),
            expired_time: time::NEVER_EXPIRES.into(),
            delete_with_instance: row.delete_with_instance,
            delete_auto_snapshot: row.delete_auto_snapshot,
            enable_auto_snapshot: row.enable_auto_snapshot,
            enable_automated_snapshot_policy: policy_id.is_some(),
            auto_snapshot_policy_id: policy_id.unwrap_or_default(),
            portable: true,
            source_snapshot_id: row.source_snapshot_id,
            image_id: row.image_id,
            disk_charge_type: "PostPaid".into(),
            operation_locks: if locked {
                vec![DiskLock {
                    lock_reason: "security".into(),
                }]
            } else {
                Vec::new()
            },
            multi_attach: row.multi_attach,
            provisioned_iops: Some(row.provisioned_iops).filter(|iops| *iops > 0),
            bursting_enabled: row.bursting_enabled,
            encrypted: row.encrypted,
            tags,
            ..Disk::default()
        }
    }
}

/// A policy with what belongs to its picture.
pub(crate) fn show_policy(t: &mut dyn Transaction, row: PolicyRow) -> Result<AutoSnapshotPolicy, StoreError> {
    let schedule = row.schedule()?;
    let target_copy_regions = match row.copy_region.as_str() {
        "" => String::new(),
        region => format!("[\"{region}\"]"),
    };
    Ok(AutoSnapshotPolicy {
        tags: tags::of(t, ResourceType::Policy, &row.id)?,
        disk_nums: policies::disk_count(t, &row)?,
        auto_snapshot_policy_id: row.id,
        auto_snapshot_policy_name: row.name,
        region_id: row.region,
        resource_group_id: row.resource_group,
        time_points: json_text(schedule.hours()),
        repeat_weekdays: json_text(schedule.weekdays()),
        retention_days: row.retention_days,
        status: "Normal".into(),
        policy_type: "Custom".into(),
        creation_time: time::seconds(at(row.created_ms)),
        enable_cross_region_copy: row.copy_enabled,
        target_copy_regions,
        copied_snapshots_retention_days: row.copy_retention_days,
        copy_encryption_configuration: CopyEncryption {
            encrypted: row.copy_encrypted,
            ..CopyEncryption::default()
        },
        association_type: "AssociatedWithDisk".into(),
        ..AutoSnapshotPolicy::default()
    })
}

/// An instance and what belongs to its picture.
pub(crate) struct InstanceView {
    pub(crate) row: InstanceRow,
    pub(crate) attributes: Attributes,
    tags: Vec<Tag>,
    data_disks: u64,
    /// As the image has it that the instance was made of, if that is still there.
    os_type: String,
}

impl InstanceView {
    pub(crate) fn read(t: &mut dyn Transaction, row: InstanceRow) -> Result<Self, StoreError> {
        let tags = tags::of(t, ResourceType::Instance, &row.id)?;
        let own = disks::of_instance(t, &row.id)?;
        let data_disks = own.iter().filter(|disk| disk.kind == DiskKind::Data).count() as u64;
        let mut attributes = row.read_attributes()?;
        if attributes.vswitch_id.is_empty() {
            attributes.vswitch_id = network::VSWITCH.into();
        }
        if attributes.internet_charge_type.is_empty() {
            attributes.internet_charge_type = Attributes::PAY_BY_TRAFFIC.into();
        }
        let os_type = match row.image_id.as_str() {
            EXTERNAL_IMAGE => "linux".to_owned(),
            image => ImageRow::get(t, image)?
                .map(|image| image.os_type)
                .unwrap_or_default(),
        };
        Ok(Self {
            row,
            attributes,
            tags,
            data_disks,
            os_type,
        })
    }

    pub(crate) fn device_available(&self, control: &Control) -> bool {
        self.data_disks < control.limits().data_disks_per_instance
    }

    pub(crate) fn show(self, control: &Control) -> Instance {
        let device_available = self.device_available(control);
        let InstanceView {
            row,
            attributes,
            tags,
            os_type,
            ..
        } = self;
        let stopped = row.status == InstanceStatus::Stopped;
        let lock = InstanceLock {
            lock_reason: "security".into(),
            lock_msg: "held by an administrator".into(),
        };
        let address = Some(attributes.private_ip_address.clone()).filter(|address| !address.is_empty());
        // What the metadata service tells the machine of its network.
        let network_interface = NetworkInterface {
            network_interface_id: metadata::network_interface_of(&row.id),
            mac_address: metadata::mac_of(&row.id),
            primary_ip_address: address.clone().unwrap_or_default(),
            interface_type: "Primary".into(),
            private_ip_sets: Vec::from_iter(address.clone().map(|private_ip_address| PrivateIpSet {
                private_ip_address,
                primary: true,
            })),
            ipv6_sets: Vec::new(),
        };
        // Known about a machine that we do not run: nothing. Its system is its own affair.
        let kind = guest_type(&row.instance_type);
        Instance {
            cpu: kind.map_or(0, |kind| i64::from(kind.cpus)),
            memory: kind.map_or(0, |kind| i64::try_from(kind.memory_mib).unwrap_or(i64::MAX)),
            instance_id: row.id,
            instance_name: row.name,
            host_name: attributes.host_name,
            description: row.description,
            region_id: row.region,
            zone_id: row.zone,
            serial_number: attributes.serial_number,
            resource_group_id: row.resource_group,
            instance_type_family: kind.map_or_else(|| row.instance_type.clone(), |kind| kind.family.into()),
            os_type,
            image_id: row.image_id,
            instance_type: row.instance_type,
            key_pair_name: row.key_pair,
            status: row.status.word().into(),
            stopped_mode: if stopped { "KeepCharging" } else { "Not-applicable" }.into(),
            creation_time: minutes(Some(row.created_ms)),
            start_time: minutes(row.started_ms),
            expired_time: time::NEVER_EXPIRES.into(),
            auto_release_time: minutes(row.auto_release_ms),
            instance_charge_type: "PostPaid".into(),
            internet_charge_type: attributes.internet_charge_type,
            internet_max_bandwidth_in: attributes.internet_max_bandwidth_in,
            internet_max_bandwidth_out: attributes.internet_max_bandwidth_out,
            spot_strategy: "NoSpot".into(),
            instance_network_type: "vpc".into(),
            vpc_attributes: VpcAttributes {
                vpc_id: network::vpc_of(&attributes.vswitch_id).into(),
                vswitch_id: attributes.vswitch_id,
                private_ip_address: Vec::from_iter(address),
                ..VpcAttributes::default()
            },
            security_group_ids: attributes.security_group_ids,
            network_interfaces: vec![network_interface],
            operation_locks: if row.security_lock { vec![lock] } else { Vec::new() },
            io_optimized: true,
            device_available,
            deletion_protection: row.deletion_protection,
            metadata_options: MetadataOptions {
                http_endpoint: attributes.http_endpoint,
                http_tokens: attributes.http_tokens,
                http_put_response_hop_limit: attributes.http_put_response_hop_limit,
                instance_metadata_tags: match attributes.instance_metadata_tags.as_str() {
                    "" => "disabled".into(),
                    _ => attributes.instance_metadata_tags,
                },
            },
            tags,
            ..Instance::default()
        }
    }
}

/// A snapshot and what belongs to its picture.
pub(crate) struct SnapshotView {
    pub(crate) row: SnapshotRow,
    tags: Vec<Tag>,
    usage: &'static str,
    /// The group that it is in, or `""`.
    group: String,
}

impl SnapshotView {
    pub(crate) fn read(t: &mut dyn Transaction, row: SnapshotRow) -> Result<Self, StoreError> {
        let tags = tags::of(t, ResourceType::Snapshot, &row.id)?;
        let usage = match (images::feeds(t, &row.id)?.is_some(), disks::any_from(t, &row.id)?) {
            (true, true) => "image_disk",
            (true, false) => "image",
            (false, true) => "disk",
            (false, false) => "none",
        };
        let group = groups::of_snapshot(t, &row.id)?.map(|group| group.id);
        Ok(Self {
            row,
            tags,
            usage,
            group: group.unwrap_or_default(),
        })
    }

    /// `percent` and `remaining` (seconds) count while it is in creation.
    pub(crate) fn show(self, percent: i64, remaining: u64) -> Snapshot {
        let SnapshotView {
            row,
            tags,
            usage,
            group,
        } = self;
        let accomplished = row.status == SnapshotStatus::Accomplished;
        let progressing = row.status == SnapshotStatus::Progressing;
        let percent = if accomplished { 100 } else { percent.min(99) };
        Snapshot {
            snapshot_sn: row.ordinal.to_string(),
            snapshot_id: row.id,
            snapshot_name: row.name,
            description: row.description,
            status: row.status.word().into(),
            progress: format!("{percent}%"),
            remain_time: if progressing {
                i64::try_from(remaining).unwrap_or(i64::MAX)
            } else {
                0
            },
            available: accomplished,
            source_disk_id: row.source_disk_id,
            source_disk_size: row.source_disk_size_gib.unsigned_abs(),
            source_disk_type: row.source_disk_kind.word().into(),
            source_storage_type: "disk".into(),
            snapshot_type: match row.snapshot_type {
                SnapshotType::User => "user".into(),
                SnapshotType::Timer => "timer".into(),
            },
            usage: usage.into(),
            creation_time: time::seconds(at(row.created_ms)),
            last_modified_time: time::seconds(at(row.modified_ms)),
            retention_days: row.retention_days,
            category: row.category,
            instant_access: row.instant_access,
            instant_access_retention_days: row.instant_access_days,
            snapshot_link_id: row.link_id,
            snapshot_group_id: group,
            source_snapshot_id: row.source_snapshot_id,
            source_region_id: row.source_region_id,
            region_id: row.region,
            resource_group_id: row.resource_group,
            encrypted: row.encrypted,
            full_snapshot_size_in_bytes: Some(row.full_bytes.unsigned_abs()).filter(|_| accomplished),
            tags,
            ..Snapshot::default()
        }
    }
}
