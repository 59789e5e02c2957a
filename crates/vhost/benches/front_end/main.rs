//! A front end of vhost-user-blk that measures the back end behind a socket, in the place of a virtual machine.
//!
//! It shares memory, fills rings and kicks as a guest's driver does: one thread, requests that can go out together are shown with
//! one kick, and only if the back end wants one; answers are waited for by interrupt (an eventfd for each queue) and taken all at
//! once; nothing is polled. What a guest has besides is not here: its own system, and a hypervisor that carries kicks and interrupts.
//!
//! Data is random bytes, and each block begins with its place on the disk; reads check that, so the disk must have
//! been filled by this program first. Prints one JSON object.

#[path = "../../tests/it/machine.rs"]
mod machine;

mod load;
mod tally;

use load::{Load, Work};
use machine::Machine;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: front_end SOCKET WORK BYTES QUEUES DEPTH SPAN_MIB SECONDS
  WORK   read or write (one after the other), randread, randwrite, randrw (70 % reads), synced (a write, then a flush),
         fill (the span once, and a flush; no matter how long it takes)
  BYTES  of a request
  DEPTH  requests under way in each queue";

/// As QEMU makes them unless told otherwise.
const QUEUE_SIZE: u16 = 128;

fn main() -> ExitCode {
    // `cargo bench` adds an argument of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let Some((socket, work, queues, time)) = parse(&args) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let socket = match UnixStream::connect(socket) {
        Ok(socket) => socket,
        Err(e) => {
            eprintln!("front_end: {socket}: {e}");
            return ExitCode::FAILURE;
        }
    };
    let mut machine = Machine::new(queues, QUEUE_SIZE);
    // Held until the end: its socket is the connection.
    let _front = machine.connect(socket);
    let tally = Load::new(&mut machine, work).run(time);
    println!("{}", tally.report(u64::from(work.bytes)));
    ExitCode::SUCCESS
}

fn parse(args: &[String]) -> Option<(&str, Work, usize, Duration)> {
    let [socket, kind, bytes, queues, depth, span, seconds] = args else {
        return None;
    };
    let work = Work {
        kind: kind.parse().ok()?,
        bytes: bytes.parse().ok()?,
        depth: depth.parse().ok()?,
        span: span.parse::<u64>().ok()? << 20,
    };
    let time = Duration::try_from_secs_f64(seconds.parse().ok()?).ok()?;
    Some((socket, work, queues.parse().ok()?, time))
}
