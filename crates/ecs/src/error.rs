//! A refusal as the caller sees it.
//!
//! Status and code are contract, clients branch on them; the message is for people and names the
//! subject (which parameter, which resource, which state). Each action's own codes are made where
//! the rule is checked; here are only those that all actions share (ecs-api.md 1.13).

use std::borrow::Cow;

/// An error answer: what `render::error` writes into the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code} ({status}): {message}")]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// The documented code, such as `InvalidDiskId.NotFound`.
    pub code: Cow<'static, str>,
    /// For people: names the subject and the cause.
    pub message: String,
    /// Milliseconds for the `x-acs-retry-after` header, which makes clients wait and try again.
    pub retry_after_ms: Option<u64>,
}

impl ApiError {
    /// An error with a code of the action's own table.
    pub fn new(status: u16, code: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.into(),
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// 400, a mandatory parameter is absent or empty.
    pub fn missing_parameter(name: &str) -> Self {
        Self::new(
            400,
            "MissingParameter",
            format!(
                "The input parameter \"{name}\" that is mandatory for processing this request is not supplied."
            ),
        )
    }

    /// 400, a value that cannot be used and has no code of its own.
    pub fn invalid_parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(
            400,
            "InvalidParameter",
            format!("The parameter \"{name}\" is not valid: {why}."),
        )
    }

    /// 404, no such region.
    pub fn region_not_found(region: &str) -> Self {
        Self::new(
            404,
            "InvalidRegionId.NotFound",
            format!("The specified RegionId {region:?} does not exist."),
        )
    }

    /// 404, unknown disk, or somebody else's.
    pub fn disk_not_found(id: &str) -> Self {
        Self::new(
            404,
            "InvalidDiskId.NotFound",
            format!("The specified DiskId {id:?} does not exist."),
        )
    }

    /// 404, unknown snapshot, or somebody else's.
    pub fn snapshot_not_found(id: &str) -> Self {
        Self::new(
            404,
            "InvalidSnapshotId.NotFound",
            format!("The specified SnapshotId {id:?} does not exist."),
        )
    }

    /// 404, unknown instance, or somebody else's.
    pub fn instance_not_found(id: &str) -> Self {
        Self::new(
            404,
            "InvalidInstanceId.NotFound",
            format!("The specified InstanceId {id:?} does not exist."),
        )
    }

    /// 404, unknown image.
    pub fn image_not_found(id: &str) -> Self {
        Self::new(
            404,
            "InvalidImageId.NotFound",
            format!("The specified ImageId {id:?} does not exist."),
        )
    }

    /// 404, unknown resource group.
    pub fn resource_group_not_found(id: &str) -> Self {
        Self::new(
            404,
            "InvalidResourceGroup.NotFound",
            format!("The specified ResourceGroupId {id:?} does not exist."),
        )
    }

    /// 404, no action of this name is offered.
    pub fn action_not_found(action: &str) -> Self {
        Self::new(
            404,
            "InvalidAction.NotFound",
            format!("The specified action {action:?} is not found; check its name and version."),
        )
    }

    /// 400: every check of a `DryRun` request has passed.
    pub fn dry_run() -> Self {
        Self::new(
            400,
            "DryRunOperation",
            "Request validation has been passed with DryRun flag set.",
        )
    }

    /// 409, clashes with a request in progress.
    pub fn operation_conflict(what: impl std::fmt::Display) -> Self {
        Self::new(
            409,
            "OperationConflict",
            format!("The request conflicts with one in progress: {what}."),
        )
    }

    /// 403, the caller's policy does not allow it.
    pub fn forbidden_ram(action: &str) -> Self {
        Self::new(
            403,
            "Forbidden.RAM",
            format!("The caller is not authorized to perform {action}."),
        )
    }

    /// 400, user flow control; clients wait that long and try again.
    pub fn throttling(retry_after_ms: u64) -> Self {
        let error = Self::new(
            400,
            "Throttling",
            "The request was denied due to request throttling.",
        );
        Self {
            retry_after_ms: Some(retry_after_ms),
            ..error
        }
    }

    /// 503, overload or shutdown.
    pub fn service_unavailable(why: impl std::fmt::Display) -> Self {
        Self::new(
            503,
            "ServiceUnavailable",
            format!("The service cannot answer now: {why}."),
        )
    }

    /// 500, our fault. The cause belongs into the log, not into the answer.
    pub fn internal() -> Self {
        Self::new(
            500,
            "InternalError",
            "The request processing has failed due to an internal error; the service's log has the cause under this RequestId.",
        )
    }

    /// Whether the fault is ours (5xx).
    pub fn is_server_fault(&self) -> bool {
        self.status >= 500
    }
}
