//! The Internet checksum, brought up to date instead of computed anew (RFC 1624, equation 3).
//!
//! Sums are kept in 64 bits in the byte order of the packet; the one's complement sum does not care (RFC 1071, 2(B)).

/// What a header's change adds to its checksum; sums of differences are differences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Difference(u64);

impl Difference {
    pub const NONE: Self = Self(0);

    /// One that was folded before, as `Splice::l4_diff` is.
    #[inline(always)]
    pub const fn folded(sum: u16) -> Self {
        Self(sum as u64)
    }

    /// A 16-bit word of the packet goes from `old` to `new`.
    #[inline(always)]
    pub const fn word16(self, old: u16, new: u16) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    /// Two 16-bit words of the packet at once.
    #[inline(always)]
    pub const fn word32(self, old: u32, new: u32) -> Self {
        Self(self.0 + !old as u64 + new as u64)
    }

    #[inline(always)]
    pub const fn addr6(self, old: [u32; 4], new: [u32; 4]) -> Self {
        self.word32(old[0], new[0]).word32(old[1], new[1]).word32(old[2], new[2]).word32(old[3], new[3])
    }

    /// Adds what changed in words that do (not) start on an even byte of the checksummed data.
    #[inline(always)]
    pub const fn plus(self, other: Self, odd: bool) -> Self {
        let sum = other.fold();
        Self(self.0 + if odd { sum.swap_bytes() } else { sum } as u64)
    }

    #[inline(always)]
    pub const fn fold(self) -> u16 {
        fold(self.0)
    }

    /// The checksum field after the change.
    #[inline(always)]
    pub const fn update(self, checksum: u16) -> u16 {
        !fold(self.0 + !checksum as u64)
    }
}

/// A checksum computed from nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    #[inline(always)]
    pub const fn word(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    #[inline(always)]
    pub const fn addr6(self, addr: [u32; 4]) -> Self {
        self.word(addr[0]).word(addr[1]).word(addr[2]).word(addr[3])
    }

    /// The field that makes everything summed so far verify.
    #[inline(always)]
    pub const fn finish(self) -> u16 {
        !fold(self.0)
    }
}

/// Fewer than 2^16 words were added, so the sum has fewer than 48 bits: four steps leave no carry.
#[inline(always)]
const fn fold(sum: u64) -> u16 {
    let sum = (sum & 0xffff_ffff) + (sum >> 32);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folding_leaves_no_carry() {
        assert_eq!(fold(0), 0);
        assert_eq!(fold(0xffff_ffff), 0xffff);
        assert_eq!(fold(0x0001_0000), 1);
        assert_eq!(fold(0xffff_ffff_ffff), 0xffff);
        assert_eq!(fold(0x1_ffff_ffff), 1);
    }

    #[test]
    fn an_updated_checksum_is_the_one_computed_anew() {
        let words = [0x4500_003c_u32, 0x1c46_4000, 0x4006_0000, 0xac10_0a63, 0xac10_0a0c];
        let sum = |w: &[u32]| w.iter().fold(Sum::default(), |s, &w| s.word(w)).finish();
        let mut changed = words;
        changed[3] = 0xc0a8_0001;
        let diff = Difference::NONE.word32(words[3], changed[3]);
        assert_eq!(diff.update(sum(&words)), sum(&changed));
    }
}
