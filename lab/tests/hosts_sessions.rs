//! Sessions of WebRTC on several balancers: signalled through one, carried by another, renamed and ended through any, and
//! still sessions when their host is lost.

mod hosts_scene;

use balancer_lab::balancer::ORIGIN_API_PORT;
use balancer_lab::hosts::{Hosts, HostsPlot};
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtc::{RtcClient, RtcRole, Seen};
use balancer_lab::scene::Plot;
use balancer_lab::wait::wait_until;
use balancer_lab::web::client::{Answer, WebClient};
use hosts_scene::{DETECTION, LATER, NEEDS, nothing_left, tails};
use serde_json::Value;

const MORE: &[Need] = &[Need::Rtc];
const FRAMES: u64 = 50;
/// Clients are to send their media to the second balancer, whoever answers them: as where a router spreads their packets.
const MEDIA_AT_THE_SECOND: &str = "rtc_candidate = [\"10.71.1.101\"]";

fn build(plot: HostsPlot) -> Hosts {
    let hosts = plot.store().build().unwrap();
    [0, 1].into_iter().for_each(|machine| hosts.wait_origins(machine).unwrap());
    hosts
}

fn rtc(hosts: &Hosts, pair: usize, role: RtcRole) -> RtcClient {
    let url = format!("http://{}{}", hosts.vip(pair, ORIGIN_API_PORT), role.path("live", "w1"));
    let client = RtcClient::start(&hosts.scene.dc.clients[0], hosts.scene.dc.directory(), role, &url, &[]).unwrap();
    client.wait_connected(LATER).unwrap_or_else(|error| panic!("{error:#}\n{}", tails(hosts)));
    client
}

fn ask(hosts: &Hosts, pair: usize, method: &str, seen: &Seen, headers: &str, body: &str) -> Answer {
    let location = seen.text("location");
    let target = match location.strip_prefix("http://") {
        Some(rest) => format!("/{}", rest.split_once('/').unwrap().1),
        None => location.to_owned(),
    };
    let api = hosts.vip(pair, ORIGIN_API_PORT);
    let mut client = WebClient::dial(&hosts.scene.dc.clients[0].netns, api).unwrap();
    let length = format!("Content-Length: {}\r\n", body.len());
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: {api}\r\n{headers}{length}\r\n{body}")).unwrap();
    client.answer(method).unwrap()
}

/// Records of sessions in the store, of all and of those that are not said to be over.
fn sessions(hosts: &Hosts) -> [i64; 2] {
    let count = |which: &str| {
        let script = format!(
            "local n = 0 for _, key in ipairs(redis.call('KEYS', '*:t')) do \
             local all = redis.call('HGETALL', key) for i = 1, #all, 2 do \
             if all[i]:sub(1, 2) == 'i/' {which} then n = n + 1 end end end return n"
        );
        hosts.store.as_ref().unwrap().number(&script).unwrap()
    };
    [count(""), count("and not all[i + 1]:find('\"over\":true', 1, true)")]
}

fn wait_flows(hosts: &Hosts, machine: usize, what: &str, holds: impl Fn(&[Value]) -> bool) {
    let flows = || hosts.balancer(machine).flows().unwrap_or_default();
    wait_until(what, LATER, || holds(&flows()))
        .unwrap_or_else(|error| panic!("{error:#}: {:#?}\n{}", flows(), tails(hosts)));
}

fn in_kernel(flows: &[Value], role: &str) -> usize {
    flows.iter().filter(|flow| flow["role"] == role && flow["path"] == "kernel").count()
}

fn no_session_left(hosts: &Hosts) {
    wait_until("no record of a session to be left", LATER, || sessions(hosts) == [0, 0])
        .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", sessions(hosts), tails(hosts)));
}

/// A lost host may come back, and has to hear then which of its sessions are over.
fn no_session_open(hosts: &Hosts) {
    wait_until("every session to be over", LATER, || sessions(hosts)[1] == 0)
        .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", sessions(hosts), tails(hosts)));
}

