//! The two secrets of `SECRETS`, and when they change: see [`balancer_common::abi::Secret`].
//!
//! A balancer that works alone makes them by chance. Where several work together, each turn's is computed from a common
//! secret and the number of the turn by a common clock, so that all have the same at the same time without a word.

use balancer_common::abi::{MINUTE_NS, SECRETS_LEN, Secret, secret_slot};
use balancer_common::packet::siphash::siphash;
use std::fs::File;
use std::io::{self, Read};
use std::time::Duration;

/// A cookie is valid in its own minute and in the next, and told from a forged one for two more.
const KNOWN_MINUTES: u64 = 4;

pub struct Secrets {
    slots: [Secret; SECRETS_LEN as usize],
    /// The last minute in which the slot that is not in use may have made a cookie, so that it changes once in each turn.
    renewed_in: Option<u64>,
    common: Option<[u8; COMMON_LEN]>,
    /// How far the clock by which minutes are counted is ahead of the kernel's, modulo 2^64.
    ahead_ns: u64,
}

pub const COMMON_LEN: usize = 32;

impl Secrets {
    /// What an earlier process left: its cookies stay valid.
    pub fn adopt(slots: [Secret; SECRETS_LEN as usize], ahead_ns: u64) -> Self {
        Self { slots, renewed_in: None, common: None, ahead_ns }
    }

    /// From now on they are those of all who share `common`. What is to be written, [`Self::renew`] says.
    pub fn share(&mut self, common: [u8; COMMON_LEN], ahead_ns: u64) {
        self.common = Some(common);
        self.ahead_ns = ahead_ns;
    }

    pub fn minute(&self, kernel_now: Duration) -> u64 {
        (kernel_now.as_nanos() as u64).wrapping_add(self.ahead_ns) / MINUTE_NS
    }

    /// New secrets where one is missing, or where one has rested for long enough: what is to be written.
    pub fn renew(
        &mut self,
        minute: u64,
        mut random: impl FnMut() -> io::Result<Secret>,
    ) -> io::Result<Vec<(u32, Secret)>> {
        if let Some(common) = &self.common {
            return Ok(renew_common(common, &mut self.slots, minute));
        }
        let (used, turn) = (secret_slot(minute), minute >> 6);
        let rests = (minute & 63) >= KNOWN_MINUTES && self.renewed_in != Some(turn);
        let mut renewed = Vec::new();
        for slot in 0..SECRETS_LEN {
            let is_missing = self.slots[slot as usize] == Secret::default();
            if is_missing || (rests && slot != used) {
                self.slots[slot as usize] = random()?;
                renewed.push((slot, self.slots[slot as usize]));
            }
        }
        if rests {
            self.renewed_in = Some(turn);
        }
        Ok(renewed)
    }

    pub fn in_slot(&self, slot: u32) -> Option<Secret> {
        self.slots.get(slot as usize).copied().filter(|secret| *secret != Secret::default())
    }

    pub fn of_minute(&self, minute: u64) -> Option<Secret> {
        self.in_slot(secret_slot(minute))
    }
}

/// This turn's and, beside it, the last one's for as long as its cookies are known, then the next one's.
fn renew_common(
    common: &[u8; COMMON_LEN],
    slots: &mut [Secret; SECRETS_LEN as usize],
    minute: u64,
) -> Vec<(u32, Secret)> {
    let turn = minute >> 6;
    let other = if minute & 63 >= KNOWN_MINUTES { turn.wrapping_add(1) } else { turn.wrapping_sub(1) };
    let mut renewed = Vec::new();
    for turn in [turn, other] {
        let (slot, secret) = (secret_slot(turn << 6), of_turn(common, turn));
        if slots[slot as usize] != secret {
            slots[slot as usize] = secret;
            renewed.push((slot, secret));
        }
    }
    renewed
}

/// Nobody learns of one turn's by another's, or of the common secret.
fn of_turn(common: &[u8; COMMON_LEN], turn: u64) -> Secret {
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| common[at + i]));
    let half = |at: usize| siphash(&Secret { k0: word(at), k1: word(at + 8) }, [turn]);
    Secret { k0: half(0), k1: half(16) }
}

