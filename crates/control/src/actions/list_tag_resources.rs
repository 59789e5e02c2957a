//! ListTagResources: which resource has which tags.

use crate::catalogue::tags::ResourceType;
use crate::store::{Row, StoreError, Transaction, Value};
use crate::{Caller, Control};
use std::collections::BTreeMap;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::list_tag_resources::{Request, Response};
use tidemark_ecs::model::{Tag, TagResource};
use tidemark_ecs::page::Cursor;

impl Control {
    /// One page: every tag of the resources that pass all filters, by resource, then key.
    pub async fn list_tag_resources(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let account = caller.account.clone();
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            // What carries no tags here has none to list.
            let Ok(kind) = request.resource_type.parse::<ResourceType>() else {
                return Ok(request.page.cut(Vec::new(), place));
            };
            let mut found = Vec::new();
            for (id, tags) in tagged(t, &account, &request.region_id, kind, &request.resource_ids)? {
                let passes = request.tags.iter().all(|filter| filter.matches(&tags))
                    && request
                        .tag_filters
                        .iter()
                        .all(|filter| tags.iter().any(|tag| filter.matches(&tag.key, &tag.value)));
                if passes {
                    found.extend(tags.into_iter().map(|tag| show(kind, &id, tag)));
                }
            }
            Ok(request.page.cut(found, place))
        };
        let (tag_resources, page) = self.store().read(read).await?;
        Ok(Response {
            tag_resources,
            next_token: page.next_token,
        })
    }
}

fn show(kind: ResourceType, id: &str, tag: Tag) -> TagResource {
    TagResource {
        resource_id: id.to_owned(),
        resource_type: kind.word().into(),
        tag_key: tag.key,
        tag_value: tag.value,
    }
}

/// Not by age: the list is of pairs, which have none.
fn place(row: &TagResource) -> Cursor {
    Cursor {
        created: 0,
        id: format!("{}/{}", row.resource_id, row.tag_key),
    }
}

/// Resources of a kind in a region, with all their tags; only these, if any are named.
fn tagged(
    t: &mut dyn Transaction,
    account: &str,
    region: &str,
    kind: ResourceType,
    ids: &[String],
) -> Result<BTreeMap<String, Vec<Tag>>, StoreError> {
    let mut sql = format!(
        "SELECT resource_id, tag_key, tag_value FROM tags WHERE account = $1 AND resource_type = $2 \
         AND resource_id IN (SELECT id FROM {} WHERE region = $3)",
        kind.table()
    );
    let mut values: Vec<Value> = vec![account.into(), kind.word().into(), region.into()];
    if !ids.is_empty() {
        let marks: Vec<_> = (0..ids.len()).map(|n| format!("${}", n + 4)).collect();
        sql.push_str(&format!(" AND resource_id IN ({})", marks.join(", ")));
        values.extend(ids.iter().map(Value::from));
    }
    let mut all: BTreeMap<String, Vec<Tag>> = BTreeMap::new();
    let read = |row: &Row| {
        Ok((
            row.text(0)?,
            Tag {
                key: row.text(1)?,
                value: row.text(2)?,
            },
        ))
    };
    for (id, tag) in t
        .query(&sql, &values)?
        .iter()
        .map(read)
        .collect::<Result<Vec<_>, StoreError>>()?
    {
        all.entry(id).or_default().push(tag);
    }
    Ok(all)
}
