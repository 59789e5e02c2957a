//! The types of instances: machines that somebody else runs, and guests that we run.
//!
//! Guests' types have the names, processors and memory of the vendor's (families c6, g6, r6 and the small t5 and t6), so that
//! scripts written for those run here. Not here: whether this machine has room for one (`guests`).

use crate::Control;
use tidemark_ecs::ApiError;

/// A machine that we do not run: nothing is known of its processors and its memory.
pub(crate) const EXTERNAL: &str = "tidemark.external";

/// A type of instances that we run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct GuestType {
    pub(crate) name: &'static str,
    pub(crate) family: &'static str,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
}

const fn of(name: &'static str, family: &'static str, cpus: u32, memory_mib: u64) -> GuestType {
    GuestType {
        name,
        family,
        cpus,
        memory_mib,
    }
}

/// All of them, the smallest first in each family.
pub(crate) const GUEST_TYPES: &[GuestType] = &[
    of("ecs.t5-lc2m1.nano", "ecs.t5", 1, 512),
    of("ecs.t5-lc1m1.small", "ecs.t5", 1, 1024),
    of("ecs.t5-lc1m2.small", "ecs.t5", 1, 2048),
    of("ecs.t6-c4m1.large", "ecs.t6", 2, 512),
    of("ecs.t6-c2m1.large", "ecs.t6", 2, 1024),
    of("ecs.t6-c1m1.large", "ecs.t6", 2, 2048),
    of("ecs.t6-c1m2.large", "ecs.t6", 2, 4096),
    of("ecs.c6.large", "ecs.c6", 2, 4 << 10),
    of("ecs.c6.xlarge", "ecs.c6", 4, 8 << 10),
    of("ecs.c6.2xlarge", "ecs.c6", 8, 16 << 10),
    of("ecs.c6.4xlarge", "ecs.c6", 16, 32 << 10),
    of("ecs.g6.large", "ecs.g6", 2, 8 << 10),
    of("ecs.g6.xlarge", "ecs.g6", 4, 16 << 10),
    of("ecs.g6.2xlarge", "ecs.g6", 8, 32 << 10),
    of("ecs.g6.4xlarge", "ecs.g6", 16, 64 << 10),
    of("ecs.r6.large", "ecs.r6", 2, 16 << 10),
    of("ecs.r6.xlarge", "ecs.r6", 4, 32 << 10),
    of("ecs.r6.2xlarge", "ecs.r6", 8, 64 << 10),
    of("ecs.r6.4xlarge", "ecs.r6", 16, 128 << 10),
];

/// The type of that name, if we run such.
pub(crate) fn guest_type(name: &str) -> Option<&'static GuestType> {
    GUEST_TYPES.iter().find(|kind| kind.name == name)
}

impl Control {
    /// The types that instances can be made of here.
    pub(crate) fn guest_types(&self) -> &'static [GuestType] {
        match self.compute() {
            Some(_) => GUEST_TYPES,
            None => &[],
        }
    }

    /// Whether instances of the type can be made here.
    pub(crate) fn is_type_offered(&self, name: &str) -> bool {
        name == EXTERNAL || self.guest_types().iter().any(|kind| kind.name == name)
    }

    /// Names of all offered types.
    pub(crate) fn type_names(&self) -> Vec<String> {
        let guests = self.guest_types().iter().map(|kind| kind.name.to_owned());
        [EXTERNAL.to_owned()].into_iter().chain(guests).collect()
    }

    /// Names of their families.
    pub(crate) fn type_families(&self) -> Vec<String> {
        let guests = self.guest_types().iter().map(|kind| kind.family.to_owned());
        let mut families: Vec<_> = [EXTERNAL.to_owned()].into_iter().chain(guests).collect();
        families.dedup();
        families
    }

    /// 400 for what is not offered, with what is.
    pub(crate) fn check_type(&self, name: &str) -> Result<(), ApiError> {
        if self.is_type_offered(name) {
            return Ok(());
        }
        let message = match guest_type(name) {
            Some(_) => format!(
                "The instance type {name:?} needs QEMU, which does not run guests here (`tidemark doctor` and the log say why); {EXTERNAL} is offered."
            ),
            None => format!(
                "The instance type {name:?} is not offered; {} are.",
                self.type_names().join(", ")
            ),
        };
        Err(ApiError::new(
            400,
            "InvalidInstanceType.ValueNotSupported",
            message,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_type_and_its_familys() {
        for (at, kind) in GUEST_TYPES.iter().enumerate() {
            assert_eq!(guest_type(kind.name), Some(kind));
            assert!(kind.name.starts_with(kind.family));
            assert!(!GUEST_TYPES[..at].iter().any(|other| other.name == kind.name));
        }
    }
}
