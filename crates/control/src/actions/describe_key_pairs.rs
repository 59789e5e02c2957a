//! DescribeKeyPairs: the caller's key pairs in a region, newest first.
//!
//! They are few, and a name can be a pattern; so the page is cut after reading what the columns let through.

use crate::catalogue::Conditions;
use crate::catalogue::key_pairs::KeyPairRow;
use crate::catalogue::tags::{self, ResourceType};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, views};
use tidemark_ecs::actions::describe_key_pairs::{Request, Response, name_matches};
use tidemark_ecs::model::KeyPair;
use tidemark_ecs::page::Cursor;
use tidemark_ecs::{ApiError, time};

impl Control {
    /// One page.
    pub async fn describe_key_pairs(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let mut conditions = Conditions::of_account(KeyPairRow::TABLE, &caller.account);
        conditions.equals("region", &request.region_id);
        conditions.equals_if("finger_print", request.key_pair_finger_print.as_ref());
        conditions.equals_if("resource_group", request.resource_group_id.as_ref());
        conditions.tagged(ResourceType::KeyPair, &request.tags);
        let with_key = request.include_public_key;
        let read = move |t: &mut dyn Transaction| -> Result<_, StoreError> {
            let mut rows = conditions.all(t, KeyPairRow::select)?;
            let pattern = request.key_pair_name.as_deref();
            rows.retain(|row| pattern.is_none_or(|pattern| name_matches(pattern, &row.name)));
            let (rows, page) = request.page.cut(rows, |row| Cursor {
                created: row.ordinal,
                id: row.id.clone(),
            });
            let mut shown = Vec::new();
            for row in rows {
                let tags = tags::of(t, ResourceType::KeyPair, &row.id)?;
                shown.push((row, tags));
            }
            Ok((shown, page))
        };
        let (rows, page) = self.store().read(read).await?;
        let show = |(row, tags): (KeyPairRow, _)| KeyPair {
            key_pair_id: row.id,
            key_pair_name: row.name,
            key_pair_finger_print: row.finger_print,
            creation_time: time::seconds(views::at(row.created_ms)),
            resource_group_id: row.resource_group,
            public_key: with_key.then_some(row.public_key),
            tags,
        };
        Ok(Response {
            key_pairs: rows.into_iter().map(show).collect(),
            page,
        })
    }
}
