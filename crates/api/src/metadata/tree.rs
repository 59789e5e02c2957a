//! What is at which path: the tree of one instance, its listings, and the whole of it as one JSON object.
//!
//! What must stay true: an item that the instance has no value for is not there, neither as a path nor in a listing;
//! directories end with `/` in listings and leaves do not; a value has no line break at its end. What the tree is made
//! of is in the instance's metadata and the site's settings alone, so no tree ever holds another instance's data.
//!
//! Not here: who asks, tokens, status codes (`answer`), signatures (`identity`).

use super::Site;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use tidemark_control::InstanceMetadata;

/// The prefixes under which the tree is. The first is what cloud-init asks for.
pub(super) const VERSIONS: [&str; 2] = ["2016-01-01", "latest"];

/// Between the values of a list; the service that we follow has it so.
const BETWEEN_VALUES: &str = "\r\n";

/// One place in the tree.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    /// With more below it.
    Directory(BTreeMap<String, Node>),
    /// A value.
    Text(String),
    /// A value that may be anything.
    Bytes(Vec<u8>),
    /// The keys of the role with this name, which are made when somebody asks.
    RoleKeys(String),
    /// The identity document.
    Document,
    /// Its signature.
    Signature,
}

impl Default for Node {
    fn default() -> Self {
        Node::Directory(BTreeMap::new())
    }
}

/// A path of a request, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Path {
    /// Decoded.
    pub(super) parts: Vec<String>,
    /// Whether it ended with `/`: then a directory is meant.
    pub(super) is_directory: bool,
}

impl Path {
    /// `None`: nothing can be there.
    pub(super) fn parse(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let (path, is_directory) = match path.strip_suffix('/') {
            Some("") => return None,
            Some(rest) => (rest, true),
            None => (path, path.is_empty()),
        };
        let mut parts = Vec::new();
        // The root has no parts; everywhere else one between two slashes is something.
        for part in path.split('/').filter(|_| !path.is_empty()) {
            let part = percent_decode_str(part).decode_utf8().ok()?;
            if part.is_empty() {
                return None;
            }
            parts.push(part.into_owned());
        }
        Some(Self { parts, is_directory })
    }

    /// Its parts as plain texts.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.parts.iter().map(String::as_str).collect()
    }
}

impl Node {
    /// All that is below a version's prefix.
    pub(super) fn of(own: &InstanceMetadata, site: &Site) -> Self {
        let mut root = Node::default();
        root.put(&["meta-data"], meta_data(own, site));
        if let Some(user_data) = &own.user_data {
            root.put(&["user-data"], Node::Bytes(user_data.clone()));
        }
        root.put(
            &["maintenance", "active-system-events"],
            Node::Text("None".into()),
        );
        root.put(&["dynamic", "instance-identity", "document"], Node::Document);
        root.put(&["dynamic", "instance-identity", "pkcs7"], Node::Signature);
        root
    }

    /// Puts something at a place, making the directories on the way.
    fn put(&mut self, path: &[&str], node: Node) {
        match (self, path) {
            (place, []) => *place = node,
            (Node::Directory(entries), [first, rest @ ..]) => {
                entries.entry((*first).to_owned()).or_default().put(rest, node);
            }
            // No path of ours goes through a value.
            (_, _) => {}
        }
    }

    /// Puts a value at a place, if there is one.
    fn text(&mut self, path: &[&str], value: &str) {
        if !value.is_empty() {
            self.put(path, Node::Text(value.to_owned()));
        }
    }

