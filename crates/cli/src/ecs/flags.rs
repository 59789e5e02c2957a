//! Reading the arguments of `tidemark ecs`, as the reference client reads its own.
//!
//! Parameters are free: any `--Name value`, `--Name=value` or `--Name:value` goes to the API. A
//! flag may have no value; then the parameter is empty. A value may begin with a dash, except
//! that something of the form `--name` after a parameter is the next parameter: write
//! `--Description=--name` for that. `--Name-FILE path` takes the value from a file.
//! `--output`, `--waiter` and `--pager` collect `key=value` words up to the next flag.

use super::{pager::Pager, table::Table, waiter::Waiter};
use crate::client::Method;
use crate::credentials::ConnectionArgs;
use anyhow::{Context, Result, bail};

/// What the command line asks for.
#[derive(Debug, Default)]
pub struct Flags {
    /// The action, once it is known.
    pub action: Option<String>,
    /// What goes to the API.
    pub parameters: Vec<(String, String)>,
    /// Where and who.
    pub connection: ConnectionArgs,
    /// `--method`.
    pub method: Method,
    /// `--header k=v`.
    pub headers: Vec<(String, String)>,
    /// `--output`.
    pub table: Option<Table>,
    /// `--cli-query`.
    pub query: Option<String>,
    /// `--waiter`.
    pub waiter: Option<Waiter>,
    /// `--pager`.
    pub pager: Option<Pager>,
    /// `--quiet`.
    pub quiet: bool,
    /// `--help`.
    pub help: bool,
}

/// One flag as written: its values are all words up to the next flag.
struct Written {
    name: String,
    values: Vec<String>,
}

/// Flags that never take a word.
const SWITCHES: &[&str] = &[
    "help",
    "quiet",
    "force",
    "insecure",
    "secure",
    "skip-secure-verify",
];
/// Flags that collect all words up to the next flag.
const COLLECTORS: &[&str] = &["output", "waiter", "pager", "header"];

/// The long name behind a short or other spelling.
fn alias(name: &str) -> &str {
    match name {
        "o" => "output",
        "q" => "quiet",
        "h" => "help",
        "all-pages" => "pager",
        other => other,
    }
}

