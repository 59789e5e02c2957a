//! The task (ecs-api.md 3.8): work that takes time and is no resource of its own.

use super::list;
use serde::{Serialize, Serializer};

/// One row of DescribeTasks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Task {
    pub task_id: String,
    /// Which action started it, or what it does.
    pub task_action: String,
    /// `Processing`, `Finished`, `Failed`.
    pub task_status: String,
    pub resource_id: String,
    pub task_group_id: String,
    /// A string on the wire, `true` or `false`.
    #[serde(serialize_with = "as_text")]
    pub support_cancel: bool,
    /// Minutes format.
    pub creation_time: String,
    /// Minutes format; empty while it is under way.
    pub finished_time: String,
}

/// What became of one part of an action that has several.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct OperationProgress {
    /// `Success`, or else what it came to.
    pub operation_status: String,
    /// Empty when it went well.
    pub error_code: String,
    /// Empty when it went well.
    pub error_msg: String,
    #[serde(with = "list::related_item")]
    pub related_item_set: Vec<RelatedItem>,
}

/// What a part was about: a parameter's name and its value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct RelatedItem {
    pub name: String,
    pub value: String,
}

fn as_text<S: Serializer>(flag: &bool, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(flag)
}
