//! DescribeAvailableResource: what can be had in which zone; tools ask before RunInstances and CreateDisk.

use crate::model::{AvailableZone, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// One of [`KINDS`].
    pub destination_resource: String,
    pub zone_id: Option<String>,
    pub instance_type: Option<String>,
    pub system_disk_category: Option<String>,
    pub data_disk_category: Option<String>,
    /// `PrePaid` has nothing to offer.
    pub prepaid: bool,
}

/// What can be asked about.
pub const KINDS: &[&str] = &[
    "Zone",
    "IoOptimized",
    "InstanceType",
    "Network",
    "ddh",
    "SystemDisk",
    "DataDisk",
];

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let region_id = params.required("RegionId")?;
        let destination_resource = params
            .word("DestinationResource", KINDS, 400, "Invalid.DestinationResource")?
            .ok_or_else(|| ApiError::missing_parameter("DestinationResource"))?;
        let charge = params.word(
            "InstanceChargeType",
            &["PostPaid", "PrePaid"],
            404,
            "InvalidInstanceChargeType.NotFound",
        )?;
        Ok(Self {
            region_id,
            destination_resource,
            zone_id: params.text("ZoneId"),
            instance_type: params.text("InstanceType"),
            system_disk_category: params.text("SystemDiskCategory"),
            data_disk_category: params.text("DataDiskCategory"),
            prepaid: charge.as_deref() == Some("PrePaid"),
        })
    }
}

/// The zones that have any of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::available_zone")]
    pub available_zones: Vec<AvailableZone>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        let base = "RegionId=r&DestinationResource=DataDisk";
        check::required(Request::parse, base, &["RegionId", "DestinationResource"]);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[("DestinationResource=Moon", 400, "Invalid.DestinationResource")],
        );
        check::refusals(
            Request::parse,
            base,
            &[("InstanceChargeType=x", 404, "InvalidInstanceChargeType.NotFound")],
        );
    }
}
