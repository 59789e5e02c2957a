//! A capture's spool directory.
//!
//! ```text
//! capture          what is being captured (text object); absent: nothing was begun
//! <pack-id>.pack   a sealed data pack, not uploaded yet: the object, byte for byte
//! <pack-id>.foot   the footer of a data pack that is in the bucket, or that has no body
//! <pack-id>.tree   the footer of a tree pack that is in the bucket
//! *.tmp            torn: removed
//! ```
//! A pack file gets its name only when its bytes are synced; a footer takes over before its pack file
//! goes. So whatever the moment of a crash, each sealed pack is there in one form at least.

use super::CaptureSpec;
use crate::crypt::{Crypt, Encrypter};
use crate::error::{Result, VaultError};
use crate::id::{CaptureId, PackId, VaultId};
use crate::pack::{EntryKind, FOOTER_BYTES_MAX, Footer, PACK_BYTES_MAX, PackKind};
use crate::text;
use crate::tree::{LEAF_SLOTS, Root, position};
use crate::vault::Vault;
use bytes::Bytes;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use tidemark_env::{Env, File, OpenMode, fs};
use tidemark_units::{DiskId, SnapshotId};

/// Bytes of a pack that are handed to the medium at once.
const SLICE_BYTES: u64 = 1 << 20;

const CAPTURE: &str = "capture";
const KIND: &str = "capture";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct CaptureFile {
    vault: VaultId,
    capture: CaptureId,
    snapshot: SnapshotId,
    disk: DiskId,
    parent: Option<Root>,
    size_bytes: u64,
    /// The pending chunks: base64 of the portable serialisation of roaring bitmaps.
    pending: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    own_key: bool,
}

/// The capture file of a capture into `vault`.
pub(crate) fn encode_spec(vault: VaultId, capture: CaptureId, spec: &CaptureSpec) -> Result<Bytes> {
    let mut pending = Vec::with_capacity(spec.pending.serialized_size());
    spec.pending
        .serialize_into(&mut pending)
        .map_err(|e| VaultError::io("begin capture", CAPTURE, e))?;
    let file = CaptureFile {
        vault,
        capture,
        snapshot: spec.snapshot.clone(),
        disk: spec.disk.clone(),
        parent: spec.parent,
        size_bytes: spec.size_bytes,
        pending: data_encoding::BASE64.encode(&pending),
        own_key: spec.own_key,
    };
    text::encode(KIND, VERSION, &file)
}

/// Reads what [`encode_spec`] wrote. `key` is what errors call it.
pub(crate) fn decode_spec(vault: VaultId, key: &str, object: &[u8]) -> Result<(CaptureId, CaptureSpec)> {
    let file: CaptureFile = text::decode(KIND, VERSION, key, object)?;
    let corrupt = |cause: String| VaultError::corrupt("resume capture", key, cause);
    if file.vault != vault {
        return Err(corrupt(format!(
            "it belongs to vault {}, not {vault}",
            file.vault
        )));
    }
    let pending = data_encoding::BASE64
        .decode(file.pending.as_bytes())
        .map_err(|e| corrupt(e.to_string()))
        .and_then(|bytes| RoaringBitmap::deserialize_from(&bytes[..]).map_err(|e| corrupt(e.to_string())))?;
    let spec = CaptureSpec {
        snapshot: file.snapshot,
        disk: file.disk,
        parent: file.parent,
        size_bytes: file.size_bytes,
        pending,
        own_key: file.own_key,
    };
    spec.check().map_err(corrupt)?;
    Ok((file.capture, spec))
}

/// What kind of file, by its extension.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum FileKind {
    Pack,
    Foot,
    Tree,
}

impl FileKind {
    fn name(self, pack: PackId) -> String {
        let extension = match self {
            FileKind::Pack => "pack",
            FileKind::Foot => "foot",
            FileKind::Tree => "tree",
        };
        format!("{pack}.{extension}")
    }

    fn parse(name: &str) -> Option<(PackId, FileKind)> {
        let (id, extension) = name.split_once('.')?;
        let kind = match extension {
            "pack" => FileKind::Pack,
            "foot" => FileKind::Foot,
            "tree" => FileKind::Tree,
            _ => return None,
        };
        Some((id.parse().ok()?, kind))
    }
}

/// A pack found in the spool on resume.
pub(super) struct SpooledPack {
    pub(super) footer: Footer,
    /// Bytes of the whole object.
    pub(super) object_len: u64,
    pub(super) uploaded: bool,
}

