//! Images from files, images to files, and a small bootable image of our own.
//!
//! What must stay true: all of it goes through the API and NBD, as any client could do it ([`import`], [`export`]); what a command
//! did not finish it takes away again, or names; a file is only ever read as what it was found to be, and nothing in it
//! makes anyone open another file or address ([`source`], [`qcow2`], [`qemu`]); a file that is written appears under its name
//! when all of it is durable, and not before ([`target`]).
//!
//! Not here: what is printed and which words are asked for (`people::image`).

pub mod build;
pub mod export;
pub mod import;
mod interrupt;
mod qcow2;
mod qemu;
mod source;
mod target;

/// What an image file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// The bytes of the disk, one after the other.
    Raw,
    /// QEMU's format, version 2 or 3.
    Qcow2,
}

/// Bytes that are copied at once.
const STEP: usize = 1 << 20;
/// Zeros of this length that begin at a multiple of it are left out: what the service stores and compares.
const PIECE: usize = tidemark_units::CHUNK_BYTES as usize;

/// Hands the parts of `data`, which lies at `at`, to `write`, but for pieces of zeros. `at` is a multiple of a piece.
fn without_zeros(
    at: u64,
    data: &[u8],
    mut write: impl FnMut(u64, &[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    static ZEROS: [u8; PIECE] = [0; PIECE];
    let is_zero = |piece: &[u8]| piece == &ZEROS[..piece.len()];
    let mut from = 0;
    let mut to = 0;
    for piece in data.chunks(PIECE) {
        let end = to + piece.len();
        if is_zero(piece) {
            if from < to {
                write(at + from as u64, &data[from..to])?;
            }
            from = end;
        }
        to = end;
    }
    match from < to {
        true => write(at + from as u64, &data[from..to]),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_zeros_are_left_out() {
        let data = |layout: &str| -> Vec<u8> {
            let piece = |c: char| match c {
                '0' => vec![0; PIECE],
                '1' => [vec![0; PIECE - 1], vec![1]].concat(),
                _ => vec![7; 100],
            };
            layout.chars().flat_map(piece).collect()
        };
        let written = |layout: &str| {
            let mut parts = Vec::new();
            without_zeros(PIECE as u64, &data(layout), |at, part| {
                parts.push((at / PIECE as u64, part.len()));
                Ok(())
            })
            .unwrap();
            parts
        };
        assert!(written("000").is_empty());
        assert!(written("").is_empty());
        assert_eq!(written("011001x"), [(2, 2 * PIECE), (6, PIECE + 100)]);
        assert_eq!(written("1"), [(1, PIECE)]);
    }
}
