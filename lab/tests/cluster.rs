//! What the balancer says and asks for all origins together: their HTTP API made one, and the hook that decides who may
//! publish and play.

use balancer_lab::auth_hook::AuthHook;
use balancer_lab::balancer::{Balancer, HTTP_PORT, ORIGIN_API_PORT, RTMP_PORT, Settings};
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::http::request;
use balancer_lab::origin::NginxOrigin;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::SOON;
use balancer_lab::wait::wait_until;
use serde_json::{Value, json};
use std::net::SocketAddr;

const NEEDS: &[Need] = &[Need::Network, Need::Media, Need::Balancer];
const FRAMES: u64 = 25;

fn register(balancer: &Balancer, dc: &DataCentre, number: usize, api: u16) {
    let ip = dc.origins[number].ip(Family::V4).to_string();
    let endpoints = json!({"rtmp": [RTMP_PORT.to_string()], "api": [api.to_string()]});
    let body = json!({"ip": ip, "endpoints": endpoints, "lease_s": 0}).to_string();
    let put = balancer.request("PUT", &format!("/api/v1/origins/o{number}"), Some(&body)).unwrap();
    assert_eq!(put.status, 200, "{}", put.body);
}

/// nginx serves what an SRS would say.
fn as_srs(nginx: &NginxOrigin, name: &str) {
    let folder = nginx.www().join("api/v1/streams");
    std::fs::create_dir_all(&folder).unwrap();
    let said = json!({"code": 0, "server": name, "streams": [{"id": format!("vid-{name}"), "name": name}]});
    std::fs::write(folder.join("index.html"), said.to_string()).unwrap();
}

#[test]
fn clients_see_the_streams_of_all_origins_and_the_origin_that_fails() {
    if !met(NEEDS) {
        return;
    }
    let dc = DataCentre::build(&Layout { origins: 3, ..Layout::default() }).unwrap();
    let balancer = Balancer::start(&dc, Settings::of(&dc)).unwrap();
    let nginx: Vec<_> = (0..2).map(|number| NginxOrigin::start(&dc, number).unwrap()).collect();
    for (number, nginx) in nginx.iter().enumerate() {
        as_srs(nginx, &format!("srs{number}"));
        register(&balancer, &dc, number, HTTP_PORT);
    }
    // Nobody listens there.
    register(&balancer, &dc, 2, ORIGIN_API_PORT);
    let api = SocketAddr::new(dc.vip(Family::V4), ORIGIN_API_PORT);
    let answer = dc.clients[0].netns.run(|| request("GET", api, "/api/v1/streams", None)).unwrap().unwrap();
    let answer: Value = answer.json().unwrap();
    let found: Vec<_> = answer["streams"].as_array().unwrap().iter().map(|s| (&s["origin"], &s["id"])).collect();
    let (o0, o1) = (json!("o0"), json!("o1"));
    assert_eq!(found, [(&o0, &json!("vid-srs0")), (&o1, &json!("vid-srs1"))], "{answer:#}");
    assert_eq!(answer["origins"][2], json!({"id": "o2", "error": "it refused the connection"}));
}

#[test]
fn who_has_no_token_is_turned_away_before_anything_is_placed() {
    if !met(NEEDS) {
        return;
    }
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let hook = AuthHook::start(&dc, 0).unwrap();
    let mut settings = Settings::of(&dc);
    settings.config = format!("auth_hook = \"http://{}/auth\"\n", hook.address);
    let balancer = Balancer::start(&dc, settings).unwrap();
    let _nginx = NginxOrigin::start(&dc, 0).unwrap();
    register(&balancer, &dc, 0, ORIGIN_API_PORT);
    let clip = Clip::make(dc.directory()).unwrap();
    let vip = SocketAddr::new(dc.vip(Family::V4), RTMP_PORT);
    let netns = &dc.clients[0].netns;
    let publish = |name: &str, query: &str| {
        let url = format!("rtmp://{vip}/live/cam{query}");
        Publisher::start(netns, dc.directory(), name, &clip, &url).unwrap()
    };
    let stranger = publish("stranger", "?token=bad");
    wait_until("the stranger to be turned away", SOON, || stranger.attempts() > 2).unwrap();
    assert!(balancer.list("streams").unwrap().is_empty(), "nothing was placed");
    drop(stranger);
    assert!(balancer.metric("balancer_placements_total", &["reason=\"denied\""]).unwrap() > 1.0);

    let friend = publish("friend", "?token=good");
    let player = Player::start(netns, dc.directory(), "friend", &format!("rtmp://{vip}/live/cam?token=good")).unwrap();
    player.wait_frames(FRAMES, SOON).unwrap();
    assert_eq!(friend.attempts(), 1);
    let asked = hook.asked("on_play");
    assert_eq!(asked[0]["stream_url"], "__defaultVhost__/live/cam");
    assert_eq!((&asked[0]["ip"], &asked[0]["protocol"]), (&json!(dc.clients[0].v4.to_string()), &json!("rtmp")));
    let mut uninvited = Player::start(netns, dc.directory(), "uninvited", &format!("rtmp://{vip}/live/cam")).unwrap();
    wait_until("the uninvited player to give up", SOON, || !uninvited.is_running()).unwrap();
    assert_eq!(uninvited.frames(), 0);
}
