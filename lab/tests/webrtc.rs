//! WHIP and WHEP through the VIP, media and all: what clients of several makes publish and play is forwarded by the
//! kernel without a packet lost, in both families and by user space alone, and signalling stays with its origin.

mod rtc_scene;

use balancer_lab::data_centre::Family;
use balancer_lab::ffmpeg::vp8_clip;
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtc::{Aiortc, RtcPage, RtcRole, Seen};
use balancer_lab::scene::{Plot, Scene};
use balancer_lab::wait::wait_until;
use rtc_scene::{LATER, candidates_name_only_the_vip, nothing_lost, rtc_flows, start, wait_rtc_flows};

const NEEDS: &[Need] = &[Need::Network, Need::Balancer, Need::Rtc];
const FRAMES: u64 = 50;

fn one_publisher_and_players(scene: &Scene, count: usize, path: &str) {
    let publisher = start(scene, RtcRole::Publish, "s1", 1);
    publisher.wait_connected(LATER).unwrap();
    let players = start(scene, RtcRole::Play, "s1", count);
    players.wait_connected(LATER).unwrap();
    let flows = wait_rtc_flows(scene, count + 1, path);
    let publishing = flows.iter().filter(|flow| flow["role"] == "publish").count();
    assert_eq!(publishing, 1, "{flows:#?}");
    for flow in &flows {
        assert_eq!(flow["stream"], "__defaultVhost__/live/s1", "{flow:#}");
        assert_eq!(flow["origin"], flows[0]["origin"], "one stream, one origin: {flow:#}");
    }
    // What was counted while the flows were made is told by now.
    players.wait_frames(FRAMES, LATER).unwrap();
    let copied = scene.relayed_bytes().unwrap();
    for seen in players.wait_frames(FRAMES, LATER).unwrap() {
        assert_eq!(seen.number("lost"), 0, "{seen:#?}");
        candidates_name_only_the_vip(scene, &seen);
    }
    if path == "kernel" {
        assert_eq!(scene.relayed_bytes().unwrap(), copied, "nothing is copied any more");
    }
    nothing_lost(scene);
    let ended: Vec<Seen> = players.order("end").unwrap().into_iter().chain(publisher.order("end").unwrap()).collect();
    for seen in &ended {
        assert_eq!(seen.number("deleted"), 200, "{seen:#?}");
    }
    wait_rtc_flows(scene, 0, path);
    wait_until("no name of ICE to be left", LATER, || {
        scene.balancer.metric("balancer_map_entries", &["map=\"ICE\""]).is_ok_and(|entries| entries == 0.0)
    })
    .unwrap();
}

#[test]
fn media_goes_through_the_kernel_and_delete_ends_it() {
    if met(NEEDS) {
        one_publisher_and_players(&Plot::default().origins(2).rtc().build().unwrap(), 3, "kernel");
    }
}

#[test]
fn media_goes_through_the_kernel_over_ipv6() {
    if met(NEEDS) {
        let plot = Plot::default().origins(2).family(Family::V6);
        one_publisher_and_players(&plot.rtc().build().unwrap(), 3, "kernel");
    }
}

#[test]
fn without_xdp_user_space_relays_the_same() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let plot = Plot::default().origins(2).family(family).settings(|settings| settings.xdp_mode = "off");
        one_publisher_and_players(&plot.rtc().build().unwrap(), 2, "relay");
    }
}

#[test]
fn fifty_players_are_forwarded_by_the_kernel() {
    if met(NEEDS) {
        one_publisher_and_players(&Plot::default().origins(2).rtc().build().unwrap(), 50, "kernel");
    }
}

