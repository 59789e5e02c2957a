//! Runs a `parse` until it succeeds, and looks at what it reads on the way.

use super::watch::{Seen, Watcher};
use super::{Kind, examples};
use crate::{ApiError, Params};
use std::collections::BTreeMap;

/// One parameter of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// As on the wire; an item of a list is its first, `Tag.1.Key`.
    pub name: String,
    /// As what it is read.
    pub kind: Kind,
    /// Without it every request is refused.
    pub required: bool,
    /// A value that fits the kind; what the action's own rules want is known of required ones only.
    pub example: Option<String>,
}

impl Parameter {
    /// Whether it may be repeated with other numbers.
    pub fn repeats(&self) -> bool {
        self.name.split('.').any(|part| part.parse::<u32>().is_ok())
    }
}

/// What an action takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// In the order in which they are first read.
    pub parameters: Vec<Parameter>,
    /// A smallest request that parses. `None`: none was found, and there may be parameters that were not seen.
    pub smallest: Option<BTreeMap<String, String>>,
}

/// A `parse` of which only success counts.
pub type Parse<'a> = &'a dyn Fn(&Params) -> Result<(), ApiError>;

type Values = BTreeMap<String, String>;

/// Most parameters that a request is given in search of one that parses.
const STEPS_MAX: usize = 40;

/// Learns what `parse` takes.
pub fn parameters(parse: Parse<'_>) -> Description {
    let mut all = Seen::default();
    let mut smallest = climb(parse, Values::new(), false, &mut all);
    if let Some(values) = &mut smallest {
        // What was tried on the way and turned out not to be needed.
        for name in values.keys().cloned().collect::<Vec<_>>() {
            let without = less(values, &name);
            if run(parse, &without, false).0.is_ok() {
                *values = without;
            }
        }
    }
    let base = smallest.clone().unwrap_or_default();
    let inside = climb(parse, base.clone(), true, &mut all).unwrap_or_else(|| base.clone());
    // What is read only when something else is there.
    for (name, kind) in all.names.clone() {
        let ways = match &kind {
            Kind::Words(_) | Kind::Boolean => usize::MAX,
            _ => 1,
        };
        for value in examples::of(&name, &kind).into_iter().take(ways) {
            for (from, items) in [(&base, false), (&inside, true)] {
                if !from.contains_key(&name) {
                    all.merge(run(parse, &more(from, &name, &value), items).1);
                }
            }
        }
    }
    let describe = |(name, kind): (String, Kind)| Parameter {
        required: base.contains_key(&name) && is_required(parse, &base, &name, &all),
        example: base
            .get(&name)
            .cloned()
            .or_else(|| examples::of(&name, &kind).into_iter().next()),
        name,
        kind,
    };
    Description {
        parameters: all.names.clone().into_iter().map(describe).collect(),
        smallest,
    }
}

/// Whether nothing else can stand for it.
fn is_required(parse: Parse<'_>, base: &Values, name: &str, all: &Seen) -> bool {
    let without = less(base, name);
    !all.names
        .iter()
        .filter(|(other, _)| other != name)
        .any(|(other, kind)| {
            !base.contains_key(other)
                && examples::of(other, kind)
                    .iter()
                    .any(|value| run(parse, &more(&without, other, value), false).0.is_ok())
        })
}

/// Adds values until `parse` succeeds. `all` gets everything that was read.
fn climb(parse: Parse<'_>, mut values: Values, items: bool, all: &mut Seen) -> Option<Values> {
    for _ in 0..STEPS_MAX {
        let (outcome, seen) = run(parse, &values, items);
        all.merge(seen.clone());
        let Err(refusal) = outcome else {
            return Some(values);
        };
        // Members of lists that are not there yet may be what is missing.
        let mut wider = seen.clone();
        wider.merge(run(parse, &values, true).1);
        values = next(parse, &values, items, &refusal, &seen, &wider)?;
    }
    None
}

/// One more value, of those in `wider`, with which `parse` succeeds, reads more than `seen`, or is refused for something else.
fn next(
    parse: Parse<'_>,
    values: &Values,
    items: bool,
    refusal: &ApiError,
    seen: &Seen,
    wider: &Seen,
) -> Option<Values> {
    let mut elsewhere = None;
    // What was read last is likeliest to be what is missing.
    for (name, kind) in wider.names.iter().rev() {
        if values.contains_key(name) {
            continue;
        }
        for value in examples::of(name, kind) {
            let tried = more(values, name, &value);
            let (outcome, reach) = run(parse, &tried, items);
            let about_it = |error: &ApiError| error.message.contains(name.as_str());
            match outcome {
                Ok(()) => return Some(tried),
                Err(_) if reach.names.len() > seen.names.len() => return Some(tried),
                Err(other) if other != *refusal && !about_it(&other) && elsewhere.is_none() => {
                    elsewhere = Some(tried);
                }
                Err(_) => {}
            }
        }
    }
    elsewhere
}

