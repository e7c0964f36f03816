//! SRT through the VIP: real programs, every datagram through the kernel, and every packet of TS where it belongs.

use balancer_lab::data_centre::Family;
use balancer_lab::delay::{Delay, Way};
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::live_transmit::LiveTransmit;
use balancer_lab::loss;
use balancer_lab::origin::srt::{PASSPHRASE, SrtPeer, url};
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::srt_lite::packet::Kind;
use balancer_lab::srt_lite::{Caller, SrtManners};
use balancer_lab::wait::wait_until;
use std::path::Path;
use std::time::Duration;

const REAL: &[Need] = &[Need::Network, Need::Balancer, Need::Srt];
const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
/// For slow machines: seconds of video.
const WITHIN: Duration = Duration::from_secs(40);
/// Five seconds of what the callers publish.
const PACKETS: u64 = 7000;
const PUBLISH: &str = "#!::r=live/s1,m=publish";
const REQUEST: &str = "#!::r=live/s1,m=request";

fn host(scene: &Scene) -> (&balancer_lab::net::Netns, &Path) {
    (&scene.dc.clients[0].netns, scene.dc.directory())
}

fn caller(scene: &Scene, stream_id: &str) -> Caller {
    Caller::accepted(&scene.dc.clients[0].netns, scene.srt_vip(), stream_id).unwrap()
}

fn off(plot: Plot) -> Plot {
    plot.settings(|settings| settings.xdp_mode = "off")
}

#[test]
fn ffmpeg_and_srt_live_transmit_publish_and_request_in_both_families() {
    if !met(REAL) {
        return;
    }
    for (family, more) in [(Family::V4, format!("&passphrase={PASSPHRASE}")), (Family::V6, String::new())] {
        let scene = Plot::default().origins(2).family(family).srt().build().unwrap();
        let (client, directory) = host(&scene);
        let clip = Clip::make(directory).unwrap();
        let name = if more.is_empty() { "open" } else { "secret" };
        let stream = format!("live/{name}");
        let _publisher =
            Publisher::start(client, directory, "p", &clip, &url(scene.srt_vip(), &stream, "publish", &more)).unwrap();
        let at_origin = || scene.srt.iter().filter_map(|origin| origin.published(&stream)).next();
        wait_until("the stream at an origin", WITHIN, || at_origin().is_some()).unwrap();
        let request = url(scene.srt_vip(), &stream, "request", &more);
        let player = Player::start(client, directory, "f", &request).unwrap();
        let transmit = LiveTransmit::play(client, directory, "t", &request).unwrap();
        player.wait_frames(50, WITHIN).unwrap();
        assert!(transmit.wait_packets(500, WITHIN).unwrap().is_whole());
        let stream = format!("live/{name}-up");
        let up =
            LiveTransmit::publish(client, directory, "u", &url(scene.srt_vip(), &stream, "publish", &more)).unwrap();
        let origins = || scene.srt.iter().filter_map(|origin| origin.published(&stream));
        wait_until("the other stream at an origin", WITHIN, || origins().any(|(packets, _)| packets > 700)).unwrap();
        assert!(origins().all(|(_, errors)| errors == 0));
        let flows = scene.wait_kernel(4).unwrap();
        assert!(flows.iter().all(|flow| flow["protocol"] == "srt"), "{flows:#?}");
        let of_first: Vec<_> = flows.iter().filter(|flow| !flow["stream"].as_str().unwrap().ends_with("-up")).collect();
        assert_eq!(of_first.len(), 3, "{flows:#?}");
        assert!(of_first.iter().all(|flow| flow["origin"] == of_first[0]["origin"]), "{flows:#?}");
        assert_eq!(flows.iter().filter(|flow| flow["role"] == "publish").count(), 2, "{flows:#?}");
        drop((up, transmit, player));
    }
}

