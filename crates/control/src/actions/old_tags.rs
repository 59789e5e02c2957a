//! AddTags, RemoveTags, DescribeTags, DescribeResourceByTags: the tag actions before TagResources, on the same tags.

use super::tag_resources::{all_exist, note_change};
use crate::catalogue::tags::{self, ResourceType};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control};
use std::collections::BTreeMap;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::{add_tags, describe_resource_by_tags, describe_tags, remove_tags, tag_resources};
use tidemark_ecs::model::{CountedTag, Tag, TagCounts, TaggedResource};
use tidemark_ecs::page::Cursor;

impl Control {
    /// As TagResources, for one resource.
    pub async fn add_tags(
        &self,
        caller: &Caller,
        request: add_tags::Request,
    ) -> Result<add_tags::Response, ApiError> {
        let request = tag_resources::Request {
            region_id: request.region_id,
            resource_type: request.resource_type,
            resource_ids: vec![request.resource_id],
            tags: request.tags,
        };
        self.tag_resources(caller, request).await
    }

    /// A tag that the resource does not have is fine.
    pub async fn remove_tags(
        &self,
        caller: &Caller,
        request: remove_tags::Request,
    ) -> Result<remove_tags::Response, ApiError> {
        let (control, caller) = (self.clone(), caller.clone());
        let work = move |t: &mut dyn Transaction| remove(t, &control, &caller, &request);
        self.store().write(work).await?;
        self.jobs().wake();
        Ok(remove_tags::Response {})
    }

    /// One page, by key and value.
    pub async fn describe_tags(
        &self,
        caller: &Caller,
        request: describe_tags::Request,
    ) -> Result<describe_tags::Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let account = caller.account.clone();
        let (region, kind) = (request.region_id.clone(), request.resource_type.clone());
        let id = request.resource_id.clone();
        let read = move |t: &mut dyn Transaction| all(t, &account, &region, kind.as_deref(), id.as_deref());
        let mut counted: BTreeMap<Tag, TagCounts> = BTreeMap::new();
        for (kind, _, tag) in self.store().read(read).await? {
            let wanted = request.tags.is_empty()
                || request
                    .tags
                    .iter()
                    .any(|filter| filter.matches(std::slice::from_ref(&tag)));
            if wanted {
                let counts = counted.entry(tag).or_default();
                match kind {
                    ResourceType::Instance => counts.instance += 1,
                    ResourceType::Disk => counts.disk += 1,
                    ResourceType::Snapshot => counts.snapshot += 1,
                    ResourceType::Image => counts.image += 1,
                    ResourceType::Policy => counts.snapshot_policy += 1,
                    // What this action counts was settled before there were these.
                    ResourceType::SnapshotGroup | ResourceType::KeyPair => {}
                }
            }
        }
        let rows: Vec<_> = counted.into_iter().collect();
        let (rows, page) = request.page.cut(rows, |(tag, _)| place(&[&tag.key, &tag.value]));
        let tags = rows.into_iter().map(|(tag, counts)| CountedTag {
            tag_key: tag.key,
            tag_value: tag.value,
            resource_type_count: counts,
        });
        Ok(describe_tags::Response {
            tags: tags.collect(),
            page,
        })
    }

    /// One page, by type and id.
    pub async fn describe_resource_by_tags(
        &self,
        caller: &Caller,
        request: describe_resource_by_tags::Request,
    ) -> Result<describe_resource_by_tags::Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let (account, region) = (caller.account.clone(), request.region_id.clone());
        let kind = request.resource_type.clone();
        let read = move |t: &mut dyn Transaction| all(t, &account, &region, kind.as_deref(), None);
        let mut tagged: BTreeMap<(&'static str, String), Vec<Tag>> = BTreeMap::new();
        for (kind, id, tag) in self.store().read(read).await? {
            tagged.entry((kind.word(), id)).or_default().push(tag);
        }
        let passes = |tags: &[Tag]| request.tags.iter().all(|filter| filter.matches(tags));
        let rows: Vec<_> = tagged.into_iter().filter(|(_, tags)| passes(tags)).collect();
        let (rows, page) = request.page.cut(rows, |((kind, id), _)| place(&[kind, id]));
        let resources = rows.into_iter().map(|((kind, id), _)| TaggedResource {
            resource_id: id,
            resource_type: kind.into(),
            region_id: request.region_id.clone(),
        });
        Ok(describe_resource_by_tags::Response {
            resources: resources.collect(),
            page,
        })
    }
}

/// Not by age: what is listed has none.
fn place(parts: &[&str]) -> Cursor {
    Cursor {
        created: 0,
        id: parts.join("\u{0}"),
    }
}

fn remove(
    t: &mut dyn Transaction,
    control: &Control,
    caller: &Caller,
    request: &remove_tags::Request,
) -> Result<(), ApiError> {
    control.check_region(Some(&request.region_id))?;
    let id = &request.resource_id;
    let kind = all_exist(t, caller, &request.resource_type, std::slice::from_ref(id))?;
    note_change(t, control, kind, id)?;
    if request.tags.is_empty() {
        return Ok(tags::unset_all(t, kind, id)?);
    }
    for tag in tags::of(t, kind, id)? {
        if request
            .tags
            .iter()
            .any(|filter| filter.matches(std::slice::from_ref(&tag)))
        {
            tags::unset(t, kind, id, &tag.key)?;
        }
    }
    Ok(())
}

/// Every tag of the account, of one type or resource if asked. A type that nothing can be of here has none.
fn all(
    t: &mut dyn Transaction,
    account: &str,
    region: &str,
    kind: Option<&str>,
    id: Option<&str>,
) -> Result<Vec<(ResourceType, String, Tag)>, StoreError> {
    let mut found = Vec::new();
    for of in ResourceType::ALL {
        if kind.is_some_and(|kind| kind != of.word()) {
            continue;
        }
        let sql = format!(
            "SELECT tags.resource_id, tags.tag_key, tags.tag_value FROM tags \
             JOIN {table} ON {table}.id = tags.resource_id \
             WHERE tags.account = $1 AND tags.resource_type = $2 AND {table}.region = $3 \
             ORDER BY tags.resource_id, tags.tag_key",
            table = of.table()
        );
        for row in t.query(&sql, &[account.into(), of.word().into(), region.into()])? {
            let resource = row.text(0)?;
            if id.is_none_or(|id| id == resource) {
                let tag = Tag {
                    key: row.text(1)?,
                    value: row.text(2)?,
                };
                found.push((*of, resource, tag));
            }
        }
    }
    Ok(found)
}
