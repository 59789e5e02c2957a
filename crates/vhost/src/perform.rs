//! Does what a request asks for.

use crate::disk::{Disk, DiskError};
use crate::request::Request;
use bytes::Bytes;
use tidemark_env::Piece;
use virtio_bindings::bindings::virtio_blk::VIRTIO_BLK_ID_BYTES;

/// Carries `request` out, durably if `fua`; gives what the guest gets to read.
pub async fn perform(disk: &dyn Disk, request: Request, fua: bool) -> Result<Vec<Piece>, DiskError> {
    match request {
        Request::Nothing => {}
        Request::Read { offset, len } => {
            let pieces = disk.read(offset, len).await?;
            let found: usize = pieces.iter().map(Piece::len).sum();
            if found != len as usize {
                return Err(DiskError(format!("the disk returned {found} bytes of {len}")));
            }
            return Ok(pieces);
        }
        Request::Write { offset, data } => disk.write(offset, data, fua).await?,
        Request::Flush => disk.flush().await?,
        Request::GetId { len } => {
            let mut id = disk.serial().into_bytes();
            // Padded with zeros; one that fills it has none.
            id.resize(VIRTIO_BLK_ID_BYTES as usize, 0);
            id.truncate(len as usize);
            return Ok(vec![Bytes::from(id).into()]);
        }
        Request::Discard(ranges) => {
            for range in ranges {
                disk.trim(range.offset, range.len, fua).await?;
            }
        }
        Request::WriteZeroes(ranges) => {
            for range in ranges {
                disk.zero(range.offset, range.len, range.unmap, fua).await?;
            }
        }
    }
    Ok(Vec::new())
}