/// The files of one capture.
pub(super) struct Spool {
    pub(super) capture: CaptureId,
    env: Env,
    vault: VaultId,
    crypt: Crypt,
    dir: PathBuf,
}

/// Packs whose files are in `spool_dir`; a directory that does not exist has none.
pub async fn spool_packs(env: &Env, spool_dir: &Path) -> Result<Vec<PackId>> {
    let named = |name: String| FileKind::parse(&name).map(|(pack, _)| pack);
    match env.fs.list(spool_dir).await {
        Ok(entries) => Ok(entries
            .into_iter()
            .filter_map(|entry| named(entry.name))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(VaultError::io("list spool", spool_dir.display(), error)),
    }
}

impl Spool {
    /// Makes the directory and writes down what is being captured.
    pub(super) async fn create(vault: &Vault, dir: &Path, spec: &CaptureSpec) -> Result<Self> {
        let spool = Self {
            capture: CaptureId(vault.env().random()),
            env: vault.env().clone(),
            vault: vault.id(),
            crypt: vault.store().crypt.clone(),
            dir: dir.to_owned(),
        };
        let step = "begin capture";
        fs::create_dir_durable(&*spool.env.fs, dir)
            .await
            .map_err(|e| spool.error(step, "", e))?;
        let there = spool
            .env
            .fs
            .list(dir)
            .await
            .map_err(|e| spool.error(step, "", e))?;
        if let Some(entry) = there.first() {
            let cause = format!("it holds {:?}: a capture was begun there", entry.name);
            return Err(VaultError::other(step, dir.display(), cause));
        }
        let file = encode_spec(spool.vault, spool.capture, spec)?;
        spool.write(CAPTURE, file).await?;
        Ok(spool)
    }

    /// Reads everything back. `None` when nothing was begun here; the directory is removed then.
    pub(super) async fn load(
        vault: &Vault,
        dir: &Path,
    ) -> Result<Option<(Self, CaptureSpec, Encrypter, Vec<SpooledPack>)>> {
        let step = "resume capture";
        let mut spool = Self {
            capture: CaptureId([0; 8]),
            env: vault.env().clone(),
            vault: vault.id(),
            crypt: vault.store().crypt.clone(),
            dir: dir.to_owned(),
        };
        let there = match spool.env.fs.list(dir).await {
            Ok(there) => there,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(spool.error(step, "", error)),
        };
        if !there.iter().any(|entry| entry.name == CAPTURE) {
            spool.remove_dir().await?;
            return Ok(None);
        }
        // A process that was killed may have left names that a power cut could still take away: nothing is
        // removed or told as taken because of such a one.
        spool
            .env
            .fs
            .sync_dir(dir)
            .await
            .map_err(|e| spool.error(step, "", e))?;
        let (capture, spec) = spool.read_spec().await?;
        spool.capture = capture;
        // Before the packs: they may be sealed under the disk's key.
        let encrypter = vault.encrypter(&spec.disk, spec.own_key).await?;
        let mut packs: BTreeMap<PackId, Vec<FileKind>> = BTreeMap::new();
        for entry in there {
            if let Some((pack, kind)) = FileKind::parse(&entry.name) {
                packs.entry(pack).or_default().push(kind);
            } else if entry.name != CAPTURE {
                spool.remove(&entry.name).await?;
            }
        }
        let mut found = Vec::new();
        for (pack, kinds) in packs {
            // With both there, the upload was complete and only the removal is missing.
            if kinds.contains(&FileKind::Pack) && kinds.contains(&FileKind::Foot) {
                spool.remove(&FileKind::Pack.name(pack)).await?;
            }
            let kind = kinds.into_iter().max().unwrap_or(FileKind::Foot);
            found.push(spool.load_pack(pack, kind).await?);
        }
        Ok(Some((spool, spec, encrypter, found)))
    }

    async fn read_spec(&self) -> Result<(CaptureId, CaptureSpec)> {
        let object = self.read(CAPTURE, u64::MAX).await?;
        let key = self.dir.join(CAPTURE).display().to_string();
        decode_spec(self.vault, &key, &object)
    }

    async fn load_pack(&self, pack: PackId, kind: FileKind) -> Result<SpooledPack> {
        let (step, name) = ("resume capture", kind.name(pack));
        let path = self.dir.join(&name);
        let failed = |error| self.error(step, &name, error);
        let file = self.env.fs.open(&path, OpenMode::Read).await.map_err(failed)?;
        let size = file.size().await.map_err(failed)?;
        let tail_len = size.min(crate::pack::TAIL_BYTES as u64);
        let tail = file
            .read_at(size - tail_len, tail_len as usize)
            .await
            .map_err(failed)?;
        let subject = path.display();
        let len = Footer::len_from_tail(&subject, &tail, size)?;
        let bytes = file.read_at(size - len, len as usize).await.map_err(failed)?;
        let pack_kind = if kind == FileKind::Tree {
            PackKind::Tree
        } else {
            PackKind::Data
        };
        let footer = self.crypt.read_footer(&subject, pack_kind, pack, &bytes)?;
        let footer = footer.expect(self.vault, pack_kind, pack)?;
        let object_len = u64::from(footer.body_end) + len;
        let expected = if kind == FileKind::Pack { object_len } else { len };
        if size != expected {
            let cause = format!("{size} bytes where its footer says {expected}");
            return Err(VaultError::corrupt(step, subject, cause));
        }
        Ok(SpooledPack {
            footer,
            object_len,
            uploaded: kind != FileKind::Pack,
        })
    }

    /// Puts a sealed pack into the spool; it survives a crash once this returns.
    pub(super) async fn seal(&self, pack: PackId, body: Vec<Bytes>) -> Result<()> {
        let (step, name) = ("seal pack", FileKind::Pack.name(pack));
        let torn = self.dir.join(format!("{name}.tmp"));
        let failed = |error| self.error(step, &name, error);
        let file = self
            .env
            .fs
            .open(&torn, OpenMode::CreateNew)
            .await
            .map_err(failed)?;
        self.write_slowly(&*file, body).await.map_err(failed)?;
        file.sync().await.map_err(failed)?;
        self.env
            .fs
            .rename(&torn, &self.dir.join(&name))
            .await
            .map_err(failed)?;
        self.env.fs.sync_dir(&self.dir).await.map_err(failed)
    }

    /// In slices, each handed to the medium before the next: who syncs a guest's write meanwhile waits for a slice and not for
    /// a pack.
    async fn write_slowly(&self, file: &dyn File, body: Vec<Bytes>) -> io::Result<()> {
        let (mut at, mut slice, mut len) = (0, Vec::new(), 0);
        let mut left = body.into_iter().peekable();
        while let Some(piece) = left.next() {
            len += piece.len() as u64;
            slice.push(piece);
            if len >= SLICE_BYTES || left.peek().is_none() {
                file.write_background(at, std::mem::take(&mut slice)).await?;
                (at, len) = (at + len, 0);
            }
        }
        Ok(())
    }

    /// Records a pack that has rows only.
    pub(super) async fn seal_footer(&self, pack: PackId, footer: Bytes) -> Result<()> {
        self.write(&FileKind::Foot.name(pack), footer).await
    }

    /// The pack is in the bucket: only its footer stays.
    pub(super) async fn retire(&self, pack: PackId, footer: Bytes) -> Result<()> {
        self.write(&FileKind::Foot.name(pack), footer).await?;
        self.remove(&FileKind::Pack.name(pack)).await
    }

    /// Remembers a tree pack that is in the bucket.
    pub(super) async fn remember_tree(&self, pack: PackId, footer: Bytes) -> Result<()> {
        self.write(&FileKind::Tree.name(pack), footer).await
    }

    /// Where a sealed pack is.
    pub(super) fn pack_path(&self, pack: PackId) -> PathBuf {
        self.dir.join(FileKind::Pack.name(pack))
    }

    /// A sealed pack, whole.
    pub(super) async fn read_pack(&self, pack: PackId) -> Result<Bytes> {
        self.read(&FileKind::Pack.name(pack), PACK_BYTES_MAX).await
    }

    /// The footer of an uploaded data pack.
    pub(super) async fn read_footer(&self, pack: PackId) -> Result<Footer> {
        let name = FileKind::Foot.name(pack);
        let bytes = self.read(&name, FOOTER_BYTES_MAX).await?;
        let subject = self.dir.join(&name);
        let footer = self
            .crypt
            .read_footer(&subject.display(), PackKind::Data, pack, &bytes)?;
        footer.expect(self.vault, PackKind::Data, pack)
    }

    /// Removes everything: first what makes it a capture, then the rest.
    pub(super) async fn destroy(&self) -> Result<()> {
        self.remove(CAPTURE).await?;
        self.env
            .fs
            .sync_dir(&self.dir)
            .await
            .map_err(|e| self.error("remove spool", "", e))?;
        self.remove_dir().await
    }

    async fn remove_dir(&self) -> Result<()> {
        match self.env.fs.remove_dir_all(&self.dir).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.error("remove spool", "", error))
            }
            _ => Ok(()),
        }
    }

    async fn remove(&self, name: &str) -> Result<()> {
        match self.env.fs.remove_file(&self.dir.join(name)).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(self.error("remove from spool", name, error))
            }
            _ => Ok(()),
        }
    }

    async fn write(&self, name: &str, data: Bytes) -> Result<()> {
        let path = self.dir.join(name);
        fs::write_atomic(&*self.env.fs, &path, data)
            .await
            .map_err(|e| self.error("write to spool", name, e))
    }

    async fn read(&self, name: &str, max: u64) -> Result<Bytes> {
        let failed = |error| self.error("read spool", name, error);
        let file = self
            .env
            .fs
            .open(&self.dir.join(name), OpenMode::Read)
            .await
            .map_err(failed)?;
        let size = file.size().await.map_err(failed)?;
        if size > max {
            let subject = self.dir.join(name);
            let cause = format!("{size} bytes, where at most {max} can be");
            return Err(VaultError::corrupt("read spool", subject.display(), cause));
        }
        file.read_at(0, size as usize).await.map_err(failed)
    }

    fn error(&self, step: &'static str, name: &str, error: io::Error) -> VaultError {
        VaultError::io(step, self.dir.join(name).display(), error)
    }
}

