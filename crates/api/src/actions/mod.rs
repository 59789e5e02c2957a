//! Which actions there are. One row each: its name, and the module of `ecs::actions` whose name is
//! also the method of [`Control`]. What needs more than parse, call, render has a file here.
//!
//! All that holds for every action is done with this table, so that a new row has it: what its name says
//! of it ([`Action::only_reads`]), DryRun of what only reads, throttling, and the published description.

mod describe_regions;
mod get_caller_identity;
mod not_offered;

use crate::call::Call;
use std::pin::Pin;
use tidemark_ecs::ram::{RAM_VERSION, keys, login, policies, roles, sts, users};
use tidemark_ecs::{API_VERSION, ApiError, Params};

/// Runs an action; answers the rendered body.
type Run = for<'a> fn(Call<'a>) -> Pin<Box<dyn Future<Output = Result<String, ApiError>> + Send + 'a>>;

/// An action. Who may call it for what is in `control`'s table of permissions.
pub(crate) struct Action {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// Reads and checks the parameters, and does nothing: the description is made with it.
    pub(crate) parse: fn(&Params) -> Result<(), ApiError>,
    run: Run,
}

impl Action {
    /// The service that policies know it by.
    pub(crate) fn service(&self) -> &'static str {
        match self.version {
            RAM_VERSION => "ram",
            STS_VERSION => "sts",
            _ => "ecs",
        }
    }

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

/// Version of the token service's actions.
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
                    call.render($name, &call.control().await?.$module(call.caller, request).await?)
                })
            },
        }
    };
    ($name:literal, $module:ident, listing) => {
        row!($name, $module)
    };
}

/// As `row`, for the services whose requests are in `tidemark_ecs::ram`: how the request is read, and the method.
macro_rules! other {
    ($version:ident, $name:literal, $parse:expr, $method:ident) => {
        Action {
            name: $name,
            version: $version,
            parse: |params| $parse(params).map(drop),
            run: |call| {
                Box::pin(async move {
                    let request = $parse(call.params)?;
                    call.render($name, &call.control().await?.$method(call.caller, request).await?)
                })
            },
        }
    };
}