pub fn random() -> io::Result<Secret> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let number = u128::from_ne_bytes(bytes);
    Ok(Secret { k0: number as u64, k1: (number >> 64) as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use balancer_common::abi::FlowKey6;
    use balancer_common::packet::cookie::{self, Checked};

    const NOTHING: [Secret; 2] = [Secret { k0: 0, k1: 0 }; 2];

    /// Slots that changed.
    fn changed(secrets: &mut Secrets, minute: u64) -> Vec<u32> {
        secrets.renew(minute, random).unwrap().into_iter().map(|(slot, _)| slot).collect()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_adopted_stays() {
        let mut secrets = Secrets::adopt(NOTHING, 0);
        assert!(secrets.of_minute(1).is_none());
        assert_eq!(changed(&mut secrets, 1), [0, 1]);
        let slots = secrets.slots;
        assert!(slots[0] != slots[1]);
        assert_eq!(changed(&mut Secrets::adopt(slots, 0), 2), [0; 0], "a cookie of the other slot may be valid still");
        assert_eq!(changed(&mut Secrets::adopt(slots, 0), 30), [1]);
        assert_eq!(changed(&mut Secrets::adopt(slots, 0), 64 + 30), [0]);
    }

    #[test]
    fn each_slot_changes_once_between_two_turns_and_never_while_its_cookies_are_known() {
        let mut secrets = Secrets::adopt(NOTHING, 0);
        changed(&mut secrets, 0);
        let mut changes = Vec::new();
        for minute in 1..64 * 5 {
            let before = secrets.slots;
            changes.extend(changed(&mut secrets, minute).into_iter().map(|slot| (minute, slot)));
            for age in 0..KNOWN_MINUTES.min(minute) {
                let slot = secret_slot(minute - age) as usize;
                assert!(before[slot] == secrets.slots[slot], "in minute {minute}");
            }
        }
        assert_eq!(changes, [(4, 1), (68, 0), (132, 1), (196, 0), (260, 1)]);
    }

    #[test]
    fn without_random_bytes_the_old_ones_stay() {
        let mut secrets = Secrets::adopt([Secret { k0: 1, k1: 1 }; 2], 0);
        assert!(secrets.renew(10, || Err(io::ErrorKind::NotFound.into())).is_err());
        assert!(secrets.of_minute(10) == Some(Secret { k0: 1, k1: 1 }));
        assert_eq!(changed(&mut secrets, 10), [1], "and are tried for again");
    }

    /// A balancer whose kernel's clock is so far behind the common one.
    fn one_of_several(ahead: Duration) -> Secrets {
        let mut secrets = Secrets::adopt(NOTHING, 0);
        secrets.share([0x5a; COMMON_LEN], ahead.as_nanos() as u64);
        secrets
    }

    fn no_chance() -> io::Result<Secret> {
        panic!("what is common is not left to chance")
    }

    #[test]
    fn several_balancers_accept_each_others_cookies_whatever_their_own_clocks_say() {
        let caller = FlowKey6 { src: [1, 2, 3, 4], dst: [5, 6, 7, 8], ports: 9, proto: 17 };
        let (mut a, mut b) = (one_of_several(Duration::ZERO), one_of_several(Duration::from_secs(1 << 30)));
        let shared = Duration::from_secs(1_800_000_000);
        for minutes in 0..64 * 3 {
            let now = shared + Duration::from_secs(60 * minutes);
            let (now_a, now_b) = (now, now - Duration::from_secs(1 << 30));
            let minute = a.minute(now_a);
            assert_eq!(minute, b.minute(now_b));
            a.renew(minute, no_chance).unwrap();
            let cookie = cookie::make(&a.of_minute(minute).unwrap(), &caller, minute);
            b.renew(minute, no_chance).unwrap();
            let ages: Vec<Checked> = (0..4)
                .map(|age| {
                    // Renewed in time or not: what was written a minute ago does as well.
                    let then = minute + age;
                    b.renew(then.saturating_sub(age & 1), no_chance).unwrap();
                    cookie::check(cookie, &caller, then, |slot| b.in_slot(slot))
                })
                .collect();
            use Checked::{Stale, Valid};
            assert_eq!(ages, [Valid, Valid, Stale, Stale], "in minute {minute}");
        }
    }

    #[test]
    fn common_secrets_change_with_every_turn_and_are_written_once() {
        let mut secrets = one_of_several(Duration::ZERO);
        let changes: Vec<_> = (0..64 * 4 + 5)
            .flat_map(|minute| changed(&mut secrets, minute).into_iter().map(move |slot| (minute, slot)))
            .collect();
        assert_eq!(changes, [(0, 0), (0, 1), (4, 1), (68, 0), (132, 1), (196, 0), (260, 1)]);
        let turns: Vec<_> = (0..9).map(|turn| of_turn(&[1; 32], turn)).collect();
        assert!(turns.iter().enumerate().all(|(i, a)| turns[..i].iter().all(|b| a.k0 != b.k0 && a.k1 != b.k1)));
        assert!(of_turn(&[1; 32], 0) != of_turn(&[2; 32], 0));
    }

    #[test]
    fn what_was_made_by_chance_gives_way_to_what_is_common() {
        let mut secrets = Secrets::adopt(NOTHING, 0);
        changed(&mut secrets, 100);
        secrets.share([0x5a; COMMON_LEN], 0);
        assert_eq!(changed(&mut secrets, 100), [1, 0]);
        assert_eq!(changed(&mut secrets, 100), [0; 0]);
        secrets.share([0x5b; COMMON_LEN], 0);
        assert_eq!(changed(&mut secrets, 100), [1, 0], "another one, too");
    }
}
