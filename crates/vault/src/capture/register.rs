//! Telling collectors, on whatever machine, that a capture is under way.
//!
//! The object `w/<capture>` is there from before the capture's first pack until after its head entry, or after the entry
//! that ends it ([`crate::head::HeadEntry::End`]). While it is there, packs named after the capture are nobody's garbage.
//! One that is left behind is removed by a collector once the head log says that its capture has ended; without such an
//! entry it stays, and so do its packs: whoever lost the spool ends the capture ([`Vault::end_capture`]).
//!
//! So a capture that goes on, of which something was put before, finds itself registered. If it does not, it has ended, or
//! this is not the bucket that the spool knows: put back from an older copy, or another copy of the vault. What it had put
//! is gone then, or will be, and with it the chunks that it had taken.

use super::state::State;
use crate::crypt::BoxKind;
use crate::error::{Result, VaultError, VaultErrorKind};
use crate::head::{HeadEntry, Refusal};
use crate::id::CaptureId;
use crate::vault::{Store, Vault, back_off};
use crate::{key, text};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};
use tidemark_env::mutant;
use tidemark_units::{DiskId, SnapshotId};

const KIND: &str = "writer";
const VERSION: u32 = 1;
/// Packs looked for at the same time.
const WIDTH: usize = 16;

/// A capture that is registered in the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisteredCapture {
    /// The capture.
    pub capture: CaptureId,
    /// The disk in whose head log it will be committed.
    pub disk: DiskId,
    /// The snapshot that it makes.
    pub snapshot: SnapshotId,
    /// Who makes it ([`crate::VaultOptions::node`]).
    pub node: String,
}

/// The object's bytes, before they are encrypted.
pub(crate) fn encode(registered: &RegisteredCapture) -> Result<Bytes> {
    text::encode(KIND, VERSION, registered)
}

/// What the object of `capture` says, once it has been opened.
pub(crate) fn decode(capture: CaptureId, object: &[u8]) -> Result<RegisteredCapture> {
    let key = key::capture(capture);
    let found: RegisteredCapture = text::decode(KIND, VERSION, &key, object)?;
    if found.capture != capture {
        let cause = format!("it is about capture {}", found.capture);
        return Err(VaultError::corrupt("read captures under way", key, cause));
    }
    Ok(found)
}

impl State {
    /// Registers the capture; waits for the bucket as long as the capture lives.
    pub(super) async fn register(&self) -> Result<()> {
        if self.registered.get() || mutant::on("vault-unregistered-captures") {
            return Ok(());
        }
        let capture = self.spool.capture;
        let plain = encode(&RegisteredCapture {
            capture,
            disk: self.spec.disk.clone(),
            snapshot: self.spec.snapshot.clone(),
            node: self.vault.node().to_owned(),
        })?;
        let (store, name) = (self.vault.store(), key::capture(capture));
        if !self.sent_before.borrow().is_empty() && !self.is_there_patiently(&name).await? {
            return Err(self.is_elsewhere("it is not registered there any more"));
        }
        let object = store.encrypted(BoxKind::Capture, &name, plain);
        self.put_patiently("register capture", &name, &[object]).await?;
        self.registered.set(true);
        Ok(())
    }

    /// Whether the bucket has an object; waits for the answer as long as the capture lives.
    async fn is_there_patiently(&self, key: &str) -> Result<bool> {
        let mut tries = 0;
        loop {
            let found = self.vault.store().get_opt("find capture", key).await;
            let error = match found {
                Err(error) if error.kind == VaultErrorKind::Busy => error,
                found => return Ok(found?.is_some()),
            };
            tries += 1;
            self.core.borrow_mut().upload_trouble = Some(error.to_string());
            self.pause(back_off(self.vault.env(), tries)).await;
            self.check()?;
        }
    }

