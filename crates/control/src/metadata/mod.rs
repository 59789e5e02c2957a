//! What an instance may be told about itself: the catalogue's side of the metadata service.
//!
//! [`InstanceMetadata`] is all of it as plain values, read in one transaction, so that one answer never mixes two
//! states. What must stay true: (1) everything in it is the instance's own; (2) an address names an instance only if
//! exactly one running instance of the whole service has it: where two have, nobody is told anything, because either
//! answer could be another's data; (3) tokens and keys of a role are bound to the instance that got them.
//!
//! Not here: paths, formats and status codes (`api::metadata`).

mod role;
mod token;

pub use role::RoleKeys;

use crate::actions::network;
use crate::catalogue::disks;
use crate::catalogue::instances::{Attributes, InstanceRow};
use crate::catalogue::key_pairs::KeyPairRow;
use crate::catalogue::ram::RoleRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::clock::MINUTE_MS;
use crate::guests;
use crate::states::{DiskStatus, InstanceStatus};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, ControlError};
use data_encoding::{BASE64, HEXLOWER};
use ring::digest;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Mutex, PoisonError};
use tidemark_ecs::ApiError;
use tidemark_ecs::id::{Kind, disk_serial};
use tidemark_ecs::model::Tag;
use tidemark_ecs::ram::trust::Trust;

/// How often is said that two instances have one address.
const AMBIGUITY_TOLD_MS: i64 = MINUTE_MS;

/// What the control plane remembers for the metadata service, in memory only.
#[derive(Default)]
pub(crate) struct Memory {
    roles: role::Issued,
    /// When it was last said of an address that two instances have it.
    ambiguous: Mutex<HashMap<IpAddr, i64>>,
}

/// An instance as it is told about itself. Empty texts: there is no such thing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InstanceMetadata {
    /// Its id.
    pub instance_id: String,
    /// Its name.
    pub instance_name: String,
    /// Its type.
    pub instance_type: String,
    /// As it was given, or made of the id.
    pub host_name: String,
    /// A lower-case UUID.
    pub serial_number: String,
    /// Its region.
    pub region_id: String,
    /// Its zone.
    pub zone_id: String,
    /// Whose it is.
    pub owner_account_id: String,
    /// What its system disk was made of.
    pub image_id: String,
    /// Of its only network card.
    pub mac: String,
    /// The id of that card.
    pub network_interface_id: String,
    /// The network of its switch.
    pub vpc_id: String,
    /// Its addresses.
    pub vpc_cidr_block: String,
    /// The switch.
    pub vswitch_id: String,
    /// Its addresses.
    pub vswitch_cidr_block: String,
    /// As registered.
    pub private_address: Option<Ipv4Addr>,
    /// Decoded.
    pub user_data: Option<Vec<u8>>,
    /// Who may log in.
    pub public_key: Option<PublicKey>,
    /// The role whose keys it may have.
    pub role_name: Option<String>,
    /// `None`: it is not to be told of them.
    pub tags: Option<Vec<Tag>>,
    /// Those that are attached, the system disk first.
    pub disks: Vec<MetadataDisk>,
    /// How the service answers it.
    pub options: MetadataOptions,
    /// Whether the catalogue has it as Running.
    pub running: bool,
}

/// An SSH key and its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The key pair's id.
    pub id: String,
    /// One line.
    pub openssh: String,
}

/// An attached disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataDisk {
    /// What the guest sees as the device's serial number.
    pub serial: String,
    /// Its id.
    pub id: String,
    /// Its name, or nothing.
    pub name: String,
}

/// The switches of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetadataOptions {
    /// Whether anything is answered.
    pub enabled: bool,
    /// Whether a token is needed.
    pub token_required: bool,
    /// How many hops the answer with a token may go, 1 to 64.
    pub hop_limit: i64,
}

impl Default for MetadataOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            token_required: false,
            hop_limit: 1,
        }
    }
}

impl Control {
    /// All that an instance may be told; `None`: there is no such instance.
    pub async fn metadata_of(&self, instance_id: &str) -> Result<Option<InstanceMetadata>, ControlError> {
        let id = instance_id.to_owned();
        let read = move |t: &mut dyn Transaction| match InstanceRow::get(t, id)? {
            Some(row) => collect(t, row).map(Some),
            None => Ok(None),
        };
        Ok(self.store().read::<_, StoreError, _>(read).await?)
    }

