//! The two secrets of `SECRETS`, and when they change: see [`balancer_common::abi::Secret`].

use balancer_common::abi::{SECRETS_LEN, Secret, secret_slot};
use std::fs::File;
use std::io::{self, Read};

/// A cookie is valid in its own minute and in the next, and told from a forged one for two more.
const KNOWN_MINUTES: u64 = 4;

pub struct Secrets {
    slots: [Secret; SECRETS_LEN as usize],
    /// The last minute in which the slot that is not in use may have made a cookie, so that it changes once in each turn.
    renewed_in: Option<u64>,
}

impl Secrets {
    /// What an earlier process left: its cookies stay valid.
    pub fn adopt(slots: [Secret; SECRETS_LEN as usize]) -> Self {
        Self { slots, renewed_in: None }
    }

    /// New secrets where one is missing, or where one has rested for long enough: what is to be written.
    pub fn renew(
        &mut self,
        minute: u64,
        mut random: impl FnMut() -> io::Result<Secret>,
    ) -> io::Result<Vec<(u32, Secret)>> {
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

pub fn random() -> io::Result<Secret> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let number = u128::from_ne_bytes(bytes);
    Ok(Secret { k0: number as u64, k1: (number >> 64) as u64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: [Secret; 2] = [Secret { k0: 0, k1: 0 }; 2];

    /// Slots that changed.
    fn changed(secrets: &mut Secrets, minute: u64) -> Vec<u32> {
        secrets.renew(minute, random).unwrap().into_iter().map(|(slot, _)| slot).collect()
    }

    #[test]
    fn what_is_missing_is_made_and_what_is_adopted_stays() {
        let mut secrets = Secrets::adopt(NOTHING);
        assert!(secrets.of_minute(1).is_none());
        assert_eq!(changed(&mut secrets, 1), [0, 1]);
        let slots = secrets.slots;
        assert!(slots[0] != slots[1]);
        assert_eq!(changed(&mut Secrets::adopt(slots), 2), [0; 0], "a cookie of the other slot may be valid still");
        assert_eq!(changed(&mut Secrets::adopt(slots), 30), [1]);
        assert_eq!(changed(&mut Secrets::adopt(slots), 64 + 30), [0]);
    }

    #[test]
    fn each_slot_changes_once_between_two_turns_and_never_while_its_cookies_are_known() {
        let mut secrets = Secrets::adopt(NOTHING);
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
        let mut secrets = Secrets::adopt([Secret { k0: 1, k1: 1 }; 2]);
        assert!(secrets.renew(10, || Err(io::ErrorKind::NotFound.into())).is_err());
        assert!(secrets.of_minute(10) == Some(Secret { k0: 1, k1: 1 }));
        assert_eq!(changed(&mut secrets, 10), [1], "and are tried for again");
    }
}
