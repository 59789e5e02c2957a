//! From a sealed pack in the spool to one in the bucket.
//!
//! A pack's id is random and its bytes never change, so an upload may be repeated blindly. While the
//! bucket is busy, full or out of reach it is tried again, for as long as the capture lives; what the
//! bucket refuses outright ends the capture after a few tries.

use super::state::State;
use crate::error::{Result, VaultError};
use crate::fetch::Name;
use crate::id::{ChunkId, PackId};
use crate::key;
use crate::pack::{EntryKind, Footer, HeaderWire, PackKind};
use crate::vault::back_off;
use bytes::Bytes;
use std::rc::Rc;
use tidemark_env::{BucketErrorKind, Precondition};
use zerocopy::IntoBytes;

/// Tries before an outright refusal is believed.
const REFUSALS_MAX: u32 = 6;

impl State {
    /// Starts as many uploads as may run.
    pub(super) fn start_uploads(self: &Rc<Self>) {
        loop {
            if self.check().is_err() {
                return;
            }
            let mut core = self.core.borrow_mut();
            if core.uploading >= self.options.upload_width.max(1) {
                return;
            }
            let Some(pack) = core.queue.pop_front() else {
                return;
            };
            core.uploading += 1;
            drop(core);
            let state = self.clone();
            self.spawn(async move {
                let done = state.upload(pack).await;
                state.core.borrow_mut().uploading -= 1;
                match done {
                    Ok(()) => state.start_uploads(),
                    // A stopped capture's packs wait in the spool.
                    Err(_) if state.core.borrow().stopped => {}
                    Err(error) => state.fail(error),
                }
            });
        }
    }

    async fn upload(&self, pack: PackId) -> Result<()> {
        let held = self.core.borrow_mut().bodies.remove(&pack);
        let body = match held {
            Some(body) => body,
            None => self.checked_body(pack).await?,
        };
        self.register().await?;
        if !self.adopted(pack).await {
            self.put_pack(PackKind::Data, pack, &body).await?;
        }
        let footer = body.last().cloned().unwrap_or_default();
        self.spool.retire(pack, footer).await?;
        let mut core = self.core.borrow_mut();
        if let Some(sealed) = core.packs.get_mut(&pack) {
            sealed.uploaded = true;
            let bytes = sealed.object_len;
            core.spool_bytes -= bytes;
            core.uploaded_bytes += bytes;
        }
        drop(core);
        self.signal.notify();
        Ok(())
    }

    /// Whether the bucket took the spool's own file, which costs a name instead of a copy.
    async fn adopted(&self, pack: PackId) -> bool {
        let (key, file) = (key::pack(PackKind::Data, pack), self.spool.pack_path(pack));
        match self.vault.store().bucket.adopt(&key, &file).await {
            Ok(taken) => taken,
            // Pack ids are random: what is there came from this very file.
            Err(error) => error.kind == BucketErrorKind::Exists,
        }
    }

    /// Stores a pack, with patience.
    pub(super) async fn put_pack(&self, kind: PackKind, pack: PackId, body: &[Bytes]) -> Result<()> {
        self.register().await?;
        self.put_patiently("upload pack", &key::pack(kind, pack), body)
            .await
    }

    /// Stores an object at a key that only this capture uses: while the bucket is busy, full or out of reach, again and
    /// again; what it refuses outright is an error after a few tries.
    pub(super) async fn put_patiently(&self, step: &'static str, key: &str, body: &[Bytes]) -> Result<()> {
        let bucket = &self.vault.store().bucket;
        let mut tries = 0;
        loop {
            let Err(error) = bucket.put(key, body.to_vec(), Precondition::None).await else {
                self.core.borrow_mut().upload_trouble = None;
                return self.check();
            };
            tries += 1;
            let wait = matches!(
                error.kind,
                BucketErrorKind::Busy | BucketErrorKind::Unknown | BucketErrorKind::Full
            );
            if !wait && tries >= REFUSALS_MAX {
                return Err(VaultError::bucket(step, error));
            }
            self.core.borrow_mut().upload_trouble = Some(error.to_string());
            self.pause(back_off(self.vault.env(), tries)).await;
            self.check()?;
        }
    }

    /// A sealed pack read back from the spool: body and footer. Every chunk is checked, so that bytes
    /// that the medium has damaged meanwhile do not become a snapshot.
    async fn checked_body(&self, pack: PackId) -> Result<Vec<Bytes>> {
        let object = self.spool.read_pack(pack).await?;
        let (vault, crypt) = (self.vault.id(), self.vault.store().crypt.clone());
        let check = move || -> Result<Vec<Bytes>> {
            let subject = format!("pack {pack} in the spool");
            let len = Footer::len_from_tail(&subject, &object, object.len() as u64)? as usize;
            let footer_bytes = object.slice(object.len() - len..);
            let footer = crypt
                .read_footer(&subject, PackKind::Data, pack, &footer_bytes)?
                .expect(vault, PackKind::Data, pack)?;
            let body = object.slice(..object.len() - len);
            if body.len() as u64 != u64::from(footer.body_end) {
                let cause = format!("its body has {} bytes, not {}", body.len(), footer.body_end);
                return Err(VaultError::corrupt("upload pack", subject, cause));
            }
            if !body.starts_with(HeaderWire::new(PackKind::Data, pack).as_bytes()) {
                return Err(VaultError::corrupt(
                    "upload pack",
                    subject,
                    "its header is not its own",
                ));
            }
            let naming = crypt.naming();
            for entry in &footer.entries {
                let (EntryKind::Stored { index }, Some(at)) = (entry.kind, entry.at) else {
                    continue;
                };
                let stored = body.slice(at.offset as usize..at.end() as usize);
                let corrupt = |cause: String| {
                    VaultError::corrupt("upload pack", format!("{subject}: chunk {index}"), cause)
                };
                let stored = crypt.decrypt_stored(PackKind::Data, &entry.id, stored);
                let stored = stored.map_err(|e| corrupt(e.to_string()))?;
                let decoded = ChunkId(entry.id).decode(&naming, &at, stored);
                decoded.map_err(|e| corrupt(e.to_string()))?;
            }
            Ok(vec![body, footer_bytes])
        };
        self.vault.env().compute(check).await
    }
}
