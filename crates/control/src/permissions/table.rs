//! What each action is about, for whoever says who may do it (product.md 2.19).
//!
//! A new action needs a row here; a test of `api` fails without one, and until then only those may call it who may
//! do everything to everything.

use super::Ids::{Json, Members, Repeat, Text};
use super::Target::{
    self, All, AllBy, AnyPolicy, Anywhere, Everything, Everywhere, Filtered, Given, If, New, NewBeside,
    NewIn, Own, Ram, Tagged,
};

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

const DISK: Target = Given("disk", &[Text("DiskId")]);
const SNAPSHOT: Target = Given("snapshot", &[Text("SnapshotId")]);
const INSTANCE: Target = Given("instance", &[Text("InstanceId")]);
const INSTANCES: Target = Given("instance", &[Repeat("InstanceId")]);
const KEY_PAIR: Target = Given("keypair", &[Text("KeyPairName")]);
const IF_KEY_PAIR: Target = If("keypair", &[Text("KeyPairName")]);
const IMAGE: Target = Given("image", &[Text("ImageId")]);
const GROUP: Target = Given("snapshotgroup", &[Text("SnapshotGroupId")]);
const TASK: Target = Given("task", &[Text("TaskId")]);
const COPIES: Target = NewIn("snapshot", Json("TargetCopyRegions"));
const FAMILY: Target = AllBy("image", "ImageFamily", "ImageId");
const USER: Target = Ram("user", "UserName");
const ROLE: Target = Ram("role", "RoleName");
const POLICY: Target = Ram("policy", "PolicyName");