fn run(parse: Parse<'_>, values: &Values, items: bool) -> (Result<(), ApiError>, Seen) {
    let watcher = Watcher::new(items);
    let outcome =
        Params::from_pairs(values.clone()).and_then(|params| parse(&params.watched(watcher.clone())));
    (outcome, watcher.seen())
}

fn more(values: &Values, name: &str, value: &str) -> Values {
    let mut values = values.clone();
    values.insert(name.to_owned(), value.to_owned());
    values
}

fn less(values: &Values, name: &str) -> Values {
    let mut values = values.clone();
    values.remove(name);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name` and `name!` for a required one.
    fn names(description: &Description) -> Vec<String> {
        let mark = |p: &Parameter| format!("{}{}", p.name, if p.required { "!" } else { "" });
        description.parameters.iter().map(mark).collect()
    }

    fn described(parse: impl Fn(&Params) -> Result<(), ApiError>) -> Description {
        parameters(&parse)
    }

    #[test]
    fn what_is_read_is_described_as_it_is_read() {
        let found = described(|p| {
            p.required("DiskId")?;
            p.flag("Force")?;
            p.integer_in("Days", 1..=7, 400, "Bad")?;
            p.word("Mode", &["a", "b"], 400, "Bad")?;
            p.list("Id")?;
            p.json_list("Ids", 9, (400, "Bad"), (400, "Bad"))?;
            Ok(())
        });
        assert_eq!(names(&found), ["DiskId!", "Force", "Days", "Mode", "Id.1", "Ids"]);
        let kinds: Vec<_> = found.parameters.iter().map(|p| p.kind.clone()).collect();
        assert_eq!(
            kinds,
            [
                Kind::Text,
                Kind::Boolean,
                Kind::Integer(Some(1..=7)),
                Kind::words(&["a", "b"]),
                Kind::Text,
                Kind::JsonList { most: 9 }
            ]
        );
        assert!(found.parameters[4].repeats() && !found.parameters[5].repeats());
    }

    #[test]
    fn members_and_what_hangs_on_a_value_are_found() {
        let found = described(|p| {
            for item in p.structs("Tag")? {
                item.required("Key")?;
                item.text("Value");
            }
            p.fields("SystemDisk").integer("Size")?;
            if p.flag("Deep")? {
                p.required("Depth")?;
            }
            Ok(())
        });
        let wanted = ["Tag.1.Key", "Tag.1.Value", "SystemDisk.Size", "Deep", "Depth"];
        let mut seen = names(&found);
        seen.sort();
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        assert_eq!(seen, wanted);
    }

    #[test]
    fn one_of_two_is_not_required_and_a_rule_of_its_own_is_met() {
        let found = described(|p| {
            let at = p.text("At").unwrap_or_default();
            if at.parse::<jiff::Timestamp>().is_err() {
                return Err(ApiError::new(400, "Odd", "a time, please"));
            }
            match (p.text("A"), p.text("B")) {
                (None, None) => Err(ApiError::new(404, "Neither", "name one")),
                _ => Ok(()),
            }
        });
        assert_eq!(names(&found), ["At!", "A", "B"]);
        assert_eq!(
            found.smallest.expect("found").keys().collect::<Vec<_>>(),
            ["At", "B"]
        );
    }

    #[test]
    fn a_list_that_must_not_be_empty_gets_an_item() {
        let found = described(|p| match p.structs("Tag")?.as_slice() {
            [] => Err(ApiError::new(404, "NoTags", "name some")),
            some => some.iter().try_for_each(|tag| tag.required("Key").map(drop)),
        });
        assert_eq!(names(&found), ["Tag.1.Key!"]);
    }

    #[test]
    fn what_cannot_be_satisfied_says_so() {
        let found = described(|p| {
            p.text("A");
            Err(ApiError::new(400, "Never", "no"))
        });
        assert_eq!((names(&found), found.smallest), (vec!["A".to_owned()], None));
    }

    #[test]
    fn every_list_is_found_to_be_one() {
        let found = described(|p| crate::actions::describe_snapshots::Request::parse(p).map(drop));
        for name in [
            "RegionId!",
            "SnapshotIds",
            "Filter.1.Key",
            "Filter.1.Value",
            "Tag.1.Key",
            "NextToken",
        ] {
            assert!(
                names(&found).iter().any(|seen| seen == name),
                "{name} of {:?}",
                names(&found)
            );
        }
    }
}
