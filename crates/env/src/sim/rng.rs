//! The one source of chance in a simulated world: SplitMix64, so that a seed is a history.

/// What rates of faults are out of.
pub(super) const TEN_THOUSAND: u64 = 10_000;

/// A seeded generator.
pub(super) struct Rng(u64);

impl Rng {
    /// A generator whose whole output follows from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 random bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "nothing is below 0");
        // The bias of a remainder is below 2^-32 for every bound in use here.
        self.next() % bound
    }

    /// True `chances` times in `of`.
    pub(super) fn coin(&mut self, chances: u64, of: u64) -> bool {
        self.below(of) < chances
    }
}
