//! When an automatic snapshot policy runs: at whole hours of some weekdays, in UTC+8 (ecs-api.md 3.3).
//!
//! UTC+8 is a fixed distance from UTC, whatever zone the machine is in, and knows no daylight saving: a *slot*, one instant
//! at which a policy runs, is a whole hour of Unix time, and no hour of the policy's day is ever left out or comes twice.
//! So this is arithmetic on a count of hours, and no time zone is looked up anywhere.
//!
//! What must stay true: slots grow strictly; between two slots of one schedule lie at least an hour and at most a week.
//! Not here: what happens at a slot (`control`).

use jiff::Timestamp;
use jiff::tz::{self, TimeZone};

/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 60 * 60 * 1000;
/// Hours by which the policies' clock is ahead of UTC.
pub const AHEAD_OF_UTC: i8 = 8;
/// Most hours between two slots.
const WEEK_HOURS: i64 = 7 * 24;

/// Hours of the day and days of the week, at least one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Schedule {
    /// Bit `h`: the hour `h`, 0 to 23.
    hours: u32,
    /// Bit `d`: the weekday `d + 1`; 1 is Monday.
    weekdays: u8,
}

impl Schedule {
    /// `hours` are 0 to 23, `weekdays` 1 (Monday) to 7. `None`: one is neither, or there is none.
    pub fn new(hours: impl IntoIterator<Item = u8>, weekdays: impl IntoIterator<Item = u8>) -> Option<Self> {
        let hours = mask(hours, 0..=23)?;
        let weekdays = u8::try_from(mask(weekdays, 1..=7)? >> 1).ok()?;
        Self { hours, weekdays }.checked()
    }

    /// As numbers that can be kept: one bit for each hour, and for each weekday.
    pub fn masks(self) -> (i64, i64) {
        (self.hours.into(), self.weekdays.into())
    }

    /// From kept numbers. `None`: they are none of ours.
    pub fn from_masks(hours: i64, weekdays: i64) -> Option<Self> {
        let (hours, weekdays) = (u32::try_from(hours).ok()?, u8::try_from(weekdays).ok()?);
        Self { hours, weekdays }.checked()
    }

    fn checked(self) -> Option<Self> {
        let good = (1..1 << 24).contains(&self.hours) && (1..1 << 7).contains(&self.weekdays);
        good.then_some(self)
    }

    /// The hours, ascending.
    pub fn hours(self) -> impl Iterator<Item = u8> {
        (0..24).filter(move |hour| self.hours >> hour & 1 == 1)
    }

    /// The weekdays, ascending; 1 is Monday.
    pub fn weekdays(self) -> impl Iterator<Item = u8> {
        (1..=7).filter(move |day| self.weekdays >> (day - 1) & 1 == 1)
    }

    /// The first slot strictly after an instant; both in milliseconds of Unix time.
    pub fn next_after(self, ms: i64) -> i64 {
        let hour = ms.div_euclid(HOUR_MS);
        let next = (hour + 1..=hour + WEEK_HOURS).find(|hour| self.has(*hour));
        // Every week has one.
        next.unwrap_or(hour + WEEK_HOURS).saturating_mul(HOUR_MS)
    }

    /// Whether the hour that is the `hour`-th of Unix time starts with a slot.
    fn has(self, hour: i64) -> bool {
        let local = hour + i64::from(AHEAD_OF_UTC);
        // 1970-01-01 was a Thursday.
        let weekday = (local.div_euclid(24) + 3).rem_euclid(7);
        self.hours >> local.rem_euclid(24) & 1 == 1 && self.weekdays >> weekday & 1 == 1
    }
}

/// One bit for each number. `None`: one lies outside, or there is none.
fn mask(numbers: impl IntoIterator<Item = u8>, allowed: std::ops::RangeInclusive<u8>) -> Option<u32> {
    let add = |mask: u32, number: u8| allowed.contains(&number).then(|| mask | 1 << number);
    numbers.into_iter().try_fold(0, add).filter(|mask| *mask != 0)
}

