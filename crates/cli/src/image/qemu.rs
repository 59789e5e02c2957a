//! `qemu-img convert` as a checked subprocess, for qcow2 alone.
//!
//! What must stay true: formats and drivers are named, so nothing is probed and no name is read as a protocol; the file that was
//! checked is the file that is opened, because it is handed over as the standard input (`/proc/self/fd/0`) and not by its
//! name; the only address is our unix socket. The process has limits of memory, processor time and what it may write to
//! files, an environment of nothing but the locale, and ends with us, whichever way we end: `setpriv` sets the signal of the parent's death,
//! `prlimit` the limits, before the program is there.

use super::interrupt::Interrupt;
use crate::tools::need;
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tidemark_units::{GIB, MIB};

/// Address space: far more than it takes, far less than a machine has.
const MEMORY_BYTES_MAX: u64 = 4 * GIB;
/// Processor time: so many seconds, and as many for each GiB of the disk. Compressed data of a GiB takes about ten.
const SECONDS: (u64, u64) = (120, 120);
const FILES_MAX: u64 = 128;
/// What is kept of its words on standard error.
const WORDS_BYTES_MAX: u64 = 16 << 10;
/// How often it is looked after.
const POLL: Duration = Duration::from_millis(30);

/// The programs, which are all there.
pub struct Qemu {
    qemu_img: PathBuf,
    setpriv: PathBuf,
    prlimit: PathBuf,
}

impl Qemu {
    /// Fails with the names of what is missing.
    pub fn find() -> Result<Self> {
        let tools = [
            ("qemu-img", "qemu-utils"),
            ("setpriv", "util-linux"),
            ("prlimit", "util-linux"),
        ];
        let [qemu_img, setpriv, prlimit] = need("qcow2", tools)?;
        Ok(Self {
            qemu_img,
            setpriv,
            prlimit,
        })
    }

    /// Writes the disk in a qcow2 file that was checked to an export that reads as zeros. What is written is not flushed.
    pub fn fill(&self, from: &File, disk_bytes: u64, to: &Export<'_>, run: &mut Run<'_>) -> Result<()> {
        let source = "driver=qcow2,file.driver=file,file.filename=/proc/self/fd/0";
        let mut command = self.command(disk_bytes, 0);
        command.args([
            "-n",
            "--target-is-zero",
            "--image-opts",
            "--target-image-opts",
            source,
        ]);
        command.arg(to.options()?).stdin(from.try_clone()?);
        run.finish(command)
    }

    /// Writes a qcow2 file of an export.
    pub fn save(&self, from: &Export<'_>, disk_bytes: u64, to: &Path, run: &mut Run<'_>) -> Result<()> {
        if !to.is_absolute() {
            bail!("{} would be read as more than a path", to.display());
        }
        // The tables take an eight-thousandth or so.
        let file_bytes = disk_bytes + disk_bytes / 256 + 64 * MIB;
        let mut command = self.command(disk_bytes, file_bytes);
        command.args(["--image-opts", "-O", "qcow2"]);
        command.arg(from.options()?).arg(to).stdin(Stdio::null());
        run.finish(command)
    }

    /// `convert`, which may write files of `file_bytes`.
    fn command(&self, disk_bytes: u64, file_bytes: u64) -> Command {
        let seconds = SECONDS.0 + SECONDS.1 * disk_bytes.div_ceil(GIB);
        let mut command = Command::new(&self.setpriv);
        command.args(["--pdeathsig", "KILL"]).arg(&self.prlimit);
        for (what, most) in [
            ("as", MEMORY_BYTES_MAX),
            ("cpu", seconds),
            ("fsize", file_bytes),
            ("nofile", FILES_MAX),
            ("core", 0),
        ] {
            command.arg(format!("--{what}={most}"));
        }
        command.arg(&self.qemu_img).args(["convert", "-p"]);
        command.env_clear().env("LC_ALL", "C").current_dir("/");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// One of our exports.
pub struct Export<'a> {
    /// The unix socket.
    pub socket: &'a Path,
    /// Its name: an id.
    pub name: &'a str,
}

impl Export<'_> {
    /// As one word that QEMU reads as options: a comma in a value is doubled.
    fn options(&self) -> Result<String> {
        let socket = std::path::absolute(self.socket)?;
        let socket = socket.to_str().context("the socket's path is not UTF-8")?;
        let (socket, name) = (socket.replace(',', ",,"), self.name.replace(',', ",,"));
        Ok(format!(
            "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={socket},file.export={name}"
        ))
    }
}

