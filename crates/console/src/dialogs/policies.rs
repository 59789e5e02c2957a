//! Dialogs about automatic snapshot policies (product.md 3.6).

use super::{Form, Shape, choice, precautions};
use crate::ask::ask;
use crate::layout::{Page, Section};
use crate::pages::{json_ids, one_disk};
use crate::text;
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::model::{AutoSnapshotPolicy, Disk};

const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
/// How long snapshots are kept unless somebody says otherwise, in days.
const DAYS: i64 = 30;
/// Disks that a page of the dialog offers.
const DISKS: &str = "100";

async fn known(form: &Form<'_>, id: &str) -> Result<AutoSnapshotPolicy, ApiError> {
    let asked = [("AutoSnapshotPolicyId", id)];
    let found = ask!(
        form.ctx,
        "DescribeAutoSnapshotPolicyEx",
        describe_auto_snapshot_policy_ex,
        &asked
    );
    let policy = found.auto_snapshot_policies.into_iter().next();
    policy.ok_or_else(|| tidemark_ecs::rules::policy::not_found(id))
}

/// The fields of a policy, as they are now.
fn fields(form: &Form<'_>, now: &AutoSnapshotPolicy, is_new: bool) -> Markup {
    let again = form.error.is_some();
    let hours = crate::pages::numbers_of(&now.time_points);
    let days = crate::pages::numbers_of(&now.repeat_weekdays);
    let keeps = match (again, form.fields.get("_keep")) {
        (true, Some(keep)) => keep == "always",
        _ => now.retention_days < 0,
    };
    let kept = if now.retention_days > 0 {
        now.retention_days
    } else {
        DAYS
    };
    let copies_kept = match now.copied_snapshots_retention_days {
        days if days > 0 => days,
        _ => DAYS,
    };
    let own = form.ctx.region.as_str();
    let regions: Vec<_> = form
        .ctx
        .regions
        .iter()
        .filter(|region| region.region_id != own)
        .map(|region| {
            choice(
                region.region_id.clone(),
                text::or(&region.local_name, &region.region_id),
            )
        })
        .collect();
    html! {
        (form.text("Policy Name", "autoSnapshotPolicyName", "2 to 128 letters, digits and : _ . -, beginning with a letter."))
        fieldset class="toggles" {
            legend { "Executed At" }
            @for hour in 0..24u8 {
                (form.tick(&format!("{hour:02}:00"), "timePoints[]", &hour.to_string(), !again && hours.contains(&hour)))
            }
            p class="hint" { "In UTC+8. While a snapshot is being created the disk's performance falls by less than 10 %: choose quiet hours." }
        }
        fieldset class="toggles" {
            legend { "Execution Frequency" }
            @for (number, day) in (1u8..).zip(WEEKDAYS) {
                (form.tick(day, "repeatWeekdays[]", &number.to_string(), !again && days.contains(&number)))
            }
        }
        fieldset {
            legend { "Keep Snapshots" }
            label class="tick" { input type="radio" name="_keep" value="for" checked[!keeps]; span { "Keep For" } }
            (form.number("Days", "retentionDays", "1 to 65535.", &kept.to_string()))
            label class="tick" { input type="radio" name="_keep" value="always" checked[keeps]; span { "Always Keep" } }
        }
        input type="hidden" name="_copies" value=(if is_new { "new" } else { "modify" });
        @if !regions.is_empty() {
            fieldset {
                legend { "Cross-Region Replication for Snapshots" }
                (form.tick("Enabled", "EnableCrossRegionCopy", "true", now.enable_cross_region_copy))
                (form.select("Destination Region", "TargetCopyRegions[]", &regions, &copied_to(now)))
                (form.number("Retention Time of Snapshot Copies: Keep For, days", "CopiedSnapshotsRetentionDays", "1 to 65535.", &copies_kept.to_string()))
                (form.tick("Always Keep Snapshots Regardless of the Limit of Snapshots", "_keep-copies", "always", now.copied_snapshots_retention_days < 0))
            }
        }
        @if is_new { (form.tags()) }
    }
}

