//! A request on its way to an action. What the action acts on is only handed out to who may ask for it.

use serde::Serialize;
use tidemark_control::{Caller, Control};
use tidemark_ecs::render::{self, Format};
use tidemark_ecs::{ApiError, Params};

/// An authenticated request.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Behind [`Call::control`], which no action can do without.
    control: &'a Control,
    /// `ecs`, `ram` or `sts`, and the action's name.
    action: (&'static str, &'static str),
    pub(crate) caller: &'a Caller,
    pub(crate) params: &'a Params,
    /// The host and port that the client called.
    pub(crate) host: &'a str,
    format: Format,
    request_id: &'a str,
}

/// How an answer is written.
#[derive(Clone, Copy)]
pub(crate) struct Reply<'a> {
    pub(crate) format: Format,
    pub(crate) request_id: &'a str,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        control: &'a Control,
        action: (&'static str, &'static str),
        caller: &'a Caller,
        params: &'a Params,
        host: &'a str,
        reply: Reply<'a>,
    ) -> Self {
        Self {
            control,
            action,
            caller,
            params,
            host,
            format: reply.format,
            request_id: reply.request_id,
        }
    }

    /// The control plane, if the caller may do this: the one place where that is asked. An action parses its
    /// parameters before, so that a request that makes no sense is told so whoever sends it.
    pub(crate) async fn control(&self) -> Result<&'a Control, ApiError> {
        let (service, action) = self.action;
        self.control
            .authorize(self.caller, service, action, self.params)
            .await?;
        Ok(self.control)
    }

    pub(crate) fn render(&self, action: &str, response: &impl Serialize) -> Result<String, ApiError> {
        render::success(self.format, action, self.request_id, response)
    }
}
