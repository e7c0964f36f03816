//! The lab's HTTP and RTSP servers and clients measured against each other, without a balancer.

use balancer_lab::browser::{Browser, HLS_JS, PLAYER};
use balancer_lab::curl::curl;
use balancer_lab::data_centre::{DataCentre, Family, Layout};
use balancer_lab::ffmpeg::{Clip, Player, Publisher, probe};
use balancer_lab::origin::nginx::{FILE_BYTES, FILE_SEED, PAGE};
use balancer_lab::origin::rtsp::{RTSP_PORT, RtspOrigin, rtsp_sink};
use balancer_lab::origin::ts_listener::TsListener;
use balancer_lab::origin::{NginxOrigin, NodeMedia};
use balancer_lab::requirements::{Need, met};
use balancer_lab::wait::wait_until;
use balancer_lab::web::client::{Closed, WebClient};
use balancer_lab::web::origin::{WebManners, WebOrigin};
use balancer_lab::web::plan::{Check, Shape, WebPlan};
use balancer_lab::web::socket::Dialled;
use balancer_lab::web::viewer::Viewer;
use std::net::SocketAddr;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const HTTP_PORT: u16 = 8080;

struct Lab {
    dc: DataCentre,
    http: SocketAddr,
}

fn lab(family: Family) -> Lab {
    let dc = DataCentre::build(&Layout::default()).unwrap();
    Lab { http: SocketAddr::new(dc.origins[0].ip(family), HTTP_PORT), dc }
}

impl Lab {
    fn publish(&self, name: &str, clip: &Clip, url: &str) -> Publisher {
        Publisher::start(&self.dc.clients[0].netns, self.dc.directory(), name, clip, url).unwrap()
    }

    fn play(&self, name: &str, url: &str) -> Player {
        Player::start(&self.dc.clients[0].netns, self.dc.directory(), name, url).unwrap()
    }

    /// Playlists appear with the first segments.
    fn wait_there(&self, url: &str) {
        let there = || curl(&self.dc.clients[0].netns, url, &[]).is_ok_and(|answer| answer.status() == 200);
        wait_until(url, SOON, there).unwrap();
    }
}

#[test]
fn nginx_cuts_hls_dash_and_fragmented_hls_and_its_neighbour_gives_flv() {
    if !met(&[Need::Network, Need::Media, Need::Flv, Need::Web]) {
        return;
    }
    let lab = lab(Family::V4);
    let (client, http) = (&lab.dc.clients[0].netns, lab.http);
    let clip = Clip::make(lab.dc.directory()).unwrap();
    let origin = NginxOrigin::with_flv(&lab.dc, 0).unwrap();
    let _publisher = lab.publish("s1", &clip, &format!("rtmp://{}/live/s1", http.ip()));
    let _packager = origin.package("s1").unwrap();
    let paths = ["/live/s1.m3u8", "/hls/s1.m3u8", "/live/s1.mpd", "/dash/s1.mpd", "/live/s1/index.m3u8"];
    let mut players = vec![lab.play("flv", &format!("http://{http}/live/s1.flv"))];
    for (i, path) in paths.iter().enumerate() {
        let url = format!("http://{http}{path}");
        lab.wait_there(&url);
        players.push(lab.play(&format!("p{i}"), &url));
    }
    let mut socket = Dialled::open(client, http, "/live/s1.flv").unwrap();
    assert_eq!(&socket.receive_some(5000).unwrap()[..3], b"FLV");
    for player in &players {
        player.wait_frames(25, SOON).unwrap();
    }
    assert_eq!(probe(client, &format!("http://{http}/live/s1.flv")).unwrap().len(), 2);
    assert_eq!(curl(client, &format!("http://{http}/"), &[]).unwrap().text(), PAGE);
    let answer = curl(client, &format!("http://{http}/file.bin"), &[]).unwrap();
    let mut check = Check::new(FILE_SEED);
    check.push(&answer.body);
    assert_eq!((check.received, check.bad_at), (FILE_BYTES as u64, None));
}