/// A real publisher and a real player over a long and lossy way: nothing may be missing.
fn lossy(per_mille: u32, plot: Plot, path: &str) {
    if !met(REAL) {
        return;
    }
    let scene = plot.origins(2).srt().build().unwrap();
    let client = &scene.dc.clients[0];
    loss::on_device(&client.netns, client.device, per_mille).unwrap();
    let way = Way { delay: Duration::from_millis(20), held_back_every: 50 };
    let delay = Delay::start(&client.netns, scene.srt_vip(), way).unwrap();
    let more = ["latency=1500", "packets=7000"];
    let publisher = SrtPeer::publish(host(&scene), "s1", delay.at, PUBLISH, &more).unwrap();
    publisher.wait_events("connected", 1, WITHIN).unwrap();
    let player = SrtPeer::play(host(&scene), "s1", delay.at, REQUEST, &more).unwrap();
    player.wait_events("connected", 1, WITHIN).unwrap();
    wait_until("both flows", SOON, || {
        scene.balancer.flows().is_ok_and(|flows| flows.len() == 2 && flows.iter().all(|flow| flow["path"] == path))
    })
    .unwrap();
    publisher.wait_events("sent", 1, WITHIN).unwrap();
    let at_origin = || scene.srt.iter().find_map(|origin| origin.published("live/s1"));
    wait_until("all of it at the origin", WITHIN, || at_origin().is_some_and(|(packets, _)| packets >= PACKETS))
        .unwrap();
    assert_eq!(at_origin(), Some((PACKETS, 0)));
    assert_eq!(player.wait_packets(PACKETS / 2, WITHIN).unwrap(), 0);
}

#[test]
fn nothing_is_missing_after_1_percent_loss_and_20_ms() {
    lossy(10, Plot::default(), "kernel");
}

#[test]
fn nothing_is_missing_after_5_percent_loss_and_20_ms() {
    lossy(50, Plot::default(), "kernel");
}

#[test]
fn nothing_is_missing_after_5_percent_loss_and_20_ms_without_the_fast_path() {
    lossy(50, off(Plot::default()), "relay");
}

/// Both ends count: every datagram once, in the right socket, and none of them touched by user space.
fn counted(plot: Plot, path: &str) {
    let scene = plot.srt_lite(|_| SrtManners::default()).build().unwrap();
    let origin = &scene.srt_lite[0];
    let mut publisher = caller(&scene, PUBLISH);
    let mut player = caller(&scene, REQUEST);
    wait_until("both flows", SOON, || {
        scene.balancer.flows().is_ok_and(|flows| flows.len() == 2 && flows.iter().all(|flow| flow["path"] == path))
    })
    .unwrap();
    let before = scene.relayed_bytes().unwrap();
    for round in 0..10 {
        publisher.send_data(100, 1316).unwrap();
        origin.send(round * 100..round * 100 + 100, 1316).unwrap();
        for caller in [&mut publisher, &mut player] {
            caller.wait_data((round as usize + 1) * 100, WITHIN).unwrap();
        }
        wait_until("what was published", WITHIN, || origin.data_of(PUBLISH) == u64::from(round + 1) * 100).unwrap();
    }
    assert_eq!((publisher.data_packets, player.data_packets), (1000, 1000));
    let copied = || scene.relayed_bytes().unwrap() - before;
    if path == "kernel" {
        assert_eq!(copied(), 0.0, "user space has copied media");
    } else {
        wait_until("user space's own count", SOON, || copied() >= 3.0 * 1000.0 * 1316.0).unwrap();
    }
    // Everybody came from the address that the flow names.
    let flows = scene.balancer.flows().unwrap();
    for taken in origin.taken() {
        let source = taken.from.to_string();
        assert!(flows.iter().any(|flow| flow["source"] == source.as_str()), "{source}: {flows:#?}");
    }
    publisher.send_control(Kind::Shutdown).unwrap();
    wait_until("the SHUTDOWN at the origin", SOON, || origin.taken().iter().any(|taken| taken.shutdowns == 1)).unwrap();
    wait_until("its flow to end", SOON, || scene.balancer.flows().is_ok_and(|flows| flows.len() == 1)).unwrap();
    origin.shut_down().unwrap();
    player.wait_shutdown(SOON).unwrap();
    scene.wait_no_flows().unwrap();
}

