//! RTSP through the VIP: interleaved media and datagrams, both roles, both families, real programs and synthetic ends
//! that count every packet; and what is left when a session ends in any way.

use balancer_lab::data_centre::Family;
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::host;
use balancer_lab::net;
use balancer_lab::origin::Registrar;
use balancer_lab::origin::rtsp::{RTSP_PORT, RTSP_STREAMS, rtsp_sink};
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtsp_lite::client::RtspClient;
use balancer_lab::rtsp_lite::origin::RtspLite;
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait::wait_until;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const REAL: &[Need] = &[Need::Network, Need::Balancer, Need::Media, Need::Rtsp];
const BEAT: Duration = Duration::from_secs(1);
/// What the balancer gives out by default.
const SOURCE_PORTS: RangeInclusive<u16> = 20_000..=32_767;
/// For slow machines: hundreds of packets at 200 a second.
const WITHIN: Duration = Duration::from_secs(40);

fn vip(scene: &Scene) -> SocketAddr {
    SocketAddr::new(scene.dc.vip(scene.family), RTSP_PORT)
}

/// A scene whose one origin is synthetic.
fn lite(plot: Plot, family: Family) -> (Scene, RtspLite) {
    let mut scene = plot.family(family).build().unwrap();
    let host = &scene.dc.origins[0];
    let origin = RtspLite::start(&host.netns, SocketAddr::new(host.ip(family), RTSP_PORT)).unwrap();
    offer(&mut scene, 0);
    (scene, origin)
}

/// Registers an origin with RTSP, whatever serves it.
fn offer(scene: &mut Scene, number: usize) {
    let family = scene.family;
    let registrar = Registrar::offering(&scene.dc, number, family, BEAT, |beat| beat.rtsp(RTSP_PORT)).unwrap();
    scene.registrars[number] = Some(registrar);
}

fn dial(scene: &Scene) -> RtspClient {
    dial_for(scene, "/live/s1")
}

fn dial_for(scene: &Scene, path: &str) -> RtspClient {
    RtspClient::dial(&scene.dc.clients[0].netns, vip(scene), path).unwrap()
}

fn the_flow(scene: &Scene) -> serde_json::Value {
    let flows = scene.balancer.flows().unwrap();
    assert_eq!(flows.len(), 1, "{flows:#?}");
    flows[0].clone()
}

/// No flow, no socket, no half in the kernel.
fn expect_nothing_left(scene: &Scene) {
    scene.wait_no_flows().unwrap();
    let left = || host::udp_sockets(&scene.dc.lb, SOURCE_PORTS).unwrap();
    wait_until("every bound port to be given back", SOON, || left() == 0).unwrap();
    let halves = |family: &str| scene.balancer.metric("balancer_map_entries", &[&format!("map=\"FLOWS{family}\"")]);
    wait_until("the flow tables to be empty", SOON, || [halves("4"), halves("6")].iter().flatten().sum::<f64>() == 0.0)
        .unwrap();
}

/// Plays two tracks over UDP with every packet counted; the session is still there afterwards.
fn play_by_udp(scene: &Scene, origin: &RtspLite, path: &str) -> RtspClient {
    let mut client = dial(scene);
    client.prepare_to_play(2, true).unwrap();
    assert_eq!(host::udp_sockets(&scene.dc.lb, SOURCE_PORTS).unwrap(), 8);
    client.agree("PLAY", "", "Range: npt=0.000-\r\n", "").unwrap();
    client.receive(100, WITHIN).unwrap();
    let before = scene.relayed_bytes().unwrap();
    client.receive(200, WITHIN).unwrap();
    client.report().unwrap();
    client.receive(50, WITHIN).unwrap();
    client.check_whole().unwrap();
    assert!(client.tracks.iter().all(|track| track.reports > 0), "no report of the origin's arrived");
    assert_eq!(origin.sessions()[0].reports, 2, "a report of the client's is missing");

    let flow = the_flow(scene);
    assert_eq!((flow["path"].as_str(), flow["protocol"].as_str()), (Some(path), Some("rtsp")), "{flow:#}");
    let copied = scene.relayed_bytes().unwrap() - before;
    if path == "kernel" {
        assert_eq!(copied, 0.0, "user space has copied media");
        let counted = || the_flow(scene)["to_client"]["packets"].as_u64() >= Some(700);
        wait_until("the kernel's counts", SOON, counted).unwrap();
    } else {
        assert!(copied >= 400_000.0, "{copied}");
    }
    client
}

