//! Actions about users, keys, policies and roles: their version, and their way of listing.

use super::{Api, Kind, Parameters};
use anyhow::{Result, bail};
use serde_json::Value;
use tidemark_ecs::ram::RAM_VERSION;

/// The version of the token service's actions.
pub const STS_VERSION: &str = "2015-04-01";

/// One call of the RAM API.
pub fn call(api: &Api, action: &str, parameters: &[(String, String)]) -> Result<Value> {
    call_version(api, RAM_VERSION, action, parameters)
}

/// One call of a service beside ECS.
pub fn call_version(
    api: &Api,
    version: &str,
    action: &str,
    parameters: &[(String, String)],
) -> Result<Value> {
    let mut parameters = parameters.to_vec();
    parameters.push(("Version".into(), version.into()));
    api.call(action, &parameters)
}

/// All rows of a list, page after page.
pub fn list(api: &Api, kind: &Kind, parameters: &[(String, String)]) -> Result<Vec<Value>> {
    let mut rows = Vec::new();
    let mut after: Parameters = Vec::new();
    loop {
        let mut answer = call(api, kind.describe, &[parameters, &after].concat())?;
        match answer[kind.wrapper][kind.item].take() {
            Value::Array(items) => rows.extend(items),
            _ => bail!(
                "{} answered no {}.{} list",
                kind.describe,
                kind.wrapper,
                kind.item
            ),
        }
        match answer["Marker"].as_str() {
            Some(marker) if answer["IsTruncated"] == true => after = vec![("Marker".into(), marker.into())],
            _ => return Ok(rows),
        }
    }
}
