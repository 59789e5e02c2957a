//! What each action is about, for whoever says who may do it (product.md 2.19).
//!
//! A new action needs a row here; a test of `api` fails without one, and until then only those may call it who may
//! do everything to everything.

use super::Target::{self, All, Everything, Filtered, Given, If, New, NewIn, Own, Ram, Tagged};

/// An action and its resources: the caller must be allowed to do it to all of them.
pub(super) struct Row {
    pub(super) action: &'static str,
    /// Nothing: anybody with a key may.
    pub(super) on: &'static [Target],
}

macro_rules! rows {
    ($($action:literal => $($target:expr),*;)*) => {
        &[$(Row { action: $action, on: &[$($target),*] }),*]
    };
}

const DISK: Target = Given("disk", &["DiskId"]);
const SNAPSHOT: Target = Given("snapshot", &["SnapshotId"]);
const INSTANCE: Target = Given("instance", &["InstanceId"]);
const USER: Target = Ram("user", "UserName");
const ROLE: Target = Ram("role", "RoleName");
const POLICY: Target = Ram("policy", "PolicyName");

/// All rows, sorted by area.
pub(super) const ROWS: &[Row] = rows! {
    // Disks.
    "AttachDisk" => INSTANCE, DISK;
    "CreateDisk" => New("disk"), If("snapshot", &["SnapshotId"]), If("instance", &["InstanceId"]);
    "DeleteDisk" => DISK;
    "DescribeDiskHydration" => DISK;
    "DescribeDisks" => Filtered("disk", &["DiskIds"]);
    "DetachDisk" => INSTANCE, DISK;
    "ModifyDiskAttribute" => Given("disk", &["DiskId", "DiskIds"]);
    "ModifyDiskHydration" => DISK;
    "ModifyDiskSpec" => DISK;
    "ReInitDisk" => DISK;
    "ReplaceSystemDisk" => INSTANCE, If("image", &["ImageId"]);
    "ResetDisk" => DISK;
    "ResetDisks" => Given("disk", &["Disk.*.DiskId"]);
    "ResizeDisk" => DISK;
    // Snapshots.
    "CopySnapshot" => SNAPSHOT, NewIn("snapshot", "DestinationRegionId");
    "CreateSnapshot" => New("snapshot"), DISK;
    "DeleteSnapshot" => SNAPSHOT;
    "DescribeDeletedSnapshots" => All("snapshot");
    "DescribeLockedSnapshots" => Given("snapshot", &["SnapshotIds"]);
    "DescribeSnapshotMetering" => All("snapshot");
    "DescribeSnapshotLinks" => Given("disk", &["DiskIds"]);
    "DescribeSnapshotMonitorData" => All("snapshot");
    "DescribeSnapshotPackage" => All("snapshot");
    "DescribeSnapshots" => Filtered("snapshot", &["SnapshotIds"]);
    "DescribeSnapshotsUsage" => All("snapshot");
    "LockSnapshot" => SNAPSHOT;
    "ModifySnapshotAttribute" => SNAPSHOT;
    "ModifySnapshotCategory" => SNAPSHOT;
    "OpenSnapshotService" => All("snapshot");
    "UndeleteSnapshot" => SNAPSHOT;
    "UnlockSnapshot" => SNAPSHOT;
    // Groups of snapshots.
    "CreateSnapshotGroup" => New("snapshotgroup"), If("instance", &["InstanceId"]), If("disk", &["DiskId", "ExcludeDiskId"]);
    "DeleteSnapshotGroup" => Given("snapshotgroup", &["SnapshotGroupId"]);
    "DescribeSnapshotGroups" => Given("snapshotgroup", &["SnapshotGroupId"]);
    "ModifySnapshotGroup" => Given("snapshotgroup", &["SnapshotGroupId"]);
    // Automatic snapshots: of the account's snapshots, in whichever region.
    "ApplyAutoSnapshotPolicy" => All("snapshot"), Given("disk", &["diskIds"]);
    "CancelAutoSnapshotPolicy" => All("snapshot"), Given("disk", &["diskIds"]);
    "CreateAutoSnapshotPolicy" => All("snapshot");
    "DeleteAutoSnapshotPolicy" => All("snapshot");
    "DescribeAutoSnapshotPolicyAssociations" => All("snapshot");
    "DescribeAutoSnapshotPolicyEx" => All("snapshot");
    "ModifyAutoSnapshotPolicy" => All("snapshot");
    "ModifyAutoSnapshotPolicyEx" => All("snapshot");
    // Images.
    "CreateImage" => New("image"), If("snapshot", &["SnapshotId", "DiskDeviceMapping.*.SnapshotId"]), If("instance", &["InstanceId"]);
    "DeleteImage" => Given("image", &["ImageId"]);
    "DescribeImageFromFamily" => All("image");
    "DescribeImageSharePermission" => Given("image", &["ImageId"]);
    "DescribeImageSupportInstanceTypes" => Given("image", &["ImageId"]);
    "DescribeImages" => All("image");
    "ModifyImageAttribute" => Given("image", &["ImageId"]);
    "ModifyImageSharePermission" => Given("image", &["ImageId"]);
    // Instances.
    "CreateInstance" => New("instance"), If("image", &["ImageId"]), If("snapshot", &["DataDisk.*.SnapshotId"]);
    "DeleteInstance" => INSTANCE;
    "DeleteInstances" => INSTANCE;
    "DescribeInstanceAttribute" => INSTANCE;
    "DescribeInstanceStatus" => Given("instance", &["InstanceId"]);
    "DescribeInstances" => Filtered("instance", &["InstanceIds"]);
    "DescribeUserData" => INSTANCE;
    "ModifyInstanceAttribute" => INSTANCE;
    "ModifyInstanceAutoReleaseTime" => INSTANCE;
    "RebootInstance" => INSTANCE;
    "RebootInstances" => INSTANCE;
    "RunInstances" => New("instance"), If("image", &["ImageId"]), If("snapshot", &["DataDisk.*.SnapshotId"]);
    "StartInstance" => INSTANCE;
    "StartInstances" => INSTANCE;
    "StopInstance" => INSTANCE;
    "StopInstances" => INSTANCE;
    // Tags.
    "AddTags" => Tagged;
    "DescribeResourceByTags" => Tagged;
    "DescribeTags" => Tagged;
    "RemoveTags" => Tagged;
    "ListTagResources" => Tagged;
    "TagResources" => Tagged;
    "UntagResources" => Tagged;
    // Everything else of ECS, and what is our own.
    "CancelTask" => Given("task", &["TaskId"]);
    "DescribeAccountAttributes" => Everything;
    "DescribeAvailableResource" => Everything;
    "DescribeInstanceTypeFamilies" => Everything;
    "DescribeInstanceTypes" => Everything;
    "DescribeRegions" => Everything;
    "DescribeSecurityGroups" => Everything;
    "DescribeTaskAttribute" => Given("task", &["TaskId"]);
    "DescribeVSwitches" => Everything;
    "DescribeVpcs" => Everything;
    "DescribeTasks" => All("task");
    "DescribeZones" => Everything;
    "StartVaultScrub" => Everything;
    // What happened, and who is told.
    "CreateWebhook" => All("webhook");
    "DeleteWebhook" => Given("webhook", &["WebhookId"]);
    "DescribeEvents" => All("event");
    "DescribeWebhooks" => All("webhook");
    // Users, keys, roles, policies.
    "AttachPolicyToRole" => ROLE, POLICY;
    "AttachPolicyToUser" => USER, POLICY;
    "CreateAccessKey" => Own;
    "CreatePolicy" => POLICY;
    "CreatePolicyVersion" => POLICY;
    "CreateRole" => ROLE;
    "CreateUser" => USER;
    "DeleteAccessKey" => Own;
    "DeletePolicy" => POLICY;
    "DeleteRole" => ROLE;
    "DeleteUser" => USER;
    "DetachPolicyFromRole" => ROLE, POLICY;
    "DetachPolicyFromUser" => USER, POLICY;
    "GetAccessKeyLastUsed" => Own;
    "GetPolicy" => POLICY;
    "GetRole" => ROLE;
    "GetUser" => USER;
    "ListAccessKeys" => Own;
    "ListPolicies" => Ram("policy", "");
    "ListPoliciesForRole" => ROLE;
    "ListPoliciesForUser" => USER;
    "ListRoles" => Ram("role", "");
    "ListUsers" => Ram("user", "");
    "UpdateAccessKey" => Own;
    // The token service.
    "AssumeRole" => Target::Arn("RoleArn");
    "GetCallerIdentity" => ;
};
