//! Which actions there are. One row each: its name, and the module of `ecs::actions` whose name is
//! also the method of [`Control`]. What needs more than parse, call, render has a file here.
//!
//! All that holds for every action is done with this table, so that a new row has it: what its name says
//! of it ([`Action::only_reads`]), DryRun of what only reads, throttling, and the published description.

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
type Run = for<'a> fn(Call<'a>) -> Pin<Box<dyn Future<Output = Result<String, ApiError>> + Send + 'a>>;

/// One row.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Reads and checks the parameters, and does nothing: the description is made with it.
    pub(crate) parse: fn(&Params) -> Result<(), ApiError>,
    run: Run,
}

impl Action {
    /// Whether it changes nothing: its name says so.
    pub(crate) fn only_reads(&self) -> bool {
        only_reads(self.name)
    }

    /// Does it. What only reads has no side effect to hold back, so its DryRun is settled here: an answer that
    /// would go well is an error. What changes something sees to it before the change.
    pub(crate) async fn perform(&self, call: Call<'_>) -> Result<String, ApiError> {
        let dry_run = self.only_reads() && call.params.flag("DryRun")?;
        let body = (self.run)(call).await?;
        if dry_run {
            Err(ApiError::dry_run())
        } else {
            Ok(body)
        }
    }
}

/// Whether an action of this name changes nothing.
pub(crate) fn only_reads(name: &str) -> bool {
    ["Describe", "List", "Get"]
        .iter()
        .any(|verb| name.starts_with(verb))
}

/// Version of the one action that belongs to another service.
const STS_VERSION: &str = "2015-04-01";

/// Parse, call, render. `listing` is for the reader.
macro_rules! row {
    ($name:literal, $module:ident) => {
        Action {
            name: $name,
            version: API_VERSION,
            parse: |params| tidemark_ecs::actions::$module::Request::parse(params).map(drop),
            run: |call| {
                Box::pin(async move {
                    let request = tidemark_ecs::actions::$module::Request::parse(call.params)?;
                    call.render($name, &call.control.$module(call.caller, request).await?)
                })
            },
        }
    };
    ($name:literal, $module:ident, listing) => {
        row!($name, $module)
    };
}

/// All of them, by name.
pub(crate) const ACTIONS: &[Action] = &[
    row!("AttachDisk", attach_disk),
    row!("CreateDisk", create_disk),
    row!("CreateSnapshot", create_snapshot),
    row!("DeleteDisk", delete_disk),
    row!("DeleteInstance", delete_instance),
    row!("DeleteSnapshot", delete_snapshot),
    row!("DescribeDeletedSnapshots", describe_deleted_snapshots),
    row!("DescribeDiskHydration", describe_disk_hydration),
    row!("DescribeDisks", describe_disks, listing),
    row!("DescribeInstanceStatus", describe_instance_status),
    row!("DescribeInstances", describe_instances, listing),
    Action {
        name: "DescribeRegions",
        version: API_VERSION,
        parse: |params| tidemark_ecs::actions::describe_regions::Request::parse(params).map(drop),
        run: |call| Box::pin(describe_regions::run(call)),
    },
    row!("DescribeSnapshots", describe_snapshots, listing),
    row!("DescribeZones", describe_zones),
    row!("DetachDisk", detach_disk),
    row!("ListTagResources", list_tag_resources),
    row!("ModifyDiskHydration", modify_disk_hydration),
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
        parse: |_| Ok(()),
        run: |call| Box::pin(get_caller_identity::run(call)),
    },
];

/// The action of that name and version. Absent: 400 `MissingParameter`; a version that nobody has:
/// 400 `InvalidParameter`; an unknown name: 404 `InvalidAction.NotFound`.
pub(crate) fn find(name: Option<&str>, version: Option<&str>) -> Result<&'static Action, ApiError> {
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
    found.ok_or_else(|| ApiError::action_not_found(name))
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
