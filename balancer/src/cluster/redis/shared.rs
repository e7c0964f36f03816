//! What calls and the keeper have in common: the connection while there is one, deadlines, and who is told what.

use super::names::{Names, SHARDS};
use super::scripts::{self, Script, Scripts};
use super::servers::Link;
use super::{News, Options, ShelfError, trouble};
use crate::counters::Counters;
use balancer_common::abi::Reason;
use redis::{Cmd, FromRedisValue, RedisResult};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, timeout};

/// A receiver that is further behind holds up the keeper, never a caller.
const NEWS_MAX: usize = 1024;
/// The same trouble is logged once in so long.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(30);

pub struct Shared {
    pub options: Options,
    pub names: Names,
    pub scripts: Scripts,
    pub counters: Arc<Counters>,
    /// A call found the connection broken.
    pub broken: Notify,
    /// A call found that the server is no longer the one to write to.
    pub demoted: Notify,
    /// There is another receiver, which knows nothing yet.
    pub reader: Notify,
    state: Mutex<State>,
    /// How far shards were heard when the last connection ended.
    pub heard: Mutex<Vec<Seen>>,
}

/// How far a shard was heard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub born: Arc<str>,
    pub seq: u64,
}

struct State {
    link: Result<Link, ShelfError>,
    news: Option<mpsc::Sender<News>>,
    /// What to do about troubles, and when it was said.
    said: HashMap<&'static str, Instant>,
}

impl Shared {
    pub fn new(options: Options, counters: Arc<Counters>) -> Self {
        let state = State { link: Err(ShelfError::Down("not connected yet".into())), news: None, said: HashMap::new() };
        Self {
            names: Names::new(&options.prefix, options.url.database),
            scripts: Scripts::new(),
            options,
            counters,
            broken: Notify::new(),
            demoted: Notify::new(),
            reader: Notify::new(),
            state: Mutex::new(state),
            heard: Mutex::new(vec![Seen::default(); usize::from(SHARDS)]),
        }
    }

    pub async fn ask<T: FromRedisValue>(&self, call: &Cmd) -> Result<T, ShelfError> {
        let link = self.link()?;
        self.within(self.options.timeout, link.ask(call)).await
    }

    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        keys: &[String],
        arguments: &[&str],
    ) -> Result<T, ShelfError> {
        let link = self.link()?;
        self.within(self.options.timeout, run(&link, script, keys, arguments)).await
    }

    /// With a deadline; what goes wrong is counted, and once in a while logged.
    async fn within<T>(&self, time: Duration, work: impl Future<Output = RedisResult<T>>) -> Result<T, ShelfError> {
        let error = match timeout(time, work).await {
            Ok(Ok(answer)) => return Ok(answer),
            Err(_) => ShelfError::Late,
            Ok(Err(error)) => {
                let meaning = trouble::of(&error);
                if matches!(meaning, ShelfError::Down(_)) {
                    self.broken.notify_one();
                } else if trouble::asks_for_another_server(&error) {
                    self.demoted.notify_one();
                }
                meaning
            }
        };
        self.count(&error);
        self.say(&error);
        Err(error)
    }

    fn link(&self) -> Result<Link, ShelfError> {
        self.state().link.clone().inspect_err(|_| self.counters.count(Reason::StoreDown))
    }

    /// Calls may be made from now on.
    pub fn up(&self, link: Link) {
        let mut state = self.state();
        state.link = Ok(link);
        if !std::mem::take(&mut state.said).is_empty() {
            tracing::info!(store = self.options.url.shown(), "the store is reached again");
        }
    }

    /// Calls fail from now on. True if that, or why, is new.
    pub fn down(&self, error: &ShelfError) -> bool {
        self.count(error);
        self.say(error);
        let mut state = self.state();
        let is_new = state.link.as_ref().err() != Some(error);
        state.link = Err(error.clone());
        is_new
    }

    pub fn listen(&self) -> mpsc::Receiver<News> {
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let mut state = self.state();
        match &state.link {
            // There is room: the channel is new.
            Err(error) => _ = news.try_send(News::Down(error.clone())),
            Ok(_) => self.reader.notify_one(),
        }
        state.news = Some(news);
        drop(state);
        receiver
    }

    pub async fn emit(&self, news: News) {
        let sender = self.state().news.clone();
        if let Some(sender) = sender {
            // Nobody listens any more: nobody misses it.
            let _ = sender.send(news).await;
        }
    }

    fn count(&self, error: &ShelfError) {
        self.counters.count(match error {
            ShelfError::Late => Reason::StoreLate,
            ShelfError::Down(_) => Reason::StoreDown,
            ShelfError::Refused(_) => Reason::StoreRefused,
        });
    }

    fn say(&self, error: &ShelfError) {
        // The words differ from call to call.
        let (store, remedy) = (self.options.url.shown(), trouble::remedy(error));
        let mut state = self.state();
        if state.said.get(remedy).is_some_and(|at| at.elapsed() < SAY_AGAIN_AFTER) {
            return;
        }
        state.said.insert(remedy, Instant::now());
        drop(state);
        tracing::warn!(store, %error, remedy, "the store does not serve us; what runs goes on");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The script by its hash, or by its text where the server has not seen it.
pub async fn run<T: FromRedisValue>(
    link: &Link,
    script: &Script,
    keys: &[String],
    arguments: &[&str],
) -> RedisResult<T> {
    match link.ask(&script.by_hash(keys, arguments)).await {
        Err(error) if scripts::is_unknown(&error) => link.ask(&script.by_code(keys, arguments)).await,
        result => result,
    }
}
