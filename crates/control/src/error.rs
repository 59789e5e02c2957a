//! How failures below become answers.

use crate::store::{StoreError, StoreErrorKind};
use tidemark_ecs::ApiError;
use tidemark_node::NodeError;

/// Why a control plane cannot be opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The catalogue cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The directory for the catalogue cannot be made.
    #[error("data directory {path}: {cause}")]
    DataDir {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A catalogue is to be made again where there is one with something in it.
    #[error("{path} holds {what} already")]
    NotEmpty {
        /// The file.
        path: std::path::PathBuf,
        /// What is in it.
        what: String,
    },
    /// Which guests run cannot be found out.
    #[error("guests that may be running cannot be looked for: {0}")]
    Guests(String),
    /// The configuration makes no sense.
    #[error("configuration: {0}")]
    Config(String),
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the catalogue failed a request");
        match error.kind {
            StoreErrorKind::Full => ApiError::service_unavailable("the catalogue has no room left"),
            StoreErrorKind::Stopped => ApiError::service_unavailable("the service is shutting down"),
            _ => ApiError::internal(),
        }
    }
}

/// What the node's own words say, under an action's documented code.
pub(crate) fn node_refusal(status: u16, code: &'static str, what: &str, error: &NodeError) -> ApiError {
    ApiError::new(
        status,
        code,
        format!("{what}: {}.", error.message.trim_end_matches('.')),
    )
}
