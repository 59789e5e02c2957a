//! The list of exports that holds one volume and nothing else.

use tidemark_nbd::proto::{ExportEntry, ExportInfo, LookUpError};
use tidemark_nbd::server::{Directory, SendFuture};

/// The one export; a client that names none gets it, too.
pub struct Only(pub ExportInfo);

impl Directory for Only {
    fn list(&self) -> SendFuture<'_, Result<Vec<ExportEntry>, LookUpError>> {
        let entry = ExportEntry {
            name: self.0.name.clone(),
            description: self.0.description.clone(),
        };
        Box::pin(async { Ok(vec![entry]) })
    }

    fn look_up<'a>(&'a self, name: &'a str) -> SendFuture<'a, Result<ExportInfo, LookUpError>> {
        let known = name.is_empty() || name == self.0.name;
        Box::pin(async move {
            if known {
                Ok(self.0.clone())
            } else {
                Err(LookUpError::Unknown)
            }
        })
    }
}
