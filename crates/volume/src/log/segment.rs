//! Segments: the log's files. Written with zeros once, then recycled for ever.
//!
//! A segment is *free*, *live* (some record in it may be needed) or *current* (the live one that takes
//! batches). A file goes back to free only after a durable superblock says that nothing in it is
//! needed, and only when no reader holds it any more: readers pin it by its `Rc`.
//! A volume's first segment is the exception: its space is taken, not written, so that making a volume does not take the time
//! of writing a segment. It takes no batch before it is used again, and then costs some syncs more, once.
//! Zeroing first makes every later write an overwrite of allocated blocks: a sync then changes no file
//! system metadata, and the log never meets a full file system.
//! Not here: what is written where in a segment (`writer`).

use super::layout::{BLOCK, SegmentHeader};
use crate::error::{Result, VolumeError};
use crate::reserve::is_full;
use bytes::Bytes;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tidemark_env::{Env, File, OpenMode};
use tidemark_units::BLOCK_BYTES;

/// More files than any ring has.
pub const SLOTS_MAX: u32 = 1 << 20;

/// A segment's file and its present use.
pub struct Segment {
    /// The file's number: its name, whatever its use.
    pub slot: u32,
    /// The file.
    pub file: Rc<dyn File>,
    /// The sequence number of this use.
    pub sequence: u64,
    /// Seeds the checksums of this use.
    pub header: Cell<Option<SegmentHeader>>,
}

/// Where the segments of a volume live.
#[derive(Clone)]
pub struct SegmentStore {
    env: Env,
    dir: PathBuf,
    segment_bytes: u64,
}

impl SegmentStore {
    /// The log directory below a volume's.
    pub fn new(env: Env, volume_dir: &Path, segment_bytes: u64) -> Self {
        assert!(segment_bytes.is_multiple_of(BLOCK_BYTES) && segment_bytes >= 8 * BLOCK_BYTES);
        Self {
            env,
            dir: volume_dir.join("log"),
            segment_bytes,
        }
    }

    /// Blocks of one segment.
    pub fn segment_blocks(&self) -> u32 {
        (self.segment_bytes / BLOCK_BYTES) as u32
    }

    fn path(&self, slot: u32) -> PathBuf {
        self.dir.join(format!("{slot:08}.seg"))
    }

    /// Makes the directory.
    pub async fn create_dir(&self) -> Result<()> {
        tidemark_env::fs::create_dir_durable(&*self.env.fs, &self.dir)
            .await
            .map_err(|e| VolumeError::io("making the log's directory", &e))
    }

    /// Makes the file of a volume's first segment, with its header and its space, durable, name included.
    pub async fn create_first(&self, header: &SegmentHeader) -> Result<()> {
        let failed = |e: std::io::Error| VolumeError::io("making the log's first segment", &e);
        let path = self.path(0);
        let file = self.env.fs.open(&path, OpenMode::Create).await.map_err(failed)?;
        file.set_size(self.segment_bytes).await.map_err(failed)?;
        match file.allocate(0, self.segment_bytes).await {
            // A file system that takes no space in advance: then by writing.
            Err(e) if e.kind() == std::io::ErrorKind::Unsupported => {
                self.zero_fill(&*file).await.map_err(failed)?;
            }
            taken => taken.map_err(failed)?,
        }
        file.write_at(0, vec![Bytes::from(header.encode())])
            .await
            .map_err(failed)?;
        file.sync().await.map_err(failed)?;
        self.env.fs.sync_dir(&self.dir).await.map_err(failed)
    }

    /// Makes the file `slot`, zero-filled and durable, name included.
    pub async fn create(&self, slot: u32) -> Result<Rc<dyn File>> {
        let path = self.path(slot);
        let failed = |e: std::io::Error| VolumeError::io(format!("making log segment {slot}"), &e);
        let file = self.env.fs.open(&path, OpenMode::Create).await.map_err(failed)?;
        let written = self.zero_fill(&*file).await;
        if let Err(e) = written {
            drop(file);
            // Best effort: a half-made segment is only space, and the next attempt starts over.
            let _ = self.env.fs.remove_file(&path).await;
            return Err(failed(e));
        }
        self.env.fs.sync_dir(&self.dir).await.map_err(failed)?;
        Ok(file)
    }

    async fn zero_fill(&self, file: &dyn File) -> std::io::Result<()> {
        let piece = Bytes::from(vec![0; (1 << 20).min(self.segment_bytes as usize)]);
        let mut at = 0;
        while at < self.segment_bytes {
            let len = (self.segment_bytes - at).min(piece.len() as u64);
            file.write_at(at, vec![piece.slice(..len as usize)]).await?;
            // A guest's sync must not find the medium busy with all of them at once.
            file.write_out(at, len as u32).await?;
            at += len;
        }
        file.sync().await
    }

    /// Opens every segment file there is, by slot.
    pub async fn open_all(&self, mode: OpenMode) -> Result<Vec<(u32, Rc<dyn File>)>> {
        let failed = |e: std::io::Error| VolumeError::io("opening the log", &e);
        let mut found = Vec::new();
        for entry in self.env.fs.list(&self.dir).await.map_err(failed)? {
            // Only our own names: two files that claim one slot would be taken for one.
            let slot = entry.name.strip_suffix(".seg").and_then(|n| n.parse().ok());
            let Some(slot) = slot.filter(|s| *s < SLOTS_MAX && self.path(*s).ends_with(&entry.name)) else {
                continue;
            };
            let file = self
                .env
                .fs
                .open(&self.dir.join(&entry.name), mode)
                .await
                .map_err(failed)?;
            found.push((slot, file));
        }
        Ok(found)
    }

    /// Makes a file whose making was interrupted whole; one for which there is no room is removed, and `false` says so. One
    /// that was in use is left as it is, however short: what is missing of it is for the scan to judge.
    pub async fn complete(&self, slot: u32, file: &dyn File, volume: &[u8; 16]) -> Result<bool> {
        let failed = |e: std::io::Error| VolumeError::io(format!("log segment {slot}"), &e);
        let size = file.size().await.map_err(failed)?;
        let in_use = size >= BLOCK_BYTES
            && SegmentHeader::decode(&read_blocks(file, 0, 1).await.map_err(failed)?, volume).is_some();
        if size < self.segment_bytes && !in_use {
            match self.zero_fill(file).await {
                Err(e) if is_full(&e) => {
                    self.env.fs.remove_file(&self.path(slot)).await.map_err(failed)?;
                    return Ok(false);
                }
                filled => filled.map_err(failed)?,
            }
        }
        Ok(true)
    }

    /// Makes the names of all segments durable: who made the last one may have been killed before it did, and
    /// nothing that is written to a file without a name survives a power cut.
    pub async fn settle(&self) -> Result<()> {
        let failed = |e: std::io::Error| VolumeError::io("syncing the log's directory", &e);
        self.env.fs.sync_dir(&self.dir).await.map_err(failed)
    }
}

/// `count` blocks of a file from block `index` on.
pub async fn read_blocks(file: &dyn File, index: u32, count: u32) -> std::io::Result<Bytes> {
    file.read_at(u64::from(index) * BLOCK_BYTES, count as usize * BLOCK)
        .await
}
