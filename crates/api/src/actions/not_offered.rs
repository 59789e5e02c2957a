//! Actions of the contract that are deliberately not offered, and why: a name that is known is not "not found".
//!
//! What is not here and not served is unknown: 404 `InvalidAction.NotFound`, as the contract has it for what lies outside its scope.

use tidemark_ecs::ApiError;

/// A name, the status and code of its answer, and the reason.
struct NotOffered {
    name: &'static str,
    status: u16,
    code: &'static str,
    why: &'static str,
}

const fn unsupported(name: &'static str, why: &'static str) -> NotOffered {
    NotOffered {
        name,
        status: 400,
        code: "UnsupportedOperation",
        why,
    }
}

const fn billing(name: &'static str) -> NotOffered {
    NotOffered {
        name,
        status: 403,
        code: "ChargeTypeViolation",
        why: "nothing is billed here: everything is PostPaid, and that cannot be changed",
    }
}

const NO_SCREEN: &str = "guests have no screen; GetInstanceConsoleOutput has what their serial consoles say";
const NO_NETWORK: &str =
    "networks are not managed here; ids of switches, groups and addresses are labels on instances";
const NO_AGENT: &str = "there is no agent in the guests";

const NO_IMAGE_COPIES: &str = "an image is made of snapshots: CopySnapshot brings them into the other region, and CreateImage makes one of them there";
const ROLE_FROM_THE_START: &str =
    "an instance has the role that RamRoleName of RunInstances gave it, for as long as it exists";
const NO_DEFAULT_ENCRYPTION: &str =
    "a disk is encrypted when its request says so, or what it is made from is";

const ALL: &[NotOffered] = &[
    unsupported(
        "CloneDisks",
        "a disk is made from a snapshot, which takes an instant: CreateSnapshot, then CreateDisk with SnapshotId",
    ),
    unsupported("ModifyInstanceVpcAttribute", NO_NETWORK),
    unsupported("GetInstanceScreenshot", NO_SCREEN),
    unsupported("DescribeInstanceVncUrl", NO_SCREEN),
    unsupported(
        "ImportImage",
        "`tidemark image import` makes an image of a raw or qcow2 file",
    ),
    unsupported(
        "ExportImage",
        "`tidemark image export` writes an image to a file, and every snapshot of it is an NBD export",
    ),
    unsupported("CreateSecurityGroup", NO_NETWORK),
    unsupported("AllocatePublicIpAddress", NO_NETWORK),
    unsupported("CopyImage", NO_IMAGE_COPIES),
    unsupported("CancelCopyImage", NO_IMAGE_COPIES),
    unsupported(
        "ExportSnapshot",
        "`tidemark snapshot export` writes it to a file; every snapshot is an NBD export, and the vault is a bucket already",
    ),
    unsupported("JoinResourceGroup", "there is one resource group"),
    unsupported("AttachInstanceRamRole", ROLE_FROM_THE_START),
    unsupported("DetachInstanceRamRole", ROLE_FROM_THE_START),
    unsupported("DescribeInstanceRamRole", ROLE_FROM_THE_START),
    unsupported("DescribeNetworkInterfaces", NO_NETWORK),
    unsupported(
        "DescribeInstanceMonitorData",
        "what guests use of processors and networks is not counted over time; the system's own tools show QEMU's processes",
    ),
    unsupported(
        "DescribeInstancesFullStatus",
        "DescribeInstanceStatus has the states, DescribeEvents what happened",
    ),
    unsupported(
        "DescribeDisksFullStatus",
        "DescribeDisks has the states, DescribeEvents what happened",
    ),
    unsupported(
        "DescribeResourcesModification",
        "DescribeAvailableResource has the instance types and the disk categories",
    ),
    unsupported("EnableDiskEncryptionByDefault", NO_DEFAULT_ENCRYPTION),
    unsupported("DisableDiskEncryptionByDefault", NO_DEFAULT_ENCRYPTION),
    unsupported("RunCommand", NO_AGENT),
    unsupported("DescribeInvocationResults", NO_AGENT),
    unsupported("DescribeCloudAssistantStatus", NO_AGENT),
    unsupported(
        "ModifyAutoSnapshotPolicy",
        "ModifyAutoSnapshotPolicyEx took its place, with the same parameters and more",
    ),
    billing("ModifyDiskChargeType"),
    billing("ModifyInstanceChargeType"),
    billing("RenewInstance"),
    billing("DescribeRenewalPrice"),
];

/// The answer to an action that is known and not offered.
pub(super) fn refusal(name: &str) -> Option<ApiError> {
    let found = ALL.iter().find(|row| row.name == name)?;
    let message = format!("The action {name} is not offered: {}.", found.why);
    Some(ApiError::new(found.status, found.code, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_reason_and_none_is_served() {
        for (at, row) in ALL.iter().enumerate() {
            assert!(row.why.len() > 10, "{}", row.name);
            assert!(
                ALL[..at].iter().all(|other| other.name != row.name),
                "{}",
                row.name
            );
            let served = super::super::ACTIONS.iter().any(|action| action.name == row.name);
            assert!(!served, "{} is served", row.name);
        }
        let refusal = refusal("ImportImage").expect("known");
        assert_eq!((refusal.status, &*refusal.code), (400, "UnsupportedOperation"));
        assert!(refusal.message.contains("image import"), "{}", refusal.message);
        let price = super::refusal("DescribeRenewalPrice").expect("known");
        assert_eq!((price.status, &*price.code), (403, "ChargeTypeViolation"));
        // Known, although the contract has no more than their names.
        for name in [
            "DescribeDisksFullStatus",
            "DescribeCloudAssistantStatus",
            "ModifyAutoSnapshotPolicy",
        ] {
            let refusal = super::refusal(name).expect(name);
            assert_eq!((refusal.status, &*refusal.code), (400, "UnsupportedOperation"));
        }
        // What the contract itself puts out of scope, and what nobody knows.
        for name in ["ModifyDiskDeployment", "RedeployInstance", "DescribeNothing"] {
            assert!(super::refusal(name).is_none(), "{name}");
        }
    }
}
