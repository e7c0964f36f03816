//! The answers of many SRS made one. Pure.
//!
//! Whoever reads an answer of SRS can read these: the same fields, and `origins` besides, which names every origin and
//! what it said, or why it said nothing. Each item of a list has its `origin`.

use super::call::{List, Window};
use crate::identity::Identity;
use serde_json::{Map, Number, Value, json};
use std::sync::Arc;

/// What an origin has said, or why it has not.
#[derive(Clone, Debug)]
pub struct Reply {
    pub origin: Arc<str>,
    pub said: Result<Map<String, Value>, String>,
}

impl Reply {
    pub fn code(&self) -> Option<i64> {
        self.said.as_ref().ok()?.get("code")?.as_i64()
    }

    /// In the list of origins.
    fn shown(&self, with: &[&str]) -> Value {
        match &self.said {
            Ok(said) => {
                let mut shown = json!({ "id": &*self.origin });
                for field in ["code", "server", "service", "pid"].iter().chain(with) {
                    if let Some(value) = said.get(*field) {
                        shown[*field] = value.clone();
                    }
                }
                shown
            }
            Err(error) => json!({ "id": &*self.origin, "error": error }),
        }
    }
}

/// `code`, who we are, and who the others are.
fn envelope(code: i64, replies: &[Reply], with: &[&str]) -> Value {
    let Identity { server, service, pid } = Identity::get();
    let origins: Vec<Value> = replies.iter().map(|reply| reply.shown(with)).collect();
    json!({ "code": code, "server": server, "service": service, "pid": pid, "origins": origins })
}

pub fn list(list: List, replies: Vec<Reply>, window: Window) -> Value {
    let mut whole = envelope(0, &replies, &[]);
    let mut items = Vec::new();
    for Reply { origin, said } in replies {
        let Some(Value::Array(own)) = said.ok().and_then(|mut said| said.remove(list.name())) else { continue };
        for mut item in own {
            if let Value::Object(fields) = &mut item {
                fields.insert("origin".into(), (&*origin).into());
            }
            items.push(item);
        }
    }
    let page: Vec<Value> = items.into_iter().skip(window.start).take(window.count).collect();
    whole[list.name()] = page.into();
    whole
}

/// Our own version, since it is we who answer; theirs are with the origins.
pub fn versions(replies: &[Reply]) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let mut part = || parts.next().unwrap_or(0);
    let mut whole = envelope(0, replies, &["data"]);
    whole["data"] = json!({ "major": part(), "minor": part(), "revision": part(), "version": version });
    whole
}

/// What each was told to do. Not done if one has not done it.
pub fn raw(replies: &[Reply]) -> Value {
    let failed = replies.iter().map(|reply| reply.code().unwrap_or(-1)).find(|code| *code != 0);
    envelope(failed.unwrap_or(0), replies, &["data"])
}

/// One thing that an origin knows, as it has said it. If nobody knows it, that is what is said, with everybody's word.
pub fn one(replies: Vec<Reply>) -> Value {
    match replies.iter().position(|reply| reply.code() == Some(0)) {
        Some(at) => {
            let origin = replies[at].origin.clone();
            let said = replies.into_iter().nth(at).and_then(|reply| reply.said.ok()).unwrap_or_default();
            let mut whole = Value::Object(said);
            whole["origin"] = (&*origin).into();
            whole
        }
        None => {
            let code = replies.iter().find_map(Reply::code).unwrap_or(NOBODY_KNOWS);
            envelope(code, &replies, &[])
        }
    }
}

/// What SRS calls a stream that it does not have.
const NOBODY_KNOWS: i64 = 2048;

/// How the numbers of several servers become one.
#[derive(Clone, Copy)]
enum Fold {
    Sum,
    Mean,
    Min,
    Max,
}

/// What a cluster has of each. What is not named is only true of one server (a working directory, a parent).
const SELF: [(&str, Fold); 4] =
    [("mem_kbyte", Fold::Sum), ("mem_percent", Fold::Mean), ("cpu_percent", Fold::Mean), ("srs_uptime", Fold::Min)];
