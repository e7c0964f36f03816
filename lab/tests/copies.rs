//! One stream on more than one server: an edge that fetches it through the VIP, and a second publisher.

use balancer_lab::balancer::{Balancer, RTMP_PORT, Settings};
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::origin::NginxOrigin;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::SOON;
use balancer_lab::wait::{wait_for, wait_until};
use serde_json::{Value, json};
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Media, Need::Balancer];
/// What a decoder has seen when it has seen two seconds.
const FRAMES: u64 = 50;
const KEY: &str = "__defaultVhost__/live/a";
/// Longer than a dead connection takes to be believed dead, and an encoder to come again.
const LATER: Duration = Duration::from_secs(40);

/// The measured loads of two idle servers say little.
const BY_TURNS: &str = "policy = \"round-robin\"\n";

/// In the order in which it is taken down.
struct House {
    nginx: Vec<NginxOrigin>,
    balancer: Balancer,
    clip: Clip,
    dc: DataCentre,
}

impl House {
    fn build(origins: usize, edges: usize, config: &str) -> Self {
        Self::with_edges(origins, (edges, true), config)
    }

    /// Origins, and after them edges; those fetch what they are asked for, or have nothing.
    fn with_edges(origins: usize, (edges, fetch): (usize, bool), config: &str) -> Self {
        let count = origins + edges;
        let dc = DataCentre::build(&Layout { clients: 2, origins: count as u8, ..Layout::default() }).unwrap();
        let mut settings = Settings::of(&dc);
        settings.config.push_str(config);
        let balancer = Balancer::start(&dc, settings).unwrap();
        let vip = dc.vip(Family::V4);
        let start = |number: usize| {
            let is_edge = number >= origins;
            let lines = if is_edge && fetch { format!("pull rtmp://{vip}:{RTMP_PORT}/live;") } else { String::new() };
            let nginx = NginxOrigin::with_lines(&dc, number, &lines).unwrap();
            let ip = dc.origins[number].ip(Family::V4).to_string();
            let role = if is_edge { "edge" } else { "origin" };
            let body = json!({"ip": ip, "endpoints": {"rtmp": [RTMP_PORT.to_string()]}, "role": role, "lease_s": 0});
            let path = format!("/api/v1/origins/{role}{number}");
            let put = balancer.request("PUT", &path, Some(&body.to_string())).unwrap();
            assert_eq!(put.status, 200, "{}", put.body);
            nginx
        };
        let nginx = (0..count).map(start).collect();
        let clip = Clip::make(dc.directory()).unwrap();
        Self { nginx, balancer, clip, dc }
    }

    fn url(&self) -> String {
        format!("rtmp://{}:{RTMP_PORT}/live/a", self.dc.vip(Family::V4))
    }

    fn publish(&self, client: usize, name: &str) -> Publisher {
        Publisher::start(&self.dc.clients[client].netns, self.dc.directory(), name, &self.clip, &self.url()).unwrap()
    }

    /// Of a publisher that is refused: what its encoder says.
    fn publish_once(&self, client: usize) -> String {
        let mut command = self.dc.clients[client].netns.command("ffmpeg");
        command.args(["-v", "warning", "-re", "-i"]).arg(self.clip.path()).args([
            "-c",
            "copy",
            "-f",
            "flv",
            &self.url(),
        ]);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "it was let in");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn play(&self, name: &str) -> Player {
        Player::start(&self.dc.clients[0].netns, self.dc.directory(), name, &self.url()).unwrap()
    }

    fn stream(&self) -> Option<Value> {
        self.balancer.list("streams").ok()?.into_iter().find(|listed| listed["key"] == KEY)
    }

    fn flows(&self, role: &str, is: impl Fn(&Value) -> bool) -> Vec<Value> {
        let all = self.balancer.flows().unwrap_or_default();
        all.into_iter().filter(|flow| flow["role"] == role && is(flow)).collect()
    }

    fn wait_published(&self) {
        wait_until("the stream to be published", SOON, || !self.flows("publish", |f| f["path"] == "kernel").is_empty())
            .unwrap();
    }
}

#[test]
fn viewers_are_shared_by_the_origin_and_an_edge_that_fetches_through_the_vip() {
    if !met(NEEDS) {
        return;
    }
    let mut house = House::build(1, 1, BY_TURNS);
    let publisher = house.publish(0, "a");
    house.wait_published();
    let mut players: Vec<Player> = (0..6).map(|i| house.play(&format!("p{i}"))).collect();
    for player in &players {
        player.wait_frames(FRAMES, SOON).unwrap();
    }
    let edge = house.dc.origins[1].ip(Family::V4).to_string();
    let fetched = |flow: &Value| flow["client"].as_str().is_some_and(|client| client.starts_with(&edge));
    let fetches = house.flows("play", fetched);
    assert_eq!(fetches.len(), 1, "the edge fetches once: {fetches:#?}");
    assert_eq!(fetches[0]["origin"], "origin0", "never from itself");
    let at_edge = house.flows("play", |flow| flow["origin"] == "edge1").len();
    let at_origin = house.flows("play", |flow| flow["origin"] == "origin0" && !fetched(flow)).len();
    assert!(at_edge >= 2 && at_origin >= 2 && at_edge + at_origin == 6, "{at_edge} {at_origin}");
    assert!(house.balancer.reason("copy").unwrap() >= 1.0 && house.balancer.reason("pull").unwrap() >= 1.0);
    let stream = house.stream().unwrap();
    assert_eq!((&stream["origin"], &stream["copies"]), (&json!("origin0"), &json!(["edge1"])), "{stream:#}");

    house.nginx[1].kill();
    wait_until("the edge's viewers to notice", SOON, || {
        players.iter_mut().map(|player| !player.is_running()).filter(|gone| *gone).count() == at_edge
    })
    .unwrap();
    let again: Vec<Player> = (0..at_edge).map(|i| house.play(&format!("again{i}"))).collect();
    for player in &again {
        player.wait_frames(FRAMES, SOON).unwrap();
    }
    // The dead edge's own flow is gone when its end has been noticed.
    assert_eq!(house.flows("play", |flow| flow["origin"] == "origin0" && !fetched(flow)).len(), 6);
    assert_eq!(publisher.attempts(), 1);
}

