//! `s3s-fs` with what it lacks for our tests.
//!
//! It looks whether an object exists and writes it in two steps, so that two creators at once may both win;
//! real stores decide atomically. Here all puts take turns. It answers 500 where a key is a directory of its
//! own, and calls an object missing where the bucket is. It can also play stores that know nothing of conditions.

use async_trait::async_trait;
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;
use std::path::PathBuf;
use tokio::sync::Mutex;

/// What the store makes of `If-None-Match: *` on a put.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Conditions {
    /// One creator wins.
    #[default]
    Honoured,
    /// It is not looked at.
    Ignored,
    /// Such requests are refused.
    Refused,
}

/// See the module.
pub struct Store {
    files: FileSystem,
    root: PathBuf,
    conditions: Conditions,
    putting: Mutex<()>,
}

impl Store {
    /// Buckets are the directories in `root`, which `files` serves.
    pub fn new(files: FileSystem, root: PathBuf, conditions: Conditions) -> Self {
        Self {
            files,
            root,
            conditions,
            putting: Mutex::new(()),
        }
    }

    fn check(&self, bucket: &str, key: &str) -> S3Result<()> {
        let bucket = self.root.join(bucket);
        match (bucket.is_dir(), bucket.join(key).is_dir()) {
            (false, _) => Err(s3_error!(NoSuchBucket)),
            (true, true) => Err(s3_error!(NoSuchKey)),
            (true, false) => Ok(()),
        }
    }
}

#[async_trait]
impl S3 for Store {
    async fn put_object(&self, mut req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        match self.conditions {
            Conditions::Honoured => {}
            Conditions::Ignored => req.input.if_none_match = None,
            Conditions::Refused if req.input.if_none_match.is_some() => {
                return Err(s3_error!(NotImplemented, "no conditions here"));
            }
            Conditions::Refused => {}
        }
        let _turn = self.putting.lock().await;
        self.files.put_object(req).await
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        self.check(&req.input.bucket, &req.input.key)?;
        self.files.get_object(req).await
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        self.check(&req.input.bucket, &req.input.key)?;
        self.files.head_object(req).await
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.files.delete_object(req).await
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        self.files.list_objects_v2(req).await
    }
}
