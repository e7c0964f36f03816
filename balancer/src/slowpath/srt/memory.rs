//! What callers were answered: one that has not heard it says its conclusion again, four times a second.
//!
//! An answer is kept for as long as a caller may ask again, and after that for some time only that there was one: the
//! conclusion that somebody recorded must not begin anything anew while its cookie is valid.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// Callers ask again for 3 s, or as long as they were told to.
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Cookies are valid for two minutes at most.
const SPENT_FOR: Duration = Duration::from_secs(125);
/// Set-ups and answers.
const CALLS_MAX: usize = 16_384;

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

#[derive(Default)]
pub struct Memory {
    /// `None`: under way; an empty answer is a spent one.
    calls: HashMap<CallId, Option<Vec<u8>>>,
    /// Answered calls, the oldest first.
    kept: VecDeque<(Duration, CallId)>,
    spent: VecDeque<(Duration, CallId)>,
}

impl Memory {
    pub fn begin(&mut self, id: CallId, now: Duration) -> Remembered {
        self.forget_old(now);
        match self.calls.get(&id) {
            Some(None) => return Remembered::UnderWay,
            Some(Some(answer)) if answer.is_empty() => return Remembered::Spent,
            Some(Some(answer)) => return Remembered::Answered(answer.clone()),
            None => {}
        }
        // Those that were answered first are the likeliest to have heard it.
        if self.calls.len() >= CALLS_MAX && !self.drop_oldest() {
            return Remembered::TooMany;
        }
        self.calls.insert(id, None);
        Remembered::New
    }

    pub fn answered(&mut self, id: CallId, answer: &[u8], now: Duration) {
        if self.calls.insert(id, Some(answer.to_vec())).is_none_or(|was| was.is_none()) {
            self.kept.push_back((now + KEPT_FOR, id));
        }
    }

    /// It came to nothing, and may be tried again.
    pub fn gave_up(&mut self, id: CallId) {
        if self.calls.get(&id) == Some(&None) {
            self.calls.remove(&id);
        }
    }

    pub fn forget_old(&mut self, now: Duration) {
        while let Some((at, id)) = self.kept.pop_front_if(|(until, _)| *until <= now) {
            self.calls.insert(id, Some(Vec::new()));
            self.spent.push_back((at - KEPT_FOR + SPENT_FOR, id));
        }
        while let Some((_, id)) = self.spent.pop_front_if(|(until, _)| *until <= now) {
            self.calls.remove(&id);
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let oldest = self.spent.pop_front().or_else(|| self.kept.pop_front());
        oldest.is_some_and(|(_, id)| self.calls.remove(&id).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(socket_id: u32) -> CallId {
        let (client, vip) = ("192.0.2.7:5000".parse().unwrap(), "192.0.2.1:10080".parse().unwrap());
        CallId { client, vip, socket_id, cookie: 9 }
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
            assert_eq!(memory.begin(id(number), AT), Remembered::New);
        }
        assert_eq!(memory.begin(id(u32::MAX), AT), Remembered::TooMany);
        memory.answered(id(7), b"yes", AT);
        memory.answered(id(8), b"yes", AT);
        assert_eq!(memory.begin(id(u32::MAX), AT), Remembered::New);
        assert_eq!(memory.begin(id(8), AT), Remembered::Answered(b"yes".to_vec()));
        assert_eq!(memory.begin(id(7), AT), Remembered::New, "in place of the other");
        assert_eq!(memory.calls.len(), CALLS_MAX);
        assert_eq!((memory.kept.len(), memory.spent.len()), (0, 0));
    }
}
