//! Serves a disk in memory over NBD on a unix socket, for measurements: `ram_server SOCKET SIZE_MIB [threads]`;
//! `threads` leaves io_uring aside.

#[path = "../tests/common/ram.rs"]
#[allow(dead_code)]
mod ram;
#[path = "../tests/common/server.rs"]
#[allow(dead_code)]
mod server;

use std::path::Path;
use tidemark_env::real::{IoChoice, RuntimeOptions};
use tidemark_nbd::server::{NegotiateLimits, ServeLimits};

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(Ok(mib))) = (args.next(), args.next().map(|mib| mib.parse::<u64>())) else {
        eprintln!("usage: ram_server SOCKET SIZE_MIB [threads]");
        std::process::exit(2);
    };
    let io = if args.next().as_deref() == Some("threads") {
        IoChoice::Threads
    } else {
        IoChoice::Auto
    };
    let options = server::Options {
        exports: vec![ram::ram_info("ram", mib << 20)],
        negotiate: NegotiateLimits::default(),
        serve: ServeLimits::default(),
        runtime: RuntimeOptions { io },
    };
    server::Server::start(Path::new(&socket), options).join();
}
