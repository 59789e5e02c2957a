//! A bucket in a local directory: one file per object, over [`Fs`] alone, so it runs simulated too.
//!
//! What must stay true: a file under an object's name is whole and synced before it gets that name;
//! names are given by rename (replacing) or link (create-only, decided by the file system); a put or
//! delete returns once its directory is synced. An adopted file (one that its owner has synced and
//! never changes again) gets its key as a further name. Directories on the way to a key are synced into
//! their parents at the first put of this handle, also those that exist: who made them may have been
//! killed before syncing. Likewise an [`BucketErrorKind::Exists`] is said only once what exists is
//! durable. A reader may see an object a moment before its put returns; a power cut can take such a
//! one back, but never one whose put had returned.
//!
//! Temporary files live in `.tmp/<random>/`, one directory per handle, locked while the handle lives;
//! the first put removes those that no living handle owns.
//!
//! Not chosen: object_store's local directory. It syncs neither files nor directories unless a recent
//! option says so (its default is off), and it goes around [`Fs`], so no simulated crash could test it.

use crate::{
    Bucket, BucketError, BucketErrorKind, DirLock, Env, Fs, LocalFuture, ObjectInfo, OpenMode, Precondition,
    bucket, mutant,
};
use bytes::Bytes;
use futures_util::lock::Mutex;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where temporary files live; as every name that begins with a dot, it is no key.
const TEMPORARY: &str = ".tmp";
/// The file of [`Fs::lock_dir`]; not an object.
const LOCK: &str = "lock";
/// The most that a whole object may have to be read at once, as in an S3 store: a file that somebody has made larger is
/// damage, and must not take all memory.
const OBJECT_BYTES_MAX: u64 = 256 << 20;
/// How long to wait for another handle that is preparing its place.
const LOCK_RETRY: Duration = Duration::from_millis(1);

/// See the module.
pub struct DirBucket {
    env: Env,
    root: PathBuf,
    /// Directories whose names are durable.
    durable: RefCell<BTreeSet<PathBuf>>,
    temporary: Mutex<Option<Temporary>>,
}

/// This handle's place for temporary files.
struct Temporary {
    dir: PathBuf,
    _lock: Box<dyn DirLock>,
}

/// How far a put got, which decides what its failure means.
enum PutFailure {
    /// The object is as it was.
    Before(io::Error),
    /// It may have been replaced.
    During(io::Error),
}

impl DirBucket {
    /// The bucket in directory `root`, which the first put makes if it is missing.
    pub fn new(env: Env, root: impl Into<PathBuf>) -> Self {
        Self {
            env,
            root: root.into(),
            durable: RefCell::default(),
            temporary: Mutex::new(None),
        }
    }

    fn fs(&self) -> &dyn Fs {
        &*self.env.fs
    }

    fn path(&self, step: &'static str, key: &str) -> Result<PathBuf, BucketError> {
        match check_key(key) {
            Ok(()) => Ok(self.root.join(key)),
            Err(why) => Err(failed(
                BucketErrorKind::Other,
                step,
                key,
                io::Error::new(ErrorKind::InvalidInput, why),
            )),
        }
    }

