//! Codes that the contract lists and that are never sent here, with the reason. docs/decisions/0082-codes-never-sent.md has the
//! same for people; a test compares the two.

/// A reason, and the codes that it is one for: an action, and its codes with spaces between. `403/Code` means the code with that
/// status only.
struct Reason {
    name: &'static str,
    why: &'static str,
    codes: &'static [(&'static str, &'static str)],
}

/// The entry that excuses a code of an action.
pub(super) fn excuse(action: &str, status: u16, code: &str) -> Option<(&'static str, &'static str)> {
    all().find(|(whose, entry)| {
        let (only, named) = entry.split_once('/').unwrap_or(("", entry));
        *whose == action && named == code && (only.is_empty() || only == status.to_string())
    })
}

/// Every action and code.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    let rows = NEVER.iter().flat_map(|reason| reason.codes);
    rows.flat_map(|(action, codes)| codes.split(' ').map(|code| (*action, code)))
}

#[test]
fn the_decision_lists_the_same_codes_for_the_same_reasons() {
    let place = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../docs/decisions/0082-codes-never-sent.md"
    );
    let text = std::fs::read_to_string(place).expect("the decision is there");
    let parts = text.split("\n## ").skip(1);
    let told: Vec<&str> = parts.map(str::trim_end).collect();
    let known = |reason: &Reason| {
        let rows = reason.codes.iter().map(|(action, codes)| {
            let codes: Vec<_> = codes
                .split(' ')
                .map(|code| format!("`{}`", code.replace('/', " ")))
                .collect();
            format!("- {action}: {}\n", codes.join(", "))
        });
        let rows: String = rows.collect();
        format!("{}\n\n{}\n\n{}", reason.name, reason.why, rows.trim_end())
    };
    let known: Vec<String> = NEVER.iter().map(known).collect();
    assert_eq!(told, known);
}

