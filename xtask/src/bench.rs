//! `cargo xtask bench`: builds for release and hands over to `bench/run.py`.

use crate::{process, tools};
use anyhow::Result;

/// Runs the benchmarks; `args` go to the script (`--help` lists them).
pub fn run(args: &[String]) -> Result<()> {
    tools::ensure(&[tools::FOR_TESTS, tools::FOR_BENCH].concat())?;
    let python = tools::python(&tools::PYTHON_FOR_BENCH)?;
    process::run(process::cargo(&[
        "build",
        "--release",
        "--package",
        "tidemark-cli",
        "--package",
        "tidemark-s3light",
        "--locked",
        "--quiet",
    ])?)?;
    let built = process::target_dir()?.join("release");
    let mut script = process::command(python, &["bench/run.py"])?;
    script
        .args(args)
        .env("TIDEMARK_BIN", built.join("tidemark"))
        .env("TIDEMARK_S3LIGHT_BIN", built.join("tidemark-s3light"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(script)
}
