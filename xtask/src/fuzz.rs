//! `cargo xtask fuzz`: every decoder against inputs that a fuzzer makes, with coverage for guidance.
//!
//! The targets are in `fuzz/`, a workspace of its own; libFuzzer comes with a crate and the instrumentation is the
//! stable compiler's, so a C++ compiler is all that is needed besides. Targets run side by side, one a core. Each
//! starts from the committed seeds (`fuzz/corpus`), every input that ever broke something (`fuzz/regressions`), and
//! what earlier runs found here (`<target>/fuzz/found`).
//! Not here: what is tried and what must hold (`fuzz/src`, and `fuzzing` in the crates).

use crate::{process, tools};
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

/// What to run, and how long.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// For each target.
    seconds: u64,
    only: Option<String>,
    /// One input to try instead of many.
    input: Option<PathBuf>,
}

/// A person who fuzzes waits a minute a target.
const SECONDS: u64 = 60;
/// In a test run all targets together, and building them, shall stay below a minute and a half on two cores.
const SECONDS_BRIEFLY: u64 = 3;

/// Edge counters for every branch and the operands of every comparison. The level and the three switches are what
/// libFuzzer needs; `fuzzing` is the customary name for code to know that it is fuzzed.
const RUSTFLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

/// No input is longer: decoders of more are loops over what fits here.
const INPUT_BYTES_MAX: u64 = 16 << 10;
/// One input that takes so long has found something that is not linear.
const INPUT_SECONDS_MAX: u64 = 20;
/// A backstop; the targets themselves hold memory against the input's length.
const MEMORY_MIB_MAX: u64 = 1024;

impl Options {
    /// From the command line; `None` when it makes no sense.
    pub fn parse(mut words: &[&str]) -> Option<Self> {
        let mut options = Self {
            seconds: SECONDS,
            only: None,
            input: None,
        };
        while let [name, value, rest @ ..] = words {
            match *name {
                "--seconds" => options.seconds = value.parse().ok().filter(|seconds| *seconds > 0)?,
                "--only" => options.only = Some((*value).to_owned()),
                "--input" => options.input = Some(value.into()),
                _ => return None,
            }
            words = rest;
        }
        let meaningful = words.is_empty() && (options.input.is_none() || options.only.is_some());
        meaningful.then_some(options)
    }
}

/// As part of the test run: all targets, seconds each, in a build that is quick to make.
pub fn run_briefly() -> Result<()> {
    let targets = Targets::build("dev")?;
    targets.fuzz(&targets.names()?, SECONDS_BRIEFLY)
}

/// As asked for, in an optimised build.
pub fn run(options: &Options) -> Result<()> {
    let targets = Targets::build("release")?;
    let mut names = targets.names()?;
    if let Some(only) = &options.only {
        if !names.contains(only) {
            bail!("no target is called {only:?}; there are: {}", names.join(", "));
        }
        names = vec![only.clone()];
    }
    match &options.input {
        Some(input) => targets.replay(&names[0], input),
        None => targets.fuzz(&names, options.seconds),
    }
}

/// Makes the committed seeds anew from what the encoders write now.
pub fn write_seeds() -> Result<()> {
    let targets = Targets::build("dev")?;
    let mut command = process::command(&targets.binary, &[])?;
    command.env("TIDEMARK_FUZZ_SEEDS", targets.committed("corpus"));
    process::output(command).map(drop)
}

/// The built targets and the directories that they work in.
struct Targets {
    binary: PathBuf,
    root: PathBuf,
    /// `found/<target>` (inputs that reached something new), `crashes`, `logs`.
    work: PathBuf,
}

impl Targets {
    fn build(profile: &str) -> Result<Self> {
        tools::ensure(tools::FOR_FUZZING)?;
        let (root, work) = (process::root()?, process::target_dir()?.join("fuzz"));
        let host = host_triple()?;
        // With a target named, build scripts and macros are left without instrumentation.
        let mut build = process::cargo(&[
            "build",
            "--manifest-path",
            "fuzz/Cargo.toml",
            "--locked",
            "--quiet",
            "--profile",
            profile,
            "--target",
            &host,
        ])?;
        build
            .env("RUSTFLAGS", RUSTFLAGS)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env("CARGO_TARGET_DIR", &work);
        process::run(build)?;
        let dir = if profile == "dev" { "debug" } else { profile };
        Ok(Self {
            binary: work.join(host).join(dir).join("tidemark-fuzz"),
            root,
            work,
        })
    }

    fn names(&self) -> Result<Vec<String>> {
        let listed = process::output(process::command(&self.binary, &[])?)?;
        let listed = String::from_utf8(listed).context("the list of targets")?;
        Ok(listed.split_whitespace().map(str::to_owned).collect())
    }

    fn committed(&self, kind: &str) -> PathBuf {
        self.root.join("fuzz").join(kind)
    }

