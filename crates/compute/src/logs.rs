//! A log that another process appends to, kept small by us.
//!
//! QEMU has the file open with O_APPEND, so cutting it to nothing is safe at any time: the next line goes to the new end. What was in it
//! moves to a second file beside it. Lines that arrive between the copy and the cut, microseconds, are lost. While nobody of us runs, the file grows.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most that a log and the file beside it keep, each.
pub const LOG_BYTES_MAX: u64 = 1 << 20;

/// Cuts the log when it has grown beyond `bytes_max`; its last bytes are kept beside it. Answers whether it did.
pub fn trim(path: &Path, bytes_max: u64) -> io::Result<bool> {
    if fs::metadata(path)?.len() <= bytes_max {
        return Ok(false);
    }
    let log = OpenOptions::new().read(true).write(true).open(path)?;
    let kept = last_bytes(&log, bytes_max)?;
    write_private(&older(path), &kept)?;
    log.set_len(0)?;
    Ok(true)
}

/// An empty log for a new life; the last one's is kept beside it.
pub fn begin(path: &Path) -> io::Result<()> {
    match fs::rename(path, older(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_private(path, b"")
}

/// The last bytes of the log, those kept beside it included.
pub fn tail(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    for file in [older(path), path.to_path_buf()] {
        match File::open(&file) {
            Ok(file) => all.extend(last_bytes(&file, bytes_max)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let surplus = all
        .len()
        .saturating_sub(usize::try_from(bytes_max).unwrap_or(usize::MAX));
    all.drain(..surplus);
    Ok(all)
}

/// The last lines of this life's log, for people.
pub fn last_words(path: &Path) -> String {
    const BYTES: u64 = 2000;
    let found = File::open(path).and_then(|file| last_bytes(&file, BYTES));
    let text = String::from_utf8_lossy(&found.unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(10)..].join("; ")
}

fn last_bytes(mut file: &File, bytes_max: u64) -> io::Result<Vec<u8>> {
    let len = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(len.saturating_sub(bytes_max)))?;
    let mut found = Vec::new();
    // Not more than was there: a guest may write faster than we read.
    file.take(bytes_max).read_to_end(&mut found)?;
    Ok(found)
}

fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    io::Write::write_all(&mut file, content)
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_log_stays_small_and_keeps_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("console.log");
        begin(&path).unwrap();
        let mut writer = OpenOptions::new().append(true).open(&path).unwrap();
        for number in 0..100 {
            writeln!(writer, "line {number:03}").unwrap();
            trim(&path, 90).unwrap();
            assert!(fs::metadata(&path).unwrap().len() <= 99);
        }
        assert!(fs::metadata(older(&path)).unwrap().len() <= 90);
        let all = String::from_utf8(tail(&path, 45).unwrap()).unwrap();
        assert_eq!(all, "line 095\nline 096\nline 097\nline 098\nline 099\n");
    }

    #[test]
    fn a_new_life_has_a_new_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("qemu.log");
        fs::write(&path, "of the last life\n").unwrap();
        begin(&path).unwrap();
        assert_eq!(last_words(&path), "");
        fs::write(&path, "first\n\n second\n").unwrap();
        assert_eq!(last_words(&path), "first; second");
        assert_eq!(
            tail(&path, 1000).unwrap(),
            b"of the last life\nfirst\n\n second\n"
        );
    }
}