#[test]
fn every_datagram_is_forwarded_once_and_a_shutdown_ends_it() {
    if !met(NEEDS) {
        return;
    }
    counted(Plot::default(), "kernel");
    counted(Plot::default().family(Family::V6), "kernel");
}

#[test]
fn every_datagram_is_relayed_once_without_the_fast_path() {
    if !met(NEEDS) {
        return;
    }
    counted(off(Plot::default()), "relay");
    counted(off(Plot::default()).family(Family::V6), "relay");
}

#[test]
fn fifty_players_are_all_in_the_kernel() {
    if !met(REAL) {
        return;
    }
    let scene = Plot::default().origins(3).srt().build().unwrap();
    let publisher = SrtPeer::publish(host(&scene), "s1", scene.srt_vip(), PUBLISH, &[]).unwrap();
    publisher.wait_events("connected", 1, WITHIN).unwrap();
    let players = SrtPeer::play(host(&scene), "all", scene.srt_vip(), REQUEST, &["count=50"]).unwrap();
    players.wait_events("connected", 50, WITHIN).unwrap();
    let flows = scene.wait_kernel(51).unwrap();
    assert!(flows.iter().all(|flow| flow["origin"] == flows[0]["origin"]), "one stream, one origin");
    wait_until("every player to have a second of it", WITHIN, || {
        let all = players.events_of("progress");
        (0..50).all(|i| all.iter().any(|event| event["caller"] == i && event["packets"].as_u64() >= Some(1400)))
    })
    .unwrap();
    let broken: Vec<_> = players.events_of("progress").into_iter().filter(|event| event["errors"] != 0).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_stream_is_one_whatever_its_id_looks_like_and_whatever_asks_for_it() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(3).srt_lite(|_| SrtManners::default()).build().unwrap();
    // What an RTMP client can ask the synthetic origins for.
    let plan = Plan::new(Role::Play, 1, 0, 100_000);
    let name = plan.stream_name();
    let forms = [
        format!("#!::r=live/{name},m=publish"),
        format!("#!::m=request,r=live/{name},u=somebody"),
        format!("#!::h=live/{name},m=request"),
        format!("live/{name}"),
        name.clone(),
    ];
    let _callers: Vec<_> = forms.iter().map(|form| caller(&scene, form)).collect();
    let flows = scene.wait_kernel(forms.len()).unwrap();
    assert!(flows.iter().all(|flow| flow["stream"] == flows[0]["stream"]), "{flows:#?}");
    assert!(flows.iter().all(|flow| flow["origin"] == flows[0]["origin"]), "{flows:#?}");
    let with_srt = scene.srt_lite.iter().position(|origin| !origin.taken().is_empty()).unwrap();
    scene.run_exact(vec![scene.client(plan)], 1).unwrap();
    assert_eq!(scene.origins[with_srt].accepted(), 1, "RTMP finds what SRT published");
}

#[test]
fn links_of_a_bonded_caller_meet_at_one_origin() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(3).srt_lite(|_| SrtManners::default()).build().unwrap();
    let mut links = Vec::new();
    for weight in [2, 1] {
        let mut link = Caller::bind(&scene.dc.clients[0].netns, scene.srt_vip()).unwrap();
        link.induce().unwrap();
        let conclusion = link.conclusion(PUBLISH.as_bytes()).in_group(77, weight);
        link.conclude(&conclusion).unwrap();
        links.push(link);
    }
    let flows = scene.wait_kernel(2).unwrap();
    assert_eq!(flows[0]["origin"], flows[1]["origin"], "{flows:#?}");
    let taken: Vec<_> = scene.srt_lite.iter().flat_map(|origin| origin.taken()).collect();
    assert!(taken.len() == 2 && taken.iter().all(|taken| taken.group), "the extension passes as it is: {taken:#?}");
}
