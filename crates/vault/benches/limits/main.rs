//! What one core allows of the work that a capture does with each chunk: hashing, compressing, encrypting, checksums,
//! copying. `cargo xtask bench -- --only limits` runs it beside a full snapshot of the same bytes.
//!
//! Takes an image and works on those of its 64 KiB chunks that are not zero, one thread, all in memory, with the crates
//! and settings that the vault has (`codec`, `crypt::cipher`). The kinds of work take turns, round after round, so that
//! what else the machine does hits all alike. Prints a JSON object per kind.
//!
//! Not here: reading the disk, packs, files; that is what the snapshot beside it has on top.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde_json::json;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;
use std::process::ExitCode;
use std::time::Instant;
use tidemark_units::CHUNK_BYTES;

const USAGE: &str = "usage: limits IMAGE MIB ROUNDS
  of IMAGE, the first MIB that are not zero; each kind of work ROUNDS times";

const CHUNK: usize = CHUNK_BYTES as usize;

/// As the vault compresses: `codec::encode`.
const ZSTD_LEVEL: i32 = 1;

fn main() -> ExitCode {
    // `cargo bench` adds an argument of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let settings = match args.as_slice() {
        [image, mib, rounds] => mib
            .parse()
            .ok()
            .zip(rounds.parse().ok())
            .map(|numbers| (image, numbers)),
        _ => None,
    };
    let Some((image, (mib, rounds))) = settings else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match chunks(image, mib) {
        Ok(data) if !data.is_empty() => {
            measure(&data, rounds);
            ExitCode::SUCCESS
        }
        Ok(_) => {
            eprintln!("limits: {image} has nothing but zeros");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("limits: {image}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whole chunks that are not zero, one after the other, at most so many MiB.
fn chunks(image: &str, mib: usize) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(image)?;
    let mut data = Vec::with_capacity(mib << 20);
    let mut chunk = vec![0; CHUNK];
    while data.len() < mib << 20 && fill(&mut file, &mut chunk)? {
        if chunk.iter().any(|byte| *byte != 0) {
            data.extend_from_slice(&chunk);
        }
    }
    Ok(data)
}

/// Whether there was a whole chunk left.
fn fill(file: &mut File, chunk: &mut [u8]) -> std::io::Result<bool> {
    match file.read_exact(chunk) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Works on a chunk; gives the bytes of what came out.
type Work = Box<dyn FnMut(&[u8]) -> usize>;

/// One kind of work: takes a chunk, says how many bytes came out.
struct Kind {
    name: &'static str,
    work: Work,
    seconds: Vec<f64>,
    out: usize,
}

impl Kind {
    fn new(name: &'static str, work: impl FnMut(&[u8]) -> usize + 'static) -> Self {
        Self {
            name,
            work: Box::new(work),
            seconds: Vec::new(),
            out: 0,
        }
    }

    fn round(&mut self, data: &[u8]) {
        let begun = Instant::now();
        self.out = data.chunks_exact(CHUNK).map(|chunk| (self.work)(chunk)).sum();
        self.seconds.push(begun.elapsed().as_secs_f64());
    }
}

fn measure(data: &[u8], rounds: usize) {
    let mut kinds = [
        Kind::new("memcpy", copy()),
        Kind::new("CRC-32C", |chunk| {
            black_box(crc32c::crc32c(chunk));
            4
        }),
        Kind::new("BLAKE3", |chunk| blake3::hash(black_box(chunk)).as_bytes().len()),
        Kind::new("zstd -1", compress()),
        Kind::new("BLAKE3, then zstd -1", hash_and_compress()),
        Kind::new("AES-256-GCM, a key for each chunk", encrypt()),
        Kind::new("BLAKE3, zstd -1, AES-256-GCM", hash_compress_and_encrypt()),
        Kind::new("zstd -1, decompressing", decompress(data)),
    ];
    for _ in 0..rounds {
        for kind in &mut kinds {
            kind.round(data);
        }
    }
    for kind in kinds {
        println!(
            "{}",
            json!({"what": kind.name, "bytes": data.len(), "seconds": kind.seconds, "out": kind.out})
        );
    }
}

fn copy() -> impl FnMut(&[u8]) -> usize {
    // As large as a pack: a copy that stays in the nearest cache would be too good.
    let mut room = vec![0; 256 * CHUNK];
    let mut turn = 0;
    move |chunk| {
        let at = turn % 256 * CHUNK;
        turn += 1;
        room[at..at + CHUNK].copy_from_slice(chunk);
        black_box(&mut room);
        CHUNK
    }
}

fn compress() -> impl FnMut(&[u8]) -> usize {
    let mut compressor = Compressor::new();
    move |chunk| compressor.compress(chunk).len()
}

fn hash_and_compress() -> impl FnMut(&[u8]) -> usize {
    let mut compressor = Compressor::new();
    move |chunk| {
        black_box(blake3::hash(chunk));
        compressor.compress(chunk).len()
    }
}

fn encrypt() -> impl FnMut(&[u8]) -> usize {
    let mut room = Vec::with_capacity(CHUNK);
    let mut number = 0;
    move |chunk| {
        number += 1;
        seal(number, chunk, &mut room)
    }
}

fn hash_compress_and_encrypt() -> impl FnMut(&[u8]) -> usize {
    let mut compressor = Compressor::new();
    let mut room = Vec::with_capacity(CHUNK);
    let mut number = 0;
    move |chunk| {
        number += 1;
        black_box(blake3::hash(chunk));
        seal(number, compressor.compress(chunk), &mut room)
    }
}

/// Counts plain bytes: chunks that went raw are not decompressed, as in a restore.
fn decompress(data: &[u8]) -> impl FnMut(&[u8]) -> usize + use<> {
    let mut compressor = Compressor::new();
    let packed: Vec<Vec<u8>> = data
        .chunks_exact(CHUNK)
        .map(|chunk| compressor.compress(chunk).to_vec())
        .collect();
    let mut decompressor = zstd::bulk::Decompressor::new().expect("memory for a context");
    let mut turn = 0;
    move |_| {
        let stored = &packed[turn % packed.len()];
        turn += 1;
        if stored.len() == CHUNK {
            return CHUNK;
        }
        decompressor
            .decompress(stored, CHUNK)
            .expect("a frame made above")
            .len()
    }
}

struct Compressor {
    context: zstd::bulk::Compressor<'static>,
    room: Vec<u8>,
}

impl Compressor {
    fn new() -> Self {
        Self {
            context: zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("memory for a context"),
            // No more room than what pays, as in `codec`.
            room: vec![0; CHUNK - CHUNK / 32],
        }
    }

    /// The frame, or the chunk itself if that does not pay.
    fn compress<'a>(&'a mut self, chunk: &'a [u8]) -> &'a [u8] {
        match self.context.compress_to_buffer(chunk, self.room.as_mut_slice()) {
            Ok(packed) => &self.room[..packed],
            Err(_) => chunk,
        }
    }
}

/// Encrypts a copy under a key of its own, made from a number as the vault makes one from a name: a keyed hash.
fn seal(number: u64, plain: &[u8], room: &mut Vec<u8>) -> usize {
    let key = blake3::keyed_hash(&[7; 32], &number.to_le_bytes());
    let key = UnboundKey::new(&AES_256_GCM, key.as_bytes()).expect("AES-256 takes every key of 32 bytes");
    room.clear();
    room.extend_from_slice(plain);
    let nonce = Nonce::assume_unique_for_key([0; 12]);
    let tag = LessSafeKey::new(key)
        .seal_in_place_separate_tag(nonce, Aad::empty(), room)
        .expect("a chunk is not too long");
    room.len() + tag.as_ref().len()
}
