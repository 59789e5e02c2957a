//! One attempt of each operation, by object_store over [`Transport`].
//!
//! object_store composes, encodes and signs; its own repetitions are off. What fails arrives as the
//! [`Failure`] that the transport made, or, where object_store could not understand an answer, as
//! [`Trouble::Garbled`].

use crate::credentials::Credentials;
use crate::failure::{Failure, Trouble, clean};
use crate::location::{Checksum, Location, Style};
use crate::transport::{Observed, Transport};
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder, AwsCredential, S3ConditionalPut};
use object_store::client::StaticCredentialProvider;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, ClientOptions, GetOptions, GetRange, ObjectStore, ObjectStoreExt, PutMode,
    PutOptions, PutPayload, RetryConfig,
};
use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tidemark_env::{ObjectInfo, check_key};

/// The piece of metadata by which a put knows its own object again.
const TOKEN: &str = "tidemark-put";
/// Asks for the checksum that an object was stored with.
const CHECKSUM_MODE: http::HeaderName = http::HeaderName::from_static("x-amz-checksum-mode");

/// What a put demands of the key, as the store is asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    Nothing,
    Absent,
}

/// What is known of an object without reading it.
pub(crate) struct Head {
    pub(crate) bytes: u64,
    /// Which put made it, if it was one of ours and the store keeps metadata.
    pub(crate) token: Option<String>,
}

/// One page of a list.
pub(crate) struct Page {
    pub(crate) objects: Vec<ObjectInfo>,
    pub(crate) next: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Client {
    /// For whole and ranged reads: asks for checksums.
    reads: AmazonS3,
    /// For everything else.
    store: AmazonS3,
    /// Empty, or ends with `/`.
    prefix: String,
    observed: Arc<Observed>,
}

impl Client {
    /// Connects to nothing yet; the error is for people.
    pub(crate) fn new(location: &Location, credentials: &Credentials) -> Result<Self, String> {
        let transport = Transport::new(location)?;
        let observed = transport.observed();
        let mode = [(CHECKSUM_MODE, http::HeaderValue::from_static("ENABLED"))];
        let asking = ClientOptions::new().with_default_headers(mode.into_iter().collect());
        let build = |options| {
            builder(location, credentials)
                .with_client_options(options)
                .with_http_connector(transport.clone())
                .build()
                .map_err(|e| format!("the bucket cannot be used: {}", clean(&e.to_string())))
        };
        Ok(Self {
            reads: build(asking)?,
            store: build(ClientOptions::new())?,
            prefix: match location.prefix.as_str() {
                "" => String::new(),
                prefix => format!("{prefix}/"),
            },
            observed,
        })
    }

    pub(crate) fn observed(&self) -> &Observed {
        &self.observed
    }

    fn path(&self, key: &str) -> Result<Path, Failure> {
        Path::parse(format!("{}{key}", self.prefix))
            .map_err(|e| Failure::new(Trouble::Refused, format!("not a key: {}", clean(&e.to_string()))))
    }

    /// Stores an object and notes `token` with it.
    pub(crate) async fn put(
        &self,
        key: &str,
        body: &[Bytes],
        demand: Demand,
        token: &str,
    ) -> Result<(), Failure> {
        let options = PutOptions {
            mode: match demand {
                Demand::Nothing => PutMode::Overwrite,
                Demand::Absent => PutMode::Create,
            },
            attributes: Attributes::from_iter([(Attribute::Metadata(TOKEN.into()), token.to_owned())]),
            ..PutOptions::default()
        };
        let payload = PutPayload::from_iter(body.iter().cloned());
        let put = self.store.put_opts(&self.path(key)?, payload, options).await;
        put.map(|_| ()).map_err(failure_in)
    }

