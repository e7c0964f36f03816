//! A shelf inside this process for unit tests: one table that several balancers share, with faults on demand.
//!
//! It keeps every promise of [`Shelf`], and what happens is over when a call returns, so that tests need not wait.

use super::{Entry, FlowAt, FlowPage, FoundFlow, Key, News, Put, Shelf, ShelfError, ShelfFuture, Version};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Small, so that tests see more than one page.
pub const PAGE_FLOWS: usize = 100;
/// A receiver that is further behind gets all records instead.
const NEWS_MAX: usize = 4096;
const EPOCH: Duration = Duration::from_secs(1_800_000_000);

/// What goes wrong with every call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// Late, and nothing was done.
    Slow,
    /// Late, though it was done.
    SlowDone,
    /// Whatever writes is refused.
    ReadOnly,
}

#[derive(Clone)]
pub struct Fake {
    table: Arc<Mutex<Table>>,
}

impl Fake {
    #[expect(clippy::new_without_default, reason = "tests make it on purpose")]
    pub fn new() -> Self {
        Self { table: Arc::new(Mutex::new(Table::new())) }
    }

    /// As balancer `id` sees it.
    pub fn shelf(&self, id: &str) -> Arc<dyn Shelf> {
        Arc::new(FakeShelf { id: id.into(), fake: self.clone() })
    }

    /// For all: calls fail, and receivers are told.
    pub fn down(&self, down: bool) {
        let mut table = self.lock();
        let before = std::mem::replace(&mut table.down, down);
        let ids: Vec<_> = table.readers.keys().filter(|id| !table.cut.contains(*id)).cloned().collect();
        for id in ids.iter().filter(|_| before != down) {
            table.announce(id);
        }
    }

    /// For one balancer only.
    pub fn cut(&self, id: &str, cut: bool) {
        let mut table = self.lock();
        let id: Arc<str> = id.into();
        let changed = if cut { table.cut.insert(id.clone()) } else { table.cut.remove(&id) };
        if changed && !table.down {
            table.announce(&id);
        }
    }

    pub fn trouble(&self, trouble: Trouble) {
        self.lock().trouble = trouble;
    }

    /// While `true`, nobody hears of changes, nor what others say. Then whoever has missed something gets all records,
    /// as by the periodic comparison.
    pub fn lose_pushes(&self, lose: bool) {
        let mut table = self.lock();
        table.losing = lose;
        if !lose {
            table.repair();
        }
    }

    /// Everything that lay there is gone.
    pub fn empty(&self) {
        let mut table = self.lock();
        table.records.clear();
        table.flows.clear();
        table.alive.clear();
        table.readers.values_mut().for_each(|reader| reader.behind = true);
        table.repair();
    }

    /// Sets the common clock, which goes on from there (with tokio's time, that a test may pause).
    pub fn set_now(&self, now: Duration) {
        let mut table = self.lock();
        table.clock = now;
        table.since = Instant::now();
    }

    pub fn advance(&self, by: Duration) {
        let now = self.lock().now() + by;
        self.set_now(now);
    }

    /// Writes as somebody else does who asks nobody, like a foreign program.
    pub fn scribble(&self, key: &Key, value: Option<&str>) -> Version {
        self.lock().write(key, value)
    }

    /// What lies there.
    pub fn records(&self) -> Vec<Entry> {
        self.lock().all()
    }

    /// How many calls were made so far, of any kind.
    pub fn calls(&self) -> usize {
        self.lock().calls
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no test panics within")
    }
}

struct Table {
    records: BTreeMap<Key, (Version, Arc<str>)>,
    /// By owner, then by the client's ingress key.
    flows: HashMap<Arc<str>, BTreeMap<Arc<str>, FlowAt>>,
    /// Until when, by the common clock.
    alive: HashMap<Arc<str>, Duration>,
    readers: HashMap<Arc<str>, Reader>,
    writes: u64,
    calls: usize,
    down: bool,
    cut: HashSet<Arc<str>>,
    losing: bool,
    trouble: Trouble,
    /// What the common clock said at `since`.
    clock: Duration,
    since: Instant,
}

