//! The lab's SRT origins, callers and ways measured against each other, without a balancer.

use balancer_lab::data_centre::{DataCentre, Family, Host, Layout};
use balancer_lab::delay::{Delay, Way};
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::flood;
use balancer_lab::live_transmit::LiveTransmit;
use balancer_lab::loss;
use balancer_lab::origin::SrtOrigin;
use balancer_lab::origin::srt::{PASSPHRASE, SRT_PORT, SrtPeer, url};
use balancer_lab::requirements::{Need, met};
use balancer_lab::srt_lite::packet::{Handshake, Kind};
use balancer_lab::srt_lite::{Answer, Caller, SrtLite, SrtManners};
use balancer_lab::wait::wait_until;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Srt];
const WITHIN: Duration = Duration::from_secs(40);
/// Five seconds of what the callers publish.
const PACKETS: u64 = 7000;

struct Lab {
    dc: DataCentre,
    to: SocketAddr,
}

fn lab(family: Family) -> Lab {
    let dc = DataCentre::build(&Layout::default()).unwrap();
    Lab { to: SocketAddr::new(dc.origins[0].ip(family), SRT_PORT), dc }
}

impl Lab {
    fn client(&self) -> &Host {
        &self.dc.clients[0]
    }

    fn directory(&self) -> &Path {
        self.dc.directory()
    }

    fn host(&self) -> (&balancer_lab::net::Netns, &Path) {
        (&self.client().netns, self.directory())
    }
}

#[test]
fn what_is_published_is_heard_by_all_who_request_it() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let lab = lab(family);
        let origin = SrtOrigin::start(&lab.dc, 0, family).unwrap();
        let players = SrtPeer::play(lab.host(), "all", lab.to, "#!::r=live/s1,m=request", &["count=5"]).unwrap();
        players.wait_events("connected", 5, WITHIN).unwrap();
        let publisher =
            SrtPeer::publish(lab.host(), "s1", lab.to, "#!::r=live/s1,m=publish", &["packets=7000"]).unwrap();
        publisher.wait_events("sent", 1, WITHIN).unwrap();
        assert_eq!(origin.wait_published("live/s1", PACKETS, WITHIN).unwrap(), (PACKETS, 0));
        wait_until("every player to have everything", WITHIN, || {
            let all = players.events_of("progress");
            (0..5).all(|i| all.iter().any(|event| event["caller"] == i && event["packets"].as_u64() >= Some(6900)))
        })
        .unwrap();
        assert!(players.events_of("progress").iter().all(|event| event["errors"] == 0));
    }
}

#[test]
fn real_programs_publish_and_request_with_and_without_a_passphrase() {
    if !met(NEEDS) {
        return;
    }
    let lab = lab(Family::V4);
    let (client, directory) = lab.host();
    let origin = SrtOrigin::start(&lab.dc, 0, Family::V4).unwrap();
    let clip = Clip::make(directory).unwrap();
    let word = format!("&passphrase={PASSPHRASE}");
    for (name, more) in [("open", ""), ("secret", word.as_str())] {
        let stream = format!("live/{name}");
        let publish = url(lab.to, &stream, "publish", more);
        let _publisher = Publisher::start(client, directory, name, &clip, &publish).unwrap();
        origin.wait_published(&stream, 100, WITHIN).unwrap();
        let request = url(lab.to, &stream, "request", more);
        let player = Player::start(client, directory, name, &request).unwrap();
        let transmit = LiveTransmit::play(client, directory, name, &request).unwrap();
        player.wait_frames(25, WITHIN).unwrap();
        assert!(transmit.wait_packets(200, WITHIN).unwrap().is_whole());
        let stream = format!("live/{name}-by-transmit");
        let publish = url(lab.to, &stream, "publish", more);
        let _transmit = LiveTransmit::publish(client, directory, &format!("{name}-up"), &publish).unwrap();
        assert_eq!(origin.wait_published(&stream, 700, WITHIN).unwrap().1, 0);
    }
}

#[test]
fn refusals_reach_the_caller() {
    if !met(NEEDS) {
        return;
    }
    let lab = lab(Family::V4);
    let _origin = SrtOrigin::start(&lab.dc, 0, Family::V4).unwrap();
    for code in [1403, 1404, 2402] {
        let stream = format!("#!::r=live/reject-{code},m=request");
        let caller = SrtPeer::play(lab.host(), &code.to_string(), lab.to, &stream, &[]).unwrap();
        assert_eq!(caller.wait_events("rejected", 1, WITHIN).unwrap()[0]["code"], code);
        let (_, answer) = Caller::call(&lab.client().netns, lab.to, &stream).unwrap();
        assert_eq!(answer, Answer::Refused(code));
    }
    let word = ["passphrase=not the right one"];
    let caller = SrtPeer::play(lab.host(), "wrong", lab.to, "#!::r=live/secret,m=request", &word).unwrap();
    const BAD_SECRET: i32 = 10;
    assert_eq!(caller.wait_events("rejected", 1, WITHIN).unwrap()[0]["code"], BAD_SECRET);
}