    /// An object's bytes, or those of a range that is not empty.
    pub(crate) async fn get(&self, key: &str, range: Option<Range<u64>>) -> Result<Bytes, Failure> {
        let options = GetOptions {
            range: range.clone().map(GetRange::Bounded),
            ..GetOptions::default()
        };
        let got = self
            .reads
            .get_opts(&self.path(key)?, options)
            .await
            .map_err(failure_in)?;
        let (wanted, size) = (range.unwrap_or(0..got.meta.size), got.meta.size);
        if wanted.end > size {
            let text = format!(
                "bytes {}..{} of an object of {size} bytes",
                wanted.start, wanted.end
            );
            return Err(Failure::new(Trouble::Range, text));
        }
        let bytes = got.bytes().await.map_err(failure_in)?;
        if bytes.len() as u64 != wanted.end - wanted.start {
            let text = format!(
                "{} bytes came where {} were announced",
                bytes.len(),
                wanted.end - wanted.start
            );
            return Err(Failure::new(Trouble::Garbled, text));
        }
        Ok(bytes)
    }

    pub(crate) async fn head(&self, key: &str) -> Result<Head, Failure> {
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let got = self
            .store
            .get_opts(&self.path(key)?, options)
            .await
            .map_err(failure_in)?;
        let token = got.attributes.get(&Attribute::Metadata(TOKEN.into()));
        Ok(Head {
            bytes: got.meta.size,
            token: token.map(|token| token.as_ref().to_owned()),
        })
    }

    pub(crate) async fn delete(&self, key: &str) -> Result<(), Failure> {
        match self.store.delete(&self.path(key)?).await.map_err(failure_in) {
            Err(failure) if failure.trouble == Trouble::NoObject => Ok(()),
            done => done,
        }
    }

    /// One page of the objects whose keys begin with `prefix`; `after` is the page before it.
    pub(crate) async fn list(
        &self,
        prefix: &str,
        after: Option<String>,
        max: Option<usize>,
    ) -> Result<Page, Failure> {
        let whole = format!("{}{prefix}", self.prefix);
        let options = PaginatedListOptions {
            page_token: after,
            max_keys: max,
            ..PaginatedListOptions::default()
        };
        let wanted = Some(whole.as_str()).filter(|whole| !whole.is_empty());
        let page = self
            .store
            .list_paginated(wanted, options)
            .await
            .map_err(failure_in)?;
        let found = page.result.objects.into_iter().filter_map(|object| {
            // Others may keep other things in the bucket, names that are no keys included.
            let key = object.location.as_ref().strip_prefix(&self.prefix)?;
            let ours = key.starts_with(prefix) && check_key(key).is_ok();
            ours.then(|| ObjectInfo {
                key: key.to_owned(),
                bytes: object.size,
            })
        });
        Ok(Page {
            objects: found.collect(),
            next: page.page_token,
        })
    }
}

fn builder(location: &Location, credentials: &Credentials) -> AmazonS3Builder {
    let key = AwsCredential {
        key_id: credentials.key_id.clone(),
        secret_key: credentials.secret.clone(),
        token: credentials.token.clone(),
    };
    let never = RetryConfig {
        max_retries: 0,
        retry_timeout: Duration::ZERO,
        ..RetryConfig::default()
    };
    let builder = AmazonS3Builder::new()
        .with_bucket_name(&location.bucket)
        .with_endpoint(location.request_endpoint())
        .with_region(&location.region)
        .with_virtual_hosted_style_request(location.style == Style::Virtual)
        .with_allow_http(location.is_plain())
        .with_credentials(Arc::new(StaticCredentialProvider::new(key)))
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Several at once is a request that not every store knows.
        .with_disable_bulk_delete(true)
        .with_retry(never);
    match location.checksum {
        Checksum::Sha256 => builder.with_checksum_algorithm(object_store::aws::Checksum::SHA256),
        Checksum::Crc64Nvme => builder.with_checksum_algorithm(object_store::aws::Checksum::CRC64NVME),
        Checksum::None => builder,
    }
}

/// The transport's failure inside of what object_store made of it.
fn failure_in(error: object_store::Error) -> Failure {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        if let Some(failure) = found.downcast_ref::<Failure>() {
            return failure.clone();
        }
        cause = found.source();
    }
    if let object_store::Error::InvalidPath { source } = &error {
        let text = format!(
            "beside the vault are keys that no vault has ({}); give the vault a prefix of its own",
            clean(&source.to_string())
        );
        return Failure::new(Trouble::Refused, text);
    }
    let text = format!("the answer cannot be understood: {}", clean(&error.to_string()));
    Failure::new(Trouble::Garbled, text)
}
