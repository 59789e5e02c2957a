//! The base: a sparse raw file below the log, identity offsets, cut into shards of 1 TiB.
//!
//! Holds the disk as of the last checkpointed layer (plus, while a checkpoint runs, some of the next).
//! Cleanly closed, the shards one after the other are a raw image of the disk.
//! Not here: which blocks are valid (`chunks`), what may be overwritten when (`checkpoint`).

use crate::error::{Result, VolumeError};
use crate::pieces::take_front;
use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::rc::Rc;
use tidemark_env::{Env, File, OpenMode, Piece};
use tidemark_units::TIB;

/// Bytes of a shard: below the largest file of every common file system.
const SHARD_BYTES: u64 = TIB;

/// The base of one volume.
pub struct Base {
    shards: RefCell<Vec<Rc<dyn File>>>,
}

/// A run of bytes within one shard.
struct Part {
    shard: usize,
    offset: u64,
    len: u64,
}

fn parts(offset: u64, len: u64) -> impl Iterator<Item = Part> {
    let end = offset + len;
    let mut at = offset;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let shard = at / SHARD_BYTES;
            let stop = end.min((shard + 1) * SHARD_BYTES);
            let part = Part {
                shard: shard as usize,
                offset: at % SHARD_BYTES,
                len: stop - at,
            };
            at = stop;
            part
        })
    })
}

impl Base {
    /// Makes the sparse files for a disk of `size_bytes`, durable.
    pub async fn create(env: &Env, dir: &Path, size_bytes: u64) -> Result<()> {
        let failed = |e: io::Error| VolumeError::io("making the base", &e);
        let dir = dir.join("base");
        tidemark_env::fs::create_dir_durable(&*env.fs, &dir)
            .await
            .map_err(failed)?;
        for part in parts(0, size_bytes) {
            let path = dir.join(format!("{:04}.raw", part.shard));
            let file = env.fs.open(&path, OpenMode::Create).await.map_err(failed)?;
            file.set_size(part.len).await.map_err(failed)?;
            file.sync().await.map_err(failed)?;
        }
        env.fs.sync_dir(&dir).await.map_err(failed)
    }

    /// Opens the shards of a disk of `size_bytes`; a missing or short one is damage.
    pub async fn open(env: &Env, dir: &Path, size_bytes: u64) -> Result<Self> {
        let dir = dir.join("base");
        let mut shards = Vec::new();
        for part in parts(0, size_bytes) {
            let path = dir.join(format!("{:04}.raw", part.shard));
            let failed = |e: io::Error| VolumeError::io(format!("opening base shard {}", part.shard), &e);
            let file = env.fs.open(&path, OpenMode::ReadWrite).await.map_err(failed)?;
            let size = file.size().await.map_err(failed)?;
            if size < part.len {
                return Err(VolumeError::corrupt(format!(
                    "base shard {} has {size} bytes, the disk needs {}",
                    part.shard, part.len
                )));
            }
            shards.push(file);
        }
        Ok(Self {
            shards: RefCell::new(shards),
        })
    }

    /// Makes the files those of a disk of `size_bytes`, durable; what is new reads as zeros. What an interrupted attempt left is
    /// taken as it is.
    pub async fn grow(&self, env: &Env, dir: &Path, size_bytes: u64) -> Result<()> {
        let failed = |e: io::Error| VolumeError::io("making the base longer", &e);
        let dir = dir.join("base");
        let mut shards = Vec::new();
        for part in parts(0, size_bytes) {
            let path = dir.join(format!("{:04}.raw", part.shard));
            let known = self.shards.borrow().get(part.shard).cloned();
            let file = match known {
                Some(file) => file,
                None => env.fs.open(&path, OpenMode::Create).await.map_err(failed)?,
            };
            if file.size().await.map_err(failed)? < part.len {
                file.set_size(part.len).await.map_err(failed)?;
            }
            // Also what was found: its maker may have been killed before its sync.
            file.sync().await.map_err(failed)?;
            shards.push(file);
        }
        env.fs.sync_dir(&dir).await.map_err(failed)?;
        *self.shards.borrow_mut() = shards;
        Ok(())
    }