#[test]
fn node_media_server_takes_and_gives_flv_by_http() {
    if !met(&[Need::Network, Need::Media, Need::Flv]) {
        return;
    }
    let lab = lab(Family::V6);
    let clip = Clip::make(lab.dc.directory()).unwrap();
    let _origin = NodeMedia::origin(&lab.dc, 0).unwrap();
    let url = format!("http://{}/live/pushed.flv", lab.http);
    let _publisher = lab.publish("pushed", &clip, &url);
    let rtmp = format!("rtmp://[{}]/live/pushed", lab.dc.origins[0].v6);
    for (name, url) in [("flv", &url), ("rtmp", &rtmp)] {
        lab.play(name, url).wait_frames(25, SOON).unwrap();
    }
}

#[test]
fn ffmpeg_listens_for_one_viewer_of_ts() {
    if !met(&[Need::Network, Need::Media]) {
        return;
    }
    let lab = lab(Family::V4);
    let clip = Clip::make(lab.dc.directory()).unwrap();
    let _origin = TsListener::start(&lab.dc.origins[0].netns, lab.dc.directory(), "s1", &clip, lab.http).unwrap();
    lab.play("ts", &format!("http://{}/live/s1.ts", lab.http)).wait_frames(25, SOON).unwrap();
}

#[test]
fn rtsp_plays_and_is_published_over_tcp_and_udp() {
    if !met(&[Need::Network, Need::Media, Need::Rtsp]) {
        return;
    }
    let lab = lab(Family::V4);
    let (client, origin, directory) = (&lab.dc.clients[0].netns, &lab.dc.origins[0], lab.dc.directory());
    let clip = Clip::make(directory).unwrap();
    let _server = RtspOrigin::start(&lab.dc, 0).unwrap();
    for (i, transport) in ["tcp", "udp"].into_iter().enumerate() {
        let options = ["-rtsp_transport", transport];
        let url = format!("rtsp://{}:{RTSP_PORT}/live/s1", origin.v4);
        let player = Player::start_with(client, directory, transport, &url, &options).unwrap();
        player.wait_frames(25, SOON).unwrap();
        let at = SocketAddr::new(origin.v4.into(), RTSP_PORT + 1 + i as u16);
        let sink = rtsp_sink(&origin.netns, directory, &format!("sink-{transport}"), at, "/live/pushed").unwrap();
        let url = format!("rtsp://{at}/live/pushed");
        let _publisher =
            Publisher::start_with(client, directory, &format!("rtsp-{transport}"), &clip, &url, &options).unwrap();
        sink.wait_frames(25, SOON).unwrap();
    }
}

#[test]
fn the_synthetic_origin_is_byte_exact_in_every_shape_and_family() {
    if !met(&[Need::Network, Need::Web]) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let lab = lab(family);
        let client = &lab.dc.clients[0].netns;
        let origin = WebOrigin::start(&lab.dc.origins[0].netns, HTTP_PORT, WebManners::default()).unwrap();
        let shapes = [Shape::UntilClose, Shape::Chunked, Shape::Trailed, Shape::Length];
        let plans = shapes.iter().enumerate().map(|(i, shape)| WebPlan::new(i as u64 + 1, 3_000_001, *shape));
        let viewers: Vec<_> =
            plans.map(|plan| Viewer::start(client, lab.http, plan, "flv", "?token=x").unwrap()).collect();
        for viewer in viewers {
            let (local, seen) = (viewer.local, viewer.join());
            assert!(seen.is_exact(), "{seen:?}");
            assert!(origin.arrived().iter().any(|arrived| arrived.peer == local));
        }
        let plan = WebPlan::new(9, 1_000_000, Shape::Length);
        let url = format!("http://{}{}", lab.http, plan.path("flv"));
        let body = curl(client, &url, &["-0"]).unwrap().body;
        let file = lab.dc.directory().join("upload");
        std::fs::write(&file, &body).unwrap();
        let upload = format!("@{}", file.display());
        let chunked = ["-X", "POST", "-H", "Transfer-Encoding: chunked", "--data-binary", &upload];
        assert_eq!(curl(client, &url, &chunked).unwrap().status(), 200);
        assert_eq!(curl(client, &url, &["--data-binary", &upload]).unwrap().status(), 200);
        for upload in origin.wait_uploads(2, SOON).unwrap() {
            assert!(upload.whole && upload.check.is(&plan), "{upload:?}");
        }
    }
}

