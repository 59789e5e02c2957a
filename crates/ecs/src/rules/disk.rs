//! Disk categories and their sizes in GiB (ecs-api.md 2.3).
//!
//! A category is a label: one engine serves them all, and what a category decides is which sizes
//! and options a request may ask for.

use crate::{ApiError, Params};
use std::ops::RangeInclusive;

/// A category that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Category {
    /// As on the wire.
    pub name: &'static str,
    data: (u64, u64),
    system: (u64, u64),
}

/// Every category that is offered.
pub const CATEGORIES: [Category; 6] = [
    Category {
        name: "cloud",
        data: (5, 2000),
        system: (20, 500),
    },
    Category {
        name: "cloud_efficiency",
        data: (20, 32768),
        system: (20, 2048),
    },
    Category {
        name: "cloud_ssd",
        data: (20, 32768),
        system: (20, 2048),
    },
    Category {
        name: "cloud_essd",
        data: (1, 65536),
        system: (1, 2048),
    },
    Category {
        name: "cloud_auto",
        data: (1, 65536),
        system: (1, 2048),
    },
    Category {
        name: "cloud_essd_entry",
        data: (10, 32768),
        system: (10, 2048),
    },
];

/// The performance levels of cloud_essd with their smallest sizes.
pub const PERFORMANCE_LEVELS: [(&str, u64); 4] = [("PL0", 1), ("PL1", 20), ("PL2", 461), ("PL3", 1261)];

/// Looks a category up by its exact name.
pub fn category(name: &str) -> Option<Category> {
    CATEGORIES.into_iter().find(|category| category.name == name)
}

impl Category {
    /// Sizes of a data disk in GiB. `performance_level` counts for cloud_essd only; absent, it is
    /// the default, PL1.
    pub fn data_sizes(&self, performance_level: Option<&str>) -> RangeInclusive<u64> {
        self.least(self.data.0, performance_level)..=self.data.1
    }

    /// Sizes of a system disk in GiB.
    pub fn system_sizes(&self, performance_level: Option<&str>) -> RangeInclusive<u64> {
        self.least(self.system.0, performance_level)..=self.system.1
    }

    /// Whether it has performance levels.
    pub fn has_performance_levels(&self) -> bool {
        self.name == "cloud_essd"
    }

    /// Whether it takes ProvisionedIops and BurstingEnabled.
    pub fn is_auto(&self) -> bool {
        self.name == "cloud_auto"
    }

    fn least(&self, own: u64, performance_level: Option<&str>) -> u64 {
        if !self.has_performance_levels() {
            return own;
        }
        let level = performance_level.unwrap_or("PL1");
        PERFORMANCE_LEVELS
            .iter()
            .find(|(name, _)| *name == level)
            .map_or(own, |(_, least)| own.max(*least))
    }
}

/// `Encrypted` as wished; `None` leaves it to the snapshot that the disk is made from. There is no key service whose
/// key a `KMSKeyId` could name: an encrypted disk's key is made with it.
pub fn encrypted(params: &Params) -> Result<Option<bool>, ApiError> {
    let encrypted = params.boolean("Encrypted")?;
    let Some(key) = params.get("KMSKeyId") else {
        return Ok(encrypted);
    };
    let named = params.full_name("KMSKeyId");
    Err(match encrypted {
        Some(true) => ApiError::new(
            404,
            "InvalidParameter.KMSKeyId.NotFound",
            format!(
                "The parameter \"{named}\" is not valid: there is no key {key:?}. An encrypted disk gets a key of its own; \
                 leave {named} away."
            ),
        ),
        _ => ApiError::new(
            400,
            "InvalidParameter.EncryptedIllegal",
            format!(
                "The parameter \"{}\" must be true when {named} is given.",
                params.full_name("Encrypted")
            ),
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_table() {
        let sizes = |name, level| category(name).map(|c| (c.data_sizes(level), c.system_sizes(level)));
        assert_eq!(sizes("cloud", None), Some((5..=2000, 20..=500)));
        assert_eq!(sizes("cloud_essd", None), Some((20..=65536, 20..=2048)));
        assert_eq!(sizes("cloud_essd", Some("PL0")), Some((1..=65536, 1..=2048)));
        assert_eq!(sizes("cloud_essd", Some("PL2")), Some((461..=65536, 461..=2048)));
        assert_eq!(sizes("cloud_auto", Some("PL3")), Some((1..=65536, 1..=2048)));
        assert_eq!(sizes("local_ssd_pro", None), None);
    }
}