/// `--Name` and what follows `=` or `:`; `None` when the word is no flag.
fn as_flag(word: &str) -> Option<(&str, Option<&str>)> {
    let rest = word.strip_prefix("--")?;
    let (name, value) = match rest.find(['=', ':']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let good = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    good.then_some((name, value))
}

/// The short forms that are flags of our own rather than values.
fn as_short(word: &str) -> Option<&str> {
    word.strip_prefix('-').filter(|s| matches!(*s, "o" | "q" | "h"))
}

/// Splits words into arguments and flags.
fn split(words: &[String]) -> Result<(Vec<String>, Vec<Written>)> {
    let mut arguments = Vec::new();
    let mut flags: Vec<Written> = Vec::new();
    // Whether the last flag still takes a word.
    let mut open = false;
    for word in words {
        let collecting = open
            && flags
                .last()
                .is_some_and(|f| COLLECTORS.contains(&f.name.as_str()));
        // After a parameter, `-o` is its value; after a collector or a complete flag it is a flag.
        let short = if open && !collecting { None } else { as_short(word) };
        if let Some((name, value)) = short.map(|s| (s, None)).or_else(|| as_flag(word)) {
            let name = alias(name).to_string();
            if flags.iter().any(|f| f.name == name) && name != "header" {
                bail!("--{name} duplicated");
            }
            open = !SWITCHES.contains(&name.as_str())
                && (value.is_none() || COLLECTORS.contains(&name.as_str()));
            flags.push(Written {
                name,
                values: value.map(str::to_string).into_iter().collect(),
            });
        } else if open {
            let last = flags.last_mut().expect("a flag is open");
            last.values.push(word.clone());
            open = collecting;
        } else if word.starts_with('-') && word.len() > 1 {
            bail!("not support flag form {word}");
        } else {
            arguments.push(word.clone());
        }
    }
    Ok((arguments, flags))
}

/// The `key=value` words of a collecting flag; each key known, at most once.
fn fields<const N: usize>(flag: &str, values: &[String], known: [&str; N]) -> Result<[Option<String>; N]> {
    let mut found = [const { None }; N];
    for word in values {
        let Some((key, value)) = word.split_once('=') else {
            bail!("--{flag} can't assign with value: {word}")
        };
        let Some(at) = known.iter().position(|k| *k == key) else {
            bail!("--{flag} can't assign with {key}=")
        };
        if found[at].replace(value.to_string()).is_some() {
            bail!("bad flag format --{flag} with field {key}= duplicated");
        }
    }
    Ok(found)
}

fn required(flag: &str, key: &str, value: Option<String>) -> Result<String> {
    value.with_context(|| format!("bad flag format --{flag} with field {key}= required"))
}

impl Flags {
    /// Reads all words after `ecs`. `connection` holds what the command line said before.
    pub fn parse(words: &[String], connection: ConnectionArgs) -> Result<Self> {
        let (arguments, written) = split(words)?;
        let mut flags = Self {
            connection,
            ..Default::default()
        };
        if let [_, extra, ..] = arguments.as_slice() {
            bail!("unexpected argument {extra:?}: after the action come --Name value pairs");
        }
        flags.action = arguments.into_iter().next();
        for flag in written {
            flags.take(flag)?;
        }
        if flags.waiter.is_some() && flags.pager.is_some() {
            bail!("flag --waiter is exclusive with --pager");
        }
        Ok(flags)
    }

    fn take(&mut self, Written { name, values }: Written) -> Result<()> {
        let single = || values.first().cloned().filter(|v| !v.is_empty());
        let value = || single().with_context(|| format!("--{name} must be assigned with value"));
        match name.as_str() {
            "help" => self.help = true,
            "quiet" => self.quiet = true,
            // Of the reference client; they change nothing here: actions and parameters are never
            // refused locally, and the endpoint's scheme is plain HTTP.
            "force" | "insecure" | "skip-secure-verify" => {}
            "secure" => bail!("--secure: HTTPS is not offered by this client yet"),
            "endpoint" => self.connection.endpoint = Some(value()?),
            "region" => self.connection.region = Some(value()?),
            "access-key-id" => self.connection.access_key_id = Some(value()?),
            "access-key-secret" => self.connection.access_key_secret = Some(value()?),
            "sts-token" => self.connection.sts_token = Some(value()?),
            "data-dir" => self.connection.data_dir = Some(value()?.into()),
            "version" => {
                let version = value()?;
                if version != tidemark_ecs::API_VERSION {
                    bail!("--version {version}: only {} exists", tidemark_ecs::API_VERSION);
                }
            }
            "method" => {
                self.method = match value()?.as_str() {
                    "GET" => Method::Get,
                    "POST" => Method::Post,
                    other => {
                        bail!("--method value {other} is not supported, please set method in {{GET|POST}}")
                    }
                }
            }
            "header" => {
                for word in &values {
                    let Some((key, value)) = word.split_once('=') else {
                        bail!("invalid flag --header `{word}` use `--header HeaderName=Value`");
                    };
                    self.headers.push((key.into(), value.into()));
                }
            }
            "cli-query" => self.query = Some(value()?),
            "output" => {
                let [cols, rows, num] = fields("output", &values, ["cols", "rows", "num"])?;
                self.table = Some(Table {
                    columns: Table::columns(&required("output", "cols", cols)?),
                    rows,
                    numbered: num.as_deref() == Some("true"),
                });
            }
            "waiter" => {
                let [expr, to, timeout, interval] =
                    fields("waiter", &values, ["expr", "to", "timeout", "interval"])?;
                let (expr, to) = (required("waiter", "expr", expr)?, required("waiter", "to", to)?);
                self.waiter = Some(Waiter::new(expr, to, timeout.as_deref(), interval.as_deref())?);
            }
            "pager" => {
                let [path, page_number, page_size, total_count, next_token] = fields(
                    "pager",
                    &values,
                    ["path", "PageNumber", "PageSize", "TotalCount", "NextToken"],
                )?;
                self.pager = Some(Pager::new(path, page_number, page_size, total_count, next_token));
            }
            _ => {
                let text = values.into_iter().next().unwrap_or_default();
                match name.strip_suffix("-FILE") {
                    Some(name) => {
                        let content = std::fs::read_to_string(&text)
                            .with_context(|| format!("--{name}-FILE: cannot read {text:?}"))?;
                        self.parameters.push((name.into(), content));
                    }
                    None => self.parameters.push((name, text)),
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Flags> {
        let words: Vec<String> = words.iter().map(|w| w.to_string()).collect();
        Flags::parse(&words, ConnectionArgs::default())
    }

    fn parameters(words: &[&str]) -> Vec<(String, String)> {
        let mut words = words.to_vec();
        words.insert(0, "CreateDisk");
        parse(&words).expect("good arguments").parameters
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect()
    }

    #[test]
    fn any_pair_is_a_parameter() {
        let words = [
            "--DiskId",
            "d-1",
            "--Tag.1.Key",
            "k",
            "--Tag.1.Value=v=w",
            "--Size:20",
            "--RegionId",
            "r",
        ];
        let expected = [
            ("DiskId", "d-1"),
            ("Tag.1.Key", "k"),
            ("Tag.1.Value", "v=w"),
            ("Size", "20"),
            ("RegionId", "r"),
        ];
        assert_eq!(parameters(&words), pairs(&expected));
    }

    #[test]
    fn values_may_begin_with_a_dash() {
        let words = [
            "--Description",
            "-o",
            "--DiskName",
            "-1",
            "--A",
            "--- x",
            "--B=--Force",
            "--C",
            "-- y",
        ];
        let expected = [
            ("Description", "-o"),
            ("DiskName", "-1"),
            ("A", "--- x"),
            ("B", "--Force"),
            ("C", "-- y"),
        ];
        assert_eq!(parameters(&words), pairs(&expected));
    }

    #[test]
    fn a_parameter_without_value_is_empty() {
        assert_eq!(
            parameters(&["--DryRun", "--Size", "1"]),
            pairs(&[("DryRun", ""), ("Size", "1")])
        );
    }

    #[test]
    fn a_value_can_come_from_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("v");
        std::fs::write(&path, "text\n").unwrap();
        assert_eq!(
            parameters(&["--UserData-FILE", path.to_str().unwrap()]),
            pairs(&[("UserData", "text\n")])
        );
        let error = parse(&["X", "--A-FILE", "/no/such/file"])
            .unwrap_err()
            .to_string();
        assert!(error.contains("/no/such/file"), "{error}");
    }

    #[test]
    fn the_table_flag_collects_words() {
        let flags = parse(&[
            "D",
            "--output",
            "cols=A,B",
            "rows=X.Y[]",
            "num=true",
            "--DiskId",
            "d-1",
            "-q",
        ])
        .unwrap();
        let table = flags.table.unwrap();
        assert_eq!(
            (table.columns, table.rows.as_deref(), table.numbered),
            (vec!["A".into(), "B".into()], Some("X.Y[]"), true)
        );
        assert_eq!(flags.parameters, pairs(&[("DiskId", "d-1")]));
        assert!(flags.quiet);
        assert!(
            parse(&["D", "-o", "cols=A", "rows=X[?B=='c']"])
                .unwrap()
                .table
                .is_some(),
            "a value may hold ="
        );
    }

    #[test]
    fn refusals_name_the_flag() {
        for (words, part) in [
            (&["D", "--output", "rows=X"][..], "cols= required"),
            (&["D", "--output", "cols=A", "cols=B"], "cols= duplicated"),
            (&["D", "--output", "cols=A", "lines=B"], "lines="),
            (&["D", "--output", "A"], "--output"),
            (&["D", "--DiskId", "a", "--DiskId", "b"], "--DiskId duplicated"),
            (&["D", "E"], "\"E\""),
            (&["D", "-x"], "-x"),
            (&["D", "--method", "PUT"], "PUT"),
            (&["D", "--waiter", "expr=a"], "to= required"),
            (&["D", "--waiter", "expr=a", "to=b", "--pager"], "exclusive"),
            (&["D", "--version", "2020-01-01"], "2020-01-01"),
            (&["D", "--endpoint"], "--endpoint"),
        ] {
            let error = parse(words).unwrap_err().to_string();
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
