//! How long a disk's clients wait: a picture with the times shaded in which snapshots of the disk were being taken, and the figures
//! beside it. What the service keeps of that is in memory, and begins when the disk is opened.

use super::snapshots_of;
use crate::ask::{Ctx, ask};
use crate::pictures::latency::{self, Window};
use crate::{command, text};
use maud::{Markup, html};
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_disk_monitor_data::Point;

const MINUTE_MS: i64 = 60_000;
/// Name in the address, name for people, minutes, seconds of a period.
const SPANS: &[(&str, &str, i64, &str)] = &[
    ("10", "10 minutes", 10, "10"),
    ("30", "30 minutes", 30, "10"),
    ("360", "6 hours", 360, "60"),
    ("1440", "1 day", 1440, "600"),
];
/// Pages of a hundred events that are looked through for snapshots of one disk, the newest first: events are of all disks.
const EVENT_PAGES: usize = 10;

/// The section about one disk; nothing where the caller may not see it, or the disk cannot be asked now.
pub(super) async fn of_disk(ctx: &Ctx, id: &str) -> Markup {
    section(ctx, id).await.unwrap_or_else(|_| html! {})
}

async fn section(ctx: &Ctx, id: &str) -> Result<Markup, ApiError> {
    let chosen = ctx.query.text("minutes");
    let span = SPANS
        .iter()
        .find(|(value, ..)| *value == chosen)
        .or(SPANS.first());
    let (value, _, minutes, period) = *span.unwrap_or(&("10", "", 10, "10"));
    // The action's times are full minutes, and the present one belongs to it.
    let until = text::now_ms() / MINUTE_MS * MINUTE_MS + MINUTE_MS;
    let from = until - minutes * MINUTE_MS;
    let (start, end) = (text::stamp(from), text::stamp(until));
    let asked = [
        ("DiskId", id),
        ("StartTime", start.as_str()),
        ("EndTime", end.as_str()),
        ("Period", period),
    ];
    let points = ask!(ctx, "DescribeDiskMonitorData", describe_disk_monitor_data, &asked).monitor_data;
    let windows = windows(ctx, id, &start, until).await.unwrap_or_default();
    let period_ms = period.parse::<i64>().unwrap_or(10) * 1000;
    let any = points
        .iter()
        .any(|point| point.latency_read + point.latency_write > 0);
    let slowest = ctx.query.text("latency") == "p99";
    let drawn: Vec<latency::Point> = points
        .iter()
        .map(|point| latency::Point {
            at_ms: text::millis(&point.time_stamp).unwrap_or_default(),
            read: if slowest {
                point.latency_read_p99
            } else {
                point.latency_read
            },
            write: if slowest {
                point.latency_write_p99
            } else {
                point.latency_write
            },
        })
        .collect();
    let figure = match slowest {
        true => "the time within which 99 of 100 requests were answered (99th percentile)",
        false => "the mean time of a request",
    };
    let line = format!(
        "tidemark ecs DescribeDiskMonitorData --RegionId {} --DiskId {} --StartTime {start} --EndTime {end} --Period {period}",
        command::quoted(&ctx.region),
        command::quoted(id)
    );
    Ok(html! {
        section aria-label=(format!("Latency of {id}")) {
            h2 { "Latency" }
            nav class="tabs small" aria-label=(format!("Time of the latency of {id}")) {
                @for (own, shown, ..) in SPANS {
                    a href=(ctx.here_with("minutes", own)) aria-current=[(*own == value).then_some("true")] { (shown) }
                }
            }
            @if any {
                nav class="tabs small" aria-label=(format!("Figure of the latency of {id}")) {
                    a href=(ctx.here_with("latency", "")) aria-current=[(!slowest).then_some("true")] { "Mean" }
                    a href=(ctx.here_with("latency", "p99")) aria-current=[slowest.then_some("true")] { "99th percentile" }
                }
                (latency::draw(&drawn, period_ms, (from, until), &windows, figure))
                (compared(&points, &windows, period_ms))
                details {
                    summary { "The newest as a table, and as a command" }
                    (table(&points))
                    (crate::parts::command(&line))
                }
            } @else {
                p class="none" { "Nothing was read or written in this time, or the service has only begun to look." }
            }
        }
    })
}

/// The times in which snapshots of the disk were being taken, as far as they end after `start`.
async fn windows(ctx: &Ctx, id: &str, start: &str, until: i64) -> Result<Vec<Window>, ApiError> {
    let (mut events, mut next) = (Vec::new(), String::new());
    for _ in 0..EVENT_PAGES {
        let mut asked = vec![
            ("EventName.1", "Snapshot:CreateSnapshotCompleted"),
            ("StartTime", start),
            ("MaxResults", "100"),
        ];
        if !next.is_empty() {
            asked.push(("NextToken", &next));
        }
        let found = ask!(ctx, "DescribeEvents", describe_events, &asked);
        events.extend(found.events);
        next = found.page.next_token;
        if next.is_empty() {
            break;
        }
    }
    let mut windows: Vec<Window> = events
        .iter()
        .filter_map(|event| {
            let text_of = |name: &str| event.content.get(name).and_then(|value| value.as_str());
            if text_of("diskId") != Some(id) {
                return None;
            }
            Some(Window {
                from_ms: text::millis(text_of("startTime")?)?,
                until_ms: text::millis(text_of("endTime")?)?,
                name: text::or(text_of("snapshotName").unwrap_or_default(), &event.resource_id).to_owned(),
            })
        })
        .collect();
    let others = snapshots_of(ctx, id).await?;
    let under_way = others.iter().filter(|snapshot| snapshot.status == "progressing");
    windows.extend(under_way.filter_map(|snapshot| {
        Some(Window {
            from_ms: text::millis(&snapshot.creation_time)?,
            until_ms: until,
            name: text::or(&snapshot.snapshot_name, &snapshot.snapshot_id).to_owned(),
        })
    }));
    Ok(windows)
}