/// Looks after the process.
pub struct Run<'a> {
    /// Ends it early.
    pub interrupt: &'a Interrupt,
    /// Is told how much is done, of 100.
    pub shown: &'a mut dyn FnMut(f64),
}

impl Run<'_> {
    fn finish(&mut self, mut command: Command) -> Result<()> {
        let mut child = Running(command.spawn().context("cannot run qemu-img")?);
        let percent = Arc::new(Mutex::new(0.0));
        let progress = child.0.stdout.take().map(|out| {
            let percent = percent.clone();
            std::thread::spawn(move || follow(out, &percent))
        });
        let words = child
            .0
            .stderr
            .take()
            .map(|err| std::thread::spawn(move || collect(err)));
        let status = loop {
            if let Some(status) = child.0.try_wait()? {
                break status;
            }
            self.interrupt.check()?;
            (self.shown)(percent.lock().map_or(0.0, |percent| *percent));
            std::thread::sleep(POLL);
        };
        let ended = |thread: Option<JoinHandle<String>>| {
            thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        ended(progress);
        let words = ended(words);
        // Ctrl-C in a terminal reaches it as well.
        self.interrupt.check()?;
        failure(status, words.trim())
    }
}

fn failure(status: ExitStatus, words: &str) -> Result<()> {
    match (status.success(), words) {
        (true, _) => Ok(()),
        (false, "") => bail!("qemu-img ended with {status}"),
        (false, words) => bail!("qemu-img ended with {status}: {words}"),
    }
}

/// Reads `    (12.34/100%)` over and over.
fn follow(mut out: impl Read, percent: &Mutex<f64>) -> String {
    let mut buffer = [0; 256];
    while let Ok(length @ 1..) = out.read(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        if let (Some(last), Ok(mut percent)) = (last_percent(&text), percent.lock()) {
            *percent = last;
        }
    }
    String::new()
}

fn last_percent(text: &str) -> Option<f64> {
    let (before, _) = text.rsplit_once("/100%)")?;
    let (_, number) = before.rsplit_once('(')?;
    number.trim().parse().ok()
}

/// The first of its words; the rest is read and dropped, so that it never waits for us.
fn collect(mut err: impl Read) -> String {
    let mut words = Vec::new();
    let _ = err.by_ref().take(WORDS_BYTES_MAX).read_to_end(&mut words);
    let _ = std::io::copy(&mut err, &mut std::io::sink());
    String::from_utf8_lossy(&words).into_owned()
}

/// Ends with its handle.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, or this ends it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_is_one_word_whatever_its_path() {
        let export = Export {
            socket: Path::new("/a,file.driver=http/nbd.sock"),
            name: "d-1",
        };
        assert_eq!(
            export.options().unwrap(),
            "driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=/a,,file.driver=http/nbd.sock,file.export=d-1"
        );
    }

    #[test]
    fn its_progress_is_understood() {
        assert_eq!(
            last_percent("    (0.00/100%)\r    (12.50/100%)\r    (13."),
            Some(12.5)
        );
        assert_eq!(last_percent("    (100.00/100%)\n"), Some(100.0));
        assert_eq!(last_percent("nothing"), None);
    }

    #[test]
    fn a_failure_shows_its_words_and_limits_hold() {
        let run = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let interrupt = Interrupt::listen().unwrap();
            let mut run = Run {
                interrupt: &interrupt,
                shown: &mut |_| (),
            };
            run.finish(command).map_err(|error| error.to_string())
        };
        assert_eq!(run("exit 0"), Ok(()));
        let error = run("echo cannot open it >&2; exit 3").unwrap_err();
        assert!(error.contains("cannot open it") && error.contains('3'), "{error}");
    }
}
