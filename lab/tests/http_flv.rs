//! Media over HTTP: FLV and TS, by GET, by POST and by WebSocket. Read once, placed like RTMP, then forwarded by the
//! kernel.

use balancer_lab::balancer::HTTP_PORT;
use balancer_lab::curl::curl;
use balancer_lab::data_centre::Family;
use balancer_lab::ffmpeg::{Clip, Player, Publisher, probe};
use balancer_lab::host;
use balancer_lab::loss;
use balancer_lab::origin::Registrar;
use balancer_lab::origin::ts_listener::TsListener;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::transfer::{Gate, Style};
use balancer_lab::wait::wait_until;
use balancer_lab::web::client::{Closed, WebClient};
use balancer_lab::web::origin::{WebManners, WebOrigin};
use balancer_lab::web::plan::{Check, Shape, WebPlan};
use balancer_lab::web::socket::Dialled;
use balancer_lab::web::viewer::Viewer;
use std::net::SocketAddr;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const WITH_FLV: &[Need] = &[Need::Network, Need::Balancer, Need::Media, Need::Flv];
/// What a decoder has seen when it has seen two seconds.
const FRAMES: u64 = 50;
const EARLY: u64 = 100_000;

/// Origins that hold every stream after its first bytes, until the gate is opened.
fn held() -> (Gate, WebManners) {
    let gate = Gate::at(EARLY);
    let style = Style { gate: gate.clone(), write_bytes: 16 * 1024, ..Style::default() };
    (gate, WebManners { style, ..WebManners::default() })
}

/// The index of the only origin that a request for this target arrived at.
fn only_origin(scene: &Scene, target: &str) -> usize {
    let at: Vec<usize> = (0..scene.web.len()).filter(|i| !scene.web[*i].arrived_for(target).is_empty()).collect();
    assert_eq!(at.len(), 1, "{target} arrived at {at:?}");
    at[0]
}

fn fifty_players(family: Family) {
    if !met(NEEDS) {
        return;
    }
    let (gate, manners) = held();
    let scene = Plot::default().origins(3).family(family).web(manners).build().unwrap();
    let shapes = [Shape::Chunked, Shape::UntilClose, Shape::Trailed];
    let plan = |i: u64| WebPlan::new(i % 10 + 1, 2_000_001, shapes[(i % 10) as usize % 3]);
    let viewers: Vec<_> =
        (0..50).map(|i| scene.view(plan(i), if i % 2 == 0 { "flv" } else { "ts" }).unwrap()).collect();
    wait_until("every player's first bytes", SOON, || viewers.iter().all(|v| v.received() == EARLY)).unwrap();
    for flow in scene.wait_kernel(50).unwrap() {
        assert!(flow["protocol"] == "flv" || flow["protocol"] == "ts", "{flow:#}");
        assert_eq!(flow["role"], "play", "{flow:#}");
    }
    assert_eq!(host::established(&scene.dc.lb, HTTP_PORT).unwrap(), 0, "no socket, nothing to copy from");
    let relayed = scene.relayed_bytes().unwrap();
    gate.set(u64::MAX);
    let locals: Vec<SocketAddr> = viewers.iter().map(|viewer| viewer.local).collect();
    for seen in viewers.into_iter().map(Viewer::join) {
        assert!(seen.is_exact(), "{:#?}", seen);
        assert_eq!(seen.head.header("x-lab-header"), Some("kept as it is"));
    }
    assert_eq!(scene.relayed_bytes().unwrap(), relayed, "nothing was copied meanwhile");
    for i in 0..10 {
        only_origin(&scene, &plan(i).to_string());
    }
    forwarded_headers_name_the_clients(&scene, &locals);
    scene.wait_no_flows().unwrap();
}

fn forwarded_headers_name_the_clients(scene: &Scene, locals: &[SocketAddr]) {
    let arrived: Vec<_> = scene.web.iter().flat_map(WebOrigin::arrived).collect();
    assert_eq!(arrived.len(), locals.len());
    let client = scene.dc.clients[0].ip(scene.family).to_string();
    for arrived in &arrived {
        let head = &arrived.head;
        let text = String::from_utf8_lossy(&head.raw);
        assert_eq!(head.header("x-forwarded-for"), Some(&client[..]), "{text}");
        assert_eq!(head.header("x-real-ip"), Some(&client[..]), "{text}");
        assert_eq!(head.header("x-forwarded-proto"), Some("http"), "{text}");
        assert!(head.header("forwarded").is_some_and(|value| value.contains(&client)), "{text}");
        // What the client said is said: target, host, and the rest of its headers.
        assert!(head.word(1).ends_with("?token=a%20b&x"), "{text}");
        assert_eq!(head.header("host"), Some(&scene.http().to_string()[..]), "{text}");
        assert_eq!(head.header("user-agent"), Some("lab"), "{text}");
        assert!(head.has("connection", "close"), "the origin is to end it: {text}");
    }
}

