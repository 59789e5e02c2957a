//! What users have run in the guest around a snapshot: `/tmp/prescript.sh` before, `/tmp/postscript.sh` after.
//!
//! Anybody in the guest can write to /tmp, and the agent runs what it is told as root. So a script counts only if it is a plain file of
//! root's with the rights `rwx------`, looked at without following links. Between the look and the run nobody but root can change it: it is
//! root's, and in a sticky directory, which is looked at too. What names, place and rights have to be: product.md 2.7.

use crate::agent::{Execution, words};
use crate::error::ComputeError;
use crate::guest::Guest;
use std::time::Duration;

/// Which script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Before the file systems are frozen.
    Pre,
    /// After they are thawed.
    Post,
}

impl Script {
    /// Where it is in the guest.
    pub fn path(self) -> &'static str {
        match self {
            Self::Pre => "/tmp/prescript.sh",
            Self::Post => "/tmp/postscript.sh",
        }
    }
}

/// What came of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptOutcome {
    /// It ran and ended well.
    Done,
    /// It ran and ended with an error; in words.
    Failed(String),
    /// It was begun, and was not seen to end.
    RunsOn {
        /// The number of its process in the guest, if that is known.
        number: Option<i64>,
        /// In words.
        why: String,
    },
    /// There is none, or none that may run; in words.
    Unfit(String),
}

/// `stat` prints this of a file: owner, rights, kind.
const FORMAT: &str = "%u %a %F";
const LOOK_LIMIT: Duration = Duration::from_secs(10);

impl Guest {
    /// Runs a script if it is one.
    ///
    /// # Errors
    /// `NoAgent`; `Failed` when the agent is busy or refuses. In no case was the script begun.
    pub async fn script(&self, script: Script, limit: Duration) -> Result<ScriptOutcome, ComputeError> {
        let path = script.path();
        let look = self
            .exec("stat", &["-c", FORMAT, "/tmp", path], LOOK_LIMIT.min(limit))
            .await?;
        let seen = String::from_utf8_lossy(&look.output).into_owned();
        if let Err(why) = fit(&seen) {
            let errors = words(String::from_utf8_lossy(&look.errors).trim());
            let text = format!("{path}: {why} {errors}");
            return Ok(ScriptOutcome::Unfit(text.trim_end().to_owned()));
        }
        let ran = match self.begin(path, &[], limit).await? {
            Execution::Ended(ran) => ran,
            Execution::RunsOn(number, error) => {
                let why = error.about(&self.id).message;
                return Ok(ScriptOutcome::RunsOn { number, why });
            }
        };
        if ran.exit_code == Some(0) {
            return Ok(ScriptOutcome::Done);
        }
        let code = ran
            .exit_code
            .map_or("by a signal".to_owned(), |code| format!("with {code}"));
        let errors = String::from_utf8_lossy(&ran.errors).into_owned();
        let last = words(errors.trim().lines().last().unwrap_or_default());
        Ok(ScriptOutcome::Failed(
            format!("{path} ended {code} {last}").trim_end().to_owned(),
        ))
    }
}

/// Whether what `stat` said of /tmp and the script lets it run.
fn fit(seen: &str) -> Result<(), String> {
    let mut lines = seen.lines();
    let (place, file) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let fields = |line: &str| -> Option<(u64, u32, String)> {
        let mut words = line.splitn(3, ' ');
        let owner = words.next()?.parse().ok()?;
        let rights = u32::from_str_radix(words.next()?, 8).ok()?;
        Some((owner, rights, words.next()?.to_owned()))
    };
    let Some((owner, rights, kind)) = fields(file) else {
        return Err("there is none.".to_owned());
    };
    // An empty one is a kind of its own to stat.
    if owner != 0 || rights != 0o700 || !kind.starts_with("regular") {
        return Err(format!(
            "it is a {kind} of user {owner} with rights {rights:o}; a regular file of root with 700 is wanted."
        ));
    }
    match fields(place) {
        Some((0, rights, kind)) if kind == "directory" && (rights & 0o1000 != 0 || rights & 0o022 == 0) => {
            Ok(())
        }
        _ => Err(format!("/tmp is not safe: {place}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_own_script_runs() {
        let safe = "0 1777 directory";
        assert_eq!(fit(&format!("{safe}\n0 700 regular file\n")), Ok(()));
        assert_eq!(fit(&format!("{safe}\n0 700 regular empty file\n")), Ok(()));
        assert_eq!(fit("0 755 directory\n0 700 regular file\n"), Ok(()));
        for (place, file) in [
            (safe, ""),
            (safe, "1000 700 regular file"),
            (safe, "0 755 regular file"),
            (safe, "0 4700 regular file"),
            (safe, "0 600 regular file"),
            (safe, "0 700 symbolic link"),
            (safe, "0 700 directory"),
            // Others could put another file in its place.
            ("0 777 directory", "0 700 regular file"),
            ("1000 1777 directory", "0 700 regular file"),
            ("0 777 symbolic link", "0 700 regular file"),
            ("", "0 700 regular file"),
        ] {
            assert!(fit(&format!("{place}\n{file}\n")).is_err(), "{place}; {file}");
        }
    }
}
