//! Whether clients are to come to this balancer: what `/readyz` says, and what those who steer clients are told. It changes
//! nothing by itself: who has to do something about it follows [`Readiness::subscribe`].

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// An operator's word: this balancer is to run empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    pub since: Duration,
    /// When what is still here is reset.
    pub deadline: Option<Duration>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub is_serving: bool,
    pub is_stopping: bool,
    pub drain: Option<Drain>,
    /// What has broken.
    pub fault: Option<Arc<str>>,
}

/// What to tell those who steer clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Send clients.
    Up,
    /// Send no more, on purpose.
    Down,
    /// Send no more: something is broken.
    Fault,
}

impl Word {
    pub const fn label(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
            Self::Fault => "fault",
        }
    }
}

impl State {
    pub fn ready(&self) -> Result<(), String> {
        match self {
            Self { is_stopping: true, .. } => Err("stopping: no new connections are taken".into()),
            Self { fault: Some(fault), .. } => Err(fault.to_string()),
            Self { drain: Some(_), .. } => Err("draining: `balancer undrain --self` ends it".into()),
            Self { is_serving: false, .. } => Err("starting".into()),
            _ => Ok(()),
        }
    }

    /// `None`: nothing yet. What an earlier process has said stands until this one serves.
    pub fn word(&self) -> Option<Word> {
        match self {
            Self { is_serving: false, is_stopping: false, .. } => None,
            Self { is_stopping: true, .. } => Some(Word::Down),
            Self { fault: Some(_), .. } => Some(Word::Fault),
            Self { drain: Some(_), .. } => Some(Word::Down),
            _ => Some(Word::Up),
        }
    }
}

#[derive(Debug, Default)]
pub struct Readiness(watch::Sender<State>);

impl Readiness {
    pub fn subscribe(&self) -> watch::Receiver<State> {
        self.0.subscribe()
    }

    pub fn state(&self) -> State {
        self.0.borrow().clone()
    }

    /// The listeners are open.
    pub fn serving(&self) {
        self.change(|state| state.is_serving = true);
    }

    pub fn stopping(&self) {
        self.change(|state| state.is_stopping = true);
    }

    /// For good: what has broken does not come back without a restart.
    pub fn broken(&self, what: &str) {
        self.change(|state| state.fault = Some(what.into()));
    }

    /// The deadline of a drain that goes on already is replaced.
    pub fn drain(&self, deadline: Option<Duration>, now: Duration) {
        self.change(|state| {
            let since = state.drain.map_or(now, |drain| drain.since);
            state.drain = Some(Drain { since, deadline });
        });
    }

    pub fn undrain(&self) {
        self.change(|state| state.drain = None);
    }

    /// Whether a drain's deadline has come. It is told once.
    pub fn take_due(&self, now: Duration) -> bool {
        let due = |state: &State| state.drain.and_then(|drain| drain.deadline).is_some_and(|at| at <= now);
        due(&self.0.borrow()) && {
            self.change(|state| state.drain.iter_mut().for_each(|drain| drain.deadline = None));
            true
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.0.send_if_modified(|state| {
            let before = state.clone();
            change(state);
            *state != before
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn nothing_is_said_before_it_serves_and_down_when_it_stops() {
        let readiness = Readiness::default();
        assert_eq!(readiness.state().word(), None);
        assert!(readiness.state().ready().is_err());
        readiness.serving();
        assert_eq!((readiness.state().word(), readiness.state().ready()), (Some(Word::Up), Ok(())));
        readiness.drain(None, s(1));
        assert_eq!(readiness.state().word(), Some(Word::Down));
        assert!(readiness.state().ready().unwrap_err().contains("draining"));
        readiness.broken("the system API has ended");
        assert_eq!(readiness.state().word(), Some(Word::Fault));
        readiness.undrain();
        assert_eq!(readiness.state().ready(), Err("the system API has ended".into()));
        readiness.stopping();
        assert_eq!(readiness.state().word(), Some(Word::Down));
    }

    #[test]
    fn a_deadline_comes_once_and_can_be_moved() {
        let readiness = Readiness::default();
        readiness.drain(Some(s(10)), s(1));
        assert!(!readiness.take_due(s(9)));
        readiness.drain(Some(s(20)), s(9));
        assert!(!readiness.take_due(s(10)));
        assert!(readiness.take_due(s(20)) && !readiness.take_due(s(21)));
        assert_eq!(readiness.state().drain, Some(Drain { since: s(1), deadline: None }), "it drains on");
    }
}
