//! What the tests of WebRTC share: clients on the first client's host, and what has to hold for all of them.

// Each test program uses a part of it.
#![allow(dead_code)]

use balancer_lab::rtc::{RTC_PORT, RtcClient, RtcRole, Seen};
use balancer_lab::scene::Scene;
use balancer_lab::wait::wait_for;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// For fifty handshakes of DTLS on a busy machine.
pub const LATER: Duration = Duration::from_secs(60);

pub fn start(scene: &Scene, role: RtcRole, stream: &str, count: usize) -> RtcClient {
    let (host, directory) = (&scene.dc.clients[0], scene.dc.directory());
    RtcClient::start_many(host, directory, role, &scene.rtc_url(role, stream), count, &[]).unwrap()
}

pub fn start_with(scene: &Scene, role: RtcRole, stream: &str, more: &[&str]) -> RtcClient {
    let url = scene.rtc_url(role, stream);
    RtcClient::start(&scene.dc.clients[0], scene.dc.directory(), role, &url, more).unwrap()
}

/// Where clients send their media.
pub fn media(scene: &Scene) -> SocketAddr {
    SocketAddr::new(scene.dc.vip(scene.family), RTC_PORT)
}

pub fn rtc_flows(scene: &Scene) -> Vec<Value> {
    let flows = scene.balancer.flows().unwrap_or_default();
    flows.into_iter().filter(|flow| flow["protocol"] == "webrtc").collect()
}

/// Waits for exactly so many flows of WebRTC, all of them on this path.
pub fn wait_rtc_flows(scene: &Scene, count: usize, path: &str) -> Vec<Value> {
    let mut last = Vec::new();
    wait_for(&format!("{count} flows of WebRTC, {path}"), LATER, || {
        last = rtc_flows(scene);
        (last.len() == count && last.iter().all(|flow| flow["path"] == path)).then(|| last.clone())
    })
    .unwrap_or_else(|error| panic!("{error:#}: {} flows: {:#?}", last.len(), last.iter().take(3).collect::<Vec<_>>()))
}

/// At the origins: of what publishers sent, and nothing that is nobody's.
pub fn nothing_lost(scene: &Scene) {
    for origin in &scene.rtc {
        let stats = origin.stats().unwrap();
        assert_eq!((stats.sum("lost"), stats.sum("errors")), (0, 0), "{stats:#?}");
        assert_eq!(stats.strangers(), 0, "{stats:#?}");
    }
}

/// Whatever the origin said: one address, one port, by UDP.
pub fn candidates_name_only_the_vip(scene: &Scene, seen: &Seen) {
    let (ip, port) = (media(scene).ip().to_string(), RTC_PORT.to_string());
    assert!(!seen.candidates().is_empty(), "{seen:#?}");
    for candidate in seen.candidates() {
        let words: Vec<&str> = candidate.split_whitespace().collect();
        let other = if ip.contains(':') { scene.dc.vip4.to_string() } else { scene.dc.vip6.to_string() };
        assert!(words[2].eq_ignore_ascii_case("udp") && words[5] == port, "{candidate}");
        assert!(words[4] == ip || words[4] == other, "{candidate}");
    }
}
