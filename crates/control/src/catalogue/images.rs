//! Images, the disks that they consist of, and whom they are shared with.

use super::disks::DiskKind;
use super::{next_number, record};
use crate::states::{IMAGE, ImageCause, ImageStatus};
use crate::store::{StoreError, Transaction};

record! {
    /// An image.
    ImageRow = "images" {
        id: String,
        ordinal: i64,
        account: String,
        /// Where its snapshots are, and instances can be made of it.
        region: String,
        name: String,
        family: String,
        version: String,
        description: String,
        status: ImageStatus,
        /// All snapshots that were taken for it are marked; before that nobody knows of it.
        marked: bool,
        /// Why it failed.
        failure: String,
        os_type: String,
        platform: String,
        architecture: String,
        boot_mode: String,
        imds_support: String,
        nvme_support: String,
        login_as_non_root: bool,
        resource_group: String,
        /// The instance that it was made of, if it was.
        source_instance_id: String,
        created_ms: i64,
    }
}

record! {
    /// A disk of an image.
    ImageDiskRow = "image_disks" {
        id: String,
        image_id: String,
        kind: DiskKind,
        device: String,
        /// `""`: an empty disk.
        snapshot_id: String,
        size_gib: i64,
    }
}

impl ImageRow {
    /// The next number in creation order.
    pub(crate) fn next_ordinal(t: &mut dyn Transaction) -> Result<i64, StoreError> {
        next_number(t, "image")
    }

    /// Does one transition of the table and writes the row; `false`: the image is gone now, with all that belongs to it but
    /// its snapshots.
    pub(crate) fn step(&mut self, t: &mut dyn Transaction, by: ImageCause) -> Result<bool, StoreError> {
        match IMAGE.next(self.status, by)? {
            Some(status) => {
                self.status = status;
                self.save(t)?;
                Ok(true)
            }
            None => {
                for table in ["image_disks", "image_shares"] {
                    let sql = format!("DELETE FROM {table} WHERE image_id = $1");
                    t.execute(&sql, &[(&self.id).into()])?;
                }
                self.remove(t)?;
                Ok(false)
            }
        }
    }
}

impl ImageDiskRow {
    /// A disk of that image. A device is one disk's.
    pub(crate) fn new(image: &str, kind: DiskKind, device: &str, snapshot: &str, size_gib: i64) -> Self {
        Self {
            id: format!("{image} {device}"),
            image_id: image.into(),
            kind,
            device: device.into(),
            snapshot_id: snapshot.into(),
            size_gib,
        }
    }
}

/// An image's disks: the system disk, then the others by device.
pub(crate) fn disks(t: &mut dyn Transaction, image: &str) -> Result<Vec<ImageDiskRow>, StoreError> {
    let rest = "WHERE image_id = $1 ORDER BY kind DESC, device";
    ImageDiskRow::select(t, rest, &[image.into()])
}

/// The disk that an instance of the image boots from.
pub(crate) fn system_disk(t: &mut dyn Transaction, image: &str) -> Result<Option<ImageDiskRow>, StoreError> {
    let rest = "WHERE image_id = $1 AND kind = $2";
    Ok(ImageDiskRow::select(t, rest, &[image.into(), DiskKind::System.word().into()])?.pop())
}

/// An image that needs the snapshot, if there is one.
pub(crate) fn feeds(t: &mut dyn Transaction, snapshot: &str) -> Result<Option<String>, StoreError> {
    let sql = "SELECT image_id FROM image_disks WHERE snapshot_id = $1 LIMIT 1";
    let row = t.query_one(sql, &[snapshot.into()])?;
    row.map(|row| row.text(0)).transpose()
}

/// An instance that was made of the image and exists, with its account, if there is one; of `account`'s, if it has one.
pub(crate) fn instance_of(
    t: &mut dyn Transaction,
    image: &str,
    account: &str,
) -> Result<Option<(String, String)>, StoreError> {
    let sql = "SELECT id, account FROM instances WHERE image_id = $1 ORDER BY account <> $2 LIMIT 1";
    let row = t.query_one(sql, &[image.into(), account.into()])?;
    row.map(|row| Ok((row.text(0)?, row.text(1)?))).transpose()
}

/// Whether an instance that was made of the image exists.
pub(crate) fn is_used(t: &mut dyn Transaction, image: &str) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM instances WHERE image_id = $1 LIMIT 1";
    Ok(t.query_one(sql, &[image.into()])?.is_some())
}

/// How many images an account has in a region.
pub(crate) fn count(t: &mut dyn Transaction, account: &str, region: &str) -> Result<u64, StoreError> {
    let row = t.query_one(
        "SELECT COUNT(*) FROM images WHERE account = $1 AND region = $2",
        &[account.into(), region.into()],
    )?;
    Ok(row.map_or(Ok(0), |row| row.integer(0))?.unsigned_abs())
}

/// Whether an account has an image of that name in the region.
pub(crate) fn has_name(
    t: &mut dyn Transaction,
    account: &str,
    region: &str,
    name: &str,
) -> Result<bool, StoreError> {
    let sql = "SELECT 1 FROM images WHERE account = $1 AND region = $2 AND name = $3";
    Ok(t.query_one(sql, &[account.into(), region.into(), name.into()])?
        .is_some())
}

/// Whom an image is shared with, and since when (milliseconds), first come first.
pub(crate) fn shares(t: &mut dyn Transaction, image: &str) -> Result<Vec<(String, i64)>, StoreError> {
    let sql = "SELECT account, shared_ms FROM image_shares WHERE image_id = $1 ORDER BY shared_ms, account";
    let rows = t.query(sql, &[image.into()])?;
    rows.iter()
        .map(|row| Ok((row.text(0)?, row.integer(1)?)))
        .collect()
}

/// Shares an image with an account; again is fine.
pub(crate) fn share(
    t: &mut dyn Transaction,
    image: &str,
    account: &str,
    now_ms: i64,
) -> Result<(), StoreError> {
    let sql = "INSERT INTO image_shares (image_id, account, shared_ms) VALUES ($1, $2, $3) \
               ON CONFLICT (image_id, account) DO NOTHING";
    t.execute(sql, &[image.into(), account.into(), now_ms.into()])
        .map(drop)
}

/// Ends the sharing with an account.
pub(crate) fn unshare(t: &mut dyn Transaction, image: &str, account: &str) -> Result<(), StoreError> {
    let sql = "DELETE FROM image_shares WHERE image_id = $1 AND account = $2";
    t.execute(sql, &[image.into(), account.into()]).map(drop)
}
