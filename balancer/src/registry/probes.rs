//! Which listeners are to be probed now, and what their answers do to origins. Pure: asking them is `probe`'s business.

use super::endpoint::{KINDS, Transport};
use super::health::{Judged, ProbeMode, ProbeResult, ProbeSettings, StatusRange};
use super::origins::Registry;
use crate::recognize::proxy_header::ProxyVersion;
use balancer_common::abi::ServiceKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How origins are looked after. By default they are not: that is for tests of other things.
#[derive(Clone, Debug, Default)]
pub struct Care {
    pub probe: ProbeSettings,
    /// How long a newcomer's share grows.
    pub slow_start: Duration,
}

/// One probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probing {
    /// Index and generation: an answer that comes later says nothing of another run.
    pub on: (u16, u16),
    pub id: Arc<str>,
    pub kind: ServiceKind,
    pub address: SocketAddr,
    pub mode: ProbeMode,
    pub proxy_protocol: Option<ProxyVersion>,
    pub http_path: Arc<str>,
    pub http_status: StatusRange,
    pub timeout: Duration,
}

impl Registry {
    pub fn set_care(&mut self, care: Care) {
        self.care = care;
    }

    pub fn slow_start(&self) -> Duration {
        self.care.slow_start
    }

    /// The probes that are due, those first that have waited longest; at most so many. Each is to be answered by
    /// [`Registry::probed`].
    pub fn probes_due(&mut self, max: usize, now: Duration) -> Vec<Probing> {
        let settings = &self.care.probe;
        let mut due = Vec::new();
        for (index, origin) in self.slots.live_mut() {
            let mode = origin.probe.mode.unwrap_or(settings.mode);
            for kind in KINDS {
                let seed = seed(&origin.id, kind);
                let is_asked = match (mode, Transport::of(kind)) {
                    (ProbeMode::Off, _) | (ProbeMode::Connect, Transport::Udp) => false,
                    (ProbeMode::Connect, Transport::Tcp) | (ProbeMode::Protocol, _) => true,
                };
                if is_asked
                    && !origin.endpoints.get(kind).is_empty()
                    && let Some(at) = origin.health.probe_due_at(kind, seed, settings.interval, now)
                {
                    due.push((at, index, kind, mode));
                }
            }
        }
        due.sort_by_key(|(at, index, ..)| (*at, *index));
        due.truncate(max);
        due.into_iter().filter_map(|(_, index, kind, mode)| self.probe(index, kind, mode, now)).collect()
    }

    fn probe(&mut self, index: u16, kind: ServiceKind, mode: ProbeMode, now: Duration) -> Option<Probing> {
        let on = (index, self.generation(index) as u16);
        let settings = &self.care.probe;
        let origin = self.slots.get_mut(index)?;
        let number = origin.health.probing(kind, now) as usize;
        // Each listener in turn: a service is there while one of them is.
        let all = origin.endpoints.get(kind);
        let address = *all.get(number % all.len().max(1))?;
        Some(Probing {
            on,
            id: origin.id.clone(),
            kind,
            address,
            mode,
            proxy_protocol: origin.proxy_protocol.filter(|_| Transport::of(kind) == Transport::Tcp),
            http_path: origin.probe.http_path.as_ref().unwrap_or(&settings.http_path).clone(),
            http_status: origin.probe.http_status.unwrap_or(settings.http_status),
            timeout: settings.timeout,
        })
    }

    /// What a probe has found out; `None`: nothing, because of this host. The streams of an origin that died of it end.
    pub fn probed(&mut self, probing: &Probing, result: Option<ProbeResult>, now: Duration) -> Judged {
        let index = probing.on.0;
        let result = result.filter(|_| self.is_current(probing.on));
        let settings = &self.care.probe;
        let Some(origin) = self.slots.get_mut(index) else { return Judged::Unchanged };
        let seed = seed(&origin.id, probing.kind);
        let Some(result) = result else {
            origin.health.probe_lost(probing.kind, settings, seed, now);
            return Judged::Unchanged;
        };
        let judged = origin.health.probed((probing.kind, result), settings, seed, origin.load.heard_at, now);
        match judged {
            Judged::Unchanged => {}
            Judged::Died => self.slots.end_flows(index),
            Judged::Revived => self.slots.changed = true,
        }
        judged
    }
}

/// FNV-1a: only to tell listeners apart.
fn seed(id: &str, kind: ServiceKind) -> u64 {
    let bytes = id.bytes().chain([kind as u8]);
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, byte| (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
