//! A disk grows, or is made anew in place: its content becomes that of any snapshot, or zeros.
//!
//! What must stay true: one change of a disk at a time (`changing`); an NBD client that is connected keeps the size that it was
//! told, one that connects later is told the new one, and so is a virtual machine at once; a disk that is made anew has its old content or the new one after a crash.
//! Rolling back to the disk's own snapshots is `marks`: there only what differs is fetched again.

use super::Node;
use super::collecting::decoded;
use crate::types::{NodeError, NodeErrorKind};
use roaring::RoaringBitmap;
use std::sync::atomic::Ordering;
use tidemark_units::{CHUNK_BYTES, DiskId, SnapshotId};
use tidemark_vault::Root;

impl Node {
    /// Makes the disk `size_bytes` large; what is new reads as zeros. Durable when this returns, and fine while clients use the
    /// disk: NBD clients learn of it when they connect again, virtual machines at once. Refused (`Busy`) while a capture runs; a disk never shrinks (`Invalid`).
    pub async fn grow_disk(&self, disk: &DiskId, size_bytes: u64) -> Result<(), NodeError> {
        let open = self.shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        open.remote
            .call(move |host| async move {
                let before = host.volume.size_bytes();
                host.volume.grow(size_bytes).await?;
                if host.volume.size_bytes() > before {
                    host.resized.notify_one();
                }
                Ok::<_, tidemark_volume::VolumeError>(())
            })
            .await??;
        open.size_bytes.store(size_bytes, Ordering::Release);
        Ok(())
    }

    /// Gives the disk the content of a snapshot of whatever disk, or zeros; its size stays, and what lies past the snapshot's
    /// end reads as zeros. Usable when this returns, filled lazily. Its own snapshots stay. Refused (`Busy`) while it is
    /// exported or a capture runs.
    pub async fn reinit_disk(&self, disk: &DiskId, source: Option<&SnapshotId>) -> Result<(), NodeError> {
        let open = self.shared.disk(disk)?;
        let _changing = open.changing.lock().await;
        if open.exported.load(Ordering::Acquire) {
            return Err(NodeError::new(
                NodeErrorKind::Busy,
                format!("disk {disk} is exported to clients"),
            ));
        }
        let size_bytes = open.size_bytes();
        let (needed, parent) = open
            .remote
            .call(|host| async move { (host.volume.roots(), host.volume.parent()) })
            .await?;
        let root = match source {
            Some(snapshot) => {
                self.adopt(disk, &decoded(&needed)?, snapshot, size_bytes)
                    .await?
                    .0
            }
            None => Root::zeros(size_bytes).to_bytes(),
        };
        // Nothing of what is there is kept: it was made under this disk's key, or is not known to be the same.
        let mut all = RoaringBitmap::new();
        let chunks = size_bytes.div_ceil(CHUNK_BYTES);
        all.insert_range(0..u32::try_from(chunks).unwrap_or(u32::MAX));
        let snapshot = source.cloned();
        let made = open.remote.call(move |host| async move {
            let content = host.source(&root);
            host.demand.finish();
            host.volume
                .rollback(parent.as_deref(), root.clone(), &all, content)
                .await?;
            match snapshot {
                Some(snapshot) => host.adopted(snapshot, &root).await,
                None => host.emptied().await,
            }
            host.start_hydration();
            Ok::<_, tidemark_volume::VolumeError>(())
        });
        Ok(made.await??)
    }
}
