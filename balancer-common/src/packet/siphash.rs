//! SipHash-2-4 (Aumasson and Bernstein, 2012) over a message of whole 64-bit words: a keyed hash that nobody can
//! compute without the key, short enough for the fast path.

use crate::abi::Secret;

/// The hash of `words`, each eight bytes of the message in little-endian order.
#[inline(always)]
pub fn siphash<const N: usize>(secret: &Secret, words: [u64; N]) -> u64 {
    let mut state = State {
        v0: secret.k0 ^ 0x736f_6d65_7073_6575,
        v1: secret.k1 ^ 0x646f_7261_6e64_6f6d,
        v2: secret.k0 ^ 0x6c79_6765_6e65_7261,
        v3: secret.k1 ^ 0x7465_6462_7974_6573,
    };
    for word in words {
        state.take(word);
    }
    state.take(((N * 8) as u64) << 56);
    state.v2 ^= 0xff;
    state.round();
    state.round();
    state.round();
    state.round();
    state.v0 ^ state.v1 ^ state.v2 ^ state.v3
}

struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl State {
    #[inline(always)]
    fn take(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.rotate_left(32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key 00 01 .. 0f, messages 00 01 02 .. of 0, 8, 16, .. 56 bytes: the authors' own vectors.
    const VECTORS: [u64; 8] = [
        0x726f_db47_dd0e_0e31,
        0x93f5_f579_9a93_2462,
        0x3f2a_cc7f_57c2_9bdb,
        0xb8ad_50c6_f649_af94,
        0x7127_512f_72f2_7cce,
        0x0e3e_a96b_5304_a7d0,
        0xe612_a3cb_9ecb_a951,
        0xb78d_bfaf_3a8d_83bd,
    ];

    fn message<const N: usize>() -> [u64; N] {
        core::array::from_fn(|word| u64::from_le_bytes(core::array::from_fn(|byte| (8 * word + byte) as u8)))
    }

    #[test]
    fn the_published_vectors_come_out() {
        let key = message::<2>();
        let secret = Secret { k0: key[0], k1: key[1] };
        let hashes = [
            siphash(&secret, message::<0>()),
            siphash(&secret, message::<1>()),
            siphash(&secret, message::<2>()),
            siphash(&secret, message::<3>()),
            siphash(&secret, message::<4>()),
            siphash(&secret, message::<5>()),
            siphash(&secret, message::<6>()),
            siphash(&secret, message::<7>()),
        ];
        assert_eq!(hashes, VECTORS);
    }
}
