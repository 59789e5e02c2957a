//! Documents and questions: what is allowed and what is not.

use super::super::condition::Tags;
use super::*;
use proptest::prelude::*;

fn policy(statements: &str) -> Policy {
    Policy::parse(&format!(r#"{{"Version":"1","Statement":[{statements}]}}"#)).expect("understood")
}

fn facts(tags: &[(&str, &str)], complete: bool) -> Facts {
    Facts {
        source: Some("10.1.2.3".parse().expect("an address")),
        resource_tags: Tags {
            known: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            complete,
        },
        request_tags: Tags::default(),
        ..Facts::default()
    }
}

const ALL: &str = r#"{"Effect":"Allow","Action":"*","Resource":"*"}"#;
const READ: &str = r#"{"Effect":"Allow","Action":["ecs:Describe*","ecs:List*"],"Resource":"*"}"#;
const ONE_DISK: &str = r#"{"Effect":"Allow","Action":"ecs:*","Resource":"acs:ecs:*:*:disk/d-1"}"#;
const NO_DELETE: &str = r#"{"Effect":"Deny","Action":"ecs:Delete*","Resource":"*"}"#;
const TAGGED: &str = r#"{"Effect":"Allow","Action":"ecs:DeleteSnapshot","Resource":"*",
    "Condition":{"StringEquals":{"ecs:tag/owner":["alice","bob"]}}}"#;
const NOT_PROD: &str = r#"{"Effect":"Deny","Action":"ecs:*","Resource":"*",
    "Condition":{"StringEquals":{"acs:ResourceTag/env":"prod"}}}"#;
const FROM_OUTSIDE: &str = r#"{"Effect":"Deny","Action":"*","Resource":"*",
    "Condition":{"NotIpAddress":{"acs:SourceIp":"10.0.0.0/8"}}}"#;

#[test]
fn documents_and_requests() {
    use Verdict::{Allowed, Denied, NotAllowed};
    let (disk, other) = ("acs:ecs:cn-hangzhou:1:disk/d-1", "acs:ecs:cn-hangzhou:1:disk/d-2");
    let none = facts(&[], true);
    let unknown = facts(&[], false);
    let alice = facts(&[("owner", "alice"), ("env", "prod")], true);
    let carol = facts(&[("owner", "carol")], true);
    let outside = Facts {
        source: Some("203.0.113.1".parse().expect("an address")),
        ..none.clone()
    };
    let nowhere = Facts {
        source: None,
        ..none.clone()
    };
    let both = |a: &str, b: &str| format!("{a},{b}");
    let rows: Vec<(String, &str, &str, &Facts, Verdict)> = vec![
        // The default, and plain grants.
        (READ.into(), "ecs:DeleteSnapshot", disk, &none, NotAllowed),
        (READ.into(), "ecs:DescribeSnapshots", disk, &none, Allowed),
        (READ.into(), "ECS:describesnapshots", disk, &none, Allowed),
        (READ.into(), "ram:ListUsers", disk, &none, NotAllowed),
        (ALL.into(), "ram:CreateUser", "acs:ram::1:user/a", &none, Allowed),
        // Resources.
        (ONE_DISK.into(), "ecs:ResetDisk", disk, &none, Allowed),
        (ONE_DISK.into(), "ecs:ResetDisk", other, &none, NotAllowed),
        (
            ONE_DISK.into(),
            "ecs:ResetDisk",
            "acs:ecs:cn-hangzhou:1:disk/*",
            &none,
            NotAllowed,
        ),
        (
            ONE_DISK.into(),
            "ecs:ResetDisk",
            "acs:ecs:cn-hangzhou:1:disk/D-1",
            &none,
            NotAllowed,
        ),
        // An explicit deny, in whichever order.
        (both(ALL, NO_DELETE), "ecs:DeleteDisk", disk, &none, Denied),
        (both(NO_DELETE, ALL), "ecs:DeleteDisk", disk, &none, Denied),
        (both(ALL, NO_DELETE), "ecs:ResetDisk", disk, &none, Allowed),
        // Tags: an allow needs certainty, a deny does not.
        (TAGGED.into(), "ecs:DeleteSnapshot", disk, &alice, Allowed),
        (TAGGED.into(), "ecs:DeleteSnapshot", disk, &carol, NotAllowed),
        (TAGGED.into(), "ecs:DeleteSnapshot", disk, &none, NotAllowed),
        (TAGGED.into(), "ecs:DeleteSnapshot", disk, &unknown, NotAllowed),
        (both(ALL, NOT_PROD), "ecs:ResetDisk", disk, &alice, Denied),
        (both(ALL, NOT_PROD), "ecs:ResetDisk", disk, &carol, Allowed),
        (both(ALL, NOT_PROD), "ecs:ResetDisk", disk, &unknown, Denied),
        // Where the request came from.
        (both(ALL, FROM_OUTSIDE), "ecs:ResetDisk", disk, &none, Allowed),
        (both(ALL, FROM_OUTSIDE), "ecs:ResetDisk", disk, &outside, Denied),
        (both(ALL, FROM_OUTSIDE), "ecs:ResetDisk", disk, &nowhere, Denied),
    ];
    for (statements, action, resource, facts, expected) in rows {
        let question = Question {
            action,
            resource,
            facts,
        };
        let verdict = judge([&policy(&statements)], &question);
        assert_eq!(verdict, expected, "{statements} {action} {resource} {facts:?}");
    }
}

