//! Real encoders, real servers, real decoders: ffmpeg through three nginx-rtmp origins.

use balancer_lab::data_centre::Family;
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait::{wait_for, wait_until};

const NEEDS: &[Need] = &[Need::Network, Need::Media, Need::Balancer];
/// What a decoder has seen when it has seen three seconds.
const FRAMES: u64 = 75;

struct Show {
    publishers: Vec<Publisher>,
    players: Vec<Player>,
}

fn url(scene: &Scene, stream: usize) -> String {
    format!("rtmp://{}/live/s{stream}", scene.vip())
}

fn play(scene: &Scene, name: &str, stream: usize) -> Player {
    Player::start(&scene.dc.clients[0].netns, scene.dc.directory(), name, &url(scene, stream)).unwrap()
}

fn begin(scene: &Scene, streams: usize, players_each: usize) -> Show {
    let clip = Clip::make(scene.dc.directory()).unwrap();
    let netns = &scene.dc.clients[0].netns;
    let publish =
        |i: usize| Publisher::start(netns, scene.dc.directory(), &format!("s{i}"), &clip, &url(scene, i)).unwrap();
    let publishers = (0..streams).map(publish).collect();
    wait_until("the publishers to be listed", SOON, || {
        let flows = scene.balancer.flows().unwrap_or_default();
        flows.iter().filter(|flow| flow["role"] == "publish").count() == streams
    })
    .unwrap();
    let players = (0..streams * players_each).map(|i| play(scene, &format!("p{i}"), i % streams)).collect();
    Show { publishers, players }
}

fn decoded_in_the_kernel(family: Family) {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(3).family(family).nginx().build().unwrap();
    let show = begin(&scene, 3, 2);
    for player in &show.players {
        player.wait_frames(FRAMES, SOON).unwrap();
    }
    let flows = scene.wait_kernel(9).unwrap();
    for flow in &flows {
        let direction = if flow["role"] == "publish" { "to_origin" } else { "to_client" };
        assert!(flow[direction]["bytes"].as_u64().unwrap() > 50_000, "{flow:#}");
    }
    assert_eq!(scene.media_sockets().unwrap(), 0, "no socket, nothing to copy from");
    // While the next frames are decoded the control plane copies nothing.
    let relayed = scene.relayed_bytes().unwrap();
    let so_far: Vec<_> = show.players.iter().map(Player::frames).collect();
    for (player, frames) in show.players.iter().zip(so_far) {
        player.wait_frames(frames + FRAMES, SOON).unwrap();
    }
    assert_eq!(scene.relayed_bytes().unwrap(), relayed);
    assert!(scene.kernel_bytes().unwrap() > 1e6);
    let streams = scene.balancer.list("streams").unwrap();
    assert_eq!(streams.len(), 3, "{streams:#?}");
    assert!(streams.iter().all(|stream| stream["players"] == 2), "{streams:#?}");
    assert!(show.publishers.iter().all(|publisher| publisher.attempts() == 1));
}

#[test]
fn three_streams_six_players_over_ipv4() {
    decoded_in_the_kernel(Family::V4);
}

#[test]
fn three_streams_six_players_over_ipv6() {
    decoded_in_the_kernel(Family::V6);
}

#[test]
fn when_an_origin_dies_its_publisher_and_players_are_on_another() {
    if !met(NEEDS) {
        return;
    }
    let mut scene = Plot::default().origins(3).nginx().build().unwrap();
    let mut show = begin(&scene, 1, 1);
    show.players[0].wait_frames(25, SOON).unwrap();
    let publish = scene.wait_kernel(2).unwrap().into_iter().find(|flow| flow["role"] == "publish").unwrap();
    let address = publish["origin_address"].as_str().unwrap().to_owned();
    let lost = scene.dc.origins.iter().position(|host| address.starts_with(&host.v4.to_string())).unwrap();
    scene.registrars[lost] = None;
    scene.nginx[lost].kill();
    let moved = wait_for("the publisher on another origin", SOON, || {
        let flows = scene.balancer.flows().ok()?;
        flows.into_iter().find(|flow| flow["role"] == "publish" && flow["origin"] != publish["origin"])
    })
    .unwrap();
    assert!(show.publishers[0].attempts() > 1);
    // The player lost its connection too; dialled again, it decodes.
    wait_until("the player to notice", SOON, || !show.players[0].is_running()).unwrap();
    show.players[0] = play(&scene, "again", 0);
    show.players[0].wait_frames(FRAMES, SOON).unwrap();
    let flows = scene.wait_kernel(2).unwrap();
    assert!(flows.iter().all(|flow| flow["origin"] == moved["origin"]), "{flows:#?}");
}

#[test]
fn a_viewer_that_comes_first_sees_the_stream_once_it_is_published() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(3).nginx().build().unwrap();
    let early = play(&scene, "early", 0);
    wait_until("the early viewer's flow", SOON, || scene.balancer.flows().is_ok_and(|flows| flows.len() == 1)).unwrap();
    let show = begin(&scene, 1, 0);
    // The publisher may be placed anywhere; whoever dials now is with it.
    let late = play(&scene, "late", 0);
    late.wait_frames(FRAMES, SOON).unwrap();
    assert!(show.publishers[0].attempts() >= 1);
    drop(early);
}

#[test]
fn the_binarys_own_listings_agree_with_the_api() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(2).nginx().build().unwrap();
    let show = begin(&scene, 1, 1);
    show.players[0].wait_frames(10, SOON).unwrap();
    for (name, count) in [("flows", 2), ("origins", 2), ("streams", 1)] {
        let listed = scene.balancer.command_json(name).unwrap();
        assert_eq!(listed[name].as_array().map(Vec::len), Some(count), "{name}: {listed:#}");
    }
    assert!(scene.balancer.command_json("status").unwrap().is_object());
}
