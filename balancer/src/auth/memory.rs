//! What the hook has said lately about whom. Bounded; what is forgotten is asked again.

use super::{Question, Verdict};
use crate::flow::Role;
use crate::recognize::StreamKey;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How long an allowed client is not asked about again: some ten fetches of a playlist.
pub const ALLOWED_FOR: Duration = Duration::from_secs(30);
/// One that was denied may mend its token soon, and is asked about at once if it does. Tests wait for this one.
pub const DENIED_FOR: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });
/// One about whom nobody answered.
pub const UNKNOWN_FOR: Duration = Duration::from_secs(1);
const ENTRIES_MAX: usize = 65_536;

/// The last is of the query; `None` is for segments.
type Who = (IpAddr, Role, Arc<StreamKey>, Option<u64>);
pub type Entry = Arc<tokio::sync::Mutex<Remembered>>;

#[derive(Default)]
pub struct Memory {
    entries: Mutex<Entries>,
    /// Queries may be long; its keys are nobody's to know.
    queries: RandomState,
}

#[derive(Default)]
struct Entries {
    by_who: HashMap<Who, Entry>,
    /// Oldest first.
    order: VecDeque<Who>,
}

impl Memory {
    /// What was said of this very query.
    pub fn of_query(&self, question: &Question) -> Entry {
        self.of(question, Some(self.queries.hash_one(&question.query)))
    }

    /// What was said last of a playlist, whatever its query was.
    pub fn of_segments(&self, question: &Question) -> Entry {
        self.of(question, None)
    }

    fn of(&self, question: &Question, query: Option<u64>) -> Entry {
        let who = (question.client.ip().to_canonical(), question.role, question.key.clone(), query);
        // Each statement leaves it whole.
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.by_who.get(&who) {
            return entry.clone();
        }
        if entries.order.len() >= ENTRIES_MAX
            && let Some(oldest) = entries.order.pop_front()
        {
            entries.by_who.remove(&oldest);
        }
        let entry = Entry::default();
        entries.order.push_back(who.clone());
        entries.by_who.insert(who, entry.clone());
        entry
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(entries.by_who.len(), entries.order.len());
        entries.order.len()
    }
}

/// Of one client and one stream.
#[derive(Default)]
pub struct Remembered {
    /// The query that was allowed last.
    query: String,
    allowed_until: Option<Instant>,
    /// The last answer that was none, for that very query.
    refused: Option<(String, Verdict, Instant)>,
}

impl Remembered {
    pub fn verdict(&self, query: &str) -> Option<Verdict> {
        let now = Instant::now();
        if self.allowed_until.is_some_and(|until| now < until) {
            return Some(Verdict::Allowed);
        }
        let (refused, verdict, until) = self.refused.as_ref()?;
        // A segment's request says nothing new.
        ((refused == query || query.is_empty()) && now < *until).then(|| verdict.clone())
    }

    pub fn query(&self) -> &str {
        &self.query
    }

    pub fn remember(&mut self, query: String, verdict: Verdict, for_how_long: Duration) {
        let until = Instant::now() + for_how_long;
        match verdict {
            Verdict::Allowed => {
                self.query = query;
                self.allowed_until = Some(until);
                self.refused = None;
            }
            Verdict::Denied(_) => {
                // It was good once.
                if query == self.query {
                    self.query.clear();
                }
                self.refused = Some((query, verdict, until));
            }
            Verdict::Unavailable(_) => self.refused = Some((query, verdict, until)),
        }
    }
}
