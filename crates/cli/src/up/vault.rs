//! The vault's place at the start of the service: opened, and what is special about it said.

use super::regions::RegionSettings;
use crate::vault::check::SINGLE_WRITER;
use crate::vault::place::{VaultPlace, open_bucket};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use tidemark_env::Bucket;
use tidemark_node::place::BucketHandles;
use tidemark_s3::{CreateOnly, S3Bucket};

/// The vault's directory, and the bucket if it is in one instead.
///
/// A bucket that cannot be used is an error at the first start only: later ones serve the disks without it,
/// and captures wait until it is back.
pub async fn open(region: &RegionSettings) -> Result<(PathBuf, Option<BucketHandles>)> {
    let location = match &region.vault {
        VaultPlace::Directory(path) => return Ok((path.clone(), None)),
        VaultPlace::Bucket(location) => location,
    };
    let bucket = open_bucket(location).with_context(|| format!("the vault in {location} cannot be used"))?;
    if location.is_plain() {
        tracing::warn!(vault = %location, "the vault's endpoint is http://: its traffic can be read and changed on the way");
    }
    let is_first = !region.data_dir.join("vault.format").exists();
    if is_first {
        let found = bucket.create_only().await.with_context(|| {
            format!(
                "the vault in {location} cannot be used; `tidemark vault check` with the same URL says more"
            )
        })?;
        say(&bucket, &found);
    } else {
        let asking = bucket.clone();
        // The disks do not wait for it.
        tokio::spawn(async move {
            match asking.create_only().await {
                Ok(found) => say(&asking, &found),
                Err(error) => {
                    tracing::warn!(%error, "the vault's bucket cannot be used now; captures wait for it")
                }
            }
        });
    }
    let handles = move || Rc::new(bucket.clone()) as Rc<dyn Bucket>;
    // Not used: the bucket takes the directory's place.
    Ok((region.data_dir.join("vault"), Some(Arc::new(handles))))
}

fn say(bucket: &S3Bucket, found: &CreateOnly) {
    match found {
        CreateOnly::Honoured => tracing::info!(vault = bucket.describe(), "the vault is in a bucket"),
        CreateOnly::Missing(how) => tracing::warn!(vault = bucket.describe(), how, "{SINGLE_WRITER}"),
    }
}