    /// What is at a path.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Node> {
        match (self, path) {
            (found, []) => Some(found),
            (Node::Directory(entries), [first, rest @ ..]) => entries.get(*first)?.find(rest),
            _ => None,
        }
    }

    /// The entries of a directory, one per line, sorted as they are shown; `None`: it is none.
    pub(super) fn listing(&self) -> Option<String> {
        let Node::Directory(entries) = self else {
            return None;
        };
        let show = |(name, node): (&String, &Node)| {
            // A tag's key may be any text: it must not look like a directory, nor like two keys.
            let name = name.replace('/', "%2F").replace('\r', "%0D").replace('\n', "%0A");
            match node {
                Node::Directory(_) => name + "/",
                _ => name,
            }
        };
        let mut lines: Vec<String> = entries.iter().map(show).collect();
        lines.sort_unstable();
        Some(lines.join("\n"))
    }

    /// As one JSON value, without what has to be made first and what is no text: of `meta-data` that is `ram` alone.
    pub(super) fn json(&self) -> Option<Value> {
        match self {
            Node::Directory(entries) => {
                let members: Map<String, Value> = entries
                    .iter()
                    .filter_map(|(name, node)| Some((name.clone(), node.json()?)))
                    .collect();
                // A directory with nothing to show in it is not shown; none is empty by itself.
                (!members.is_empty()).then_some(Value::Object(members))
            }
            Node::Text(text) => Some(Value::String(text.clone())),
            Node::Bytes(_) | Node::RoleKeys(_) | Node::Document | Node::Signature => None,
        }
    }
}

/// The `meta-data` directory (metadata-service.md 3).
fn meta_data(own: &InstanceMetadata, site: &Site) -> Node {
    let mut tree = Node::default();
    let address = own.private_address.map(|address| address.to_string());
    let address = address.unwrap_or_default();
    for (path, value) in [
        (&["instance-id"][..], &own.instance_id),
        (&["instance", "instance-name"], &own.instance_name),
        (&["instance", "instance-type"], &own.instance_type),
        (&["hostname"], &own.host_name),
        (&["serial-number"], &own.serial_number),
        (&["region-id"], &own.region_id),
        (&["zone-id"], &own.zone_id),
        (&["owner-account-id"], &own.owner_account_id),
        (&["image-id"], &own.image_id),
        (&["mac"], &own.mac),
        (&["private-ipv4"], &address),
        (&["vpc-id"], &own.vpc_id),
        (&["vpc-cidr-block"], &own.vpc_cidr_block),
        (&["vswitch-id"], &own.vswitch_id),
        (&["vswitch-cidr-block"], &own.vswitch_cidr_block),
        (
            &["dns-conf", "nameservers"],
            &site.nameservers.join(BETWEEN_VALUES),
        ),
        (
            &["ntp-conf", "ntp-servers"],
            &site.ntp_servers.join(BETWEEN_VALUES),
        ),
        // "One per line", as it is documented for this one.
        (&["source-address"], &site.source_addresses.join("\n")),
    ] {
        tree.text(path, value);
    }
    // The same for every instance.
    tree.text(&["network-type"], "vpc");
    tree.text(&["instance", "virtualization-solution"], "ECS Virt");
    tree.text(&["instance", "virtualization-solution-version"], "2");
    tree.text(&["hibernation", "configured"], "false");
    // There and empty: clients read it without asking whether it is there.
    tree.put(&["sub-private-ipv4-list"], Node::Text(String::new()));
    network(&mut tree, own, &address);
    for disk in &own.disks {
        tree.text(&["disks", &disk.serial, "id"], &disk.id);
        tree.text(&["disks", &disk.serial, "name"], &disk.name);
    }
    if let Some(key) = &own.public_key {
        tree.text(&["public-keys", &key.id, "openssh-key"], &key.openssh);
    }
    for tag in own.tags.iter().flatten() {
        tree.put(&["tags", "instance", &tag.key], Node::Text(tag.value.clone()));
    }
    if let Some(role) = &own.role_name {
        tree.put(
            &["ram", "security-credentials", role],
            Node::RoleKeys(role.clone()),
        );
    }
    tree
}

/// The instance's only network card.
fn network(tree: &mut Node, own: &InstanceMetadata, address: &str) {
    let place = |name: &'static str| ["network", "interfaces", "macs", own.mac.as_str(), name];
    let mask = own
        .private_address
        .and_then(|address| netmask(&own.vswitch_cidr_block, address));
    let mask = mask.map(|mask| mask.to_string()).unwrap_or_default();
    for (name, value) in [
        ("network-interface-id", own.network_interface_id.as_str()),
        ("vpc-id", &own.vpc_id),
        ("vpc-cidr-block", &own.vpc_cidr_block),
        ("vswitch-id", &own.vswitch_id),
        ("vswitch-cidr-block", &own.vswitch_cidr_block),
        ("primary-ip-address", address),
        ("netmask", &mask),
    ] {
        tree.text(&place(name), value);
    }
    if !address.is_empty() {
        let all = Value::from(vec![address]).to_string();
        tree.text(&place("private-ipv4s"), &all);
    }
}

