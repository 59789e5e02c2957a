//! How long requests took, as counts: enough to say what ninety-nine of a hundred did not exceed, in a room that does not grow.
//!
//! Times fall into steps, eight to each power of two microseconds, so what is said is at most an eighth too much and never too little
//! (the arrangement of HdrHistogram, with three significant bits).

/// Steps to a power of two.
const FINE: u32 = 8;
/// Below this each microsecond is a step.
const EXACT: u64 = 2 * FINE as u64;
/// The highest power of two with steps of its own: times above 2^31 us, 36 minutes, are counted as that.
const HIGHEST: u32 = 30;
const STEPS: usize = (EXACT as usize) + ((HIGHEST - 3) * FINE) as usize;

/// Counts of times.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    counts: [u32; STEPS],
    total: u64,
}

impl Default for Spread {
    fn default() -> Self {
        Self {
            counts: [0; STEPS],
            total: 0,
        }
    }
}

/// The step of a time.
fn step(micros: u64) -> usize {
    if micros < EXACT {
        return micros as usize;
    }
    let power = micros.ilog2().min(HIGHEST);
    let within = (micros >> (power - 3)).min(u64::from(2 * FINE - 1)) as u32 - FINE;
    EXACT as usize + ((power - 4) * FINE + within) as usize
}

/// The longest time of a step.
fn longest(step: usize) -> u64 {
    let Some(above) = step.checked_sub(EXACT as usize) else {
        return step as u64;
    };
    let (power, within) = (above as u32 / FINE + 4, above as u64 % u64::from(FINE));
    ((u64::from(FINE) + within + 1) << (power - 3)) - 1
}

impl Spread {
    /// One more took so long.
    pub(crate) fn add(&mut self, micros: u64) {
        let count = &mut self.counts[step(micros)];
        *count = count.saturating_add(1);
        self.total += 1;
    }

    /// What ninety-nine of a hundred did not exceed, in microseconds; 0: there were none.
    pub(crate) fn p99(&self) -> u64 {
        // Of fewer than a hundred, all.
        let enough = self.total - self.total / 100;
        let mut seen = 0;
        for (step, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if *count > 0 && seen >= enough {
                return longest(step);
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_one_another_without_a_gap() {
        for micros in (0..100_000).chain((17..31).map(|power| 1u64 << power)) {
            let own = step(micros);
            let end = longest(own);
            assert!(end >= micros && end - micros <= micros / 8, "{micros}: {end}");
            assert_eq!(
                (step(end), step(end + 1)),
                (own, (own + 1).min(STEPS - 1)),
                "{micros}"
            );
        }
        assert_eq!(step(u64::MAX), STEPS - 1);
    }

    #[test]
    fn one_in_a_hundred_may_take_longer() {
        let mut spread = Spread::default();
        assert_eq!(spread.p99(), 0);
        (0..99).for_each(|_| spread.add(100));
        spread.add(1_000_000);
        assert_eq!(spread.p99(), longest(step(100)));
        spread.add(1_000_000);
        assert!(spread.p99() >= 1_000_000);
        let mut few = Spread::default();
        few.add(10);
        few.add(7);
        assert_eq!(few.p99(), 10);
    }
}
