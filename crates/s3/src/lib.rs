//! Buckets in S3-compatible stores: AWS, Alibaba Cloud OSS, MinIO, Ceph and their like.
//!
//! [`S3Bucket`] keeps the promises of [`tidemark_env::Bucket`] over a network that loses answers:
//!
//! - [`Location`] says where, from a URL; [`Credentials`] who we are, from the environment. No secret is in
//!   any text.
//! - `transport` carries requests and checks answers, `client` makes one attempt of an operation, `operation`
//!   decides what follows a failed one, `bucket` offers it to threads that have no tokio.
//! - [`CreateOnly`]: whether the store decides who creates a key first, on which a vault's heads rest.
//! - [`Failure`] is the cause inside of each [`tidemark_env::BucketError`] from here.
//!
//! Not here: multipart uploads (a vault's largest object is 32 MiB, one put takes 5 GiB), object versions,
//! anything of the vault's own format. Why object_store: docs/decisions/0040.

mod bucket;
mod client;
mod create_only;
mod credentials;
mod failure;
mod location;
mod operation;
mod resolve;
mod tls;
mod transport;

pub use bucket::{OpenError, S3Bucket};
pub use create_only::CreateOnly;
pub use credentials::{Credentials, CredentialsError};
pub use failure::{Failure, Trouble};
pub use location::{Checksum, Location, LocationError, Scheme, Style, is_bucket_url};
pub use transport::Observed;
