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

/// What a disk can do at most, by the formulas that the vendor's page on block storage performance gives. Nothing here
/// enforces them: they are what tools show and compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Performance {
    /// Requests a second, reads and writes together.
    pub iops: u64,
    /// MB a second, reads and writes together.
    pub throughput: u64,
}

/// The formulas: of a category and its performance level, so many IOPS plus so many per GiB, at most so many;
/// then the throughput in MB/s likewise, with hundredths of a MB per GiB.
const FORMULAS: [(&str, &str, [u64; 3], [u64; 3]); 8] = [
    ("cloud_efficiency", "", [1800, 8, 5000], [100, 15, 140]),
    ("cloud_ssd", "", [1800, 30, 25_000], [120, 50, 300]),
    ("cloud_essd", "PL0", [1800, 12, 10_000], [100, 25, 180]),
    ("cloud_essd", "PL1", [1800, 50, 50_000], [120, 50, 350]),
    ("cloud_essd", "PL2", [1800, 50, 100_000], [120, 50, 750]),
    ("cloud_essd", "PL3", [1800, 50, 1_000_000], [120, 50, 4000]),
    ("cloud_auto", "", [1800, 50, 50_000], [120, 50, 350]),
    ("cloud_essd_entry", "", [1800, 8, 6000], [100, 15, 150]),
];

impl Performance {
    /// Of a disk of so many GiB. `provisioned` IOPS come on top, each with 16 KB a second. `None` for a category
    /// without a formula: cloud, whose page says no more than some hundred.
    pub fn of(category: &str, level: &str, size_gib: u64, provisioned: u64) -> Option<Self> {
        let (_, _, iops, throughput) = FORMULAS
            .iter()
            .find(|(name, of_level, ..)| *name == category && (of_level.is_empty() || *of_level == level))?;
        let [base, per_gib, most] = *iops;
        let [base_mb, hundredths, most_mb] = *throughput;
        Some(Self {
            iops: (base + per_gib.saturating_mul(size_gib)).min(most) + provisioned,
            throughput: (base_mb + hundredths.saturating_mul(size_gib) / 100).min(most_mb)
                + provisioned.saturating_mul(16) / 1000,
        })
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
    fn performance_follows_the_formulas() {
        for (category, level, size, provisioned, expected) in [
            ("cloud_efficiency", "", 100, 0, Some((2600, 115))),
            ("cloud_efficiency", "", 2000, 0, Some((5000, 140))),
            ("cloud_ssd", "", 20, 0, Some((2400, 130))),
            ("cloud_essd", "PL0", 40, 0, Some((2280, 110))),
            ("cloud_essd", "PL1", 20, 0, Some((2800, 130))),
            ("cloud_essd", "PL2", 1000, 0, Some((51_800, 620))),
            ("cloud_essd", "PL3", 65_536, 0, Some((1_000_000, 4000))),
            ("cloud_auto", "", 64, 0, Some((5000, 152))),
            ("cloud_auto", "", 64, 10_000, Some((15_000, 312))),
            ("cloud_essd_entry", "", 1000, 0, Some((6000, 150))),
            ("cloud", "", 100, 0, None),
        ] {
            let found = Performance::of(category, level, size, provisioned);
            let found = found.map(|can| (can.iops, can.throughput));
            assert_eq!(found, expected, "{category} {level} {size}");
        }
        for category in CATEGORIES.iter().filter(|category| category.name != "cloud") {
            let level = if category.has_performance_levels() {
                "PL1"
            } else {
                ""
            };
            assert!(
                Performance::of(category.name, level, 20, 0).is_some(),
                "{}",
                category.name
            );
        }
    }

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
