//! A year of schedules, against a model of them that shares no arithmetic with the service.

use crate::schedules::{at, quiet};
use crate::world::World;
use jiff::tz::{self, TimeZone};
use jiff::{Timestamp, ToSpan};

/// What a calendar says about a policy on a disk; shares no arithmetic with the service.
struct Model {
    disk: String,
    policy: String,
    hours: &'static [i8],
    weekdays: &'static [i8],
    retention: Option<i64>,
    /// Slots after this count, and when that was decided.
    decided: Timestamp,
    /// Whether the disk can be snapshotted.
    ready: bool,
    /// Name and instant of every snapshot that exists.
    there: Vec<(String, Timestamp)>,
}

impl Model {
    fn round(&mut self, now: Timestamp) {
        let kept = |made: Timestamp| self.retention.is_none_or(|days| made + (days * 24).hours() > now);
        self.there.retain(|(_, made)| kept(*made));
        if self.decided > now + 1.hour() {
            self.decided = now;
        }
        let mut hour = self.decided.round(jiff::Unit::Hour).expect("rounds") - 2.hours();
        let mut due = false;
        while hour <= now {
            due |= hour > self.decided && self.has(hour);
            hour += 1.hour();
        }
        if due {
            self.decided = now;
            if self.ready {
                let day = now.to_zoned(beijing()).strftime("%Y%m%d").to_string();
                self.there.push((format!("auto2.0_{day}_{}", self.policy), now));
            }
        }
    }

    fn has(&self, hour: Timestamp) -> bool {
        let there = hour.to_zoned(beijing());
        let weekday = there.weekday().to_monday_one_offset();
        self.hours.contains(&there.hour()) && self.weekdays.contains(&weekday)
    }
}

fn beijing() -> TimeZone {
    TimeZone::fixed(tz::offset(8))
}

/// A leap year: four snapshots a week that are kept for a week, one that is kept for ever; nights when the service is down,
/// a disk that is detached, a clock that goes back, by a little and by days, and one that was wrong by a year.
#[tokio::test]
async fn a_year_of_schedules() {
    let mut world = quiet(|_| {}).await;
    let ((instance, a), (_, b)) = (world.attached_disk().await, world.attached_disk().await);
    let start = at("2027-12-31T00:20:00Z");
    world.set_clock(start);
    let often = world
        .policy("timePoints=[0,12]&repeatWeekdays=[2,5]&retentionDays=7")
        .await;
    let weekly = world
        .policy("timePoints=[23]&repeatWeekdays=[7]&retentionDays=-1")
        .await;
    world.apply(&often, &a).await;
    world.apply(&weekly, &b).await;
    let model = |disk: &str, policy: &str, hours, weekdays, retention| Model {
        disk: disk.into(),
        policy: policy.into(),
        hours,
        weekdays,
        retention,
        decided: start,
        ready: true,
        there: Vec::new(),
    };
    let mut models = [
        model(&a, &often, &[0, 12], &[2, 5], Some(7)),
        model(&b, &weekly, &[23], &[7], None),
    ];
    let (mut now, mut steps) = (start, 0);
    let end = at("2029-01-01T01:00:00Z");
    while now < end {
        // Drifting over the hour, so that no retention ends on the very instant of a round.
        now += 6.hours().minutes(1);
        steps += 1;
        match steps {
            // Down for a night, for ten days, and for an hour that has no slot.
            100 | 300 | 500 => {
                now += [12, 240, 1][steps / 200].hours();
                world = world.restart().await;
            }
            // Back by forty minutes, just after a slot or not; and again when the time comes again.
            150..=170 => {
                check(&world, now, &mut models).await;
                check(&world, now - 40.minutes(), &mut models).await;
            }
            // Three days ahead by mistake, a year ahead by mistake, and put right.
            700 => check(&world, now + 72.hours(), &mut models).await,
            900 => check(&world, now + 8760.hours(), &mut models).await,
            1000 => {
                world.detach(&instance, &a).await;
                models[0].ready = false;
            }
            1060 => {
                world.attach(&instance, &a).await;
                models[0].ready = true;
            }
            _ => {}
        }
        check(&world, now, &mut models).await;
        if steps == 240 {
            let leap_day = format!("auto2.0_20280229_{often}");
            let names = world.names().await;
            assert_eq!(
                names.iter().filter(|name| **name == leap_day).count(),
                2,
                "{names:?}"
            );
        }
    }
    assert!(models[1].there.len() > 45, "a year of Sundays");
}

/// One round of the service and of the model; then exactly the same snapshots exist.
async fn check(world: &World, now: Timestamp, models: &mut [Model]) {
    world.round_at(now).await;
    let rows = world.automatic("").await;
    for model in models {
        model.round(now);
        let seen: Vec<_> = rows
            .iter()
            .filter(|row| row.source_disk_id == model.disk)
            .map(|row| (row.snapshot_name.clone(), row.creation_time.clone()))
            .collect();
        // The clock runs on while a round is under way: an instant is right to the minute.
        let minute = |at: &Timestamp| at.strftime("%Y-%m-%dT%H:%M").to_string();
        let expected: Vec<_> = model
            .there
            .iter()
            .map(|(name, made)| (name.clone(), minute(made)))
            .collect();
        let seen: Vec<_> = seen
            .iter()
            .map(|(name, made)| (name.clone(), made[..16].to_owned()))
            .collect();
        assert_eq!(seen, expected, "{} at {now}", model.disk);
    }
}