/// The mask of a block of addresses such as `192.168.0.0/16`, if the address is in it: of an address from elsewhere,
/// nobody here knows it.
fn netmask(cidr: &str, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let (base, bits) = cidr.split_once('/')?;
    let (base, bits): (Ipv4Addr, u32) = (base.parse().ok()?, bits.parse().ok()?);
    let mask = u32::MAX.checked_shl(32u32.checked_sub(bits)?).unwrap_or(0);
    let inside = (u32::from(base) & mask) == (u32::from(address) & mask);
    inside.then(|| Ipv4Addr::from(mask))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_control::{MetadataDisk, PublicKey};
    use tidemark_ecs::model::Tag;

    fn bare() -> InstanceMetadata {
        InstanceMetadata {
            instance_id: "i-1".into(),
            instance_type: "t".into(),
            host_name: "iZ1Z".into(),
            mac: "00:16:3e:00:00:01".into(),
            vswitch_id: "vsw-1".into(),
            ..InstanceMetadata::default()
        }
    }

    fn full() -> InstanceMetadata {
        InstanceMetadata {
            vswitch_cidr_block: "192.168.0.0/16".into(),
            private_address: Some(Ipv4Addr::new(192, 168, 1, 5)),
            user_data: Some(vec![0, 255, b'\n']),
            public_key: Some(PublicKey {
                id: "skp-1".into(),
                openssh: "ssh-ed25519 AAAA".into(),
            }),
            role_name: Some("backup".into()),
            tags: Some(vec![
                Tag {
                    key: "a/b".into(),
                    value: String::new(),
                },
                Tag {
                    key: "team".into(),
                    value: "red".into(),
                },
            ]),
            disks: vec![
                MetadataDisk {
                    serial: "bp1a".into(),
                    id: "d-bp1a".into(),
                    name: String::new(),
                },
                MetadataDisk {
                    serial: "bp1b".into(),
                    id: "d-bp1b".into(),
                    name: "data".into(),
                },
            ],
            ..bare()
        }
    }

    fn site() -> Site {
        Site {
            nameservers: vec!["100.100.2.136".into(), "100.100.2.138".into()],
            ..Site::default()
        }
    }

    fn at<'a>(tree: &'a Node, path: &str) -> Option<&'a Node> {
        let path = Path::parse(path).expect("a path");
        tree.find(&path.parts())
    }

    fn listing(tree: &Node, path: &str) -> Vec<String> {
        let found = at(tree, path).and_then(Node::listing).expect(path);
        found.lines().map(str::to_owned).collect()
    }

    fn value<'a>(tree: &'a Node, path: &str) -> Option<&'a str> {
        match at(tree, path)? {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    #[test]
    fn what_there_is_no_value_for_is_not_there() {
        let tree = Node::of(&bare(), &Site::default());
        assert_eq!(listing(&tree, "/"), ["dynamic/", "maintenance/", "meta-data/"]);
        assert_eq!(
            listing(&tree, "/meta-data"),
            [
                "hibernation/",
                "hostname",
                "instance-id",
                "instance/",
                "mac",
                "network-type",
                "network/",
                "sub-private-ipv4-list",
                "vswitch-id",
            ]
        );
        for path in [
            "/user-data",
            "/vendor-data",
            "/meta-data/private-ipv4",
            "/meta-data/eipv4",
            "/meta-data/ram",
            "/meta-data/tags",
            "/meta-data/disks",
            "/meta-data/public-keys",
            "/meta-data/dns-conf",
            "/meta-data/instance/spot/termination-time",
            "/meta-data/Instance-Id",
            "/meta-data/instance-id/x",
        ] {
            assert_eq!(at(&tree, path), None, "{path}");
        }
        assert_eq!(value(&tree, "/meta-data/sub-private-ipv4-list"), Some(""));
    }

    #[test]
    fn lists_are_in_the_form_of_their_item() {
        let tree = Node::of(&full(), &site());
        let own = "/meta-data/network/interfaces/macs/00:16:3e:00:00:01";
        assert_eq!(
            value(&tree, &format!("{own}/private-ipv4s")),
            Some(r#"["192.168.1.5"]"#)
        );
        assert_eq!(value(&tree, &format!("{own}/netmask")), Some("255.255.0.0"));
        assert_eq!(
            value(&tree, "/meta-data/dns-conf/nameservers"),
            Some("100.100.2.136\r\n100.100.2.138")
        );
        assert_eq!(
            listing(&tree, "/meta-data/network/interfaces/macs"),
            ["00:16:3e:00:00:01/"]
        );
        assert_eq!(listing(&tree, "/meta-data/disks"), ["bp1a/", "bp1b/"]);
        assert_eq!(listing(&tree, "/meta-data/disks/bp1a"), ["id"]);
        assert_eq!(value(&tree, "/meta-data/disks/bp1b/name"), Some("data"));
        assert_eq!(listing(&tree, "/meta-data/public-keys"), ["skp-1/"]);
        assert_eq!(
            value(&tree, "/meta-data/public-keys/skp-1/openssh-key"),
            Some("ssh-ed25519 AAAA")
        );
        assert_eq!(listing(&tree, "/meta-data/ram/security-credentials"), ["backup"]);
        assert_eq!(at(&tree, "/user-data"), Some(&Node::Bytes(vec![0, 255, b'\n'])));
    }

    #[test]
    fn a_tag_with_a_slash_in_its_key_is_no_directory() {
        let tree = Node::of(&full(), &Site::default());
        assert_eq!(listing(&tree, "/meta-data/tags/instance"), ["a%2Fb", "team"]);
        assert_eq!(value(&tree, "/meta-data/tags/instance/a%2Fb"), Some(""));
        assert_eq!(value(&tree, "/meta-data/tags/instance/team"), Some("red"));
        assert_eq!(at(&tree, "/meta-data/tags/instance/a/b"), None);
    }

    #[test]
    fn the_whole_tree_is_one_object_without_the_keys_of_a_role() {
        let tree = Node::of(&full(), &site());
        let all = at(&tree, "/meta-data").and_then(Node::json).expect("an object");
        assert_eq!(all["instance"]["instance-type"], "t");
        assert_eq!(all["dns-conf"]["nameservers"], "100.100.2.136\r\n100.100.2.138");
        assert_eq!(all["public-keys"]["skp-1"]["openssh-key"], "ssh-ed25519 AAAA");
        assert_eq!(all["tags"]["instance"]["a/b"], "");
        assert_eq!(all["sub-private-ipv4-list"], "");
        assert!(all.get("ram").is_none());
    }

    #[test]
    fn paths_are_taken_apart() {
        let parse = |text: &str| Path::parse(text).map(|path| (path.parts.join("|"), path.is_directory));
        let some = |parts: &str, directory| Some((parts.to_owned(), directory));
        assert_eq!(parse("/"), some("", true));
        assert_eq!(parse("/latest"), some("latest", false));
        assert_eq!(parse("/latest/"), some("latest", true));
        assert_eq!(parse("/a/b%20c/"), some("a|b c", true));
        for odd in ["", "latest", "//", "//latest", "/latest//", "/a//b", "/%ff"] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_mask_is_told_of_addresses_in_the_block_only() {
        let mask = |cidr, last| netmask(cidr, Ipv4Addr::new(10, 0, 0, last)).map(|mask| mask.to_string());
        assert_eq!(mask("10.0.0.0/24", 9).as_deref(), Some("255.255.255.0"));
        assert_eq!(mask("10.0.0.8/30", 9).as_deref(), Some("255.255.255.252"));
        assert_eq!(mask("10.0.0.8/30", 13), None);
        assert_eq!(mask("0.0.0.0/0", 9).as_deref(), Some("0.0.0.0"));
        for odd in ["", "10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/x"] {
            assert_eq!(mask(odd, 9), None, "{odd}");
        }
    }
}
