//! The lab's WebRTC measured against itself, without a balancer: every client with the origin, and with each other.

use balancer_lab::balancer::ORIGIN_API_PORT;
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::ffmpeg::vp8_clip;
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtc::stun::{forged, send_from_new_ports};
use balancer_lab::rtc::{Aiortc, RTC_PORT, RtcClient, RtcOrigin, RtcPage, RtcRole};
use balancer_lab::wait::wait_until;
use std::net::SocketAddr;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(40);

fn url(dc: &DataCentre, family: Family, role: RtcRole, stream: &str) -> String {
    let api = SocketAddr::new(dc.origins[0].ip(family), ORIGIN_API_PORT);
    format!("http://{api}{}", role.path("live", stream))
}

#[test]
fn a_publisher_and_players_lose_nothing_in_either_family() {
    if !met(&[Need::Network, Need::Rtc]) {
        return;
    }
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let (host, directory) = (&dc.clients[0], dc.directory());
    for family in [Family::V4, Family::V6] {
        let origin = RtcOrigin::start(&dc, 0, family, true).unwrap();
        let to = |role| url(&dc, family, role, "s1");
        let publisher = RtcClient::start(host, directory, RtcRole::Publish, &to(RtcRole::Publish), &[]).unwrap();
        publisher.wait_connected(SOON).unwrap();
        let (role, more) = (RtcRole::Play, &[]);
        let players = RtcClient::start_many(host, directory, role, &to(role), 10, more).unwrap();
        players.wait_connected(SOON).unwrap();
        for seen in players.wait_frames(50, SOON).unwrap() {
            assert_eq!(seen.number("lost"), 0, "{seen:#?}");
        }
        players.order("rebind").unwrap();
        players.wait_frames(50, SOON).unwrap();
        players.order("move").unwrap();
        players.wait_frames(50, SOON).unwrap();
        players.order("restart").unwrap();
        players.wait_frames(50, SOON).unwrap();
        let stats = origin.stats().unwrap();
        assert_eq!((stats.sum("moves"), stats.sum("restarts"), stats.sum("lost")), (20, 10, 0), "{stats:#?}");
        let netns = &dc.clients[0].netns;
        let media = SocketAddr::new(dc.origins[0].ip(family), RTC_PORT);
        send_from_new_ports(netns, media, &[forged("nobody:knows"), forged("nobody:else")]).unwrap();
        wait_until("the origin to wonder", SOON, || origin.stats().unwrap().strange_names().len() == 2).unwrap();
        for seen in players.order("end").unwrap().iter().chain(&publisher.order("end").unwrap()) {
            assert_eq!(seen.number("deleted"), 200, "{seen:#?}");
        }
        let stats = origin.stats().unwrap();
        assert_eq!((stats.sessions().len(), stats.ended().len()), (0, 11), "{stats:#?}");
    }
}

#[test]
fn aiortc_and_the_client_understand_each_other() {
    if !met(&[Need::Network, Need::Media, Need::Rtc, Need::Aiortc]) {
        return;
    }
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let (host, directory) = (&dc.clients[0], dc.directory());
    let origin = RtcOrigin::start(&dc, 0, Family::V4, true).unwrap();
    let to = |role, stream: &str| url(&dc, Family::V4, role, stream);
    let clip = vp8_clip(directory).unwrap().display().to_string();
    let more = ["--ivf", &clip];
    let by_file = RtcClient::start(host, directory, RtcRole::Publish, &to(RtcRole::Publish, "file"), &more).unwrap();
    let play = |name: &str, stream: &str| {
        Aiortc::start(host, directory, name, RtcRole::Play, &to(RtcRole::Play, stream)).unwrap()
    };
    let mut encoder =
        Aiortc::start(host, directory, "encoder", RtcRole::Publish, &to(RtcRole::Publish, "encoder")).unwrap();
    by_file.wait_connected(SOON).unwrap();
    encoder.wait_going(20, SOON).unwrap();
    let mut players = [play("a", "file"), play("b", "encoder")];
    let player = RtcClient::start(host, directory, RtcRole::Play, &to(RtcRole::Play, "encoder"), &[]).unwrap();
    for player in &players {
        let seen = player.wait_going(30, SOON).unwrap();
        assert_eq!(seen.0["lost"], 0, "{seen:#?}");
    }
    player.wait_frames(20, SOON).unwrap();
    for ending in players.iter_mut().chain([&mut encoder]) {
        assert_eq!(ending.end(SOON).unwrap().number("deleted"), 200);
    }
    assert_eq!(origin.stats().unwrap().ended().len(), 3);
}

#[test]
fn chromium_publishes_and_plays() {
    if !met(&[Need::Network, Need::Rtc, Need::Browser]) {
        return;
    }
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let (host, directory) = (&dc.clients[0], dc.directory());
    let origin = RtcOrigin::start(&dc, 0, Family::V4, true).unwrap();
    let to = |role| url(&dc, Family::V4, role, "page");
    let publisher = RtcPage::open(host, directory, RtcRole::Publish, &to(RtcRole::Publish)).unwrap();
    publisher.wait_frames(10, SOON).unwrap();
    let player = RtcPage::open(host, directory, RtcRole::Play, &to(RtcRole::Play)).unwrap();
    let seen = player.wait_frames(30, SOON).unwrap();
    assert_eq!((seen.lost, seen.width), (0, 320), "{seen:?}");
    assert_eq!(origin.stats().unwrap().sum("lost"), 0);
}
