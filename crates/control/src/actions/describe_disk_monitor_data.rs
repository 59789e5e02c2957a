//! DescribeDiskMonitorData: what a disk's clients asked for and how long they waited. The node is asked, which keeps a day of it in
//! memory; the catalogue knows nothing of it.

use super::describe_disk_hydration::refusal;
use crate::clock::DAY_MS;
use crate::{Caller, Control, views};
use std::time::Duration;
use tidemark_ecs::ApiError;
use tidemark_ecs::actions::describe_disk_monitor_data::{Point, Request, Response};
use tidemark_ecs::time;
use tidemark_node::{History, Served};

/// How far back may be asked.
const BACK_MS: i64 = 30 * DAY_MS;

impl Control {
    /// A point per period that is over, as far back as is known.
    pub async fn describe_disk_monitor_data(
        &self,
        caller: &Caller,
        request: Request,
    ) -> Result<Response, ApiError> {
        if request.start_ms < self.now_ms() - BACK_MS {
            let message = "The parameter \"StartTime\" is not valid: it is more than 30 days ago.";
            return Err(ApiError::new(400, "InvalidStartTime.TooEarly", message));
        }
        let (region, disk) = self
            .hydrated_disk(caller, request.region_id.clone(), request.disk_id.clone())
            .await?;
        // Taken before the node is asked: what it says is of about now, however long the answer is on its way.
        let now_ms = self.now_ms();
        let history = self.node_of(&region)?.history(&disk).await;
        let history = history.map_err(|e| refusal(&disk, &e))?;
        let monitor_data = points(&history, now_ms, &request);
        Ok(Response {
            total_count: monitor_data.len(),
            monitor_data,
        })
    }
}

