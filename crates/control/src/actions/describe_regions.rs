//! DescribeRegions: the one region that is served.

use crate::{Caller, Control};
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
        let region = &self.config().region;
        let named = NAMES.iter().find(|(id, ..)| id == region);
        let local_name = match (named, request.accept_language) {
            (None, _) => region.as_str(),
            (Some((_, chinese, _)), Language::Chinese) => chinese,
            (Some((_, _, english)), Language::English) => english,
        };
        let region = Region {
            region_id: region.clone(),
            local_name: local_name.to_owned(),
            region_endpoint: request.endpoint,
            status: "available".into(),
        };
        Ok(Response {
            regions: vec![region],
        })
    }
}
