//! Cookies of SRT handshakes: who shows one has received it at the address that it calls from.
//!
//! A cookie is a keyed hash over the caller's 5-tuple and the minute, so that nothing has to be remembered of an
//! induction. One implementation for the fast path, for user space where no fast path runs, and for tests.

use super::siphash::siphash;
use crate::abi::{FlowKey4, FlowKey6, Secret, secret_slot};

/// A cookie is valid in its own minute and in the next.
const VALID_MINUTES: u32 = 2;
/// Bits of a cookie that say of which minute it is, modulo four: one hash tells a valid cookie, one that was valid, and a
/// forged one apart.
const MINUTE_BITS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    Valid,
    /// It was given to this caller, but two or three minutes ago.
    Stale,
    /// It was never given to this caller, or long ago.
    Bad,
}

/// The 5-tuple by which a caller's packets come in.
pub trait Caller {
    fn hash(&self, secret: &Secret, minute: u64) -> u64;
}

impl Caller for FlowKey4 {
    #[inline(always)]
    fn hash(&self, secret: &Secret, minute: u64) -> u64 {
        siphash(secret, [pair(self.src, self.dst), pair(self.ports, minute as u32)])
    }
}

impl Caller for FlowKey6 {
    #[inline(always)]
    fn hash(&self, secret: &Secret, minute: u64) -> u64 {
        let (src, dst) = (&self.src, &self.dst);
        let words = [pair(src[0], src[1]), pair(src[2], src[3]), pair(dst[0], dst[1]), pair(dst[2], dst[3])];
        siphash(secret, [words[0], words[1], words[2], words[3], pair(self.ports, minute as u32)])
    }
}

#[cfg(feature = "user")]
impl Caller for crate::abi::FlowKey {
    fn hash(&self, secret: &Secret, minute: u64) -> u64 {
        match self {
            Self::V4(key) => key.hash(secret, minute),
            Self::V6(key) => key.hash(secret, minute),
        }
    }
}

#[inline(always)]
const fn pair(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// The cookie of `minute`, which `secret` is the one for. Never 0: that is what a caller says that has none.
#[inline(always)]
pub fn make<C: Caller>(secret: &Secret, caller: &C, minute: u64) -> u32 {
    let cookie = caller.hash(secret, minute) as u32 & !MINUTE_BITS | minute as u32 & MINUTE_BITS;
    if cookie == 0 { MINUTE_BITS + 1 } else { cookie }
}

/// Whether `caller` was given `cookie`, and how long ago. `secret` tells the secret of a slot, `None` where there is none; one
/// of zeroes is none either.
#[inline(always)]
pub fn check<C: Caller>(cookie: u32, caller: &C, minute: u64, secret: impl Fn(u32) -> Option<Secret>) -> Checked {
    let age = (minute as u32).wrapping_sub(cookie) & MINUTE_BITS;
    let minute = minute.wrapping_sub(age as u64);
    match secret(secret_slot(minute)) {
        Some(secret) if is_set(&secret) && make(&secret, caller, minute) == cookie => {
            if age < VALID_MINUTES {
                Checked::Valid
            } else {
                Checked::Stale
            }
        }
        _ => Checked::Bad,
    }
}

/// Somebody has written it: everybody knows the zeroes that stand there before.
#[inline(always)]
pub fn is_set(secret: &Secret) -> bool {
    secret.k0 | secret.k1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRETS: [Secret; 2] = [Secret { k0: 1, k1: 2 }, Secret { k0: 3, k1: 4 }];
    const CALLER: FlowKey6 = FlowKey6 { src: [1, 2, 3, 4], dst: [5, 6, 7, 8], ports: 9, proto: 17 };
    const CALLER4: FlowKey4 = FlowKey4 { src: 1, dst: 5, ports: 9, proto: 17 };

    fn given<C: Caller>(caller: &C, minute: u64) -> u32 {
        make(&SECRETS[secret_slot(minute) as usize], caller, minute)
    }

    fn checked<C: Caller>(cookie: u32, caller: &C, minute: u64) -> Checked {
        check(cookie, caller, minute, |slot| SECRETS.get(slot as usize).copied())
    }

    #[test]
    fn a_cookie_is_valid_for_two_minutes_and_known_for_four() {
        // 126 to 129: the secret changes in between.
        for minute in [0, 1, 63, 64, 126, 127, 128, 129, 1 << 32] {
            for (cookie, at) in [(given(&CALLER, minute), true), (given(&CALLER4, minute), false)] {
                let ages: [Checked; 6] = core::array::from_fn(|age| {
                    let now = minute + age as u64;
                    if at { checked(cookie, &CALLER, now) } else { checked(cookie, &CALLER4, now) }
                });
                use Checked::{Bad, Stale, Valid};
                assert_eq!(ages, [Valid, Valid, Stale, Stale, Bad, Bad], "made in minute {minute}");
            }
        }
    }

    #[test]
    fn a_cookie_is_nobody_elses() {
        let cookie = given(&CALLER, 100);
        let others = [
            FlowKey6 { src: [1, 2, 3, 5], ..CALLER },
            FlowKey6 { src: [2, 2, 3, 4], ..CALLER },
            FlowKey6 { dst: [5, 6, 7, 9], ..CALLER },
            FlowKey6 { ports: 10, ..CALLER },
            FlowKey6 { ports: 9 << 16, ..CALLER },
            FlowKey6 { src: CALLER.dst, dst: CALLER.src, ..CALLER },
        ];
        for other in others {
            assert_eq!(checked(cookie, &other, 100), Checked::Bad, "{other:?}");
        }
        assert_eq!(checked(cookie, &CALLER4, 100), Checked::Bad);
        assert_eq!(checked(0, &CALLER, 100), Checked::Bad);
    }

    #[test]
    fn without_a_secret_nothing_is_valid() {
        let cookie = make(&Secret::default(), &CALLER, 100);
        assert_eq!(check(cookie, &CALLER, 100, |_| None), Checked::Bad);
        assert_eq!(check(cookie, &CALLER, 100, |_| Some(Secret::default())), Checked::Bad);
    }

    #[test]
    fn another_secret_makes_another_cookie() {
        assert_ne!(make(&SECRETS[0], &CALLER, 7), make(&SECRETS[1], &CALLER, 7));
    }
}
