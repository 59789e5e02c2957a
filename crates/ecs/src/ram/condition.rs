//! Conditions of a statement: on tags, on where a request came from, and on whether new disks get an automatic snapshot
//! policy.
//!
//! A condition has three outcomes: what is not known is neither so nor not so. An Allow needs certainty that its
//! conditions hold, a Deny only needs that they might: then a caller is told the same of a resource that is not
//! there, of one that is somebody else's, and of one that it may not touch.
//!
//! The keys about new disks are `true` or `false` of each disk that a request names; of several that differ nobody can
//! tell, so one without a policy is enough for a Deny, and too much for an Allow. Where a request makes no such disk, none
//! is without a policy: `true`.

use super::pattern;
use crate::ApiError;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Whether something is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// Nobody can tell.
    Unknown,
}

impl Truth {
    fn of(so: bool) -> Self {
        if so { Truth::Yes } else { Truth::No }
    }

    fn not(self) -> Self {
        match self {
            Truth::Yes => Truth::No,
            Truth::No => Truth::Yes,
            Truth::Unknown => Truth::Unknown,
        }
    }

    /// Whether both are so.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Truth::No, _) | (_, Truth::No) => Truth::No,
            (Truth::Yes, Truth::Yes) => Truth::Yes,
            _ => Truth::Unknown,
        }
    }
}

/// Tags, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// Keys and values.
    pub known: BTreeMap<String, String>,
    /// False: there may be others.
    pub complete: bool,
}

/// What is known about a request and a resource that it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Where the request came from.
    pub source: Option<IpAddr>,
    /// Tags that the resource has.
    pub resource_tags: Tags,
    /// Tags that the request names.
    pub request_tags: Tags,
    /// Of each data disk of a new instance, whether it gets an automatic snapshot policy.
    pub disk_policies: Vec<bool>,
    /// Of its system disk.
    pub system_disk_policies: Vec<bool>,
}

/// What a condition looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    ResourceTag(String),
    RequestTag(String),
    SourceIp,
    DiskPolicy,
    SystemDiskPolicy,
}

impl Key {
    fn is_flag(&self) -> bool {
        matches!(self, Key::DiskPolicy | Key::SystemDiskPolicy)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Equals,
    EqualsIgnoreCase,
    Like,
    Address,
}

/// One condition: a key, and values of which one must fit (or none may).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    how: How,
    negated: bool,
    key: Key,
    values: Vec<String>,
}

