//! Dialogs about users, their keys and what they may. Their command lines are `tidemark user`, `key` and `permission`.

use super::{Form, Shape, choice, precautions};
use crate::ask::ask_ram;
use crate::command::quoted;
use crate::layout::{Page, Section};
use maud::html;
use tidemark_ecs::ApiError;
use tidemark_ecs::ram::policies::ListPolicies;

/// ` --user NAME`, for somebody else's keys.
fn of_user(form: &Form<'_>) -> String {
    form.fields
        .get("UserName")
        .map_or_else(String::new, |name| format!(" --user {}", quoted(name)))
}

pub(super) fn create_user(form: &Form<'_>) -> Result<Page, ApiError> {
    let inner = html! {
        (form.text("User name", "UserName", "Letters, digits, and . - _ @; at most 64."))
        (form.text("Display name", "DisplayName", "For people."))
        (form.text("Comments", "Comments", ""))
        (precautions(&["A user may do nothing at first: attach a policy, and make a key."]))
    };
    let line = format!(
        "tidemark user create {}",
        quoted(form.fields.get("UserName").unwrap_or("NAME"))
    );
    let shape = Shape::new(Section::Users, "Create User", "CreateUser", "Create").command(line);
    Ok(form.page(&shape, &inner))
}

pub(super) fn delete_user(form: &Form<'_>) -> Result<Page, ApiError> {
    let name = form.needed("UserName")?;
    let line = format!("tidemark user delete {}", quoted(name));
    let shape = Shape::new(Section::Users, "Delete User", "DeleteUser", "OK");
    let text = format!("Delete the user {name}? Keys have to be deleted and policies detached before.");
    Ok(form.confirm(
        &shape.dangerous().then("/users").command(line),
        &["UserName"],
        &text,
    ))
}

/// The first password of a user, or another one: the link says which.
pub(super) fn set_password(form: &Form<'_>) -> Result<Page, ApiError> {
    let name = form.needed("UserName")?;
    let inner = html! {
        (form.hidden("UserName"))
        (form.hidden("_has"))
        p { "With a password " strong { (name) } " signs in here. Requests to the API are signed with keys." }
        (form.secret("Password", "Password", "8 to 128 characters; the longer, the better."))
    };
    let (title, action) = match form.fields.get("_has") {
        Some(_) => ("Change password", "UpdateLoginProfile"),
        None => ("Set password", "CreateLoginProfile"),
    };
    // A command line is no place for a password.
    let shape = Shape::new(Section::Users, title, action, "OK").command(String::new());
    Ok(form.page(&shape, &inner))
}

pub(super) fn delete_password(form: &Form<'_>) -> Result<Page, ApiError> {
    let name = form.needed("UserName")?;
    let shape = Shape::new(
        Section::Users,
        "Take the password away",
        "DeleteLoginProfile",
        "OK",
    );
    let text = format!("Take the password of {name} away? Whoever is signed in with it is signed out.");
    Ok(form.confirm(&shape.dangerous().command(String::new()), &["UserName"], &text))
}

pub(super) fn create_key(form: &Form<'_>) -> Result<Page, ApiError> {
    let line = format!("tidemark key create{}", of_user(form));
    let shape = Shape::new(Section::Users, "Create Access Key", "CreateAccessKey", "Create").command(line);
    let text = "Make a new access key? Its secret is shown once.";
    Ok(form.confirm(&shape, &["UserName"], text))
}

pub(super) fn change_key(form: &Form<'_>) -> Result<Page, ApiError> {
    let (key, status) = (form.needed("UserAccessKeyId")?, form.needed("Status")?);
    let (verb, text) = match status {
        "Active" => ("enable", format!("Let the key {key} be used again?")),
        _ => (
            "disable",
            format!("Take the key {key} out of use? Whoever signs with it is refused from then on."),
        ),
    };
    let line = format!("tidemark key {verb} {}{}", quoted(key), of_user(form));
    let shape = Shape::new(Section::Users, "Change access key", "UpdateAccessKey", "OK").command(line);
    Ok(form.confirm(&shape, &["UserName", "UserAccessKeyId", "Status"], &text))
}

pub(super) fn delete_key(form: &Form<'_>) -> Result<Page, ApiError> {
    let key = form.needed("UserAccessKeyId")?;
    let line = format!("tidemark key delete {}{}", quoted(key), of_user(form));
    let shape = Shape::new(Section::Users, "Delete access key", "DeleteAccessKey", "OK");
    let text = format!("Delete the key {key}? Whoever signs with it is refused from then on.");
    Ok(form.confirm(
        &shape.dangerous().command(line),
        &["UserName", "UserAccessKeyId"],
        &text,
    ))
}

pub(super) async fn attach_policy(form: &Form<'_>) -> Result<Page, ApiError> {
    let name = form.needed("UserName")?;
    let found = ask_ram!(
        form.ctx,
        "ListPolicies",
        ListPolicies::parse,
        list_policies,
        &[("MaxItems", "1000")]
    )
    .policies;
    let chosen = form.fields.get("PolicyType").unwrap_or("System").to_owned();
    let names: Vec<_> = found
        .iter()
        .filter(|policy| policy.policy_type == chosen)
        .map(|policy| {
            let shown = format!("{}: {}", policy.policy_name, policy.description);
            choice(policy.policy_name.clone(), shown)
        })
        .collect();
    let then = form.fields.text("_then");
    let tab = |kind: &str| {
        let pairs = [("UserName", name), ("PolicyType", kind), ("_then", then)];
        form.ctx.link_with("/dialog/attach-policy", &pairs)
    };
    let inner = html! {
        (form.hidden("UserName"))
        input type="hidden" name="PolicyType" value=(chosen);
        nav class="tabs small" aria-label="Kind of policy" {
            a data-dialog href=(tab("System")) aria-current=[(chosen == "System").then_some("true")] { "System policies" }
            a data-dialog href=(tab("Custom")) aria-current=[(chosen == "Custom").then_some("true")] { "Custom policies" }
        }
        @if names.is_empty() { p class="none" { "No such policy." } } @else { (form.select("Policy", "PolicyName", &names, "")) }
    };
    let policy = form
        .fields
        .get("PolicyName")
        .or(names.first().map(|(name, _)| name.as_str()));
    let line = format!(
        "tidemark permission attach {} --user {}",
        quoted(policy.unwrap_or("NAME")),
        quoted(name)
    );
    let shape = Shape::new(Section::Users, "Attach Policy", "AttachPolicyToUser", "OK").command(line);
    Ok(form.page_if(&shape, &inner, !names.is_empty()))
}

pub(super) fn detach_policy(form: &Form<'_>) -> Result<Page, ApiError> {
    let (user, policy) = (form.needed("UserName")?, form.needed("PolicyName")?);
    let line = format!(
        "tidemark permission detach {} --user {}",
        quoted(policy),
        quoted(user)
    );
    let shape = Shape::new(Section::Users, "Detach", "DetachPolicyFromUser", "OK");
    let text = format!("Detach the policy {policy} from {user}? What it allows ends with the next request.");
    Ok(form.confirm(
        &shape.dangerous().command(line),
        &["UserName", "PolicyType", "PolicyName"],
        &text,
    ))
}
