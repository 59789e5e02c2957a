//! No decoder takes much more memory than its input: a length in a header is a claim, not a reason to allocate.

use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// What any target may take, however short its input: contexts of the compressor and hashers, a decoded chunk.
const FREE_BYTES: usize = 8 << 20;
/// And for each byte of input: the worst honest case is a tree of small JSON values.
const PER_BYTE: usize = 256;

/// Runs a target on its input and panics when it took too much at any time.
pub fn limited(target: fn(&[u8]), bytes: &[u8]) {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    target(bytes);
    let taken = ALLOCATOR.peak_usage().saturating_sub(before);
    let allowed = FREE_BYTES + PER_BYTE * bytes.len();
    assert!(
        taken <= allowed,
        "{taken} bytes of memory for {} bytes of input, where {allowed} are allowed",
        bytes.len()
    );
}
