//! A snapshot as a read-only NBD export, served on the vault's thread.

use crate::vault::VaultHost;
use bytes::Bytes;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use tidemark_env::{LocalFuture, Piece};
use tidemark_nbd::proto::wire::BASE_ALLOCATION;
use tidemark_nbd::proto::{Errno, ExportInfo, Extent, Negotiated};
use tidemark_nbd::server::{Export, ExportError, ServeLimits, Stop, serve};
use tidemark_units::{CHUNK_BYTES, SnapshotId};
use tidemark_vault::{Chunk, Reader, VaultError};

/// What clients are told of a snapshot.
pub fn describe(name: &str, size_bytes: u64) -> ExportInfo {
    ExportInfo {
        name: name.to_string(),
        description: format!("snapshot {name} (read-only)"),
        size_bytes,
        read_only: true,
        trim: false,
        fast_zero: false,
        multi_conn: true,
        contexts: vec![BASE_ALLOCATION.to_string()],
    }
}

struct SnapshotExport {
    info: ExportInfo,
    reader: Rc<Reader>,
}

/// The client learns that it failed; an operator must learn what and where: the error names the object.
fn failed(e: VaultError) -> ExportError {
    tracing::error!(error = %e, "a read of a snapshot was refused");
    ExportError::new(Errno::Io, e.to_string())
}

fn read_only<'a>() -> LocalFuture<'a, Result<(), ExportError>> {
    Box::pin(async { Err(ExportError::new(Errno::Perm, "a snapshot never changes")) })
}

/// Zeros of one chunk.
static ZEROS: [u8; CHUNK_BYTES as usize] = [0; CHUNK_BYTES as usize];

impl Export for SnapshotExport {
    fn info(&self) -> ExportInfo {
        self.info.clone()
    }

    fn read(&self, offset: u64, len: u32) -> LocalFuture<'_, Result<Vec<Piece>, ExportError>> {
        Box::pin(async move {
            let end = offset + u64::from(len);
            let mut out = Vec::new();
            let mut at = offset;
            while at < end {
                let index = at / CHUNK_BYTES;
                let stop = end.min((index + 1) * CHUNK_BYTES);
                let bytes = match self.reader.read_chunk(index as u32).await.map_err(failed)? {
                    Chunk::Zero => Bytes::from_static(&ZEROS),
                    Chunk::Data(bytes) => bytes,
                };
                let from = (at - index * CHUNK_BYTES) as usize;
                out.push(bytes.slice(from..from + (stop - at) as usize).into());
                at = stop;
            }
            Ok(out)
        })
    }

    fn write(&self, _: u64, _: Vec<Bytes>, _: bool) -> LocalFuture<'_, Result<(), ExportError>> {
        read_only()
    }

    fn zero(&self, _: u64, _: u64, _: bool, _: bool) -> LocalFuture<'_, Result<(), ExportError>> {
        read_only()
    }

    fn trim(&self, _: u64, _: u64, _: bool) -> LocalFuture<'_, Result<(), ExportError>> {
        read_only()
    }

    fn flush(&self) -> LocalFuture<'_, Result<(), ExportError>> {
        Box::pin(async { Ok(()) })
    }

    fn block_status<'a>(
        &'a self,
        offset: u64,
        len: u64,
        _context: &'a str,
    ) -> LocalFuture<'a, Result<Vec<Extent>, ExportError>> {
        Box::pin(async move {
            let end = offset + len;
            let chunks = (offset / CHUNK_BYTES) as u32..end.div_ceil(CHUNK_BYTES) as u32;
            let mut out = Vec::new();
            let mut at = offset;
            for run in self.reader.extents(chunks).await.map_err(failed)? {
                let start = (u64::from(run.start) * CHUNK_BYTES).clamp(at, end);
                let stop = (u64::from(run.end) * CHUNK_BYTES).clamp(start, end);
                if start > at {
                    out.push(Extent::allocation(start - at, true, true));
                }
                if stop > start {
                    out.push(Extent::allocation(stop - start, false, false));
                }
                at = stop;
            }
            if at < end {
                out.push(Extent::allocation(end - at, true, true));
            }
            Ok(out)
        })
    }

    fn cache(&self, offset: u64, len: u64) -> LocalFuture<'_, Result<(), ExportError>> {
        Box::pin(async move {
            for index in offset / CHUNK_BYTES..(offset + len).div_ceil(CHUNK_BYTES) {
                self.reader.read_chunk(index as u32).await.map_err(failed)?;
            }
            Ok(())
        })
    }
}

impl VaultHost {
    /// Serves one client of a snapshot until it leaves.
    pub async fn serve_snapshot(
        self: Rc<Self>,
        snapshot: SnapshotId,
        socket: OwnedFd,
        negotiated: Negotiated,
    ) {
        let Some(net) = &self.place.net else { return };
        let record = match self.record(&snapshot).await {
            Ok(Some(record)) => record,
            Ok(None) => return,
            Err(e) => {
                tracing::error!(%snapshot, error = %e, "cannot serve a snapshot");
                return;
            }
        };
        let info = describe(snapshot.as_str(), record.size_bytes);
        let reader = Rc::new(Reader::open_named(&self.vault, record.root, snapshot.clone()));
        let stream = net.stream(socket);
        let export = Rc::new(SnapshotExport { info, reader });
        let leftover = negotiated.leftover.clone();
        let (env, limits) = (self.env().clone(), ServeLimits::default());
        let ended = serve(stream, leftover, negotiated, export, env, limits, Stop::new()).await;
        tracing::debug!(%snapshot, outcome = ?ended, "connection ended");
    }
}
