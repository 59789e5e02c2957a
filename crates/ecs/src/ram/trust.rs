//! Who may take a role on: its trust policy.

use super::policy::OneOrMore;
use serde::Deserialize;

/// The one service that can be let in: it hands a role's keys to instances.
const ECS: &str = "ecs.aliyuncs.com";

/// A trust policy that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Whom it lets in, each with whether it keeps them out instead.
    principals: Vec<(String, bool)>,
    /// The same of services.
    services: Vec<(String, bool)>,
}

impl Trust {
    /// Reads a document; the error, for people, says what is wrong with it.
    pub fn parse(document: &str) -> Result<Self, String> {
        if document.len() > super::policy::DOCUMENT_BYTES_MAX {
            return Err("it is too long".into());
        }
        let raw: RawDocument = serde_json::from_str(document).map_err(|error| error.to_string())?;
        if raw.version != "1" {
            return Err(format!("Version must be \"1\", not {:?}", raw.version));
        }
        let (mut principals, mut services) = (Vec::new(), Vec::new());
        for statement in raw.statement.0 {
            if statement.action.0 != ["sts:AssumeRole"] {
                return Err("the only Action of a trust policy is sts:AssumeRole".into());
            }
            let RawPrincipal { ram, service } = statement.principal;
            if ram.is_none() && service.is_none() {
                return Err("a Principal names neither RAM nor Service".into());
            }
            for service in service.map(|named| named.0).unwrap_or_default() {
                if service != ECS {
                    return Err(format!(
                        "the only Service that can be let in is {ECS}, not {service:?}"
                    ));
                }
                services.push((service, statement.effect == "Deny"));
            }
            for principal in ram.map(|named| named.0).unwrap_or_default() {
                let form = principal
                    .strip_prefix("acs:ram::")
                    .and_then(|rest| rest.split_once(':'));
                match form {
                    Some((_, who))
                        if who == "root" || who.starts_with("user/") || who.starts_with("role/") => {}
                    _ => {
                        return Err(format!(
                            "the principal {principal:?} has not the form acs:ram::account:root, :user/name or :role/name"
                        ));
                    }
                }
                principals.push((principal, statement.effect == "Deny"));
            }
            if !["Allow", "Deny"].contains(&statement.effect.as_str()) {
                return Err(format!(
                    "Effect must be Allow or Deny, not {:?}",
                    statement.effect
                ));
            }
        }
        Ok(Self { principals, services })
    }

    /// Whether somebody of `account` who is called `arn` may try. `acs:ram::<account>:root` stands for everybody of
    /// the account: their own policies decide then.
    pub fn admits(&self, account: &str, arn: &str) -> bool {
        let everybody = format!("acs:ram::{account}:root");
        let named = self
            .principals
            .iter()
            .filter(|(who, _)| *who == everybody || who == arn);
        admitted(named.map(|(_, denies)| *denies))
    }

    /// Whether instances may have the role.
    pub fn admits_instances(&self) -> bool {
        admitted(self.services.iter().map(|(_, denies)| *denies))
    }
}

/// Whether somebody is let in whom statements name that deny or allow: named at all, and denied by none.
fn admitted(mut denials: impl Iterator<Item = bool>) -> bool {
    let mut admitted = false;
    let kept_out = denials.any(|denies| {
        admitted |= !denies;
        denies
    });
    admitted && !kept_out
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawDocument {
    version: String,
    statement: OneOrMore<RawStatement>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
struct RawStatement {
    effect: String,
    action: OneOrMore<String>,
    principal: RawPrincipal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPrincipal {
    #[serde(rename = "RAM")]
    ram: Option<OneOrMore<String>>,
    #[serde(rename = "Service")]
    service: Option<OneOrMore<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(statements: &str) -> Trust {
        Trust::parse(&format!(r#"{{"Version":"1","Statement":[{statements}]}}"#)).expect("understood")
    }

    #[test]
    fn those_named_are_let_in() {
        let one = |effect: &str, who: &str| {
            format!(r#"{{"Effect":"{effect}","Action":"sts:AssumeRole","Principal":{{"RAM":["{who}"]}}}}"#)
        };
        let all = one("Allow", "acs:ram::1:root");
        let alice = one("Allow", "acs:ram::1:user/alice");
        let not_bob = one("Deny", "acs:ram::1:user/bob");
        for (statements, who, expected) in [
            (all.clone(), "acs:ram::1:user/alice", true),
            (alice.clone(), "acs:ram::1:user/alice", true),
            (alice.clone(), "acs:ram::1:user/bob", false),
            (format!("{all},{not_bob}"), "acs:ram::1:user/bob", false),
            (format!("{not_bob},{all}"), "acs:ram::1:user/bob", false),
            (format!("{all},{not_bob}"), "acs:ram::1:user/alice", true),
        ] {
            assert_eq!(
                trust(&statements).admits("1", who),
                expected,
                "{statements} {who}"
            );
        }
        assert!(!trust(&all).admits("2", "acs:ram::2:user/alice"));
    }

    #[test]
    fn instances_are_let_in_by_the_name_of_their_service() {
        let one = |effect: &str| {
            format!(
                r#"{{"Effect":"{effect}","Action":"sts:AssumeRole","Principal":{{"Service":["ecs.aliyuncs.com"]}}}}"#
            )
        };
        let (allow, deny) = (one("Allow"), one("Deny"));
        assert!(trust(&allow).admits_instances());
        assert!(!trust(&format!("{allow},{deny}")).admits_instances());
        let everybody =
            r#"{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":["acs:ram::1:root"]}}"#;
        assert!(!trust(everybody).admits_instances());
        assert!(!trust(&allow).admits("1", "acs:ram::1:user/alice"));
    }

    #[test]
    fn anything_else_is_refused() {
        for document in [
            "{}",
            r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"*","Principal":{"RAM":"acs:ram::1:root"}}}"#,
            r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"RAM":"*"}}}"#,
            r#"{"Version":"1","Statement":{"Effect":"Yes","Action":"sts:AssumeRole","Principal":{"RAM":"acs:ram::1:root"}}}"#,
            r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{"Service":"oss.aliyuncs.com"}}}"#,
            r#"{"Version":"1","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Principal":{}}}"#,
        ] {
            Trust::parse(document).expect_err(document);
        }
    }
}