const NEVER: &[Reason] = &[
    Reason {
        name: "Billing",
        why: "Nothing costs anything here: no orders, no accounts in arrears, no kinds of payment, no quotas that are sold, no invitations.",
        codes: &[
            ("CreateSnapshot", "DiskInArrears InvalidAccountStatus.*"),
            (
                "CreateSnapshotGroup",
                "DiskInArrears InvalidAccountStatus.* UserNotInTheWhiteList",
            ),
            (
                "ResetDisk",
                "InstanceExpiredOrInArrears InvalidAccountStatus.* UserNotInTheWhiteList",
            ),
            (
                "ResetDisks",
                "InstanceExpiredOrInArrears InvalidAccountStatus.* UserNotInTheWhiteList",
            ),
            ("CreateAutoSnapshotPolicy", "InvalidAccountStatus.*"),
            ("ApplyAutoSnapshotPolicy", "InvalidAccountStatus.*"),
            (
                "CreateDisk",
                "Account.Arrearage OperationDenied.RiskIssue QuotaExceed.PortableCloudDisk QuotaExceed.PostPaidDisk \
                InvalidDiskCategory.ValueUnauthorized UserNotInTheWhiteList RegionUnauthorized Zone.NotOnSale",
            ),
            ("DeleteDisk", "UserNotInTheWhiteList"),
            ("AttachDisk", "InstanceExpiredOrInArrears DiskInArrears"),
            ("DetachDisk", "UserNotInTheWhiteList"),
            (
                "ResizeDisk",
                "LastOrderProcessing OperationDenied.UnfinishedOrder NoPermission.* \
                InvalidOperation.InstanceRenewWithDowngradeInPlan AccountForbidden.CreateOrder \
                QuotaExceeded.PostpaidDataDiskCapacity",
            ),
            ("ModifyDiskAttribute", "UserNotInTheWhiteList"),
            ("ReInitDisk", "InstanceExpiredOrInArrears UserNotInTheWhiteList"),
            (
                "ReplaceSystemDisk",
                "ImageNotSubscribed ImageRemovedInMarket QuotaExceed.BuyImage ChargeTypeViolation \
                InstanceExpiredOrInArrears INST_HAS_UNPAID_ORDER OperationDenied.UnpaidOrder",
            ),
            (
                "CreateImage",
                "AccountForbidden.CreateOrder InvalidAccountStatus.* UserNotInTheWhiteList",
            ),
            ("RunInstances", "QuotaExceed.ElasticQuota"),
            ("StartInstance", "QuotaExceed.ElasticQuota"),
            ("DeleteInstance", "ChargeTypeViolation"),
        ],
    },
    Reason {
        name: "Keys of a key service",
        why: "There is no key service; an encrypted disk gets a key of its own (docs/encryption.md).",
        codes: &[
            (
                "CreateSnapshot",
                "InvalidParameter.KMSKeyId.NotFound InvalidParameter.KMSKeyId.CMKUnauthorized \
                InvalidParameter.KMSKeyId.CMKNotEnabled InvalidParameter.KMSKeyId.KMSUnauthorized",
            ),
            ("CreateSnapshotGroup", "InvalidKMSKeyId.NotFound"),
            ("ResetDisk", "InvalidParameter.KMSKeyId.NotFound"),
            ("ResetDisks", "InvalidParameter.KMSKeyId.NotFound"),
            (
                "CreateDisk",
                "InvalidKms* InvalidEncrypt* EncryptedOption.Conflict NotSupportSnapshotEncrypted.*",
            ),
            ("AttachDisk", "InvalidKMSKeyId.NotFound"),
        ],
    },
    Reason {
        name: "Cloud boxes, other regions' rules, and old hardware",
        why: "One engine serves every category in every region and zone, on machines that we do not run: there is nothing that one of them supports and another does not.",
        codes: &[
            (
                "CreateSnapshot",
                "DiskCategory.OperationNotSupported IncorrectDiskType.NotSupport \
                InvalidRegion.NotSupportSnapshotInstantAccessRegion CloudBoxNotSupportSnapshotWithInstantAccess \
                InvalidParameter.UnauthorizedStorageLocationArn",
            ),
            (
                "CreateSnapshotGroup",
                "DiskCategory.OperationNotSupported InvalidDisk.DiskCategoryInconsistent IncorrectDiskType.NotSupport \
                InvalidRegion.NotSupport InvalidRegion.NotSupportSnapshotInstantAccessRegion",
            ),
            ("ResetDisk", "DiskCategory.OperationNotSupported"),
            ("ResetDisks", "DiskCategory.OperationNotSupported"),
            (
                "CreateAutoSnapshotPolicy",
                "DiskCategory.OperationNotSupported Abs.InvalidAction.RegionNotSupport",
            ),
            (
                "ApplyAutoSnapshotPolicy",
                "DiskCategory.OperationNotSupported PartofDiskCategory.OperationNotSupported",
            ),
            (
                "CreateDisk",
                "400/InvalidDiskCategory.NotSupported InvalidDataDiskCategory.NotSupported 400/OperationDenied \
                InvalidZoneId.DiskCategoryUnsupported InvalidCloudBoxZone.* InvalidRegion.NotSupport \
                InvalidStatus.Upgrading",
            ),
            (
                "AttachDisk",
                "DiskCategory.OperationNotSupported InvalidOperation.InstanceTypeNotSupport \
                IncorrectInstanceStatus.NotSupportESSD DependencyViolation.WindowsInstance \
                InvalidInstanceType.NotSupportDiskCategory InvalidInstanceType.NotSupportPL0 \
                InvalidInstanceType.NvmeRequired InvalidInstanceType.NvmeUnsupported \
                InvalidOperation.DiskQueueNumberNotEnough InvalidParameterForce.* \
                InvalidOperation.OtherInstanceUnsupported",
            ),
            (
                "DetachDisk",
                "InvalidOperation.InstanceTypeNotSupport InvalidOperation.DiskCategoryUnsupported \
                InvalidInstance.ImageCategory InvalidDiskId.OperationNotSupported",
            ),
            (
                "ResizeDisk",
                "InvalidSystemDiskSize.ImageNotSupportResize InvalidStatus.Upgrading InvalidDiskCategory.NotSupported \
                InvalidRegion.NotSupport InvalidOperation.InstanceTypeNotSupportOnlineResize \
                InvalidDiskSize.NotSupportResizeOnline InvalidDataDiskCategory.ValueNotSupported",
            ),
            (
                "ReInitDisk",
                "DiskCategory.OperationNotSupported DependencyViolation.IoOptimize \
                DiskHasSnapshotsWithInstantAccessEnabled.OperationNotSupported",
            ),
            (
                "ReplaceSystemDisk",
                "InvalidSystemDiskSize.ImageNotSupportResize DependencyViolation.IoOptimize \
                ImageNotSupportInstanceType IoOptimized.NotSupported ResourcesNotInSameZone",
            ),
            (
                "CreateImage",
                "InvalidDiskCategory.CreateImage InvalidOperation.DiskCategoryUnsupported \
                OperationDenied.InvalidSnapshotCategory InvalidSnapshotCategory.NotSupportImageCreation \
                InvalidOperation.SnapshotStorageLocationUnsupported",
            ),
            (
                "RunInstances",
                "InvalidDiskCategory.Mismatch ImageNotSupportInstanceType",
            ),
            (
                "StartInstance",
                "OperationDenied.NoStock OperationDenied.HostRepairing",
            ),
        ],
    },
    Reason {
        name: "Resources of other services",
        why: "No other product makes or manages resources here, and no snapshot is shared or free of charge.",
        codes: &[
            (
                "DeleteSnapshot",
                "InvalidOperation.ResourceManagedByCloudProduct InvalidOperation.DeleteSharedSnapshotUnsupported",
            ),
            (
                "ModifySnapshotAttribute",
                "InvalidOperation.ResourceManagedByCloudProduct InvalidOperation.DefaultFreeSnapshotNotSupport",
            ),
            (
                "LockSnapshot",
                "InvalidOperation.ResourceManagedByCloudProduct InvalidOperation.LockSharedSnapshotUnsupported",
            ),
            (
                "ModifyAutoSnapshotPolicyEx",
                "InvalidOperation.PolicyTypeUnsupported",
            ),
            ("StopInstance", "OperationDenied.SystemInstanceNotSupport"),
            ("DeleteInstance", "OperationDenied.SystemInstanceNotSupport"),
            (
                "TagResources",
                "Invalid.Scope InvalidResourceId.NotSupported NoPermission.Tag NoPermissionKey.Scope \
                PermissionDenied.TagOwnerUid PermissionDenied.TagOwnerBid PermissionDenied.Scope \
                MissingParameter.TagOwnerUid MissingParameter.TagOwnerBid",
            ),
            (
                "UntagResources",
                "Invalid.Scope InvalidResourceId.NotSupported NoPermission.Tag NoPermissionKey.Scope \
                PermissionDenied.TagOwnerUid PermissionDenied.TagOwnerBid PermissionDenied.Scope \
                MissingParameter.TagOwnerUid MissingParameter.TagOwnerBid",
            ),
            (
                "ListTagResources",
                "Invalid.Scope InvalidResourceId.NotSupported NoPermission.Tag NoPermissionKey.Scope \
                PermissionDenied.TagOwnerUid PermissionDenied.TagOwnerBid PermissionDenied.Scope \
                MissingParameter.TagOwnerUid MissingParameter.TagOwnerBid",
            ),
        ],
    },
    Reason {
        name: "No such type of resource",
        why: "Storage sets, dedicated clusters, volumes of the years before disks, shared disks, load balancers, network interfaces, clusters of instances and public images do not exist here.",
        codes: &[
            ("CreateSnapshot", "IncorrectVolumeStatus InvalidVolumeId.NotFound"),
            (
                "CreateSnapshotGroup",
                "InvalidDisk.ShareVolume IncorrectVolumeStatus InvalidVolumeId.NotFound",
            ),
            (
                "CreateDisk",
                "InvalidStorageSetId.* InvalidStorageClusterId.* InvalidDiskSize.ExceedsMultiAttachLimit \
                InvalidParameter.MultiAttachAndInstanceIdConflict \
                InvalidParameter.DiskCategoryAndMultiAttachConflict \
                InvalidParameter.DiskCategoryAndMultiAttachNotMatch",
            ),
            (
                "AttachDisk",
                "InvalidInstanceType.NotSupportMultiAttachDisk DiskAttachedNumberExceeded \
                InvalidOperation.CanNotAttachMultiAttachDiskAsSystemDisk",
            ),
            (
                "ResizeDisk",
                "IncorrectDiskStatus.ReplicationStatusNotFound IncorrectDiskStatus.InReplication \
                InvalidOperation.MultiAttachDiskNotSupportResizeOnline InvalidDiskSize.NotSupportMultiAttachDisk",
            ),
            (
                "ModifyDiskAttribute",
                "BurstingEnabledForMultiAttachDiskUnsupported",
            ),
            (
                "ReInitDisk",
                "InvalidOperation.MultiAttachDisk SharedImageDeleted",
            ),
            ("DescribeImages", "CurrentAccount.NotSupportPublicImage"),
            (
                "DeleteImage",
                "ImageIsPublic ImageIsImporting ImageIsExporting OperationDenied.ImageCopying",
            ),
            (
                "DescribeInstances",
                "InvalidHpcClusterId.NotFound InvalidHpcClusterId.Creating",
            ),
            (
                "DeleteInstance",
                "DependencyViolation.SLBConfiguring DependencyViolation.RouteEntry InvalidOperation.EniLinked",
            ),
            ("CancelTask", "CancelTaskFailed"),
        ],
    },
    Reason {
        name: "Networks are labels",
        why: "Ids of switches, security groups and addresses are kept as they are given; nothing is behind them that could be missing or in use.",
        codes: &[(
            "RunInstances",
            "InvalidPrivateIpAddress.Duplicated QuotaExceeded.PrivateIpAddress InvalidSecurityGroupId.NotFound \
                InvalidIp.IpAssigned InvalidVSwitchId.NotFound InvalidSecurityGroupId",
        )],
    },
    Reason {
        name: "No archive",
        why: "ModifySnapshotCategory refuses every snapshot that exists with 400 `UnsupportedOperation`: the vault stores all of them in the same way.",
        codes: &[(
            "ModifySnapshotCategory",
            "InvalidOperation.DecreaseRetentionDaysUnsupported InvalidSnapshotId.NotReady \
                InvalidStatus.SnapshotUnfinished InvalidStatus.SnapshotAgeLimit InvalidStatus.SnapshotInArchive \
                InvalidRetentionDays.LessThanLockExpiredTime InvalidOperation.ArchiveSharedSnapshotUnsupported \
                InvalidOperation.ArchiveCloudBoxSnapshotUnsupported InvalidOperation.ResourceManagedByCloudProduct \
                InvalidOperation.InstantAccessEnabledUnsupport InvalidOperation.EncryptedSnapshotUnsupport \
                InvalidOperation.DefaultFreeSnapshotNotSupport QuotaExceed.ConcurrentArchiveSnapshotQuota",
        )],
    },
    Reason {
        name: "Hibernation, transfers and backends",
        why: "No instance hibernates, no disk is moved between backends, and no snapshot is from before 2013.",
        codes: &[
            (
                "CreateSnapshot",
                "IncorrectDiskStatus.Transferring HibernationConfigured.InstanceOperationForbidden",
            ),
            ("CreateSnapshotGroup", "IncorrectDiskStatus.Transferring"),
            ("ResetDisk", "InvalidSnapshot.TooOld"),
            ("ResetDisks", "InvalidSnapshot.TooOld"),
            ("CreateDisk", "InvalidSnapshot.TooOld InvalidSnapshot.TooLarge"),
            ("ReInitDisk", "InvalidSnapshot.TooOld"),
            ("ReplaceSystemDisk", "InvalidSystemDiskStatus.IsTransfering"),
            (
                "CreateImage",
                "IncorrectDiskStatus.Transferring HibernationConfigured.* InvalidSnapshot.TooOld \
                IncorrectInstanceStatus.NeedRestart",
            ),
        ],
    },
    Reason {
        name: "Another code says it",
        why: "The contract lists two codes or more for one case, or an action's table differs from another source; one of them is sent (the register of picks).",
        codes: &[
            (
                "CreateSnapshot",
                "DISK_HAS_CREATING_SNAPSHOT QuotaExceed.SnapshotQuota 403/Throttling DiskId.ValueNotSupported \
                InvalidAction.Unauthorized",
            ),
            (
                "CreateSnapshotGroup",
                "InvalidSnapshotName.Malformed InvalidDescription.Malformed \
                IncorrectDiskStatus.TooManyCreatingSnapshots DiskId.ValueNotSupported InvalidOperation.Unauthorized",
            ),
            ("ResetDisk", "Disk.NotFound Operation.Conflict 500/InternalError"),
            ("ResetDisks", "Disk.NotFound Operation.Conflict 500/InternalError"),
            ("CopySnapshot", "InvalidOperation.Conflict"),
            (
                "ApplyAutoSnapshotPolicy",
                "InvalidAutoSnapshotPolicyId.NotFound InvalidOperation.AutoSnapshotPolicyConflict",
            ),
            (
                "CreateDisk",
                "InvalidDiskSize.NotSupported InvalidDiskSizeOrCategory InvalidDataDiskSize.ValueNotSupported \
                InvalidSnapshot.NotReady 403/OperationDenied InvalidParameter.Conflict InvalidInstanceId.NotFound",
            ),
            (
                "DescribeDisks",
                "IncompleteParamter InvalidParamter InvalidDiskIds.ValueNotSupported",
            ),
            (
                "DeleteDisk",
                "DiskStillAttached IncorrectDiskStatus.Initializing DiskTypeViolation",
            ),
            (
                "AttachDisk",
                "DiskId.StatusNotSupported DiskId.ValueNotSupported InvalidInstance.ZoneConflict",
            ),
            (
                "ResizeDisk",
                "IncompleteParamter InvalidParameter.Conflict InvalidDataDiskSize.ValueNotSupported OperationDenied \
                OperationDenied.NotEnoughCapacity",
            ),
            ("ModifyDiskAttribute", "IncompleteParamter"),
            ("ReInitDisk", "InvalidImageId.NotFound"),
            (
                "ReplaceSystemDisk",
                "InvalidSystemDiskSize InvalidParameter.Conflict 500/InternalError InvalidParameter.NotMatch \
                NoSuchResource OperationDenied.InstanceCreating",
            ),
            (
                "CreateImage",
                "InvalidParameter.DiskType InvalidParameter.AllEmpty InvalidParamter.Conflict SnapshotNotReady \
                InvalidSystemSnapshot.Missing TooManySnapshot.Unfinished",
            ),
            (
                "RunInstances",
                "400/InvalidSnapshotId.NotFound InvalidMaxAmount.Malformed InvalidParameter.Mismatch InvalidTag* \
                OperationDenied.QuotaExceed ResourceNotAvailable InvalidParams.InstanceNameExceed \
                InvalidParams.HostnameExceed InstanceDiskNumLimitExceed HOSTNAME_ILLEGAL",
            ),
            (
                "TagResources",
                "OperationDenied.QuotaExceed TagKey.Duplication ServiceUnavailable",
            ),
            ("UntagResources", "ServiceUnavailable"),
            ("ListTagResources", "ServiceUnavailable"),
            ("DescribeZones", "InvalidRegion.NotFound"),
        ],
    },
    Reason {
        name: "Refused by nothing",
        why: "What these codes refuse is granted here, or taken without effect; no request can be harmed by it.",
        codes: &[
            (
                "CreateSnapshot",
                "IncorrectDiskStatus.NeverUsed InvalidOperation.UnfinishedEncryptedSnapshotCopy",
            ),
            (
                "CreateSnapshotGroup",
                "IncorrectDiskStatus.NeverUsed InvalidSnapshotCategory.Malformed \
                InvalidCategoryAndInstantAccess.Malformed",
            ),
            (
                "DeleteSnapshot",
                "IncorrectDiskStatus.CreatingSnapshot InvalidOperation.RelatedSnapshotNotFinished",
            ),
            ("ModifySnapshotAttribute", "IncorrectDiskStatus.CreatingSnapshot"),
            (
                "ApplyAutoSnapshotPolicy",
                "InvalidOperation.SnapshotAlreadyCreatedUnsupported",
            ),
            (
                "CreateDisk",
                "ProvisionedIopsForDiskCategoryRequired InvalidBurstingEnabled.DiskSizeTooSmall \
                InvalidDiskSize.TooSmall InvalidOperation.CreateFromSnapshotUnsupported \
                InvalidSnapshotId.NotDataDiskSnapshot",
            ),
            ("DescribeDisks", "InvalidSnapshot.NotFound"),
            ("DeleteDisk", "DiskNotPortable InvalidDiskStatus.DeleteProtection"),
            (
                "AttachDisk",
                "OperationConflict.DisksAttachingParallellyExceed DiskNotPortable DeleteWithInstance.Conflict \
                InvalidParameter.DeleteWithInstance",
            ),
            (
                "DetachDisk",
                "DisksDetachingOnEcsExceeded DiskNotPortable DiskTypeViolation DeleteWithInstance.Conflict \
                InvalidParameter.DeleteWithInstance",
            ),
            ("ResizeDisk", "InstanceSpecModification.NotEffective"),
            (
                "ModifyDiskAttribute",
                "BurstingEnabledForModifyingDiskUnsupported InvalidBurstingEnabled.DiskSizeTooSmall \
                IncorrectDiskStatus DiskNotPortable DeleteWithInstance.Conflict QuotaExceed.Snapshot",
            ),
            (
                "ReplaceSystemDisk",
                "InvalidParameter.AllEmpty MissingParameter.Architecture \
                MissingParameter.Platform InvalidArchitecture.Malformed InvalidPlatform.Malformed \
                InvalidDiskCategory.ValueNotSupported InvalidDiskId.NotFound InvalidDatadisk.DiskStatusViolation \
                InvalidDatadisk.DiskCategoryViolation",
            ),
            (
                "CreateImage",
                "ImageQuotaExceed.ImageFamily ImageFamilyQuotaExceed",
            ),
            ("DescribeImages", "InvalidOperation.ImageOwnerIdUnsupported"),
            (
                "RunInstances",
                "InvalidSnapshotId.NotDataDiskSnapshot InvalidDiskSize.TooSmall DeleteWithInstance.Conflict",
            ),
            (
                "UntagResources",
                "Duplicate.TagKey InvalidTagKey.Malformed InvalidTagValue.Malformed",
            ),
            (
                "ListTagResources",
                "Duplicate.TagKey InvalidTagKey.Malformed InvalidTagValue.Malformed InvalidResourceId.NotFound",
            ),
            ("DeleteInstance", "InstanceLockedForSecurity"),
        ],
    },
    Reason {
        name: "Cannot happen",
        why: "The state that a code names does not exist, or the request has no parameter for it: a disk names no instance that is not there, a stopped instance is ready to be started, stopping and restarting needs nothing of a disk, every caller sees a region, tags are not changed where they are only read.",
        codes: &[
            ("CreateSnapshot", "InvalidInstanceId.NotFound"),
            ("ResetDisk", "InvalidInstanceId.NotFound"),
            ("ResetDisks", "InvalidInstanceId.NotFound"),
            (
                "CreateDisk",
                "InvalidInstance.NotFoundSystemDisk InstanceDiskCategoryLimitExceed",
            ),
            ("ResizeDisk", "InvalidInstanceId.NotFound"),
            ("ModifyDiskAttribute", "InvalidInstanceId.NotFound"),
            ("RunInstances", "IncorrectInstanceStatus"),
            ("StartInstance", "InstanceNotReady"),
            ("StopInstance", "DiskError"),
            ("RebootInstance", "DiskError"),
            ("DescribeRegions", "Unauthorized.EmptyRegion"),
            ("TagResources", "InvalidTag.Mismatch InvalidTagCount"),
            (
                "UntagResources",
                "OperationDenied.QuotaExceed InvalidTag.Mismatch InvalidTagCount QuotaExceed.Tags TagKey.Duplication",
            ),
            (
                "ListTagResources",
                "NumberExceed.Tags OperationDenied.QuotaExceed QuotaExceed.Tags TagKey.Duplication \
                MissingParameter.Tags",
            ),
        ],
    },
];