const SYSTEM: [(&str, Fold); 28] = [
    ("cpu_percent", Fold::Mean),
    ("disk_read_KBps", Fold::Sum),
    ("disk_write_KBps", Fold::Sum),
    ("disk_busy_percent", Fold::Mean),
    ("mem_ram_kbyte", Fold::Sum),
    ("mem_ram_percent", Fold::Mean),
    ("mem_swap_kbyte", Fold::Sum),
    ("mem_swap_percent", Fold::Mean),
    ("cpus", Fold::Sum),
    ("cpus_online", Fold::Sum),
    ("uptime", Fold::Min),
    ("ilde_time", Fold::Sum),
    ("load_1m", Fold::Mean),
    ("load_5m", Fold::Mean),
    ("load_15m", Fold::Mean),
    ("net_sample_time", Fold::Max),
    ("net_recv_bytes", Fold::Sum),
    ("net_send_bytes", Fold::Sum),
    ("net_recvi_bytes", Fold::Sum),
    ("net_sendi_bytes", Fold::Sum),
    ("srs_sample_time", Fold::Max),
    ("srs_recv_bytes", Fold::Sum),
    ("srs_send_bytes", Fold::Sum),
    ("conn_sys", Fold::Sum),
    ("conn_sys_et", Fold::Sum),
    ("conn_sys_tw", Fold::Sum),
    ("conn_sys_udp", Fold::Sum),
    ("conn_srs", Fold::Sum),
];

pub fn summaries(replies: &[Reply]) -> Value {
    let mut whole = envelope(0, replies, &["data"]);
    let all: Vec<&Value> = replies.iter().filter_map(|reply| reply.said.as_ref().ok()?.get("data")).collect();
    let is_ok = |data: &&Value| data.get("ok").and_then(Value::as_bool) == Some(true);
    let now_ms = folded(&all, "/now_ms", Fold::Max).unwrap_or_else(|| 0.into());
    let mut data = json!({ "ok": all.len() == replies.len() && all.iter().all(is_ok), "now_ms": now_ms });
    let version = env!("CARGO_PKG_VERSION");
    data["self"] = part(&all, "self", &SELF, json!({ "version": version, "pid": std::process::id() }));
    data["system"] = part(&all, "system", &SYSTEM, json!({}));
    whole["data"] = data;
    whole
}

fn part(all: &[&Value], name: &str, folds: &[(&str, Fold)], mut part: Value) -> Value {
    for (field, fold) in folds {
        if let Some(number) = folded(all, &format!("/{name}/{field}"), *fold) {
            part[*field] = number.into();
        }
    }
    part
}

/// Whole numbers stay whole; `None` if nobody has it.
fn folded(all: &[&Value], pointer: &str, fold: Fold) -> Option<Number> {
    let numbers: Vec<&Number> = all.iter().filter_map(|data| data.pointer(pointer)?.as_number()).collect();
    let whole: Option<Vec<i64>> = numbers.iter().map(|number| number.as_i64()).collect();
    let floats = || numbers.iter().filter_map(|number| number.as_f64());
    let float = match (fold, whole) {
        (_, _) if numbers.is_empty() => return None,
        (Fold::Sum, Some(whole)) => return Some(whole.into_iter().fold(0, i64::saturating_add).into()),
        (Fold::Min, Some(whole)) => return whole.into_iter().min().map(Into::into),
        (Fold::Max, Some(whole)) => return whole.into_iter().max().map(Into::into),
        (Fold::Sum, None) => floats().sum(),
        (Fold::Min, None) => floats().fold(f64::INFINITY, f64::min),
        (Fold::Max, None) => floats().fold(f64::NEG_INFINITY, f64::max),
        (Fold::Mean, _) => floats().sum::<f64>() / numbers.len() as f64,
    };
    Number::from_f64(float)
}