struct Reader {
    news: mpsc::Sender<News>,
    /// Has missed something.
    behind: bool,
}

impl Table {
    fn new() -> Self {
        Self {
            records: BTreeMap::new(),
            flows: HashMap::new(),
            alive: HashMap::new(),
            readers: HashMap::new(),
            writes: 0,
            calls: 0,
            down: false,
            cut: HashSet::new(),
            losing: false,
            trouble: Trouble::None,
            clock: EPOCH,
            since: Instant::now(),
        }
    }

    fn now(&self) -> Duration {
        self.clock + self.since.elapsed()
    }

    fn all(&self) -> Vec<Entry> {
        self.records.keys().map(|key| self.entry(key)).collect()
    }

    fn entry(&self, key: &Key) -> Entry {
        let (version, value) = self.records.get(key).cloned().unzip();
        Entry { key: key.clone(), version: version.unwrap_or_default(), value }
    }

    fn write(&mut self, key: &Key, value: Option<&str>) -> Version {
        self.writes += 1;
        match value {
            Some(value) => {
                let version = Version(format!("1:{}", self.writes).into());
                self.records.insert(key.clone(), (version, value.into()));
            }
            None => _ = self.records.remove(key),
        }
        let entry = self.entry(key);
        let version = entry.version.clone();
        self.push(|_| true, News::Changed(entry));
        version
    }

    fn reached_by(&self, id: &str) -> bool {
        !self.down && !self.cut.contains(id)
    }

    fn push(&mut self, whom: impl Fn(&str) -> bool, news: News) {
        let (down, cut, losing) = (self.down, &self.cut, self.losing);
        for (id, reader) in self.readers.iter_mut().filter(|(id, _)| whom(id)) {
            if down || cut.contains(id) {
                continue; // Reads everything when it is back.
            }
            reader.behind |= losing || reader.news.try_send(news.clone()).is_err();
        }
    }

    fn repair(&mut self) {
        let all = self.all();
        let (down, losing, cut) = (self.down, self.losing, &self.cut);
        for (id, reader) in self.readers.iter_mut().filter(|(_, reader)| reader.behind) {
            if !down && !losing && !cut.contains(id) {
                reader.behind = reader.news.try_send(News::Whole(all.clone())).is_err();
            }
        }
    }

    /// Tells a reader whether the store is there.
    fn announce(&mut self, id: &str) {
        let (up, all) = (self.reached_by(id), self.all());
        let Some(reader) = self.readers.get_mut(id) else { return };
        let news = if up { vec![News::Up, News::Whole(all)] } else { vec![News::Down(unreached())] };
        reader.behind = news.into_iter().any(|news| reader.news.try_send(news).is_err());
    }

    fn find(&self, owner: &str, key: &str) -> Option<Arc<str>> {
        let flows = self.flows.get(owner)?;
        let flow = flows.get(key).or_else(|| flows.values().find(|flow| *flow.origin == *key))?;
        flow.value.clone()
    }
}

fn unreached() -> ShelfError {
    ShelfError::Down("the test says so".into())
}

struct FakeShelf {
    id: Arc<str>,
    fake: Fake,
}

impl FakeShelf {
    fn call<'a, T: Send + 'a>(&self, writes: bool, act: impl FnOnce(&mut Table) -> T) -> ShelfFuture<'a, T> {
        let answer = self.answer(writes, act);
        Box::pin(async move { answer })
    }

    fn answer<T>(&self, writes: bool, act: impl FnOnce(&mut Table) -> T) -> Result<T, ShelfError> {
        let mut table = self.fake.lock();
        table.calls += 1;
        if !table.reached_by(&self.id) {
            return Err(unreached());
        }
        match table.trouble {
            Trouble::Slow => Err(ShelfError::Late),
            Trouble::ReadOnly if writes => Err(ShelfError::Refused("READONLY, the test says".into())),
            Trouble::SlowDone => {
                act(&mut table);
                Err(ShelfError::Late)
            }
            Trouble::None | Trouble::ReadOnly => Ok(act(&mut table)),
        }
    }
}

