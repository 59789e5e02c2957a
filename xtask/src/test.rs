//! `cargo xtask test`: every check of the project, cheap ones first, stopping at the first that fails.

use crate::{deps, layers, process, tools};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::time::Instant;

type Step = (&'static str, fn(&[String]) -> Result<()>);

const STEPS: &[Step] = &[
    ("fmt", fmt),
    ("deps", check_dependencies),
    ("lint", lint),
    ("unit", unit),
    ("sim", |_| crate::sim::run_all()),
    ("fuzz", |_| crate::fuzz::run_briefly()),
    ("e2e", e2e),
];

/// Runs all steps, or the one named; `pytest_args` go to the end-to-end tests.
pub fn run(only: Option<&str>, pytest_args: &[String]) -> Result<()> {
    let chosen: Vec<&Step> = STEPS
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        let names: Vec<&str> = STEPS.iter().map(|(name, _)| *name).collect();
        bail!(
            "no step is called {:?}; there are: {}",
            only.unwrap_or_default(),
            names.join(", ")
        );
    }
    if only.is_none() {
        // Learn about a missing tool now, not after the long steps.
        tools::ensure(tools::FOR_TESTS)?;
        tools::ensure(tools::FOR_FUZZING)?;
    }
    let begun = Instant::now();
    let mut summary = Vec::new();
    for (name, step) in &chosen {
        eprintln!("== {name}");
        let started = Instant::now();
        let outcome = step(pytest_args);
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        summary.push(format!(
            "{name} {verdict} {:.0}s",
            started.elapsed().as_secs_f64()
        ));
        if let Err(error) = outcome {
            eprintln!("== summary: {}", summary.join(", "));
            return Err(error.context(format!(
                "step {name} failed (run it alone: cargo xtask test --only {name})"
            )));
        }
    }
    eprintln!(
        "== summary: {}; total {:.0}s",
        summary.join(", "),
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

fn fmt(_: &[String]) -> Result<()> {
    process::run(process::cargo(&["fmt", "--all", "--check"])?)?;
    process::run(process::cargo(&[
        "fmt",
        "--manifest-path",
        "fuzz/Cargo.toml",
        "--check",
    ])?)
}

fn check_dependencies(_: &[String]) -> Result<()> {
    // The fuzz targets are a workspace of their own, whose lock file a change of ours makes stale: say so in the first
    // seconds and not after the long steps.
    for manifest in ["Cargo.toml", "fuzz/Cargo.toml"] {
        let arguments = [
            "metadata",
            "--locked",
            "--format-version",
            "1",
            "--manifest-path",
            manifest,
        ];
        let mut metadata = process::cargo(&arguments)?;
        metadata.stdout(std::process::Stdio::null());
        process::run(metadata).with_context(|| {
            format!("the lock file beside {manifest} is not what its manifests ask for; update it with: cargo update --workspace --manifest-path {manifest}")
        })?;
    }
    let found = [deps::check()?, layers::check()?].concat();
    if found.is_empty() {
        return Ok(());
    }
    bail!("the layering is broken:\n  {}", found.join("\n  "));
}

fn lint(_: &[String]) -> Result<()> {
    let clippy = [
        "clippy",
        "--workspace",
        "--all-targets",
        "--locked",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ];
    process::run(process::cargo(&clippy)?)
}

fn unit(_: &[String]) -> Result<()> {
    process::run(process::cargo(&["test", "--workspace", "--locked", "--quiet"])?)
}

fn e2e(pytest_args: &[String]) -> Result<()> {
    let args: Vec<&str> = pytest_args.iter().map(String::as_str).collect();
    pytest(&["tests/e2e"], &args)
}

/// Builds what the end-to-end tests run, and runs those of them that are below `what`.
pub fn pytest(what: &[&str], args: &[&str]) -> Result<()> {
    tools::ensure(tools::FOR_TESTS)?;
    let (python, node_modules) = (tools::python(&tools::PYTHON_FOR_TESTS)?, tools::node_modules()?);
    let cloud_init = tools::cloud_init()?;
    process::run(process::cargo(&[
        "build",
        "--package",
        "tidemark-cli",
        "--package",
        "tidemark-powercut",
        "--package",
        "tidemark-s3light",
        "--locked",
        "--quiet",
    ])?)?;
    let built = |name: &str| -> Result<PathBuf> {
        let binary = process::target_dir()?.join("debug").join(name);
        binary
            .metadata()
            .with_context(|| format!("{} was built but is not there", binary.display()))?;
        Ok(binary)
    };
    let mut pytest = process::command(python, &["-m", "pytest", "-c", "tests/pytest.ini"])?;
    pytest
        .args(what)
        .args(args)
        .env("TIDEMARK_BIN", built("tidemark")?)
        .env("TIDEMARK_POWERCUT_BIN", built("tidemark-powercut")?)
        .env("TIDEMARK_S3LIGHT_BIN", built("tidemark-s3light")?)
        .env("TIDEMARK_NODE_MODULES", node_modules)
        .env("TIDEMARK_CLOUD_INIT", cloud_init)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(pytest)
}
