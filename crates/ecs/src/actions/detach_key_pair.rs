//! DetachKeyPair: the same parameters and answer as AttachKeyPair.

pub use super::attach_key_pair::{Request, Response};