    fn shard(&self, part: &Part) -> Rc<dyn File> {
        Rc::clone(&self.shards.borrow()[part.shard])
    }

    /// Exactly `len` bytes from `offset`, in one or (across shards) more pieces.
    pub async fn read(&self, offset: u64, len: u64) -> io::Result<Vec<Bytes>> {
        let mut out = Vec::with_capacity(1);
        for part in parts(offset, len) {
            out.push(self.shard(&part).read_at(part.offset, part.len as usize).await?);
        }
        Ok(out)
    }

    /// As [`Base::read`], of what will hardly be read again.
    pub async fn read_once(&self, offset: u64, len: u64) -> io::Result<Vec<Bytes>> {
        let mut out = Vec::with_capacity(1);
        for part in parts(offset, len) {
            out.push(
                self.shard(&part)
                    .read_once(part.offset, part.len as usize)
                    .await?,
            );
        }
        Ok(out)
    }

    /// The range for a peer to take from the system's cache, if all of it is there.
    pub fn lend(&self, offset: u64, len: u64) -> Option<Vec<Piece>> {
        let lend = |part: Part| self.shard(&part).lend(part.offset, part.len as usize);
        parts(offset, len)
            .map(|part| lend(part).map(Piece::Lent))
            .collect()
    }

    /// Writes `data`, pieces one after the other, from `offset` on.
    pub async fn write(&self, offset: u64, data: Vec<Bytes>) -> io::Result<()> {
        let len = data.iter().map(|d| d.len() as u64).sum();
        let mut parts = parts(offset, len).peekable();
        let Some(first) = parts.next() else { return Ok(()) };
        if parts.peek().is_none() {
            return self.shard(&first).write_at(first.offset, data).await;
        }
        let mut rest = data.into_iter().collect::<VecDeque<_>>();
        for part in std::iter::once(first).chain(parts) {
            self.shard(&part)
                .write_at(part.offset, take_front(&mut rest, part.len))
                .await?;
        }
        Ok(())
    }

    /// Gives the range's space back; it reads as zeros.
    pub async fn punch(&self, offset: u64, len: u64) -> io::Result<()> {
        for part in parts(offset, len) {
            self.shard(&part).punch(part.offset, part.len).await?;
        }
        Ok(())
    }

    /// Takes space for the range; holes in it keep reading as zeros.
    pub async fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        for part in parts(offset, len) {
            self.shard(&part).allocate(part.offset, part.len).await?;
        }
        Ok(())
    }

    /// Waits until completed writes have been handed to the medium; nothing is durable by this.
    pub async fn write_out(&self) -> io::Result<()> {
        let shards = self.shards.borrow().clone();
        for shard in shards {
            shard.write_out(0, 0).await?;
        }
        Ok(())
    }

    /// Makes all completed writes durable.
    pub async fn sync(&self) -> io::Result<()> {
        let shards = self.shards.borrow().clone();
        for shard in shards {
            shard.sync().await?;
        }
        Ok(())
    }

    /// The first range in `from..limit` that may hold data, or `None`.
    pub async fn next_data(&self, from: u64, limit: u64) -> io::Result<Option<(u64, u64)>> {
        for part in parts(from, limit.saturating_sub(from)) {
            let found = self
                .shard(&part)
                .next_data(part.offset, part.offset + part.len)
                .await?;
            if let Some((start, end)) = found {
                let shard_start = part.shard as u64 * SHARD_BYTES;
                return Ok(Some((shard_start + start, shard_start + end)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_across_shards_is_cut_at_the_border() {
        let cut: Vec<_> = parts(TIB - 4096, 8192)
            .map(|p| (p.shard, p.offset, p.len))
            .collect();
        assert_eq!(cut, vec![(0, TIB - 4096, 4096), (1, 0, 4096)]);
    }
}
