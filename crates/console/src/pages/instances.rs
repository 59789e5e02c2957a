//! Instances & Images > Instances: all instances of the region (product.md 3.2).

use super::listing;
use crate::ask::{Ctx, ask};
use crate::layout::{Page, Section};
use crate::parts;
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::Instance;

const STATUSES: &[(&str, &str)] = &[
    ("Pending", "Pending"),
    ("Starting", "Starting"),
    ("Running", "Running"),
    ("Stopping", "Stopping"),
    ("Stopped", "Stopped"),
];

pub(super) async fn page(ctx: &Ctx) -> Result<Page, ApiError> {
    let asked = listing(ctx, &["InstanceName", "Status", "Tag.1.Key", "Tag.1.Value"]);
    let found = ask!(ctx, "DescribeInstances", describe_instances, &asked);
    let may_make = ctx
        .may("RunInstances", &[("InstanceType", "tidemark.external")])
        .await;
    let mut rows = Vec::new();
    for instance in &found.instances {
        rows.push(row(ctx, instance).await);
    }
    let is_filtered = asked.len() > 1;
    let body = html! {
        div class="title" {
            h1 { "Instances" }
            @if may_make { a class="primary" data-dialog href=(ctx.dialog("create-instance", &[])) { "Create Instance" } }
        }
        (parts::filters(ctx, "InstanceName", "Name (* for any text)", true))
        @if rows.is_empty() && !is_filtered {
            (parts::empty(
                "No instance here yet",
                "An instance is a machine that disks are attached to. One of the type tidemark.external stands for a machine that runs \
                 elsewhere: while it is Running, its disks are served to it over NBD.",
                &html! { @if may_make { a class="primary" data-dialog href=(ctx.dialog("create-instance", &[])) { "Create Instance" } } },
            ))
        } @else {
            div class="scroll" tabindex="0" {
                table {
                    thead { tr {
                        th { "Instance ID/Name" } th { "Tag" } th { "Zone" } th { "IP Address" }
                        th { (parts::column_filter(ctx, "Status", "Status", STATUSES)) }
                        th { "Network Type" } th { "Configuration" } th { "Billing Method" } th class="actions" { "Actions" }
                    } }
                    tbody {
                        @for row in &rows { (row) }
                        @if rows.is_empty() { tr { td class="none" colspan="9" { "No instance fits these filters." } } }
                    }
                }
            }
            (parts::pager(ctx, rows.len(), found.page.total_count, &found.page.next_token))
        }
    };
    Ok(Page::new(Section::Instances, "Instances", body))
}

async fn row(ctx: &Ctx, instance: &Instance) -> Markup {
    let id = instance.instance_id.as_str();
    let here = ctx.link(&format!("/instances/{id}"));
    let edits = ctx
        .may(
            "TagResources",
            &[("ResourceType", "instance"), ("ResourceId.1", id)],
        )
        .await;
    let more = more(ctx, instance).await;
    let addresses: Vec<&String> = instance
        .public_ip_address
        .iter()
        .chain(&instance.vpc_attributes.private_ip_address)
        .collect();
    html! {
        tr {
            td data-label="Instance ID/Name" { (parts::id_and_name(&here, id, &instance.instance_name)) }
            td data-label="Tag" { (parts::tags(ctx, &instance.tags, edits.then_some(("instance", id)))) }
            td data-label="Zone" { (instance.zone_id) }
            td data-label="IP Address" {
                @for address in &addresses { span class="name" { (address) } }
                @if addresses.is_empty() { span class="none" { "–" } }
            }
            td data-label="Status" { (parts::status(&instance.status)) }
            td data-label="Network Type" { (instance.instance_network_type.to_uppercase()) }
            td data-label="Configuration" { (instance.instance_type) }
            td data-label="Billing Method" { "Pay-As-You-Go" }
            td data-label="Actions" class="actions" {
                a href=(here) aria-label=(format!("Manage {id}")) { "Manage" }
                (parts::more(id, &more))
            }
        }
    }
}

/// What else can be done with an instance, as far as the caller may and its state allows.
pub(super) async fn more(ctx: &Ctx, instance: &Instance) -> Vec<Markup> {
    let id = instance.instance_id.as_str();
    let own = [("InstanceId", id)];
    let is = |status: &str| instance.status == status;
    let open = |may: bool, dialog: &str, label: &str| parts::opens(may, &ctx.dialog(dialog, &own), label, id);
    vec![
        open(
            is("Stopped") && ctx.may("StartInstance", &own).await,
            "start-instance",
            "Start",
        ),
        open(
            is("Running") && ctx.may("StopInstance", &own).await,
            "stop-instance",
            "Stop",
        ),
        open(
            is("Running") && ctx.may("RebootInstance", &own).await,
            "restart-instance",
            "Restart",
        ),
        open(
            is("Stopped") && ctx.may("DeleteInstance", &own).await,
            "release-instance",
            "Release",
        ),
        open(
            is("Stopped") && ctx.may("ReplaceSystemDisk", &own).await,
            "replace-system-disk",
            "Replace System Disk",
        ),
        open(
            (is("Running") || is("Stopped")) && ctx.may("CreateSnapshotGroup", &own).await,
            "create-instance-snapshot",
            "Create Instance Snapshot",
        ),
        open(
            (is("Running") || is("Stopped")) && ctx.may("CreateImage", &own).await,
            "create-image",
            "Create Custom Image",
        ),
    ]
}
