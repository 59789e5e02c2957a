//! Whether a store decides who creates a key first, found out by trying.
//!
//! A vault's heads are objects that exactly one writer may create. A store that ignores the condition lets the
//! second writer replace the first one's entry and tells both that they won, which no later check could
//! repair; so nothing is created before this is known. Where the store does not decide, one process does, by
//! looking before it writes: right as long as nobody else writes to the vault, which is *single-writer mode*.

use crate::client::{Client, Demand};
use crate::failure::{Failure, Trouble};
use crate::operation::{Operations, random};
use bytes::Bytes;
use data_encoding::HEXLOWER;

/// Where probes leave their objects: no key of a vault begins with a dot, and no list shows one.
const PROBES: &str = ".tidemark-probe";

/// What a store makes of a put that demands an absent key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateOnly {
    /// It lets exactly one succeed.
    Honoured,
    /// It does not; how that showed.
    Missing(String),
}

/// Creates one object twice. Fails when the answers say nothing about it.
pub(crate) async fn probe(operations: &Operations) -> Result<CreateOnly, Failure> {
    let _place = operations.place().await;
    let client = operations.client();
    let key = format!("{PROBES}/{}", HEXLOWER.encode(&random::<16>()));
    let found = twice(client, &key).await;
    if let Err(failure) = client.delete(&key).await {
        tracing::debug!(%failure, key, "the object of a probe stays behind");
    }
    found
}

async fn twice(client: &Client, key: &str) -> Result<CreateOnly, Failure> {
    const FIRST: &[u8] = b"first";
    let put = async |body, demand| {
        client
            .put(key, &[Bytes::from_static(body)], demand, "probe")
            .await
    };
    match put(FIRST, Demand::Absent).await {
        Ok(()) => {}
        Err(failure) if matches!(failure.trouble, Trouble::Unsupported | Trouble::Refused) => {
            // Is it the condition that it does not like?
            put(FIRST, Demand::Nothing).await?;
            return Ok(CreateOnly::Missing(format!(
                "it refuses the condition: {failure}"
            )));
        }
        Err(failure) if failure.trouble == Trouble::Exists => {
            let text = "the store says that a name exists which was made up a moment ago";
            return Err(Failure::new(Trouble::Conflict, text));
        }
        Err(failure) => return Err(failure),
    }
    match put(b"second", Demand::Absent).await {
        Ok(()) => Ok(CreateOnly::Missing(
            "it replaced an object that a put with `If-None-Match: *` must not replace".into(),
        )),
        Err(failure) if failure.trouble == Trouble::Exists => {
            if client.get(key, None).await? == FIRST {
                Ok(CreateOnly::Honoured)
            } else {
                Ok(CreateOnly::Missing(
                    "it refused to replace an object, and replaced it".into(),
                ))
            }
        }
        Err(failure) => Err(failure),
    }
}