#[test]
fn loss_and_delay_are_made_good_by_srt_and_nothing_is_missing() {
    if !met(NEEDS) {
        return;
    }
    for per_mille in [10, 50] {
        let lab = lab(Family::V4);
        let origin = SrtOrigin::start(&lab.dc, 0, Family::V4).unwrap();
        loss::on_device(&lab.client().netns, lab.client().device, per_mille).unwrap();
        let way = Way { delay: Duration::from_millis(20), held_back_every: 50 };
        let delay = Delay::start(&lab.client().netns, lab.to, way).unwrap();
        let more = ["latency=1500", "packets=7000"];
        let player = SrtPeer::play(lab.host(), "s1", delay.at, "#!::r=live/s1,m=request", &more).unwrap();
        player.wait_events("connected", 1, WITHIN).unwrap();
        let publisher = SrtPeer::publish(lab.host(), "s1", delay.at, "#!::r=live/s1,m=publish", &more).unwrap();
        publisher.wait_events("sent", 1, WITHIN).unwrap();
        assert_eq!(origin.wait_published("live/s1", PACKETS, WITHIN).unwrap(), (PACKETS, 0));
        assert_eq!(player.wait_packets(PACKETS - 100, WITHIN).unwrap(), 0);
        assert!(delay.passed() > 2 * PACKETS / 7);
    }
}

#[test]
fn the_synthetic_caller_and_a_real_origin_understand_each_other() {
    if !met(NEEDS) {
        return;
    }
    let lab = lab(Family::V4);
    let origin = SrtOrigin::start(&lab.dc, 0, Family::V4).unwrap();
    let client = &lab.client().netns;
    let mut caller = Caller::accepted(client, lab.to, "#!::r=live/s1,m=publish").unwrap();
    origin.0.wait_events("accepted", 1, WITHIN).unwrap();
    caller.send_control(Kind::KeepAlive).unwrap();
    caller.send_control(Kind::Shutdown).unwrap();
    origin.0.wait_events("ended", 1, WITHIN).unwrap();
    // A cookie of somebody else's.
    caller.induce().unwrap();
    let mut other = Caller::bind(client, lab.to).unwrap();
    other.socket.send(&Handshake::conclusion(other.id, caller.cookie, b"x").bytes()).unwrap();
    assert_eq!(other.wait_handshake(Duration::from_secs(1)).unwrap(), None);
}

#[test]
fn the_synthetic_origin_counts_every_datagram() {
    let lab = lab(Family::V6);
    let (client, host) = (&lab.client().netns, &lab.dc.origins[0].netns);
    let origin = SrtLite::start(host, lab.to, SrtManners::default()).unwrap();
    let mut caller = Caller::accepted(client, lab.to, "live/s1").unwrap();
    let real = SrtPeer::play(lab.host(), "real", lab.to, "live/s2", &[]).unwrap();
    real.wait_events("connected", 1, WITHIN).unwrap();
    caller.send_data(100, 1316).unwrap();
    wait_until("all of it", WITHIN, || origin.data_of("live/s1") == 100).unwrap();
    origin.send(0..100, 1316).unwrap();
    caller.wait_data(100, WITHIN).unwrap();
    assert_eq!(caller.data_packets, 100);
    origin.shut_down().unwrap();
    caller.wait_shutdown(WITHIN).unwrap();
    assert!(origin.arrived().iter().any(|arrived| arrived.length == 1316 + 16));
    drop(origin);
    let manners = SrtManners { refuses: Some(1402), ..SrtManners::default() };
    let _origin = SrtLite::start(host, lab.to, manners).unwrap();
    assert_eq!(Caller::call(client, lab.to, "live/s1").unwrap().1, Answer::Refused(1402));
}

#[test]
fn a_flood_is_sent_and_counted() {
    let lab = lab(Family::V4);
    let origin = SrtLite::start(&lab.dc.origins[0].netns, lab.to, SrtManners::default()).unwrap();
    let induction = Handshake::induction(1).bytes();
    let flooded = flood::run(&lab.client().netns, lab.to, &induction, 20_000, Duration::from_secs(1)).unwrap();
    assert!(flooded.datagrams >= 20_000, "{flooded:?}");
    wait_until("some to arrive", WITHIN, || origin.datagrams() > 1000).unwrap();
}
