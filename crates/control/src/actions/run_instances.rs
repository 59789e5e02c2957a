//! RunInstances: creates and starts 1 to 100 instances, each with its disks: those of its image, and those asked for.
//!
//! An external instance is a machine that we do not run, yet it gets a system disk of ours as any
//! instance does (40 GiB unless asked otherwise, sparse): clients list it, snapshot it, boot from it.
//! Networks are not managed here: ids of switches and groups, and what was asked for of the internet, are kept as labels.

use super::apply_auto_snapshot_policy::give;
use super::attach_disk::{self, SYSTEM_DEVICE};
use super::image_rules::{self, FromImage};
use super::key_pair_rules;
use super::modify_instance_auto_release_time::release_time;
use super::network;
use crate::catalogue::disks::{DiskKind, DiskRow};
use crate::catalogue::instances::{Attributes, InstanceRow};
use crate::catalogue::jobs::{self, JobKind};
use crate::catalogue::policies::PolicyRow;
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::tokens;
use crate::control::random;
use crate::error::node_refusal;
use crate::guests;
use crate::instance_types::guest_type;
use crate::jobs::instance::without;
use crate::metadata;
use crate::notices::By;
use crate::rules::{self, Token};
use crate::states::{DISK, DiskCause, INSTANCE, InstanceCause};
use crate::store::Transaction;
use crate::{Caller, Control, RegionConfig};
use std::net::Ipv4Addr;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::run_instances::{DataDisk, Request, Response};
use tidemark_ecs::id::Kind;
use tidemark_ecs::rules::category;
use tidemark_node::{NodeError, NodeErrorKind};

/// Size of a system disk that nobody asked a size for, in GiB.
const SYSTEM_GIB: u64 = 40;
/// Data disks that an instance can be made with.
const DATA_DISKS_MOST: usize = 16;
/// Where an instance without a group of its own belongs.
pub(super) const DEFAULT_SECURITY_GROUP: &str = "sg-default";

impl Control {
    /// Answers when the instances are listed; they are Running soon after. When so many fail at once
    /// that fewer than MinAmount are left, that is the answer, and none is left.
    pub async fn run_instances(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let given = rules::token_given(request.client_token.as_ref(), request.dry_run);
        let token = Token::new(caller, "RunInstances", given, &request, "LastTokenProcessing")?;
        let least = request.min_amount as usize;
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| {
            insert_all(t, &control, &caller, &request, token.as_ref(), Then::Run)
        };
        let (mut response, jobs) = self.store().write(work).await?;
        self.jobs().wake();
        let ids: Vec<i64> = jobs.iter().map(|(job, _)| *job).collect();
        let failed = self.jobs().linger(&ids, self.config().linger).await;
        let Some((_, error)) = failed.first() else {
            return Ok(response);
        };
        let is_failed = |job: &i64| failed.iter().any(|(gone, _)| gone == job);
        let (gone, left): (Vec<_>, Vec<_>) = jobs.iter().partition(|(job, _)| is_failed(job));
        let id_of = |(_, instance): &&(i64, String)| instance.clone();
        let call = jobs.first().map(|(_, first)| first.clone()).unwrap_or_default();
        response
            .instance_id_sets
            .retain(|id| left.iter().any(|(_, instance)| instance == id));
        if left.len() >= least {
            self.take_back(call, gone.iter().map(id_of).collect(), false)
                .await?;
            return Ok(response);
        }
        self.take_back(
            call,
            jobs.iter().map(|(_, instance)| instance.clone()).collect(),
            true,
        )
        .await?;
        Err(refusal(error))
    }

    /// Releases instances that are in no answer; one that could not be started is there still. `call`: its first instance. `all`: the
    /// call is refused, and its token may try again.
    async fn take_back(&self, call: String, ids: Vec<String>, all: bool) -> Result<(), ApiError> {
        let now = self.now_ms();
        let work = move |t: &mut dyn Transaction| -> Result<(), ApiError> {
            if all {
                tokens::take_back(t, &call)?;
            }
            for id in ids {
                let Some(mut instance) = InstanceRow::get(t, &id)? else {
                    continue;
                };
                if !all {
                    tokens::take_back_one(t, &call, |answer| without(answer, &id))?;
                }
                if !INSTANCE.allows(instance.status, InstanceCause::ForceDelete) {
                    // A job is about to change its state; released as soon as it has, by the clock.
                    instance.auto_release_ms = Some(now);
                    instance.save(t)?;
                    continue;
                }
                super::delete_instance::release(
                    t,
                    instance,
                    InstanceCause::ForceDelete,
                    &By::service("RunInstances"),
                    now,
                )?;
            }
            Ok(())
        };
        self.store().write(work).await?;
        self.jobs().wake();
        Ok(())
    }
}

