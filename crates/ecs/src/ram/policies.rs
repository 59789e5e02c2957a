//! Policies: CreatePolicy, GetPolicy, ListPolicies, CreatePolicyVersion, DeletePolicy; AttachPolicyToUser,
//! DetachPolicyFromUser, AttachPolicyToRole, DetachPolicyFromRole, ListPoliciesForUser, ListPoliciesForRole.
//!
//! A policy has one version, which CreatePolicyVersion replaces: what counts is what it says now.

use super::policy::Policy;
use super::{NamePage, NamePageInfo, checked_name, role_name, user_name, words};
use crate::model::list;
use crate::{ApiError, Params};
use serde::Serialize;

/// Who made a policy: nobody, it comes with the service.
pub const SYSTEM: &str = "System";
/// Who made a policy: a user of the account.
pub const CUSTOM: &str = "Custom";

fn policy_name(params: &Params) -> Result<String, ApiError> {
    let name = params.required("PolicyName")?;
    checked_name("PolicyName", &name, 128, "-")?;
    Ok(name)
}

/// The document that must be given, and that must mean something.
fn document(params: &Params) -> Result<String, ApiError> {
    let text = params.required("PolicyDocument")?;
    checked_document("PolicyDocument", &text)?;
    Ok(text)
}

/// Refuses a policy document that is not understood.
pub(super) fn checked_document(field: &str, text: &str) -> Result<Policy, ApiError> {
    Policy::parse(text).map_err(|why| {
        let message = format!("The parameter \"{field}\" is not a policy: {why}.");
        ApiError::new(400, format!("InvalidParameter.{field}"), message)
    })
}

/// `System` or `Custom`.
fn policy_type(params: &Params) -> Result<String, ApiError> {
    params.required("PolicyType")?;
    let word = params.word(
        "PolicyType",
        &[SYSTEM, CUSTOM],
        400,
        "InvalidParameter.PolicyType",
    )?;
    Ok(word.unwrap_or_default())
}

/// CreatePolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct CreatePolicy {
    pub policy_name: String,
    pub policy_document: String,
    pub description: String,
}

impl CreatePolicy {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            policy_name: policy_name(params)?,
            policy_document: document(params)?,
            description: words(params, "Description", 1024)?,
        })
    }
}

/// CreatePolicyVersion, of which `SetAsDefault` must be true.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct CreatePolicyVersion {
    pub policy_name: String,
    pub policy_document: String,
}

impl CreatePolicyVersion {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let request = Self {
            policy_name: policy_name(params)?,
            policy_document: document(params)?,
        };
        if !params.flag("SetAsDefault")? {
            let why = "a policy has one version here, so a new one must be the default";
            return Err(ApiError::invalid_parameter("SetAsDefault", why));
        }
        Ok(request)
    }
}

/// GetPolicy.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct GetPolicy {
    pub policy_type: String,
    pub policy_name: String,
}

impl GetPolicy {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            policy_type: policy_type(params)?,
            policy_name: policy_name(params)?,
        })
    }
}

/// DeletePolicy; only custom ones can go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct DeletePolicy {
    pub policy_name: String,
}

impl DeletePolicy {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        Ok(Self {
            policy_name: policy_name(params)?,
        })
    }
}

/// ListPolicies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct ListPolicies {
    /// `None`: both.
    pub policy_type: Option<String>,
    pub page: NamePage,
}

impl ListPolicies {
    /// Reads and checks the parameters.
    pub fn parse(params: &Params) -> Result<Self, ApiError> {
        let kinds = &[SYSTEM, CUSTOM];
        Ok(Self {
            policy_type: params.word("PolicyType", kinds, 400, "InvalidParameter.PolicyType")?,
            page: NamePage::parse(params)?,
        })
    }
}

/// Whom a policy is attached to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A user, by name.
    User(String),
    /// A role, by name.
    Role(String),
}

/// Attach... and Detach...
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct Attachment {
    pub policy_type: String,
    pub policy_name: String,
    pub holder: Holder,
}

impl Attachment {
    /// AttachPolicyToUser, DetachPolicyFromUser.
    pub fn of_user(params: &Params) -> Result<Self, ApiError> {
        Self::read(params, Holder::User(user_name(params)?))
    }

    /// AttachPolicyToRole, DetachPolicyFromRole.
    pub fn of_role(params: &Params) -> Result<Self, ApiError> {
        Self::read(params, Holder::Role(role_name(params)?))
    }

    fn read(params: &Params, holder: Holder) -> Result<Self, ApiError> {
        Ok(Self {
            policy_type: policy_type(params)?,
            policy_name: policy_name(params)?,
            holder,
        })
    }
}

/// A policy as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct PolicyItem {
    pub policy_name: String,
    pub policy_type: String,
    pub description: String,
    pub default_version: &'static str,
    pub attachment_count: i64,
    pub create_date: String,
    pub update_date: String,
}

/// The answer of CreatePolicy and CreatePolicyVersion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct PolicyAnswer {
    pub policy: PolicyItem,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct PolicyVersion {
    pub version_id: &'static str,
    pub is_default_version: bool,
    pub policy_document: String,
}

/// The answer of GetPolicy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct GetPolicyAnswer {
    pub policy: PolicyItem,
    pub default_policy_version: PolicyVersion,
}

/// Policies by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
#[allow(missing_docs, reason = "the field names are the contract's own")]
pub struct PoliciesAnswer {
    #[serde(with = "list::policy")]
    pub policies: Vec<PolicyItem>,
    #[serde(flatten)]
    pub page: NamePageInfo,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::check;

    const GOOD: &str = "%7B%22Version%22:%221%22,%22Statement%22:%5B%7B%22Effect%22:%22Allow%22,%22Action%22:%22ecs:*%22,%22Resource%22:%22*%22%7D%5D%7D";

    #[test]
    fn required() {
        let base = format!("PolicyName=a&PolicyDocument={GOOD}");
        check::required(CreatePolicy::parse, &base, &["PolicyName", "PolicyDocument"]);
        check::required(
            Attachment::of_user,
            "PolicyName=a&PolicyType=Custom&UserName=b",
            &["PolicyName", "PolicyType", "UserName"],
        );
        check::required(
            Attachment::of_role,
            "PolicyName=a&PolicyType=System&RoleName=b",
            &["PolicyName", "PolicyType", "RoleName"],
        );
    }

    #[test]
    fn refusals() {
        check::refusals(
            CreatePolicy::parse,
            "X=",
            &[
                (
                    "PolicyName=a&PolicyDocument=%7B%7D",
                    400,
                    "InvalidParameter.PolicyDocument",
                ),
                (
                    "PolicyName=a.b&PolicyDocument=x",
                    400,
                    "InvalidParameter.PolicyName.InvalidChars",
                ),
            ],
        );
        check::refusals(
            CreatePolicyVersion::parse,
            &format!("PolicyName=a&PolicyDocument={GOOD}"),
            &[("SetAsDefault=false", 400, "InvalidParameter")],
        );
        check::refusals(
            GetPolicy::parse,
            "PolicyName=a",
            &[("PolicyType=custom", 400, "InvalidParameter.PolicyType")],
        );
    }
}
