//! A model of a disk, and histories against it: what the crash tests share.
//!
//! The model keeps, for every 512-byte sector, the values written to it in order and which of them is the
//! oldest that may still be there. After a crash each sector must hold a value that is not older; what is read
//! then is pinned. A mark pins a window of values per sector; the snapshot made from it must lie in that
//! window, sector by sector, and stay the same however often and late it is read.

#![allow(dead_code)]

use bytes::Bytes;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;
use tidemark_env::sim::Sim;
use tidemark_env::{Env, LocalFuture};
use tidemark_units::{CHUNK_BYTES, ChunkIndex, SnapshotId};
use tidemark_volume::{ChunkSource, Volume, VolumeConfig};

pub const SECTOR: u64 = 512;
pub const DISK: u64 = 2 << 20;
pub const SECTORS: usize = (DISK / SECTOR) as usize;

pub fn config() -> VolumeConfig {
    VolumeConfig {
        segment_bytes: 128 << 10,
        segments_max: Some(6),
        checkpoint_percent: 40,
        extents_max: 4096,
        reserve_step_bytes: 256 << 10,
    }
}

/// Runs one history. With the feature `mutants`, `MUTANT=name` switches that deliberate bug on in it.
pub fn run_history<T>(history: impl FnOnce() -> T) -> T {
    #[cfg(feature = "mutants")]
    let history = || {
        let name = std::env::var("MUTANT").ok().map(|name| &*name.leak());
        tidemark_env::mutant::with(name, history)
    };
    history()
}

/// One sector's content for a value; 0 is zeros.
pub fn sector(value: u64) -> [u8; SECTOR as usize] {
    let mut out = [0; SECTOR as usize];
    for at in out.chunks_exact_mut(8) {
        at.copy_from_slice(&value.to_le_bytes());
    }
    out
}

/// The value of a sector's content; torn or mixed content is a failure in itself.
pub fn value_of(bytes: &[u8]) -> u64 {
    let value = u64::from_le_bytes(bytes[..8].try_into().unwrap());
    assert!(bytes == sector(value), "a sector holds a mixture of values");
    value
}

/// Values as bytes.
pub fn bytes_of(values: &[u64]) -> Bytes {
    values.iter().flat_map(|v| sector(*v)).collect::<Vec<u8>>().into()
}

#[derive(Clone, Default)]
struct History {
    values: Vec<u64>,
    /// Index of the oldest value that may be read: the newest one acknowledged.
    acked: usize,
    /// Index of the oldest value that a crash may leave.
    durable: usize,
}

/// What the sectors of a disk may hold.
pub struct Model {
    sectors: Vec<History>,
    next: u64,
}

impl Model {
    pub fn new(initial: impl Fn(usize) -> u64) -> Self {
        let history = |s| History {
            values: vec![initial(s)],
            acked: 0,
            durable: 0,
        };
        Self {
            sectors: (0..SECTORS).map(history).collect(),
            next: 1 << 32,
        }
    }

    /// A write of fresh values (or zeros) is issued.
    pub fn issue(&mut self, from: usize, count: usize, zero: bool) -> Vec<u64> {
        let values: Vec<u64> = (0..count)
            .map(|_| {
                self.next += 1;
                if zero { 0 } else { self.next }
            })
            .collect();
        for (n, value) in values.iter().enumerate() {
            self.sectors[from + n].values.push(*value);
        }
        values
    }

    pub fn acked(&mut self, from: usize, count: usize) {
        for h in &mut self.sectors[from..from + count] {
            h.acked = h.values.len() - 1;
        }
    }

    /// What is acknowledged now; a flush that starts now makes it durable.
    pub fn before_flush(&self) -> Vec<usize> {
        self.sectors.iter().map(|h| h.acked).collect()
    }

    pub fn flushed(&mut self, acked: &[usize]) {
        for (h, a) in self.sectors.iter_mut().zip(acked) {
            h.durable = h.durable.max(*a);
        }
    }

    /// A quiet disk must read exactly this.
    pub fn check_quiet(&self, from: usize, values: &[u64], what: &str) {
        for (n, value) in values.iter().enumerate() {
            let h = &self.sectors[from + n];
            let allowed = &h.values[h.acked..];
            assert!(
                allowed.contains(value),
                "{what}: sector {} holds {value:x}, allowed {allowed:x?}",
                from + n
            );
        }
    }

    /// After a crash: each sector holds something not older than its durable value; that is the truth from now on.
    pub fn pin_after_crash(&mut self, values: &[u64]) {
        for (n, (h, value)) in self.sectors.iter_mut().zip(values).enumerate() {
            let allowed = &h.values[h.durable..];
            assert!(
                allowed.contains(value),
                "after a crash: sector {n} holds {value:x}, allowed {allowed:x?}"
            );
            *h = History {
                values: vec![*value],
                acked: 0,
                durable: 0,
            };
        }
    }

    /// A rollback to `image` may or may not have happened after a crash.
    pub fn rollback_begins(&mut self, image: &Image) {
        for (h, value) in self.sectors.iter_mut().zip(image) {
            h.values.push(*value);
        }
    }

    /// The rollback has happened, durably.
    pub fn rollback_done(&mut self, image: &Image) {
        for (h, value) in self.sectors.iter_mut().zip(image) {
            *h = History {
                values: vec![*value],
                acked: 0,
                durable: 0,
            };
        }
    }

    pub fn window_start(&self) -> Vec<usize> {
        self.sectors.iter().map(|h| h.acked).collect()
    }

