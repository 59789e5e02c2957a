//! Instances.

use super::{next_number, record};
use crate::states::{INSTANCE, InstanceCause, InstanceStatus};
use crate::store::{StoreError, StoreErrorKind, Transaction};
use serde::{Deserialize, Serialize};

record! {
    /// An instance.
    InstanceRow = "instances" {
        id: String,
        ordinal: i64,
        account: String,
        name: String,
        description: String,
        status: InstanceStatus,
        instance_type: String,
        image_id: String,
        /// Never changes.
        region: String,
        zone: String,
        resource_group: String,
        key_pair: String,
        security_lock: bool,
        deletion_protection: bool,
        auto_release_ms: Option<i64>,
        created_ms: i64,
        started_ms: Option<i64>,
        /// [`Attributes`] as JSON.
        attributes: String,
    }
}

/// What is only stored and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Attributes {
    pub(crate) host_name: String,
    pub(crate) serial_number: String,
    pub(crate) user_data: String,
    pub(crate) ram_role_name: String,
    pub(crate) security_group_ids: Vec<String>,
    pub(crate) vswitch_id: String,
    pub(crate) private_ip_address: String,
    pub(crate) http_endpoint: String,
    pub(crate) http_tokens: String,
    pub(crate) http_put_response_hop_limit: i64,
    /// Empty: [`Attributes::PAY_BY_TRAFFIC`].
    pub(crate) internet_charge_type: String,
    pub(crate) internet_max_bandwidth_in: i64,
    pub(crate) internet_max_bandwidth_out: i64,
    /// `enabled`, or anything else for `disabled`.
    pub(crate) instance_metadata_tags: String,
}

impl Attributes {
    /// How the traffic is billed of an instance that said nothing about it. It is not.
    pub(crate) const PAY_BY_TRAFFIC: &str = "PayByTraffic";
}

impl InstanceRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "instance")
    }

    /// Does one transition of the table and writes the row; `false`: the instance is gone now.
    pub(crate) fn step(&mut self, t: &mut dyn Transaction, by: InstanceCause) -> Result<bool, StoreError> {
        match INSTANCE.next(self.status, by)? {
            Some(status) => {
                self.status = status;
                self.save(t)?;
                Ok(true)
            }
            None => {
                self.remove(t)?;
                Ok(false)
            }
        }
    }

    /// What is only stored and shown.
    pub(crate) fn read_attributes(&self) -> Result<Attributes, StoreError> {
        serde_json::from_str(&self.attributes).map_err(|e| {
            StoreError::new(
                StoreErrorKind::Corrupt,
                format!("attributes of instance {}", self.id),
                e,
            )
        })
    }
}