#[test]
fn nothing_is_allowed_without_a_policy() {
    let question = Question {
        action: "ecs:DescribeRegions",
        resource: "*",
        facts: &Facts::default(),
    };
    assert_eq!(judge([], &question), Verdict::NotAllowed);
}

#[test]
fn what_is_not_understood_is_refused_as_a_whole() {
    let long = format!(
        r#"{{"Version":"1","Statement":[{{"Effect":"Allow","Action":"{}:a","Resource":"*"}}]}}"#,
        "x".repeat(DOCUMENT_BYTES_MAX)
    );
    for document in [
        "",
        "[]",
        "{}",
        r#"{"Version":"1"}"#,
        r#"{"Version":"2","Statement":[]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Maybe","Action":"*","Resource":"*"}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","NotAction":"ecs:*","Resource":"*"}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","NotResource":"*"}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Effect":"Deny","Action":"*","Resource":"*"}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":[],"Resource":"*"}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"CreateDisk","Resource":"*"}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"disk/d-1"}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"acs:SecureTransport":"true"}}}]}"#,
        r#"{"Version":"1","Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{}}}]}"#,
        long.as_str(),
    ] {
        Policy::parse(document).expect_err(document);
    }
}

#[test]
fn of_two_conditions_with_one_name_none_is_lost() {
    let policy = policy(
        r#"{"Effect":"Allow","Action":"*","Resource":"*","Condition":{
            "StringEquals":{"ecs:tag/owner":"alice"},"StringEquals":{"ecs:tag/env":"dev"}}}"#,
    );
    let question = |facts| Question {
        action: "ecs:DeleteDisk",
        resource: "acs:ecs:r:1:disk/d-1",
        facts,
    };
    let (half, whole) = (
        facts(&[("env", "dev")], true),
        facts(&[("env", "dev"), ("owner", "alice")], true),
    );
    assert_eq!(judge([&policy], &question(&half)), Verdict::NotAllowed);
    assert_eq!(judge([&policy], &question(&whole)), Verdict::Allowed);
}

fn statement(effect: &'static str) -> impl Strategy<Value = String> {
    let action = prop::sample::select(vec!["*", "ecs:*", "ecs:Delete*", "ecs:DeleteDisk", "ram:*"]);
    let resource = prop::sample::select(vec![
        "*",
        "acs:ecs:*:*:*",
        "acs:ecs:*:1:disk/*",
        "acs:ecs:r:1:disk/d-1",
    ]);
    let condition = prop::sample::select(vec![
        "",
        r#","Condition":{"StringEquals":{"ecs:tag/env":"prod"}}"#,
        r#","Condition":{"StringNotEquals":{"ecs:tag/env":"prod"}}"#,
        r#","Condition":{"IpAddress":{"acs:SourceIp":"10.0.0.0/8"}}"#,
    ]);
    (action, resource, condition).prop_map(move |(action, resource, condition)| {
        format!(r#"{{"Effect":"{effect}","Action":"{action}","Resource":"{resource}"{condition}}}"#)
    })
}

proptest! {
    /// Whatever is allowed beside it, and wherever it stands, a deny that applies wins.
    #[test]
    fn an_explicit_deny_always_wins(
        allows in prop::collection::vec(statement("Allow"), 0..5),
        deny in statement("Deny"),
        at in 0usize..5,
        prod in any::<bool>(),
        complete in any::<bool>(),
    ) {
        let facts = facts(if prod { &[("env", "prod")] } else { &[("env", "dev")] }, complete);
        let question = Question { action: "ecs:DeleteDisk", resource: "acs:ecs:r:1:disk/d-1", facts: &facts };
        let alone = judge([&policy(&deny)], &question);
        let mut all = allows.clone();
        all.insert(at.min(all.len()), deny);
        let together = judge([&policy(&all.join(","))], &question);
        // The same when the deny is in a policy of its own.
        let apart: Vec<_> = all.iter().map(|one| policy(one)).collect();
        prop_assert_eq!(judge(&apart, &question), together);
        if alone == Verdict::Denied {
            prop_assert_eq!(together, Verdict::Denied);
        } else {
            prop_assert_eq!(together, judge(&allows.iter().map(|one| policy(one)).collect::<Vec<_>>(), &question));
        }
    }

    #[test]
    fn no_document_panics(text in ".{0,200}") {
        let _ = Policy::parse(&text);
    }
}