#[test]
fn every_datagram_of_a_play_goes_through_the_kernel() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let (scene, origin) = lite(Plot::default(), family);
        let mut client = play_by_udp(&scene, &origin, "kernel");
        // The control connection goes on beside them.
        client.agree("GET_PARAMETER", "", "Session: lab\r\n", "").unwrap();
        client.agree("TEARDOWN", "", "Session: lab\r\n", "").unwrap();
        drop(client);
        expect_nothing_left(&scene);
        let seen = &origin.sessions()[0];
        assert!(seen.senders.iter().all(|from| Some(from.ip()) == seen.peer.map(|peer| peer.ip())), "{seen:?}");
    }
}

#[test]
fn every_datagram_of_a_publisher_goes_through_the_kernel() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let (scene, origin) = lite(Plot::default(), family);
        let mut client = dial(&scene);
        client.prepare_to_publish(2, true).unwrap();
        client.agree("RECORD", "", "", "").unwrap();
        let before = scene.relayed_bytes().unwrap();
        client.send(500).unwrap();
        let arrived = || origin.sessions()[0].tracks.values().all(|track| track.received == 500);
        wait_until("500 packets on each track", WITHIN, arrived).unwrap();
        let tracks = &origin.sessions()[0].tracks;
        assert!(tracks.len() == 2 && tracks.values().all(|track| track.is_whole()), "{tracks:?}");
        let flow = the_flow(&scene);
        assert_eq!((flow["path"].as_str(), flow["role"].as_str()), (Some("kernel"), Some("publish")), "{flow:#}");
        assert_eq!(scene.relayed_bytes().unwrap(), before);
        client.agree("TEARDOWN", "", "Session: lab\r\n", "").unwrap();
        expect_nothing_left(&scene);
    }
}

#[test]
fn without_a_fast_path_user_space_carries_the_datagrams() {
    if !met(NEEDS) {
        return;
    }
    let (scene, origin) = lite(Plot::default().settings(|settings| settings.xdp_mode = "off"), Family::V4);
    let mut client = play_by_udp(&scene, &origin, "relay");
    client.agree("TEARDOWN", "", "Session: lab\r\n", "").unwrap();
    scene.wait_no_flows().unwrap();
    let left = || host::udp_sockets(&scene.dc.lb, SOURCE_PORTS).unwrap();
    wait_until("every bound port to be given back", SOON, || left() == 0).unwrap();
}

#[test]
fn interleaved_media_are_spliced_before_they_start() {
    if !met(NEEDS) {
        return;
    }
    let (scene, origin) = lite(Plot::default(), Family::V6);
    let mut player = dial(&scene);
    player.prepare_to_play(2, false).unwrap();
    player.agree("PLAY", "", "", "").unwrap();
    player.receive(200, WITHIN).unwrap();
    player.check_whole().unwrap();
    scene.wait_kernel(1).unwrap();
    player.agree("GET_PARAMETER", "", "Session: lab\r\n", "").unwrap();
    assert_eq!(scene.relayed_bytes().unwrap(), 0.0);
    assert_eq!(host::established(&scene.dc.lb, RTSP_PORT).unwrap(), 0, "a socket of a spliced flow is left");
    player.agree("TEARDOWN", "", "Session: lab\r\n", "").unwrap();
    drop(player);
    scene.wait_no_flows().unwrap();

    let mut publisher = dial(&scene);
    publisher.prepare_to_publish(1, false).unwrap();
    publisher.agree("RECORD", "", "", "").unwrap();
    publisher.send(300).unwrap();
    let arrived = || origin.sessions()[1].tracks.get(&0).is_some_and(|track| track.received == 300 && track.is_whole());
    wait_until("300 packets", WITHIN, arrived).unwrap();
    scene.wait_kernel(1).unwrap();
}

#[test]
fn a_client_behind_a_nat_is_answered_where_it_speaks_from() {
    if !met(NEEDS) {
        return;
    }
    let (scene, _origin) = lite(Plot::default(), Family::V4);
    let mut client = dial(&scene);
    client.prepare_to_play(1, true).unwrap();
    client.change_ports().unwrap();
    client.agree("PLAY", "", "", "").unwrap();
    client.receive(200, WITHIN).unwrap();
    client.check_whole().unwrap();
    let flow = the_flow(&scene);
    assert_eq!(flow["path"], "kernel", "{flow:#}");
    // The second time somebody else might be meant.
    client.change_ports().unwrap();
    client.receive(1, Duration::from_secs(2)).unwrap_err();
}

