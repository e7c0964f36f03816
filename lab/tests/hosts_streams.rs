//! Real encoders, servers and players on several balancers: what is published through one is found through the other, and
//! goes on when one of them is lost.

mod hosts_scene;

use balancer_lab::balancer::{HTTP_PORT, ORIGIN_API_PORT, RTMP_PORT};
use balancer_lab::data_centre::Family;
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::hosts::{Hosts, HostsPlot};
use balancer_lab::origin::srt::{SRT_PORT, SrtPeer, url};
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtc::{RtcClient, RtcRole};
use balancer_lab::scene::Plot;
use balancer_lab::wait::wait_until;
use hosts_scene::{DETECTION, LATER, NEEDS, tails};
use std::path::Path;

const MORE: &[Need] = &[Need::Media, Need::Flv, Need::Srt, Need::Rtc, Need::Clock];
const FRAMES: u64 = 50;
/// Twenty seconds of what `srt_peer` publishes.
const PACKETS: u64 = 28_000;
/// What SRT is to wait for what was lost: longer than the gap.
const LATENCY: &str = "latency=4000";

/// Clocks that are wrong by so many minutes.
fn build(family: Family, clocks: &'static [i32]) -> Hosts {
    let plot = Plot::default().origins(2).family(family).nginx_with_flv().srt().rtc();
    let hosts = HostsPlot::new(2, plot).store().clocks(clocks).build().unwrap();
    [0, 1].into_iter().for_each(|machine| hosts.wait_origins(machine).unwrap());
    hosts
}

/// Everybody who publishes, through one pair, and everybody who plays, through one too.
struct Show {
    encoders: [Publisher; 2],
    srt_publisher: SrtPeer,
    rtc_publisher: RtcClient,
    players: Vec<Player>,
    srt_player: SrtPeer,
    rtc_player: RtcClient,
}

fn host(hosts: &Hosts) -> (&balancer_lab::net::Netns, &Path) {
    (&hosts.scene.dc.clients[0].netns, hosts.scene.dc.directory())
}

fn rtc(hosts: &Hosts, pair: usize, role: RtcRole) -> RtcClient {
    let url = format!("http://{}{}", hosts.vip(pair, ORIGIN_API_PORT), role.path("live", "w1"));
    let client = RtcClient::start(&hosts.scene.dc.clients[0], hosts.scene.dc.directory(), role, &url, &[]).unwrap();
    client.wait_connected(LATER).unwrap();
    client
}

