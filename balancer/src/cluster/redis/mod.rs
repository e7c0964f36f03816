//! The shelf in Redis: one server, a primary that Sentinels name, or a Cluster. The only place that speaks Redis.
//!
//! A call has a deadline and fails at once while there is no connection; one task ([`keeper`]) connects again, hears what
//! others write, and finds out what it has not heard. How records lie there: [`names`] and [`scripts`].

mod flows;
mod keeper;
mod names;
mod scripts;
mod servers;
mod shared;
mod text;
mod trouble;

pub use trouble::remedy;

use super::{Entry, FlowAt, FlowPage, FoundFlow, Key, News, Put, Shelf, ShelfError, ShelfFuture, Version};
use crate::config::Settings;
use crate::config::StoreKind;
use crate::config::store_url::RedisUrl;
use crate::counters::Counters;
use ::redis::{FromRedisValue, Value, cmd};
use futures_util::future::try_join_all;
use shared::Shared;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// How often what was heard is compared with what lies there.
const RECONCILE: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct Options {
    pub url: RedisUrl,
    pub prefix: String,
    /// This balancer's.
    pub id: String,
    /// For every call.
    pub timeout: Duration,
    /// PEM; else the host's own.
    pub ca: Option<Vec<u8>>,
    pub reconcile: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read store_ca, {path}: {source}")]
pub struct CaError {
    path: PathBuf,
    source: std::io::Error,
}

/// The shelf that the settings name, if any. It returns at once, whether the store is there or not.
pub fn connect(settings: &Settings, counters: Arc<Counters>) -> Result<Option<Arc<dyn Shelf>>, CaError> {
    let StoreKind::Redis(url) = &settings.store else { return Ok(None) };
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| CaError { path: path.clone(), source });
    let options = Options {
        url: url.clone(),
        prefix: settings.store_prefix.clone(),
        id: settings.balancer_id.clone(),
        timeout: settings.store_timeout,
        ca: settings.store_ca.as_ref().map(read).transpose()?,
        reconcile: RECONCILE,
    };
    Ok(Some(connect_with(options, counters)))
}