    /// The same of the running instance with that private address. `None`: there is none, or more than one.
    pub async fn metadata_by_address(
        &self,
        address: IpAddr,
    ) -> Result<Option<InstanceMetadata>, ControlError> {
        let IpAddr::V4(wanted) = address.to_canonical() else {
            // Instances are registered with IPv4 addresses only.
            return Ok(None);
        };
        let have_own_network = self.guests().is_some_and(|guests| guests.have_own_network);
        let read = move |t: &mut dyn Transaction| {
            let mut holders = holders(t, wanted, have_own_network)?;
            match (holders.pop(), holders.pop()) {
                (Some(row), None) => Ok(Found::One(Box::new(collect(t, row)?))),
                (Some(one), Some(other)) => Ok(Found::Several(one.id, other.id)),
                (None, _) => Ok(Found::None),
            }
        };
        match self.store().read::<_, StoreError, _>(read).await? {
            Found::One(found) => Ok(Some(*found)),
            Found::None => Ok(None),
            Found::Several(one, other) => {
                if self.metadata().may_tell_of(address, self.now_ms()) {
                    tracing::warn!(%address, %one, %other, "two running instances have one address: neither is told anything there");
                }
                Ok(None)
            }
        }
    }
}

/// Who has an address.
enum Found {
    None,
    One(Box<InstanceMetadata>),
    Several(String, String),
}

impl Memory {
    /// Whether to say again that two instances have the address.
    fn may_tell_of(&self, address: IpAddr, now_ms: i64) -> bool {
        let mut told = self.ambiguous.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| now_ms.saturating_sub(*at) < AMBIGUITY_TOLD_MS);
        told.insert(address, now_ms).is_none()
    }
}

/// Running instances with that private address; two at most are of interest. The pattern finds few rows without
/// reading every instance's attributes; which of them really have the address is read from those.
fn holders(
    t: &mut dyn Transaction,
    address: Ipv4Addr,
    guests_have_own_network: bool,
) -> Result<Vec<InstanceRow>, StoreError> {
    let rest = "WHERE status = $1 AND attributes LIKE $2 ORDER BY ordinal";
    let pattern = format!("%\"private_ip_address\":\"{address}\"%");
    let running = InstanceStatus::Running.word();
    let rows = InstanceRow::select(t, rest, &[running.into(), pattern.into()])?;
    let mut found = Vec::new();
    for row in rows {
        // A guest whose network is its own never comes from there: who does has the address elsewhere.
        if guests_have_own_network && guests::is_guest(&row) {
            continue;
        }
        if row.read_attributes()?.private_ip_address.parse::<Ipv4Addr>() == Ok(address) {
            found.push(row);
        }
    }
    Ok(found)
}

fn collect(t: &mut dyn Transaction, row: InstanceRow) -> Result<InstanceMetadata, StoreError> {
    let own = row.read_attributes()?;
    let all = disks::of_instance(t, &row.id)?;
    let system_image = all.first().map(|disk| disk.image_id.clone()).unwrap_or_default();
    let attached = |status| matches!(status, DiskStatus::InUse | DiskStatus::ReIniting);
    let disks = all.into_iter().filter(|disk| attached(disk.status));
    let disks = disks
        .map(|disk| MetadataDisk {
            serial: disk_serial(&disk.id).to_owned(),
            id: disk.id,
            name: disk.name,
        })
        .collect();
    let pair = match row.key_pair.as_str() {
        "" => None,
        name => KeyPairRow::named(t, &row.account, &row.region, name)?,
    };
    let vswitch_id = match own.vswitch_id.as_str() {
        "" => network::VSWITCH.to_owned(),
        named => named.to_owned(),
    };
    Ok(InstanceMetadata {
        host_name: host_name(&row.id, &own),
        mac: mac_of(&row.id),
        network_interface_id: network_interface_of(&row.id),
        vpc_id: network::vpc_of(&vswitch_id).to_owned(),
        vpc_cidr_block: network::cidr_of(&vswitch_id).to_owned(),
        vswitch_cidr_block: network::cidr_of(&vswitch_id).to_owned(),
        vswitch_id,
        private_address: own.private_ip_address.parse().ok(),
        user_data: user_data(&row.id, &own),
        public_key: pair.map(|pair| PublicKey {
            id: pair.id,
            openssh: pair.public_key,
        }),
        role_name: role::of(t, &row.account, &own.ram_role_name)?.map(|role| role.name),
        tags: match own.instance_metadata_tags.as_str() {
            "enabled" => Some(tags::of(t, ResourceType::Instance, &row.id)?),
            _ => None,
        },
        disks,
        options: MetadataOptions {
            enabled: own.http_endpoint != "disabled",
            token_required: own.http_tokens == "required",
            hop_limit: own.http_put_response_hop_limit,
        },
        running: row.status == InstanceStatus::Running,
        image_id: match system_image.as_str() {
            "" => row.image_id,
            _ => system_image,
        },
        instance_name: row.name,
        instance_type: row.instance_type,
        serial_number: own.serial_number,
        region_id: row.region,
        zone_id: row.zone,
        owner_account_id: row.account,
        instance_id: row.id,
    })
}

