//! What forms can do: one row for each action that changes something. A row has the name that the API knows it by, the
//! module of `ecs` that reads its parameters, which is also the method of [`Control`], and what is said when it is done.
//!
//! The order is the API's: read the parameters, ask for permission, act. There is no other way to change anything from here.

use serde::Serialize;
use serde_json::Value;
use std::pin::Pin;
use tidemark_control::{Caller, Control};
use tidemark_ecs::ram::{keys, login, policies, users};
use tidemark_ecs::{ApiError, Params};

/// A form's request.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) control: &'a Control,
    pub(crate) caller: &'a Caller,
    pub(crate) params: &'a Params,
}

impl Call<'_> {
    async fn may(&self, service: &str, action: &str) -> Result<(), ApiError> {
        self.control
            .authorize(self.caller, service, action, self.params)
            .await
    }
}

type Run = for<'a> fn(Call<'a>) -> Pin<Box<dyn Future<Output = Result<Value, ApiError>> + Send + 'a>>;

/// An action that changes something.
pub(crate) struct Act {
    pub(crate) name: &'static str,
    /// Whether it is about users, keys and policies, which are in no region.
    pub(crate) is_ram: bool,
    /// What is said when it is done.
    pub(crate) done: &'static str,
    run: Run,
}

impl Act {
    /// Whether asked twice with one token it is done once (`ClientToken` of the contract).
    pub(crate) fn takes_token(&self) -> bool {
        const TAKE: &[&str] = &[
            "CopySnapshot",
            "CreateDisk",
            "CreateImage",
            "CreateSnapshot",
            "CreateSnapshotGroup",
            "ModifyDiskSpec",
            "ReplaceSystemDisk",
            "ResizeDisk",
            "RunInstances",
        ];
        TAKE.contains(&self.name)
    }

    /// Does it. The answer is the API's.
    pub(crate) async fn perform(&self, call: Call<'_>) -> Result<Value, ApiError> {
        (self.run)(call).await
    }
}

fn shown(answer: &impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(answer).map_err(|error| {
        tracing::error!(%error, "an answer cannot be shown");
        ApiError::internal()
    })
}

macro_rules! ecs {
    ($name:literal, $module:ident, $done:literal) => {
        Act {
            name: $name,
            is_ram: false,
            done: $done,
            run: |call| {
                Box::pin(async move {
                    let request = tidemark_ecs::actions::$module::Request::parse(call.params)?;
                    call.may("ecs", $name).await?;
                    shown(&call.control.$module(call.caller, request).await?)
                })
            },
        }
    };
}

macro_rules! ram {
    ($name:literal, $parse:expr, $method:ident, $done:literal) => {
        Act {
            name: $name,
            is_ram: true,
            done: $done,
            run: |call| {
                Box::pin(async move {
                    let request = $parse(call.params)?;
                    call.may("ram", $name).await?;
                    shown(&call.control.$method(call.caller, request).await?)
                })
            },
        }
    };
}

