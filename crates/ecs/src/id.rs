//! Resource ids: prefix, region code, random letters (ecs-api.md 2.1).
//!
//! Clients treat ids as opaque. The part after the prefix has exactly 20 characters, because a
//! disk's serial number is that part and a virtio-blk serial holds 20 bytes. Randomness comes in
//! as bytes, so that the caller decides where it is from.

/// What an id names; decides its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `i-`
    Instance,
    /// `d-`
    Disk,
    /// `s-`
    Snapshot,
    /// `sl-`, the chain of one disk's snapshots.
    SnapshotLink,
    /// `ssg-`
    SnapshotGroup,
    /// `sp-`
    AutoSnapshotPolicy,
    /// `m-`
    Image,
    /// `t-`
    Task,
    /// `rg-`
    ResourceGroup,
    /// `eni-`
    NetworkInterface,
    /// `vpc-`
    Vpc,
    /// `vsw-`
    VSwitch,
    /// `sg-`
    SecurityGroup,
    /// `skp-`
    KeyPair,
}

impl Kind {
    /// The prefix, dash included.
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::Instance => "i-",
            Kind::Disk => "d-",
            Kind::Snapshot => "s-",
            Kind::SnapshotLink => "sl-",
            Kind::SnapshotGroup => "ssg-",
            Kind::AutoSnapshotPolicy => "sp-",
            Kind::Image => "m-",
            Kind::Task => "t-",
            Kind::ResourceGroup => "rg-",
            Kind::NetworkInterface => "eni-",
            Kind::Vpc => "vpc-",
            Kind::VSwitch => "vsw-",
            Kind::SecurityGroup => "sg-",
            Kind::KeyPair => "skp-",
        }
    }
}

/// How many random bytes [`new`] eats.
pub const RANDOM_BYTES: usize = 20;

/// A new id. 17 or more random characters of 36: over 85 bits.
pub fn new(kind: Kind, region: &str, random: &[u8; RANDOM_BYTES]) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let code = region_code(region);
    let tail = random
        .iter()
        .skip(code.len())
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % 36]));
    kind.prefix().chars().chain(code.chars()).chain(tail).collect()
}

/// The code that ids of a region carry. Regions whose code nobody documents get a neutral one.
pub fn region_code(region: &str) -> &'static str {
    match region {
        "cn-hangzhou" => "bp1",
        "cn-beijing" => "2ze",
        "cn-hongkong" => "j6c",
        "eu-central-1" => "gw8",
        _ => "xx0",
    }
}

/// The serial number a guest sees: the disk's id without its prefix, at most 20 bytes.
pub fn disk_serial(disk_id: &str) -> &str {
    let bare = disk_id.strip_prefix("d-").unwrap_or(disk_id);
    bare.get(..20).unwrap_or(bare)
}

/// Whether a text could be an id at all. One that could not is simply not found.
pub fn is_plausible(id: &str) -> bool {
    (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_prefix_code_and_twenty_characters() {
        let id = new(Kind::Snapshot, "cn-hangzhou", &[255; 20]);
        assert!(id.starts_with("s-bp1"), "{id}");
        assert_eq!(id.len(), 22);
        assert!(is_plausible(&id));
        assert_eq!(new(Kind::Disk, "cn-beijing", &[0; 20]), "d-2zeaaaaaaaaaaaaaaaaa");
        assert_ne!(
            new(Kind::Disk, "cn-beijing", &[1; 20]),
            new(Kind::Disk, "cn-beijing", &[2; 20])
        );
    }

    #[test]
    fn serial_is_the_id_without_prefix() {
        assert_eq!(disk_serial("d-bp131n0q38u3a4zi0aaa"), "bp131n0q38u3a4zi0aaa");
        assert_eq!(disk_serial("d-"), "");
        assert_eq!(disk_serial(&format!("d-{}", "x".repeat(40))).len(), 20);
    }

    #[test]
    fn odd_ids_are_recognised() {
        for id in ["", "../x", "a b", "é", "d-\n", &"x".repeat(65)] {
            assert!(!is_plausible(id), "{id:?}");
        }
    }
}