#[test]
fn a_datagram_in_fragments_takes_the_long_way() {
    if !met(NEEDS) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let (scene, origin) = lite(Plot::default(), family);
        let mut client = dial(&scene);
        client.prepare_to_publish(1, true).unwrap();
        client.agree("RECORD", "", "", "").unwrap();
        client.send(50).unwrap();
        let before = scene.relayed_bytes().unwrap();
        // Its number is an old one: the count of the others goes on.
        client.send_datagram(0, &[0xff; 5000]).unwrap();
        wait_until("the long datagram", SOON, || origin.sessions()[0].longest == 5000).unwrap();
        assert_eq!(scene.relayed_bytes().unwrap() - before, 5000.0);
        client.send(50).unwrap();
        let arrived = || origin.sessions()[0].tracks[&0].received >= 100;
        wait_until("the packets behind it", WITHIN, arrived).unwrap();
        let seen = &origin.sessions()[0];
        let ports: std::collections::BTreeSet<_> = seen.senders.iter().map(SocketAddr::port).collect();
        assert_eq!(ports.len(), 2, "RTP and RTCP, each from one port, whichever way they came: {ports:?}");
    }
}

#[test]
fn an_origin_that_hangs_up_is_replaced_as_long_as_it_has_said_nothing() {
    if !met(NEEDS) {
        return;
    }
    let mut scene = Plot::default().origins(2).build().unwrap();
    let start = |number: usize, hangs_up| {
        let host = &scene.dc.origins[number];
        RtspLite::start_with(&host.netns, SocketAddr::new(host.v4.into(), RTSP_PORT), hangs_up).unwrap()
    };
    let origins = [start(0, true), start(1, false)];
    offer(&mut scene, 0);
    offer(&mut scene, 1);
    for stream in 0..6 {
        let mut client = dial_for(&scene, &format!("/live/s{stream}"));
        client.prepare_to_play(1, stream % 2 == 0).unwrap();
        client.agree("PLAY", "", "", "").unwrap();
        client.receive(20, WITHIN).unwrap();
        client.check_whole().unwrap();
    }
    assert!(!origins[0].sessions().is_empty(), "none was placed on the origin that hangs up");
    assert_eq!(origins[1].sessions().len(), 6);
}

#[test]
fn a_session_that_fell_silent_is_ended() {
    if !met(NEEDS) {
        return;
    }
    let (scene, origin) = lite(Plot::default().config("idle_timeout = \"3s\""), Family::V4);
    let mut client = play_by_udp(&scene, &origin, "kernel");
    client.agree("PAUSE", "", "Session: lab\r\n", "").unwrap();
    client.wait_closed(SOON).unwrap();
    expect_nothing_left(&scene);
}

#[test]
fn nothing_is_left_of_a_client_that_is_killed() {
    if !met(NEEDS) {
        return;
    }
    let (scene, origin) = lite(Plot::default(), Family::V4);
    let client = play_by_udp(&scene, &origin, "kernel");
    client.kill().unwrap();
    expect_nothing_left(&scene);
    wait_until("the origin to hear of it", SOON, || origin.sessions()[0].ended).unwrap();
}

#[test]
fn nothing_is_left_of_an_origin_that_is_killed_and_its_client_hears_of_it() {
    if !met(NEEDS) {
        return;
    }
    let (scene, origin) = lite(Plot::default(), Family::V4);
    let mut client = play_by_udp(&scene, &origin, "kernel");
    origin.kill();
    client.wait_closed(SOON).unwrap();
    expect_nothing_left(&scene);
}