fn ms(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// The nearest whole second: the same piece of the past begins at the same time whenever it is asked about, though two clocks are read.
fn whole_second(ms: i64) -> i64 {
    ms.saturating_add(500).div_euclid(1000) * 1000
}

/// What falls into one period. A piece of the past that several periods share is shared out evenly: nobody knows better.
#[derive(Clone, Copy, Default)]
struct Sum {
    count: f64,
    bytes: f64,
    micros: f64,
    p99_micros: u64,
}

impl Sum {
    fn add(&mut self, served: Served, share: f64) {
        self.count += served.count as f64 * share;
        self.bytes += served.bytes as f64 * share;
        self.micros += served.micros as f64 * share;
    }

    /// Of several pieces the worst: together they may have been a little better, never worse.
    fn add_p99(&mut self, served: Served) {
        self.p99_micros = self.p99_micros.max(served.p99_micros);
    }

    /// The mean in microseconds; 0: there was none. None takes no time at all.
    fn latency(&self) -> u64 {
        match self.count > 0.0 {
            true => ((self.micros / self.count).round() as u64).max(1),
            false => 0,
        }
    }
}

fn points(history: &History, now_ms: i64, request: &Request) -> Vec<Point> {
    let period = request.period_ms.max(1);
    let over = request.end_ms.min(now_ms);
    let count = usize::try_from((over - request.start_ms) / period).unwrap_or(0);
    let mut sums = vec![(Sum::default(), Sum::default()); count];
    for activity in &history.activities {
        let from = whole_second(now_ms.saturating_sub(ms(activity.ago)));
        let length = ms(activity.length).max(1);
        let first = (from - request.start_ms).div_euclid(period);
        let last = (from + length - 1 - request.start_ms).div_euclid(period);
        for number in first..=last {
            let begins = request.start_ms + number * period;
            let overlap = (from + length).min(begins + period) - from.max(begins);
            let place = usize::try_from(number)
                .ok()
                .and_then(|number| sums.get_mut(number));
            if let Some((read, write)) = place {
                let share = overlap as f64 / length as f64;
                read.add(activity.read, share);
                write.add(activity.write, share);
                // Of a piece that only reaches into the period nobody knows whether the slow ones are in it: they are told where most of it is.
                if overlap * 2 >= length.min(period) {
                    read.add_p99(activity.read);
                    write.add_p99(activity.write);
                }
            }
        }
    }
    let known_ms = now_ms.saturating_sub(ms(history.since));
    let seconds = period as f64 / 1000.0;
    let rate = |number: f64| (number / seconds).round() as u64;
    let begins = (request.start_ms..).step_by(usize::try_from(period).unwrap_or(1));
    // Of a period that began before, a part is known; its rate is not.
    let known = begins.zip(&sums).filter(|(begins, _)| *begins >= known_ms);
    let point = |(begins, (read, write)): (i64, &(Sum, Sum))| Point {
        disk_id: request.disk_id.clone(),
        time_stamp: time::seconds(views::at(begins)),
        iops_read: rate(read.count),
        iops_write: rate(write.count),
        iops_total: rate(read.count + write.count),
        bps_read: rate(read.bytes),
        bps_write: rate(write.bytes),
        bps_total: rate(read.bytes + write.bytes),
        latency_read: read.latency(),
        latency_write: write.latency(),
        latency_read_p99: read.p99_micros,
        latency_write_p99: write.p99_micros,
    };
    known.map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tidemark_node::Activity;

    const NOW: i64 = 1_767_225_600_000;

    fn request(back_ms: i64, period_ms: i64) -> Request {
        Request {
            region_id: None,
            disk_id: "d-1".to_owned(),
            start_ms: NOW - back_ms,
            end_ms: NOW + 60_000,
            period_ms,
        }
    }

    fn activity(ago: u64, length: u64, count: u64) -> Activity {
        let served = |micros| Served {
            count,
            bytes: count * 4096,
            micros: count * micros,
            p99_micros: 10 * micros + ago,
        };
        Activity {
            ago: Duration::from_secs(ago),
            length: Duration::from_secs(length),
            read: served(100),
            write: served(300),
        }
    }

    #[test]
    fn rates_and_means_of_whole_periods() {
        let history = History {
            since: Duration::from_secs(190),
            activities: vec![activity(100, 10, 600), activity(60, 10, 1200)],
        };
        let points = points(&history, NOW, &request(300_000, 60_000));
        // Of the first minute nothing is known, of the second one a part; of the present one, which is to come, nothing either.
        assert_eq!(points.len(), 3);
        assert_eq!(
            points.iter().map(|point| point.iops_read).collect::<Vec<_>>(),
            [0, 10, 20]
        );
        assert_eq!((points[0].latency_read, points[0].iops_total), (0, 0));
        assert_eq!((points[1].latency_read, points[1].latency_write), (100, 300));
        assert_eq!(
            (points[1].latency_read_p99, points[1].latency_write_p99),
            (1100, 3100)
        );
        assert_eq!((points[2].bps_read, points[2].bps_total), (20 * 4096, 40 * 4096));
        assert_eq!(points[2].time_stamp, "2025-12-31T23:59:00Z");
    }

    #[test]
    fn a_piece_stays_where_it_is_though_the_clocks_are_not_read_together() {
        let reads = |late: i64| {
            let history = History {
                since: Duration::from_secs(3600),
                activities: vec![activity(60, 10, 600)],
            };
            let points = points(&history, NOW + late, &request(120_000, 10_000));
            points.iter().map(|point| point.iops_read).collect::<Vec<_>>()
        };
        let found = reads(0);
        assert_eq!((found[5], found[6], found[7]), (0, 60, 0));
        assert!([3, 40, 200].iter().all(|late| reads(*late) == found));
    }

    #[test]
    fn the_slowest_are_told_where_most_of_their_piece_is() {
        // Periods that it reaches into, and those that tell of its slowest.
        let told = |ago: u64, length: u64| {
            let history = History {
                since: Duration::from_secs(3600),
                activities: vec![activity(ago, length, 600)],
            };
            let points = points(&history, NOW, &request(120_000, 10_000));
            let some = |of: fn(&Point) -> u64| points.iter().filter(|point| of(point) > 0).count();
            (
                some(|point| point.iops_read),
                some(|point| point.latency_read_p99),
            )
        };
        // Eight seconds of it are in one period, two in the next.
        assert_eq!(told(58, 10), (2, 1));
        // A minute is all of five periods and half of those at its ends; or a little of one at its end.
        assert_eq!((told(75, 60), told(78, 60)), ((7, 7), (7, 6)));
    }

    #[test]
    fn what_spans_periods_is_shared_out_and_nothing_is_lost() {
        let history = History {
            since: Duration::from_secs(3600),
            activities: vec![activity(75, 60, 600)],
        };
        let points = points(&history, NOW, &request(120_000, 10_000));
        assert_eq!(points.len(), 12);
        let reads: Vec<u64> = points.iter().map(|point| point.iops_read * 10).collect();
        assert_eq!(reads.iter().sum::<u64>(), 600);
        assert_eq!(&reads[4..11], [50, 100, 100, 100, 100, 100, 50]);
        assert!(points[5..10].iter().all(|point| point.latency_write == 300));
    }
}
