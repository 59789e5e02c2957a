//! Catalogue, resource state machines, business rules and jobs: what the ECS actions do.
//!
//! [`Control`] has one method per action. An action checks everything inside one transaction and
//! commits the new state together with the jobs that it promises, before it answers; the jobs then
//! drive the [`tidemark_node::Node`]. What must stay true:
//! (1) what was answered is in the catalogue, and survives any crash; (2) a refusal changes nothing;
//! (3) every status comes from the tables in [`states`]; (4) after a restart every job goes on, every
//! disk is open again, and exactly the disks of running instances are exported.
//!
//! Not here: HTTP and signatures (`api`), syntax of parameters (`ecs`), bytes of disks (`node`).

mod actions;
mod catalogue;
mod clock;
mod config;
mod consistency;
mod control;
mod damage;
mod due_copies;
mod error;
mod events;
mod guests;
mod housekeeping;
mod identity;
mod image_view;
mod instance_types;
mod jobs;
mod keys;
mod metadata;
mod metering;
mod notices;
mod passwords;
mod permissions;
mod ram;
mod rebuild;
mod record_meta;
mod regions;
mod rules;
mod scheduler;
mod secrets;
mod space;
pub mod states;
mod store;
mod throttle;
mod verification;
mod views;
mod webhooks;
mod words;

pub use clock::Clock;
pub use config::{ControlConfig, DEFAULT_ACCOUNT, Limits, RegionConfig};
pub use control::{Caller, Control};
pub use error::ControlError;
pub use guests::{GuestsConfig, MetadataSockets};
pub use identity::Identity;
pub use keys::{AccessKey, Session, token_hash};
pub use metadata::{InstanceMetadata, MetadataDisk, MetadataOptions, PublicKey, RoleKeys};
pub use metering::Price;
pub use permissions::is_listed as has_permission_row;
pub use ram::Login;
pub use rebuild::{FoundSnapshot, Rebuild, RebuildReport, Rebuilt, rebuild};
pub use throttle::{Throttle, ThrottleConfig};
pub use verification::{KnownDamage, OwnVerification, Verification};

/// The catalogue's file in a data directory.
pub const CATALOGUE_FILE: &str = "catalogue.db";

/// Looks through a catalogue file that no service has open, and changes nothing. Answers what is wrong inside it, a
/// sentence each; fails when it cannot be read as a catalogue at all.
pub fn check_catalogue(path: &std::path::Path) -> Result<Vec<String>, ControlError> {
    Ok(store::check(path)?)
}