/// All of them, by name.
pub(crate) const ACTIONS: &[Action] = &[
    row!("AddTags", add_tags),
    row!("ApplyAutoSnapshotPolicy", apply_auto_snapshot_policy),
    row!("AttachDisk", attach_disk),
    row!("AttachKeyPair", attach_key_pair),
    row!("CancelAutoSnapshotPolicy", cancel_auto_snapshot_policy),
    row!("CreateAutoSnapshotPolicy", create_auto_snapshot_policy),
    row!("CancelTask", cancel_task),
    row!("CopySnapshot", copy_snapshot),
    row!("CreateDisk", create_disk),
    row!("CreateImage", create_image),
    row!("CreateInstance", create_instance),
    row!("CreateKeyPair", create_key_pair),
    row!("CreateSnapshot", create_snapshot),
    row!("CreateSnapshotGroup", create_snapshot_group),
    row!("CreateWebhook", create_webhook),
    row!("DeleteAutoSnapshotPolicy", delete_auto_snapshot_policy),
    row!("DeleteDisk", delete_disk),
    row!("DeleteImage", delete_image),
    row!("DeleteInstance", delete_instance),
    row!("DeleteInstances", delete_instances),
    row!("DeleteKeyPairs", delete_key_pairs),
    row!("DeleteSnapshot", delete_snapshot),
    row!("DescribeAccountAttributes", describe_account_attributes),
    row!("DescribeAvailableResource", describe_available_resource),
    row!("DeleteSnapshotGroup", delete_snapshot_group),
    row!(
        "DescribeAutoSnapshotPolicyAssociations",
        describe_auto_snapshot_policy_associations
    ),
    row!("DescribeAutoSnapshotPolicyEx", describe_auto_snapshot_policy_ex),
    row!("DescribeDeletedSnapshots", describe_deleted_snapshots),
    row!(
        "DescribeDiskEncryptionByDefaultStatus",
        describe_disk_encryption_by_default_status
    ),
    row!("DescribeDiskHydration", describe_disk_hydration),
    row!("DescribeDiskMonitorData", describe_disk_monitor_data),
    row!("DescribeDisks", describe_disks, listing),
    row!("DescribeImageFromFamily", describe_image_from_family),
    row!("DescribeImageSharePermission", describe_image_share_permission),
    row!(
        "DescribeImageSupportInstanceTypes",
        describe_image_support_instance_types
    ),
    row!("DescribeImages", describe_images, listing),
    row!("DescribeInstanceAttribute", describe_instance_attribute),
    row!("DeleteWebhook", delete_webhook),
    row!("DescribeEvents", describe_events),
    row!("DescribeInstanceHistoryEvents", describe_instance_history_events),
    row!("DescribeInstanceStatus", describe_instance_status),
    row!("DescribeInstanceTypeFamilies", describe_instance_type_families),
    row!("DescribeInstanceTypes", describe_instance_types),
    row!("DescribeInstances", describe_instances, listing),
    row!("DescribeKeyPairs", describe_key_pairs),
    row!("DescribeLockedSnapshots", describe_locked_snapshots, listing),
    Action {
        name: "DescribeRegions",
        version: API_VERSION,
        parse: |params| tidemark_ecs::actions::describe_regions::Request::parse(params).map(drop),
        run: |call| Box::pin(describe_regions::run(call)),
    },
    row!("DescribePrice", describe_price),
    row!("DescribeResourceByTags", describe_resource_by_tags),
    row!("DescribeSecurityGroups", describe_security_groups),
    row!("DescribeSnapshots", describe_snapshots, listing),
    row!("DescribeTaskAttribute", describe_task_attribute),
    row!("DescribeTasks", describe_tasks),
    row!("DescribeTags", describe_tags),
    row!("DescribeUserData", describe_user_data),
    row!("DescribeVSwitches", describe_v_switches),
    row!("DescribeVpcs", describe_vpcs),
    row!("DescribeWebhooks", describe_webhooks),
    row!("DescribeZones", describe_zones),
    row!("DetachDisk", detach_disk),
    row!("DetachKeyPair", detach_key_pair),
    row!("GetInstanceConsoleOutput", get_instance_console_output),
    row!("ImportKeyPair", import_key_pair),
    row!("ListTagResources", list_tag_resources),
    row!("ModifyDiskAttribute", modify_disk_attribute),
    row!("DescribeSnapshotChanges", describe_snapshot_changes),
    row!("DescribeSnapshotGroups", describe_snapshot_groups),
    row!("DescribeSnapshotLinks", describe_snapshot_links),
    row!("DescribeSnapshotMetering", describe_snapshot_metering),
    row!("DescribeSnapshotMonitorData", describe_snapshot_monitor_data),
    row!("DescribeSnapshotPackage", describe_snapshot_package),
    row!("DescribeSnapshotsUsage", describe_snapshots_usage),
    row!("LockSnapshot", lock_snapshot),
    row!("ModifyAutoSnapshotPolicyEx", modify_auto_snapshot_policy_ex),
    row!("ModifyDiskHydration", modify_disk_hydration),
    row!("ModifyDiskSpec", modify_disk_spec),
    row!("ModifyImageAttribute", modify_image_attribute),
    row!("ModifyImageSharePermission", modify_image_share_permission),
    row!("ModifyInstanceAttribute", modify_instance_attribute),
    row!("ModifyInstanceAutoReleaseTime", modify_instance_auto_release_time),
    row!("ModifyInstanceMetadataOptions", modify_instance_metadata_options),
    row!("ModifyInstanceSpec", modify_instance_spec),
    row!("ModifySnapshotAttribute", modify_snapshot_attribute),
    row!("ReInitDisk", re_init_disk),
    row!("ModifySnapshotCategory", modify_snapshot_category),
    row!("ModifySnapshotGroup", modify_snapshot_group),
    row!("OpenSnapshotService", open_snapshot_service),
    row!("RebootInstance", reboot_instance),
    row!("RebootInstances", reboot_instances),
    row!("RemoveTags", remove_tags),
    row!("ReplaceSystemDisk", replace_system_disk),
    row!("ResetDisk", reset_disk),
    row!("ResizeDisk", resize_disk),
    row!("ResetDisks", reset_disks),
    row!("RunInstances", run_instances),
    row!("StartInstance", start_instance),
    row!("StartInstances", start_instances),
    row!("StartVaultScrub", start_vault_scrub),
    row!("StopInstance", stop_instance),
    row!("StopInstances", stop_instances),
    row!("TagResources", tag_resources),
    row!("UndeleteSnapshot", undelete_snapshot),
    row!("UnlockSnapshot", unlock_snapshot),
    row!("UntagResources", untag_resources),
    // Users, keys, policies, roles.
    other!(
        RAM_VERSION,
        "AttachPolicyToRole",
        policies::Attachment::of_role,
        attach_policy
    ),
    other!(
        RAM_VERSION,
        "AttachPolicyToUser",
        policies::Attachment::of_user,
        attach_policy
    ),
    other!(
        RAM_VERSION,
        "CreateAccessKey",
        keys::KeysOf::parse,
        create_access_key
    ),
    other!(
        RAM_VERSION,
        "CreateLoginProfile",
        login::SetPassword::parse,
        create_login_profile
    ),
    other!(
        RAM_VERSION,
        "DeleteLoginProfile",
        users::OneUser::parse,
        delete_login_profile
    ),
    other!(
        RAM_VERSION,
        "GetLoginProfile",
        users::OneUser::parse,
        get_login_profile
    ),
    other!(
        RAM_VERSION,
        "UpdateLoginProfile",
        login::SetPassword::parse,
        update_login_profile
    ),
    other!(
        RAM_VERSION,
        "CreatePolicy",
        policies::CreatePolicy::parse,
        create_policy
    ),
    other!(
        RAM_VERSION,
        "CreatePolicyVersion",
        policies::CreatePolicyVersion::parse,
        create_policy_version
    ),
    other!(RAM_VERSION, "CreateRole", roles::CreateRole::parse, create_role),
    other!(RAM_VERSION, "CreateUser", users::CreateUser::parse, create_user),
    other!(
        RAM_VERSION,
        "DeleteAccessKey",
        keys::OneKey::parse,
        delete_access_key
    ),
    other!(
        RAM_VERSION,
        "DeletePolicy",
        policies::DeletePolicy::parse,
        delete_policy
    ),
    other!(RAM_VERSION, "DeleteRole", roles::OneRole::parse, delete_role),
    other!(RAM_VERSION, "DeleteUser", users::OneUser::parse, delete_user),
    other!(
        RAM_VERSION,
        "DetachPolicyFromRole",
        policies::Attachment::of_role,
        detach_policy
    ),
    other!(
        RAM_VERSION,
        "DetachPolicyFromUser",
        policies::Attachment::of_user,
        detach_policy
    ),
    other!(
        RAM_VERSION,
        "GetAccessKeyLastUsed",
        keys::OneKey::parse,
        get_access_key_last_used
    ),
    other!(RAM_VERSION, "GetPolicy", policies::GetPolicy::parse, get_policy),
    other!(RAM_VERSION, "GetRole", roles::OneRole::parse, get_role),
    other!(RAM_VERSION, "GetUser", users::OneUser::parse, get_user),
    other!(
        RAM_VERSION,
        "ListAccessKeys",
        keys::KeysOf::parse,
        list_access_keys
    ),
    other!(
        RAM_VERSION,
        "ListPolicies",
        policies::ListPolicies::parse,
        list_policies
    ),
    other!(
        RAM_VERSION,
        "ListPoliciesForRole",
        roles::OneRole::parse,
        list_policies_for_role
    ),
    other!(
        RAM_VERSION,
        "ListPoliciesForUser",
        users::OneUser::parse,
        list_policies_for_user
    ),
    other!(RAM_VERSION, "ListRoles", roles::ListRoles::parse, list_roles),
    other!(RAM_VERSION, "ListUsers", users::ListUsers::parse, list_users),
    other!(
        RAM_VERSION,
        "UpdateAccessKey",
        keys::UpdateAccessKey::parse,
        update_access_key
    ),
    // The token service.
    other!(STS_VERSION, "AssumeRole", sts::AssumeRole::parse, assume_role),
    Action {
        name: "GetCallerIdentity",
        version: STS_VERSION,
        parse: |_| Ok(()),
        run: |call| Box::pin(get_caller_identity::run(call)),
    },
];