#[test]
fn the_synthetic_origin_carries_websockets_both_ways() {
    let lab = lab(Family::V4);
    let client = &lab.dc.clients[0].netns;
    let origin = WebOrigin::start(&lab.dc.origins[0].netns, HTTP_PORT, WebManners::default()).unwrap();
    let plan = WebPlan::new(5, 2_000_001, Shape::UntilClose);
    let mut check = Check::new(plan.seed);
    Dialled::open(client, lab.http, &plan.path("flv")).unwrap().receive(|piece| check.push(piece)).unwrap();
    assert!(check.is(&plan), "{check:?}");
    Dialled::open(client, lab.http, &(plan.path("flv") + "?push")).unwrap().push(&plan).unwrap();
    let uploads = origin.wait_uploads(1, SOON).unwrap();
    assert!(uploads[0].whole && uploads[0].check.is(&plan), "{uploads:?}");
}

#[test]
fn the_synthetic_origin_has_good_manners_and_bad_ones() {
    let lab = lab(Family::V4);
    let (client, host) = (&lab.dc.clients[0].netns, &lab.dc.origins[0].netns);
    let target = WebPlan::new(1, 1000, Shape::Length).path("flv");
    let good = WebOrigin::start(host, HTTP_PORT, WebManners::default()).unwrap();
    let mut keep = WebClient::dial(client, lab.http).unwrap();
    assert_eq!(keep.request("GET", &target, "Range: bytes=10-19\r\n").unwrap().body.len(), 10);
    let whole = keep.request("HEAD", &target, "").unwrap();
    assert_eq!((whole.head.header("content-length"), whole.body.len()), (Some("1000"), 0));
    let tag = format!("If-None-Match: {}\r\n", whole.head.header("etag").unwrap());
    assert_eq!(keep.request("GET", &target, &tag).unwrap().status(), 304);
    assert_eq!(keep.get("/live/nothing.flv").unwrap().status(), 404);
    assert_eq!(keep.request("GET", &target, "Connection: close\r\n").unwrap().status(), 200);
    assert_eq!(keep.rest().unwrap().1, Closed::InOrder);
    assert_eq!((good.accepted(), good.arrived().len()), (1, 5));
    drop(good);

    let bad = WebManners { ignores_close: true, refuses_upgrade: true, ..WebManners::default() };
    let bad = WebOrigin::start(host, HTTP_PORT, bad).unwrap();
    let mut keep = WebClient::dial(client, lab.http).unwrap();
    for _ in 0..2 {
        assert_eq!(keep.request("GET", &target, "Connection: close\r\n").unwrap().status(), 200);
    }
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AA==\r\n";
    assert_eq!(keep.request("GET", &target, upgrade).unwrap().status(), 404);
    assert_eq!(keep.get(&target).unwrap().status(), 200);
    assert_eq!(bad.accepted(), 1);
    drop(bad);

    let silent = WebManners { silent: true, ..WebManners::default() };
    let silent = WebOrigin::start(host, HTTP_PORT, silent).unwrap();
    let mut waits = WebClient::dial(client, lab.http).unwrap().patience(Duration::from_secs(1)).unwrap();
    waits.send(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n")).unwrap();
    assert_eq!(waits.rest().unwrap().1, Closed::StillOpen);
    assert_eq!(silent.arrived().len(), 1);
}

#[test]
fn a_browser_plays_hls() {
    if !met(&[Need::Network, Need::Media, Need::Browser, Need::Web]) {
        return;
    }
    let lab = lab(Family::V4);
    let clip = Clip::make(lab.dc.directory()).unwrap();
    let origin = NginxOrigin::start(&lab.dc, 0).unwrap();
    // No permission for pages from elsewhere is given, so the page is the origin's own.
    let folder = origin.www().join("player");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("player.html"), PLAYER).unwrap();
    std::fs::write(folder.join("hls.js"), HLS_JS).unwrap();
    let _publisher = lab.publish("s1", &clip, &format!("rtmp://{}/live/s1", lab.http.ip()));
    lab.wait_there(&format!("http://{}/live/s1.m3u8", lab.http));
    let page = format!("http://{}/player/player.html", lab.http);
    let host = &lab.dc.clients[0];
    let browser = Browser::open(host, Family::V4, lab.dc.directory(), Some(&page), "/live/s1.m3u8").unwrap();
    let report = browser.wait_played(3.0, 50, SOON).unwrap();
    assert_eq!(report.width, 320, "{report:?}");
}
