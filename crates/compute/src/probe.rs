//! Which QEMU is here and what it can do: asked of QEMU itself, by starting it without a machine.
//!
//! KVM alone says little. A machine that is itself emulated may offer it without the processor's help; guests then run slower than in
//! QEMU's own emulation, or not at all. So the processor must have what KVM is made for, the device must open, and QEMU must
//! start on it and end again within seconds. Nothing here can hang: a QEMU that does not end is killed.

use crate::config::{Accelerator, ComputeConfig};
use crate::error::{ComputeError, ComputeErrorKind};
use crate::process::Process;
use crate::qmp::{Version, greeted};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::timeout;

/// It takes a tenth of a second where nothing is wrong.
const PROBE_LIMIT: Duration = Duration::from_secs(10);
/// Of what it says; far less is usual.
const OUTPUT_BYTES_MAX: usize = 1 << 16;
/// `-action`, and vhost-user-blk that connects again, work since then.
const OLDEST: Version = Version { major: 6, minor: 0 };

/// What guests are run with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// QEMU's.
    pub version: Version,
    /// KVM or TCG, never Auto.
    pub accelerator: Accelerator,
    /// In words, where emulation is used though KVM was not ruled out.
    pub why_not_kvm: Option<String>,
    /// Whether system calls can be refused to guests' processes.
    pub sandbox: bool,
}

/// Asks QEMU.
pub async fn probe(config: &ComputeConfig) -> Result<Probe, ComputeError> {
    let mut why_not_kvm = None;
    if config.accelerator != Accelerator::Tcg {
        match kvm(config).await {
            Ok(probe) => return Ok(probe),
            Err(error) if error.kind == ComputeErrorKind::NotInstalled => return Err(error),
            Err(error) if config.accelerator == Accelerator::Kvm => {
                return Err(error.about("KVM was asked for"));
            }
            Err(error) => why_not_kvm = Some(error.message),
        }
    }
    let mut probe = try_sandbox(config, "tcg").await?;
    probe.why_not_kvm = why_not_kvm;
    Ok(probe)
}

async fn kvm(config: &ComputeConfig) -> Result<Probe, ComputeError> {
    let device = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    device.map_err(|error| ComputeError::failed(format!("/dev/kvm: {error}")))?;
    // Who asks for it by name knows better.
    if config.accelerator == Accelerator::Auto && !processor_helps(Path::new("/proc/cpuinfo")) {
        let text = "this machine's processor has neither vmx nor svm, so KVM has no help from it";
        return Err(ComputeError::failed(text));
    }
    let mut probe = try_sandbox(config, "kvm").await?;
    probe.accelerator = Accelerator::Kvm;
    Ok(probe)
}

fn processor_helps(cpuinfo: &Path) -> bool {
    let text = fs::read_to_string(cpuinfo).unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags"));
    flags.is_some_and(|line| line.split_whitespace().any(|flag| flag == "vmx" || flag == "svm"))
}

/// With the sandbox if this QEMU has one.
async fn try_sandbox(config: &ComputeConfig, accelerator: &str) -> Result<Probe, ComputeError> {
    let words = ["-sandbox", "on,obsolete=deny"];
    let (version, sandbox) = match ask(&config.qemu, accelerator, &words).await {
        Ok(version) => (version, true),
        Err(error) if error.kind == ComputeErrorKind::NotInstalled => return Err(error),
        Err(_) => (ask(&config.qemu, accelerator, &[]).await?, false),
    };
    if version < OLDEST {
        let text = format!("QEMU {version} is too old, {OLDEST} is the first that will do");
        return Err(ComputeError::failed(text));
    }
    Ok(Probe {
        version,
        accelerator: Accelerator::Tcg,
        why_not_kvm: None,
        sandbox,
    })
}

/// Starts QEMU, has it greet and quit.
async fn ask(qemu: &Path, accelerator: &str, words: &[&str]) -> Result<Version, ComputeError> {
    let name = qemu.display();
    let failed =
        |what: &dyn std::fmt::Display| ComputeError::failed(format!("{name} -accel {accelerator}: {what}"));
    let mut command = command(qemu);
    command.args([
        "-no-user-config",
        "-nodefaults",
        "-display",
        "none",
        "-machine",
        "none",
    ]);
    command.args(["-accel", accelerator, "-qmp", "stdio"]).args(words);
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| not_started(qemu, &error))?;
    let mut input = child.stdin.take();
    if let Some(input) = &mut input {
        // One that has ended already says why on its output.
        let _ = input.write_all(b"{\"execute\":\"qmp_capabilities\"}\n{\"execute\":\"quit\"}\n");
    }
    let ended = await_end(&mut child).await;
    drop(input);
    let said = (
        read_what_is_there(child.stdout.take()),
        read_what_is_there(child.stderr.take()),
    );
    if !ended {
        return Err(failed(&format_args!("has not ended within {PROBE_LIMIT:?}")));
    }
    let status = child.wait().map_err(|error| failed(&error))?;
    if !status.success() {
        return Err(failed(&said.1.trim()));
    }
    let greeting = said
        .0
        .lines()
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    greeting
        .as_ref()
        .and_then(greeted)
        .ok_or_else(|| failed(&format_args!("is no QEMU; it says {:?}", said.0.trim())))
}