impl Condition {
    /// Reads one; the error says what is not understood. What is not understood is never passed over.
    pub(super) fn parse(operator: &str, key: &str, values: Vec<String>) -> Result<Self, String> {
        let (how, negated) = match operator {
            "StringEquals" => (How::Equals, false),
            "StringNotEquals" => (How::Equals, true),
            "StringEqualsIgnoreCase" => (How::EqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (How::EqualsIgnoreCase, true),
            "StringLike" => (How::Like, false),
            "StringNotLike" => (How::Like, true),
            "IpAddress" => (How::Address, false),
            "NotIpAddress" => (How::Address, true),
            "Bool" => (How::EqualsIgnoreCase, false),
            other => return Err(format!("the condition operator {other:?} is not supported")),
        };
        let tag = |prefix: &str| key.strip_prefix(prefix).filter(|name| !name.is_empty());
        let key = if key.eq_ignore_ascii_case("acs:SourceIp") {
            Key::SourceIp
        } else if key.eq_ignore_ascii_case("ecs:IsDiskAutoSnapshotPolicyEnabled") {
            Key::DiskPolicy
        } else if key.eq_ignore_ascii_case("ecs:IsSystemDiskAutoSnapshotPolicyEnabled") {
            Key::SystemDiskPolicy
        } else if let Some(name) = tag("ecs:tag/").or_else(|| tag("acs:ResourceTag/")) {
            Key::ResourceTag(name.to_owned())
        } else if let Some(name) = tag("acs:RequestTag/") {
            Key::RequestTag(name.to_owned())
        } else {
            return Err(format!("the condition key {key:?} is not supported"));
        };
        if (how == How::Address) != (key == Key::SourceIp) || (operator == "Bool" && !key.is_flag()) {
            return Err(format!("the condition operator {operator} does not fit its key"));
        }
        if values.is_empty() {
            return Err("a condition has no value".into());
        }
        if how == How::Address
            && let Some(wrong) = values.iter().find(|value| network(value).is_none())
        {
            return Err(format!(
                "{wrong:?} is no address and no network such as 10.0.0.0/8"
            ));
        }
        Ok(Self {
            how,
            negated,
            key,
            values,
        })
    }

    /// Whether it holds.
    pub(super) fn holds(&self, facts: &Facts) -> Truth {
        let fits = match &self.key {
            Key::SourceIp => match facts.source {
                None => Truth::Unknown,
                Some(source) => Truth::of(
                    self.values
                        .iter()
                        .filter_map(|text| network(text))
                        .any(|net| net.has(source)),
                ),
            },
            Key::ResourceTag(name) => self.text(&facts.resource_tags, name),
            Key::RequestTag(name) => self.text(&facts.request_tags, name),
            Key::DiskPolicy => self.flags(&facts.disk_policies),
            Key::SystemDiskPolicy => self.flags(&facts.system_disk_policies),
        };
        if self.negated { fits.not() } else { fits }
    }

    /// A tag that is not there fits nothing.
    fn text(&self, tags: &Tags, name: &str) -> Truth {
        let Some(value) = tags.known.get(name) else {
            return if tags.complete { Truth::No } else { Truth::Unknown };
        };
        Truth::of(self.fits(value))
    }

    fn fits(&self, value: &str) -> bool {
        self.values.iter().any(|wanted| match self.how {
            How::EqualsIgnoreCase => wanted.to_lowercase() == value.to_lowercase(),
            How::Like => pattern::matches(wanted, value),
            How::Equals | How::Address => wanted == value,
        })
    }

    /// What is so of some disks and not of others is not known of all.
    fn flags(&self, flags: &[bool]) -> Truth {
        let of = |flag: &bool| self.fits(if *flag { "true" } else { "false" });
        match (flags.iter().any(of), flags.iter().all(of)) {
            _ if flags.is_empty() => Truth::of(of(&true)),
            (true, false) => Truth::Unknown,
            (any, _) => Truth::of(any),
        }
    }
}

/// An address with the length of the prefix that counts.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn has(&self, other: IpAddr) -> bool {
        match (self.address, other.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - self.bits).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - self.bits).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

fn network(text: &str) -> Option<Network> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits: u32 = bits.unwrap_or(most);
    // Callers' addresses are compared in their shortest form: a network of IPv4 addresses written as IPv6 would hold none.
    let mapped = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    match mapped {
        Some(v4) => Some(Network {
            address: v4.into(),
            bits: bits.checked_sub(96).filter(|bits| *bits <= 32)?,
        }),
        None => (bits <= most).then_some(Network { address, bits }),
    }
}

