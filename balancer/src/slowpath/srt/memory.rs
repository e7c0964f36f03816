//! What callers were answered: one that has not heard it says its conclusion again, four times a second.
//!
//! An answer is kept for as long as a caller may ask again, and after that for some time only that there was one: the
//! conclusion that somebody recorded must not begin anything anew while its cookie is valid.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Callers ask again for 3 s, or as long as they were told to.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Cookies are valid for two minutes at most.
const SPENT_FOR: Duration = Duration::from_secs(125);
/// Set-ups and answers.
const CALLS_MAX: usize = 16_384;
/// Of one address, so that nobody makes everybody else's be forgotten.
const CALLS_PER_CLIENT_MAX: usize = CALLS_MAX / 16;

/// One attempt of one caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId {
    pub client: SocketAddr,
    pub vip: SocketAddr,
    pub socket_id: u32,
    pub cookie: u32,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is under way from now on.
    New,
    UnderWay,
    Answered(Vec<u8>),
    /// It was answered long ago: nobody asks again for so long.
    Spent,
    TooMany,
}

enum State {
    UnderWay { heard_at: Duration },
    Answered(Vec<u8>),
    Spent,
}

#[derive(Default)]
pub struct Memory {
    calls: HashMap<CallId, State>,
    /// How many of them are of this address.
    by_client: HashMap<IpAddr, usize>,
    /// Answered calls, the oldest first.
    kept: VecDeque<(Duration, CallId)>,
    spent: VecDeque<(Duration, CallId)>,
}

impl Memory {
    pub fn begin(&mut self, id: CallId, now: Duration) -> Remembered {
        self.forget_old(now);
        match self.calls.get_mut(&id) {
            Some(State::UnderWay { heard_at }) => {
                *heard_at = now;
                return Remembered::UnderWay;
            }
            Some(State::Answered(answer)) => return Remembered::Answered(answer.clone()),
            Some(State::Spent) => return Remembered::Spent,
            None => {}
        }
        // Those that were answered first are the likeliest to have heard it.
        let client = id.client.ip();
        let has_share = self.by_client.get(&client).is_none_or(|calls| *calls < CALLS_PER_CLIENT_MAX);
        if !has_share && !self.drop_oldest(|old| old.client.ip() == client) {
            return Remembered::TooMany;
        }
        if self.calls.len() >= CALLS_MAX && !self.drop_oldest(|_| true) {
            return Remembered::TooMany;
        }
        self.set(id, State::UnderWay { heard_at: now });
        Remembered::New
    }

    /// When its caller last asked, while it is under way.
    pub fn heard_at(&self, id: CallId) -> Option<Duration> {
        match self.calls.get(&id) {
            Some(State::UnderWay { heard_at }) => Some(*heard_at),
            _ => None,
        }
    }

    pub fn answered(&mut self, id: CallId, answer: &[u8], now: Duration) {
        if !matches!(self.set(id, State::Answered(answer.to_vec())), Some(State::Answered(_) | State::Spent)) {
            self.kept.push_back((now + KEPT_FOR, id));
        }
    }

    /// It came to nothing, and may be tried again.
    pub fn gave_up(&mut self, id: CallId) {
        if matches!(self.calls.get(&id), Some(State::UnderWay { .. })) {
            self.remove(id);
        }
    }

    pub fn forget_old(&mut self, now: Duration) {
        while let Some((at, id)) = self.kept.pop_front_if(|(until, _)| *until <= now) {
            self.set(id, State::Spent);
            self.spent.push_back((at - KEPT_FOR + SPENT_FOR, id));
        }
        while let Some((_, id)) = self.spent.pop_front_if(|(until, _)| *until <= now) {
            self.remove(id);
        }
    }

    fn drop_oldest(&mut self, which: impl Fn(&CallId) -> bool) -> bool {
        let take = |queue: &mut VecDeque<(Duration, CallId)>| queue.remove(queue.iter().position(|(_, id)| which(id))?);
        let oldest = take(&mut self.spent).or_else(|| take(&mut self.kept));
        oldest.is_some_and(|(_, id)| self.remove(id))
    }

    fn set(&mut self, id: CallId, state: State) -> Option<State> {
        let before = self.calls.insert(id, state);
        if before.is_none() {
            *self.by_client.entry(id.client.ip()).or_default() += 1;
        }
        before
    }

