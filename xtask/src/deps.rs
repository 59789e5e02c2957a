//! Arrows between crates point one way, and pure crates depend on nothing that does I/O.
//!
//! One table is the rule. A crate that is not in it fails the check, so a new crate has to say where
//! it stands. Every kind of dependency counts, tests' too: a test that needs a higher layer belongs there.

use crate::process;
use anyhow::{Context, Result};
use serde_json::Value;

/// What one crate may depend on.
struct Rule {
    /// Its name, without the `tidemark-` in front.
    name: &'static str,
    /// Crates of ours that it may use directly.
    ours: &'static [&'static str],
    /// For pure crates: the only crates of others. They compute; none opens a file or a socket.
    others: Option<&'static [&'static str]>,
}

const RULES: &[Rule] = &[
    Rule {
        name: "units",
        ours: &[],
        others: Some(&["serde", "thiserror", "proptest"]),
    },
    Rule {
        name: "ecs",
        ours: &["units"],
        others: Some(&[
            "data-encoding",
            "jiff",
            "percent-encoding",
            "quick-xml",
            "ring",
            "serde",
            "serde_json",
            "thiserror",
            "proptest",
        ]),
    },
    Rule {
        name: "env",
        ours: &["units"],
        others: None,
    },
    // Suites that every implementation of a trait of env must pass: tests use it.
    Rule {
        name: "conformance",
        ours: &["env"],
        others: None,
    },
    // A store to test against, and a proxy that breaks what passes: tests use it.
    Rule {
        name: "s3light",
        ours: &[],
        others: None,
    },
    // A bucket over the network. What lives on it must not know: only cli says where a vault is.
    Rule {
        name: "s3",
        ours: &["env", "conformance", "s3light"],
        others: None,
    },
    Rule {
        name: "nbd",
        ours: &["units", "env"],
        others: None,
    },
    Rule {
        name: "vhost",
        ours: &["env"],
        others: None,
    },
    Rule {
        name: "volume",
        ours: &["units", "env"],
        others: None,
    },
    Rule {
        name: "vault",
        ours: &["units", "env"],
        others: None,
    },
    Rule {
        name: "node",
        ours: &["units", "env", "nbd", "vhost", "volume", "vault"],
        others: None,
    },
    // Virtual machines; their disks are sockets to it.
    Rule {
        name: "compute",
        ours: &[],
        others: None,
    },
    // Control reaches the engine only through a node.
    Rule {
        name: "control",
        ours: &["units", "ecs", "env", "vault", "node", "compute"],
        others: None,
    },
    Rule {
        name: "api",
        ours: &["units", "ecs", "control"],
        others: None,
    },
    // Pages beside the API, over the same control functions: neither knows of the other.
    Rule {
        name: "console",
        ours: &["units", "ecs", "control"],
        others: None,
    },
    Rule {
        name: "cli",
        ours: &[
            "units", "ecs", "env", "s3", "nbd", "volume", "vault", "node", "compute", "control", "api",
            "console",
        ],
        others: None,
    },
    // The engine only: what the control plane does is tested with the real binary.
    Rule {
        name: "sim",
        ours: &["units", "env", "nbd", "volume", "vault", "node"],
        others: None,
    },
    Rule {
        name: "xtask",
        ours: &[],
        others: None,
    },
    Rule {
        name: "powercut",
        ours: &[],
        others: None,
    },
];

/// One sentence per broken rule; none when all is well.
pub fn check() -> Result<Vec<String>> {
    let metadata = process::output(process::cargo(&[
        "metadata",
        "--format-version",
        "1",
        "--no-deps",
        "--locked",
    ])?)?;
    let metadata: Value = serde_json::from_slice(&metadata).context("cargo metadata is not JSON")?;
    broken_rules(&metadata)
}

fn broken_rules(metadata: &Value) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    for package in metadata["packages"]
        .as_array()
        .context("cargo metadata names no packages")?
    {
        let name = short(text(package, "name")?);
        let Some(rule) = RULES.iter().find(|rule| rule.name == name) else {
            broken.push(format!(
                "crate {name} has no row in xtask/src/deps.rs: say what it may use"
            ));
            continue;
        };
        for dependency in package["dependencies"]
            .as_array()
            .context("a package lists no dependencies")?
        {
            let used = text(dependency, "name")?;
            // By its whole name: there is a crate `vhost` that is not ours.
            let ours = used != short(used);
            if ours && RULES.iter().any(|rule| rule.name == short(used)) {
                if !rule.ours.contains(&short(used)) {
                    broken.push(format!(
                        "{name} must not use {}: it may use {:?}",
                        short(used),
                        rule.ours
                    ));
                }
            } else if rule.others.is_some_and(|others| !others.contains(&used)) {
                broken.push(format!("{name} is pure and must not use the crate {used}"));
            }
        }
    }
    Ok(broken)
}

fn short(package: &str) -> &str {
    package.strip_prefix("tidemark-").unwrap_or(package)
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    value[key]
        .as_str()
        .with_context(|| format!("cargo metadata: no {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check_edge(from: &str, to: &str) -> Vec<String> {
        broken_rules(&json!({ "packages": [{ "name": from, "dependencies": [{ "name": to }] }] })).unwrap()
    }

    #[test]
    fn an_arrow_down_is_fine() {
        assert_eq!(
            check_edge("tidemark-node", "tidemark-volume"),
            Vec::<String>::new()
        );
        assert_eq!(check_edge("tidemark-env", "io-uring"), Vec::<String>::new());
    }

    #[test]
    fn an_arrow_up_is_named() {
        let broken = check_edge("tidemark-volume", "tidemark-vault");
        assert!(broken[0].contains("volume must not use vault"), "{broken:?}");
    }

    #[test]
    fn a_pure_crate_that_does_io_is_named() {
        let broken = check_edge("tidemark-ecs", "tokio");
        assert!(
            broken[0].contains("ecs is pure and must not use the crate tokio"),
            "{broken:?}"
        );
    }

    #[test]
    fn a_crate_without_a_rule_is_named() {
        let broken = check_edge("tidemark-gadget", "serde");
        assert!(broken[0].contains("gadget has no row"), "{broken:?}");
    }

    #[test]
    fn no_rule_allows_a_cycle() {
        // Each rule may only name crates above it in the table, so arrows cannot close a circle.
        for (at, rule) in RULES.iter().enumerate() {
            for used in rule.ours {
                let place = RULES.iter().position(|rule| rule.name == *used);
                assert!(place.is_some_and(|place| place < at), "{} -> {used}", rule.name);
            }
        }
    }
}
