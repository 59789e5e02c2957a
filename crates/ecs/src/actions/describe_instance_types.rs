//! DescribeInstanceTypes: the catalogue of instance types. No region is needed.

use crate::model::{InstanceType, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    /// Empty: all.
    pub instance_types: Vec<String>,
    pub instance_type_family: Option<String>,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            instance_types: params.list("InstanceTypes")?,
            instance_type_family: params.text("InstanceTypeFamily"),
        })
    }
}

/// All that match; there are never so many that a page would end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::instance_type")]
    pub instance_types: Vec<InstanceType>,
    pub next_token: String,
}