    async fn put_at(&self, path: &Path, body: Vec<Bytes>, pre: Precondition) -> Result<(), PutFailure> {
        let dir = path.parent().unwrap_or(&self.root);
        let temporary = self.written(dir, body).await.map_err(PutFailure::Before)?;
        let named = match pre {
            Precondition::None => self.fs().rename(&temporary, path).await,
            Precondition::Absent => self.fs().link_new(&temporary, path).await,
        };
        if named.is_err() || pre == Precondition::Absent {
            self.discard(&temporary).await;
        }
        match named {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.fs().sync_dir(dir).await.map_err(PutFailure::During)?;
                Err(PutFailure::Before(error))
            }
            Err(error) if kind_of(&error) != BucketErrorKind::Other || is_missing(&error) => {
                Err(PutFailure::Before(error))
            }
            Err(error) => Err(PutFailure::During(error)),
            Ok(()) => self.fs().sync_dir(dir).await.map_err(PutFailure::During),
        }
    }

    /// `body` in a synced temporary file, once the directory `dir` is durable.
    async fn written(&self, dir: &Path, body: Vec<Bytes>) -> io::Result<PathBuf> {
        self.make_durable(dir).await?;
        let path = self.temporary_dir().await?.join(random_name(&self.env));
        let file = self.fs().open(&path, OpenMode::CreateNew).await?;
        let written = async {
            file.write_at(0, body).await?;
            if mutant::on("bucket-put-without-sync") {
                return Ok(());
            }
            file.sync().await
        };
        if let Err(error) = written.await {
            self.discard(&path).await;
            return Err(error);
        }
        Ok(path)
    }

    /// Removes a temporary file. One that stays is removed with its directory some day.
    async fn discard(&self, path: &Path) {
        if let Err(error) = self.fs().remove_file(path).await {
            tracing::debug!(%error, path = %path.display(), "a temporary file stays behind");
        }
    }

    /// Makes `dir` and the directories above it, up to the root, and syncs each into its parent.
    async fn make_durable(&self, dir: &Path) -> io::Result<()> {
        if self.durable.borrow().contains(dir) {
            return Ok(());
        }
        crate::fs::create_dir_durable(self.fs(), &self.root).await?;
        self.fs()
            .create_dir_all(dir)
            .await
            .map_err(|error| match error.kind() {
                // Not the object that the put is about, so not its precondition either.
                ErrorKind::AlreadyExists => io::Error::new(ErrorKind::NotADirectory, error),
                _ => error,
            })?;
        let mut at = dir;
        while !self.durable.borrow().contains(at) {
            let parent = match at.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            self.fs().sync_dir(parent).await?;
            self.durable.borrow_mut().insert(at.to_owned());
            if at == self.root {
                break;
            }
            at = parent;
        }
        Ok(())
    }

    async fn temporary_dir(&self) -> io::Result<PathBuf> {
        let mut temporary = self.temporary.lock().await;
        if temporary.is_none() {
            // One handle at a time: a place that was made and not locked yet looks like a left-over one.
            let _one = self.lock_all_temporary().await?;
            self.remove_left_over().await?;
            *temporary = Some(self.take_temporary_dir().await?);
        }
        Ok(temporary
            .as_ref()
            .map(|taken| taken.dir.clone())
            .unwrap_or_default())
    }

    async fn lock_all_temporary(&self) -> io::Result<Box<dyn DirLock>> {
        let all = self.root.join(TEMPORARY);
        self.fs().create_dir_all(&all).await?;
        loop {
            match self.fs().lock_dir(&all).await {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.env.clock.sleep(LOCK_RETRY).await;
                }
                done => return done,
            }
        }
    }

    /// Removes the directories of handles that are gone.
    async fn remove_left_over(&self) -> io::Result<()> {
        let all = self.root.join(TEMPORARY);
        let found = self
            .fs()
            .list(&all)
            .await?
            .into_iter()
            .filter(|entry| entry.is_dir);
        for entry in found {
            let dir = all.join(entry.name);
            // Held while removing. Taken by another, or removed by another: not ours to remove.
            match self.fs().lock_dir(&dir).await {
                Ok(_lock) => self.fs().remove_dir_all(&dir).await?,
                Err(error) => tracing::debug!(%error, dir = %dir.display(), "temporary files are left alone"),
            }
        }
        Ok(())
    }

    async fn take_temporary_dir(&self) -> io::Result<Temporary> {
        let dir = self.root.join(TEMPORARY).join(random_name(&self.env));
        self.fs().create_dir_all(&dir).await?;
        let lock = self.fs().lock_dir(&dir).await?;
        Ok(Temporary { dir, _lock: lock })
    }

    async fn read(&self, path: &Path, range: Option<Range<u64>>) -> io::Result<Bytes> {
        let file = self.fs().open(path, OpenMode::Read).await?;
        let size = file.size().await?;
        if range.is_none() && size > OBJECT_BYTES_MAX {
            let why = format!("{size} bytes, and no object has more than {OBJECT_BYTES_MAX}");
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        let range = range.unwrap_or(0..size);
        if range.start > range.end || range.end > size {
            let why = format!(
                "bytes {}..{} of an object of {size} bytes",
                range.start, range.end
            );
            return Err(io::Error::new(ErrorKind::InvalidInput, why));
        }
        let len =
            usize::try_from(range.end - range.start).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        file.read_at(range.start, len).await
    }

    /// All objects below a prefix, or the first `most` that are met.
    async fn list_below(&self, prefix: &str, most: usize) -> io::Result<Vec<ObjectInfo>> {
        let mut found = Vec::new();
        let mut waiting = vec![prefix.to_owned()];
        while let Some(prefix) = waiting.pop()
            && found.len() < most
        {
            let entries = match self.fs().list_sizes(&self.root.join(&prefix)).await {
                Err(error) if is_missing(&error) => continue,
                // A file system's own, in a directory that one is mounted on; only its administrator may look.
                Err(error) if error.kind() == ErrorKind::PermissionDenied && prefix == "lost+found/" => {
                    continue;
                }
                entries => entries?,
            };
            for (entry, bytes) in entries {
                let key = format!("{prefix}{}", entry.name);
                if check_key(&key).is_err() {
                    continue;
                }
                match entry.is_dir {
                    true => waiting.push(key + "/"),
                    false => found.push(ObjectInfo { key, bytes }),
                }
            }
        }
        found.sort();
        Ok(found)
    }

    fn list_most(&self, prefix: &str, most: usize) -> LocalFuture<'_, Result<Vec<ObjectInfo>, BucketError>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            let inner = match prefix.strip_suffix('/') {
                Some(dir) => check_key(dir),
                None if prefix.is_empty() => Ok(()),
                None => Err("a prefix is empty or ends with `/`"),
            };
            let listed = match inner {
                Ok(()) => self.list_below(&prefix, most).await,
                Err(why) => Err(io::Error::new(ErrorKind::InvalidInput, why)),
            };
            listed.map_err(|error| failed(kind_of(&error), "list", &prefix, error))
        })
    }
}

