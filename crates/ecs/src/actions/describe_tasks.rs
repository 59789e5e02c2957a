//! DescribeTasks: work that takes time and is no resource of its own, newest first.

use crate::filter::Window;
use crate::model::{Task, list};
use crate::page::{PageInfo, PageRequest};
use crate::{ApiError, Params, time};
use serde::Serialize;

/// Most ids in one request.
const IDS_MAX: usize = 100;

/// What is asked for; `None` means no filter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub region_id: String,
    pub task_ids: Option<Vec<String>>,
    pub task_action: Option<String>,
    /// `Finished`, `Processing`, `Failed`; another word is no filter.
    pub task_status: Option<String>,
    /// Empty: all.
    pub resource_ids: Vec<String>,
    pub task_group_id: Option<String>,
    /// StartTime and EndTime, of the creation.
    pub created: Window,
    pub page: PageRequest,
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let request = Self {
            region_id: params.required("RegionId")?,
            task_ids: params.get("TaskIds").map(ids),
            task_action: params.text("TaskAction"),
            task_status: params
                .text("TaskStatus")
                .filter(|status| ["Finished", "Processing", "Failed"].contains(&status.as_str())),
            resource_ids: params.list("ResourceIds")?,
            task_group_id: params.text("TaskGroupId"),
            created: Window {
                start: instant(params, "StartTime")?,
                end: instant(params, "EndTime")?,
            },
            page: PageRequest::parse(params, 100, 100)?,
        };
        let counts = [
            ("TaskIds", request.task_ids.as_ref().map_or(0, Vec::len)),
            ("ResourceIds", request.resource_ids.len()),
        ];
        match counts.iter().find(|(_, count)| *count > IDS_MAX) {
            None => Ok(request),
            Some((name, count)) => Err(ApiError::invalid_parameter(
                name,
                format!("{count} ids, where {IDS_MAX} are allowed"),
            )),
        }
    }
}

fn ids(text: &str) -> Vec<String> {
    let words = text.split(',').map(str::trim);
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn instant(params: &Params, name: &str) -> Result<Option<jiff::Timestamp>, ApiError> {
    let Some(text) = params.get(name) else {
        return Ok(None);
    };
    let wanted = "it must be yyyy-MM-ddTHH:mm:ssZ";
    time::parse_minutes_or_seconds(text)
        .map(Some)
        .ok_or_else(|| ApiError::invalid_parameter(name, wanted))
}

/// One page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    pub region_id: String,
    #[serde(with = "list::task")]
    pub task_set: Vec<Task>,
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
        let many = vec!["t-1"; 101].join(",");
        check::refusals(
            Request::parse,
            "RegionId=r",
            &[
                (&format!("TaskIds={many}"), 400, "InvalidParameter"),
                ("StartTime=soon", 400, "InvalidParameter"),
                ("PageSize=101", 400, "InvalidParameter"),
            ],
        );
    }

    #[test]
    fn ids_are_a_comma_list_and_odd_states_no_filter() {
        let request = Request::parse(&check::params(
            "RegionId=r&TaskIds=t-1,%20t-2,&TaskStatus=Waiting&EndTime=2026-01-01T00:00:00Z",
        ))
        .expect("valid");
        assert_eq!(request.task_ids, Some(vec!["t-1".into(), "t-2".into()]));
        assert_eq!(request.task_status, None);
        assert!(request.created.start.is_none() && request.created.end.is_some());
    }
}
