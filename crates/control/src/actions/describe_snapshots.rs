//! DescribeSnapshots: the caller's snapshots, newest first, with their progress as it is now.

use crate::catalogue::Conditions;
use crate::catalogue::snapshots::{SnapshotRow, SnapshotType};
use crate::catalogue::tags::ResourceType;
use crate::jobs::snapshot::settle;
use crate::states::SnapshotStatus;
use crate::store::{StoreError, Transaction};
use crate::views::SnapshotView;
use crate::{Caller, Control};
use std::collections::HashMap;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshots::{Request, Response};
use tidemark_ecs::page::PageInfo;
use tidemark_node::{SnapshotProgress, SnapshotStatus as Capture};
use tidemark_units::SnapshotId;

impl Control {
    /// One page.
    pub async fn describe_snapshots(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        if request.dry_run {
            return Err(ApiError::dry_run());
        }
        let (views, page) = self.read_snapshots(caller, &request).await?;
        let mut ended = false;
        let mut now = HashMap::new();
        for view in &views {
            let (over, percent, remaining) = self.progress_of(&view.row).await?;
            ended |= over;
            now.insert(view.row.id.clone(), (percent, remaining));
        }
        // A capture that ended while the page was being read shows as ended.
        let (views, page) = if ended {
            self.read_snapshots(caller, &request).await?
        } else {
            (views, page)
        };
        let show = |view: SnapshotView| {
            let (percent, remaining) = now.get(&view.row.id).copied().unwrap_or((view.row.percent, 0));
            view.show(percent, remaining)
        };
        Ok(Response {
            snapshots: views.into_iter().map(show).collect(),
            page,
        })
    }

    async fn read_snapshots(
        &self,
        caller: &Caller,
        request: &Request,
    ) -> Result<(Vec<SnapshotView>, PageInfo), ApiError> {
        let conditions = conditions(caller, request);
        let page = request.page.clone();
        let (account, region) = (caller.account.clone(), request.region_id.clone());
        let links = request.snapshot_link_ids.clone().unwrap_or_default();
        let read = move |t: &mut dyn Transaction| -> Result<_, ApiError> {
            for link in &links {
                chain_exists(t, &account, &region, link)?;
            }
            let (rows, page) =
                conditions.page(t, &page, SnapshotRow::select, |row| (row.ordinal, &row.id))?;
            let views = rows
                .into_iter()
                .map(|row| SnapshotView::read(t, row))
                .collect::<Result<Vec<_>, StoreError>>()?;
            Ok((views, page))
        };
        self.store().read(read).await
    }

    /// Whether the capture has just ended; else its percent and the seconds left.
    pub(super) async fn progress_of(&self, row: &SnapshotRow) -> Result<(bool, i64, u64), StoreError> {
        let nothing = (false, row.percent, 0);
        if row.status != SnapshotStatus::Progressing || !row.marked {
            return Ok(nothing);
        }
        let Ok(id) = SnapshotId::new(row.id.as_str()) else {
            return Ok(nothing);
        };
        let node = self.node_of(&row.region)?;
        // One that is not begun, or done, is its job's to find out about: the vault may be away, and a list does not wait.
        if row.is_copy() && node.known_status(&id).is_none() {
            let shown = self.percent(&row.id, row.percent, &SnapshotProgress::default());
            return Ok((false, shown, 0));
        }
        match node.snapshot_status(&id).await {
            Ok(Capture::Progressing(progress)) => {
                let percent = self.percent(&row.id, row.percent, &progress);
                Ok((false, percent, progress.remaining_seconds.unwrap_or(0)))
            }
            Ok(ended @ (Capture::Accomplished(_) | Capture::Failed(_))) => {
                settle(self, row, ended).await?;
                Ok((true, row.percent, 0))
            }
            // Its job finds out what that means.
            Ok(Capture::Unknown) => Ok(nothing),
            Err(error) => {
                tracing::warn!(snapshot = %row.id, %error, "the progress cannot be read");
                Ok(nothing)
            }
        }
    }
}

/// A chain is there as long as one of its snapshots is.
fn chain_exists(t: &mut dyn Transaction, account: &str, region: &str, link: &str) -> Result<(), ApiError> {
    let sql = "SELECT 1 FROM snapshots WHERE account = $1 AND region = $2 AND link_id = $3 AND status <> $4 LIMIT 1";
    let deleting = SnapshotStatus::Deleting.word().into();
    match t.query_one(sql, &[account.into(), region.into(), link.into(), deleting])? {
        Some(_) => Ok(()),
        None => {
            let message = format!("The specified SnapshotLinkId {link:?} does not exist.");
            Err(ApiError::new(404, "InvalidSnapshotLinkId.NotFound", message))
        }
    }
}

pub(super) fn conditions(caller: &Caller, request: &Request) -> Conditions {
    let mut all = Conditions::of_account(SnapshotRow::TABLE, &caller.account);
    all.term("snapshots.status <> ?", [SnapshotStatus::Deleting.word().into()]);
    all.equals("region", &request.region_id);
    if let Some(ids) = &request.snapshot_ids {
        all.one_of("id", ids);
    }
    if let Some(instance) = &request.instance_id {
        let attached = "snapshots.source_disk_id IN (SELECT disks.id FROM disks \
                        WHERE disks.instance_id = ? AND disks.region = snapshots.region)";
        all.term(attached, [instance.into()]);
    }
    all.equals_if("source_disk_id", request.disk_id.as_ref());
    if let Some(links) = &request.snapshot_link_ids {
        all.one_of("link_id", links);
    }
    all.equals_if("name", request.snapshot_name.as_ref());
    all.equals_if("status", request.status.as_ref());
    match request.snapshot_type.as_deref() {
        None => {}
        Some("auto") => all.equals("snapshot_type", SnapshotType::Timer.word()),
        Some(other) => all.equals("snapshot_type", other),
    }
    all.equals_if("source_disk_kind", request.source_disk_type.as_ref());
    all.equals_if("category", request.category.as_ref());
    all.equals_if("resource_group", request.resource_group_id.as_ref());
    match request.usage.as_deref() {
        None => {}
        Some(usage) => {
            for (word, users) in [("disk", DISKS), ("image", IMAGES)] {
                let not = if usage.split('_').any(|used| used == word) {
                    ""
                } else {
                    "NOT "
                };
                all.term(&format!("{not}EXISTS ({users})"), []);
            }
        }
    }
    if request.encrypted {
        all.equals("encrypted", true);
    }
    // There is no key service: no snapshot has a key from one.
    if request.kms_key_id.is_some() {
        all.nothing();
    }
    all.tagged(ResourceType::Snapshot, &request.tags);
    all.within("created_ms", &request.filters.created);
    all
}

const IMAGES: &str = "SELECT 1 FROM image_disks WHERE image_disks.snapshot_id = snapshots.id";
const DISKS: &str =
    "SELECT 1 FROM disks WHERE disks.source_snapshot_id = snapshots.id AND disks.status <> 'Deleting'";
