//! Whether a record that somebody has written may become a flow here.
//!
//! Nothing of it reaches a map that this balancer could not have written itself: its own VIPs, addresses that origins
//! may have, source addresses of its own or of another balancer's, an origin and a run of it that are known here.

use super::Flows;
use super::wire::Sound;
use crate::cluster::record::{FlowRecord as Written, Record, RecordError};
use crate::flow::{Counter, FlowRecord, FlowState, Path, Role};
use crate::offload::{NewHalf, Way};
use crate::placement::service_of;
use crate::recognize::StreamKey;
use crate::registry::Transport;
use balancer_common::abi::{FlowKey, PROTO_UDP, Reason};
use std::sync::Arc;
use std::time::Duration;

/// It may.
#[derive(Clone, Debug)]
pub struct Fit {
    pub sound: Sound,
    pub client: FlowKey,
    pub origin: FlowKey,
    origin_id: Arc<str>,
    placed_on: (u16, u16),
    key: Arc<StreamKey>,
    stream: u32,
    made_ms: u64,
}

/// Why not. Says nothing of what the record says: that may be a secret, or nonsense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("a record of a flow is of another version")]
    Format,
    #[error("a record of a flow is none of ours: {0}")]
    Foreign(String),
    #[error("a flow cannot be carried on: {0}")]
    NotTaken(&'static str),
}

impl Unfit {
    pub fn reason(&self) -> Reason {
        match self {
            Self::Format => Reason::RecordFormat,
            Self::Foreign(_) => Reason::RecordForeign,
            Self::NotTaken(_) => Reason::FlowNotTaken,
        }
    }
}

fn foreign(why: &str) -> Unfit {
    Unfit::Foreign(why.to_owned())
}

/// What a record says.
pub type Reading = Result<(Written, Sound), Unfit>;

pub fn read(text: &str) -> Reading {
    let written = Written::read(text).map_err(|error| match error {
        RecordError::Format(_) => Unfit::Format,
        // Its words may quote the record.
        RecordError::Malformed(_) => foreign("it is not what we write"),
        error => Unfit::Foreign(error.to_string()),
    })?;
    let sound = Sound::of(&written).map_err(|error| Unfit::Foreign(error.to_string()))?;
    Ok((written, sound))
}

impl Flows {
    pub(super) fn read(&self, text: &str) -> Reading {
        read(text)
    }

    pub(super) fn fit(&self, written: &Written, sound: Sound) -> Result<Fit, Unfit> {
        let parts = &self.parts;
        let (client, origin) = sound.keys().ok_or_else(|| foreign("its addresses cannot be"))?;
        let transport = if sound.proto == PROTO_UDP { Transport::Udp } else { Transport::Tcp };
        if !parts.served.iter().any(|(kind, vip)| (Transport::of(*kind), *vip) == (transport, sound.vip)) {
            return Err(foreign("nothing is served at its VIP"));
        }
        if !self.is_source(sound.source.ip()) {
            return Err(foreign("its source address is no balancer's"));
        }
        if !parts.store.admits(service_of(sound.protocol), sound.origin_address) {
            return Err(foreign("no origin may have its address"));
        }
        let key: StreamKey = written.stream.parse().map_err(|_| foreign("it names no stream"))?;
        let current = parts.store.current_origin(&written.origin, written.epoch);
        let placed_on = current.ok_or(Unfit::NotTaken("its origin is not known, or was restarted"))?;
        let (key, is_published) = (Arc::new(key), sound.role == Role::Publish);
        let stream = parts.store.carry_stream(&key, placed_on, is_published, parts.clock.now());
        let stream = stream.ok_or(Unfit::NotTaken("there are too many streams"))?;
        let origin_id = written.origin.as_str().into();
        Ok(Fit { sound, client, origin, origin_id, placed_on, key, stream, made_ms: written.made_ms })
    }

    /// As it stands in the table of live flows. `now_ms` is by the common clock.
    pub(super) fn live_record(&self, fit: &Fit, now_ms: u64) -> FlowRecord {
        let now = self.parts.clock.now();
        let age = Duration::from_millis(now_ms.saturating_sub(fit.made_ms));
        FlowRecord {
            client: fit.sound.client,
            announced: None,
            vip: fit.sound.vip,
            origin: fit.placed_on.0,
            origin_generation: fit.placed_on.1,
            origin_id: fit.origin_id.clone(),
            origin_address: fit.sound.origin_address,
            source: fit.sound.source,
            protocol: fit.sound.protocol,
            role: fit.sound.role,
            stream: fit.key.clone(),
            stream_index: fit.stream,
            path: Path::Kernel,
            state: FlowState::Spliced,
            to_origin: Counter::default(),
            to_client: Counter::default(),
            made_at: now.saturating_sub(age),
            active_at: now,
        }
    }
}

impl Fit {
    /// The half to the origin and the half to the client; each leaves by the way to its receiver.
    pub fn halves(&self, to_client: &Way, to_origin: &Way) -> (NewHalf, NewHalf) {
        let half = |ingress, egress: FlowKey, translation, way: &Way| NewHalf {
            ingress,
            egress,
            translation,
            // They are all in the translation's.
            flags: 0,
            origin: self.placed_on.0,
            origin_generation: self.placed_on.1,
            stream: self.stream,
            way_out: way.track,
        };
        (
            half(self.client, self.origin.reversed(), self.sound.to_origin, to_origin),
            half(self.origin, self.client.reversed(), self.sound.to_client, to_client),
        )
    }
}