/// The action of that name and version. Absent: 400 `MissingParameter`; a version that nobody has:
/// 400 `InvalidParameter`; a name that is known and not offered: the reason why; an unknown name: 404 `InvalidAction.NotFound`.
pub(crate) fn find(name: Option<&str>, version: Option<&str>) -> Result<&'static Action, ApiError> {
    let name = name.ok_or_else(|| ApiError::missing_parameter("Action"))?;
    let version = version.ok_or_else(|| ApiError::missing_parameter("Version"))?;
    if ![API_VERSION, RAM_VERSION, STS_VERSION].contains(&version) {
        return Err(ApiError::invalid_parameter(
            "Version",
            format!("{version:?} is not served, use {API_VERSION}"),
        ));
    }
    let found = ACTIONS
        .iter()
        .find(|action| action.name == name && action.version == version);
    found.ok_or_else(|| not_offered::refusal(name).unwrap_or_else(|| ApiError::action_not_found(name)))
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

    /// Without one, only those may call it who may do everything: say in control's table what it is about.
    #[test]
    fn every_action_says_what_it_is_about() {
        for action in ACTIONS {
            assert!(
                tidemark_control::has_permission_row(action.name),
                "{} has no row in crates/control/src/permissions/table.rs",
                action.name
            );
        }
    }

    #[test]
    fn no_name_has_two_rows() {
        let mut names: Vec<_> = ACTIONS.iter().map(|action| action.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ACTIONS.len());
    }
}