/// Numbers as the contract writes them: a text that holds a JSON array of texts, `["0","12"]`.
pub fn json_text(numbers: impl Iterator<Item = u8>) -> String {
    let texts: Vec<String> = numbers.map(|number| format!("\"{number}\"")).collect();
    format!("[{}]", texts.join(","))
}

/// The day of an instant by the policies' clock, `yyyyMMdd`.
pub fn day(at: Timestamp) -> String {
    at.to_zoned(zone()).strftime("%Y%m%d").to_string()
}

/// An instant by the policies' clock, for people: `Mon 2026-03-02 08:00 UTC+8`.
pub fn for_people(at: Timestamp) -> String {
    at.to_zoned(zone())
        .strftime("%a %Y-%m-%d %H:%M UTC+8")
        .to_string()
}

fn zone() -> TimeZone {
    TimeZone::fixed(tz::offset(AHEAD_OF_UTC))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        let at: Timestamp = text.parse().expect("a test's own time");
        at.as_millisecond()
    }

    fn text(ms: i64) -> String {
        Timestamp::from_millisecond(ms).expect("in range").to_string()
    }

    /// All slots after the first time, up to and with the second.
    fn slots(schedule: Schedule, from: &str, to: &str) -> Vec<i64> {
        let (mut now, end) = (at(from), at(to));
        let step = || {
            now = schedule.next_after(now);
            (now <= end).then_some(now)
        };
        std::iter::from_fn(step).collect()
    }

    #[test]
    fn hours_and_weekdays_are_those_of_utc_plus_8() {
        // Monday 06:00 in UTC+8 is still Sunday in UTC.
        let monday_six = Schedule::new([6], [1]).expect("valid");
        let found = slots(monday_six, "2026-03-01T00:00:00Z", "2026-03-16T00:00:00Z");
        let expected = [
            "2026-03-01T22:00:00Z",
            "2026-03-08T22:00:00Z",
            "2026-03-15T22:00:00Z",
        ];
        assert_eq!(found.into_iter().map(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn the_next_slot_lies_strictly_after() {
        let daily = Schedule::new([0], 1..=7).expect("valid");
        let slot = at("2026-03-01T16:00:00Z");
        assert_eq!(daily.next_after(slot - 1), slot);
        assert_eq!(text(daily.next_after(slot)), "2026-03-02T16:00:00Z");
    }

    /// 2026-03-08 and 2026-11-01 have 23 and 25 hours in New York; the policies' days never do.
    #[test]
    fn daylight_saving_elsewhere_changes_nothing() {
        let new_york = TimeZone::posix("EST5EDT,M3.2.0,M11.1.0").expect("a zone");
        let daily = Schedule::new([15], 1..=7).expect("valid");
        for (from, to, before, after) in [
            ("2026-03-07T00:00:00Z", "2026-03-10T00:00:00Z", 2, 3),
            ("2026-10-31T00:00:00Z", "2026-11-03T00:00:00Z", 3, 2),
        ] {
            let found = slots(daily, from, to);
            assert!(
                found.windows(2).all(|two| two[1] - two[0] == 24 * HOUR_MS),
                "{found:?}"
            );
            let there = |ms: &i64| {
                let at = Timestamp::from_millisecond(*ms).expect("in range");
                at.to_zoned(new_york.clone()).hour()
            };
            assert_eq!(
                found.iter().map(there).collect::<Vec<_>>(),
                [before, after, after]
            );
        }
        let hourly = Schedule::new(0..=23, 1..=7).expect("valid");
        assert_eq!(
            slots(hourly, "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z").len(),
            365 * 24
        );
    }

    #[test]
    fn a_leap_day_is_a_day() {
        let daily = Schedule::new([8], 1..=7).expect("valid");
        let found = slots(daily, "2028-02-27T00:00:00Z", "2028-03-01T00:00:00Z");
        let expected = [
            "2028-02-28T00:00:00Z",
            "2028-02-29T00:00:00Z",
            "2028-03-01T00:00:00Z",
        ];
        assert_eq!(found.into_iter().map(text).collect::<Vec<_>>(), expected);
        assert_eq!(
            slots(daily, "2028-01-01T00:00:00Z", "2029-01-01T00:00:00Z").len(),
            366
        );
        let tuesdays = Schedule::new([8], [2]).expect("valid");
        assert_eq!(
            text(tuesdays.next_after(at("2028-02-28T00:00:00Z"))),
            "2028-02-29T00:00:00Z"
        );
    }

    #[test]
    fn days_are_named_by_the_policies_clock() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a test's own time");
        assert_eq!(day(at("2026-12-31T15:59:59Z")), "20261231");
        assert_eq!(day(at("2026-12-31T16:00:00Z")), "20270101");
        assert_eq!(
            for_people(at("2026-03-01T22:00:00Z")),
            "Mon 2026-03-02 06:00 UTC+8"
        );
    }

    #[test]
    fn what_cannot_be_a_schedule() {
        assert!(Schedule::new([24], [1]).is_none() && Schedule::new([0], [0]).is_none());
        assert!(Schedule::new([0], [8]).is_none() && Schedule::new([], [1]).is_none());
        assert!(Schedule::new([0], []).is_none() && Schedule::new([40], [1]).is_none());
        for (hours, weekdays) in [(0, 1), (1, 0), (1 << 24, 1), (1, 1 << 7), (-1, 1), (1, -1)] {
            assert!(Schedule::from_masks(hours, weekdays).is_none());
        }
    }

    fn any() -> impl Strategy<Value = Schedule> {
        let hours = proptest::collection::vec(0_u8..24, 1..24);
        let weekdays = proptest::collection::vec(1_u8..=7, 1..7);
        (hours, weekdays).prop_map(|(hours, weekdays)| Schedule::new(hours, weekdays).expect("valid"))
    }

    proptest! {
        /// Against a calendar that knows nothing of our arithmetic: walks hour by hour.
        #[test]
        fn slots_are_the_hours_that_a_calendar_finds(schedule in any(), start in -4_000_000_000_000_i64..8_000_000_000_000) {
            let fits = |ms: i64| {
                let there = Timestamp::from_millisecond(ms).expect("in range").to_zoned(zone());
                let weekday = there.weekday().to_monday_one_offset();
                schedule.hours().any(|hour| i64::from(hour) == i64::from(there.hour()))
                    && schedule.weekdays().any(|day| i64::from(day) == i64::from(weekday))
            };
            let slot = schedule.next_after(start);
            prop_assert!(slot > start && slot - start <= WEEK_HOURS * HOUR_MS);
            prop_assert_eq!(slot.rem_euclid(HOUR_MS), 0);
            prop_assert!(fits(slot));
            let mut hour = start.div_euclid(HOUR_MS) * HOUR_MS + HOUR_MS;
            while hour < slot {
                prop_assert!(!fits(hour), "{} was left out", text(hour));
                hour += HOUR_MS;
            }
        }

        #[test]
        fn what_is_kept_is_read_back(schedule in any()) {
            let (hours, weekdays) = schedule.masks();
            prop_assert_eq!(Schedule::from_masks(hours, weekdays), Some(schedule));
            prop_assert_eq!(Schedule::new(schedule.hours(), schedule.weekdays()), Some(schedule));
        }

        #[test]
        fn no_instant_is_too_far(schedule in any(), ms in any_instant()) {
            let _ = schedule.next_after(ms);
        }
    }

    fn any_instant() -> impl Strategy<Value = i64> {
        prop_oneof![Just(i64::MIN), Just(i64::MAX), proptest::num::i64::ANY]
    }
}
