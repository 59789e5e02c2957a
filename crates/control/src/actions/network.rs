//! DescribeVpcs, DescribeVSwitches, DescribeSecurityGroups: one of each, because tools ask before they make an instance.
//!
//! Networks are not managed here: ids of switches and groups are labels on instances. What these lists hold is what an instance is
//! taken to be in that names nothing else.

use super::run_instances::DEFAULT_SECURITY_GROUP;
use crate::control::DEFAULT_RESOURCE_GROUP;
use crate::guests;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::{describe_security_groups, describe_v_switches, describe_vpcs};
use tidemark_ecs::model::{SecurityGroup, VSwitch, Vpc};
use tidemark_ecs::page::{Cursor, PageInfo, PageRequest};
use tidemark_ecs::time;

const VPC: &str = "vpc-default";
/// The switch of an instance that names none.
pub(crate) const VSWITCH: &str = "vsw-default";
/// Where guests that we run have their addresses. External machines have theirs elsewhere.
const CIDR: &str = guests::CIDR;
const ADDRESSES: i64 = guests::FOR_GUESTS as i64;

/// The network of an instance's switch; of a switch that is only a name, none is known.
pub(crate) fn vpc_of(vswitch: &str) -> &'static str {
    if vswitch == VSWITCH { VPC } else { "" }
}

/// The addresses of an instance's switch, and of its network; of a switch that is only a name, none are known.
pub(crate) fn cidr_of(vswitch: &str) -> &'static str {
    if vswitch == VSWITCH { CIDR } else { "" }
}

impl Control {
    /// The one network.
    pub async fn describe_vpcs(
        &self,
        _caller: &Caller,
        request: describe_vpcs::Request,
    ) -> Result<describe_vpcs::Response, ApiError> {
        let region = self.region(request.region_id.as_deref())?;
        let vpc = Vpc {
            vpc_id: VPC.into(),
            vpc_name: "default".into(),
            region_id: region.id.clone(),
            status: "Available".into(),
            cidr_block: CIDR.into(),
            is_default: true,
            creation_time: since_ever(),
            vswitch_ids: vec![VSWITCH.into()],
            ..Vpc::default()
        };
        let fits = is_asked(&request.ids, VPC) && request.is_default != Some(false);
        let (vpcs, page) = one(&request.page, vpc, fits);
        Ok(describe_vpcs::Response { vpcs, page })
    }

    /// The one switch.
    pub async fn describe_v_switches(
        &self,
        _caller: &Caller,
        request: describe_v_switches::Request,
    ) -> Result<describe_v_switches::Response, ApiError> {
        let region = self.region(request.region_id.as_deref())?;
        let zone = request
            .zone_id
            .as_ref()
            .filter(|zone| region.zones.contains(zone));
        let zone = zone.map_or(region.first_zone(), String::as_str);
        let vswitch = VSwitch {
            vswitch_id: VSWITCH.into(),
            vswitch_name: "default".into(),
            vpc_id: VPC.into(),
            zone_id: zone.to_owned(),
            status: "Available".into(),
            cidr_block: CIDR.into(),
            available_ip_address_count: ADDRESSES,
            is_default: true,
            creation_time: since_ever(),
            ..VSwitch::default()
        };
        let fits = is_asked(&request.ids, VSWITCH)
            && request.is_default != Some(false)
            && request.vpc_id.as_deref().is_none_or(|vpc| vpc == VPC)
            && request.zone_id.as_deref().is_none_or(|wanted| wanted == zone);
        let (vswitches, page) = one(&request.page, vswitch, fits);
        Ok(describe_v_switches::Response { vswitches, page })
    }

    /// The one group.
    pub async fn describe_security_groups(
        &self,
        _caller: &Caller,
        request: describe_security_groups::Request,
    ) -> Result<describe_security_groups::Response, ApiError> {
        self.check_region(request.region_id.as_deref())?;
        let group = SecurityGroup {
            security_group_id: DEFAULT_SECURITY_GROUP.into(),
            security_group_name: "default".into(),
            security_group_type: "normal".into(),
            vpc_id: VPC.into(),
            resource_group_id: DEFAULT_RESOURCE_GROUP.into(),
            creation_time: since_ever(),
            ..SecurityGroup::default()
        };
        let fits = is_asked(&request.ids, DEFAULT_SECURITY_GROUP)
            && request.vpc_id.as_deref().is_none_or(|vpc| vpc == VPC);
        let (security_groups, page) = one(&request.page, group, fits);
        Ok(describe_security_groups::Response {
            security_groups,
            page,
        })
    }
}

fn since_ever() -> String {
    time::seconds(jiff::Timestamp::UNIX_EPOCH)
}

fn is_asked(ids: &[String], id: &str) -> bool {
    ids.is_empty() || ids.iter().any(|asked| asked == id)
}

/// The list of the one thing, if it fits.
fn one<T>(page: &PageRequest, thing: T, fits: bool) -> (Vec<T>, PageInfo) {
    let all = if fits { vec![thing] } else { Vec::new() };
    page.cut(all, |_| Cursor {
        created: 0,
        id: String::new(),
    })
}
