//! The relay as a process: this program is its own relay when it is told so.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    if let [_, word, socket] = words.as_slice()
        && word == "relay"
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        return match runtime.block_on(tidemark_compute::relay(socket.as_ref())) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    what_comes_goes_on_and_back();
    who_is_not_there_is_no_relay();
    println!("2 tests of the relay passed");
    ExitCode::SUCCESS
}

fn relay(socket: &std::path::Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .arg("relay")
        .arg(socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

fn what_comes_goes_on_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("service.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut relay = relay(&socket);
    let (mut service, _) = listener.accept().unwrap();
    service.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut input = relay.stdin.take().unwrap();
    input.write_all(b"GET /").unwrap();
    let mut heard = [0; 5];
    service.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"GET /");
    // More than any buffer in between.
    let answer = vec![b'x'; 1 << 20];
    let said = answer.clone();
    let writer = std::thread::spawn(move || {
        service.write_all(&said).unwrap();
    });
    let mut output = Vec::new();
    relay.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    writer.join().unwrap();
    assert!(output == answer, "{} bytes came back", output.len());
    // It ends with the service, though its input is still open.
    assert!(relay.wait().unwrap().success());
    drop(input);
}

fn who_is_not_there_is_no_relay() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = relay(&dir.path().join("nobody.sock"));
    let mut output = Vec::new();
    relay.stdout.take().unwrap().read_to_end(&mut output).unwrap();
    assert_eq!(output, b"");
    assert!(!relay.wait().unwrap().success());
}