/// Waits for its end, and sees to it. Answers whether it came by itself.
async fn await_end(child: &mut Child) -> bool {
    let process = match Process::of(child.id()) {
        Ok(Some(process)) => process,
        Ok(None) => return true,
        Err(_) => {
            let _ = child.kill();
            return false;
        }
    };
    if timeout(PROBE_LIMIT, process.gone()).await.is_ok() {
        return true;
    }
    let _ = child.kill();
    // It may be stuck in the kernel: then it is left to end when it can.
    let _ = timeout(PROBE_LIMIT, process.gone()).await;
    false
}

/// Without waiting for more: somebody else may have the other end too.
fn read_what_is_there(pipe: Option<impl Read + std::os::fd::AsFd>) -> String {
    let mut found = Vec::new();
    if let Some(mut pipe) = pipe.filter(|pipe| rustix::io::ioctl_fionbio(pipe, true).is_ok()) {
        let mut piece = [0; 4096];
        while found.len() < OUTPUT_BYTES_MAX {
            match pipe.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(count) => found.extend_from_slice(&piece[..count]),
            }
        }
    }
    String::from_utf8_lossy(&found).into_owned()
}

/// QEMU with nothing of our environment, which may hold secrets, but where programs are.
pub fn command(qemu: &Path) -> Command {
    let mut command = Command::new(qemu);
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    command.env_clear().env("PATH", path).env("LC_ALL", "C");
    command
}

/// Why a program could not be started.
pub fn not_started(qemu: &Path, error: &io::Error) -> ComputeError {
    let name = qemu.display();
    match error.kind() {
        io::ErrorKind::NotFound => ComputeError::new(
            ComputeErrorKind::NotInstalled,
            format!("{name} is not on this machine (Debian's package is qemu-system-x86)"),
        ),
        _ => ComputeError::failed(format!("{name}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A program in QEMU's place.
    fn stand_in(dir: &Path, script: &str) -> ComputeConfig {
        let path = dir.join("qemu");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let mut config = ComputeConfig::new(dir.join("guests"), Vec::new());
        config.qemu = path;
        config.accelerator = Accelerator::Tcg;
        config
    }

    fn greeting(major: u32) -> String {
        format!(
            r#"echo '{{"QMP": {{"version": {{"qemu": {{"micro": 0, "minor": 1, "major": {major}}}}}}}}}'"#
        )
    }

    #[tokio::test]
    async fn a_missing_qemu_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = stand_in(dir.path(), "");
        config.qemu = dir.path().join("nothing");
        for accelerator in [Accelerator::Tcg, Accelerator::Auto] {
            config.accelerator = accelerator;
            assert_eq!(
                probe(&config).await.unwrap_err().kind,
                ComputeErrorKind::NotInstalled
            );
        }
    }

    #[tokio::test]
    async fn a_version_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let config = stand_in(dir.path(), &greeting(8));
        let probe = probe(&config).await.unwrap();
        assert_eq!(probe.version, Version { major: 8, minor: 1 });
        assert!(probe.sandbox);
    }

    #[tokio::test]
    async fn a_qemu_without_sandbox_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "case \"$*\" in *sandbox*) echo no sandbox >&2; exit 1;; esac\n{}",
            greeting(8)
        );
        assert!(!probe(&stand_in(dir.path(), &script)).await.unwrap().sandbox);
    }

    #[tokio::test]
    async fn what_will_not_do_says_why() {
        let dir = tempfile::tempdir().unwrap();
        for (script, word) in [
            ("echo no such accelerator >&2; exit 1", "no such accelerator"),
            ("echo hello", "is no QEMU"),
            (greeting(5).as_str(), "too old"),
        ] {
            let error = probe(&stand_in(dir.path(), script)).await.unwrap_err();
            assert!(error.message.contains(word), "{error}");
        }
    }

    #[test]
    fn the_processor_is_asked_for_its_flags() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cpuinfo");
        for (flags, helps) in [("fpu vmx sse", true), ("svm", true), ("fpu vmxx", false)] {
            fs::write(&path, format!("model: vmx\nflags\t\t: {flags}\n")).unwrap();
            assert_eq!(processor_helps(&path), helps, "{flags}");
        }
    }
}
