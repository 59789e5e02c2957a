//! DescribeRegions: the regions that are served.

use crate::{Caller, Control, RegionConfig};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_regions::{Language, Request, Response};
use tidemark_ecs::model::Region;

/// Regions that have a name of their own; any other is called by its id.
const NAMES: &[(&str, &str, &str)] = &[
    ("cn-hangzhou", "华东1（杭州）", "China (Hangzhou)"),
    ("cn-shanghai", "华东2（上海）", "China (Shanghai)"),
    ("cn-beijing", "华北2（北京）", "China (Beijing)"),
    ("cn-shenzhen", "华南1（深圳）", "China (Shenzhen)"),
    ("cn-hongkong", "中国（香港）", "China (Hong Kong)"),
    ("ap-southeast-1", "新加坡", "Singapore"),
    ("eu-central-1", "德国（法兰克福）", "Germany (Frankfurt)"),
    ("us-west-1", "美国（硅谷）", "US (Silicon Valley)"),
    ("us-east-1", "美国（弗吉尼亚）", "US (Virginia)"),
];

impl Control {
    /// All regions.
    pub async fn describe_regions(&self, _caller: &Caller, request: Request) -> Result<Response, ApiError> {
        let show = |region: &RegionConfig| Region {
            region_id: region.id.clone(),
            local_name: local_name(&region.id, request.accept_language).to_owned(),
            region_endpoint: region
                .endpoint
                .clone()
                .unwrap_or_else(|| request.endpoint.clone()),
            status: "available".into(),
        };
        Ok(Response {
            regions: self.config().regions.iter().map(show).collect(),
        })
    }
}

fn local_name(region: &str, language: Language) -> &str {
    let named = NAMES.iter().find(|(id, ..)| *id == region);
    match (named, language) {
        (None, _) => region,
        (Some((_, chinese, _)), Language::Chinese) => chinese,
        (Some((_, _, english)), Language::English) => english,
    }
}