/// The chunks that a data pack's rows are about; `None` when one is not pending or is named twice. So what
/// a footer claims never costs more than the capture that it belongs to.
pub(crate) fn chunks_of_rows(footer: &Footer, pending: &RoaringBitmap) -> Option<RoaringBitmap> {
    let mut chunks = RoaringBitmap::new();
    for entry in &footer.entries {
        let fresh = match entry.kind {
            EntryKind::Stored { index } | EntryKind::Copy { index } | EntryKind::Same { index } => {
                pending.contains(index) && chunks.insert(index)
            }
            EntryKind::Zero { index, count } => {
                let run = index..=index + (count - 1);
                pending.contains_range(run.clone()) && chunks.insert_range(run) == u64::from(count)
            }
            EntryKind::Node { .. } => true,
        };
        if !fresh {
            return None;
        }
    }
    Some(chunks)
}

/// The leaves that these chunks lie in.
pub(crate) fn leaves_of(chunks: &RoaringBitmap) -> RoaringBitmap {
    let mut leaves = RoaringBitmap::new();
    let mut next = chunks.min();
    while let Some(index) = next {
        leaves.insert(position(0, index));
        next = (index | (LEAF_SLOTS - 1))
            .checked_add(1)
            .and_then(|behind| chunks.range(behind..).next());
    }
    leaves
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pack::{Entry, HEADER_BYTES};

    fn footer(entries: &[EntryKind]) -> Footer {
        Footer {
            vault: VaultId([1; 16]),
            pack: PackId([2; 16]),
            kind: PackKind::Data,
            body_end: HEADER_BYTES as u32,
            entries: entries
                .iter()
                .map(|&kind| Entry {
                    id: [0; 32],
                    kind,
                    at: None,
                })
                .collect(),
        }
    }

    #[test]
    fn rows_are_about_pending_chunks_and_about_each_once() {
        let pending: RoaringBitmap = (10..20).collect();
        let of = |entries: &[EntryKind]| chunks_of_rows(&footer(entries), &pending);
        let zero = |index, count| EntryKind::Zero { index, count };
        let same = |index| EntryKind::Same { index };
        assert_eq!(of(&[zero(10, 3), same(13)]), Some((10..14).collect()));
        assert_eq!(of(&[zero(10, 3), same(12)]), None);
        assert_eq!(of(&[same(12), zero(10, 3)]), None);
        assert_eq!(of(&[same(9)]), None);
        assert_eq!(of(&[zero(0, u32::MAX)]), None);
    }

    #[test]
    fn leaves_of_the_first_and_the_last_chunk() {
        let chunks: RoaringBitmap = [0, 127, 128, 1000, u32::MAX].into_iter().collect();
        let leaves: RoaringBitmap = [0, 1, 7, u32::MAX >> 7].into_iter().collect();
        assert_eq!(leaves_of(&chunks), leaves);
        assert!(leaves_of(&RoaringBitmap::new()).is_empty());
    }
}
