//! GetInstanceConsoleOutput: what a guest of ours has written to its serial console, the end of it. An external machine has none here.

use crate::rules;
use crate::store::Transaction;
use crate::views::at;
use crate::{Caller, Control};
use data_encoding::BASE64;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;
use tidemark_ecs::actions::get_instance_console_output::{Request, Response};
use tidemark_ecs::{ApiError, time};

/// Most bytes of a console in one answer.
const MOST_BYTES: u64 = 64 << 10;

impl Control {
    /// As much as one answer holds, the newest.
    pub async fn get_instance_console_output(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(request.region_id.as_deref())?;
        let (caller, id) = (caller.clone(), request.instance_id.clone());
        let read = move |t: &mut dyn Transaction| rules::instance(t, &caller, &id);
        let instance = self.store().read(read).await?;
        let console = self.compute().map(|compute| compute.console(&instance.id));
        let read = tokio::task::spawn_blocking(move || console.map_or(Ok(None), |path| tail(&path)));
        let found = read.await.map_err(std::io::Error::other).flatten();
        let (output, changed_ms) = found
            .map_err(|error| {
                tracing::error!(instance = %instance.id, %error, "a console cannot be read");
                ApiError::internal()
            })?
            .unwrap_or_default();
        Ok(Response {
            instance_id: instance.id,
            console_output: BASE64.encode(&output),
            last_update_time: changed_ms.map_or_else(String::new, |ms| time::seconds(at(ms))),
        })
    }
}

/// The end of a file, and when it was changed, in milliseconds; `None`: it is not there.
fn tail(path: &Path) -> std::io::Result<Option<(Vec<u8>, Option<i64>)>> {
    let mut file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    file.seek(SeekFrom::Start(metadata.len().saturating_sub(MOST_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    let since = metadata.modified()?.duration_since(UNIX_EPOCH);
    let changed = since.ok().and_then(|since| i64::try_from(since.as_millis()).ok());
    Ok(Some((bytes, changed)))
}
