//! What is outside of SRT's packets: sizes, marks and checksums that the way has to respect.

use balancer_lab::data_centre::{Family, Host};
use balancer_lab::net;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::srt_lite::{Caller, SrtManners};
use balancer_lab::wait::wait_until;
use socket2::SockRef;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const PUBLISH: &str = "#!::r=live/s1,m=publish";
const NARROW: u32 = 1400;
/// Fits a link of 1500 bytes, and none of 1400.
const LARGE: usize = 1420;

fn scene(family: Family) -> Scene {
    Plot::default().family(family).srt_lite(|_| SrtManners::default()).build().unwrap()
}

fn publisher(scene: &Scene) -> Caller {
    let caller = Caller::accepted(&scene.dc.clients[0].netns, scene.srt_vip(), PUBLISH).unwrap();
    scene.wait_kernel(1).unwrap();
    caller
}

/// Packets that an origin's host has seen and that a rule of nft's fits.
fn seen(host: &Host, rule: &str) -> u64 {
    let mut list = host.netns.command("nft");
    let text = String::from_utf8(net::run(list.args(["list", "ruleset"])).unwrap().stdout).unwrap();
    let line = text.lines().find(|line| line.contains(rule)).unwrap_or_else(|| panic!("no {rule} in {text}"));
    let words: Vec<_> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "packets").unwrap();
    words[at + 1].parse().unwrap()
}

#[test]
fn a_datagram_that_is_too_large_for_the_way_comes_back_as_its_size() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let scene = scene(family);
        let mut caller = publisher(&scene);
        let (origin, device) = (&scene.dc.origins[0], scene.dc.lb_devices.last().unwrap());
        origin.netns.ip(&format!("link set {} mtu {NARROW}\n", origin.device)).unwrap();
        scene.dc.lb.ip(&format!("link set {device} mtu {NARROW}\n")).unwrap();
        // The balancer finds out by itself.
        assert!(caller.finds_narrow_way(LARGE, Duration::from_secs(5)).unwrap(), "{family:?}: no ICMP message came");
        assert!(scene.srt_lite[0].arrived().iter().all(|arrived| arrived.length < LARGE));
        // The message is told once more, to whoever sends next.
        caller.socket.take_error().unwrap();
        caller.send_data(50, 1316).unwrap();
        wait_until("what fits", SOON, || scene.srt_lite[0].data_of(PUBLISH) >= 50).unwrap();
    }
}

#[test]
fn marks_of_class_and_congestion_survive() {
    if !met(NEEDS) {
        return;
    }
    // Expedited forwarding, and a transport that is able of ECN.
    const MARK: u32 = 46 << 2 | 2;
    for (family, words) in [(Family::V4, "ip dscp ef ip ecn ect0"), (Family::V6, "ip6 dscp ef ip6 ecn ect0")] {
        let scene = scene(family);
        let origin = &scene.dc.origins[0];
        let table = "table inet marks {\nchain input {\ntype filter hook input priority 0\n";
        origin.netns.nft(&format!("{table}udp dport 10080 {words} counter\n}}\n}}\n")).unwrap();
        let mut caller = publisher(&scene);
        let before = seen(origin, "dscp ef");
        let socket = SockRef::from(&caller.socket);
        match family {
            Family::V4 => socket.set_tos_v4(MARK).unwrap(),
            Family::V6 => socket.set_tclass_v6(MARK).unwrap(),
        }
        caller.send_data(50, 1316).unwrap();
        wait_until("all of it", SOON, || scene.srt_lite[0].data_of(PUBLISH) == 50).unwrap();
        assert_eq!(seen(origin, "dscp ef") - before, 50, "{family:?}");
    }
}

#[test]
fn a_datagram_without_a_checksum_is_forwarded_without_one() {
    if !met(NEEDS) {
        return;
    }
    let scene = scene(Family::V4);
    let origin = &scene.dc.origins[0];
    // In the host's ingress: its own stack has not looked at it yet.
    let table = "table ip sums {\nchain input {\ntype filter hook input priority 0\n";
    origin.netns.nft(&format!("{table}udp dport 10080 udp checksum 0 counter\n}}\n}}\n")).unwrap();
    let mut caller = publisher(&scene);
    balancer_lab::net::without_checksum(&caller.socket).unwrap();
    caller.send_data(50, 1316).unwrap();
    wait_until("all of it", SOON, || scene.srt_lite[0].data_of(PUBLISH) == 50).unwrap();
    assert_eq!(seen(origin, "udp checksum"), 50);
}
