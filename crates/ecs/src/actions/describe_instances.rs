//! DescribeInstances: the caller's instances in a region, newest first.

use crate::filter::{self, Filters};
use crate::model::{Instance, list};
use crate::page::{PageInfo, PageRequest};
use crate::rules::{TagFilter, tags};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    /// `Some([])` matches nothing.
    pub instance_ids: Option<Vec<String>>,
    /// `*` is a wildcard; see [`name_matches`].
    pub instance_name: Option<String>,
    pub status: Option<String>,
    pub vpc_id: Option<String>,
    pub vswitch_id: Option<String>,
    pub zone_id: Option<String>,
    pub security_group_id: Option<String>,
    pub image_id: Option<String>,
    pub instance_type: Option<String>,
    pub instance_type_family: Option<String>,
    pub key_pair_name: Option<String>,
    pub resource_group_id: Option<String>,
    pub hpc_cluster_id: Option<String>,
    pub rdma_ip_addresses: Option<String>,
    pub private_ip_addresses: Option<Vec<String>>,
    pub public_ip_addresses: Option<Vec<String>>,
    pub eip_addresses: Option<Vec<String>>,
    pub inner_ip_addresses: Option<Vec<String>>,
    pub ipv6_addresses: Vec<String>,
    /// `PostPaid` or `PrePaid`.
    pub instance_charge_type: Option<String>,
    pub internet_charge_type: Option<String>,
    /// `classic` or `vpc`.
    pub instance_network_type: Option<String>,
    pub lock_reason: Option<String>,
    pub http_endpoint: Option<String>,
    pub http_tokens: Option<String>,
    pub http_put_response_hop_limit: Option<i64>,
    pub io_optimized: Option<bool>,
    pub device_available: Option<bool>,
    pub need_sale_cycle: bool,
    pub additional_attributes: Vec<String>,
    pub tags: Vec<TagFilter>,
    pub filters: Filters,
    pub page: PageRequest,
    pub dry_run: bool,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let ids = |name: &str| {
            let malformed = (400, "InvalidParameter");
            params.json_list(name, 100, malformed, malformed)
        };
        Ok(Self {
            region_id: params.required("RegionId")?,
            instance_ids: ids("InstanceIds")?,
            instance_name: params.text("InstanceName"),
            status: params.word(
                "Status",
                &["Pending", "Starting", "Running", "Stopping", "Stopped"],
                404,
                "InvalidStatus.NotFound",
            )?,
            vpc_id: params.text("VpcId"),
            vswitch_id: params.text("VSwitchId"),
            zone_id: params.text("ZoneId"),
            security_group_id: params.text("SecurityGroupId"),
            image_id: params.text("ImageId"),
            instance_type: params.text("InstanceType"),
            instance_type_family: params.text("InstanceTypeFamily"),
            key_pair_name: params.text("KeyPairName"),
            resource_group_id: params.text("ResourceGroupId"),
            hpc_cluster_id: params.text("HpcClusterId"),
            rdma_ip_addresses: params.text("RdmaIpAddresses"),
            private_ip_addresses: ids("PrivateIpAddresses")?,
            public_ip_addresses: ids("PublicIpAddresses")?,
            eip_addresses: ids("EipAddresses")?,
            inner_ip_addresses: ids("InnerIpAddresses")?,
            ipv6_addresses: params.list("Ipv6Address")?,
            instance_charge_type: params.word(
                "InstanceChargeType",
                &["PostPaid", "PrePaid"],
                404,
                "InvalidInstanceChargeType.NotFound",
            )?,
            internet_charge_type: params.word(
                "InternetChargeType",
                &["PayByTraffic", "PayByBandwidth"],
                404,
                "InvalidInternetChargeType.ValueNotSupported",
            )?,
            instance_network_type: params.word(
                "InstanceNetworkType",
                &["classic", "vpc"],
                404,
                "InvalidNetworkType.NotFound",
            )?,
            lock_reason: params.word(
                "LockReason",
                &[
                    "financial",
                    "security",
                    "Recycling",
                    "dedicatedhostfinancial",
                    "refunded",
                ],
                404,
                "InvalidLockReason.NotFound",
            )?,
            http_endpoint: params.text("HttpEndpoint"),
            http_tokens: params.text("HttpTokens"),
            http_put_response_hop_limit: params.integer("HttpPutResponseHopLimit")?,
            io_optimized: params.boolean("IoOptimized")?,
            device_available: params.boolean("DeviceAvailable")?,
            need_sale_cycle: params.flag("NeedSaleCycle")?,
            additional_attributes: params.list("AdditionalAttributes")?,
            tags: tags::filters(params)?,
            filters: Filters::parse(params, filter::CREATION_AND_EXPIRY)?,
            page: PageRequest::parse(params, 100, 100)?,
            dry_run: params.flag("DryRun")?,
        })
    }
}

/// Whether a name fits a pattern in which `*` stands for any text, even none.
pub fn name_matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// One page.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::instance")]
    pub instances: Vec<Instance>,
    #[serde(flatten)]
    pub page: PageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn required_and_refused() {
        check::required(Request::parse, "RegionId=r", &["RegionId"]);
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                ("Status=running", 404, "InvalidStatus.NotFound"),
                ("InstanceIds=i-1", 400, "InvalidParameter"),
                ("InstanceChargeType=x", 404, "InvalidInstanceChargeType.NotFound"),
                (
                    "InternetChargeType=x",
                    404,
                    "InvalidInternetChargeType.ValueNotSupported",
                ),
                ("InstanceNetworkType=x", 404, "InvalidNetworkType.NotFound"),
                ("LockReason=x", 404, "InvalidLockReason.NotFound"),
                (
                    "Filter.1.Key=x&Filter.1.Value=x",
                    404,
                    "InvalidFilterKey.NotFound",
                ),
                ("Tag.1.Value=x", 400, "InvalidTag.Mismatch"),
            ],
        );
        let query =
            "RegionId=r&Filter.4.Key=ExpiredEndTime&Filter.4.Value=2026-01-01T00:00Z&IoOptimized=True";
        let request = Request::parse(&check::params(query)).expect("valid");
        assert!(request.filters.expired.end.is_some() && request.io_optimized == Some(true));
    }

    #[test]
    fn wildcards() {
        for (pattern, name, fits) in [
            ("web", "web", true),
            ("web", "web1", false),
            ("web*", "web1", true),
            ("*1", "web1", true),
            ("w*b*1", "web-b-11", true),
            ("*", "", true),
            ("**", "x", true),
            ("a*a", "a", false),
            ("*é*", "caféx", true),
            ("w*z", "web", false),
        ] {
            assert_eq!(name_matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
