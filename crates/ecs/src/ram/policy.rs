//! What a policy document says (version "1"): who may do what to which resources.
//!
//! What must stay true: without a statement that allows it, nothing is allowed; one statement that denies it wins
//! over any number that allow it; a document with anything in it that is not understood is refused when it is made,
//! never half obeyed.

use super::condition::{Condition, Facts, Truth};
use super::pattern;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// Longest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 6144;

/// A policy that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

/// What somebody wants to do to one resource.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// `ecs:CreateSnapshot`.
    pub action: &'a str,
    /// `acs:ecs:<region>:<account>:<type>/<id>`.
    pub resource: &'a str,
    /// What is known.
    pub facts: &'a Facts,
}

/// What policies say to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A statement allows it and none denies it.
    Allowed,
    /// No statement allows it.
    NotAllowed,
    /// A statement denies it, whatever others say.
    Denied,
}

/// What all of `policies` together say.
pub fn judge<'a>(policies: impl IntoIterator<Item = &'a Policy>, question: &Question<'_>) -> Verdict {
    let mut verdict = Verdict::NotAllowed;
    for statement in policies.into_iter().flat_map(|policy| &policy.statements) {
        match (statement.effect, statement.applies(question)) {
            (Effect::Deny, Truth::Yes | Truth::Unknown) => return Verdict::Denied,
            (Effect::Allow, Truth::Yes) => verdict = Verdict::Allowed,
            _ => {}
        }
    }
    verdict
}

impl Statement {
    fn applies(&self, question: &Question<'_>) -> Truth {
        let action = question.action.to_ascii_lowercase();
        let named = self
            .actions
            .iter()
            .any(|own| pattern::matches(&own.to_ascii_lowercase(), &action))
            && self
                .resources
                .iter()
                .any(|own| pattern::matches(own, question.resource));
        if !named {
            return Truth::No;
        }
        self.conditions
            .iter()
            .map(|condition| condition.holds(question.facts))
            .fold(Truth::Yes, Truth::and)
    }
}

impl Policy {
    /// Reads a document; the error, for people, says what is wrong with it.
    pub fn parse(document: &str) -> Result<Self, String> {
        if document.len() > DOCUMENT_BYTES_MAX {
            return Err(format!(
                "it has {} bytes, where {DOCUMENT_BYTES_MAX} are allowed",
                document.len()
            ));
        }
        let raw: RawDocument = serde_json::from_str(document).map_err(|error| error.to_string())?;
        if raw.version != "1" {
            return Err(format!("Version must be \"1\", not {:?}", raw.version));
        }
        let statements = raw.statement.0.into_iter().map(Statement::read);
        Ok(Self {
            statements: statements.collect::<Result<_, _>>()?,
        })
    }
}

impl Statement {
    fn read(raw: RawStatement) -> Result<Self, String> {
        let (actions, resources) = (raw.action.0, raw.resource.0);
        if actions.is_empty() || resources.is_empty() {
            return Err("a statement needs an Action and a Resource".into());
        }
        let is_action = |text: &&String| {
            *text == "*"
                || text
                    .split_once(':')
                    .is_some_and(|(service, name)| !service.is_empty() && !name.is_empty())
        };
        if let Some(wrong) = actions.iter().find(|text| !is_action(text)) {
            return Err(format!("the action {wrong:?} has not the form service:Name"));
        }
        // Five parts, of which the last may hold more colons.
        let is_resource =
            |text: &&String| *text == "*" || (text.starts_with("acs:") && text.split(':').count() >= 5);
        if let Some(wrong) = resources.iter().find(|text| !is_resource(text)) {
            return Err(format!(
                "the resource {wrong:?} has not the form acs:service:region:account:type/id"
            ));
        }
        let mut conditions = Vec::new();
        for (operator, keys) in raw.condition.0 {
            if keys.0.is_empty() {
                return Err(format!("the condition operator {operator:?} has no key"));
            }
            for (key, values) in keys.0 {
                conditions.push(Condition::parse(&operator, &key, values.0)?);
            }
        }
        Ok(Self {
            effect: raw.effect,
            actions,
            resources,
            conditions,
        })
    }
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
    effect: Effect,
    action: OneOrMore<String>,
    resource: OneOrMore<String>,
    #[serde(default)]
    condition: Pairs<Pairs<OneOrMore<String>>>,
}

/// A value, or an array of them.
pub(super) struct OneOrMore<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either<T> {
            More(Vec<T>),
            One(T),
        }
        Ok(match Either::deserialize(from)? {
            Either::More(values) => OneOrMore(values),
            Either::One(value) => OneOrMore(vec![value]),
        })
    }
}

/// The members of an object, each: of two with one name, a map would lose one, and a condition with it.
struct Pairs<T>(Vec<(String, T)>);

impl<T> Default for Pairs<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Pairs<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = Pairs<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs))
            }
        }
        from.deserialize_map(Members(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests;
