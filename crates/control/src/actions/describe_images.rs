//! DescribeImages: the system's image, the caller's own, and those shared with the caller, newest first.
//!
//! Images are few beside disks and snapshots, so the page is cut after reading what the columns let through.

use crate::catalogue::images::{self, ImageRow};
use crate::image_view::ImageView;
use crate::states::ImageStatus;
use crate::store::{StoreError, Transaction};
use crate::views::at;
use crate::{Caller, Control};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_images::{Request, Response, name_matches};
use tidemark_ecs::page::Cursor;

impl Control {
    /// One page.
    pub async fn describe_images(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        if let Some(kind) = &request.instance_type {
            self.check_type(kind)?;
        }
        if request.dry_run {
            return Err(ApiError::dry_run());
        }
        let (caller, region_id) = (caller.clone(), request.region_id.clone());
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            let mut views = Vec::new();
            for row in candidates(t, &caller, &request)? {
                let view = ImageView::read(t, row, &caller.account)?;
                if passes(&request, &view) {
                    views.push(view);
                }
            }
            let builtin = ImageView::builtin(t)?;
            if passes(&request, &builtin) {
                views.push(builtin);
            }
            Ok(request.page.cut(views, |view| Cursor {
                created: view.row.ordinal,
                id: view.row.id.clone(),
            }))
        };
        let (views, page) = self.store().read(read).await?;
        Ok(Response {
            region_id,
            images: views.into_iter().map(ImageView::show).collect(),
            page,
        })
    }
}

/// Everything that the caller may see and that the cheap conditions let through.
fn candidates(
    t: &mut dyn Transaction,
    caller: &Caller,
    request: &Request,
) -> Result<Vec<ImageRow>, StoreError> {
    let mut rows = Vec::new();
    let owner = request.image_owner_alias.as_deref();
    if matches!(owner, None | Some("self")) {
        let own = "WHERE account = $1 AND region = $2 AND marked = 1";
        let values = [(&caller.account).into(), (&request.region_id).into()];
        rows.extend(ImageRow::select(t, own, &values)?);
    }
    if matches!(owner, None | Some("others")) {
        let shared = "JOIN image_shares ON image_shares.image_id = images.id \
                      WHERE image_shares.account = $1 AND images.account <> $1 AND images.region = $2";
        let values = [(&caller.account).into(), (&request.region_id).into()];
        rows.extend(ImageRow::select(t, shared, &values)?);
    }
    if let Some(snapshot) = &request.snapshot_id {
        let mut of_snapshot = Vec::with_capacity(rows.len());
        for row in rows {
            let disks = images::disks(t, &row.id)?;
            if disks.iter().any(|disk| disk.snapshot_id == *snapshot) {
                of_snapshot.push(row);
            }
        }
        rows = of_snapshot;
    }
    Ok(rows)
}

fn passes(request: &Request, view: &ImageView) -> bool {
    let row = &view.row;
    let same = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
    let ids = &request.image_ids;
    let statuses = &request.statuses;
    let usage = if view.used { "instance" } else { "none" };
    let usable = row.status == ImageStatus::Available;
    (ids.is_empty() || ids.contains(&row.id))
        && (statuses.is_empty() || statuses.iter().any(|status| status == row.status.word()))
        && same(&request.image_owner_alias, view.owner_alias)
        && request
            .image_name
            .as_ref()
            .is_none_or(|pattern| name_matches(pattern, &row.name))
        && same(&request.image_family, &row.family)
        && request
            .snapshot_id
            .as_ref()
            .is_none_or(|id| view.disks.iter().any(|disk| disk.row.snapshot_id == *id))
        && same(&request.os_type, &row.os_type)
        && same(&request.architecture, &row.architecture)
        && same(&request.resource_group_id, &row.resource_group)
        && same(&request.usage, usage)
        && request.is_support_io_optimized != Some(false)
        && request.is_support_cloudinit != Some(true)
        && request.is_public != Some(true)
        && request.usable.is_none_or(|wanted| wanted == usable)
        && request.image_owner_id.is_none_or(|id| id == view.owner_id())
        && request.tags.iter().all(|tag| tag.matches(&view.tags))
        && request.filters.created.contains(at(row.created_ms))
}
