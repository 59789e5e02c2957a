//! One file per action: its rules, in the order of ecs-api.md 1.9, and what it promises.
//!
//! An action is one method of [`crate::Control`] with the types of `tidemark_ecs::actions`. What it
//! changes is one transaction; what the node has to do about it is a job in the same transaction.
//! A new action is a new file and one line here.

mod attach_disk;
mod create_disk;
mod create_snapshot;
mod delete_disk;
pub(crate) mod delete_instance;
mod delete_snapshot;
mod describe_deleted_snapshots;
mod describe_disk_hydration;
mod describe_disks;
mod describe_instance_status;
mod describe_instances;
mod describe_regions;
mod describe_snapshots;
mod describe_zones;
mod detach_disk;
mod list_tag_resources;
mod modify_disk_hydration;
mod modify_snapshot_attribute;
#[cfg(test)]
mod plans;
mod reboot_instance;
mod reset_disk;
mod run_instances;
mod start_instance;
mod start_vault_scrub;
mod stop_instance;
mod tag_resources;
mod undelete_snapshot;
mod untag_resources;
