//! What an origin carries, in one number, and how it is learnt from the counters of the flows.

use crate::flow::{FlowId, FlowRecord, Path, Role};
use crate::registry::{Serving, Unfed};
use std::collections::HashMap;
use std::time::Duration;

/// Payload, smoothed. *In* is what goes to the origin, *out* what comes from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    pub bits_per_second_in: u64,
    pub bits_per_second_out: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    pub rate: Rate,
    /// When a packet of one of its flows was last seen coming from it. `None`: unknown, or it has no flow.
    pub heard_at: Option<Duration>,
    /// Expected of streams that were placed lately and do not show in the rates yet, in bits per second.
    pub pending: u64,
}

/// What a stream is taken to cost until it can be measured: between a mobile contribution and full HD.
pub const STREAM_COST: u64 = 4_000_000;
/// A fifth with each measurement: what the smoothing of the rates takes in, at one measurement a second.
const PENDING_FADES: u64 = 5;
/// What a flow costs beyond its bytes: wake-ups, buffers, a share of the origin's bookkeeping.
const FLOW_COST: u64 = 100_000;

impl Load {
    /// The next measurement. What is pending fades as it comes to show in the smoothed rates.
    pub fn measured(self, next: Self) -> Self {
        Self { pending: self.pending - self.pending / PENDING_FADES, ..next }
    }

    /// In bits per second, everything counted.
    pub fn cost(&self, flows: u32) -> u64 {
        let bits = self.rate.bits_per_second_in.saturating_add(self.rate.bits_per_second_out);
        bits.saturating_add(u64::from(flows) * FLOW_COST).saturating_add(self.pending)
    }
}

/// One measurement of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loads {
    /// By origin index. Origins that are not listed carry nothing.
    pub origins: HashMap<u16, Load>,
    /// By stream index.
    pub streams: HashMap<u32, Rate>,
    /// Who brings or gets nothing, and for how long.
    pub unfed: Unfed,
}

/// Rates of change of the flows' counters. Feed it all flows, about once a second.
#[derive(Debug, Default)]
pub struct Sampler {
    seen: HashMap<FlowId, Seen>,
    origins: HashMap<u16, Smoothed>,
    streams: HashMap<u32, Smoothed>,
    sampled_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    bytes_in: u64,
    bytes_out: u64,
    packets_out: u64,
    heard_at: Option<Duration>,
    first_at: Duration,
    /// When it last carried what may be media.
    fed_at: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Smoothed {
    per_second_in: f64,
    per_second_out: f64,
}

/// Longer than a group of pictures, so that a key frame is not a peak; short enough to see a stream end.
const SMOOTHING: Duration = Duration::from_secs(5);

/// In a second: less is no media, but keep-alives and the protocol's own words. Speech alone is ten times as much.
const MEDIA_BYTES_PER_S: u64 = 250;

impl Sampler {
    pub fn sample<'a>(&mut self, flows: impl Iterator<Item = (FlowId, &'a FlowRecord)>, now: Duration) -> Loads {
        let elapsed = self.sampled_at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        let mut seen = HashMap::with_capacity(self.seen.len());
        let mut by_origin: HashMap<u16, Seen> = HashMap::new();
        let mut by_stream: HashMap<u32, Seen> = HashMap::new();
        let mut fed: HashMap<Serving, (Duration, Option<Duration>)> = HashMap::new();
        for (id, flow) in flows {
            let old = self.seen.get(&id).copied();
            let before = old.unwrap_or_default();
            // A relay counts reads, not ACKs: there, that the origin takes bytes is a sign of life too.
            let takes = flow.path == Path::Relay && flow.to_origin.bytes != before.bytes_in;
            let heard_at = if old.is_some() && (takes || flow.to_client.packets != before.packets_out) {
                Some(now)
            } else {
                before.heard_at.or(Some(flow.made_at))
            };
            let mut current = Seen {
                bytes_in: flow.to_origin.bytes,
                bytes_out: flow.to_client.bytes,
                packets_out: flow.to_client.packets,
                heard_at,
                first_at: old.map_or(now, |old| old.first_at),
                fed_at: before.fed_at,
            };
            let media = match flow.role {
                Role::Publish => current.bytes_in.saturating_sub(before.bytes_in),
                Role::Play => current.bytes_out.saturating_sub(before.bytes_out),
            };
            if old.is_some() && media >= (elapsed.as_millis() as u64 * MEDIA_BYTES_PER_S / 1000).max(1) {
                current.fed_at = Some(now);
            }
            let of = (flow.stream_index, (flow.origin, flow.origin_generation), flow.role);
            let (first_at, fed_at) = fed.entry(of).or_insert((now, None));
            (*first_at, *fed_at) = (current.first_at.min(*first_at), current.fed_at.max(*fed_at));
            // What an adopted flow has carried before this process saw it is no rate.
            let before =
                if old.is_none() && self.sampled_at.is_none_or(|at| flow.made_at < at) { current } else { before };
            for sum in [by_origin.entry(flow.origin).or_default(), by_stream.entry(flow.stream_index).or_default()] {
                sum.bytes_in += current.bytes_in.saturating_sub(before.bytes_in);
                sum.bytes_out += current.bytes_out.saturating_sub(before.bytes_out);
                sum.heard_at = sum.heard_at.max(heard_at);
            }
            seen.insert(id, current);
        }
        self.seen = seen;
        self.sampled_at = Some(now);
        smooth(&mut self.origins, &by_origin, elapsed);
        smooth(&mut self.streams, &by_stream, elapsed);
        let load = |(index, smoothed): (&u16, &Smoothed)| {
            let heard_at = by_origin.get(index).and_then(|s| s.heard_at);
            (*index, Load { rate: smoothed.rate(), heard_at, pending: 0 })
        };
        Loads {
            origins: self.origins.iter().map(load).collect(),
            streams: self.streams.iter().map(|(index, smoothed)| (*index, smoothed.rate())).collect(),
            unfed: fed.into_iter().map(|(of, (first, fed))| (of, now.saturating_sub(fed.unwrap_or(first)))).collect(),
        }
    }
}

/// Exponential; what has neither flow nor rate left is forgotten.
fn smooth<K: Copy + Eq + std::hash::Hash>(all: &mut HashMap<K, Smoothed>, sums: &HashMap<K, Seen>, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    for key in sums.keys() {
        all.entry(*key).or_default();
    }
    if seconds == 0.0 {
        return;
    }
    let share = 1.0 - (-seconds / SMOOTHING.as_secs_f64()).exp();
    all.retain(|key, smoothed| {
        let sum = sums.get(key).copied().unwrap_or_default();
        let toward = |old: f64, bytes: u64| old + (bytes as f64 * 8.0 / seconds - old) * share;
        smoothed.per_second_in = toward(smoothed.per_second_in, sum.bytes_in);
        smoothed.per_second_out = toward(smoothed.per_second_out, sum.bytes_out);
        sums.contains_key(key) || smoothed.per_second_in + smoothed.per_second_out >= 1.0
    });
}

impl Smoothed {
    fn rate(self) -> Rate {
        Rate { bits_per_second_in: self.per_second_in as u64, bits_per_second_out: self.per_second_out as u64 }
    }
}
