//! Keeps the connection, and tells what happens: connects again for as long as it takes, hears the pushes, and finds out
//! by the writes' numbers what it has not heard.
//!
//! A push may be lost (Redis does not repeat one), so every write of a shard has a number, and the shard a word that
//! changes when it begins anew. A number that was left out, or a higher one in the store than was heard of while pushes of
//! the shard came, is repaired from the shard's log; what the log does not tell means that everything is read.

use super::names::{self, SHARDS};
use super::scripts::Script;
use super::servers::{self, ANSWER_TIME_MAX, Link, Place};
use super::shared::{Seen, Shared, run};
use super::text::{self, Push};
use super::trouble;
use crate::cluster::{Entry, Key, News, ShelfError};
use crate::config::store_url::RedisKind;
use balancer_common::abi::Reason;
use futures_util::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use redis::{FromRedisValue, Msg, RedisResult, Value, cmd};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

/// Between two attempts to connect: the first, and at most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A connection that held so long was a good one: the next attempt comes soon.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// How often it is asked whether the server is still there.
const BEAT: Duration = Duration::from_secs(1);
/// A server that is silent for so long is taken for gone.
const SILENCE_MAX: Duration = Duration::from_secs(3);

pub async fn keep(shared: Arc<Shared>) {
    let mut pause = PAUSE;
    for attempt in 0.. {
        let began = Instant::now();
        let error = match Session::begin(&shared, attempt).await {
            Ok(mut session) => {
                let error = session.run().await;
                *shared.heard.lock().unwrap_or_else(PoisonError::into_inner) = session.seen;
                error
            }
            Err(error) => error,
        };
        if shared.down(&error) {
            shared.emit(News::Down(error)).await;
        }
        if began.elapsed() > GOOD_AFTER {
            pause = PAUSE;
        }
        // Balancers that lost the same server do not come back in step.
        sleep(pause.mul_f64(0.5 + f64::from(super::random() as u16) / 131_072.0)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

struct Session<'a> {
    shared: &'a Shared,
    place: Place,
    link: Link,
    sink: PubSubSink,
    pushes: PubSubStream,
    seen: Vec<Seen>,
    /// By shard.
    expected: BTreeMap<u8, Expected>,
    answered: Instant,
    compared: Instant,
}

/// What the store had at the last comparison: to be heard of soon.
struct Expected {
    wanted: Seen,
    /// How far the shard had been heard. Who is behind hears more from beat to beat, and must not read it all beside.
    heard: u64,
}

impl<'a> Session<'a> {
    async fn begin(shared: &'a Shared, attempt: usize) -> Result<Self, ShelfError> {
        let place = servers::place(&shared.options, attempt).await?;
        let (link, pushes) = servers::connect(&shared.options, &shared.names, &place).await?;
        let (sink, pushes) = pushes.split();
        let seen = shared.heard.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (now, expected) = (Instant::now(), BTreeMap::new());
        let mut session = Self { shared, place, link, sink, pushes, seen, expected, answered: now, compared: now };
        let all = session.read_all().await?;
        shared.up(session.link.clone());
        shared.emit(News::Up).await;
        shared.emit(News::Whole(all)).await;
        Ok(session)
    }

    /// Until it breaks: why it did.
    async fn run(&mut self) -> ShelfError {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                message = self.pushes.next() => match message {
                    Some(message) => self.heard(&message).await,
                    None => Err(ShelfError::Down("the server closed the subscription".into())),
                },
                () = self.shared.broken.notified() => self.beat().await,
                () = self.shared.demoted.notified() => self.demoted(),
                () = self.shared.reader.notified() => self.introduce().await,
                _ = beat.tick() => self.beat().await,
            };
            if let Err(error) = done {
                return error;
            }
        }
    }

    async fn heard(&mut self, message: &Msg) -> Result<(), ShelfError> {
        let Ok(payload) = std::str::from_utf8(message.get_payload_bytes()) else { return Ok(()) };
        if message.get_channel_name() == self.shared.names.tell() {
            if let Some(what) = text::told(payload, &self.shared.options.id) {
                self.shared.emit(News::Told(what.into())).await;
            }
            return Ok(());
        }
        match text::push(payload) {
            Some(push) => self.pushed(push).await,
            None => {
                self.shared.counters.count(Reason::RecordForeign);
                Ok(())
            }
        }
    }

    async fn pushed(&mut self, push: Push) -> Result<(), ShelfError> {
        let seen = &mut self.seen[usize::from(push.shard)];
        let is_first = *seen == Seen::default();
        if push.born == seen.born && push.seq <= seen.seq {
            return Ok(());
        }
        if push.seq != seen.seq + 1 || (push.born != seen.born && !is_first) {
            return self.repair(push.shard).await;
        }
        *seen = Seen { born: push.born, seq: push.seq };
        if let Some(entry) = push.entry {
            self.shared.emit(News::Changed(entry)).await;
        }
        Ok(())
    }

    /// A receiver that knows nothing yet.
    async fn introduce(&mut self) -> Result<(), ShelfError> {
        self.shared.emit(News::Up).await;
        self.whole().await
    }

    /// With Sentinels, another server is the one to write to; alone, the server says so itself to who tries.
    fn demoted(&self) -> Result<(), ShelfError> {
        match self.shared.options.url.kind {
            RedisKind::Sentinel(_) => Err(ShelfError::Down(format!("{} is no longer the primary", self.place.0))),
            RedisKind::Server | RedisKind::Cluster => Ok(()),
        }
    }

    /// Is the server there, on both connections? Then what was expected should have been heard.
    async fn beat(&mut self) -> Result<(), ShelfError> {
        let (shared, link) = (self.shared, self.link.clone());
        let keys = shared.names.keys(0);
        let (answer, pong) = tokio::join!(
            timeout(BEAT, run::<Value>(&link, &shared.scripts.now, &keys, &[])),
            timeout(BEAT, self.sink.ping::<Value>())
        );
        match (answer, pong) {
            (Ok(Err(error)), _) | (_, Ok(Err(error))) => return Err(trouble::of(&error)),
            (Ok(_), Ok(_)) => self.answered = Instant::now(),
            _ if self.answered.elapsed() > SILENCE_MAX => return Err(ShelfError::Late),
            _ => return Ok(()),
        }
        for (shard, Expected { wanted, heard }) in std::mem::take(&mut self.expected) {
            let Seen { born, seq } = &self.seen[usize::from(shard)];
            if *born != wanted.born || *seq >= wanted.seq {
                continue;
            }
            if *seq > heard {
                self.expected.insert(shard, Expected { wanted, heard: *seq });
            } else {
                self.repair(shard).await?;
            }
        }
        if self.compared.elapsed() >= self.shared.options.reconcile {
            self.compare().await?;
        }
        Ok(())
    }

    /// Compares what was heard of every shard with what the store says.
    async fn compare(&mut self) -> Result<(), ShelfError> {
        self.compared = Instant::now();
        if let RedisKind::Sentinel(_) = self.shared.options.url.kind
            && servers::place(&self.shared.options, 0).await.is_ok_and(|place| place != self.place)
        {
            return Err(ShelfError::Down("Sentinel names another server".into()));
        }
        let mut question = cmd("MGET");
        for shard in 0..SHARDS {
            question.arg(self.shared.names.born(shard)).arg(self.shared.names.seq(shard));
        }
        let answer: Vec<Option<Vec<u8>>> = in_time(self.link.ask(&question)).await?;
        for (shard, pair) in (0..SHARDS).zip(answer.chunks_exact(2)) {
            let there = seen(pair[0].as_deref().unwrap_or_default(), pair[1].as_deref().unwrap_or(b"0"));
            let Seen { born, seq: heard } = self.seen[usize::from(shard)].clone();
            let is_first = born.is_empty() && !there.born.is_empty();
            if is_first || (there.born == born && there.seq > heard) {
                // Its push may be on its way.
                let wanted = Seen { born, ..there };
                self.expected.insert(shard, Expected { wanted, heard });
            } else if there.born != born || there.seq < heard {
                self.repair(shard).await?;
            }
        }
        Ok(())
    }

    /// Reads what was missed in a shard.
    async fn repair(&mut self, shard: u8) -> Result<(), ShelfError> {
        type Answer = (Vec<u8>, Vec<u8>, u8, Vec<Option<Vec<u8>>>);
        let Seen { born, seq } = self.seen[usize::from(shard)].clone();
        let script = &self.shared.scripts.since;
        let (born, seq, is_told, changed): Answer = self.script(script, shard, &[&*born, &seq.to_string()]).await?;
        if is_told == 0 {
            self.shared.counters.count(Reason::RecordRepaired);
            return self.whole().await;
        }
        self.seen[usize::from(shard)] = seen(&born, &seq);
        for pair in changed.chunks_exact(2) {
            if let Some(entry) = entry(shard, pair[0].as_deref().unwrap_or_default(), pair[1].as_deref()) {
                self.shared.counters.count(Reason::RecordRepaired);
                self.shared.emit(News::Changed(entry)).await;
            }
        }
        Ok(())
    }

    async fn whole(&mut self) -> Result<(), ShelfError> {
        let all = self.read_all().await?;
        self.shared.emit(News::Whole(all)).await;
        Ok(())
    }

    /// Shard by shard, each as of one moment; pushes that are older are recognized by their number.
    async fn read_all(&mut self) -> Result<Vec<Entry>, ShelfError> {
        let mut all = Vec::new();
        for shard in 0..SHARDS {
            let (mut there, mut records) = self.read(shard).await?;
            let heard = &self.seen[usize::from(shard)];
            if there.born == heard.born && there.seq < heard.seq {
                // A fail-over has lost writes. Their numbers must not mean something else.
                let arguments = [&*there.born, &super::word()];
                self.script::<Value>(&self.shared.scripts.rebear, shard, &arguments).await?;
                (there, records) = self.read(shard).await?;
            }
            self.seen[usize::from(shard)] = there;
            all.extend(records.chunks_exact(2).filter_map(|pair| entry(shard, &pair[0], Some(&pair[1]))));
        }
        self.expected.clear();
        Ok(all)
    }

    async fn read(&self, shard: u8) -> Result<(Seen, Vec<Vec<u8>>), ShelfError> {
        let script = &self.shared.scripts.whole;
        let (born, seq, records): (Vec<u8>, Vec<u8>, _) = self.script(script, shard, &[]).await?;
        Ok((seen(&born, &seq), records))
    }

    async fn script<T: FromRedisValue>(&self, script: &Script, shard: u8, arguments: &[&str]) -> Result<T, ShelfError> {
        in_time(run(&self.link, script, &self.shared.names.keys(shard), arguments)).await
    }
}

async fn in_time<T>(work: impl Future<Output = RedisResult<T>>) -> Result<T, ShelfError> {
    match timeout(ANSWER_TIME_MAX, work).await {
        Ok(result) => result.map_err(|error| trouble::of(&error)),
        Err(_) => Err(ShelfError::Late),
    }
}

fn seen(born: &[u8], seq: &[u8]) -> Seen {
    let seq = std::str::from_utf8(seq).ok().and_then(|seq| seq.parse().ok()).unwrap_or_default();
    Seen { born: String::from_utf8_lossy(born).into(), seq }
}

/// `None`: not under a name of ours, or not where we would look for it.
fn entry(shard: u8, key: &[u8], record: Option<&[u8]>) -> Option<Entry> {
    let key = std::str::from_utf8(key).ok().filter(|key| names::shard_of_record(key) == shard)?;
    let key = Key::parse(key)?;
    Some(text::entry(key, record.map(String::from_utf8_lossy).as_deref()))
}
