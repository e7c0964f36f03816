//! Records of flows: many, so without versions, pushes or locks. Each belongs to one balancer, which alone writes it.
//!
//! Fields of a hash per owner and part: the client's ingress key -> the record, and `>` and the origin's ingress key ->
//! the client's key. The part is that of the key itself, so that either name is found without reading the other's.

use super::names::{FLOW_SHARDS, shard_of_flow};
use super::shared::Shared;
use crate::cluster::{FlowAt, FlowPage, FoundFlow, ShelfError};
use futures_util::future::try_join_all;
use redis::{Cmd, Value, cmd};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Of a balancer that never comes back, and whose flows nobody took.
const EXPIRY: Duration = Duration::from_secs(7 * 24 * 3600);
const RENEW_AFTER: Duration = Duration::from_secs(600);
/// Fields that one step of a scan looks at; half of them are records.
const SCAN_FIELDS: usize = 2000;
/// In a field's name: the rest is the origin's ingress key.
const OF_ORIGIN: char = '>';

/// When each hash was given its expiry.
#[derive(Default)]
pub struct Renewals(Mutex<HashMap<String, Instant>>);

impl Renewals {
    fn is_due(&self, hash: &str) -> bool {
        let mut renewed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        renewed.retain(|_, at| at.elapsed() < RENEW_AFTER);
        let is_due = !renewed.contains_key(hash);
        if is_due {
            renewed.insert(hash.to_owned(), Instant::now());
        }
        is_due
    }
}

pub async fn put(shared: &Shared, renewals: &Renewals, owner: &str, flows: &[FlowAt]) -> Result<(), ShelfError> {
    // What is said last of a field holds.
    let mut parts: BTreeMap<u8, BTreeMap<String, Option<&str>>> = BTreeMap::new();
    for flow in flows {
        let by_client = (shard_of_flow(&flow.client), flow.client.to_string(), flow.value.as_deref());
        let back = flow.value.is_some().then_some(&*flow.client);
        let by_origin = (shard_of_flow(&flow.origin), format!("{OF_ORIGIN}{}", flow.origin), back);
        for (shard, field, value) in [by_client, by_origin] {
            parts.entry(shard).or_default().insert(field, value);
        }
    }
    let mut calls = Vec::new();
    for (shard, fields) in &parts {
        let hash = shared.names.flows(owner, *shard);
        let (set, removed): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, value)| value.is_some());
        if !set.is_empty() {
            let mut call = cmd("HSET");
            call.arg(&hash);
            for (field, value) in set {
                call.arg(field).arg(value.unwrap_or_default());
            }
            calls.push(call);
            if renewals.is_due(&hash) {
                calls.push(renewal(&hash));
            }
        }
        if !removed.is_empty() {
            let mut call = cmd("HDEL");
            call.arg(&hash);
            removed.iter().for_each(|(field, _)| _ = call.arg(field));
            calls.push(call);
        }
    }
    all::<Value>(shared, &calls).await.map(drop)
}

/// The expiry of a balancer's flows, even if it has none that is new.
pub async fn renew(shared: &Shared, renewals: &Renewals, owner: &str) -> Result<(), ShelfError> {
    let hashes = (0..FLOW_SHARDS).map(|shard| shared.names.flows(owner, shard));
    let calls: Vec<_> = hashes.filter(|hash| renewals.is_due(hash)).map(|hash| renewal(&hash)).collect();
    all::<Value>(shared, &calls).await.map(drop)
}

fn renewal(hash: &str) -> Cmd {
    let mut call = cmd("EXPIRE");
    call.arg(hash).arg(EXPIRY.as_secs());
    call
}