/// All of them, by what they are about.
pub(crate) const ACTS: &[Act] = &[
    // Instances.
    ecs!("RunInstances", run_instances, "The instance is being made."),
    ecs!("StartInstance", start_instance, "The instance is being started."),
    ecs!("StopInstance", stop_instance, "The instance is being stopped."),
    ecs!(
        "RebootInstance",
        reboot_instance,
        "The instance is being restarted."
    ),
    ecs!("DeleteInstance", delete_instance, "The instance is released."),
    ecs!(
        "ModifyInstanceAttribute",
        modify_instance_attribute,
        "The instance is changed."
    ),
    // Disks.
    ecs!("CreateDisk", create_disk, "The disk is being made."),
    ecs!(
        "ReplaceSystemDisk",
        replace_system_disk,
        "The system disk is being replaced."
    ),
    ecs!("AttachDisk", attach_disk, "The disk is being attached."),
    ecs!("DetachDisk", detach_disk, "The disk is being detached."),
    ecs!("DeleteDisk", delete_disk, "The disk is released."),
    ecs!("ResizeDisk", resize_disk, "The disk is being resized."),
    ecs!(
        "ModifyDiskSpec",
        modify_disk_spec,
        "The disk's category is changed."
    ),
    ecs!("ReInitDisk", re_init_disk, "The disk is being re-initialized."),
    ecs!("ResetDisk", reset_disk, "The disk is being rolled back."),
    ecs!("ResetDisks", reset_disks, "The disks are being rolled back."),
    ecs!(
        "ModifyDiskAttribute",
        modify_disk_attribute,
        "The disk is changed."
    ),
    ecs!(
        "ModifyDiskHydration",
        modify_disk_hydration,
        "How the disk is filled is changed."
    ),
    // Snapshots.
    ecs!(
        "CreateSnapshot",
        create_snapshot,
        "The snapshot is being created."
    ),
    ecs!("CopySnapshot", copy_snapshot, "The snapshot is being copied."),
    ecs!("DeleteSnapshot", delete_snapshot, "The snapshot is deleted."),
    ecs!("UndeleteSnapshot", undelete_snapshot, "The snapshot is back."),
    ecs!(
        "ModifySnapshotAttribute",
        modify_snapshot_attribute,
        "The snapshot is changed."
    ),
    ecs!("LockSnapshot", lock_snapshot, "The snapshot is locked."),
    ecs!("UnlockSnapshot", unlock_snapshot, "The snapshot is unlocked."),
    ecs!(
        "CreateSnapshotGroup",
        create_snapshot_group,
        "The instance snapshot is being created."
    ),
    ecs!(
        "DeleteSnapshotGroup",
        delete_snapshot_group,
        "The instance snapshot is deleted."
    ),
    ecs!(
        "StartVaultScrub",
        start_vault_scrub,
        "Verifying has begun; the snapshot's page will have the verdict."
    ),
    // Images.
    ecs!("CreateImage", create_image, "The image is being created."),
    ecs!("DeleteImage", delete_image, "The image is deleted."),
    // Automatic snapshot policies.
    ecs!(
        "CreateAutoSnapshotPolicy",
        create_auto_snapshot_policy,
        "The policy is made; apply it to disks now."
    ),
    ecs!(
        "ModifyAutoSnapshotPolicyEx",
        modify_auto_snapshot_policy_ex,
        "The policy is changed."
    ),
    ecs!(
        "DeleteAutoSnapshotPolicy",
        delete_auto_snapshot_policy,
        "The policy is deleted."
    ),
    ecs!(
        "ApplyAutoSnapshotPolicy",
        apply_auto_snapshot_policy,
        "The policy is applied."
    ),
    ecs!(
        "CancelAutoSnapshotPolicy",
        cancel_auto_snapshot_policy,
        "The policy is no longer applied."
    ),
    // Tags and tasks.
    ecs!("TagResources", tag_resources, "The tags are set."),
    ecs!("UntagResources", untag_resources, "The tags are removed."),
    ecs!("CancelTask", cancel_task, "The task is being cancelled."),
    // Users, keys, policies.
    ram!(
        "CreateUser",
        users::CreateUser::parse,
        create_user,
        "The user is made; it may do nothing yet."
    ),
    ram!(
        "DeleteUser",
        users::OneUser::parse,
        delete_user,
        "The user is deleted."
    ),
    ram!(
        "CreateLoginProfile",
        login::SetPassword::parse,
        create_login_profile,
        "The password is set."
    ),
    ram!(
        "UpdateLoginProfile",
        login::SetPassword::parse,
        update_login_profile,
        "The password is changed."
    ),
    ram!(
        "DeleteLoginProfile",
        users::OneUser::parse,
        delete_login_profile,
        "The password is taken away."
    ),
    ram!(
        "CreateAccessKey",
        keys::KeysOf::parse,
        create_access_key,
        "The access key is made."
    ),
    ram!(
        "UpdateAccessKey",
        keys::UpdateAccessKey::parse,
        update_access_key,
        "The access key is changed."
    ),
    ram!(
        "DeleteAccessKey",
        keys::OneKey::parse,
        delete_access_key,
        "The access key is deleted."
    ),
    ram!(
        "AttachPolicyToUser",
        policies::Attachment::of_user,
        attach_policy,
        "The policy is attached."
    ),
    ram!(
        "DetachPolicyFromUser",
        policies::Attachment::of_user,
        detach_policy,
        "The policy is detached."
    ),
];

/// The one of that name.
pub(crate) fn find(name: &str) -> Option<&'static Act> {
    ACTS.iter().find(|act| act.name == name)
}

/// What a form may ask for of each of several things, which it names in `_each`.
pub(crate) struct Each {
    /// The action.
    pub(crate) action: &'static str,
    /// Its parameter that names one thing.
    pub(crate) parameter: &'static str,
    /// What a thing is called, and what is said of those that it was done to.
    pub(crate) noun: &'static str,
    pub(crate) done: &'static str,
}

/// All of them.
pub(crate) const EACH: &[Each] = &[
    Each {
        action: "DeleteSnapshot",
        parameter: "SnapshotId",
        noun: "snapshot",
        done: "deleted",
    },
    Each {
        action: "ResizeDisk",
        parameter: "DiskId",
        noun: "disk",
        done: "being resized",
    },
];

/// The id of what was made, if the answer names one.
pub(crate) fn made(answer: &Value) -> Option<&str> {
    let names = [
        "SnapshotId",
        "DiskId",
        "ImageId",
        "SnapshotGroupId",
        "AutoSnapshotPolicyId",
    ];
    let one = names.iter().find_map(|name| answer.get(name)?.as_str());
    one.or_else(|| answer.pointer("/InstanceIdSets/InstanceIdSet/0")?.as_str())
}

/// What went wrong with some of several things that one request was about.
pub(crate) fn failures(answer: &Value) -> Vec<String> {
    let items = answer.pointer("/OperationProgressSet/OperationProgress");
    let items = items.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let text = |item: &Value, name: &str| {
        item.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    items
        .iter()
        .filter(|item| text(item, "OperationStatus") == "Failed")
        .map(|item| format!("{} ({})", text(item, "ErrorMsg"), text(item, "ErrorCode")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_act_is_one_that_permissions_speak_about() {
        let mut names: Vec<_> = ACTS.iter().map(|act| act.name).collect();
        for name in &names {
            assert!(tidemark_control::has_permission_row(name), "{name}");
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ACTS.len());
        for each in EACH {
            assert!(find(each.action).is_some(), "{}", each.action);
        }
    }

    #[test]
    fn answers_name_what_was_made_and_what_failed() {
        assert_eq!(made(&json!({"SnapshotId": "s-1"})), Some("s-1"));
        assert_eq!(
            made(&json!({"InstanceIdSets": {"InstanceIdSet": ["i-1"]}})),
            Some("i-1")
        );
        assert_eq!(made(&json!({})), None);
        let answer = json!({"OperationProgressSet": {"OperationProgress": [
            {"OperationStatus": "Success", "ErrorMsg": "", "ErrorCode": ""},
            {"OperationStatus": "Failed", "ErrorMsg": "It runs.", "ErrorCode": "X"},
        ]}});
        assert_eq!(failures(&answer), ["It runs. (X)"]);
    }
}