impl Bucket for DirBucket {
    fn put(
        &self,
        key: &str,
        body: Vec<Bytes>,
        pre: Precondition,
    ) -> LocalFuture<'_, Result<(), BucketError>> {
        let (path, key) = (self.path("put", key), key.to_owned());
        Box::pin(async move {
            self.put_at(&path?, body, pre)
                .await
                .map_err(|failure| match failure {
                    PutFailure::Before(error) => failed(kind_of(&error), "put", &key, error),
                    PutFailure::During(error) => failed(BucketErrorKind::Unknown, "put", &key, error),
                })
        })
    }

    fn adopt(&self, key: &str, file: &Path) -> LocalFuture<'_, Result<bool, BucketError>> {
        let (path, key, file) = (self.path("adopt", key), key.to_owned(), file.to_owned());
        Box::pin(async move {
            let path = path?;
            let dir = path.parent().unwrap_or(&self.root);
            let unchanged = |error: io::Error| failed(kind_of(&error), "adopt", &key, error);
            self.make_durable(dir).await.map_err(unchanged)?;
            let linked = self.fs().link_new(&file, &path).await;
            match &linked {
                Err(error) if refuses_link(error) => {
                    tracing::debug!(%error, %key, "a file is not adopted but copied");
                    return Ok(false);
                }
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    return linked
                        .map(|()| true)
                        .map_err(|error| failed(BucketErrorKind::Unknown, "adopt", &key, error));
                }
                _ => {}
            }
            self.fs()
                .sync_dir(dir)
                .await
                .map_err(|error| failed(BucketErrorKind::Unknown, "adopt", &key, error))?;
            linked.map(|()| true).map_err(unchanged)
        })
    }

    fn get(&self, key: &str) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        let (path, key) = (self.path("get", key), key.to_owned());
        Box::pin(async move {
            self.read(&path?, None)
                .await
                .map_err(|error| failed(read_kind(&error), "get", &key, error))
        })
    }

    fn get_range(&self, key: &str, range: Range<u64>) -> LocalFuture<'_, Result<Bytes, BucketError>> {
        let (path, key) = (self.path("get range of", key), key.to_owned());
        Box::pin(async move {
            let read = self.read(&path?, Some(range)).await;
            read.map_err(|error| failed(read_kind(&error), "get range of", &key, error))
        })
    }

    fn size(&self, key: &str) -> LocalFuture<'_, Result<u64, BucketError>> {
        let (path, key) = (self.path("size of", key), key.to_owned());
        Box::pin(async move {
            let path = path?;
            let size = async { self.fs().open(&path, OpenMode::Read).await?.size().await };
            size.await
                .map_err(|error| failed(read_kind(&error), "size of", &key, error))
        })
    }

    fn list(&self, prefix: &str) -> LocalFuture<'_, Result<Vec<ObjectInfo>, BucketError>> {
        self.list_most(prefix, usize::MAX)
    }

    fn any(&self, prefix: &str) -> LocalFuture<'_, Result<Option<String>, BucketError>> {
        let listed = self.list_most(prefix, 1);
        Box::pin(async move { Ok(listed.await?.into_iter().next().map(|object| object.key)) })
    }

    fn delete(&self, key: &str) -> LocalFuture<'_, Result<(), BucketError>> {
        let (path, key) = (self.path("delete", key), key.to_owned());
        Box::pin(async move {
            let path = path?;
            match self.fs().remove_file(&path).await {
                Err(error) if !is_missing(&error) => {
                    return Err(failed(kind_of(&error), "delete", &key, error));
                }
                _ => {}
            }
            // Also when it was not there: who removed it may have been killed before syncing.
            match self.fs().sync_dir(path.parent().unwrap_or(&self.root)).await {
                Err(error) if !is_missing(&error) => {
                    Err(failed(BucketErrorKind::Unknown, "delete", &key, error))
                }
                _ => Ok(()),
            }
        })
    }

    fn describe(&self) -> String {
        format!("directory {}", self.root.display())
    }
}

