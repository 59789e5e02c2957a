//! Fuzz targets for every decoder: bytes that a medium, a peer or a user controls.
//!
//! One binary holds all targets (linking is what costs); `TIDEMARK_FUZZ_TARGET` picks one, and libFuzzer's own
//! arguments do the rest. A target panics when a property does not hold; [`memory`] adds the one that all share.
//! Started by `cargo xtask fuzz`, which also knows how this must be compiled.
//!
//! Not here: the targets of crate-private decoders, which stand beside them (`fuzzing` in `volume` and `vault`).

#![no_main]

mod ecs;
mod image;
mod memory;
mod nbd;
mod seeds;
mod targets;

libfuzzer_sys::fuzz_target!(init: targets::start(), |bytes: &[u8]| {
    targets::run(bytes);
});
