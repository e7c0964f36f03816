//! Tests of the shelf in Redis, by what happens to the store.

mod access;
mod cluster;
mod flows;
mod pushes;
mod race;
mod sentinel;
mod troubles;

use balancer::cluster::redis::{Options, connect_with};
use balancer::cluster::{Entry, Key, Kind, News, Put, Shelf, ShelfError, Version};
use balancer::config::store_url::RedisUrl;
use balancer::counters::Counters;
use balancer_common::abi::Reason;
use balancer_lab::redis::{Place, Server, Setup};
use balancer_lab::requirements::{Need, met};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// Far more than anything takes: the machine may be busy with other things.
const TIME_MAX: Duration = Duration::from_secs(60);

/// One balancer's view of the store.
struct Balancer {
    shelf: Arc<dyn Shelf>,
    news: mpsc::Receiver<News>,
    counters: Arc<Counters>,
    /// What the news say that lies there.
    copy: BTreeMap<Key, Entry>,
}

fn options(url: &str, id: &str) -> Options {
    Options {
        url: RedisUrl::parse(url).unwrap(),
        prefix: "test".into(),
        id: id.into(),
        timeout: Duration::from_secs(5),
        ca: None,
        reconcile: Duration::from_secs(1),
    }
}

fn server(lines: &[&str]) -> Option<Server> {
    met(&[Need::Redis]).then(|| Server::start(&Place::loopback(), &Setup::lines(lines)).unwrap())
}

impl Balancer {
    fn of(options: Options) -> Self {
        let counters = Arc::new(Counters::default());
        let shelf = connect_with(options, counters.clone());
        let news = shelf.news();
        Self { shelf, news, counters, copy: BTreeMap::new() }
    }

    /// Connected, and told what lies there.
    async fn join(url: &str, id: &str) -> Self {
        let mut balancer = Self::of(options(url, id));
        balancer.until("all records", |news| matches!(news, News::Whole(_)).then_some(())).await;
        balancer
    }

    async fn next(&mut self) -> News {
        let news =
            timeout(TIME_MAX, self.news.recv()).await.expect("news within the limit").expect("the shelf is there");
        match &news {
            News::Changed(entry) => match entry.value {
                Some(_) => _ = self.copy.insert(entry.key.clone(), entry.clone()),
                None => _ = self.copy.remove(&entry.key),
            },
            News::Whole(all) => self.copy = all.iter().map(|entry| (entry.key.clone(), entry.clone())).collect(),
            News::Up | News::Down(_) | News::Told(_) => {}
        }
        news
    }

    async fn until<T>(&mut self, what: &str, mut wanted: impl FnMut(&News) -> Option<T>) -> T {
        let mut seen = Vec::new();
        for _ in 0..1_000_000 {
            let news = self.next().await;
            if let Some(found) = wanted(&news) {
                return found;
            }
            seen.push(news);
        }
        panic!("not {what}, but {seen:?}")
    }

    /// Until the copy is as wanted.
    async fn until_copy(&mut self, what: &str, wanted: impl Fn(&BTreeMap<Key, Entry>) -> bool) {
        while !wanted(&self.copy) {
            let heard = timeout(TIME_MAX, self.next()).await;
            heard.unwrap_or_else(|_| panic!("{what}: not within the limit"));
        }
    }

    async fn write(&self, key: &Key, value: Option<&str>, seen: &Version) -> Version {
        match self.shelf.put(key, value, seen).await {
            Ok(Put::Done(version)) => version,
            other => panic!("{key:?} is not written: {other:?}"),
        }
    }
}

fn stream(name: &str) -> Key {
    Key::new(Kind::Stream, name)
}

/// Polls until it holds.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let poll = async {
        while !holds().await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(TIME_MAX, poll).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"));
}