#[test]
fn fifty_players_are_forwarded_by_the_kernel_and_see_every_byte() {
    fifty_players(Family::V4);
}

#[test]
fn fifty_players_over_ipv6() {
    fifty_players(Family::V6);
}

#[test]
fn players_see_every_byte_on_a_network_that_loses_packets() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(2).web(WebManners::default()).build().unwrap();
    loss::everywhere(&scene.dc, 3).unwrap();
    let shapes = [Shape::Chunked, Shape::UntilClose, Shape::Length];
    let plan = |i: u64| WebPlan::new(i + 1, 400_000, shapes[i as usize % 3]);
    let viewers: Vec<_> = (0..24).map(|i| scene.view(plan(i), "flv").unwrap()).collect();
    for seen in viewers.into_iter().map(Viewer::join) {
        assert!(seen.is_exact(), "{seen:#?}");
    }
}

/// Everything that an origin answers to this request, as it came.
fn raw(netns: &balancer_lab::net::Netns, to: SocketAddr, request: &str) -> (String, Closed) {
    let mut client = WebClient::dial(netns, to).unwrap();
    client.send(request).unwrap();
    let (bytes, closed) = client.rest().unwrap();
    (String::from_utf8_lossy(&bytes).into_owned(), closed)
}

#[test]
fn responses_come_as_the_origin_sent_them() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().web(WebManners::default()).build().unwrap();
    let client = &scene.dc.clients[0].netns;
    let origin = SocketAddr::new(scene.dc.origins[0].ip(scene.family), HTTP_PORT);
    let mut cases = vec![("/live/nobody.flv".to_owned(), "")];
    for shape in [Shape::UntilClose, Shape::Chunked, Shape::Trailed, Shape::Length] {
        cases.push((WebPlan::new(7, 50_000, shape).path("flv"), ""));
    }
    let sized = WebPlan::new(7, 50_000, Shape::Length).path("flv");
    cases.extend(
        ["Range: bytes=1000-1999\r\n", "Range: bytes=-5\r\n", "Range: bytes=60000-\r\n"]
            .map(|range| (sized.clone(), range)),
    );
    for version in ["1.1", "1.0"] {
        for (target, headers) in &cases {
            let request =
                format!("GET {target} HTTP/{version}\r\nHost: {origin}\r\nConnection: close\r\n{headers}\r\n");
            let (direct, through) = (raw(client, origin, &request), raw(client, scene.http(), &request));
            assert_eq!(through, direct, "{request}");
        }
    }
    let whole = curl(client, &scene.http_url(&sized), &["-I"]).unwrap();
    assert_eq!((whole.status(), whole.head.header("content-length")), (200, Some("50000")));
}

/// `shutdown` behind the request, as `nc -N` does: it is no second request.
#[test]
fn a_client_that_closes_its_half_still_gets_the_whole_stream() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().web(WebManners::default()).build().unwrap();
    for (i, shape) in [Shape::Chunked, Shape::UntilClose, Shape::Length].into_iter().enumerate() {
        let plan = WebPlan::new(i as u64, 1_000_000, shape);
        let mut client = scene.dial_http().unwrap();
        client.send(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", plan.path("flv"))).unwrap();
        client.finish().unwrap();
        let mut check = Check::new(plan.seed);
        let head = client.head().unwrap();
        client.body(&head, "GET", |piece| check.push(piece)).unwrap();
        assert!(check.is(&plan), "{plan}: {check:?}");
        assert_eq!(client.rest().unwrap().1, Closed::InOrder, "{plan}");
    }
}