#[test]
fn what_cannot_be_served_is_refused_in_the_protocols_words() {
    if !met(NEEDS) {
        return;
    }
    let (mut scene, _origin) = lite(Plot::default(), Family::V4);
    let mut client = dial(&scene);
    client.agree("DESCRIBE", "", "", "").unwrap();
    let url = client.url("/trackID=0");
    let multicast = client.ask("SETUP", &url, "Transport: RTP/AVP;multicast;port=9000-9001\r\n", "").unwrap();
    assert_eq!(multicast.status(), 461);
    let other = format!("rtsp://{}/live/s2", vip(&scene));
    assert_eq!(client.ask("DESCRIBE", &other, "", "").unwrap().status(), 455);
    let setup = "Transport: RTP/AVP/TCP;interleaved=0-1\r\n";
    assert_eq!(client.ask("SETUP", &format!("{other}/trackID=0"), setup, "").unwrap().status(), 459);
    assert_eq!(dial(&scene).ask("DESCRIBE", "/live/s1", "", "").unwrap().status(), 400);
    assert_eq!(dial(&scene).ask("DESCRIBE", &format!("rtsp://{}/s1", vip(&scene)), "", "").unwrap().status(), 404);
    let long = format!("X-Long: {}\r\n", "x".repeat(100_000));
    assert_eq!(dial(&scene).ask("OPTIONS", "*", &long, "").unwrap().status(), 413);
    drop(client);

    // An origin that offers no RTSP is not asked.
    scene.registrars[0] = Some(Registrar::offering(&scene.dc, 0, Family::V4, BEAT, |beat| beat).unwrap());
    let refused = dial(&scene).ask("DESCRIBE", &dial(&scene).url(""), "", "").unwrap();
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("1")));
}

#[test]
fn ffmpeg_plays_what_gstreamer_serves() {
    if !met(REAL) {
        return;
    }
    let scene = Plot::default().rtsp().build().unwrap();
    let url = format!("rtsp://{}{}", vip(&scene), RTSP_STREAMS[0]);
    let play = |transport: &str| {
        let options = ["-rtsp_transport", transport];
        Player::start_with(&scene.dc.clients[0].netns, scene.dc.directory(), transport, &url, &options).unwrap()
    };
    let players = [play("tcp"), play("udp")];
    for player in &players {
        player.wait_frames(50, WITHIN).unwrap();
    }
    let flows = scene.wait_kernel(2).unwrap();
    assert!(flows.iter().all(|flow| flow["protocol"] == "rtsp" && flow["role"] == "play"), "{flows:#?}");
    assert_eq!(scene.relayed_bytes().unwrap(), 0.0);
    assert!(scene.kernel_bytes().unwrap() > 0.0);
    // One ends in order, the other by force.
    players[0].stop().unwrap();
    drop(players);
    expect_nothing_left(&scene);
}

/// It offers every transport at once, pauses before it tears down, and goes on when one way fails.
#[test]
fn gstreamer_plays_what_gstreamer_serves() {
    if !met(REAL) {
        return;
    }
    let scene = Plot::default().family(Family::V6).rtsp().build().unwrap();
    for protocols in ["tcp", "udp", "udp+tcp"] {
        let source = format!("location=rtsp://{}{}", vip(&scene), RTSP_STREAMS[1]);
        let mut command = scene.dc.clients[0].netns.command("timeout");
        command.args(["60", "gst-launch-1.0", "-q", "rtspsrc", &source, &format!("protocols={protocols}")]);
        // Ends by itself, and well, after so many decoded pictures.
        command.args("! rtph264depay ! avdec_h264 ! fakesink num-buffers=50".split(' '));
        net::run(&mut command).unwrap();
        scene.wait_no_flows().unwrap();
    }
    assert_eq!(scene.relayed_bytes().unwrap(), 0.0);
    expect_nothing_left(&scene);
}

#[test]
fn ffmpeg_publishes_to_a_listening_ffmpeg() {
    if !met(REAL) {
        return;
    }
    for (transport, family) in [("tcp", Family::V4), ("udp", Family::V4)] {
        let mut scene = Plot::default().family(family).build().unwrap();
        let (origin, directory) = (&scene.dc.origins[0], scene.dc.directory());
        let at = SocketAddr::new(origin.ip(family), RTSP_PORT);
        let sink = rtsp_sink(&origin.netns, directory, "sink", at, "/live/s1").unwrap();
        let clip = Clip::make(directory).unwrap();
        offer(&mut scene, 0);
        let url = format!("rtsp://{}/live/s1", vip(&scene));
        let (client, options) = (&scene.dc.clients[0].netns, ["-rtsp_transport", transport]);
        let publisher = Publisher::start_with(client, scene.dc.directory(), "p", &clip, &url, &options).unwrap();
        sink.wait_frames(50, WITHIN).unwrap();
        let flows = scene.wait_kernel(1).unwrap();
        assert_eq!(flows[0]["role"], "publish", "{flows:#?}");
        assert_eq!(scene.relayed_bytes().unwrap(), 0.0);
        drop(publisher);
        drop(sink);
    }
}