pub async fn find(
    shared: &Shared,
    owners: &[Arc<str>],
    keys: &[Arc<str>],
) -> Result<Vec<Option<FoundFlow>>, ShelfError> {
    let mut found = vec![None; keys.len()];
    for owner in owners {
        let open: Vec<usize> = (0..keys.len()).filter(|index| found[*index].is_none()).collect();
        if open.is_empty() {
            break;
        }
        // Either name, in one go; then the records of those that were found by the origin's.
        let fields = open.iter().flat_map(|index| {
            let key = &*keys[*index];
            let shard = shard_of_flow(key);
            [(shard, key.to_owned()), (shard, format!("{OF_ORIGIN}{key}"))]
        });
        let values = fields_of(shared, owner, &fields.collect::<Vec<_>>()).await?;
        let mut by_origin = Vec::new();
        for (index, pair) in open.iter().zip(values.chunks_exact(2)) {
            match pair {
                [Some(record), _] => found[*index] = flow(owner, record),
                [None, Some(client)] => by_origin.push((*index, String::from_utf8_lossy(client).into_owned())),
                _ => {}
            }
        }
        let fields: Vec<_> = by_origin.iter().map(|(_, client)| (shard_of_flow(client), client.clone())).collect();
        let values = fields_of(shared, owner, &fields).await?;
        for ((index, _), record) in by_origin.iter().zip(values) {
            found[*index] = record.and_then(|record| flow(owner, &record));
        }
    }
    Ok(found)
}

fn flow(owner: &Arc<str>, record: &[u8]) -> Option<FoundFlow> {
    Some(FoundFlow { owner: owner.clone(), value: std::str::from_utf8(record).ok()?.into() })
}

/// One value for each field, in their order.
async fn fields_of(shared: &Shared, owner: &str, fields: &[(u8, String)]) -> Result<Vec<Option<Vec<u8>>>, ShelfError> {
    let mut parts: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (index, (shard, _)) in fields.iter().enumerate() {
        parts.entry(*shard).or_default().push(index);
    }
    let calls = parts.iter().map(|(shard, indices)| {
        let mut call = cmd("HMGET");
        call.arg(shared.names.flows(owner, *shard));
        indices.iter().for_each(|index| _ = call.arg(&fields[*index].1));
        call
    });
    let answers: Vec<Vec<Option<Vec<u8>>>> = all(shared, &calls.collect::<Vec<_>>()).await?;
    let mut values = vec![None; fields.len()];
    for (index, value) in parts.into_values().flatten().zip(answers.into_iter().flatten()) {
        values[index] = value;
    }
    Ok(values)
}

/// A page is a part's number in the lowest bits, and above them where its scan stands.
pub async fn page(shared: &Shared, owner: &str, page: u64) -> Result<FlowPage, ShelfError> {
    let parts = u64::from(FLOW_SHARDS);
    let part = u8::try_from(page % parts).unwrap_or_default();
    let mut call = cmd("HSCAN");
    let records_only = format!("[^{OF_ORIGIN}]*");
    call.arg(shared.names.flows(owner, part)).arg(page / parts);
    call.arg("MATCH").arg(records_only).arg("COUNT").arg(SCAN_FIELDS);
    let (cursor, fields): (u64, Vec<Vec<u8>>) = shared.ask(&call).await?;
    let records = fields.chunks_exact(2).filter_map(|pair| std::str::from_utf8(&pair[1]).ok());
    let next = match cursor {
        0 => (part + 1 < FLOW_SHARDS).then_some(u64::from(part) + 1),
        cursor => Some(cursor * parts + u64::from(part)),
    };
    Ok(FlowPage { flows: records.map(Into::into).collect(), next })
}

pub async fn forget(shared: &Shared, owner: &str) -> Result<(), ShelfError> {
    let calls = (0..FLOW_SHARDS).map(|shard| {
        let mut call = cmd("UNLINK");
        call.arg(shared.names.flows(owner, shard));
        call
    });
    all::<Value>(shared, &calls.collect::<Vec<_>>()).await.map(drop)
}

/// All at once: on one connection, that is one round trip.
async fn all<T: redis::FromRedisValue>(shared: &Shared, calls: &[Cmd]) -> Result<Vec<T>, ShelfError> {
    try_join_all(calls.iter().map(|call| shared.ask(call))).await
}
