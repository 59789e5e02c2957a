//! `cargo xtask screenshots`: pictures of the console's main pages, into `docs/images`. They are looked at before they are committed.

use crate::{process, tools};
use anyhow::Result;

/// Where the pictures go.
const IMAGES: &str = "docs/images";

/// Builds the service, fills one and photographs it.
pub fn run() -> Result<()> {
    tools::ensure(tools::FOR_TESTS)?;
    let python = tools::python(&tools::PYTHON_FOR_TESTS)?;
    process::run(process::cargo(&[
        "build",
        "--package",
        "tidemark-cli",
        "--locked",
        "--quiet",
    ])?)?;
    let binary = process::target_dir()?.join("debug").join("tidemark");
    let mut script = process::command(python, &["tests/e2e/screenshots.py", IMAGES])?;
    script
        .env("TIDEMARK_BIN", binary)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    process::run(script)
}
