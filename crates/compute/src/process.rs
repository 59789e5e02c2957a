//! Processes that are not our children: found by their command line, waited for, killed.
//!
//! A guest's process is known by a word of its command line that names a socket in a directory of ours, which no other program has;
//! numbers of processes are used again, and a file with one says nothing. From then on a pidfd stands for it, so nobody else is killed.
//! Where the kernel gives none, the number together with the time of birth does.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often a process is looked at where the kernel does not tell of its end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A process, this one and no later one of the same number.
pub struct Process {
    pid: Pid,
    /// Its start, in clock ticks since the machine's.
    born: u64,
    fd: Option<AsyncFd<OwnedFd>>,
}

impl Process {
    /// The process with this number; none when there is none. To be called within a tokio runtime.
    ///
    /// # Errors
    /// Whether there is one cannot be found out.
    pub fn of(number: u32) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(number).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let opened = pidfd_open(pid, PidfdFlags::empty());
        let fd = opened.ok().and_then(watched);
        Ok(match look(number)? {
            Some((State::Alive, born)) => Some(Self { pid, born, fd }),
            Some((State::Ended, _)) | None => None,
        })
    }

    pub fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it has not ended. One that nobody has waited for has ended too; where that cannot be found out, it has not: whoever takes
    /// it for ended gives its disks away.
    pub fn is_alive(&self) -> bool {
        match &self.fd {
            Some(fd) => !has_ended(fd.get_ref()),
            None => match look(self.number()) {
                Ok(found) => found.is_some_and(|(state, born)| state == State::Alive && born == self.born),
                Err(_) => true,
            },
        }
    }

    /// Returns when it has ended: then its files and sockets are closed.
    pub async fn gone(&self) {
        if let Some(fd) = &self.fd
            && fd.readable().await.is_ok()
        {
            return;
        }
        while self.is_alive() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends it without asking. One that has ended is fine.
    pub fn kill(&self) -> io::Result<()> {
        let sent = match &self.fd {
            Some(fd) => pidfd_send_signal(fd.get_ref(), Signal::KILL),
            None if self.is_alive() => kill_process(self.pid, Signal::KILL),
            None => Ok(()),
        };
        match sent {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }
}

#[allow(unsafe_code)]
fn watched(fd: OwnedFd) -> Option<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, is always the same, and is closed only when it is dropped; the `AsyncFd` owns it.
    unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }.ok()
}

/// Whether a pidfd tells of an end, now.
fn has_ended(fd: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(fd, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    poll(&mut asked, Some(&now)).is_ok_and(|count| count > 0)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Alive,
    Ended,
}

/// State and birth of a process, from `/proc/<number>/stat` (proc(5), fields 3 and 22).
fn look(number: u32) -> io::Result<Option<(State, u64)>> {
    Ok(read(number, "stat")?.and_then(|text| parse_stat(&String::from_utf8_lossy(&text))))
}

/// A file of a process; none of one that has ended, or is somebody else's affair.
fn read(number: u32, file: &str) -> io::Result<Option<Vec<u8>>> {
    match fs::read(format!("/proc/{number}/{file}")) {
        Ok(text) => Ok(Some(text)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            Ok(None)
        }
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse_stat(text: &str) -> Option<(State, u64)> {
    // The second field is the program's name in brackets, and may have any of ` ()` in it.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let state = match *fields.first()? {
        "Z" | "X" | "x" => State::Ended,
        _ => State::Alive,
    };
    Some((state, fields.get(19)?.parse().ok()?))
}

/// Of these words, those that stand in the command line of a process, with the number of that process. Of several the oldest counts: the
/// others are its children that have not become another program yet.
pub fn with_words(wanted: &HashSet<String>) -> io::Result<HashMap<String, u32>> {
    let mut found: HashMap<String, (u64, u32)> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(number) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some(line) = read(number, "cmdline")? else {
            continue;
        };
        for word in line.split(|byte| *byte == 0) {
            let Ok(word) = std::str::from_utf8(word) else {
                continue;
            };
            if wanted.contains(word)
                && let Some((State::Alive, born)) = look(number)?
            {
                let best = found.entry(word.to_owned()).or_insert((born, number));
                *best = (*best).min((born, number));
            }
        }
    }
    Ok(found
        .into_iter()
        .map(|(word, (_, number))| (word, number))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20";
        assert_eq!(
            parse_stat(&format!("42 (a) b) {fields}")),
            Some((State::Alive, 777))
        );
        assert_eq!(
            parse_stat(&format!("42 (a) {}", fields.replace('S', "Z")))
                .unwrap()
                .0,
            State::Ended
        );
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[tokio::test]
    async fn a_process_is_found_waited_for_and_killed() {
        let mark = format!("a-mark-of-the-test-{}", std::process::id());
        // Its last word is only a name of the shell.
        let script = ["-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 1; done", &mark];
        // One that ends by itself if the test fails.
        let mut child = Command::new("sh")
            .args(script)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let wanted = HashSet::from([mark.clone()]);
        // In the first microseconds of a program the kernel knows no command line of it.
        let number = loop {
            if let Some(number) = with_words(&wanted).unwrap().get(&mark) {
                break *number;
            }
            assert!(matches!(look(child.id()), Ok(Some((State::Alive, _)))));
        };
        assert_eq!(number, child.id());
        let process = Process::of(number).unwrap().unwrap();
        assert!(process.is_alive());
        assert!(
            tokio::time::timeout(Duration::from_millis(50), process.gone())
                .await
                .is_err()
        );
        process.kill().unwrap();
        tokio::time::timeout(Duration::from_secs(10), process.gone())
            .await
            .unwrap();
        // Nobody has waited for it: it has ended all the same.
        assert!(!process.is_alive());
        assert!(Process::of(number).unwrap().is_none());
        assert_eq!(with_words(&wanted).unwrap(), HashMap::new());
        child.wait().unwrap();
        process.kill().unwrap();
    }
}
