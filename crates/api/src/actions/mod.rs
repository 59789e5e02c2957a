//! Which actions there are. One row each: its name, and the module of `ecs::actions` whose name is
//! also the method of [`Control`]. What needs more than parse, call, render has a file here.

mod describe_regions;
mod get_caller_identity;

use serde::Serialize;
use std::pin::Pin;
use tidemark_control::{Caller, Control};
use tidemark_ecs::render::{self, Format};
use tidemark_ecs::{API_VERSION, ApiError, Params};

/// An authenticated request, on its way to an action.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) control: &'a Control,
    pub(crate) caller: &'a Caller,
    pub(crate) params: &'a Params,
    /// The host and port that the client called.
    pub(crate) host: &'a str,
    pub(crate) format: Format,
    pub(crate) request_id: &'a str,
}

impl Call<'_> {
    fn render(&self, action: &str, response: &impl Serialize) -> Result<String, ApiError> {
        render::success(self.format, action, self.request_id, response)
    }
}

/// Runs an action; answers the rendered body.
pub(crate) type Run =
    for<'a> fn(Call<'a>) -> Pin<Box<dyn Future<Output = Result<String, ApiError>> + Send + 'a>>;

struct Action {
    name: &'static str,
    version: &'static str,
    run: Run,
}

/// Version of the one action that belongs to another service.
const STS_VERSION: &str = "2015-04-01";

/// Parse, call, render. `listing` adds: with DryRun, an answer that went well is an error; actions
/// that change something see to it themselves, before the change.
macro_rules! row {
    ($name:literal, $module:ident) => {
        Action {
            name: $name,
            version: API_VERSION,
            run: |call| {
                Box::pin(async move {
                    let request = tidemark_ecs::actions::$module::Request::parse(call.params)?;
                    call.render($name, &call.control.$module(call.caller, request).await?)
                })
            },
        }
    };
    ($name:literal, $module:ident, listing) => {
        Action {
            name: $name,
            version: API_VERSION,
            run: |call| {
                Box::pin(async move {
                    let request = tidemark_ecs::actions::$module::Request::parse(call.params)?;
                    let dry_run = request.dry_run;
                    let response = call.control.$module(call.caller, request).await?;
                    if dry_run {
                        Err(ApiError::dry_run())
                    } else {
                        call.render($name, &response)
                    }
                })
            },
        }
    };
}

const ACTIONS: &[Action] = &[
    row!("ApplyAutoSnapshotPolicy", apply_auto_snapshot_policy),
    row!("AttachDisk", attach_disk),
    row!("CancelAutoSnapshotPolicy", cancel_auto_snapshot_policy),
    row!("CreateAutoSnapshotPolicy", create_auto_snapshot_policy),
    row!("CancelTask", cancel_task),
    row!("CopySnapshot", copy_snapshot),
    row!("CreateDisk", create_disk),
    row!("CreateSnapshot", create_snapshot),
    row!("DeleteAutoSnapshotPolicy", delete_auto_snapshot_policy),
    row!("DeleteDisk", delete_disk),
    row!("DeleteInstance", delete_instance),
    row!("DeleteSnapshot", delete_snapshot),
    row!(
        "DescribeAutoSnapshotPolicyAssociations",
        describe_auto_snapshot_policy_associations
    ),
    row!("DescribeAutoSnapshotPolicyEx", describe_auto_snapshot_policy_ex),
    row!("DescribeDeletedSnapshots", describe_deleted_snapshots),
    row!("DescribeDiskHydration", describe_disk_hydration),
    row!("DescribeDisks", describe_disks, listing),
    row!("DescribeInstanceStatus", describe_instance_status),
    row!("DescribeInstances", describe_instances, listing),
    Action {
        name: "DescribeRegions",
        version: API_VERSION,
        run: |call| Box::pin(describe_regions::run(call)),
    },
    row!("DescribeSnapshots", describe_snapshots, listing),
    row!("DescribeTaskAttribute", describe_task_attribute),
    row!("DescribeTasks", describe_tasks),
    row!("DescribeZones", describe_zones),
    row!("DetachDisk", detach_disk),
    row!("ListTagResources", list_tag_resources),
    row!("ModifyAutoSnapshotPolicyEx", modify_auto_snapshot_policy_ex),
    row!("ModifyDiskHydration", modify_disk_hydration),
    row!("ModifyDiskSpec", modify_disk_spec),
    row!("ModifySnapshotAttribute", modify_snapshot_attribute),
    row!("RebootInstance", reboot_instance),
    row!("ResetDisk", reset_disk),
    row!("RunInstances", run_instances),
    row!("StartInstance", start_instance),
    row!("StartVaultScrub", start_vault_scrub),
    row!("StopInstance", stop_instance),
    row!("TagResources", tag_resources),
    row!("UndeleteSnapshot", undelete_snapshot),
    row!("UntagResources", untag_resources),
    Action {
        name: "GetCallerIdentity",
        version: STS_VERSION,
        run: |call| Box::pin(get_caller_identity::run(call)),
    },
];

/// The action of that name and version. Absent: 400 `MissingParameter`; a version that nobody has:
/// 400 `InvalidParameter`; an unknown name: 404 `InvalidAction.NotFound`.
pub(crate) fn find(name: Option<&str>, version: Option<&str>) -> Result<Run, ApiError> {
    let name = name.ok_or_else(|| ApiError::missing_parameter("Action"))?;
    let version = version.ok_or_else(|| ApiError::missing_parameter("Version"))?;
    if ![API_VERSION, STS_VERSION].contains(&version) {
        return Err(ApiError::invalid_parameter(
            "Version",
            format!("{version:?} is not served, use {API_VERSION}"),
        ));
    }
    let found = ACTIONS
        .iter()
        .find(|action| action.name == name && action.version == version);
    found
        .map(|action| action.run)
        .ok_or_else(|| ApiError::action_not_found(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_found_by_exact_name_and_version() {
        let code = |name, version| {
            find(name, version)
                .map(|_| ())
                .map_err(|e| (e.status, e.code.into_owned()))
        };
        let refused = |status, code: &str| Err((status, code.to_owned()));
        assert_eq!(code(Some("CreateSnapshot"), Some("2014-05-26")), Ok(()));
        assert_eq!(code(Some("GetCallerIdentity"), Some("2015-04-01")), Ok(()));
        assert_eq!(code(None, Some("2014-05-26")), refused(400, "MissingParameter"));
        assert_eq!(
            code(Some("CreateSnapshot"), None),
            refused(400, "MissingParameter")
        );
        assert_eq!(
            code(Some("CreateSnapshot"), Some("2014-05-27")),
            refused(400, "InvalidParameter")
        );
        assert_eq!(
            code(Some("createSnapshot"), Some("2014-05-26")),
            refused(404, "InvalidAction.NotFound")
        );
        assert_eq!(
            code(Some("CreateSnapshot"), Some("2015-04-01")),
            refused(404, "InvalidAction.NotFound")
        );
        assert_eq!(
            code(Some("DisableDiskInstantAccess"), Some("2014-05-26")),
            refused(404, "InvalidAction.NotFound")
        );
    }

    #[test]
    fn no_name_has_two_rows() {
        let mut names: Vec<_> = ACTIONS.iter().map(|action| action.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ACTIONS.len());
    }
}