/// The same, of what is in the options. Within a runtime of tokio.
pub fn connect_with(options: Options, counters: Arc<Counters>) -> Arc<dyn Shelf> {
    if options.url.is_tls {
        // Only the first who asks decides; a dependency may have brought another one.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let shared = Arc::new(Shared::new(options, counters));
    let keeper = tokio::spawn(keeper::keep(shared.clone()));
    Arc::new(RedisShelf { shared, renewals: flows::Renewals::default(), has_lived: AtomicBool::new(false), keeper })
}

struct RedisShelf {
    shared: Arc<Shared>,
    renewals: flows::Renewals,
    /// Whether it was said once that we live.
    has_lived: AtomicBool,
    keeper: JoinHandle<()>,
}

impl Drop for RedisShelf {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl RedisShelf {
    async fn put(&self, key: &Key, value: Option<&str>, seen: &Version) -> Result<Put, ShelfError> {
        let Shared { names, scripts, .. } = &*self.shared;
        let name = key.to_string();
        let shard = names::shard_of_record(&name);
        let (nonce, born) = ((random() & ((1 << text::NONCE_BITS) - 1)).to_string(), word());
        let (channel, log_max) = (names.news(), scripts::LOG_KEYS_MAX.to_string());
        let shard_text = shard.to_string();
        let arguments = [&name, &*seen.0, value.unwrap_or_default(), &nonce, &born, &channel, &shard_text, &log_max];
        let answer = self.shared.run(&scripts.put, &names.keys(shard), &arguments).await?;
        let (is_done, text): (u8, Option<Vec<u8>>) = answer;
        let text = text.as_deref().map(String::from_utf8_lossy);
        Ok(match is_done {
            1 => Put::Done(Version(text.unwrap_or_default().into())),
            _ => Put::Lost(text::entry(key.clone(), text.as_deref())),
        })
    }

    async fn get(&self, key: &Key) -> Result<Entry, ShelfError> {
        let name = key.to_string();
        let mut call = cmd("HGET");
        call.arg(self.shared.names.table(names::shard_of_record(&name))).arg(name);
        let record: Option<Vec<u8>> = self.shared.ask(&call).await?;
        Ok(text::entry(key.clone(), record.as_deref().map(String::from_utf8_lossy).as_deref()))
    }

    async fn tell(&self, to: Option<&str>, what: &str) -> Result<(), ShelfError> {
        let mut call = cmd("PUBLISH");
        call.arg(self.shared.names.tell()).arg(text::telling(to, &self.shared.options.id, what));
        self.shared.ask::<Value>(&call).await.map(drop)
    }

    async fn live(&self, own_id: &str, ttl: Duration, others: &[Arc<str>]) -> Result<Vec<Arc<str>>, ShelfError> {
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let own = self.shared.names.alive(own_id);
        // A full server still prolongs what is there, and refuses what is new.
        let mut renewal = cmd("PEXPIRE");
        renewal.arg(&own).arg(ttl_ms);
        let questions = others.iter().map(|id| async {
            let mut call = cmd("EXISTS");
            call.arg(self.shared.names.alive(id));
            self.shared.ask::<bool>(&call).await
        });
        let (renewed, lives) = tokio::try_join!(self.shared.ask::<bool>(&renewal), try_join_all(questions))?;
        if !renewed {
            let mut call = cmd("SET");
            call.arg(&own).arg("1").arg("PX").arg(ttl_ms);
            self.shared.ask::<Value>(&call).await?;
        }
        let was_told = self.has_lived.swap(true, Relaxed);
        if !renewed && was_told {
            // So it may have forgotten the others.
            return Err(ShelfError::Down("it has forgotten that we live".into()));
        }
        // Once in a while; the next time comes soon.
        let _ = flows::renew(&self.shared, &self.renewals, own_id).await;
        Ok(others.iter().zip(lives).filter(|(_, lives)| *lives).map(|(id, _)| id.clone()).collect())
    }

    async fn now(&self) -> Result<Duration, ShelfError> {
        let (seconds, micros): (u64, u64) = self.ask_now().await?;
        Ok(Duration::from_secs(seconds) + Duration::from_micros(micros))
    }

    async fn ask_now<T: FromRedisValue>(&self) -> Result<T, ShelfError> {
        self.shared.run(&self.shared.scripts.now, &self.shared.names.keys(0), &[]).await
    }
}

impl Shelf for RedisShelf {
    fn put<'a>(&'a self, key: &'a Key, value: Option<&'a str>, seen: &'a Version) -> ShelfFuture<'a, Put> {
        Box::pin(self.put(key, value, seen))
    }

    fn get<'a>(&'a self, key: &'a Key) -> ShelfFuture<'a, Entry> {
        Box::pin(self.get(key))
    }

    fn news(&self) -> mpsc::Receiver<News> {
        self.shared.listen()
    }

    fn tell<'a>(&'a self, to: Option<&'a str>, what: &'a str) -> ShelfFuture<'a, ()> {
        Box::pin(self.tell(to, what))
    }

    fn live<'a>(&'a self, own: &'a str, ttl: Duration, others: &'a [Arc<str>]) -> ShelfFuture<'a, Vec<Arc<str>>> {
        Box::pin(self.live(own, ttl, others))
    }

    fn now<'a>(&'a self) -> ShelfFuture<'a, Duration> {
        Box::pin(self.now())
    }

    fn put_flows<'a>(&'a self, owner: &'a str, flows: &'a [FlowAt]) -> ShelfFuture<'a, ()> {
        Box::pin(flows::put(&self.shared, &self.renewals, owner, flows))
    }

    fn find_flows<'a>(
        &'a self,
        owners: &'a [Arc<str>],
        keys: &'a [Arc<str>],
    ) -> ShelfFuture<'a, Vec<Option<FoundFlow>>> {
        Box::pin(flows::find(&self.shared, owners, keys))
    }

    fn flows_of<'a>(&'a self, owner: &'a str, page: u64) -> ShelfFuture<'a, FlowPage> {
        Box::pin(flows::page(&self.shared, owner, page))
    }

    fn forget_flows<'a>(&'a self, owner: &'a str) -> ShelfFuture<'a, ()> {
        Box::pin(flows::forget(&self.shared, owner))
    }
}

/// Not for secrets.
fn word() -> String {
    format!("{:016x}", random())
}

fn random() -> u64 {
    RandomState::new().hash_one(0)
}
