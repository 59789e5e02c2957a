//! The one source of chance: SplitMix64, so that a seed says what a power cut keeps.

/// A stream of numbers that follows from its seed alone.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number; every value is as likely as any other.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not zero. The bias for bounds that are no power of two is far
    /// below anything that a test could notice.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True in `chances` of `of` cases.
    pub fn coin(&mut self, chances: u64, of: u64) -> bool {
        self.below(of) < chances
    }
}