/// Tags that a request names: `Tag.N.Key` and `Tag.N.Value`, or `Tag.N.key` as older clients write.
pub fn request_tags(params: &crate::Params) -> Result<BTreeMap<String, String>, ApiError> {
    let mut tags = BTreeMap::new();
    for item in params.structs("Tag")? {
        if let Some(key) = item.get("Key") {
            tags.insert(key.to_owned(), item.get("Value").unwrap_or_default().to_owned());
        }
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn truth(operator: &str, key: &str, values: &[&str], facts: &Facts) -> Truth {
        let values = values.iter().map(|value| (*value).to_owned()).collect();
        Condition::parse(operator, key, values)
            .expect("understood")
            .holds(facts)
    }

    #[test]
    fn networks_hold_addresses() {
        let from = |text: &str| Facts {
            source: Some(text.parse().expect("an address")),
            ..Facts::default()
        };
        for (network, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", Truth::Yes),
            ("10.0.0.0/8", "11.0.0.1", Truth::No),
            ("10.0.0.1", "10.0.0.1", Truth::Yes),
            ("10.0.0.1", "10.0.0.2", Truth::No),
            ("0.0.0.0/0", "203.0.113.9", Truth::Yes),
            ("0.0.0.0/0", "2001:db8::1", Truth::No),
            ("::/0", "2001:db8::1", Truth::Yes),
            ("2001:db8::/32", "2001:db9::1", Truth::No),
            ("10.0.0.0/8", "::ffff:10.1.2.3", Truth::Yes),
            ("::ffff:10.0.0.0/104", "10.1.2.3", Truth::Yes),
            ("::ffff:10.0.0.0/104", "11.1.2.3", Truth::No),
            ("::ffff:10.0.0.1", "10.0.0.1", Truth::Yes),
        ] {
            assert_eq!(
                truth("IpAddress", "acs:SourceIp", &[network], &from(address)),
                expected,
                "{network} {address}"
            );
        }
        assert_eq!(
            truth("NotIpAddress", "acs:SourceIp", &["10.0.0.0/8"], &from("10.0.0.1")),
            Truth::No
        );
        assert_eq!(
            truth("NotIpAddress", "acs:SourceIp", &["::/0"], &Facts::default()),
            Truth::Unknown
        );
    }

    #[test]
    fn a_tag_is_known_absent_or_unknown() {
        let tags = |complete| Facts {
            resource_tags: Tags {
                known: [("env".to_owned(), "Prod".to_owned())].into(),
                complete,
            },
            ..Facts::default()
        };
        for (operator, key, value, complete, expected) in [
            ("StringEquals", "ecs:tag/env", "Prod", false, Truth::Yes),
            ("StringEquals", "acs:ResourceTag/env", "prod", true, Truth::No),
            ("StringEqualsIgnoreCase", "ecs:tag/env", "prod", true, Truth::Yes),
            ("StringLike", "ecs:tag/env", "P*", true, Truth::Yes),
            ("StringNotLike", "ecs:tag/env", "P*", true, Truth::No),
            ("StringNotEquals", "ecs:tag/env", "dev", true, Truth::Yes),
            ("StringEquals", "ecs:tag/owner", "a", true, Truth::No),
            ("StringNotEquals", "ecs:tag/owner", "a", true, Truth::Yes),
            ("StringEquals", "ecs:tag/owner", "a", false, Truth::Unknown),
            ("StringNotEquals", "ecs:tag/owner", "a", false, Truth::Unknown),
        ] {
            assert_eq!(
                truth(operator, key, &[value], &tags(complete)),
                expected,
                "{operator} {key} {value} {complete}"
            );
        }
    }

    #[test]
    fn one_disk_without_a_policy_is_enough_to_doubt() {
        let key = "ecs:IsDiskAutoSnapshotPolicyEnabled";
        for (operator, value, disks, expected) in [
            ("StringEquals", "false", &[false][..], Truth::Yes),
            ("Bool", "False", &[false, false], Truth::Yes),
            ("StringEquals", "false", &[true], Truth::No),
            ("StringEquals", "false", &[true, false], Truth::Unknown),
            ("StringLike", "*false*", &[true, false], Truth::Unknown),
            ("StringNotEquals", "true", &[false], Truth::Yes),
            ("StringNotEquals", "true", &[true, false], Truth::Unknown),
            ("StringNotEquals", "true", &[], Truth::No),
            ("Bool", "true", &[], Truth::Yes),
        ] {
            let data = Facts {
                disk_policies: disks.to_vec(),
                ..Facts::default()
            };
            assert_eq!(
                truth(operator, key, &[value], &data),
                expected,
                "{operator} {value} {disks:?}"
            );
            let system = Facts {
                system_disk_policies: disks.to_vec(),
                ..Facts::default()
            };
            let key = "ecs:IsSystemDiskAutoSnapshotPolicyEnabled";
            assert_eq!(
                truth(operator, key, &[value], &system),
                expected,
                "{operator} {value} {disks:?}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (operator, key, value) in [
            ("DateLessThan", "acs:CurrentTime", "2026"),
            ("StringEquals", "acs:MFAPresent", "true"),
            ("Bool", "ecs:tag/a", "true"),
            ("IpAddress", "ecs:IsDiskAutoSnapshotPolicyEnabled", "true"),
            ("StringEquals", "ecs:tag/", "a"),
            ("StringEquals", "acs:SourceIp", "10.0.0.1"),
            ("IpAddress", "ecs:tag/a", "10.0.0.1"),
            ("IpAddress", "acs:SourceIp", "10.0.0.0/33"),
            ("IpAddress", "acs:SourceIp", "::ffff:10.0.0.0/8"),
            ("IpAddress", "acs:SourceIp", "::ffff:10.0.0.0/129"),
            ("IpAddress", "acs:SourceIp", "ten"),
        ] {
            Condition::parse(operator, key, vec![value.to_owned()]).expect_err(key);
        }
        Condition::parse("StringEquals", "ecs:tag/a", Vec::new()).expect_err("no value");
    }
}
