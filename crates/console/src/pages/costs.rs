//! What the region's snapshots cost over time: the meter's own figures, hour by hour or day by day; without a price their GiB-hours.

use super::metered;
use crate::ask::Ctx;
use crate::pictures::bars::{self, Bar};
use crate::text;
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_metering::MeterItem;

const HOUR_MS: i64 = 3_600_000;

/// Equal times until `end` (the end of the present hour), oldest first: their beginnings and ends. A day is one of the calendar, in UTC, and the
/// present one is as long as it is yet.
fn times(days: i64, end: i64) -> Vec<(i64, i64)> {
    let day = 24 * HOUR_MS;
    match days {
        1 => (0..24)
            .map(|hour| end - (24 - hour) * HOUR_MS)
            .map(|from| (from, from + HOUR_MS))
            .collect(),
        _ => {
            let today = (end - 1).div_euclid(day) * day;
            let all = (0..days).map(|number| today - (days - 1 - number) * day);
            all.map(|from| (from, (from + day).min(end)))
                .filter(|(from, until)| until > from)
                .collect()
        }
    }
}

/// The section. `days`: 1 is drawn in hours.
pub(super) async fn section(ctx: &Ctx, days: i64, end: i64) -> Result<Markup, ApiError> {
    let mut bars = Vec::new();
    let mut priced = false;
    for (from, until) in times(days, end) {
        // An hour that a time reaches into belongs to it: the next one is not reached.
        let (start, stop) = (text::stamp(from), text::stamp(until - 1000));
        let asked = [
            ("GroupBy", "Region"),
            ("StartTime", start.as_str()),
            ("EndTime", stop.as_str()),
        ];
        let Some(items) = metered(ctx, &asked).await? else {
            return Ok(html! {});
        };
        let item = items.into_iter().next();
        priced |= item.as_ref().is_some_and(|item| item.cost.is_some());
        bars.push(bar(&start, days == 1, item));
    }
    if bars.iter().all(|bar| bar.value == 0.0) {
        return Ok(html! {});
    }
    let what = if priced { "Cost" } else { "GiB-hours" };
    let each = if days == 1 { "an hour" } else { "a day" };
    let newest = bars.last().map(|bar| bar.shown.clone()).unwrap_or_default();
    let said = format!("{what} in {each}: {newest} in the newest.");
    Ok(html! {
        h2 { (what) " in " (each) }
        (bars::draw(&bars, &said))
        p class="legend" {
            @if priced { "In the currency of the service's price." } @else { "Start the service with a price (--snapshot-price) to see money." }
            " Metered by started hours; days are days in UTC."
        }
        details {
            summary { "The same as a table" }
            div class="scroll" tabindex="0" {
                table {
                    thead { tr { th { "Time" } th { (what) } } }
                    tbody { @for bar in bars.iter().rev() { tr { td { (bar.name) } td { (bar.shown) } } } }
                }
            }
        }
    })
}

/// The number of a cost, `12.345678 CNY`, or of a plain figure.
pub(super) fn number(figure: &str) -> f64 {
    let number = figure.split(' ').next().unwrap_or_default();
    number.parse().unwrap_or(0.0)
}

fn bar(start: &str, is_hour: bool, item: Option<MeterItem>) -> Bar {
    let figure = item
        .map(|item| item.cost.unwrap_or(item.gib_hours))
        .unwrap_or_default();
    let value = number(&figure);
    let name = match is_hour {
        true => start.get(11..16),
        false => start.get(5..10),
    };
    Bar {
        name: name.unwrap_or(start).to_owned(),
        value,
        shown: text::figure(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_follow_one_another_to_the_end() {
        // 1970-01-11 at 05:00.
        let end = (10 * 24 + 5) * HOUR_MS;
        for (days, count) in [(1, 24), (7, 7), (15, 15)] {
            let times = times(days, end);
            assert_eq!(times.len(), count);
            assert!(times.windows(2).all(|pair| pair[0].1 == pair[1].0));
            assert_eq!(times.last().map(|time| time.1), Some(end));
        }
        // The last hour of a day ends with it.
        assert_eq!(
            times(7, 10 * 24 * HOUR_MS).last(),
            Some(&(9 * 24 * HOUR_MS, 10 * 24 * HOUR_MS))
        );
    }

    #[test]
    fn a_bar_is_the_cost_or_else_the_hours() {
        let item = |cost: Option<&str>| MeterItem {
            cost: cost.map(str::to_owned),
            gib_hours: "2.500000".to_owned(),
            ..MeterItem::default()
        };
        let start = "2026-01-02T03:00:00Z";
        let own = bar(start, false, Some(item(Some("1.250000 CNY"))));
        assert_eq!(
            (own.name.as_str(), own.value, own.shown.as_str()),
            ("01-02", 1.25, "1.25")
        );
        let own = bar(start, true, Some(item(None)));
        assert_eq!((own.name.as_str(), own.value), ("03:00", 2.5));
        assert_eq!(bar(start, true, None).shown, "0");
    }
}