/// All rows, sorted by area.
pub(super) const ROWS: &[Row] = rows! {
    // Disks.
    "AttachDisk" => INSTANCE, DISK;
    "CreateDisk" => New("disk"), If("snapshot", &[Text("SnapshotId")]), If("instance", &[Text("InstanceId")]);
    "DeleteDisk" => DISK;
    "DescribeDiskHydration" => DISK;
    "DescribeDiskMonitorData" => DISK;
    "DescribeDisks" => Filtered("disk", &[Json("DiskIds")]);
    "DetachDisk" => INSTANCE, DISK;
    "ModifyDiskAttribute" => Given("disk", &[Text("DiskId"), Repeat("DiskIds")]);
    "ModifyDiskHydration" => DISK;
    "ModifyDiskSpec" => DISK;
    "ReInitDisk" => DISK, IF_KEY_PAIR;
    "ReplaceSystemDisk" => INSTANCE, If("image", &[Text("ImageId")]), IF_KEY_PAIR;
    "ResetDisk" => DISK;
    "ResetDisks" => Given("disk", &[Members("Disk", "DiskId")]);
    "ResizeDisk" => DISK;
    // Snapshots.
    "CopySnapshot" => SNAPSHOT, NewIn("snapshot", Text("DestinationRegionId"));
    "CreateSnapshot" => NewBeside("snapshot", "disk", "DiskId"), DISK;
    "DeleteSnapshot" => SNAPSHOT;
    "DescribeDeletedSnapshots" => All("snapshot");
    "DescribeLockedSnapshots" => Given("snapshot", &[Repeat("SnapshotIds")]);
    "DescribeSnapshotChanges" => SNAPSHOT, If("snapshot", &[Text("BaseSnapshotId")]);
    "DescribeSnapshotMetering" => All("snapshot");
    "DescribeSnapshotLinks" => Given("disk", &[Json("DiskIds")]);
    "DescribeSnapshotMonitorData" => All("snapshot");
    "DescribeSnapshotPackage" => All("snapshot");
    "DescribeSnapshots" => Filtered("snapshot", &[Json("SnapshotIds")]);
    "DescribeSnapshotsUsage" => All("snapshot");
    "LockSnapshot" => SNAPSHOT;
    "ModifySnapshotAttribute" => SNAPSHOT;
    "ModifySnapshotCategory" => SNAPSHOT;
    "OpenSnapshotService" => All("snapshot");
    "UndeleteSnapshot" => SNAPSHOT;
    "UnlockSnapshot" => SNAPSHOT;
    // Groups of snapshots.
    "CreateSnapshotGroup" => New("snapshotgroup"), If("instance", &[Text("InstanceId")]), If("disk", &[Repeat("DiskId"), Repeat("ExcludeDiskId")]);
    "DeleteSnapshotGroup" => GROUP;
    "DescribeSnapshotGroups" => Given("snapshotgroup", &[Repeat("SnapshotGroupId")]);
    "ModifySnapshotGroup" => GROUP;
    // Automatic snapshots: of the account's snapshots, in whichever region.
    "ApplyAutoSnapshotPolicy" => All("snapshot"), Given("disk", &[Json("diskIds")]);
    "CancelAutoSnapshotPolicy" => All("snapshot"), Given("disk", &[Json("diskIds")]);
    "CreateAutoSnapshotPolicy" => All("snapshot"), COPIES;
    "DeleteAutoSnapshotPolicy" => All("snapshot");
    "DescribeAutoSnapshotPolicyAssociations" => All("snapshot");
    "DescribeAutoSnapshotPolicyEx" => All("snapshot");
    "ModifyAutoSnapshotPolicyEx" => All("snapshot"), COPIES;
    // Images.
    "CreateImage" => New("image"), If("snapshot", &[Text("SnapshotId"), Members("DiskDeviceMapping", "SnapshotId")]), If("instance", &[Text("InstanceId")]);
    "DeleteImage" => IMAGE;
    "DescribeImageFromFamily" => All("image");
    "DescribeImageSharePermission" => IMAGE;
    "DescribeImageSupportInstanceTypes" => IMAGE;
    "DescribeImages" => All("image");
    "ModifyImageAttribute" => IMAGE;
    "ModifyImageSharePermission" => IMAGE;
    // Instances.
    "CreateInstance" => New("instance"), If("image", &[Text("ImageId")]), FAMILY, If("snapshot", &[Members("DataDisk", "SnapshotId")]), IF_KEY_PAIR;
    "DeleteInstance" => INSTANCE;
    "DeleteInstances" => INSTANCES;
    "DescribeInstanceAttribute" => INSTANCE;
    "DescribeInstanceHistoryEvents" => All("instance");
    "DescribeInstanceStatus" => INSTANCES;
    "DescribeInstances" => Filtered("instance", &[Json("InstanceIds")]);
    "DescribeUserData" => INSTANCE;
    "GetInstanceConsoleOutput" => INSTANCE;
    "ModifyInstanceAttribute" => INSTANCE;
    "ModifyInstanceAutoReleaseTime" => INSTANCE;
    "ModifyInstanceMetadataOptions" => INSTANCE;
    "ModifyInstanceSpec" => INSTANCE;
    "RebootInstance" => INSTANCE;
    "RebootInstances" => INSTANCES;
    "RunInstances" => New("instance"), If("image", &[Text("ImageId")]), FAMILY, If("snapshot", &[Members("DataDisk", "SnapshotId")]), IF_KEY_PAIR;
    "StartInstance" => INSTANCE;
    "StartInstances" => INSTANCES;
    "StopInstance" => INSTANCE;
    "StopInstances" => INSTANCES;
    // Key pairs.
    "AttachKeyPair" => Given("instance", &[Json("InstanceIds")]), KEY_PAIR;
    "CreateKeyPair" => New("keypair");
    "DeleteKeyPairs" => Given("keypair", &[Json("KeyPairNames")]);
    "DescribeKeyPairs" => All("keypair");
    "DetachKeyPair" => Given("instance", &[Json("InstanceIds")]), KEY_PAIR;
    "ImportKeyPair" => New("keypair");
    // Tags.
    "AddTags" => Tagged(&[Text("ResourceId")]);
    "DescribeResourceByTags" => Tagged(&[]);
    "DescribeTags" => Tagged(&[Text("ResourceId")]);
    "RemoveTags" => Tagged(&[Text("ResourceId")]);
    "ListTagResources" => Tagged(&[Repeat("ResourceId")]);
    "TagResources" => Tagged(&[Repeat("ResourceId")]);
    "UntagResources" => Tagged(&[Repeat("ResourceId")]);
    // Everything else of ECS, and what is our own.
    "CancelTask" => TASK;
    "DescribeAccountAttributes" => Everything;
    "DescribeAvailableResource" => Everything;
    "DescribeDiskEncryptionByDefaultStatus" => Everything;
    "DescribeInstanceTypeFamilies" => Everything;
    "DescribeInstanceTypes" => Everything;
    "DescribePrice" => Everything;
    "DescribeRegions" => Everything;
    "DescribeSecurityGroups" => Everything;
    "DescribeTaskAttribute" => TASK;
    "DescribeVSwitches" => Everything;
    "DescribeVpcs" => Everything;
    "DescribeTasks" => All("task");
    "DescribeZones" => Everything;
    "StartVaultScrub" => Everything;
    // What happened, and who is told: a webhook hears of every region.
    "CreateWebhook" => Everywhere("webhook");
    "DeleteWebhook" => Given("webhook", &[Text("WebhookId")]);
    "DescribeEvents" => Anywhere("event");
    "DescribeWebhooks" => Everywhere("webhook");
    // Users, keys, roles, policies.
    "AttachPolicyToRole" => ROLE, AnyPolicy;
    "AttachPolicyToUser" => USER, AnyPolicy;
    "CreateAccessKey" => Own;
    "CreatePolicy" => POLICY;
    "CreatePolicyVersion" => POLICY;
    "CreateRole" => ROLE;
    "CreateLoginProfile" => USER;
    "CreateUser" => USER;
    "DeleteAccessKey" => Own;
    "DeletePolicy" => POLICY;
    "DeleteRole" => ROLE;
    "DeleteLoginProfile" => USER;
    "DeleteUser" => USER;
    "DetachPolicyFromRole" => ROLE, AnyPolicy;
    "DetachPolicyFromUser" => USER, AnyPolicy;
    "GetAccessKeyLastUsed" => Own;
    "GetPolicy" => AnyPolicy;
    "GetRole" => ROLE;
    "GetLoginProfile" => USER;
    "GetUser" => USER;
    "UpdateLoginProfile" => USER;
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