/// Whether `key` can be an object here, and if not, why.
fn check_key(key: &str) -> Result<(), &'static str> {
    if key == LOCK {
        return Err("this name is kept for the directory's lock");
    }
    bucket::check_key(key)
}

fn random_name(env: &Env) -> String {
    env.random::<16>().iter().fold(String::new(), |mut name, byte| {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    })
}

fn failed(kind: BucketErrorKind, step: &'static str, key: &str, error: io::Error) -> BucketError {
    BucketError {
        kind,
        step,
        key: key.to_owned(),
        cause: Box::new(error),
    }
}

/// Another file system, one without links, or no such file: certainly nothing changed, so the caller may copy.
fn refuses_link(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::CrossesDevices
            | ErrorKind::TooManyLinks
            | ErrorKind::PermissionDenied
            | ErrorKind::Unsupported
            | ErrorKind::NotFound
    )
}

/// No object has that name: nothing there, a directory, or below an object.
fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory
    )
}

fn read_kind(error: &io::Error) -> BucketErrorKind {
    if is_missing(error) {
        BucketErrorKind::Missing
    } else {
        kind_of(error)
    }
}

fn kind_of(error: &io::Error) -> BucketErrorKind {
    match error.kind() {
        ErrorKind::AlreadyExists => BucketErrorKind::Exists,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => BucketErrorKind::Denied,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => BucketErrorKind::Full,
        _ => BucketErrorKind::Other,
    }
}