    /// Looks whether the bucket has every pack that the spool says it has. Registered alone is not enough: the bucket may
    /// have been put back as it was in the middle of the capture.
    pub(super) async fn find_sent_before(&self) -> Result<()> {
        let sent = self.sent_before.borrow().clone();
        if sent.is_empty() {
            return Ok(());
        }
        self.register().await?;
        let looks = sent.into_iter().map(|sent| async move {
            let key = key::pack(sent.kind, sent.pack);
            match self.vault.store().size("find pack", &key).await {
                Ok(size) if size == sent.object_len => Ok(()),
                Ok(size) => {
                    let cause = format!("pack {} has {size} bytes, not {}", sent.pack, sent.object_len);
                    Err(self.is_elsewhere(&cause))
                }
                Err(error) if error.kind == VaultErrorKind::Missing => {
                    Err(self.is_elsewhere(&format!("pack {} is not there", sent.pack)))
                }
                Err(error) => Err(error),
            }
        });
        let mut looks = stream::iter(looks).buffer_unordered(WIDTH);
        while let Some(found) = looks.next().await {
            found?;
        }
        self.sent_before.borrow_mut().clear();
        Ok(())
    }

    fn is_elsewhere(&self, found: &str) -> VaultError {
        let cause = format!(
            "the bucket does not have what this capture had put into it ({found}): it was put back from an older copy, or is \
             another copy of the vault, or somebody gave the capture up"
        );
        let subject = format!("capture {}", self.spool.capture);
        VaultError::new(VaultErrorKind::Stale, "go on with capture", subject, cause)
    }

    /// After the capture's end is in the head log. One that stays is removed by a collector.
    pub(super) async fn unregister(&self) {
        let key = key::capture(self.spool.capture);
        if let Err(error) = self.vault.store().bucket.delete(&key).await {
            tracing::debug!(%error, "a capture that has ended stays registered for now");
        }
        self.registered.set(false);
    }
}

impl Store {
    /// A registered capture; `None` when there is none.
    pub(crate) async fn registered(&self, capture: CaptureId) -> Result<Option<RegisteredCapture>> {
        let key = key::capture(capture);
        let Some(object) = self.get_opt("read captures under way", &key).await? else {
            return Ok(None);
        };
        let plain = self.crypt.decrypt_object(BoxKind::Capture, &key, &object)?;
        decode(capture, &plain).map(Some)
    }
}

impl Vault {
    /// The captures that are registered, of all nodes. Fails when any cannot be read.
    pub async fn registered_captures(&self) -> Result<Vec<RegisteredCapture>> {
        let mut found = Vec::new();
        for capture in self.registered_ids().await? {
            found.extend(self.store().registered(capture).await?);
        }
        Ok(found)
    }

    pub(crate) async fn registered_ids(&self) -> Result<Vec<CaptureId>> {
        let step = "read captures under way";
        let listed = self.store().list(step, key::CAPTURES).await?;
        let parse = |object: tidemark_env::ObjectInfo| {
            let unknown = "it is no registration: what it may stand for is unknown";
            key::parse_capture(&object.key).ok_or_else(|| VaultError::corrupt(step, object.key, unknown))
        };
        listed.into_iter().map(parse).collect()
    }

    /// Gives up, for good, a capture whose spool is lost: what it has put into the bucket becomes garbage. A node that
    /// still works on it is told that it has lost. [`VaultErrorKind::Other`] if its snapshot was committed, which ends it too.
    pub async fn end_capture(&self, capture: CaptureId) -> Result<()> {
        let Some(registered) = self.store().registered(capture).await? else {
            return Ok(());
        };
        let log = self.head_log(&registered.disk).await?;
        let is_done = || log.state().has_ended(capture) || log.snapshot(&registered.snapshot).is_some();
        let entry = HeadEntry::End { capture };
        match log.append_unless(entry, |_| is_done().then(String::new)).await {
            Ok(_) | Err(Refusal::Because(_)) => {}
            Err(Refusal::Failed(error)) => return Err(error),
        }
        self.store().delete("end capture", &key::capture(capture)).await?;
        if log.snapshot(&registered.snapshot).is_some() && !log.state().has_ended(capture) {
            let subject = format!("capture {capture}");
            let cause = format!("snapshot {} was committed", registered.snapshot);
            return Err(VaultError::new(
                VaultErrorKind::Other,
                "end capture",
                subject,
                cause,
            ));
        }
        Ok(())
    }
}