/// The id of an instance's only network card.
pub(crate) fn network_interface_of(instance_id: &str) -> String {
    format!("{}{}", Kind::NetworkInterface.prefix(), body(instance_id))
}

/// An id without its prefix.
fn body(instance_id: &str) -> &str {
    instance_id
        .strip_prefix(Kind::Instance.prefix())
        .unwrap_or(instance_id)
}

fn host_name(instance_id: &str, own: &Attributes) -> String {
    match own.host_name.as_str() {
        "" => format!("iZ{}Z", body(instance_id)),
        given => given.to_owned(),
    }
}

fn user_data(instance_id: &str, own: &Attributes) -> Option<Vec<u8>> {
    if own.user_data.is_empty() {
        return None;
    }
    let decoded = BASE64.decode(own.user_data.as_bytes());
    if let Err(error) = &decoded {
        // It was checked when it came in.
        tracing::error!(instance = instance_id, %error, "the user data in the catalogue is no base64");
    }
    decoded.ok()
}

/// The MAC address of an instance's only network card: in the range of the service that we follow, the rest from the id,
/// so that it stays the same for as long as the instance exists.
pub(crate) fn mac_of(instance_id: &str) -> String {
    let hash = digest::digest(&digest::SHA256, format!("mac of {instance_id}").as_bytes());
    let hex = HEXLOWER.encode(&hash.as_ref()[..3]);
    format!("00:16:3e:{}:{}:{}", &hex[..2], &hex[2..4], &hex[4..6])
}

/// A role that an instance is to have must exist and let instances in: 404 `InvalidRamRole.NotFound`,
/// 401 `InvalidRamRole.NotEcsRole`. Whether the caller may give it away was found out before.
pub(crate) fn check_role(
    t: &mut dyn Transaction,
    caller: &Caller,
    name: Option<&str>,
) -> Result<(), ApiError> {
    let Some(name) = name else { return Ok(()) };
    let Some(row) = RoleRow::named(t, &caller.account, name)? else {
        let message = format!("The specified RamRoleName {name:?} does not exist.");
        return Err(ApiError::new(404, "InvalidRamRole.NotFound", message));
    };
    if Trust::parse(&row.trust).is_ok_and(|trust| trust.admits_instances()) {
        return Ok(());
    }
    let message = format!(
        "The role {name:?} does not let instances in: the trust policy has to name the service ecs.aliyuncs.com."
    );
    Err(ApiError::new(401, "InvalidRamRole.NotEcsRole", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_keeps_its_address_and_has_it_alone() {
        let one = mac_of("i-bp1one");
        assert_eq!(one, mac_of("i-bp1one"));
        assert_ne!(one, mac_of("i-bp1two"));
        assert!(one.starts_with("00:16:3e:") && one.len() == 17, "{one}");
        assert_eq!(one, one.to_ascii_lowercase());
    }

    #[test]
    fn a_host_without_a_name_has_one_of_its_id() {
        let given = Attributes {
            host_name: "web".into(),
            ..Attributes::default()
        };
        assert_eq!(host_name("i-bp1a", &given), "web");
        assert_eq!(host_name("i-bp1a", &Attributes::default()), "iZbp1aZ");
    }

    #[test]
    fn two_instances_with_one_address_are_spoken_of_once_a_minute() {
        let (memory, address) = (Memory::default(), IpAddr::from([10, 0, 0, 1]));
        let told = [0, 1, 59_999, 60_000].map(|now| memory.may_tell_of(address, now));
        assert_eq!(told, [true, false, false, false]);
        assert!(memory.may_tell_of(address, 200_000));
        assert!(memory.may_tell_of(IpAddr::from([10, 0, 0, 2]), 200_001));
    }
}
