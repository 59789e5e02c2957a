//! DescribeSnapshotGroups: the caller's snapshot-consistent groups, newest first, with their snapshots as they are now.

use crate::catalogue::Conditions;
use crate::catalogue::groups::{self, GroupRow};
use crate::catalogue::snapshots::SnapshotRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::rules;
use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, views};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_groups::{Request, Response};
use tidemark_ecs::model::{GroupMember, GroupTag, SnapshotGroup, Tag};
use tidemark_ecs::time;

/// A group and what belongs to its picture.
struct GroupView {
    row: GroupRow,
    members: Vec<(SnapshotRow, Vec<Tag>)>,
    tags: Vec<Tag>,
}

impl Control {
    /// One page.
    pub async fn describe_snapshot_groups(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (mut views, mut next_token) = self.read_groups(caller, &request).await?;
        let mut ended = false;
        for (row, _) in views.iter_mut().flat_map(|view| &mut view.members) {
            let (over, percent, _) = self.progress_of(row).await?;
            ended |= over;
            row.percent = percent;
        }
        // A capture that ended while the page was being read shows as ended.
        if ended {
            (views, next_token) = self.read_groups(caller, &request).await?;
        }
        Ok(Response {
            snapshot_groups: views.into_iter().map(show).collect(),
            next_token,
        })
    }

    async fn read_groups(
        &self,
        caller: &Caller,
        request: &Request,
    ) -> Result<(Vec<GroupView>, String), ApiError> {
        let (caller, request) = (caller.clone(), request.clone());
        let read = move |t: &mut dyn Transaction| {
            if let Some(id) = &request.instance_id {
                rules::instance(t, &caller, id)?;
            }
            let all = conditions(&caller, &request);
            let (rows, page) = all.page(t, &request.page, GroupRow::select, |row| (row.ordinal, &row.id))?;
            let views = rows
                .into_iter()
                .map(|row| view(t, row))
                .collect::<Result<Vec<_>, _>>()?;
            Ok::<_, ApiError>((views, page.next_token))
        };
        self.store().read(read).await
    }
}

fn conditions(caller: &Caller, request: &Request) -> Conditions {
    let mut all = Conditions::of_account(GroupRow::TABLE, &caller.account);
    all.equals("region", &request.region_id);
    all.equals_if("instance_id", request.instance_id.as_ref());
    if !request.snapshot_group_ids.is_empty() {
        all.one_of("id", &request.snapshot_group_ids);
    }
    all.equals_if("name", request.name.as_ref());
    all.equals_if("resource_group", request.resource_group_id.as_ref());
    let any = "EXISTS (SELECT 1 FROM snapshots JOIN snapshot_group_members \
               ON snapshot_group_members.snapshot_id = snapshots.id \
               WHERE snapshot_group_members.group_id = snapshot_groups.id AND snapshots.status = ?)";
    // What `status_of` says, for the database.
    let alternatives: Vec<String> = request
        .statuses
        .iter()
        .map(|status| match status.as_str() {
            "failed" => any.to_owned(),
            "progressing" => format!("({any} AND NOT {any})"),
            _ => format!("(NOT {any} AND NOT {any})"),
        })
        .collect();
    if !alternatives.is_empty() {
        let (failed, progressing) = (SnapshotStatus::Failed.word(), SnapshotStatus::Progressing.word());
        let values = request.statuses.iter().flat_map(|status| match status.as_str() {
            "failed" => vec![failed],
            "progressing" => vec![progressing, failed],
            _ => vec![progressing, failed],
        });
        all.term(
            &format!("({})", alternatives.join(" OR ")),
            values.map(Into::into).collect::<Vec<_>>(),
        );
    }
    all.tagged(ResourceType::SnapshotGroup, &request.tags);
    all
}

fn view(t: &mut dyn Transaction, row: GroupRow) -> Result<GroupView, StoreError> {
    let mut members = Vec::new();
    for member in groups::members(t, &row.id)? {
        let tags = tags::of(t, ResourceType::Snapshot, &member.id)?;
        members.push((member, tags));
    }
    let tags = tags::of(t, ResourceType::SnapshotGroup, &row.id)?;
    Ok(GroupView { row, members, tags })
}

/// Failed when any member is, accomplished when all are.
fn status_of(members: &[(SnapshotRow, Vec<Tag>)]) -> SnapshotStatus {
    let any = |status| members.iter().any(|(row, _)| row.status == status);
    if any(SnapshotStatus::Failed) {
        SnapshotStatus::Failed
    } else if any(SnapshotStatus::Progressing) {
        SnapshotStatus::Progressing
    } else {
        SnapshotStatus::Accomplished
    }
}

fn show(view: GroupView) -> SnapshotGroup {
    let GroupView { row, members, tags } = view;
    let own = |tags: Vec<Tag>| tags.into_iter().map(GroupTag::from).collect();
    SnapshotGroup {
        status: status_of(&members).word().into(),
        snapshots: members
            .into_iter()
            .map(|(row, tags)| {
                let accomplished = row.status == SnapshotStatus::Accomplished;
                let percent = if accomplished { 100 } else { row.percent.min(99) };
                GroupMember {
                    snapshot_id: row.id,
                    source_disk_id: row.source_disk_id,
                    source_disk_type: row.source_disk_kind.word().into(),
                    progress: format!("{percent}%"),
                    instant_access: row.instant_access,
                    instant_access_retention_days: row.instant_access_days,
                    available: accomplished,
                    tags: own(tags),
                }
            })
            .collect(),
        snapshot_group_id: row.id,
        name: row.name,
        description: row.description,
        instance_id: row.instance_id,
        creation_time: time::seconds(views::at(row.created_ms)),
        progress_status: String::new(),
        resource_group_id: row.resource_group,
        tags: own(tags),
    }
}
