//! PROXY protocol, from load balancers in front and to origins: what is said, and that not a byte of the stream behind it
//! is harmed when the kernel takes it over.

use balancer_lab::balancer::{Balancer, HTTP_PORT, RTMP_PORT, Settings};
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::origin::NginxOrigin;
use balancer_lab::plan::{Plan, Role};
use balancer_lab::proxy_header::Headers;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::synthetic::Manners;
use balancer_lab::wait::{wait_for, wait_until};
use balancer_lab::web::client::{Closed, WebClient};
use balancer_lab::web::origin::WebManners;
use balancer_lab::web::plan::{Shape, WebPlan};
use balancer_lab::web::viewer::Viewer;
use serde_json::json;
use std::net::SocketAddr;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const BYTES: u64 = 3_000_000;

/// Synthetic origins that expect headers, and an operator who has said so.
fn told(family: Family, version: &str, config: &'static str) -> (Scene, Headers) {
    let headers = Headers::default();
    let rtmp = Manners { headers: Some(headers.clone()), ..Manners::default() };
    let web = WebManners { headers: Some(headers.clone()), ..WebManners::default() };
    let scene = Plot::default().family(family).manners(rtmp).web(web).config(config).build().unwrap();
    let origins = scene.balancer.list("origins").unwrap();
    put(&scene.balancer, origins[0]["id"].as_str().unwrap(), &json!({"proxy_protocol": version}));
    (scene, headers)
}

fn put(balancer: &Balancer, id: &str, body: &serde_json::Value) {
    let put = balancer.request("PUT", &format!("/api/v1/origins/{id}"), Some(&body.to_string())).unwrap();
    assert_eq!(put.status, 200, "{}", put.body);
}

fn client_ip(scene: &Scene) -> std::net::IpAddr {
    scene.dc.clients[0].ip(scene.family)
}

fn every_byte_behind_a_header(family: Family, version: &str, number: u8) {
    if !met(NEEDS) {
        return;
    }
    let (scene, headers) = told(family, version, "");
    let shown = scene.balancer.list("origins").unwrap();
    assert_eq!(shown[0]["proxy_protocol"], version, "{shown:#?}");
    let plans = [Plan::new(Role::Publish, 1, BYTES, 1000), Plan::new(Role::Play, 2, 1000, BYTES)];
    scene.run_exact(plans.map(|plan| scene.client(plan)).to_vec(), 2).unwrap();
    let plan = WebPlan::new(3, BYTES, Shape::Chunked);
    let viewer = Viewer::start(&scene.dc.clients[0].netns, scene.http(), plan, "flv", "").unwrap();
    let local = viewer.local;
    let seen = viewer.join();
    assert!(seen.is_exact(), "{seen:#?}");
    let all = headers.all();
    assert_eq!(all.len(), 3, "one for each connection: {all:#?}");
    for said in &all {
        assert_eq!((said.version, said.client.ip()), (number, client_ip(&scene)), "{said:?}");
        assert_eq!(said.dialled.ip(), scene.vip().ip(), "{said:?}");
    }
    let last = all.last().unwrap();
    assert_eq!((last.client, last.dialled), (local, scene.http()));
    assert_eq!(scene.balancer.metric("balancer_splices_total", &["result=\"armed\""]).unwrap(), 3.0);
    assert_eq!(scene.relayed_bytes().unwrap(), 0.0, "all of it went through the kernel");
}

#[test]
fn every_byte_behind_version_1_over_ipv4() {
    every_byte_behind_a_header(Family::V4, "v1", 1);
}

#[test]
fn every_byte_behind_version_1_over_ipv6() {
    every_byte_behind_a_header(Family::V6, "v1", 1);
}

#[test]
fn every_byte_behind_version_2_over_ipv4() {
    every_byte_behind_a_header(Family::V4, "v2", 2);
}

#[test]
fn every_byte_behind_version_2_over_ipv6() {
    every_byte_behind_a_header(Family::V6, "v2", 2);
}

#[test]
fn a_proxied_request_tells_its_own_client_each_time() {
    if !met(NEEDS) {
        return;
    }
    let (scene, headers) = told(Family::V4, "v1", "");
    scene.web[0].put("/page.html", "text/html", "a page");
    for count in 1..=2 {
        let mut client = WebClient::dial(&scene.dc.clients[0].netns, scene.http()).unwrap();
        let local = client.stream().local_addr().unwrap();
        client.send(format!("GET /page.html HTTP/1.1\r\nHost: {}\r\n\r\n", scene.http())).unwrap();
        assert_eq!(client.answer("GET").unwrap().text(), "a page");
        let all = headers.all();
        assert_eq!((all.len(), all.last().unwrap().client), (count, local));
    }
}

const FRONT: &str = "proxy_protocol_from = [\"10.71.0.0/16\", \"fd71::/16\"]";