    fn fuzz(&self, names: &[String], seconds: u64) -> Result<()> {
        for dir in ["logs", "crashes"] {
            fs::create_dir_all(self.work.join(dir)).context("make the fuzzer's directories")?;
        }
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        let waiting = Mutex::new(names.iter());
        let failures = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..cores.min(names.len()) {
                scope.spawn(|| {
                    // One at a time leaves the queue, whose lock nobody holds while fuzzing.
                    while let Some(name) = { waiting.lock().expect("no worker panics").next() } {
                        match self.fuzz_one(name, seconds) {
                            Ok(line) => eprintln!("{line}"),
                            Err(error) => {
                                eprintln!("{name}: FAILED");
                                failures
                                    .lock()
                                    .expect("no worker panics")
                                    .push(format!("{error:#}"));
                            }
                        }
                    }
                });
            }
        });
        let failures = failures.into_inner().expect("no worker panicked");
        if failures.is_empty() {
            return Ok(());
        }
        bail!(
            "{} of {} targets failed:\n{}",
            failures.len(),
            names.len(),
            failures.join("\n")
        )
    }

    /// Fuzzes one target; answers what to say of it.
    fn fuzz_one(&self, name: &str, seconds: u64) -> Result<String> {
        let found = self.work.join("found").join(name);
        fs::create_dir_all(&found).with_context(|| format!("make {}", found.display()))?;
        let seeds = self.committed("corpus").join(name);
        if !seeds.is_dir() {
            bail!(
                "{name} has no seeds: write some (fuzz/src/seeds.rs), then `cargo xtask fuzz --write-seeds`"
            );
        }
        let regressions = self.committed("regressions").join(name);
        let log = self.work.join("logs").join(format!("{name}.log"));
        let started = Instant::now();
        let mut command = self.target(
            name,
            &[
                &format!("-max_total_time={seconds}"),
                &format!("-max_len={INPUT_BYTES_MAX}"),
                "-print_final_stats=1",
            ],
        )?;
        command.arg(&found).arg(&seeds);
        if regressions.is_dir() {
            command.arg(&regressions);
        }
        let output = File::create(&log).with_context(|| format!("make {}", log.display()))?;
        command.stdout(output.try_clone()?).stderr(output);
        let status = command
            .status()
            .with_context(|| format!("cannot start target {name}"))?;
        let said = String::from_utf8_lossy(&fs::read(&log).context("read the fuzzer's log")?).into_owned();
        if !status.success() {
            bail!("{}", failure(name, &said, &log));
        }
        Ok(format!(
            "{name}: {} inputs in {:.0} s, {} edges",
            last_number(&said, "stat::number_of_executed_units:").unwrap_or(0),
            started.elapsed().as_secs_f64(),
            last_number(&said, "cov:").unwrap_or(0),
        ))
    }

    fn replay(&self, name: &str, input: &Path) -> Result<()> {
        let mut command = self.target(name, &[])?;
        command.arg(input).env("RUST_BACKTRACE", "1");
        process::run(command)
    }

    fn target(&self, name: &str, arguments: &[&str]) -> Result<std::process::Command> {
        let mut command = process::command(&self.binary, arguments)?;
        command
            .env("TIDEMARK_FUZZ_TARGET", name)
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!(
                "-artifact_prefix={}/{name}-",
                self.work.join("crashes").display()
            ));
        Ok(command)
    }
}

/// What happened, where the input is, and what to do with it.
fn failure(name: &str, said: &str, log: &Path) -> String {
    let mut lines = said.lines();
    let cause: Vec<&str> = match lines.by_ref().find(|line| line.contains("panicked at")) {
        Some(place) => std::iter::once(place).chain(lines.take(1)).collect(),
        None => said
            .lines()
            .filter(|line| line.contains("ERROR: libFuzzer"))
            .collect(),
    };
    let mut text = format!("{name}: {}\n  log: {}", cause.join("\n  "), log.display());
    if let Some((_, input)) = said.split_once("Test unit written to ") {
        let input = input.lines().next().unwrap_or_default();
        text += &format!(
            "\n  input: {input}\n  again: cargo xtask fuzz --only {name} --input {input}\n  \
             keep it, once it is fixed: fuzz/regressions/{name}/, and a test beside the code"
        );
    }
    text
}

/// The number behind the last `word` in the fuzzer's report.
fn last_number(said: &str, word: &str) -> Option<u64> {
    let (_, behind) = said.rsplit_once(word)?;
    behind.split_whitespace().next()?.parse().ok()
}

fn host_triple() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = String::from_utf8(process::output(process::command(rustc, &["-vV"])?)?)?;
    said.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .context("rustc does not name its host")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_or_refused() {
        let parsed = Options::parse(&["--seconds", "5", "--only", "vault_root"]).unwrap();
        assert_eq!((parsed.seconds, parsed.only.as_deref()), (5, Some("vault_root")));
        assert_eq!(Options::parse(&[]).unwrap().seconds, SECONDS);
        for wrong in [
            &["--seconds", "0"][..],
            &["--seconds"],
            &["--input", "file"],
            &["--colour", "red"],
        ] {
            assert_eq!(Options::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_failure_names_cause_input_and_how_to_see_it_again() {
        let said = "INFO: seed\nthread '<unnamed>' panicked at src/a.rs:1:2:\nattempt to add with overflow\n\
                    stack backtrace:\nartifact_prefix='x'; Test unit written to x/t-crash-1\nBase64: AA==\n";
        let text = failure("t", said, Path::new("t.log"));
        for part in [
            "src/a.rs:1:2",
            "attempt to add with overflow",
            "input: x/t-crash-1\n",
            "cargo xtask fuzz --only t --input x/t-crash-1\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text:?}");
        }
        let text = failure(
            "t",
            "==1== ERROR: libFuzzer: timeout after 20 seconds\n",
            Path::new("t.log"),
        );
        assert!(text.contains("timeout after 20 seconds"), "{text:?}");
    }

    #[test]
    fn the_last_number_counts() {
        assert_eq!(
            last_number("#1 cov: 5 ft: 1\n#2 cov: 17 ft: 2\n", "cov:"),
            Some(17)
        );
        assert_eq!(last_number("nothing", "cov:"), None);
    }
}
