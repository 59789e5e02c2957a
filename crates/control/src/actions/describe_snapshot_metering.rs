//! DescribeSnapshotMetering: what has been stored for how long, in started hours, by snapshot, chain, region or tag.
//!
//! Tags are those that snapshots have now: one that is gone has none, and what was metered of it stands under the empty value.

use crate::catalogue::tags::{self, ResourceType};
use crate::catalogue::usage::{UsageRow, hour_of, next_hour};
use crate::clock::HOUR_MS;
use crate::metering::{self, Metered};
use crate::store::{StoreError, Transaction, Value};
use crate::{Caller, Control, views};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::ops::Range;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_metering::{GroupBy, MeterItem, Request, Response};
use tidemark_ecs::page::Cursor;
use tidemark_ecs::time;

/// What was metered of one thing, and since when there is something of it.
struct Line {
    /// Tells it from the others.
    key: String,
    item: MeterItem,
    metered: Metered,
    from_ms: i64,
}

impl Control {
    /// One page. Hours belong to the window as a whole, when they have begun in it or reach into it.
    pub async fn describe_snapshot_metering(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        self.check_region(Some(&request.region_id))?;
        let now = self.now_ms();
        let start = request.start_ms.unwrap_or_else(|| month_of(now));
        let window = hour_of(start)..next_hour(request.end_ms.unwrap_or(now));
        let (account, of, asked) = (caller.account.clone(), window.clone(), request.clone());
        let read = move |t: &mut dyn Transaction| lines(t, &account, &asked, &of, now);
        let lines = self.store().read(read).await?;
        let price = self.config().price.as_ref();
        let (lines, page) = request.page.cut(lines, |line| Cursor {
            created: line.from_ms,
            id: line.key.clone(),
        });
        let show = |line: Line| MeterItem {
            hours: line.metered.hours(),
            byte_hours: line.metered.byte_hours.to_string(),
            gib_hours: metering::gib_hours(line.metered.byte_hours),
            size: line.metered.bytes,
            cost: price.map(|price| price.of(line.metered.byte_hours)),
            ..line.item
        };
        let at = |hour: i64| time::seconds(views::at(hour.saturating_mul(HOUR_MS)));
        Ok(Response {
            meter_items: lines.into_iter().map(show).collect(),
            start_time: at(window.start),
            end_time: at(window.end),
            price: price.map(ToString::to_string),
            page,
        })
    }
}

/// When the month of a time began, in UTC.
fn month_of(ms: i64) -> i64 {
    let at = views::at(ms).to_zoned(TimeZone::UTC);
    let first = at.date().first_of_month().to_zoned(TimeZone::UTC);
    first.map_or(ms, |first| first.timestamp().as_millisecond())
}

fn lines(
    t: &mut dyn Transaction,
    account: &str,
    request: &Request,
    window: &Range<i64>,
    now: i64,
) -> Result<Vec<Line>, StoreError> {
    let mut rest = String::from(
        "WHERE account = $1 AND region = $2 AND from_ms < $3 AND (until_ms IS NULL OR until_ms >= $4)",
    );
    let mut values: Vec<Value> = vec![
        account.into(),
        (&request.region_id).into(),
        window.end.saturating_mul(HOUR_MS).into(),
        window.start.saturating_mul(HOUR_MS).into(),
    ];
    for (column, value) in [
        ("source_disk_id", &request.disk_id),
        ("snapshot_id", &request.snapshot_id),
        ("link_id", &request.snapshot_link_id),
    ] {
        if let Some(value) = value {
            values.push(value.into());
            rest.push_str(&format!(" AND {column} = ${}", values.len()));
        }
    }
    let tags = match (request.group_by, &request.tag_key) {
        (GroupBy::Tag, Some(key)) => tags::values(t, account, ResourceType::Snapshot, key)?,
        _ => BTreeMap::new(),
    };
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    for row in UsageRow::select(t, &rest, &values)? {
        let item = MeterItem {
            region_id: row.region.clone(),
            ..MeterItem::default()
        };
        let of_chain = |row: &UsageRow, item: MeterItem| MeterItem {
            snapshot_link_id: row.link_id.clone(),
            source_disk_id: row.source_disk_id.clone(),
            ..item
        };
        let (key, item) = match request.group_by {
            GroupBy::Region => (row.region.clone(), item),
            GroupBy::Tag => {
                let tag_value = tags.get(&row.snapshot_id).cloned().unwrap_or_default();
                let item = MeterItem {
                    tag_key: request.tag_key.clone().unwrap_or_default(),
                    tag_value: tag_value.clone(),
                    ..item
                };
                (tag_value, item)
            }
            GroupBy::Link => (row.link_id.clone(), of_chain(&row, item)),
            GroupBy::Snapshot => {
                let snapshot_id = row.snapshot_id.clone();
                (
                    snapshot_id.clone(),
                    MeterItem {
                        snapshot_id,
                        ..of_chain(&row, item)
                    },
                )
            }
        };
        let line = lines.entry(key.clone()).or_insert_with(|| Line {
            key,
            item,
            metered: Metered::default(),
            from_ms: row.from_ms,
        });
        line.metered.add(&row, window, now);
        line.from_ms = line.from_ms.min(row.from_ms);
    }
    Ok(lines
        .into_values()
        .filter(|line| !line.metered.is_empty())
        .collect())
}