#[test]
fn an_edge_that_has_nothing_is_given_up_for_the_stream() {
    if !met(NEEDS) {
        return;
    }
    // An edge in name only: it takes viewers and fetches nothing.
    let house = House::with_edges(1, (1, false), BY_TURNS);
    let _publisher = house.publish(0, "a");
    house.wait_published();
    let players: Vec<Player> = (0..4).map(|i| house.play(&format!("p{i}"))).collect();
    let at_edge = wait_for("viewers at the edge", SOON, || {
        let there = house.flows("play", |flow| flow["origin"] == "edge1").len();
        (there > 0).then_some(there)
    })
    .unwrap();
    wait_until("the edge to be given up", SOON, || house.flows("play", |flow| flow["origin"] == "edge1").is_empty())
        .unwrap();
    let again: Vec<Player> = (0..at_edge).map(|i| house.play(&format!("again{i}"))).collect();
    for player in &again {
        player.wait_frames(FRAMES, SOON).unwrap();
    }
    drop(players);
}

#[test]
fn a_second_publisher_is_refused_while_the_first_one_sends() {
    if !met(NEEDS) {
        return;
    }
    let house = House::build(2, 0, "second_publisher = \"refuse\"\n");
    let first = house.publish(0, "first");
    house.wait_published();
    let player = house.play("p");
    player.wait_frames(FRAMES, SOON).unwrap();
    let refused = house.publish_once(1);
    assert!(refused.contains("the stream is being published already"), "in RTMP's words: {refused}");
    let second = house.publish(1, "second");
    wait_until("the second to be refused again and again", SOON, || {
        second.attempts() > 2 && house.balancer.reason("publisher_refused").unwrap() >= 2.0
    })
    .unwrap();
    assert_eq!((first.attempts(), house.flows("publish", |_| true).len()), (1, 1));
    player.wait_frames(player.frames() + FRAMES, SOON).unwrap();
    drop(first);
    wait_until("the second to be let in", LATER, || {
        let client = house.dc.clients[1].ip(Family::V4).to_string();
        !house.flows("publish", |f| f["client"].as_str().is_some_and(|c| c.starts_with(&client))).is_empty()
    })
    .unwrap();
}

#[test]
fn a_second_publisher_replaces_the_first_where_the_viewers_are() {
    if !met(NEEDS) {
        return;
    }
    let house = House::build(2, 0, "second_publisher = \"replace\"\n");
    let first = house.publish(0, "first");
    house.wait_published();
    let origin = house.stream().unwrap()["origin"].clone();
    let player = house.play("p");
    player.wait_frames(FRAMES, SOON).unwrap();
    let _second = house.publish(1, "second");
    wait_until("the first to be reset", SOON, || house.balancer.reason("publisher_replaced").unwrap() >= 1.0).unwrap();
    // Otherwise both replace each other for ever.
    drop(first);
    let client = house.dc.clients[1].ip(Family::V4).to_string();
    wait_until("the second to publish", SOON, || {
        let flows = house.flows("publish", |_| true);
        flows.len() == 1
            && flows[0]["client"].as_str().is_some_and(|c| c.starts_with(&client))
            && flows[0]["origin"] == origin
    })
    .unwrap();
    house.play("late").wait_frames(FRAMES, SOON).unwrap();
}

#[test]
fn a_backup_takes_over_when_the_first_publisher_dies() {
    if !met(NEEDS) {
        return;
    }
    let house = House::build(2, 0, "second_publisher = \"backup\"\n");
    let first = house.publish(0, "first");
    house.wait_published();
    let origin = house.stream().unwrap()["origin"].clone();
    let mut player = house.play("p");
    player.wait_frames(FRAMES, SOON).unwrap();
    let second = house.publish(1, "second");
    wait_until("the second to wait elsewhere", SOON, || house.flows("publish", |f| f["path"] == "kernel").len() == 2)
        .unwrap();
    let backup = house.stream().unwrap()["backup"].clone();
    assert!(backup.is_string() && backup != origin, "{backup}");
    player.wait_frames(player.frames() + FRAMES, SOON).unwrap();
    assert_eq!((first.attempts(), second.attempts()), (1, 1), "both go on");
    drop(first);
    wait_until("the backup to take over", SOON, || {
        house.stream().is_some_and(|s| s["origin"] == backup && s["backup"].is_null())
    })
    .unwrap();
    assert!(house.balancer.reason("backup").unwrap() >= 1.0);
    wait_until("the player to be reset", SOON, || !player.is_running()).unwrap();
    house.play("again").wait_frames(FRAMES, SOON).unwrap();
    assert_eq!(second.attempts(), 1, "the backup's connection is the same all along");
}
