//! What the tests of real sockets share.

#![allow(dead_code)] // Each test binary uses its own part.

pub mod client;
pub mod ram;
pub mod server;

use ram::ram_info;
use server::{Options, Server};
use std::process::{Command, Output};
use tempfile::TempDir;
use tidemark_env::real::RuntimeOptions;
use tidemark_nbd::proto::ExportInfo;
use tidemark_nbd::server::{NegotiateLimits, ServeLimits};

pub const MIB: u64 = 1 << 20;

/// A server and the directory that its socket is in.
pub struct Fixture {
    pub server: Server,
    pub dir: TempDir,
}

/// Exports `disk` (64 MiB, the default) and `frozen` (1 MiB, read-only).
pub fn serve_disks() -> Fixture {
    serve_with(|_| {})
}

/// As [`serve_disks`], with changed options.
pub fn serve_with(change: impl FnOnce(&mut Options)) -> Fixture {
    let frozen = ExportInfo {
        read_only: true,
        description: "a snapshot".into(),
        ..ram_info("frozen", MIB)
    };
    let mut options = Options {
        exports: vec![ram_info("disk", 64 * MIB), frozen],
        negotiate: NegotiateLimits::default(),
        serve: ServeLimits::default(),
        runtime: RuntimeOptions::default(),
    };
    change(&mut options);
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(&dir.path().join("nbd.sock"), options);
    Fixture { server, dir }
}

/// Runs a tool that must be there, in a minute at most.
pub fn run(package: &str, tool: &str, args: &[&str]) -> Output {
    let mut command = Command::new("timeout");
    match command.arg("60").arg(tool).args(args).output() {
        Ok(output) if output.status.code() == Some(127) => {
            panic!("{tool} is missing: install the Debian package {package}")
        }
        Ok(output) => output,
        Err(error) => panic!("timeout ({tool}): {error}: install the Debian package coreutils"),
    }
}

/// Runs a tool that must succeed; what it printed.
pub fn run_ok(package: &str, tool: &str, args: &[&str]) -> String {
    let output = run(package, tool, args);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{tool} {args:?}: {}\n{printed}\n{errors}",
        output.status
    );
    printed
}
