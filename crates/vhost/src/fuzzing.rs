//! What a guest may put into its memory, as a fuzz target: the input is the memory.
//!
//! Besides not panicking: what is asked of the disk lies inside it and within the limits that the guest was told, and an
//! answer changes only bytes that the guest said may be written.

use crate::config::REQUEST_BYTES_MAX;
use crate::memory::Memory;
use crate::request::{Buffers, Request};
use bytes::Bytes;
use std::sync::Arc;
use tidemark_env::Piece;
use vm_memory::{Bytes as _, GuestAddress, GuestMemoryMmap};

/// Where the memory starts: an address of 0 is not the guest's.
const START: GuestAddress = GuestAddress(0x1000);
/// Small, so that not even a chain that names all of it over and over is a large request.
const MEMORY_BYTES: usize = 8 << 10;
/// Descriptors of the table that stands at the start; the first few are taken for heads.
const DESCRIPTORS: u16 = 16;
const HEADS: u16 = 4;
const DISK_BYTES: u64 = 1 << 20;

/// The first descriptors of `bytes`, as heads of requests.
pub fn requests(bytes: &[u8]) {
    let bytes = &bytes[..bytes.len().min(MEMORY_BYTES)];
    let memory = GuestMemoryMmap::from_ranges(&[(START, MEMORY_BYTES)]).expect("memory for a guest");
    memory.write_slice(bytes, START).expect("it fits");
    let memory = Arc::new(memory);
    for head in 0..HEADS {
        if let Ok(buffers) = Buffers::collect(&memory, START, DESCRIPTORS, head) {
            serve(&memory, &buffers);
        }
    }
}

fn serve(memory: &Memory, buffers: &Buffers) {
    let before = content(memory);
    let status = match buffers.request(memory, DISK_BYTES) {
        Err(refusal) => refusal.status,
        Ok(request) => {
            check(&request);
            let len = match request {
                Request::Read { len, .. } | Request::GetId { len } => len as usize,
                _ => 0,
            };
            let answer = [
                Bytes::from(vec![0xa5; len / 3]),
                Bytes::from(vec![0x5a; len - len / 3]),
            ];
            match buffers.fill(memory, answer.map(Piece::from).to_vec()) {
                Ok(written) => {
                    assert_eq!(written as usize, len, "the guest had room for what it asked for");
                    0
                }
                Err(refusal) => refusal.status,
            }
        }
    };
    // Refused where the status itself is not in the guest's memory any more, which cannot happen here.
    assert!(buffers.answer(memory, status).is_ok());
    let mut expected = before;
    let after = content(memory);
    for (at, len) in buffers.may_change() {
        // A guest may offer what it does not have; such a request is refused.
        let Some(from) = at.checked_sub(START.0).map(|from| from as usize) else {
            continue;
        };
        if let Some(changed) = after.get(from..from.saturating_add(len as usize)) {
            expected[from..from + changed.len()].copy_from_slice(changed);
        }
    }
    assert!(expected == after, "a byte changed that the guest did not offer");
}

fn check(request: &Request) {
    let inside = |offset: u64, len: u64| assert!(offset <= DISK_BYTES && len <= DISK_BYTES - offset);
    match request {
        Request::Read { offset, len } => inside(*offset, u64::from(*len)),
        Request::Write { offset, data } => {
            assert!(data.len() as u64 <= REQUEST_BYTES_MAX);
            inside(*offset, data.len() as u64);
        }
        Request::GetId { len } => assert!(*len <= 20),
        Request::Discard(ranges) | Request::WriteZeroes(ranges) => {
            ranges.iter().for_each(|range| inside(range.offset, range.len));
        }
        Request::Flush | Request::Nothing => {}
    }
}

fn content(memory: &Memory) -> Vec<u8> {
    let mut all = vec![0; MEMORY_BYTES];
    memory.read_slice(&mut all, START).expect("all of it is there");
    all
}
