//! One file per action: its rules, in the order of ecs-api.md 1.9, and what it promises.
//!
//! An action is one method of [`crate::Control`] with the types of `tidemark_ecs::actions`. What it
//! changes is one transaction; what the node has to do about it is a job in the same transaction.
//! A new action is a new file and one line here.

mod attach_disk;
mod batch;
mod cancel_task;
pub(crate) mod copy_snapshot;
mod create_disk;
mod create_image;
mod create_instance;
mod create_snapshot;
mod delete_disk;
mod delete_image;
pub(crate) mod delete_instance;
mod delete_instances;
mod delete_snapshot;
mod describe_deleted_snapshots;
mod describe_disk_hydration;
mod describe_disks;
mod describe_image_from_family;
mod describe_image_share_permission;
mod describe_images;
mod describe_instance_attribute;
mod describe_instance_status;
mod describe_instances;
mod describe_regions;
mod describe_snapshots;
mod describe_task_attribute;
mod describe_tasks;
mod describe_user_data;
mod describe_zones;
mod detach_disk;
mod image_rules;
mod list_tag_resources;
mod modify_disk_attribute;
mod modify_disk_hydration;
mod modify_disk_spec;
mod modify_image_attribute;
mod modify_image_share_permission;
mod modify_instance_attribute;
mod modify_instance_auto_release_time;
mod modify_snapshot_attribute;
mod network;
mod offer;
mod old_tags;
mod re_init_disk;
mod reboot_instance;
mod replace_system_disk;
mod reset_disk;
mod resize_disk;
mod run_instances;
mod start_instance;
mod start_vault_scrub;
mod stop_instance;
mod tag_resources;
mod undelete_snapshot;
mod untag_resources;