/// The region that the policy copies to; `""`: none.
fn copied_to(policy: &AutoSnapshotPolicy) -> String {
    let regions = serde_json::from_str::<Vec<String>>(&policy.target_copy_regions);
    regions.unwrap_or_default().into_iter().next().unwrap_or_default()
}

pub(super) fn create(form: &Form<'_>) -> Result<Page, ApiError> {
    let fresh = AutoSnapshotPolicy {
        time_points: "[\"1\"]".to_owned(),
        repeat_weekdays: "[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\"]".to_owned(),
        retention_days: DAYS,
        ..AutoSnapshotPolicy::default()
    };
    let inner = fields(form, &fresh, true);
    let shape = Shape::new(
        Section::Snapshots,
        "Create Policy",
        "CreateAutoSnapshotPolicy",
        "OK",
    );
    Ok(form.page(&shape, &inner))
}

pub(super) async fn modify(form: &Form<'_>) -> Result<Page, ApiError> {
    let policy = known(form, form.needed("autoSnapshotPolicyId")?).await?;
    let inner = html! {
        (form.hidden("autoSnapshotPolicyId"))
        p { "The policy " code { (policy.auto_snapshot_policy_id) } " " (policy.auto_snapshot_policy_name) }
        (fields(form, &policy, false))
    };
    let shape = Shape::new(
        Section::Snapshots,
        "Modify Policy",
        "ModifyAutoSnapshotPolicyEx",
        "OK",
    );
    Ok(form.page(&shape, &inner))
}

pub(super) fn delete(form: &Form<'_>) -> Result<Page, ApiError> {
    let id = form.needed("autoSnapshotPolicyId")?;
    let shape = Shape::new(
        Section::Snapshots,
        "Delete Policy",
        "DeleteAutoSnapshotPolicy",
        "OK",
    )
    .dangerous();
    let text = format!("Delete the policy {id}? Disks lose it; the snapshots that it made stay.");
    Ok(form.confirm(&shape, &["autoSnapshotPolicyId"], &text))
}

/// Disks to tick.
fn ticks(form: &Form<'_>, disks: &[Disk]) -> Markup {
    html! {
        @for disk in disks {
            (form.tick(
                &format!("{} {}, {}", disk.disk_id, disk.disk_name, text::gib(disk.size)),
                "diskIds[]",
                &disk.disk_id,
                false,
            ))
        }
    }
}

/// Two lists as tabs: the disks that do not have the policy, and those that do.
pub(super) async fn apply(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let id = form.needed("autoSnapshotPolicyId")?;
    let policy = known(form, id).await?;
    let all = ask!(ctx, "DescribeDisks", describe_disks, &[("MaxResults", DISKS)]).disks;
    let asked = [("AutoSnapshotPolicyId", id), ("MaxResults", DISKS)];
    let with = ask!(ctx, "DescribeDisks", describe_disks, &asked).disks;
    let has = |disk: &Disk| with.iter().any(|other| other.disk_id == disk.disk_id);
    let without: Vec<Disk> = all.into_iter().filter(|disk| !has(disk)).collect();
    let takes_off = form.fields.get("_list") == Some("with");
    let tab = |list: &str| {
        ctx.link_with(
            "/dialog/apply-policy",
            &[
                ("autoSnapshotPolicyId", id),
                ("_list", list),
                ("_then", form.fields.text("_then")),
            ],
        )
    };
    let inner = html! {
        (form.hidden("autoSnapshotPolicyId"))
        (form.hidden("_list"))
        p { "The policy " code { (id) } " " (policy.auto_snapshot_policy_name) }
        nav class="tabs small" aria-label="Disks" {
            a data-dialog href=(tab("without")) aria-current=[(!takes_off).then_some("true")] { "Disks without Policy Applied" }
            a data-dialog href=(tab("with")) aria-current=[takes_off.then_some("true")] { "Disks with Policy Applied" }
        }
        fieldset {
            legend { @if takes_off { "Take it off" } @else { "Apply it to" } }
            (ticks(form, if takes_off { &with } else { &without }))
            @if takes_off && with.is_empty() { p class="none" { "No disk has this policy." } }
            @if !takes_off && without.is_empty() { p class="none" { "Every disk has this policy, or there is no disk." } }
        }
        (precautions(&["A disk has as many policies as the service allows, one by default: then the new one takes the other's place."]))
    };
    let (action, submit) = if takes_off {
        ("CancelAutoSnapshotPolicy", "Disable Policy")
    } else {
        ("ApplyAutoSnapshotPolicy", "Apply Policy")
    };
    let shape = Shape::new(Section::Snapshots, "Apply Policy", action, submit);
    let is_ready = if takes_off {
        !with.is_empty()
    } else {
        !without.is_empty()
    };
    Ok(form.page_if(&shape, &inner, is_ready))
}