    /// The values that a mark between `start` and now may have caught.
    pub fn window(&self, start: &[usize]) -> Vec<Vec<u64>> {
        self.sectors
            .iter()
            .zip(start)
            .map(|(h, s)| h.values[*s..].to_vec())
            .collect()
    }
}

/// Reads the whole disk as values.
pub async fn read_all(volume: &Volume) -> Vec<u64> {
    let mut values = Vec::new();
    for at in (0..DISK).step_by(1 << 18) {
        let bytes = volume
            .read(at, 1 << 18)
            .await
            .expect("a healthy volume reads")
            .concat();
        values.extend(bytes.chunks_exact(SECTOR as usize).map(value_of));
    }
    values
}

/// A whole disk's values at some snapshot.
pub type Image = Vec<u64>;

/// A source of absent chunks with the content of an image, at random speed.
pub struct ImageSource {
    pub env: Env,
    pub sim: Sim,
    pub image: Rc<Image>,
}

impl ChunkSource for ImageSource {
    fn read_chunk(&self, chunk: ChunkIndex) -> LocalFuture<'_, Result<Option<Bytes>, String>> {
        Box::pin(async move {
            let delay = self.sim.below(3000);
            self.env.clock.sleep(Duration::from_micros(delay)).await;
            let per = (CHUNK_BYTES / SECTOR) as usize;
            let from = chunk.0 as usize * per;
            let values = &self.image[from..from + per];
            Ok((values.iter().any(|v| *v != 0)).then(|| bytes_of(values)))
        })
    }

    fn nonzero(
        &self,
        range: std::ops::Range<u32>,
    ) -> LocalFuture<'_, Result<roaring::RoaringBitmap, String>> {
        let per = (CHUNK_BYTES / SECTOR) as usize;
        let found = range
            .filter(|c| self.image[*c as usize * per..][..per].iter().any(|v| *v != 0))
            .collect();
        Box::pin(async move { Ok(found) })
    }
}

/// The vault of the tests: complete images by snapshot, and what captures took. Survives crashes.
#[derive(Default)]
pub struct Vault {
    pub images: BTreeMap<SnapshotId, Rc<Image>>,
    pub windows: BTreeMap<SnapshotId, Vec<Vec<u64>>>,
    pub taken: BTreeMap<SnapshotId, BTreeMap<u32, Vec<u64>>>,
    pub parent: Option<SnapshotId>,
}

pub type SharedVault = Rc<RefCell<Vault>>;

/// The image that the root bytes of a snapshot stand for (its id, in these tests).
pub fn image_of(vault: &SharedVault, root: &[u8]) -> Rc<Image> {
    let id = SnapshotId::new(String::from_utf8(root.to_vec()).unwrap()).unwrap();
    Rc::clone(&vault.borrow().images[&id])
}

/// Captures a pending mark to its end, as the node does: wanted chunks first, then in order.
pub async fn capture(env: &Env, sim: &Sim, volume: &Volume, vault: &SharedVault, id: &SnapshotId) {
    let Some(pending) = volume
        .pending_marks()
        .into_iter()
        .find(|p| &p.mark.snapshot == id)
    else {
        return;
    };
    let mut left = pending.chunks.clone();
    for chunk in vault.borrow().taken.get(id).into_iter().flat_map(|t| t.keys()) {
        left.remove(*chunk);
    }
    // What was taken before a crash is taken.
    volume.taken(id, &(&pending.chunks - &left));
    while let Some(first) = left.min() {
        let wanted = futures_util::FutureExt::now_or_never(volume.wanted()).unwrap_or_default();
        let mut batch: Vec<u32> = (&wanted & &left).iter().take(4).collect();
        if batch.is_empty() {
            batch.push(first);
        }
        for chunk in batch {
            let read = volume.read_frozen(id, ChunkIndex(chunk)).await;
            let Ok(frozen) = read else { return };
            let bytes = match frozen {
                tidemark_volume::FrozenChunk::Zero => Bytes::from(vec![0; CHUNK_BYTES as usize]),
                tidemark_volume::FrozenChunk::Data(bytes) => bytes,
            };
            let values: Vec<u64> = bytes.chunks_exact(SECTOR as usize).map(value_of).collect();
            vault
                .borrow_mut()
                .taken
                .entry(id.clone())
                .or_default()
                .insert(chunk, values);
            left.remove(chunk);
            volume.taken(id, &[chunk].into_iter().collect());
        }
        env.clock.sleep(Duration::from_micros(sim.below(500))).await;
    }
    let root = {
        let mut vault = vault.borrow_mut();
        let mut image = match &vault.parent {
            Some(parent) => (*vault.images[parent]).clone(),
            None => vec![0; SECTORS],
        };
        let per = (CHUNK_BYTES / SECTOR) as usize;
        for (chunk, values) in vault.taken.remove(id).unwrap_or_default() {
            image[chunk as usize * per..][..per].copy_from_slice(&values);
        }
        for (n, value) in image.iter().enumerate() {
            // A test that does not follow single sectors has no windows.
            let Some(window) = vault.windows.get(id) else {
                break;
            };
            assert!(
                window[n].contains(value),
                "{id}: sector {n} holds {value:x}, allowed {:x?}",
                window[n]
            );
        }
        vault.images.insert(id.clone(), Rc::new(image));
        vault.parent = Some(id.clone());
        id.as_str().as_bytes().to_vec()
    };
    let image = image_of(vault, &root);
    let source: Rc<dyn ChunkSource> = Rc::new(ImageSource {
        env: env.clone(),
        sim: sim.clone(),
        image,
    });
    // A volume that was poisoned or killed keeps the mark pending; the next open commits it.
    let _ = volume.commit(id, root, Some(source)).await;
}
