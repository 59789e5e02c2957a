//! Serves a disk in memory over NBD on a unix socket, for measurements: `ram_server SOCKET SIZE_MIB`.

#[path = "../tests/common/ram.rs"]
#[allow(dead_code)]
mod ram;
#[path = "../tests/common/server.rs"]
#[allow(dead_code)]
mod server;

use std::path::Path;
use tidemark_env::real::RuntimeOptions;
use tidemark_nbd::server::{NegotiateLimits, ServeLimits};

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(socket), Some(Ok(mib))) = (args.next(), args.next().map(|mib| mib.parse::<u64>())) else {
        eprintln!("usage: ram_server SOCKET SIZE_MIB");
        std::process::exit(2);
    };
    let options = server::Options {
        exports: vec![ram::ram_info("ram", mib << 20)],
        negotiate: NegotiateLimits::default(),
        serve: ServeLimits::default(),
        runtime: RuntimeOptions::default(),
    };
    server::Server::start(Path::new(&socket), options).join();
}
