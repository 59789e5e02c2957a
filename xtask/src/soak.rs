//! `cargo xtask soak`: strikes the real binary for many rounds, `kill -9`, power cuts and SIGSTOP, and puts a vault into a
//! real Ceph cluster whose gateway is killed.
//!
//! The tests are those of `cargo xtask test` (those with Ceph only run here), with more rounds; each round's progress and, at the end, one
//! line with what was tried and lost are printed by them.

use crate::{test, tools};
use anyhow::{Context, Result, bail};

const KILL9: (&str, &str, &str) = ("kill9", "tests/e2e/test_kill_nine.py", "200");
const POWERCUT: (&str, &str, &str) = ("powercut", "tests/e2e/test_power_cut.py", "50");
const COLLECT: (&str, &str, &str) = ("collect", "tests/e2e/test_collect.py", "40");
const CEPH: (&str, &str, &str) = ("ceph", "tests/e2e/test_ceph.py", "20");

/// Runs the rounds that `words` ask for: `--rounds N`, `--only kill9|powercut|collect|ceph`, `--seed N`.
pub fn run(words: &[&str]) -> Result<()> {
    let (mut rounds, mut only, mut seed) = (None, None, None);
    for pair in words.chunks(2) {
        match pair {
            ["--rounds", number] => rounds = Some(positive(number)?),
            ["--only", name] => only = Some(*name),
            ["--seed", number] => seed = Some(positive(number)?),
            _ => bail!("not understood: {}", pair.join(" ")),
        }
    }
    let chosen: Vec<_> = [KILL9, POWERCUT, COLLECT, CEPH]
        .into_iter()
        .filter(|(name, ..)| only.is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        bail!(
            "nothing is called {:?}; there are: kill9, powercut, collect, ceph",
            only.unwrap_or_default()
        );
    }
    // One after the other even if one fails: a night's run says all that it found.
    let mut failed = Vec::new();
    for (name, file, default) in chosen {
        let mut args = vec!["-s", "-q", "--rounds", rounds.unwrap_or(default)];
        if let Some(seed) = seed {
            args.extend(["--seed", seed]);
        }
        eprintln!("== soak {name}");
        let needed = if name == CEPH.0 { tools::FOR_CEPH } else { &[] };
        let outcome = tools::ensure(needed).and_then(|()| test::pytest(&[file], &args));
        if let Err(error) = outcome {
            eprintln!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("the soak found something: {}", failed.join(", "));
    }
    Ok(())
}

/// Checks that a word is a number above zero; it is handed on as it is.
fn positive(word: &str) -> Result<&str> {
    let number: u64 = word
        .parse()
        .with_context(|| format!("{word:?} is not a number"))?;
    if number == 0 {
        bail!("0 is none");
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_understood_is_named() {
        let refused = |words: &[&str]| format!("{:#}", run(words).unwrap_err());
        assert!(refused(&["--rounds", "many"]).contains("\"many\" is not a number"));
        assert!(refused(&["--rounds"]).contains("not understood: --rounds"));
        assert!(refused(&["--only", "fire"]).contains("kill9, powercut, collect, ceph"));
    }
}
