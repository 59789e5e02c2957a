//! DescribeRegions: the first call of most tools, and their credential check. Needs no region.

use crate::model::{Region, list};
use crate::{ApiError, Params};
use serde::Serialize;

/// What is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Request {
    pub instance_charge_type: Option<String>,
    pub resource_type: Option<String>,
    /// Which language LocalName is in.
    pub accept_language: Language,
    /// The host and port the client called; answered as RegionEndpoint. Set by the HTTP layer.
    pub endpoint: String,
}

/// Languages of local names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// The default.
    #[default]
    Chinese,
    /// Also for languages we have no names in.
    English,
}

impl Language {
    /// `AcceptLanguage`; a language that the service does not know: 404
    /// `InvalidAcceptLanguage.NotFound`.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let known = [
            "zh-CN", "zh-TW", "en-US", "ja", "ja-JP", "ko-KR", "fr-FR", "de-DE", "es-ES", "pt-BR", "ru-RU",
            "id",
        ];
        let language = params.word("AcceptLanguage", &known, 404, "InvalidAcceptLanguage.NotFound")?;
        Ok(match language.as_deref() {
            None | Some("zh-CN") => Language::Chinese,
            Some(_) => Language::English,
        })
    }
}

impl Request {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            instance_charge_type: params.text("InstanceChargeType"),
            resource_type: params.word(
                "ResourceType",
                &["instance", "disk", "reservedinstance", "scu"],
                404,
                "InvalidResourceType.NotFound",
            )?,
            accept_language: Language::parse(params)?,
            endpoint: String::new(),
        })
    }
}

/// All regions; not paged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Response {
    #[serde(with = "list::region")]
    pub regions: Vec<Region>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    #[test]
    fn nothing_is_required_and_words_are_checked() {
        check::required(Request::parse, "", &[]);
        check::refusals(
            Request::parse,
            "",
            &[
                ("ResourceType=x", 404, "InvalidResourceType.NotFound"),
                ("AcceptLanguage=xx", 404, "InvalidAcceptLanguage.NotFound"),
            ],
        );
    }
}
