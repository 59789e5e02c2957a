//! A volume as an NBD export, and as a disk for virtual machines: the same, but that those see it grow.

use crate::demand::Demand;
use crate::gauge::Way;
use crate::pace::Kind;
use bytes::Bytes;
use std::rc::Rc;
use tidemark_env::{LocalFuture, Piece};
use tidemark_nbd::proto::wire::BASE_ALLOCATION;
use tidemark_nbd::proto::{Errno, ExportInfo, Extent};
use tidemark_nbd::server::{Export, ExportError};
use tidemark_vhost::{Disk, DiskError};
use tidemark_volume::{Volume, VolumeError, VolumeErrorKind};

/// What clients are told of a disk of that size.
pub fn describe(name: &str, size_bytes: u64) -> ExportInfo {
    ExportInfo {
        name: name.to_string(),
        description: format!("disk {name}"),
        size_bytes,
        read_only: false,
        trim: true,
        fast_zero: true,
        multi_conn: true,
        contexts: vec![BASE_ALLOCATION.to_string()],
    }
}

impl VolumeExport {
    /// The volume under the export name `name`.
    pub fn new(name: &str, volume: Volume) -> Self {
        Self {
            info: describe(name, volume.size_bytes()),
            volume,
            demand: None,
        }
    }

    /// As [`VolumeExport::new`]; what clients read and write is noted.
    pub(crate) fn watched(name: &str, demand: &Rc<Demand>, volume: Volume) -> Self {
        Self {
            demand: Some(Rc::clone(demand)),
            ..Self::new(name, volume)
        }
    }

    /// Does what a client waits for, and notes how long that takes: for the pace of captures as `kind`, for people as so many
    /// bytes of one way.
    async fn timed<T>(
        &self,
        kind: Option<Kind>,
        asked: Option<(Way, u64)>,
        work: impl Future<Output = T>,
    ) -> T {
        let Some(demand) = self.demand.as_deref() else {
            return work.await;
        };
        let begun = demand.now();
        let done = work.await;
        let ended = demand.now();
        if let Some(kind) = kind {
            demand.pace.served(kind, begun, ended);
        }
        if let Some((way, bytes)) = asked {
            demand.gauge.served(way, bytes, begun, ended);
        }
        done
    }

    /// Does a read that a client waits for, and notes what it wants and how long it takes.
    async fn wait_for<T>(
        &self,
        offset: u64,
        len: u32,
        read: impl Future<Output = Result<T, VolumeError>>,
    ) -> Result<T, ExportError> {
        let demand = self.demand.as_deref();
        let waiting = demand.and_then(|demand| demand.reading(offset, len.into()));
        // How long the vault takes says nothing of how busy this machine is.
        let kind = waiting.is_none().then_some(Kind::Read);
        let read = self.timed(kind, Some((Way::Read, len.into())), read).await;
        drop(waiting);
        read.map_err(failed)
    }

    fn note_write(&self, offset: u64, len: u64) {
        if let Some(demand) = &self.demand {
            demand.writing(offset, len);
        }
    }
}

/// The volume, as the NBD server drives it.
pub struct VolumeExport {
    /// What clients are told.
    pub info: ExportInfo,
    /// What they read and write.
    pub volume: Volume,
    demand: Option<Rc<Demand>>,
}

fn failed(error: VolumeError) -> ExportError {
    let errno = match error.kind {
        VolumeErrorKind::Invalid => Errno::Inval,
        VolumeErrorKind::Full => Errno::NoSpc,
        _ => Errno::Io,
    };
    if errno == Errno::Io {
        // The client learns that it failed; an operator must learn what and where.
        tracing::error!(error = %error, "a request of a client failed");
    }
    ExportError::new(errno, error.message)
}

impl Export for VolumeExport {
    fn info(&self) -> ExportInfo {
        self.info.clone()
    }