#[test]
fn a_session_of_webrtc_is_patched_and_deleted_through_the_other_balancer() {
    if !met(&[NEEDS, MORE].concat()) {
        return;
    }
    let hosts = build(HostsPlot::new(2, Plot::default().origins(2).rtc().config(MEDIA_AT_THE_SECOND)));
    // Signalled through the first, carried by the second.
    let publisher = rtc(&hosts, 0, RtcRole::Publish);
    let player = rtc(&hosts, 1, RtcRole::Play);
    player.wait_frames(FRAMES, LATER).unwrap();
    wait_flows(&hosts, 1, "both in the kernel", |flows| {
        in_kernel(flows, "publish") == 1 && in_kernel(flows, "play") == 1
    });
    assert_eq!(hosts.balancer(0).flows().unwrap().len(), 0);
    assert_eq!((sessions(&hosts), hosts.balancer(1).reason("session_taken").unwrap()), ([2, 2], 1.0));
    // Renamed and ended through the first.
    player.order("restart").unwrap();
    player.wait_frames(FRAMES, LATER).unwrap();
    let seen = player.one().unwrap();
    let fragment = format!("Content-Type: application/trickle-ice-sdpfrag\r\nIf-Match: {}\r\n", seen.text("etag"));
    let patched = ask(&hosts, 0, "PATCH", &seen, &fragment, "a=end-of-candidates\r\n");
    assert_eq!(patched.status(), 204, "{}\n{}", patched.text(), tails(&hosts));
    let deleted = ask(&hosts, 0, "DELETE", &seen, "", "");
    assert_eq!(deleted.status(), 200, "{}\n{}", deleted.text(), tails(&hosts));
    wait_flows(&hosts, 1, "the player's flow to end", |flows| flows.iter().all(|flow| flow["role"] == "publish"));
    assert_eq!(publisher.order("end").unwrap()[0].number("deleted"), 200);
    nothing_left(&hosts, &[0, 1]);
    no_session_left(&hosts);
}

#[test]
fn a_session_goes_on_as_one_when_its_host_is_lost() {
    if !met(&[NEEDS, MORE].concat()) {
        return;
    }
    let mut hosts = build(HostsPlot::new(2, Plot::default().origins(2).rtc()).one_pair());
    let publisher = rtc(&hosts, 0, RtcRole::Publish);
    let player = rtc(&hosts, 0, RtcRole::Play);
    player.wait_frames(FRAMES, LATER).unwrap();
    hosts.wait_kernel(0, 2).unwrap();
    wait_until("both sessions in the store", LATER, || sessions(&hosts) == [2, 2]).unwrap();
    wait_until("both flows in the store", LATER, || hosts.store.as_ref().unwrap().flows().unwrap() >= 2).unwrap();
    hosts.lose(0).unwrap();
    std::thread::sleep(DETECTION);
    hosts.take(1, 0).unwrap();
    player.wait_frames(FRAMES, LATER).unwrap_or_else(|error| panic!("{error:#}\n{}", tails(&hosts)));
    // As long as flows that nobody answers are given.
    wait_flows(&hosts, 1, "both flows with the survivor", |flows| flows.len() == 2);
    player.order("move").unwrap();
    let seen = player.wait_frames(FRAMES, LATER).unwrap().remove(0);
    assert!(!seen.is("disconnected"), "{seen:#?}");
    wait_flows(&hosts, 1, "its new address to be a flow in the kernel", |flows| {
        flows.iter().any(|flow| flow["client"] == seen.text("local") && flow["path"] == "kernel")
    });
    assert_eq!(player.order("end").unwrap()[0].number("deleted"), 200);
    wait_flows(&hosts, 1, "every flow of the player to end", |flows| flows.iter().all(|f| f["role"] == "publish"));
    assert_eq!(publisher.order("end").unwrap()[0].number("deleted"), 200);
    nothing_left(&hosts, &[1]);
    no_session_open(&hosts);
}