/// What is to become of new instances.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Then {
    /// Start them.
    Run,
    /// Leave them stopped.
    Stop,
}

pub(super) fn insert_all(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &Request,
    token: Option<&Token>,
    then: Then,
) -> Result<(Response, Vec<(i64, String)>), ApiError> {
    let now = control.now_ms();
    if let Some(response) = Token::replay(token, t, now)? {
        return Ok((response, Vec::new()));
    }
    let region = control.region(Some(&request.region_id))?;
    let resource_group = check(control, region, request)?;
    key_pair_rules::check(t, caller, &region.id, request.key_pair_name.as_deref(), 404)?;
    metadata::check_role(t, caller, request.ram_role_name.as_deref())?;
    let family = request.image_family.as_deref();
    let image = image_rules::for_instance(t, caller, &region.id, request.image_id.as_deref(), family)?;
    let system = decide_system(control, region, request, &image)?;
    check_policies(t, caller, request)?;
    let mut decided = Vec::new();
    for disk in image.data_disks(&request.data_disks) {
        decided.push(decide(t, control, caller, region, &image, disk)?);
    }
    if decided.len() > DATA_DISKS_MOST {
        let message = format!(
            "{} data disks are asked for, those of the image {} among them, where {DATA_DISKS_MOST} are allowed.",
            decided.len(),
            image.id
        );
        return Err(ApiError::new(400, "InstanceDiskNumber.LimitExceed", message));
    }
    check_guest(t, control, request, &image)?;
    if request.dry_run {
        return Err(ApiError::dry_run());
    }
    let mut response = Response {
        instance_id_sets: Vec::new(),
    };
    let mut started = Vec::new();
    for number in 1..=request.amount {
        let instance = InstanceRow {
            status: INSTANCE.birth(match then {
                Then::Run => InstanceCause::RunInstances,
                Then::Stop => InstanceCause::CreateInstance,
            })?,
            image_id: image.id.clone(),
            ..instance_row(t, control, caller, region, request, &resource_group, number)?
        };
        instance.insert(t)?;
        tags::set(
            t,
            &caller.account,
            ResourceType::Instance,
            &instance.id,
            &request.tags,
        )?;
        insert_disks(t, control, request, &instance, &system, &decided)?;
        let disks = decided.len() as u64;
        attach_disk::quota(control, &instance).grown(t, (0, disks), now)?;
        let kind = match then {
            Then::Run => JobKind::RunInstance,
            Then::Stop => JobKind::CreateInstance,
        };
        // The token is kept with the first, and all find it by that.
        let first = response.instance_id_sets.first().unwrap_or(&instance.id);
        let job = jobs::add(t, kind, &instance.id, &instance.id, first, now)?;
        response.instance_id_sets.push(instance.id.clone());
        started.push((job, instance.id));
    }
    let first = response.instance_id_sets.first().cloned().unwrap_or_default();
    Token::remember(token, t, &first, &response, false, now)?;
    Ok((response, started))
}

/// What needs no look at other resources; answers the resource group.
fn check(control: &Control, region: &RegionConfig, request: &Request) -> Result<String, ApiError> {
    control.check_zone(region, request.zone_id.as_deref(), 404)?;
    let resource_group = rules::resource_group(request.resource_group_id.as_deref())?;
    release_time(control, request.auto_release_time)?;
    control.check_type(&request.instance_type)?;
    Ok(resource_group)
}

/// What only counts for instances that we run: there is something to start them from, and room; and an address that was asked
/// for can be theirs.
fn check_guest(
    t: &mut dyn Transaction,
    control: &Control,
    request: &Request,
    image: &FromImage,
) -> Result<(), ApiError> {
    if guest_type(&request.instance_type).is_none() {
        return Ok(());
    }
    guests::has_system(&request.instance_type, image)?;
    if let Some(address) = request.private_ip_address {
        if !guests::is_address(address) {
            let message = format!(
                "The parameter \"PrivateIpAddress\" is not valid: instances that run here have addresses in {}.",
                guests::CIDR
            );
            return Err(ApiError::new(400, "InvalidPrivateIpAddress.Malformed", message));
        }
        if has_address(t, address)? {
            let message = format!("The address {address} is another instance's.");
            return Err(ApiError::new(403, "InvalidPrivateIpAddress.Duplicated", message));
        }
    }
    guests::room_for(t, control, &request.instance_type, u64::from(request.amount))
}

