//! nginx-rtmp without a script: registered once, it says by its hooks who publishes on it.

use balancer_lab::balancer::{API_PORT, Balancer, RTMP_PORT, Settings};
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::origin::NginxOrigin;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::SOON;
use balancer_lab::wait::{wait_for, wait_until};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Media, Need::Balancer];
const FRAMES: u64 = 25;
/// The balancer keeps a stream for 30 s after its publisher, for who comes back.
const LINGERED: Duration = Duration::from_secs(60);

/// In the order in which it is taken down.
struct House {
    nginx: Vec<NginxOrigin>,
    balancer: Balancer,
    clip: Clip,
    dc: DataCentre,
}

impl House {
    fn build(family: Family) -> Self {
        let dc = DataCentre::build(&Layout { origins: 2, ..Layout::default() }).unwrap();
        let balancer = Balancer::start(&dc, Settings::of(&dc)).unwrap();
        let hook = format!("http://{}/api/v1/hooks/nginx-rtmp", SocketAddr::new(dc.vip(family), API_PORT));
        let lines = format!("on_publish {hook}; on_publish_done {hook}; on_update {hook}; on_play {hook};");
        let start = |number: usize| {
            let ip = dc.origins[number].ip(family).to_string();
            let body = json!({"ip": ip, "endpoints": {"rtmp": [RTMP_PORT.to_string()]}, "lease_s": 0}).to_string();
            let put = balancer.request("PUT", &format!("/api/v1/origins/o{number}"), Some(&body)).unwrap();
            assert_eq!(put.status, 200, "{}", put.body);
            NginxOrigin::with_lines(&dc, number, &lines).unwrap()
        };
        let nginx = (0..2).map(start).collect();
        let clip = Clip::make(dc.directory()).unwrap();
        Self { nginx, balancer, clip, dc }
    }

    /// At an origin, past the VIP.
    fn publish(&self, origin: usize, family: Family, stream: &str) -> Publisher {
        self.publish_at(SocketAddr::new(self.dc.origins[origin].ip(family), RTMP_PORT), stream)
    }

    fn publish_at(&self, at: SocketAddr, stream: &str) -> Publisher {
        let url = format!("rtmp://{at}/live/{stream}?token=x&app=other&call=publish_done");
        let name = format!("{stream}-{}", at.ip()).replace(':', "_");
        Publisher::start(&self.dc.clients[0].netns, self.dc.directory(), &name, &self.clip, &url).unwrap()
    }

    fn vip(&self, family: Family) -> SocketAddr {
        SocketAddr::new(self.dc.vip(family), RTMP_PORT)
    }

    fn play(&self, family: Family, stream: &str) -> Player {
        let url = format!("rtmp://{}/live/{stream}", self.vip(family));
        Player::start(&self.dc.clients[0].netns, self.dc.directory(), stream, &url).unwrap()
    }

    fn stream(&self, stream: &str) -> Option<Value> {
        let key = format!("__defaultVhost__/live/{stream}");
        self.balancer.list("streams").ok()?.into_iter().find(|listed| listed["key"] == key)
    }

    fn wait_stream(&self, stream: &str, what: &str, is: impl Fn(&Value) -> bool) {
        wait_for(&format!("{stream} {what}"), SOON, || self.stream(stream).filter(&is)).unwrap();
    }

    fn hooked(&self, result: &str) -> f64 {
        self.balancer.metric("balancer_hooks_total", &[&format!("result=\"{result}\"")]).unwrap()
    }
}

fn seen_through_the_vip(family: Family) {
    if !met(NEEDS) {
        return;
    }
    let house = House::build(family);
    // Chance would not place four streams right.
    let streams = [("a", 0), ("b", 1), ("c", 0), ("d", 1)];
    let publishers = streams.map(|(stream, origin)| house.publish(origin, family, stream));
    for (stream, origin) in streams {
        let id = format!("o{origin}");
        house.wait_stream(stream, "to be claimed", |s| s["claimed"] == true && s["origin"] == id.as_str());
    }
    assert!(house.balancer.flows().unwrap().is_empty(), "nothing of it came through the VIP");
    let players = streams.map(|(stream, _)| house.play(family, stream));
    for player in &players {
        player.wait_frames(FRAMES, SOON).unwrap();
    }
    let flows = house.balancer.flows().unwrap();
    assert_eq!(flows.len(), streams.len(), "{flows:#?}");
    for (stream, origin) in streams {
        let flow = flows.iter().find(|flow| flow["stream"] == format!("__defaultVhost__/live/{stream}")).unwrap();
        assert_eq!(flow["origin"], format!("o{origin}"));
    }
    assert!(publishers.iter().all(|publisher| publisher.attempts() == 1));
    assert_eq!((house.hooked("placed"), house.hooked("malformed"), house.hooked("refused")), (4.0, 0.0, 0.0));
    drop((players, publishers));
    house.wait_stream("a", "to be let go", |s| s["publisher"] == false);
    let gone = || streams.iter().all(|(stream, _)| house.stream(stream).is_none());
    wait_until("the streams to be forgotten", LINGERED, gone).unwrap();
}

#[test]
fn what_is_published_at_an_origin_is_seen_through_the_vip_over_ipv4() {
    seen_through_the_vip(Family::V4);
}

#[test]
fn what_is_published_at_an_origin_is_seen_through_the_vip_over_ipv6() {
    seen_through_the_vip(Family::V6);
}

#[test]
fn a_publisher_through_the_vip_is_stronger_than_one_at_another_origin() {
    if !met(NEEDS) {
        return;
    }
    let family = Family::V4;
    let house = House::build(family);
    let first = house.publish_at(house.vip(family), "a");
    house.wait_stream("a", "to be published and claimed", |s| s["publisher"] == true && s["claimed"] == true);
    wait_until("the publisher's flow", SOON, || house.balancer.flows().is_ok_and(|flows| flows.len() == 1)).unwrap();
    let origin = house.stream("a").unwrap()["origin"].clone();
    let other = if origin == "o0" { 1 } else { 0 };
    let second = house.publish(other, family, "a");
    wait_until("the second publisher to be refused", SOON, || second.attempts() > 2 && house.hooked("refused") > 1.0)
        .unwrap();
    assert_eq!(house.stream("a").unwrap()["origin"], origin);
    assert_eq!(first.attempts(), 1, "the first is left alone");
    // At its own origin it is the origin that refuses, and what it says of that one changes nothing.
    let third = house.publish(1 - other, family, "a");
    wait_until("the third publisher to be refused", SOON, || third.attempts() > 2).unwrap();
    drop(third);
    assert_eq!(house.stream("a").unwrap()["claimed"], true);
    drop(first);
    house.wait_stream("a", "to be where the second is", |s| s["origin"] == format!("o{other}") && s["claimed"] == true);
    house.play(family, "a").wait_frames(FRAMES, SOON).unwrap();
}

#[test]
fn claims_end_with_their_origin() {
    if !met(NEEDS) {
        return;
    }
    let family = Family::V4;
    let mut house = House::build(family);
    let _publisher = house.publish(0, family, "a");
    house.wait_stream("a", "to be claimed", |s| s["claimed"] == true);
    house.nginx[0].kill();
    // Whoever asks first finds out.
    let _viewer = house.play(family, "a");
    wait_until("the claim to end", SOON, || house.stream("a").is_none_or(|s| s["claimed"] == false)).unwrap();
    house.nginx[0].launch().unwrap();
    house.wait_stream("a", "to be claimed again", |s| s["claimed"] == true && s["origin"] == "o0");
}
