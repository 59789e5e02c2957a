//! A qcow2 file that somebody wants an image of: its header, and the tables that it points to.
//!
//! Besides not panicking: what passes lies in the file, so nothing behind its end is ever asked for.

#[path = "../../crates/cli/src/image/qcow2.rs"]
mod decoder;

use decoder::{HEADER_BYTES_MAX, Qcow2};

/// The bytes are the whole file.
pub fn qcow2(bytes: &[u8]) {
    let front = &bytes[..bytes.len().min(HEADER_BYTES_MAX as usize)];
    let Ok(image) = Qcow2::parse(front, bytes.len() as u64) else {
        return;
    };
    assert!(image.disk_bytes() > 0 && bytes.starts_with(&decoder::MAGIC));
    let read = |at: u64, buffer: &mut [u8]| {
        let from = at as usize;
        let found = bytes.get(from..from + buffer.len());
        buffer.copy_from_slice(found.expect("a place in the file"));
        Ok(())
    };
    // Whether the tables pass is for the unit tests to say.
    let _ = image.check_tables(read);
}