/// Whether an instance has the address already.
fn has_address(t: &mut dyn Transaction, address: Ipv4Addr) -> Result<bool, ApiError> {
    let address = address.to_string();
    for row in InstanceRow::select(
        t,
        "WHERE attributes LIKE $1",
        &[format!("%\"{address}\"%").into()],
    )? {
        if row.read_attributes()?.private_ip_address == address {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first free address at the number's place.
fn free_address(t: &mut dyn Transaction, ordinal: i64) -> Result<Ipv4Addr, ApiError> {
    let mut number = ordinal;
    loop {
        let address = guests::address(number);
        if !has_address(t, address)? {
            return Ok(address);
        }
        number += 1;
    }
}

/// The caller's policies that the disks are to have; each must exist.
fn check_policies(t: &mut dyn Transaction, caller: &Caller, request: &Request) -> Result<(), ApiError> {
    let of_data = request
        .data_disks
        .iter()
        .map(|disk| &disk.auto_snapshot_policy_id);
    let all = of_data.chain([&request.system_disk.auto_snapshot_policy_id]);
    for id in all.flatten() {
        rules::policy(t, caller, id).map_err(|error| match error.status {
            404 => ApiError::new(404, "InvalidAutoSnapshotPolicyId.NotFound", error.message),
            _ => error,
        })?;
    }
    Ok(())
}

/// What the image and a data disk's snapshot have a say in.
struct Decided {
    disk: DataDisk,
    /// GiB: as wished, and at least the snapshot's.
    size: u64,
    encrypted: bool,
}

/// What the image has a say in.
struct DecidedSystem {
    snapshot_id: String,
    /// GiB: as wished, and at least the image's.
    size: u64,
    encrypted: bool,
}

fn decide_system(
    control: &Control,
    region: &RegionConfig,
    request: &Request,
    image: &FromImage,
) -> Result<DecidedSystem, ApiError> {
    let wished = &request.system_disk;
    let level = wished.performance_level.as_deref();
    let (least, most) = (
        image.system_gib(),
        category(&wished.category).map_or(u64::MAX, |category| *category.system_sizes(level).end()),
    );
    let refuse = |status, code, why: String| {
        let message = format!(
            "The parameter \"SystemDisk.Size\" is not valid: the image {} {why}.",
            image.id
        );
        Err(ApiError::new(status, code, message))
    };
    let size = match wished.size {
        Some(size) if size < least => {
            let why = format!("needs {least} GiB, not {size}");
            return refuse(404, "InvalidSystemDiskSize.LessThanImageSize", why);
        }
        Some(size) => size,
        None => system_size(&wished.category, level).max(least),
    };
    if size > most {
        let why = format!(
            "needs {least} GiB, and a disk of category {} has at most {most}",
            wished.category
        );
        return refuse(400, "InvalidSystemDiskSize.ValueNotSupported", why);
    }
    let snapshot = image.system_snapshot();
    Ok(DecidedSystem {
        snapshot_id: snapshot.map(|snapshot| snapshot.id.clone()).unwrap_or_default(),
        size,
        encrypted: rules::encrypted(
            control,
            &region.id,
            "SystemDisk.Encrypted",
            wished.encrypted,
            snapshot,
        )?,
    })
}

fn decide(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    region: &RegionConfig,
    image: &FromImage,
    disk: DataDisk,
) -> Result<Decided, ApiError> {
    let source =
        match &disk.snapshot_id {
            None => None,
            Some(id) => Some(image.source(t, caller, &region.id, id).map_err(
                |error| match error.status {
                    404 => ApiError::new(404, "InvalidDataDiskSnapshotId.NotFound", error.message),
                    _ => error,
                },
            )?),
        };
    Ok(Decided {
        size: data_disk_size(&disk, source.as_ref())?,
        encrypted: rules::encrypted(
            control,
            &region.id,
            "DataDisk.N.Encrypted",
            disk.encrypted,
            source.as_ref(),
        )?,
        disk,
    })
}

fn data_disk_size(disk: &DataDisk, source: Option<&SnapshotRow>) -> Result<u64, ApiError> {
    let allowed = category(&disk.category).map(|c| c.data_sizes(disk.performance_level.as_deref()));
    let (floor, ceiling) = allowed.map_or((1, u64::MAX), |sizes| (*sizes.start(), *sizes.end()));
    let (size, why) = match source {
        Some(snapshot) => {
            let least = snapshot.source_disk_size_gib.unsigned_abs();
            let why = format!("The snapshot {} needs {least} GiB", snapshot.id);
            (disk.size.unwrap_or(0).max(least).max(floor), why)
        }
        // The image has no disk for the device either.
        None => match disk.size {
            Some(size) => (size, format!("A data disk would have {size} GiB")),
            None => return Err(ApiError::missing_parameter("DataDisk.N.Size")),
        },
    };
    if size > ceiling {
        let message = format!(
            "{why}, more than the {ceiling} GiB of category {}.",
            disk.category
        );
        return Err(ApiError::new(
            400,
            "InvalidDataDiskSize.ValueNotSupported",
            message,
        ));
    }
    Ok(size)
}

fn instance_row(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    region: &RegionConfig,
    request: &Request,
    resource_group: &str,
    number: u32,
) -> Result<InstanceRow, ApiError> {
    let id = control.new_id(Kind::Instance, &region.id);
    let ordinal = InstanceRow::next_ordinal(t)?;
    let suffix = if request.unique_suffix && request.amount > 1 {
        format!("{number:03}")
    } else {
        String::new()
    };
    let own_host_name = request.host_names.get(number as usize - 1);
    let host_name = own_host_name
        .cloned()
        .or_else(|| request.host_name.as_ref().map(|name| format!("{name}{suffix}")));
    let groups = match request.security_group_ids.as_slice() {
        [] => vec![DEFAULT_SECURITY_GROUP.to_owned()],
        given => given.to_vec(),
    };
    let attributes = Attributes {
        host_name: host_name.unwrap_or_default(),
        serial_number: uuid(random()),
        user_data: request.user_data.clone().unwrap_or_default(),
        ram_role_name: request.ram_role_name.clone().unwrap_or_default(),
        security_group_ids: groups,
        vswitch_id: request
            .vswitch_id
            .clone()
            .unwrap_or_else(|| network::VSWITCH.into()),
        private_ip_address: match request.private_ip_address {
            Some(address) => address.to_string(),
            None if guest_type(&request.instance_type).is_some() => free_address(t, ordinal)?.to_string(),
            None => String::new(),
        },
        http_endpoint: request.metadata_options.http_endpoint.clone(),
        http_tokens: request.metadata_options.http_tokens.clone(),
        http_put_response_hop_limit: request.metadata_options.http_put_response_hop_limit,
        internet_charge_type: request.internet_charge_type.clone().unwrap_or_default(),
        internet_max_bandwidth_in: request.internet_max_bandwidth_in.unwrap_or(0),
        internet_max_bandwidth_out: request.internet_max_bandwidth_out.unwrap_or(0),
        instance_metadata_tags: request.metadata_options.instance_metadata_tags.clone(),
    };
    let attributes = serde_json::to_string(&attributes).map_err(|error| {
        tracing::error!(%error, "an instance's attributes cannot be written");
        ApiError::internal()
    })?;
    Ok(InstanceRow {
        ordinal,
        account: caller.account.clone(),
        name: request
            .instance_name
            .as_ref()
            .map_or_else(|| id.clone(), |name| format!("{name}{suffix}")),
        description: request.description.clone().unwrap_or_default(),
        status: INSTANCE.birth(InstanceCause::RunInstances)?,
        instance_type: request.instance_type.clone(),
        image_id: String::new(),
        region: region.id.clone(),
        zone: request
            .zone_id
            .clone()
            .unwrap_or_else(|| region.first_zone().to_owned()),
        resource_group: resource_group.to_owned(),
        key_pair: request.key_pair_name.clone().unwrap_or_default(),
        security_lock: false,
        deletion_protection: request.deletion_protection,
        auto_release_ms: release_time(control, request.auto_release_time)?,
        created_ms: control.now_ms(),
        started_ms: None,
        attributes,
        id,
    })
}

fn insert_disks(
    t: &mut dyn Transaction,
    control: &Control,
    request: &Request,
    instance: &InstanceRow,
    decided_system: &DecidedSystem,
    decided: &[Decided],
) -> Result<(), ApiError> {
    let wished: Vec<_> = decided
        .iter()
        .filter_map(|decided| decided.disk.device.clone())
        .collect();
    let mut free = ('b'..='z')
        .map(|letter| format!("/dev/xvd{letter}"))
        .filter(|device| !wished.contains(device));
    let system = &request.system_disk;
    let mut row = DiskRow {
        name: system.disk_name.clone().unwrap_or_default(),
        description: system.description.clone().unwrap_or_default(),
        kind: DiskKind::System,
        category: system.category.clone(),
        performance_level: system.performance_level.clone().unwrap_or_default(),
        size_gib: gib(decided_system.size),
        device: SYSTEM_DEVICE.into(),
        delete_with_instance: true,
        source_snapshot_id: decided_system.snapshot_id.clone(),
        image_id: instance.image_id.clone(),
        origin_instance_id: instance.id.clone(),
        encrypted: decided_system.encrypted,
        provisioned_iops: system.provisioned_iops.unwrap_or(0),
        bursting_enabled: system.bursting_enabled,
        ..blank(t, control, instance)?
    };
    insert_disk(t, control, request, &row, system.auto_snapshot_policy_id.as_ref())?;
    for decided in decided {
        let disk = &decided.disk;
        let device = disk.device.clone().or_else(|| free.next());
        let none_free = || {
            ApiError::new(
                403,
                "InstanceDiskNumLimitExceed",
                "No device name is free for a data disk.",
            )
        };
        row = DiskRow {
            name: disk.disk_name.clone().unwrap_or_default(),
            description: disk.description.clone().unwrap_or_default(),
            kind: DiskKind::Data,
            category: disk.category.clone(),
            performance_level: disk.performance_level.clone().unwrap_or_default(),
            size_gib: gib(decided.size),
            encrypted: decided.encrypted,
            provisioned_iops: disk.provisioned_iops.unwrap_or(0),
            bursting_enabled: disk.bursting_enabled,
            device: device.ok_or_else(none_free)?,
            delete_with_instance: disk.delete_with_instance,
            source_snapshot_id: disk.snapshot_id.clone().unwrap_or_default(),
            ..blank(t, control, instance)?
        };
        insert_disk(t, control, request, &row, disk.auto_snapshot_policy_id.as_ref())?;
    }
    Ok(())
}

fn insert_disk(
    t: &mut dyn Transaction,
    control: &Control,
    request: &Request,
    row: &DiskRow,
    policy: Option<&String>,
) -> Result<(), ApiError> {
    row.insert(t)?;
    tags::set(t, &row.account, ResourceType::Disk, &row.id, &request.tags)?;
    if let Some(policy) = policy
        && let Some(policy) = PolicyRow::get(t, policy)?
    {
        give(t, control, &policy, &row.id)?;
    }
    Ok(())
}

/// What all disks of a new instance have in common.
fn blank(t: &mut dyn Transaction, control: &Control, instance: &InstanceRow) -> Result<DiskRow, ApiError> {
    Ok(DiskRow {
        id: control.new_id(Kind::Disk, &instance.region),
        ordinal: DiskRow::next_ordinal(t)?,
        account: instance.account.clone(),
        name: String::new(),
        description: String::new(),
        kind: DiskKind::Data,
        status: DISK.birth(DiskCause::RunInstances)?,
        status_before: String::new(),
        category: String::new(),
        performance_level: String::new(),
        size_gib: 0,
        region: instance.region.clone(),
        zone: instance.zone.clone(),
        resource_group: instance.resource_group.clone(),
        instance_id: Some(instance.id.clone()),
        device: String::new(),
        ever_attached: false,
        delete_with_instance: true,
        delete_auto_snapshot: true,
        enable_auto_snapshot: true,
        bursting_enabled: false,
        provisioned_iops: 0,
        multi_attach: "Disabled".into(),
        source_snapshot_id: String::new(),
        image_id: String::new(),
        origin_instance_id: String::new(),
        created_ms: instance.created_ms,
        attached_ms: None,
        detached_ms: None,
        encrypted: false,
    })
}

fn system_size(name: &str, level: Option<&str>) -> u64 {
    category(name).map_or(SYSTEM_GIB, |category| {
        SYSTEM_GIB.max(*category.system_sizes(level).start())
    })
}

fn gib(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// A random UUID, version 4, in lower case.
fn uuid(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let n = u128::from_be_bytes(bytes);
    let part = |shift: u32, digits: u32| (n >> shift) & ((1 << (digits * 4)) - 1);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        part(96, 8),
        part(80, 4),
        part(64, 4),
        part(48, 4),
        part(0, 12)
    )
}

/// Why the node could not make a disk, in the contract's words.
pub(super) fn refusal(error: &NodeError) -> ApiError {
    match error.kind {
        NodeErrorKind::Full => node_refusal(403, "OperationDenied.NoStock", "The storage has no room", error),
        NodeErrorKind::Missing | NodeErrorKind::Corrupt => node_refusal(
            403,
            "OperationDenied.SnapshotNotAllowed",
            "A snapshot cannot be used",
            error,
        ),
        _ => {
            tracing::error!(%error, "an instance cannot be made");
            ApiError::internal()
        }
    }
}