    fn remove(&mut self, id: CallId) -> bool {
        let is_known = self.calls.remove(&id).is_some();
        if is_known && let Entry::Occupied(mut calls) = self.by_client.entry(id.client.ip()) {
            *calls.get_mut() -= 1;
            if *calls.get() == 0 {
                calls.remove();
            }
        }
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(socket_id: u32) -> CallId {
        let (client, vip) = ("192.0.2.7:5000".parse().unwrap(), "192.0.2.1:10080".parse().unwrap());
        CallId { client, vip, socket_id, cookie: 9 }
    }

    /// Of as many addresses as it takes.
    fn of_many(number: u32) -> CallId {
        let ip = std::net::Ipv4Addr::from(0x0a00_0000 + number / CALLS_PER_CLIENT_MAX as u32);
        CallId { client: (ip, 5000).into(), ..id(number) }
    }

    const AT: Duration = Duration::from_secs(1000);

    #[test]
    fn a_call_is_new_once_and_answered_alike_until_it_is_spent() {
        let mut memory = Memory::default();
        assert_eq!(memory.begin(id(1), AT), Remembered::New);
        assert_eq!(memory.begin(id(1), AT), Remembered::UnderWay);
        assert_eq!(memory.begin(id(2), AT), Remembered::New);
        memory.answered(id(1), b"yes", AT);
        assert_eq!(memory.begin(id(1), AT + KEPT_FOR / 2), Remembered::Answered(b"yes".to_vec()));
        assert_eq!(memory.begin(id(1), AT + KEPT_FOR), Remembered::Spent);
        assert_eq!(memory.begin(id(2), AT + KEPT_FOR), Remembered::UnderWay);
        assert_eq!(memory.begin(id(1), AT + SPENT_FOR), Remembered::New);
    }

    #[test]
    fn what_came_to_nothing_may_be_tried_again() {
        let mut memory = Memory::default();
        memory.begin(id(1), AT);
        memory.gave_up(id(1));
        assert_eq!(memory.begin(id(1), AT), Remembered::New);
        memory.answered(id(1), b"yes", AT);
        memory.gave_up(id(1));
        assert_eq!(memory.begin(id(1), AT), Remembered::Answered(b"yes".to_vec()));
    }

    #[test]
    fn it_forgets_the_oldest_answers_first_and_never_what_is_under_way() {
        let mut memory = Memory::default();
        for number in 0..CALLS_MAX as u32 {
            assert_eq!(memory.begin(of_many(number), AT), Remembered::New);
        }
        assert_eq!(memory.begin(id(u32::MAX), AT), Remembered::TooMany);
        memory.answered(of_many(7), b"yes", AT);
        memory.answered(of_many(8), b"yes", AT);
        assert_eq!(memory.begin(id(u32::MAX), AT), Remembered::New);
        assert_eq!(memory.begin(of_many(8), AT), Remembered::Answered(b"yes".to_vec()));
        assert_eq!(memory.begin(of_many(7), AT), Remembered::New, "in place of the other");
        assert_eq!(memory.calls.len(), CALLS_MAX);
        assert_eq!((memory.kept.len(), memory.spent.len()), (0, 0));
    }

    #[test]
    fn an_address_that_has_its_share_loses_its_own_answers_and_nobody_elses() {
        let mut memory = Memory::default();
        memory.begin(of_many(0), AT);
        memory.answered(of_many(0), b"other", AT);
        for number in 0..CALLS_PER_CLIENT_MAX as u32 {
            assert_eq!(memory.begin(id(number), AT), Remembered::New);
        }
        assert_eq!(memory.begin(id(u32::MAX), AT), Remembered::TooMany);
        memory.answered(id(7), b"yes", AT);
        assert_eq!(memory.begin(id(u32::MAX), AT), Remembered::New);
        assert_eq!(memory.begin(of_many(0), AT), Remembered::Answered(b"other".to_vec()));
        memory.gave_up(id(8));
        assert_eq!(memory.begin(id(7), AT), Remembered::New);
        memory.forget_old(AT + SPENT_FOR);
        assert_eq!(memory.by_client.values().sum::<usize>(), memory.calls.len());
    }

    #[test]
    fn it_knows_when_a_caller_last_asked() {
        let mut memory = Memory::default();
        memory.begin(id(1), AT);
        memory.begin(id(1), AT + KEPT_FOR);
        assert_eq!(memory.heard_at(id(1)), Some(AT + KEPT_FOR));
        memory.answered(id(1), b"yes", AT + KEPT_FOR);
        assert_eq!(memory.heard_at(id(1)), None);
    }
}
