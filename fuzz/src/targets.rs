//! The table of targets, and which of them this process runs.

use crate::{ecs, image, memory, nbd, seeds};
use std::path::Path;
use std::process::exit;
use std::sync::OnceLock;
use tidemark_vault::fuzzing as vault;
use tidemark_vhost::fuzzing as vhost;
use tidemark_volume::fuzzing as volume;

type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("ecs_authorization", ecs::authorization),
    ("ecs_query", ecs::query),
    ("ecs_render", ecs::render),
    ("ecs_text", ecs::text),
    ("image_qcow2", image::qcow2),
    ("nbd_handshake", nbd::handshake),
    ("nbd_requests", nbd::requests),
    ("vault_bucket_key", vault::bucket_key),
    ("vault_encrypted", vault::encrypted),
    ("vault_footer", vault::footer),
    ("vault_forward", vault::hashed_forward),
    ("vault_node", vault::node),
    ("vault_root", vault::root),
    ("vault_stored_chunk", vault::stored_chunk),
    ("vault_text_object", vault::text_object),
    ("vhost_requests", vhost::requests),
    ("volume_log_batch", volume::log_batch),
    ("volume_mark_note", volume::mark_note),
    ("volume_segment_header", volume::segment_header),
    ("volume_superblock", volume::superblock),
];

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Does what the environment asks for: with `TIDEMARK_FUZZ_SEEDS` writes the seeds below that directory, without
/// `TIDEMARK_FUZZ_TARGET` lists the targets; both end the process.
pub fn start() {
    if let Some(dir) = std::env::var_os("TIDEMARK_FUZZ_SEEDS") {
        let outcome = seeds::write(Path::new(&dir));
        if let Err(error) = &outcome {
            eprintln!("cannot write seeds below {}: {error}", dir.display());
        }
        exit(i32::from(outcome.is_err()));
    }
    let Some(wanted) = std::env::var_os("TIDEMARK_FUZZ_TARGET") else {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        exit(0);
    };
    let Some((_, target)) = TARGETS.iter().find(|(name, _)| wanted == *name) else {
        eprintln!("no target is called {}", wanted.display());
        exit(2);
    };
    CHOSEN.get_or_init(|| *target);
}

/// One input.
pub fn run(bytes: &[u8]) {
    let target = CHOSEN.get().expect("the fuzzer calls `start` first");
    memory::limited(*target, bytes);
}