    fn read(&self, offset: u64, len: u32) -> LocalFuture<'_, Result<Vec<Piece>, ExportError>> {
        Box::pin(async move {
            let read = self.volume.read_for_peer(offset, u64::from(len));
            self.wait_for(offset, len, read).await
        })
    }

    fn write(&self, offset: u64, data: Vec<Bytes>, fua: bool) -> LocalFuture<'_, Result<(), ExportError>> {
        Box::pin(async move {
            let len = data.iter().map(|piece| piece.len() as u64).sum();
            self.note_write(offset, len);
            let kind = if fua { Kind::Flush } else { Kind::Change };
            let write = self.volume.write_vectored(offset, data, fua);
            self.timed(Some(kind), Some((Way::Write, len)), write)
                .await
                .map_err(failed)
        })
    }

    fn zero(
        &self,
        offset: u64,
        len: u64,
        may_punch: bool,
        fua: bool,
    ) -> LocalFuture<'_, Result<(), ExportError>> {
        Box::pin(async move {
            self.note_write(offset, len);
            let zero = self.volume.zero(offset, len, may_punch, fua);
            self.timed(None, Some((Way::Write, len)), zero)
                .await
                .map_err(failed)
        })
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> LocalFuture<'_, Result<(), ExportError>> {
        Box::pin(async move {
            self.note_write(offset, len);
            self.volume.trim(offset, len, fua).await.map_err(failed)
        })
    }

    fn flush(&self) -> LocalFuture<'_, Result<(), ExportError>> {
        Box::pin(async move {
            self.timed(Some(Kind::Flush), None, self.volume.flush())
                .await
                .map_err(failed)
        })
    }

    fn block_status<'a>(
        &'a self,
        offset: u64,
        len: u64,
        _context: &'a str,
    ) -> LocalFuture<'a, Result<Vec<Extent>, ExportError>> {
        Box::pin(async move {
            let extents = self.volume.extents(offset, len).await.map_err(failed)?;
            // What is not stored reads as zeros, and what is stored may be anything.
            Ok(extents
                .into_iter()
                .map(|e| Extent::allocation(e.len, e.hole, e.hole))
                .collect())
        })
    }

    fn cache(&self, _offset: u64, _len: u64) -> LocalFuture<'_, Result<(), ExportError>> {
        // All is local; the system's cache does the rest.
        Box::pin(async { Ok(()) })
    }
}

/// An errno tells a guest nothing: its requests fail or do not.
fn untold(error: ExportError) -> DiskError {
    DiskError(error.message.into_owned())
}

impl Disk for VolumeExport {
    fn size_bytes(&self) -> u64 {
        self.volume.size_bytes()
    }

    fn serial(&self) -> String {
        // Without the prefix that all disks have: a guest sees 20 bytes of it, which the rest of an id has.
        let name = self.info.name.as_str();
        name.strip_prefix("d-").unwrap_or(name).to_owned()
    }

    fn read(&self, offset: u64, len: u32) -> LocalFuture<'_, Result<Vec<Piece>, DiskError>> {
        Box::pin(async move { Export::read(self, offset, len).await.map_err(untold) })
    }

    fn write(&self, offset: u64, data: Bytes, fua: bool) -> LocalFuture<'_, Result<(), DiskError>> {
        Box::pin(async move { Export::write(self, offset, vec![data], fua).await.map_err(untold) })
    }

    fn zero(
        &self,
        offset: u64,
        len: u64,
        may_punch: bool,
        fua: bool,
    ) -> LocalFuture<'_, Result<(), DiskError>> {
        Box::pin(async move {
            Export::zero(self, offset, len, may_punch, fua)
                .await
                .map_err(untold)
        })
    }

    fn trim(&self, offset: u64, len: u64, fua: bool) -> LocalFuture<'_, Result<(), DiskError>> {
        Box::pin(async move { Export::trim(self, offset, len, fua).await.map_err(untold) })
    }

    fn flush(&self) -> LocalFuture<'_, Result<(), DiskError>> {
        Box::pin(async move { Export::flush(self).await.map_err(untold) })
    }
}
