//! The log of commands that serve: to standard error, filtered by `TIDEMARK_LOG`.

use anyhow::{Context, Result, anyhow};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts it; without `TIDEMARK_LOG` the filter is `default`.
pub fn start(default: &str) -> Result<()> {
    let filter = match std::env::var("TIDEMARK_LOG") {
        Ok(text) if !text.is_empty() => {
            EnvFilter::try_new(&text).with_context(|| format!("TIDEMARK_LOG={text} is no log filter"))?
        }
        _ => EnvFilter::new(default),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow!("cannot start the log: {error}"))
}
