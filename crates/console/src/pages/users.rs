//! Users & Keys: who may come in, and with what. Secrets are never here, but for a new key's, once.

use crate::ask::{Ctx, ask_ram};
use crate::fields::Fields;
use crate::layout::{Page, Section};
use crate::{parts, text};
use maud::{Markup, html};
use serde_json::Value;
use tidemark_control::Identity;
use tidemark_ecs::ApiError;
use tidemark_ecs::ram::keys::{AccessKeyItem, KeysOf};
use tidemark_ecs::ram::users::{ListUsers, OneUser};

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let users = list(ctx).await;
    let may_make = ctx.may_ram("CreateUser", &[("UserName", "x")]).await;
    let own = own_keys(ctx).await;
    if users.as_ref().is_err_and(is_forbidden) && own.as_ref().is_err_and(is_forbidden) {
        let body = html! {
            h1 { "Users & Keys" }
            p class="none" { "You may not see users and access keys. Whoever manages the account can change that." }
        };
        return Ok(Page::new(Section::Users, "Users & Keys", body));
    }
    let body = html! {
        div class="title" {
            h1 { "Users & Keys" }
            @if may_make { a class="primary" data-dialog href=(ctx.dialog("create-user", &[])) { "Create User" } }
        }
        section aria-labelledby="own" {
            h2 id="own" { "Your access keys" }
            @match &own {
                Ok(own) => { (own) }
                Err(error) if is_forbidden(error) => { p class="none" { "You may not see them. Whoever manages the account can change that." } }
                Err(error) => { (parts::refusal(error)) }
            }
        }
        section aria-labelledby="users" {
            h2 id="users" { "Users" }
            @match &users {
                Err(error) if is_forbidden(error) => { p class="none" { "You may not see them. Whoever manages the account can change that." } }
                Err(error) => { (parts::refusal(error)) }
                Ok(users) if users.is_empty() => {
                    (parts::empty(
                        "No user yet",
                        "A user has keys of their own and may do what policies say. Give everybody and everything that asks one of their own, and keep the account's key safe.",
                        &html! {},
                    ))
                }
                Ok(users) => {
                    div class="scroll" tabindex="0" {
                        table {
                            thead { tr { th { "User name" } th { "Display name" } th { "Comments" } th { "Created at" } } }
                            tbody {
                                @for user in users {
                                    tr {
                                        td data-label="User name" { a class="id" href=(ctx.link(&format!("/users/{}", user.user_name))) { (user.user_name) } }
                                        td data-label="Display name" { (user.display_name) }
                                        td data-label="Comments" { (user.comments) }
                                        td data-label="Created at" { (text::time(&user.create_date)) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(Page::new(Section::Users, "Users & Keys", body))
}

/// Whether the caller may not see something: no failure, and nothing to be alarmed about.
fn is_forbidden(error: &ApiError) -> bool {
    error.status == 403
}

async fn list(ctx: &Ctx) -> Result<Vec<tidemark_ecs::ram::users::User>, ApiError> {
    Ok(ask_ram!(
        ctx,
        "ListUsers",
        ListUsers::parse,
        list_users,
        &[("MaxItems", "200")]
    )
    .users)
}

async fn keys_of(ctx: &Ctx, pairs: &[(&str, &str)]) -> Result<Vec<AccessKeyItem>, ApiError> {
    Ok(ask_ram!(ctx, "ListAccessKeys", KeysOf::parse, list_access_keys, pairs).access_keys)
}

async fn own_keys(ctx: &Ctx) -> Result<Markup, ApiError> {
    // Temporary keys have no keys of their own.
    if matches!(ctx.caller.identity, Identity::Role { .. }) {
        return Ok(html! { p class="none" { "You are here with a role." } });
    }
    let keys = keys_of(ctx, &[]).await?;
    let may_make = ctx.may_ram("CreateAccessKey", &[]).await;
    let may_change = ctx.may_ram("UpdateAccessKey", &[]).await;
    let may_delete = ctx.may_ram("DeleteAccessKey", &[]).await;
    Ok(html! {
        (keys_table(ctx, "", &keys, may_change, may_delete))
        (parts::opens(may_make, &ctx.dialog("create-key", &[]), "Create Access Key", "of your own"))
    })
}

fn keys_table(ctx: &Ctx, user: &str, keys: &[AccessKeyItem], may_change: bool, may_delete: bool) -> Markup {
    html! {
        @if keys.is_empty() { p class="none" { "No access key." } } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr { th { "Access key ID" } th { "Status" } th { "Created at" } th { "Last used" } th class="actions" { "Actions" } } }
                    tbody {
                        @for key in keys {
                            @let own = [("UserName", user), ("UserAccessKeyId", key.access_key_id.as_str())];
                            tr {
                                td data-label="Access key ID" { span class="id" { (key.access_key_id) } }
                                td data-label="Status" { (parts::status(key.status)) }
                                td data-label="Created at" { (text::time(&key.create_date)) }
                                td data-label="Last used" { (text::time(&key.last_used_date)) }
                                td data-label="Actions" class="actions" {
                                    (parts::opens(may_change, &ctx.dialog("change-key", &[own[0], own[1], ("Status", if key.status == "Active" { "Inactive" } else { "Active" })]), if key.status == "Active" { "Disable" } else { "Enable" }, &key.access_key_id))
                                    (parts::opens(may_delete, &ctx.dialog("delete-key", &own), "Delete", &key.access_key_id))
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// One user: keys and policies.
pub(super) async fn one(ctx: &Ctx, name: &str) -> Result<Page, ApiError> {
    let own = [("UserName", name)];
    let user = ask_ram!(ctx, "GetUser", OneUser::parse, get_user, &own).user;
    let keys = keys_of(ctx, &own).await?;
    let policies = ask_ram!(
        ctx,
        "ListPoliciesForUser",
        OneUser::parse,
        list_policies_for_user,
        &own
    )
    .policies;
    let password = password(ctx, name).await?;
    let sets = if password.as_ref().is_some_and(Option::is_some) {
        "UpdateLoginProfile"
    } else {
        "CreateLoginProfile"
    };
    let may_set = ctx.may_ram(sets, &own).await;
    let may_take = ctx.may_ram("DeleteLoginProfile", &own).await;
    let may_make = ctx.may_ram("CreateAccessKey", &own).await;
    let may_change = ctx.may_ram("UpdateAccessKey", &own).await;
    let may_drop = ctx.may_ram("DeleteAccessKey", &own).await;
    let any = [
        ("UserName", name),
        ("PolicyType", "System"),
        ("PolicyName", "AliyunECSReadOnlyAccess"),
    ];
    let may_attach = ctx.may_ram("AttachPolicyToUser", &any).await;
    let may_detach = ctx.may_ram("DetachPolicyFromUser", &any).await;
    let may_delete = ctx.may_ram("DeleteUser", &own).await;
    let body = html! {
        nav class="trail" aria-label="Trail" { a href=(ctx.link("/users")) { "Users & Keys" } }
        div class="title" {
            h1 { (name) }
            div class="actions" { (parts::opens(may_delete, &ctx.dialog("delete-user", &own), "Delete User", name)) }
        }
        dl class="facts" {
            (parts::fact_text("Display name", &user.display_name))
            (parts::fact_text("Comments", &user.comments))
            (parts::fact_text("User ID", &user.user_id))
            (parts::fact("Created at", &text::time(&user.create_date)))
        }
        section aria-labelledby="password" {
            h2 id="password" { "Password for the console" }
            @match &password {
                None => { p class="none" { "You may not see whether there is one." } }
                Some(Some(since)) => {
                    p { "Set at " (text::time(since)) " "
                        (parts::opens(may_set, &ctx.dialog("set-password", &[("UserName", name), ("_has", "1")]), "Change", &format!("the password of {name}")))
                        " "
                        (parts::opens(may_take, &ctx.dialog("delete-password", &own), "Take away", &format!("the password of {name}")))
                    }
                }
                Some(None) => {
                    p { "None: " (name) " signs in with an access key. "
                        (parts::opens(may_set, &ctx.dialog("set-password", &own), "Set", &format!("a password for {name}")))
                    }
                }
            }
        }
        section aria-labelledby="keys" {
            h2 id="keys" { "Access keys" }
            (keys_table(ctx, name, &keys, may_change, may_drop))
            (parts::opens(may_make, &ctx.dialog("create-key", &own), "Create Access Key", &format!("for {name}")))
        }
        section aria-labelledby="policies" {
            h2 id="policies" { "What the user may" }
            @if policies.is_empty() { p class="none" { "Nothing: no policy is attached." } } @else {
                div class="scroll" tabindex="0" {
                    table {
                        thead { tr { th { "Policy" } th { "Type" } th { "Description" } th class="actions" { "Actions" } } }
                        tbody {
                            @for policy in &policies {
                                @let one = [("UserName", name), ("PolicyType", policy.policy_type.as_str()), ("PolicyName", policy.policy_name.as_str())];
                                tr {
                                    td data-label="Policy" { (policy.policy_name) }
                                    td data-label="Type" { (policy.policy_type) }
                                    td data-label="Description" { (policy.description) }
                                    td data-label="Actions" class="actions" { (parts::opens(may_detach, &ctx.dialog("detach-policy", &one), "Detach", &policy.policy_name)) }
                                }
                            }
                        }
                    }
                }
            }
            (parts::opens(may_attach, &ctx.dialog("attach-policy", &own), "Attach Policy", &format!("to {name}")))
        }
    };
    Ok(Page::new(Section::Users, format!("User {name}"), body))
}

/// Since when the user has a password; `None` in it: the user has none. `None`: the caller may not know.
async fn password(ctx: &Ctx, name: &str) -> Result<Option<Option<String>>, ApiError> {
    async fn asked(ctx: &Ctx, name: &str) -> Result<String, ApiError> {
        let pairs = [("UserName", name)];
        let answer = ask_ram!(ctx, "GetLoginProfile", OneUser::parse, get_login_profile, &pairs);
        Ok(answer.login_profile.create_date)
    }
    match asked(ctx, name).await {
        Ok(since) => Ok(Some(Some(since))),
        Err(error) if error.status == 404 => Ok(Some(None)),
        Err(error) if error.status == 403 => Ok(None),
        Err(error) => Err(error),
    }
}

/// A new key, with its secret, which is shown here and nowhere else.
pub(crate) fn new_key(ctx: &Ctx, form: &Fields, answer: &Value) -> Page {
    let text_of = |name: &str| {
        answer
            .pointer(&format!("/AccessKey/{name}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let back = match form.get("UserName") {
        Some(name) => ctx.link(&format!("/users/{name}")),
        None => ctx.link("/users"),
    };
    let body = html! {
        h1 { "The access key is created" }
        div class="notice" role="status" {
            p { "Its secret is shown here once. Keep it somewhere safe now: nobody can show it again." }
        }
        dl class="facts" {
            (parts::fact("Access key ID", &html! { code { (text_of("AccessKeyId")) } }))
            (parts::fact("Access key secret", &html! { code data-secret { (text_of("AccessKeySecret")) } }))
        }
        p { a class="button" href=(back) { "Done" } }
    };
    Page {
        is_still: true,
        ..Page::new(Section::Users, "The access key is created", body)
    }
}