impl Shelf for FakeShelf {
    fn put<'a>(&'a self, key: &'a Key, value: Option<&'a str>, seen: &'a Version) -> ShelfFuture<'a, Put> {
        self.call(true, |table| {
            let there = table.entry(key);
            if there.version == *seen { Put::Done(table.write(key, value)) } else { Put::Lost(there) }
        })
    }

    fn get<'a>(&'a self, key: &'a Key) -> ShelfFuture<'a, Entry> {
        self.call(false, |table| table.entry(key))
    }

    fn news(&self) -> mpsc::Receiver<News> {
        let (news, receiver) = mpsc::channel(NEWS_MAX);
        let mut table = self.fake.lock();
        table.readers.insert(self.id.clone(), Reader { news, behind: false });
        table.announce(&self.id);
        receiver
    }

    fn tell<'a>(&'a self, to: Option<&'a str>, what: &'a str) -> ShelfFuture<'a, ()> {
        let meant = |id: &str| to.map_or(*id != *self.id, |to| to == id);
        self.call(false, |table| table.push(meant, News::Told(what.into())))
    }

    fn live<'a>(&'a self, own: &'a str, ttl: Duration, others: &'a [Arc<str>]) -> ShelfFuture<'a, Vec<Arc<str>>> {
        self.call(true, |table| {
            let now = table.now();
            table.alive.insert(own.into(), now + ttl);
            let lives = |id: &&Arc<str>| table.alive.get(*id).is_some_and(|until| *until > now);
            others.iter().filter(lives).cloned().collect()
        })
    }

    fn now<'a>(&'a self) -> ShelfFuture<'a, Duration> {
        self.call(false, |table| table.now())
    }

    fn put_flows<'a>(&'a self, owner: &'a str, flows: &'a [FlowAt]) -> ShelfFuture<'a, ()> {
        self.call(true, |table| {
            let owned = table.flows.entry(owner.into()).or_default();
            for flow in flows {
                match flow.value {
                    Some(_) => owned.insert(flow.client.clone(), flow.clone()),
                    None => owned.remove(&flow.client),
                };
            }
        })
    }

    fn find_flows<'a>(
        &'a self,
        owners: &'a [Arc<str>],
        keys: &'a [Arc<str>],
    ) -> ShelfFuture<'a, Vec<Option<FoundFlow>>> {
        self.call(false, |table| {
            let found =
                |owner: &Arc<str>, key| Some(FoundFlow { owner: owner.clone(), value: table.find(owner, key)? });
            keys.iter().map(|key| owners.iter().find_map(|owner| found(owner, key))).collect()
        })
    }

    fn flows_of<'a>(&'a self, owner: &'a str, page: u64) -> ShelfFuture<'a, FlowPage> {
        self.call(false, |table| {
            let all: Vec<_> = table.flows.get(owner).into_iter().flat_map(BTreeMap::values).collect();
            let begin = usize::try_from(page).expect("a page that was named before") * PAGE_FLOWS;
            let flows = all.iter().skip(begin).take(PAGE_FLOWS).filter_map(|flow| flow.value.clone()).collect();
            FlowPage { flows, next: (begin + PAGE_FLOWS < all.len()).then_some(page + 1) }
        })
    }

    fn forget_flows<'a>(&'a self, owner: &'a str) -> ShelfFuture<'a, ()> {
        self.call(true, |table| _ = table.flows.remove(owner))
    }
}

#[cfg(test)]
mod tests;