#[test]
fn a_stream_that_is_pushed_by_post_is_forwarded_by_the_kernel() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(2).web(WebManners::default()).build().unwrap();
    let plans: Vec<_> = (1..=4).map(|seed| WebPlan::new(seed, 1_500_000, Shape::Chunked)).collect();
    let mut clients = Vec::new();
    for (i, plan) in plans.iter().enumerate() {
        let mut client = scene.dial_http().unwrap();
        let target = plan.path(["flv", "ts"][i % 2]);
        client.send(format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")).unwrap();
        push_half(&mut client, plan, 0);
        clients.push(client);
    }
    for flow in scene.wait_kernel(4).unwrap() {
        assert_eq!(flow["role"], "publish", "{flow:#}");
    }
    for (client, plan) in clients.iter_mut().zip(&plans) {
        push_half(client, plan, plan.bytes / 2);
        client.send("0\r\n\r\n").unwrap();
        assert_eq!(client.answer("POST").unwrap().status(), 200);
    }
    let uploads: Vec<_> = scene.web.iter().flat_map(WebOrigin::uploads).collect();
    assert_eq!(uploads.len(), 4);
    for plan in &plans {
        assert!(uploads.iter().any(|upload| upload.whole && upload.check.is(plan)), "{plan}: {uploads:#?}");
    }
}

/// One half of the planned bytes, in chunks.
fn push_half(client: &mut WebClient, plan: &WebPlan, from: u64) {
    let mut piece = vec![0u8; 50_000];
    for at in (from..from + plan.bytes / 2).step_by(piece.len()) {
        balancer_lab::pattern::fill(&mut piece, plan.seed, at);
        client.send(format!("{:x}\r\n", piece.len())).unwrap();
        client.send(&piece).unwrap();
        client.send("\r\n").unwrap();
    }
}

#[test]
fn websockets_carry_streams_both_ways_through_the_kernel() {
    if !met(NEEDS) {
        return;
    }
    let (gate, manners) = held();
    let scene = Plot::default().origins(2).web(manners).build().unwrap();
    let client = &scene.dc.clients[0].netns;
    let plans: Vec<_> = (1..=4).map(|seed| WebPlan::new(seed, 1_000_001, Shape::UntilClose)).collect();
    let mut sockets: Vec<_> =
        plans.iter().map(|plan| Dialled::open(client, scene.http(), &plan.path("flv")).unwrap()).collect();
    let mut checks: Vec<_> = plans.iter().map(|plan| Check::new(plan.seed)).collect();
    for (socket, check) in sockets.iter_mut().zip(&mut checks) {
        check.push(&socket.receive_some(50_000).unwrap());
    }
    scene.wait_kernel(4).unwrap();
    gate.set(u64::MAX);
    for ((socket, check), plan) in sockets.iter_mut().zip(&mut checks).zip(&plans) {
        socket.receive(|piece| check.push(piece)).unwrap();
        assert!(check.is(plan), "{check:?}");
    }
    let plan = WebPlan::new(9, 3_000_000, Shape::UntilClose);
    Dialled::open(client, scene.http(), &(plan.path("flv") + "?push")).unwrap().push(&plan).unwrap();
    let origin = &scene.web[only_origin(&scene, "?push")];
    let uploads = origin.wait_uploads(1, SOON).unwrap();
    assert!(uploads[0].whole && uploads[0].check.is(&plan), "{uploads:?}");
}

#[test]
fn an_unknown_stream_is_the_origins_to_refuse() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().web(WebManners::default()).build().unwrap();
    for target in ["/live/nobody.flv", "/live/nobody.ts", "/live/nobody.m3u8", "/live/nobody.mpd", "/nowhere.html"] {
        let answer = scene.dial_http().unwrap().get(target).unwrap();
        assert_eq!((answer.status(), answer.head.header("x-lab")), (404, Some("unknown")), "{target}");
    }
}

#[test]
fn without_an_origin_for_http_it_is_503_and_says_when_to_come_again() {
    if !met(NEEDS) {
        return;
    }
    for origins in [0, 1] {
        // RTMP is all that the one has.
        let scene = Plot::default().origins(origins).build().unwrap();
        for target in ["/live/s1.flv", "/live/s1.ts", "/live/s1.m3u8", "/live/s1.mpd", "/live/s1-3.ts"] {
            let answer = scene.dial_http().unwrap().get(target).unwrap();
            assert_eq!(answer.status(), 503, "{target}: {}", answer.text());
            let seconds = answer.head.header("retry-after").and_then(|value| value.parse::<u32>().ok());
            assert!(seconds.is_some_and(|seconds| seconds > 0), "{target}: {:?}", answer.head);
        }
    }
}

#[test]
fn an_origin_that_refuses_or_stays_silent_is_replaced_in_the_same_request() {
    if !met(NEEDS) {
        return;
    }
    let mut scene =
        Plot::default().origins(2).web(WebManners::default()).config("connect_timeout = \"500ms\"").build().unwrap();
    drop(scene.web.remove(0));
    for seed in 1..=6 {
        let seen = scene.view(WebPlan::new(seed, 200_000, Shape::Chunked), "flv").unwrap().join();
        assert!(seen.is_exact(), "{seen:#?}");
    }
}