/// The policy of one disk.
pub(super) async fn of_disk(form: &Form<'_>) -> Result<Page, ApiError> {
    let ctx = form.ctx;
    let given = form.fields.get("DiskId").or_else(|| form.fields.get("diskIds[]"));
    let id = given.ok_or_else(|| ApiError::missing_parameter("DiskId"))?;
    let disk = one_disk(ctx, id).await?;
    let policies = ask!(
        ctx,
        "DescribeAutoSnapshotPolicyEx",
        describe_auto_snapshot_policy_ex,
        &[("PageSize", "100")]
    );
    let choices: Vec<_> = policies
        .auto_snapshot_policies
        .into_iter()
        .map(|policy| {
            let shown = format!(
                "{} {}",
                policy.auto_snapshot_policy_id, policy.auto_snapshot_policy_name
            );
            choice(policy.auto_snapshot_policy_id, shown)
        })
        .collect();
    let ids = json_ids(&[&disk.disk_id]);
    let off = [("diskIds", ids.as_str()), ("_then", form.fields.text("_then"))];
    let may_cancel = !disk.auto_snapshot_policy_id.is_empty()
        && ctx.may("CancelAutoSnapshotPolicy", &[("diskIds", &ids)]).await;
    let inner = html! {
        input type="hidden" name="diskIds[]" value=(disk.disk_id);
        (super::disks::about(&disk))
        @if choices.is_empty() {
            p class="hint bad" { "There is no policy yet. " a href=(ctx.link_with("/snapshots", &[("tab", "policies")])) { "Automatic Snapshot Policies" } }
        } @else {
            (form.select("Automatic snapshot policy", "autoSnapshotPolicyId", &choices, &disk.auto_snapshot_policy_id))
        }
        @if may_cancel {
            p { a class="button" data-dialog href=(ctx.link_with("/dialog/cancel-policy", &off)) { "Take the policy off" } }
        }
    };
    let title = "Configure Automatic Snapshot Policy";
    let shape = Shape::new(
        Section::Disks,
        title,
        "ApplyAutoSnapshotPolicy",
        "Confirm Settings",
    );
    Ok(form.page_if(&shape, &inner, !choices.is_empty()))
}

pub(super) fn cancel(form: &Form<'_>) -> Result<Page, ApiError> {
    form.needed("diskIds")?;
    let shape = Shape::new(
        Section::Disks,
        "Take the policy off",
        "CancelAutoSnapshotPolicy",
        "OK",
    );
    Ok(form.confirm(
        &shape,
        &["diskIds"],
        "No snapshots are taken of this disk automatically any more; those that there are stay.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_is_modified_copies_to_where_it_did() {
        let policy = |regions: &str| AutoSnapshotPolicy {
            target_copy_regions: regions.to_owned(),
            ..AutoSnapshotPolicy::default()
        };
        assert_eq!(copied_to(&policy("[\"cn-beijing\"]")), "cn-beijing");
        assert_eq!(copied_to(&policy("[]")), "");
        assert_eq!(copied_to(&policy("")), "");
    }
}