#[test]
fn who_stands_behind_a_load_balancer_is_named_everywhere() {
    if !met(NEEDS) {
        return;
    }
    let (scene, headers) = told(Family::V4, "v2", FRONT);
    let announced: SocketAddr = "203.0.113.7:40000".parse().unwrap();
    let v1 = b"PROXY TCP4 203.0.113.7 198.51.100.1 40000 443\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x11".to_vec();
    v2.extend([203, 0, 113, 7, 198, 51, 100, 1, 0x9c, 0x40, 1, 187]);
    // An extension that nobody needs.
    v2.extend([4, 0, 2, 1, 2]);
    for (seed, preamble) in [v1.clone(), v2].into_iter().enumerate() {
        let mut client = scene.client(Plan::new(Role::Publish, seed as u64, BYTES, 1000));
        client.preamble = preamble;
        scene.run_exact(vec![client], 1).unwrap();
    }
    for said in headers.all() {
        assert_eq!((said.client, said.dialled), (announced, "198.51.100.1:443".parse().unwrap()));
    }
    // A header in two pieces, and a claim that is not believed.
    let mut client = WebClient::dial(&scene.dc.clients[0].netns, scene.http()).unwrap();
    let plan = WebPlan::new(9, 100_000_000, Shape::Chunked);
    client.send(&v1[..20]).unwrap();
    client.send(&v1[20..]).unwrap();
    let path = plan.path("flv");
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.99\r\n\r\n")).unwrap();
    assert_eq!(client.head().unwrap().status(), 200);
    let arrived = scene.web[0].arrived();
    assert_eq!(arrived[0].head.header("x-forwarded-for"), Some("203.0.113.7"), "{arrived:#?}");
    let flow = scene.wait_kernel(1).unwrap().remove(0);
    assert_eq!(flow["announced"], announced.to_string(), "{flow:#}");
    assert_eq!(flow["client"], client.stream().local_addr().unwrap().to_string(), "{flow:#}");
}

#[test]
fn a_header_is_optional_where_it_may_come_and_refused_elsewhere() {
    if !met(NEEDS) {
        return;
    }
    let (scene, headers) = told(Family::V4, "v2", FRONT);
    scene.run_exact(vec![scene.client(Plan::new(Role::Publish, 1, 1000, 1000))], 1).unwrap();
    assert_eq!(headers.all()[0].client.ip(), client_ip(&scene));
    for (count, bad) in [&b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n"[..], b"PROXY TCP9 \r\n", b"\r\n\r\n\0\r\nQUIT\n\x31"]
        .into_iter()
        .enumerate()
    {
        let mut client = WebClient::dial(&scene.dc.clients[0].netns, scene.http()).unwrap();
        client.send(bad).unwrap();
        assert_ne!(client.rest().unwrap().1, Closed::StillOpen, "{bad:?}");
        assert_eq!(scene.balancer.reason("proxy_header").unwrap(), count as f64 + 1.0);
    }
    // Whoever may not speak for others sends an HTTP request that is none.
    let stranger = Plot::default().web(WebManners::default()).build().unwrap();
    let mut client = WebClient::dial(&stranger.dc.clients[0].netns, stranger.http()).unwrap();
    client.send("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.answer("GET").unwrap().status(), 400);
    assert_eq!(stranger.balancer.reason("proxy_header").unwrap(), 0.0);
}

#[test]
fn nginx_knows_the_clients_of_its_rtmp_and_http() {
    if !met(&[NEEDS, &[Need::Media]].concat()) {
        return;
    }
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let balancer = Balancer::start(&dc, Settings::of(&dc)).unwrap();
    let nginx = NginxOrigin::told_clients(&dc, 0).unwrap();
    let ip = dc.origins[0].ip(Family::V4).to_string();
    let endpoints = json!({"rtmp": [RTMP_PORT.to_string()], "http": [HTTP_PORT.to_string()]});
    put(&balancer, "nginx", &json!({"ip": ip, "endpoints": endpoints, "proxy_protocol": "v1", "lease_s": 0}));
    let vip = |port| SocketAddr::new(dc.vip(Family::V4), port);
    let (netns, clip) = (&dc.clients[0].netns, Clip::make(dc.directory()).unwrap());
    let url = format!("rtmp://{}/live/cam", vip(RTMP_PORT));
    let _publisher = Publisher::start(netns, dc.directory(), "cam", &clip, &url).unwrap();
    let player = Player::start(netns, dc.directory(), "rtmp", &url).unwrap();
    player.wait_frames(50, SOON).unwrap();
    let client = dc.clients[0].ip(Family::V4).to_string();
    let stat = nginx.stat().unwrap();
    assert_eq!(stat.matches(&format!("<address>{client}</address>")).count(), 2, "{stat}");
    wait_until("both in the kernel", SOON, || {
        let flows = balancer.flows().unwrap_or_default();
        flows.len() == 2 && flows.iter().all(|flow| flow["path"] == "kernel")
    })
    .unwrap();
    let playlist = format!("http://{}/hls/cam.m3u8", vip(HTTP_PORT));
    let line = format!("{client} \"GET /hls/cam.m3u8");
    wait_for("the client in nginx's log", SOON, || {
        balancer_lab::curl::curl(netns, &playlist, &[]).ok().filter(|answer| answer.status() == 200)?;
        nginx.access_log().contains(&line).then_some(())
    })
    .unwrap();
}
