//! One file per action: what it takes, what it answers.
//!
//! `Request::parse` does everything that needs no knowledge of what exists: required parameters
//! first, then syntax, each with the action's own status and code. `Response` renders to both
//! formats. A new action is a new file here and one line below.

pub mod add_tags;
pub mod apply_auto_snapshot_policy;
pub mod attach_disk;
pub mod attach_key_pair;
pub mod cancel_auto_snapshot_policy;
pub mod cancel_task;
pub mod copy_snapshot;
pub mod create_auto_snapshot_policy;
pub mod create_disk;
pub mod create_image;
pub mod create_instance;
pub mod create_key_pair;
pub mod create_snapshot;
pub mod create_snapshot_group;
pub mod create_webhook;
pub mod delete_auto_snapshot_policy;
pub mod delete_disk;
pub mod delete_image;
pub mod delete_instance;
pub mod delete_instances;
pub mod delete_key_pairs;
pub mod delete_snapshot;
pub mod delete_snapshot_group;
pub mod delete_webhook;
pub mod describe_account_attributes;
pub mod describe_auto_snapshot_policy_associations;
pub mod describe_auto_snapshot_policy_ex;
pub mod describe_available_resource;
pub mod describe_deleted_snapshots;
pub mod describe_disk_encryption_by_default_status;
pub mod describe_disk_hydration;
pub mod describe_disk_monitor_data;
pub mod describe_disks;
pub mod describe_events;
pub mod describe_image_from_family;
pub mod describe_image_share_permission;
pub mod describe_image_support_instance_types;
pub mod describe_images;
pub mod describe_instance_attribute;
pub mod describe_instance_history_events;
pub mod describe_instance_status;
pub mod describe_instance_type_families;
pub mod describe_instance_types;
pub mod describe_instances;
pub mod describe_key_pairs;
pub mod describe_locked_snapshots;
pub mod describe_price;
pub mod describe_regions;
pub mod describe_resource_by_tags;
pub mod describe_security_groups;
pub mod describe_snapshot_changes;
pub mod describe_snapshot_groups;
pub mod describe_snapshot_links;
pub mod describe_snapshot_metering;
pub mod describe_snapshot_monitor_data;
pub mod describe_snapshot_package;
pub mod describe_snapshots;
pub mod describe_snapshots_usage;
pub mod describe_tags;
pub mod describe_task_attribute;
pub mod describe_tasks;
pub mod describe_user_data;
pub mod describe_v_switches;
pub mod describe_vpcs;
pub mod describe_webhooks;
pub mod describe_zones;
pub mod detach_disk;
pub mod detach_key_pair;
pub mod get_instance_console_output;
pub mod import_key_pair;
pub mod list_tag_resources;
pub mod lock_snapshot;
pub mod modify_auto_snapshot_policy_ex;
pub mod modify_disk_attribute;
pub mod modify_disk_hydration;
pub mod modify_disk_spec;
pub mod modify_image_attribute;
pub mod modify_image_share_permission;
pub mod modify_instance_attribute;
pub mod modify_instance_auto_release_time;
pub mod modify_instance_metadata_options;
pub mod modify_instance_spec;
pub mod modify_snapshot_attribute;
pub mod modify_snapshot_category;
pub mod modify_snapshot_group;
pub mod open_snapshot_service;
pub mod re_init_disk;
pub mod reboot_instance;
pub mod reboot_instances;
pub mod remove_tags;
pub mod replace_system_disk;
pub mod reset_disk;
pub mod reset_disks;
pub mod resize_disk;
pub mod run_instances;
pub mod start_instance;
pub mod start_instances;
pub mod start_vault_scrub;
pub mod stop_instance;
pub mod stop_instances;
pub mod tag_resources;
pub mod undelete_snapshot;
pub mod unlock_snapshot;
pub mod untag_resources;

use serde::{Deserialize, Serialize};

/// The answer of actions that answer with nothing but RequestId.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

#[cfg(test)]
pub(crate) mod check {
    //! How the tables of the action tests read: parameters in, `status code` out.

    use crate::{ApiError, Params};

    /// Parameters from `A=1&B=2`, percent-decoded as on the wire.
    pub(crate) fn params(query: &str) -> Params {
        Params::from_pairs(crate::sign::decode_form(query).expect("a test's own query"))
            .expect("no duplicates")
    }

    /// Each query must be refused with the status and code beside it.
    pub(crate) fn refusals<T: std::fmt::Debug>(
        parse: impl Fn(&Params) -> Result<T, ApiError>,
        base: &str,
        cases: &[(&str, u16, &str)],
    ) {
        for (query, status, code) in cases {
            let error = parse(&params(&format!("{base}&{query}"))).expect_err(query);
            assert_eq!(
                (error.status, error.code.as_ref()),
                (*status, *code),
                "{query}: {}",
                error.message
            );
        }
    }

    /// Leaving any of the names out of `base` must answer 400 `MissingParameter` and name it.
    pub(crate) fn required<T: std::fmt::Debug>(
        parse: impl Fn(&Params) -> Result<T, ApiError>,
        base: &str,
        names: &[&str],
    ) {
        for name in names {
            let rest: Vec<_> = base
                .split('&')
                .filter(|pair| !pair.starts_with(&format!("{name}=")))
                .collect();
            assert_eq!(
                parse(&params(&rest.join("&"))).expect_err(name),
                ApiError::missing_parameter(name)
            );
        }
        parse(&params(base)).expect("the base itself is valid");
    }
}