/// Of an upgrade user space reads the answer, so nothing of the client's is lost, and every origin is asked.
#[test]
fn an_upgrade_that_every_origin_hangs_up_on_is_answered_with_502() {
    if !met(NEEDS) {
        return;
    }
    let manners = WebManners { hangs_up: true, ..WebManners::default() };
    let scene = Plot::default().origins(2).web(manners).build().unwrap();
    let mut client = scene.dial_http().unwrap();
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                   Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let answer = client.request("GET", "/live/s1.flv", upgrade).unwrap();
    assert_eq!(answer.status(), 502, "{}", answer.text());
    assert_eq!(client.rest().unwrap(), (Vec::new(), Closed::InOrder));
    for (number, origin) in scene.web.iter().enumerate() {
        assert!(!origin.arrived_for("/live/s1.flv").is_empty(), "origin {number} was not asked");
    }
    scene.wait_no_flows().unwrap();
}

#[test]
fn node_media_server_is_played_and_published_by_rtmp_flv_and_websocket() {
    if !met(WITH_FLV) {
        return;
    }
    let scene = Plot::default().origins(2).node_media().build().unwrap();
    let (client, directory) = (&scene.dc.clients[0].netns, scene.dc.directory());
    let clip = Clip::make(directory).unwrap();
    let rtmp = |name: &str| format!("rtmp://{}/live/{name}", scene.vip());
    let flv = |name: &str| scene.http_url(&format!("/live/{name}.flv"));
    let _by_rtmp = Publisher::start(client, directory, "a", &clip, &rtmp("a")).unwrap();
    let _by_post = Publisher::start(client, directory, "b", &clip, &flv("b")).unwrap();
    wait_until("both publishers", SOON, || scene.balancer.flows().is_ok_and(|flows| flows.len() == 2)).unwrap();
    let mut players = Vec::new();
    for name in ["a", "b"] {
        players.push(Player::start(client, directory, &format!("{name}-rtmp"), &rtmp(name)).unwrap());
        players.push(Player::start(client, directory, &format!("{name}-flv"), &flv(name)).unwrap());
    }
    for player in &players {
        player.wait_frames(FRAMES, SOON).unwrap();
    }
    let mut sockets = ["a", "b"].map(|name| Dialled::open(client, scene.http(), &format!("/live/{name}.flv")).unwrap());
    for socket in &mut sockets {
        assert_eq!(&socket.receive_some(20_000).unwrap()[..3], b"FLV");
    }
    let flows = scene.wait_kernel(8).unwrap();
    for name in ["a", "b"] {
        let of_stream = |flow: &&serde_json::Value| flow["stream"] == format!("__defaultVhost__/live/{name}");
        let flows: Vec<_> = flows.iter().filter(of_stream).collect();
        assert_eq!(flows.len(), 4, "one key for all of them: {flows:#?}");
        assert!(flows.iter().all(|flow| flow["origin"] == flows[0]["origin"]), "{flows:#?}");
    }
    let codecs = probe(client, &flv("a")).unwrap();
    assert!(codecs.contains(&"h264".into()) && codecs.contains(&"aac".into()), "{codecs:?}");
}

#[test]
fn an_ffmpeg_that_listens_is_played_as_ts() {
    if !met(WITH_FLV) {
        return;
    }
    let mut scene = Plot::default().build().unwrap();
    let clip = Clip::make(scene.dc.directory()).unwrap();
    let origin = &scene.dc.origins[0];
    let at = SocketAddr::new(origin.v4.into(), HTTP_PORT);
    let _listener = TsListener::start(&origin.netns, scene.dc.directory(), "s1", &clip, at).unwrap();
    let beat = Duration::from_secs(1);
    scene.registrars[0] =
        Some(Registrar::offering(&scene.dc, 0, scene.family, beat, |beat| beat.http(HTTP_PORT)).unwrap());
    let (client, url) = (&scene.dc.clients[0].netns, scene.http_url("/live/s1.ts"));
    let player = Player::start(client, scene.dc.directory(), "ts", &url).unwrap();
    player.wait_frames(FRAMES, SOON).unwrap();
    let flows = scene.wait_kernel(1).unwrap();
    assert_eq!(flows[0]["protocol"], "ts", "{flows:#?}");
}
