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
use crate::error::{Result, VaultError};
use crate::id::{PackId, VaultId};
use crate::pack::{EntryKind, FOOTER_BYTES_MAX, Footer, PACK_BYTES_MAX, PackKind};
use crate::text;
use crate::tree::{Root, position};
use crate::vault::Vault;
use bytes::Bytes;
use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use tidemark_env::{Env, OpenMode, fs};
use tidemark_units::{DiskId, SnapshotId};

const CAPTURE: &str = "capture";
const KIND: &str = "capture";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct CaptureFile {
    vault: VaultId,
    snapshot: SnapshotId,
    disk: DiskId,
    parent: Option<Root>,
    size_bytes: u64,
    /// The pending chunks: base64 of the portable serialisation of roaring bitmaps.
    pending: String,
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
    env: Env,
    vault: VaultId,
    dir: PathBuf,
}

/// Packs whose files are in `spool_dir`, for a sweep that runs before the capture is resumed. A
/// directory that does not exist has none.
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
            env: vault.env().clone(),
            vault: vault.id(),
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
        let mut pending = Vec::with_capacity(spec.pending.serialized_size());
        spec.pending
            .serialize_into(&mut pending)
            .map_err(|e| spool.error(step, CAPTURE, e))?;
        let file = CaptureFile {
            vault: spool.vault,
            snapshot: spec.snapshot.clone(),
            disk: spec.disk.clone(),
            parent: spec.parent,
            size_bytes: spec.size_bytes,
            pending: data_encoding::BASE64.encode(&pending),
        };
        spool.write(CAPTURE, text::encode(KIND, VERSION, &file)?).await?;
        Ok(spool)
    }

    /// Reads everything back. `None` when nothing was begun here; the directory is removed then.
    pub(super) async fn load(
        vault: &Vault,
        dir: &Path,
    ) -> Result<Option<(Self, CaptureSpec, Vec<SpooledPack>)>> {
        let step = "resume capture";
        let spool = Self {
            env: vault.env().clone(),
            vault: vault.id(),
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
        let spec = spool.read_spec().await?;
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
        Ok(Some((spool, spec, found)))
    }

    async fn read_spec(&self) -> Result<CaptureSpec> {
        let object = self.read(CAPTURE, u64::MAX).await?;
        let key = self.dir.join(CAPTURE).display().to_string();
        let file: CaptureFile = text::decode(KIND, VERSION, &key, &object)?;
        let corrupt = |cause: String| VaultError::corrupt("resume capture", &key, cause);
        if file.vault != self.vault {
            return Err(corrupt(format!(
                "it belongs to vault {}, not {}",
                file.vault, self.vault
            )));
        }
        let pending = data_encoding::BASE64
            .decode(file.pending.as_bytes())
            .map_err(|e| corrupt(e.to_string()))
            .and_then(|bytes| {
                RoaringBitmap::deserialize_from(&bytes[..]).map_err(|e| corrupt(e.to_string()))
            })?;
        Ok(CaptureSpec {
            snapshot: file.snapshot,
            disk: file.disk,
            parent: file.parent,
            size_bytes: file.size_bytes,
            pending,
        })
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
        let footer = Footer::decode(&subject, &bytes)?.expect(self.vault, pack_kind, pack)?;
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
        file.write_at(0, body).await.map_err(failed)?;
        file.sync().await.map_err(failed)?;
        self.env
            .fs
            .rename(&torn, &self.dir.join(&name))
            .await
            .map_err(failed)?;
        self.env.fs.sync_dir(&self.dir).await.map_err(failed)
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
        Footer::decode(&self.dir.join(&name).display(), &bytes)?.expect(self.vault, PackKind::Data, pack)
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

/// The chunks that a data pack's rows are about.
pub(super) fn chunks_of_rows(footer: &Footer) -> RoaringBitmap {
    let mut chunks = RoaringBitmap::new();
    for entry in &footer.entries {
        match entry.kind {
            EntryKind::Stored { index } | EntryKind::Copy { index } | EntryKind::Same { index } => {
                chunks.insert(index);
            }
            EntryKind::Zero { index, count } => {
                chunks.insert_range(index..=index + (count - 1));
            }
            EntryKind::Node { .. } => {}
        }
    }
    chunks
}

/// The leaves that these chunks lie in.
pub(super) fn leaves_of(chunks: &RoaringBitmap) -> RoaringBitmap {
    let mut leaves = RoaringBitmap::new();
    let mut last = None;
    for index in chunks {
        let leaf = position(0, index);
        if last != Some(leaf) {
            leaves.insert(leaf);
            last = Some(leaf);
        }
    }
    leaves
}