fn begin(hosts: &Hosts, publish: usize, play: usize) -> Show {
    let (netns, directory) = host(hosts);
    let clip = Clip::make(directory).unwrap();
    let rtmp = |pair: usize| format!("rtmp://{}/live/s1", hosts.vip(pair, RTMP_PORT));
    let srt = |pair: usize, mode: &str| url(hosts.vip(pair, SRT_PORT), "live/v1", mode, "&latency=4000000");
    let encoders = [("s1", rtmp(publish)), ("v1", srt(publish, "publish"))]
        .map(|(name, url)| Publisher::start(netns, directory, name, &clip, &url).unwrap());
    let more = [LATENCY, &format!("packets={PACKETS}")];
    let id = |mode: &str| format!("#!::r=live/t1,m={mode}");
    let srt_publisher =
        SrtPeer::publish(host(hosts), "t1", hosts.vip(publish, SRT_PORT), &id("publish"), &more).unwrap();
    srt_publisher.wait_events("connected", 1, LATER).unwrap();
    let rtc_publisher = rtc(hosts, publish, RtcRole::Publish);
    let known = || hosts.balancer(play).list("streams").unwrap_or_default();
    wait_until("all streams to be known where they are played", LATER, || {
        let streams = known();
        let named = |name: &str| streams.iter().any(|s| s["key"].as_str().is_some_and(|key| key.ends_with(name)));
        ["/s1", "/t1", "/v1", "/w1"].into_iter().all(named)
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:#?}\n{}", known(), tails(hosts)));
    let http = |path: &str| format!("http://{}{path}", hosts.vip(play, HTTP_PORT));
    let urls = [("rtmp", rtmp(play)), ("flv", http("/live/s1.flv")), ("srt", srt(play, "request"))];
    let players = urls.map(|(name, url)| Player::start(netns, directory, name, &url).unwrap()).into();
    let srt_player = SrtPeer::play(host(hosts), "t1", hosts.vip(play, SRT_PORT), &id("request"), &[LATENCY]).unwrap();
    let rtc_player = rtc(hosts, play, RtcRole::Play);
    Show { encoders, srt_publisher, rtc_publisher, players, srt_player, rtc_player }
}

impl Show {
    /// Everybody gets on, and nobody has dialled again.
    fn goes_on(&self, hosts: &Hosts, when: &str) {
        let frames: Vec<u64> = self.players.iter().map(Player::frames).collect();
        for (player, frames) in self.players.iter().zip(frames) {
            player
                .wait_frames(frames + FRAMES, LATER)
                .unwrap_or_else(|error| panic!("{when}: {error:#}\n{}", tails(hosts)));
        }
        let packets = self.srt_player.events().iter().rev().find_map(|e| e["packets"].as_u64()).unwrap_or(0);
        let errors = self.srt_player.wait_packets(packets + 1000, LATER).unwrap();
        assert_eq!(errors, 0, "{when}: {}", self.srt_player.process().tail());
        let seen = self
            .rtc_player
            .wait_frames(FRAMES, LATER)
            .unwrap_or_else(|error| panic!("{when}: {error:#}\n{}", tails(hosts)));
        assert!(seen.iter().all(|seen| !seen.is("disconnected")), "{when}: {seen:#?}");
        assert!(self.encoders.iter().all(|encoder| encoder.attempts() == 1), "{when}: an encoder dialled again");
        assert!(self.srt_publisher.events_of("ended").is_empty(), "{when}: {}", self.srt_publisher.process().tail());
        let published = self.rtc_publisher.one().unwrap();
        assert!(!published.is("disconnected"), "{when}: {published:#?}");
    }
}

#[test]
fn what_is_published_through_one_balancer_is_played_through_the_other() {
    if !met(&[NEEDS, MORE].concat()) {
        return;
    }
    let hosts = build(Family::V4, &[]);
    let show = begin(&hosts, 0, 1);
    show.goes_on(&hosts, "published at one, played at the other");
    let of = |machine: usize, role: &str| {
        let flows = hosts.balancer(machine).flows().unwrap();
        flows.iter().filter(|flow| flow["role"] == role).count()
    };
    assert!(of(0, "publish") >= 4 && of(1, "play") >= 5, "{:#?}", hosts.balancer(1).flows());
    // Cut by the origin, asked for through either.
    let (netns, directory) = host(&hosts);
    for pair in [0, 1] {
        let url = format!("http://{}/live/s1.m3u8", hosts.vip(pair, HTTP_PORT));
        let player = Player::start(netns, directory, &format!("hls{pair}"), &url).unwrap();
        player.wait_frames(FRAMES, LATER).unwrap();
    }
}

fn players_go_on(family: Family, clocks: &'static [i32]) {
    if !met(&[NEEDS, MORE].concat()) {
        return;
    }
    let mut hosts = build(family, clocks);
    let show = begin(&hosts, 0, 0);
    show.goes_on(&hosts, "at first");
    wait_until("every flow in the kernel and in the store", LATER, || {
        let flows = hosts.balancer(0).flows().unwrap_or_default();
        let kernel = flows.iter().all(|flow| flow["path"] == "kernel");
        kernel && flows.len() >= 9 && hosts.store.as_ref().unwrap().flows().unwrap() >= flows.len() as i64
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:#?}\n{}", hosts.balancer(0).flows(), tails(&hosts)));
    hosts.lose(0).unwrap();
    std::thread::sleep(DETECTION);
    hosts.take(1, 0).unwrap();
    show.goes_on(&hosts, "on the other host");
    let flows = hosts.balancer(1).flows().unwrap();
    assert!(flows.len() >= 9, "{flows:#?}");
}

#[test]
fn players_of_every_protocol_go_on_when_the_host_that_carries_them_is_lost() {
    players_go_on(Family::V4, &[]);
}

#[test]
fn players_of_every_protocol_go_on_over_ipv6_and_by_clocks_that_are_wrong() {
    players_go_on(Family::V6, &[7, -5]);
}
