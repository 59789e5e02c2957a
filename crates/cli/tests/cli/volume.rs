//! `tidemark volume`: one volume without a service.

use crate::common::{run, signal, tidemark};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};

/// Starts `volume serve` and returns once it says that it is ready.
pub fn serve(dir: &Path, export: &str) -> Child {
    let mut child = tidemark(
        dir,
        &["volume", "serve", "v", "--socket", "s", "--export", export],
    )
    .stdout(Stdio::piped())
    .spawn()
    .expect("the binary runs");
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let socket = dir.join("s");
    assert_eq!(
        line,
        format!("ready: nbd+unix:///{export}?socket={}\n", socket.display())
    );
    child
}

/// The oldest handshake there is, NBD_OPT_EXPORT_NAME: connects and returns the stream and the size.
pub fn connect(dir: &Path, export: &str) -> (UnixStream, u64) {
    let mut stream = UnixStream::connect(dir.join("s")).unwrap();
    let mut hello = [0; 18];
    stream.read_exact(&mut hello).unwrap();
    assert_eq!(&hello[..16], b"NBDMAGICIHAVEOPT");
    let mut go = vec![0, 0, 0, 3];
    go.extend(b"IHAVEOPT");
    go.extend(1u32.to_be_bytes());
    go.extend((export.len() as u32).to_be_bytes());
    go.extend(export.as_bytes());
    stream.write_all(&go).unwrap();
    let mut about = [0; 10];
    stream.read_exact(&mut about).unwrap();
    (stream, u64::from_be_bytes(about[..8].try_into().unwrap()))
}

/// One request and its answer without data; the error number.
pub fn request(stream: &mut UnixStream, kind: u16, offset: u64, length: u32, payload: &[u8]) -> u32 {
    let mut message = 0x2560_9513_u32.to_be_bytes().to_vec();
    message.extend([0, 0]);
    message.extend(kind.to_be_bytes());
    message.extend(9u64.to_be_bytes());
    message.extend(offset.to_be_bytes());
    message.extend(length.to_be_bytes());
    message.extend(payload);
    stream.write_all(&message).unwrap();
    let mut reply = [0; 16];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..4], 0x6744_6698_u32.to_be_bytes());
    u32::from_be_bytes(reply[4..8].try_into().unwrap())
}

#[test]
fn a_volume_keeps_what_was_flushed_whatever_ends_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let made = run(dir, &["volume", "create", "v", "--size", "256M"]);
    assert!(
        made.code == Some(0) && made.out.contains("256 MiB"),
        "{}",
        made.err
    );

    let mut child = serve(dir, "x");
    let (mut stream, size) = connect(dir, "x");
    assert_eq!(size, 256 << 20);
    assert_eq!(request(&mut stream, 1, 8192, 4096, &[7; 4096]), 0);
    assert_eq!(request(&mut stream, 3, 0, 0, &[]), 0);
    assert_ne!(request(&mut stream, 0, 256 << 20, 4096, &[]), 0, "past the end");
    signal(&child, "KILL");
    child.wait().unwrap();

    // The socket that the killed server left is no obstacle.
    let mut child = serve(dir, "y");
    let (mut stream, _) = connect(dir, "");
    assert_eq!(request(&mut stream, 0, 8192, 4096, &[]), 0);
    let mut data = [0; 4096];
    stream.read_exact(&mut data).unwrap();
    assert!(data == [7; 4096]);

    let busy = run(dir, &["volume", "info", "v"]);
    assert!(
        busy.code == Some(1) && busy.err.contains("in use"),
        "{}",
        busy.err
    );
    let second = run(dir, &["volume", "serve", "v", "--socket", "t"]);
    assert!(
        second.code == Some(1) && second.err.contains("in use"),
        "{}",
        second.err
    );

    signal(&child, "TERM");
    assert_eq!(
        child.wait().unwrap().code(),
        Some(0),
        "SIGTERM is a clean end, also with a client there"
    );
    assert!(!dir.join("s").exists());
    let info = run(dir, &["volume", "info", "v"]);
    assert!(
        info.out.contains("ever connected      yes") && info.out.contains("state               good"),
        "{}",
        info.out
    );
}

#[test]
fn the_log_tells_what_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(
        run(dir, &["volume", "create", "v", "--size", "64M"]).code,
        Some(0)
    );
    let mut child = serve(dir, "x");
    let (mut stream, _) = connect(dir, "x");
    assert_eq!(request(&mut stream, 1, 4096, 8192, &[1; 8192]), 0);
    assert_eq!(request(&mut stream, 3, 0, 0, &[]), 0);
    signal(&child, "KILL");
    child.wait().unwrap();
    let log = run(dir, &["volume", "log", "v"]);
    assert!(
        log.out.contains("data   8192 bytes at 4096"),
        "{}{}",
        log.out,
        log.err
    );
}

#[test]
fn refusals_name_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(
        run(dir, &["volume", "create", "v", "--size", "64M"]).code,
        Some(0)
    );
    let again = run(dir, &["volume", "create", "v", "--size", "64M"]);
    assert!(
        again.code == Some(1) && again.err.contains("already"),
        "{}",
        again.err
    );
    let odd = run(dir, &["volume", "create", "w", "--size", "4097"]);
    assert!(odd.code == Some(1) && odd.err.contains("4097"), "{}", odd.err);
    let none = run(dir, &["volume", "info", "none"]);
    assert!(none.code == Some(1) && none.err.contains("none"), "{}", none.err);
    std::fs::write(dir.join("file"), "precious").unwrap();
    let file = run(dir, &["volume", "serve", "v", "--socket", "file"]);
    assert!(
        file.code == Some(1) && file.err.contains("not a socket"),
        "{}",
        file.err
    );
    assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"precious");
}