/// The mean of some periods, in microseconds; `None`: nothing was asked in them.
fn mean<'a>(points: impl Iterator<Item = &'a Point>) -> Option<u64> {
    let (mut micros, mut count) = (0u128, 0u128);
    for point in points {
        for (latency, rate) in [
            (point.latency_read, point.iops_read),
            (point.latency_write, point.iops_write),
        ] {
            // So few that none is left in a second still waited.
            let weight = if latency > 0 { u128::from(rate.max(1)) } else { 0 };
            micros += u128::from(latency) * weight;
            count += weight;
        }
    }
    let mean = micros.checked_div(count)?;
    u64::try_from(mean).ok()
}

/// The slowest hundredth of some periods, in microseconds: the worst of them.
fn slowest<'a>(points: impl Iterator<Item = &'a Point>) -> u64 {
    let each = points.map(|point| point.latency_read_p99.max(point.latency_write_p99));
    each.max().unwrap_or_default()
}

/// The same in a sentence: with snapshots, and without.
fn compared(points: &[Point], windows: &[Window], period_ms: i64) -> Markup {
    let touches = |point: &&Point| {
        let from = text::millis(&point.time_stamp).unwrap_or_default();
        let is_in = |window: &Window| window.from_ms < from + period_ms && window.until_ms >= from;
        windows.iter().any(is_in)
    };
    let with = mean(points.iter().filter(touches));
    let without = mean(points.iter().filter(|point| !touches(point)));
    let with_slowest = slowest(points.iter().filter(touches));
    let without_slowest = slowest(points.iter().filter(|point| !touches(point)));
    html! {
        @if let (Some(with), Some(without)) = (with, without) {
            p {
                "While snapshots were being taken a request took " strong { (text::micros(with)) } " in the mean, otherwise "
                strong { (text::micros(without)) } ". 99 of 100 were answered within " strong { (text::micros(with_slowest)) }
                " in the worst period with snapshots, and within " strong { (text::micros(without_slowest)) } " in the worst one without."
            }
        }
    }
}

fn table(points: &[Point]) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table {
                thead { tr { th { "From" } th { "Reads per second" } th { "mean" } th { "99th percentile" }
                    th { "Writes per second" } th { "mean" } th { "99th percentile" } th { "Bytes per second" } } }
                tbody {
                    @for point in points.iter().rev().take(12) {
                        tr {
                            td data-label="From" { (text::time(&point.time_stamp)) }
                            td data-label="Reads per second" { (point.iops_read) }
                            td data-label="mean" { (text::micros(point.latency_read)) }
                            td data-label="99th percentile" { (text::micros(point.latency_read_p99)) }
                            td data-label="Writes per second" { (point.iops_write) }
                            td data-label="mean" { (text::micros(point.latency_write)) }
                            td data-label="99th percentile" { (text::micros(point.latency_write_p99)) }
                            td data-label="Bytes per second" { (text::bytes(point.bps_total)) }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at: &str, latency_read: u64, iops_read: u64) -> Point {
        Point {
            time_stamp: at.to_owned(),
            latency_read,
            latency_read_p99: latency_read * 10,
            iops_read,
            ..Point::default()
        }
    }

    #[test]
    fn what_was_asked_often_counts_more() {
        let points = [
            point("2026-01-01T00:00:00Z", 100, 9),
            point("2026-01-01T00:00:10Z", 1100, 1),
        ];
        assert_eq!(mean(points.iter()), Some(200));
        assert_eq!(mean([].iter()), None);
        assert_eq!(mean([point("", 0, 0)].iter()), None);
    }

    #[test]
    fn the_sentence_is_there_when_both_times_are() {
        let points = [
            point("2026-01-01T00:00:00Z", 100, 1),
            point("2026-01-01T00:00:10Z", 300, 1),
        ];
        let at = text::millis("2026-01-01T00:00:12Z").expect("a time");
        let window = Window {
            from_ms: at,
            until_ms: at + 1,
            name: String::new(),
        };
        let said = compared(&points, std::slice::from_ref(&window), 10_000).into_string();
        assert!(
            said.contains("<strong>300 µs</strong>") && said.contains("<strong>100 µs</strong>"),
            "{said}"
        );
        assert!(
            said.contains("<strong>3 ms</strong>") && said.contains("<strong>1 ms</strong>"),
            "{said}"
        );
        assert_eq!(compared(&points, &[], 10_000).into_string(), "");
    }
}
