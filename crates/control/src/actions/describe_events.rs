//! DescribeEvents: what happened, newest first; or what happens, as it comes.

use crate::catalogue::Conditions;
use crate::catalogue::events::{self, EventRow};
use crate::store::{StoreError, Transaction};
use crate::{Caller, Control, views};
use tidemark_ecs::actions::describe_events::{Event, Request, Response};
use tidemark_ecs::filter::Window;
use tidemark_ecs::page::{Cursor, PageInfo, Start};
use tidemark_ecs::{ApiError, time};

impl Control {
    /// One page.
    pub async fn describe_events(&self, caller: &Caller, request: Request) -> Result<Response, ApiError> {
        self.check_region(request.region_id.as_deref())?;
        let conditions = conditions(caller, &request);
        let read = move |t: &mut dyn Transaction| match request.follow {
            true => follow(t, conditions, &request),
            false => conditions.page(t, &request.page, EventRow::select, |row| (row.ordinal, &row.id)),
        };
        let (rows, page) = self.store().read::<_, StoreError, _>(read).await?;
        Ok(Response {
            events: rows.into_iter().map(show).collect(),
            page,
        })
    }
}

fn show(row: EventRow) -> Event {
    Event {
        event_id: row.id,
        region_id: row.region,
        event_name: row.name.word().into(),
        level: row.level.word().into(),
        event_time: time::seconds(views::at(row.created_ms)),
        resource_type: row.resource_type,
        resource_id: row.resource_id,
        content: serde_json::from_str(&row.content).unwrap_or_default(),
    }
}

fn conditions(caller: &Caller, request: &Request) -> Conditions {
    let mut all = Conditions::of_account(EventRow::TABLE, &caller.account);
    if let Some(region) = &request.region_id {
        // What is in no region is everywhere.
        all.one_of("region", &[region.clone(), String::new()]);
    }
    if !request.event_names.is_empty() {
        all.one_of("name", &request.event_names);
    }
    all.equals_if("level", request.level.as_ref());
    all.equals_if("resource_type", request.resource_type.as_ref());
    all.equals_if("resource_id", request.resource_id.as_ref());
    let window = Window {
        start: request.start_time,
        end: request.end_time,
    };
    all.within("created_ms", &window);
    all
}

/// What came after the token, oldest first; without a token, what will come. The next token is where the look ended,
/// not where the last row was: what does not fit the filters is not looked at twice.
fn follow(
    t: &mut dyn Transaction,
    mut conditions: Conditions,
    request: &Request,
) -> Result<(Vec<EventRow>, PageInfo), StoreError> {
    let newest = events::newest(t)?;
    let size = request.page.size;
    let (rows, seen) = match &request.page.start {
        Start::Number(_) => (Vec::new(), newest),
        Start::After(last) => {
            conditions.term("events.ordinal > ?", [last.created.into()]);
            let rows = conditions.all(t, |t, rest, values| {
                EventRow::select(t, &format!("{rest} ORDER BY events.ordinal LIMIT {size}"), values)
            })?;
            let seen = match rows.last() {
                Some(row) if rows.len() == size => row.ordinal,
                _ => newest,
            };
            (rows, seen)
        }
    };
    let token = Cursor {
        created: seen,
        id: "follow".into(),
    };
    let page = PageInfo {
        page_number: 1,
        page_size: size,
        total_count: rows.len(),
        next_token: token.encode(),
    };
    Ok((rows, page))
}