#[test]
fn aiortc_publishes_and_plays() {
    if !met(&[NEEDS, &[Need::Aiortc, Need::Media]].concat()) {
        return;
    }
    let scene = Plot::default().origins(2).rtc().build().unwrap();
    let (host, directory) = (&scene.dc.clients[0], scene.dc.directory());
    let aiortc = |name: &str, role, stream: &str| {
        Aiortc::start(host, directory, name, role, &scene.rtc_url(role, stream)).unwrap()
    };
    let mut encoder = aiortc("encoder", RtcRole::Publish, "encoder");
    encoder.wait_going(20, LATER).unwrap();
    let clip = vp8_clip(directory).unwrap().display().to_string();
    let file = rtc_scene::start_with(&scene, RtcRole::Publish, "file", &["--ivf", &clip]);
    file.wait_connected(LATER).unwrap();
    let mut players = [aiortc("a", RtcRole::Play, "encoder"), aiortc("b", RtcRole::Play, "file")];
    for player in &players {
        let seen = player.wait_going(30, LATER).unwrap();
        assert_eq!(seen.0["lost"], 0, "{seen:#?}");
        candidates_name_only_the_vip(&scene, &seen);
    }
    wait_rtc_flows(&scene, 4, "kernel");
    nothing_lost(&scene);
    for ending in players.iter_mut().chain([&mut encoder]) {
        assert_eq!(ending.end(LATER).unwrap().number("deleted"), 200);
    }
    wait_rtc_flows(&scene, 1, "kernel");
}

#[test]
fn chromium_publishes_and_plays() {
    if !met(&[NEEDS, &[Need::Browser]].concat()) {
        return;
    }
    let scene = Plot::default().origins(2).rtc().build().unwrap();
    let (host, directory) = (&scene.dc.clients[0], scene.dc.directory());
    let open = |role| RtcPage::open(host, directory, role, &scene.rtc_url(role, "page")).unwrap();
    let publisher = open(RtcRole::Publish);
    publisher.wait_frames(10, LATER).unwrap();
    let player = open(RtcRole::Play);
    let seen = player.wait_frames(30, LATER).unwrap();
    assert_eq!((seen.lost, seen.width, seen.errors.as_str()), (0, 320, ""), "{seen:?}");
    // It tries the other family's address too, where user space has to relay, and leaves it at that.
    let flows = rtc_flows(&scene);
    let (kernel, relayed): (Vec<_>, Vec<_>) = flows.iter().partition(|flow| flow["path"] == "kernel");
    for role in ["publish", "play"] {
        assert_eq!(kernel.iter().filter(|flow| flow["role"] == role).count(), 1, "{flows:#?}");
    }
    let packets = |flow: &serde_json::Value| flow["to_client"]["packets"].as_u64().unwrap_or_default();
    assert!(relayed.iter().all(|flow| packets(flow) < 100), "{flows:#?}");
    nothing_lost(&scene);
}

#[test]
fn a_client_whose_address_changes_goes_on() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(2).rtc().build().unwrap();
    let publisher = start(&scene, RtcRole::Publish, "s1", 1);
    publisher.wait_connected(LATER).unwrap();
    let player = start(&scene, RtcRole::Play, "s1", 1);
    player.wait_frames(FRAMES, LATER).unwrap();
    for order in ["move", "rebind", "move", "restart"] {
        player.order(order).unwrap();
        let seen = player.wait_frames(FRAMES, LATER).unwrap().remove(0);
        wait_until("its address to be a flow in the kernel", LATER, || {
            let local = seen.text("local").to_owned();
            rtc_flows(&scene).iter().any(|flow| flow["client"] == local && flow["path"] == "kernel")
        })
        .unwrap_or_else(|error| panic!("{order}: {error:#}: {seen:#?} {:#?}", rtc_flows(&scene)));
    }
    publisher.order("move").unwrap();
    player.wait_frames(FRAMES, LATER).unwrap();
    let stats: Vec<_> = scene.rtc.iter().map(|origin| origin.stats().unwrap()).collect();
    assert_eq!(stats.iter().map(|stats| stats.sum("moves")).sum::<u64>(), 4, "{stats:#?}");
    assert_eq!(stats.iter().map(|stats| stats.sum("restarts")).sum::<u64>(), 1, "{stats:#?}");
    assert_eq!(player.order("end").unwrap()[0].number("deleted"), 200);
    wait_until("every flow of the player to end", LATER, || {
        rtc_flows(&scene).iter().all(|flow| flow["role"] == "publish")
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:#?}", rtc_flows(&scene)));
}
