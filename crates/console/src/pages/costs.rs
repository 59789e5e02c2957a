//! What the region's snapshots cost over time: the meter's own figures, hour by hour or day by day; without a price their GiB-hours.

use super::meter;
use crate::ask::Ctx;
use crate::pictures::bars::{self, Bar};
use crate::text;
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_snapshot_metering::{MeterItem, Response};

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

/// As [`super::metered`], for one row of figures and with the price that they cost: its currency is nowhere else.
pub(super) async fn priced(ctx: &Ctx, pairs: &[(&str, &str)]) -> Result<Option<Figures>, ApiError> {
    Ok(meter(ctx, pairs).await?.map(Figures::of))
}

/// What was metered of one thing.
pub(super) struct Figures {
    /// `None`: nothing was.
    pub(super) item: Option<MeterItem>,
    /// Of a GiB in a month; `""`: the service has none.
    price: String,
}

impl Figures {
    fn of(answer: Response) -> Self {
        Self {
            item: answer.meter_items.into_iter().next(),
            price: answer.price.unwrap_or_default(),
        }
    }

    /// What it costs, with its currency; `None`: the service has no price, or nothing was metered.
    pub(super) fn cost(&self) -> Option<String> {
        let cost = self.item.as_ref()?.cost.as_ref()?;
        Some(text::money(text::amount(cost), &self.price))
    }
}

/// The section. `days`: 1 is drawn in hours.
pub(super) async fn section(ctx: &Ctx, days: i64, end: i64) -> Result<Markup, ApiError> {
    let mut bars = Vec::new();
    let mut price = String::new();
    for (from, until) in times(days, end) {
        // An hour that a time reaches into belongs to it: the next one is not reached.
        let (start, stop) = (text::stamp(from), text::stamp(until - 1000));
        let asked = [
            ("GroupBy", "Region"),
            ("StartTime", start.as_str()),
            ("EndTime", stop.as_str()),
        ];
        let Some(figures) = priced(ctx, &asked).await? else {
            return Ok(html! {});
        };
        price = figures.price;
        bars.push(bar(&start, days == 1, figures.item));
    }
    if bars.iter().all(|bar| bar.value == 0.0) {
        return Ok(html! {});
    }
    let what = if price.is_empty() { "GiB-hours" } else { "Cost" };
    let each = if days == 1 { "hour" } else { "day" };
    let currency = text::currency(&price);
    // Above a bar there is room for a number alone.
    let head = match currency {
        "" => format!("{what} per {each}"),
        currency => format!("{what} per {each}, {currency}"),
    };
    let shown = |bar: &Bar| match price.as_str() {
        "" => bar.shown.clone(),
        price => text::money(bar.value, price),
    };
    let newest = bars.last().map(shown).unwrap_or_default();
    let said = format!("{what} per {each}: {newest} in the newest.");
    Ok(html! {
        h2 { (head) }
        (bars::draw(&bars, &said))
        p class="legend" {
            @if price.is_empty() {
                "Start the service with a price (--snapshot-price) to see money."
            } @else {
                "At " (text::money(text::amount(&price), &price)) " for a GiB in a month of 30 days."
            }
            " Metered by started hours; days are days in UTC."
        }
        details {
            summary { "The same as a table" }
            div class="scroll" tabindex="0" {
                table {
                    thead { tr { th { "Time" } th { (what) } } }
                    tbody { @for bar in bars.iter().rev() { tr { td { (bar.name) } td { (shown(bar)) } } } }
                }
            }
        }
    })
}

fn bar(start: &str, is_hour: bool, item: Option<MeterItem>) -> Bar {
    let figure = item
        .map(|item| item.cost.unwrap_or(item.gib_hours))
        .unwrap_or_default();
    let value = text::amount(&figure);
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
        let cost = |item: Option<MeterItem>, price: &str| {
            let figures = Figures {
                item,
                price: price.to_owned(),
            };
            figures.cost()
        };
        assert_eq!(
            cost(Some(item(Some("1.250000"))), "0.120000 CNY").as_deref(),
            Some("1.25 CNY")
        );
        assert_eq!(cost(Some(item(None)), ""), None);
        assert_eq!(cost(None, "0.120000 CNY"), None);
        let start = "2026-01-02T03:00:00Z";
        let own = bar(start, false, Some(item(Some("1.250000"))));
        assert_eq!(
            (own.name.as_str(), own.value, own.shown.as_str()),
            ("01-02", 1.25, "1.25")
        );
        let own = bar(start, true, Some(item(None)));
        assert_eq!((own.name.as_str(), own.value), ("03:00", 2.5));
        assert_eq!(bar(start, true, None).shown, "0");
    }
}
