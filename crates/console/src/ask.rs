//! One signed-in request: who asks, where, and the way to the control plane.
//!
//! [`ask!`] is the only way to a list or a figure: it reads the parameters, asks for permission, then calls. So a page cannot show
//! what the API would not.

use crate::fields::Fields;
use crate::parts::Notice;
use crate::session::{Found, Who};
use crate::state::ConsoleState;
use tidemark_control::{Caller, Control};
use tidemark_ecs::actions::describe_regions;
use tidemark_ecs::model::Region;
use tidemark_ecs::{ApiError, Params};

/// A request of somebody who is signed in.
#[derive(Debug)]
pub(crate) struct Ctx {
    pub(crate) state: ConsoleState,
    /// In [`Self::region`].
    pub(crate) caller: Caller,
    pub(crate) session: Found,
    /// The region that the page is about.
    pub(crate) region: String,
    /// All that are served.
    pub(crate) regions: Vec<Region>,
    /// Below `/console/`, without slashes at its ends.
    pub(crate) path: String,
    pub(crate) query: Fields,
    /// Where the page is, to come back to it; without the region.
    pub(crate) address: String,
    /// What is to be told about what was done before.
    pub(crate) notices: Vec<Notice>,
}

/// Reads the parameters, asks for permission, calls: the answer, or `?`.
macro_rules! ask {
    ($ctx:expr, $name:literal, $module:ident, $pairs:expr) => {{
        let params = $ctx.params($pairs)?;
        let request = tidemark_ecs::actions::$module::Request::parse(&params)?;
        $ctx.control()
            .authorize(&$ctx.caller, "ecs", $name, &params)
            .await?;
        $ctx.control().$module(&$ctx.caller, request).await?
    }};
}
pub(crate) use ask;

/// As [`ask!`], for the services whose requests are in `tidemark_ecs::ram`: how the request is read, and the method.
macro_rules! ask_ram {
    ($ctx:expr, $name:literal, $parse:expr, $method:ident, $pairs:expr) => {{
        let params = crate::ask::plain_params($pairs)?;
        let request = $parse(&params)?;
        let caller = $ctx.everywhere();
        $ctx.control().authorize(&caller, "ram", $name, &params).await?;
        $ctx.control().$method(&caller, request).await?
    }};
}
pub(crate) use ask_ram;

/// Parameters without a region.
pub(crate) fn plain_params(pairs: &[(&str, &str)]) -> Result<Params, ApiError> {
    Params::from_pairs(pairs.iter().map(|(name, value)| (*name, *value)))
}

/// All regions that are served. Everybody who is signed in may know their names: they are in every answer.
pub(crate) async fn regions(control: &Control, caller: &Caller) -> Result<Vec<Region>, ApiError> {
    let params = plain_params(&[("AcceptLanguage", "en-US")])?;
    let request = describe_regions::Request::parse(&params)?;
    Ok(control.describe_regions(caller, request).await?.regions)
}

/// Whoever the session is of, with what they may do now; `None`: they may not sign in any more.
pub(crate) async fn caller_of(control: &Control, who: &Who) -> Result<Option<Caller>, ApiError> {
    let unknown = |error: tidemark_control::ControlError| {
        tracing::error!(%error, "the catalogue cannot be asked who is signed in");
        ApiError::service_unavailable("access keys cannot be read")
    };
    match who {
        Who::Key(id) => {
            let key = control.access_key(id).await.map_err(unknown)?;
            // A temporary key comes with a token that a session does not keep.
            let key = key.filter(|key| key.active && key.session.is_none());
            Ok(key.map(|key| control.caller(&key)))
        }
        Who::User(login) => control.console_user(login).await.map_err(unknown),
    }
}

impl Ctx {
    pub(crate) fn control(&self) -> &Control {
        &self.state.control
    }

    /// The caller, for what is in no region.
    pub(crate) fn everywhere(&self) -> Caller {
        Caller {
            region: None,
            ..self.caller.clone()
        }
    }

    /// Parameters in the page's region.
    pub(crate) fn params(&self, pairs: &[(&str, &str)]) -> Result<Params, ApiError> {
        let own = [("RegionId", self.region.as_str())];
        Params::from_pairs(own.iter().chain(pairs).map(|(name, value)| (*name, *value)))
    }

    /// Whether the caller may do that now, as far as permissions go. What they may not is not offered.
    pub(crate) async fn may(&self, action: &str, pairs: &[(&str, &str)]) -> bool {
        let Ok(params) = self.params(pairs) else {
            return false;
        };
        let asked = self.control().authorize(&self.caller, "ecs", action, &params);
        asked.await.is_ok()
    }

    /// As [`Self::may`], about users, keys and policies.
    pub(crate) async fn may_ram(&self, action: &str, pairs: &[(&str, &str)]) -> bool {
        let Ok(params) = plain_params(pairs) else {
            return false;
        };
        let caller = self.everywhere();
        self.control()
            .authorize(&caller, "ram", action, &params)
            .await
            .is_ok()
    }

    /// A place of ours in the page's region. `path`: below `/console`, `""` or with a slash in front.
    pub(crate) fn link(&self, path: &str) -> String {
        self.link_with(path, &[])
    }

    /// As [`Self::link`], with more in its query; what is empty is left out.
    pub(crate) fn link_with(&self, path: &str, pairs: &[(&str, &str)]) -> String {
        let own = [("region", self.region.as_str())];
        let filled = own.iter().chain(pairs).filter(|(_, value)| !value.is_empty());
        let query = tidemark_ecs::sign::encode_form(filled.map(|(name, value)| (*name, *value)));
        format!("/console{path}?{query}")
    }

    /// A dialog, which comes back to this page.
    pub(crate) fn dialog(&self, name: &str, pairs: &[(&str, &str)]) -> String {
        let ways = ["dialog/", "do/", "each/", "preview/"];
        let then = match ways.iter().any(|way| self.path.starts_with(way)) {
            true => self.query.text("_then"),
            false => self.address.as_str(),
        };
        let mut all = pairs.to_vec();
        all.push(("_then", then));
        self.link_with(&format!("/dialog/{name}"), &all)
    }

    /// This page with one thing of its query changed, and its list begun anew.
    pub(crate) fn here_with(&self, name: &str, value: &str) -> String {
        let query = self
            .query
            .without(&["NextToken"])
            .with(name, value)
            .with("region", &self.region)
            .query();
        format!("/console/{}?{query}", self.path)
    }
}

impl Ctx {
    /// This very page, with its region.
    pub(crate) fn address_here(&self) -> String {
        self.here_with("region", &self.region)
    }
}
