//! A shelf for flows alone, in this process.

use balancer::cluster::{Entry, FlowAt, FlowPage, FoundFlow, Key, News, Put, Shelf, ShelfFuture, Version};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// By the client's ingress key.
type Flows = HashMap<Arc<str>, FlowAt>;

/// By owner.
#[derive(Default)]
pub struct Table(Mutex<HashMap<Arc<str>, Flows>>);

impl Table {
    pub fn count(&self, owner: &str) -> usize {
        self.0.lock().unwrap().get(owner).map_or(0, HashMap::len)
    }
}

fn done<'a, T: Send + 'a>(value: T) -> ShelfFuture<'a, T> {
    Box::pin(async move { Ok(value) })
}

impl Shelf for Table {
    fn put<'a>(&'a self, _key: &'a Key, _value: Option<&'a str>, _seen: &'a Version) -> ShelfFuture<'a, Put> {
        done(Put::Done(Version::none()))
    }

    fn get<'a>(&'a self, key: &'a Key) -> ShelfFuture<'a, Entry> {
        done(Entry { key: key.clone(), version: Version::none(), value: None })
    }

    fn news(&self) -> mpsc::Receiver<News> {
        mpsc::channel(1).1
    }

    fn tell<'a>(&'a self, _to: Option<&'a str>, _what: &'a str) -> ShelfFuture<'a, ()> {
        done(())
    }

    fn live<'a>(&'a self, _own: &'a str, _ttl: Duration, _others: &'a [Arc<str>]) -> ShelfFuture<'a, Vec<Arc<str>>> {
        done(Vec::new())
    }

    fn now<'a>(&'a self) -> ShelfFuture<'a, Duration> {
        done(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
    }

    fn put_flows<'a>(&'a self, owner: &'a str, flows: &'a [FlowAt]) -> ShelfFuture<'a, ()> {
        let mut table = self.0.lock().unwrap();
        let owned = table.entry(owner.into()).or_default();
        for flow in flows {
            match flow.value {
                Some(_) => owned.insert(flow.client.clone(), flow.clone()),
                None => owned.remove(&flow.client),
            };
        }
        done(())
    }

    fn find_flows<'a>(
        &'a self,
        owners: &'a [Arc<str>],
        keys: &'a [Arc<str>],
    ) -> ShelfFuture<'a, Vec<Option<FoundFlow>>> {
        let table = self.0.lock().unwrap();
        let found = |owner: &Arc<str>, key: &Arc<str>| {
            let mut flows = table.get(owner)?.values();
            let flow = flows.find(|flow| [&flow.client, &flow.origin].contains(&key))?;
            Some(FoundFlow { owner: owner.clone(), value: flow.value.clone()? })
        };
        done(keys.iter().map(|key| owners.iter().find_map(|owner| found(owner, key))).collect())
    }

    fn flows_of<'a>(&'a self, owner: &'a str, _page: u64) -> ShelfFuture<'a, FlowPage> {
        let table = self.0.lock().unwrap();
        let flows = table.get(owner).into_iter().flat_map(HashMap::values).filter_map(|flow| flow.value.clone());
        done(FlowPage { flows: flows.collect(), next: None })
    }

    fn forget_flows<'a>(&'a self, owner: &'a str) -> ShelfFuture<'a, ()> {
        self.0.lock().unwrap().remove(owner);
        done(())
    }
}
