//! What is proxied request by request: playlists and segments of HLS and DASH, static files, everything else that is
//! HTTP. Each request goes to its stream's origin, whatever connection it comes on.

use balancer_lab::curl::curl;
use balancer_lab::data_centre::Family;
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::host::resident_bytes;
use balancer_lab::net::Netns;
use balancer_lab::origin::nginx::{FILE_BYTES, FILE_SEED, PAGE};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait::{wait_for, wait_until};
use balancer_lab::web::client::Answer;
use balancer_lab::web::origin::{WebFile, WebManners};
use balancer_lab::web::plan::{Check, Shape, WebPlan};
use balancer_lab::web::socket::Dialled;
use serde_json::Value;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer, Need::Web];
const REAL: &[Need] = &[Need::Network, Need::Balancer, Need::Web, Need::Media];
const REAL_WITH_FLV: &[Need] = &[Need::Network, Need::Balancer, Need::Web, Need::Media, Need::Flv];
const FRAMES: u64 = 50;

fn client(scene: &Scene) -> &Netns {
    &scene.dc.clients[0].netns
}

fn get(scene: &Scene, path: &str) -> Answer {
    scene.dial_http().unwrap().get(path).unwrap()
}

fn wait_there(scene: &Scene, path: &str) -> Answer {
    let there = || {
        let answer = scene.dial_http().ok()?.get(path).ok()?;
        (answer.status() == 200).then_some(answer)
    };
    wait_for(path, SOON, there).unwrap()
}

fn publish(scene: &Scene, name: &str) -> Publisher {
    let clip = Clip::make(scene.dc.directory()).unwrap();
    let url = format!("rtmp://{}/live/{name}", scene.vip());
    let publisher = Publisher::start(client(scene), scene.dc.directory(), name, &clip, &url).unwrap();
    // Who comes before the publisher may be with another origin.
    wait_until("the publisher's flow", SOON, || scene.balancer.flows().is_ok_and(|flows| !flows.is_empty())).unwrap();
    publisher
}

fn play(scene: &Scene, name: &str, url: &str) -> Player {
    Player::start(client(scene), scene.dc.directory(), name, url).unwrap()
}

fn seen_by_every_protocol_at_once(family: Family) {
    if !met(REAL_WITH_FLV) {
        return;
    }
    let scene = Plot::default().origins(3).family(family).nginx_with_flv().build().unwrap();
    let _publisher = publish(&scene, "s1");
    // Every one of them is refused by the two origins that do not have the stream.
    let paths = ["/live/s1.m3u8", "/hls/s1.m3u8", "/live/s1.mpd", "/dash/s1.mpd"];
    let mut players = vec![play(&scene, "rtmp", &format!("rtmp://{}/live/s1", scene.vip()))];
    players.push(play(&scene, "flv", &scene.http_url("/live/s1.flv")));
    for path in paths {
        wait_there(&scene, path);
        players.push(play(&scene, &path.replace('/', "-"), &scene.http_url(path)));
    }
    let mut socket = Dialled::open(client(&scene), scene.http(), "/live/s1.flv").unwrap();
    assert_eq!(&socket.receive_some(20_000).unwrap()[..3], b"FLV");
    for player in &players {
        player.wait_frames(FRAMES, SOON).unwrap();
    }
    let streams = scene.balancer.list("streams").unwrap();
    assert_eq!(streams.len(), 1, "one key in every protocol: {streams:#?}");
    assert_eq!(streams[0]["key"], "__defaultVhost__/live/s1");
    let flows = scene.balancer.flows().unwrap();
    assert!(flows.iter().all(|flow| flow["stream"] == streams[0]["key"]), "{flows:#?}");
    assert!(flows.iter().all(|flow| flow["origin"] == streams[0]["origin"]), "{flows:#?}");
    for (protocol, role, path, least) in [
        ("rtmp", "publish", "kernel", 1),
        ("rtmp", "play", "kernel", 1),
        ("flv", "play", "kernel", 2),
        // Players of these connect and leave as they like.
        ("hls", "play", "relay", 1),
        ("http", "play", "relay", 1),
    ] {
        let is = |flow: &&Value| flow["protocol"] == protocol && flow["role"] == role && flow["path"] == path;
        wait_until(&format!("{least} of {protocol} {role} {path}"), SOON, || {
            scene.balancer.flows().is_ok_and(|flows| flows.iter().filter(is).count() >= least)
        })
        .unwrap();
    }
}

#[test]
fn one_stream_is_seen_by_rtmp_flv_websocket_hls_and_dash_at_once() {
    seen_by_every_protocol_at_once(Family::V4);
}

#[test]
fn one_stream_is_seen_by_every_protocol_over_ipv6() {
    seen_by_every_protocol_at_once(Family::V6);
}

#[test]
fn fragmented_mp4_finds_the_origin_that_cuts_it() {
    if !met(REAL) {
        return;
    }
    let scene = Plot::default().origins(3).nginx().build().unwrap();
    let _publisher = publish(&scene, "s1");
    let home = |scene: &Scene| {
        let streams = scene.balancer.list("streams").ok()?;
        streams.iter().find_map(|s| s["origin"].as_str()?.strip_prefix("origin")?.parse::<usize>().ok())
    };
    let home = wait_for("the stream's origin", SOON, || home(&scene)).unwrap();
    wait_until("the stream at its origin", SOON, || {
        scene.nginx[home].stat().is_ok_and(|stat| stat.contains("<name>s1</name>"))
    })
    .unwrap();
    let _packager = scene.nginx[home].package("s1").unwrap();
    let playlist = wait_there(&scene, "/live/s1/index.m3u8").text();
    assert!(playlist.contains("#EXT-X-MAP"), "{playlist}");
    play(&scene, "fmp4", &scene.http_url("/live/s1/index.m3u8")).wait_frames(FRAMES, SOON).unwrap();
}

#[test]
fn files_come_whole_in_part_or_not_at_all_when_nothing_changed() {
    if !met(REAL) {
        return;
    }
    let scene = Plot::default().nginx().build().unwrap();
    let mut keep = scene.dial_http().unwrap();
    assert_eq!(keep.get("/").unwrap().text(), PAGE);
    let whole = keep.get("/file.bin").unwrap();
    let mut check = Check::new(FILE_SEED);
    check.push(&whole.body);
    assert_eq!((check.received, check.bad_at), (FILE_BYTES as u64, None));
    let part = keep.request("GET", "/file.bin", "Range: bytes=1000-1999\r\n").unwrap();
    assert_eq!((part.status(), &part.body[..]), (206, &whole.body[1000..2000]));
    assert_eq!(part.head.header("content-range"), Some(&format!("bytes 1000-1999/{FILE_BYTES}")[..]));
    let end = keep.request("GET", "/file.bin", "Range: bytes=-7\r\n").unwrap();
    assert_eq!((end.status(), &end.body[..]), (206, &whole.body[FILE_BYTES - 7..]));
    assert_eq!(keep.request("GET", "/file.bin", &format!("Range: bytes={FILE_BYTES}-\r\n")).unwrap().status(), 416);
    for (condition, header) in [("If-None-Match", "etag"), ("If-Modified-Since", "last-modified")] {
        let value = whole.head.header(header).unwrap();
        let same = keep.request("GET", "/file.bin", &format!("{condition}: {value}\r\n")).unwrap();
        assert_eq!((same.status(), same.body.len()), (304, 0), "{condition}");
    }
    let head = keep.request("HEAD", "/file.bin", "").unwrap();
    assert_eq!((head.status(), head.head.header("content-length")), (200, Some(&FILE_BYTES.to_string()[..])));
    assert_eq!(keep.get("/nothing").unwrap().status(), 404);
    let old = curl(client(&scene), &scene.http_url("/"), &["-0"]).unwrap();
    assert_eq!((old.status(), old.text().as_str()), (200, PAGE));
}

#[test]
fn requests_of_one_connection_go_each_to_its_own_origin() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().origins(3).web(WebManners::default()).build().unwrap();
    let plans: Vec<_> = (1..=3).map(|seed| WebPlan::new(seed, 20_000, Shape::Chunked)).collect();
    // Which origin has which stream is for the balancer to say; each serves its own playlists alone.
    let mut homes = Vec::new();
    for plan in &plans {
        assert_eq!(get(&scene, &plan.path("m3u8")).status(), 200, "a plan is served under any extension");
        let home = (0..3).find(|i| !scene.web[*i].arrived_for(&plan.to_string()).is_empty()).unwrap();
        scene.web[home].put(&plan.path("m3u8"), "application/vnd.apple.mpegurl", format!("#EXTM3U\n# {plan}\n"));
        homes.push(home);
    }
    let mut keep = scene.dial_http().unwrap();
    for round in 0..4 {
        for plan in &plans {
            let answer = keep.get(&format!("{}?round={round}", plan.path("m3u8"))).unwrap();
            assert!(answer.text().contains(&plan.to_string()), "{}", answer.text());
        }
    }
    // Of a connection that began with playlists the last request may still be one for media.
    let answer = keep.get(&format!("{}?last", plans[1].path("flv"))).unwrap();
    let mut check = Check::new(plans[1].seed);
    check.push(&answer.body);
    assert!(check.is(&plans[1]), "{check:?}");
    for (plan, home) in plans.iter().zip(&homes) {
        for (i, origin) in scene.web.iter().enumerate() {
            let arrived = origin.arrived_for(&plan.to_string());
            assert!(i == *home || arrived.is_empty(), "{plan} at {i}: {arrived:#?}");
        }
    }
    // Pooled towards the origins: far fewer connections than requests.
    let (accepted, arrived) = scene.web.iter().fold((0, 0), |sum, o| (sum.0 + o.accepted(), sum.1 + o.arrived().len()));
    assert!(accepted < arrived as u64, "{accepted} connections for {arrived} requests");
}

#[test]
fn what_concerns_one_hop_stays_there_and_the_rest_passes() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().web(WebManners::default()).build().unwrap();
    let headers = "Cache-Control: no-cache\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nX-Origin: itself\r\n";
    let file = WebFile { content_type: "application/json", body: b"{}".to_vec(), headers: headers.into() };
    scene.web[0].put_with("/some/thing.json", file);
    let mut keep = scene.dial_http().unwrap().host("live.example");
    let request = "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Authorization: x\r\nTE: trailers\r\n\
                   X-Forwarded-For: 203.0.113.9\r\nX-End: 2\r\nCookie: a=b\r\n";
    let answer = keep.request("GET", "/some/thing.json?q=1", request).unwrap();
    assert_eq!((answer.status(), answer.text().as_str()), (200, "{}"));
    assert_eq!(answer.head.header("x-origin"), Some("itself"));
    assert_eq!(answer.head.header("keep-alive"), None);
    let arrived = scene.web[0].arrived_for("/some/thing.json?q=1");
    let head = &arrived[0].head;
    let text = String::from_utf8_lossy(&head.raw);
    for gone in ["x-hop", "keep-alive", "proxy-authorization"] {
        assert_eq!(head.header(gone), None, "{text}");
    }
    assert_eq!((head.header("x-end"), head.header("cookie")), (Some("2"), Some("a=b")), "{text}");
    assert_eq!(head.header("host"), Some("live.example"), "{text}");
    let from = scene.dc.clients[0].ip(scene.family).to_string();
    assert!(head.header("x-forwarded-for").is_some_and(|list| list.ends_with(&from)), "{text}");
    assert_eq!(head.header("x-real-ip"), Some(&from[..]), "{text}");
}

#[test]
fn trailers_and_uploads_pass_and_a_slow_reader_is_waited_for() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().web(WebManners::default()).build().unwrap();
    let trailed = WebPlan::new(1, 100_000, Shape::Trailed);
    let answer = scene.dial_http().unwrap().request("GET", &trailed.path("m4s"), "TE: trailers\r\n").unwrap();
    let mut check = Check::new(trailed.seed);
    check.push(&answer.body);
    assert!(check.is(&trailed), "{check:?}");
    let trailers: Vec<_> = answer.trailers.iter().map(|(n, v)| (n.to_ascii_lowercase(), v.as_str())).collect();
    assert_eq!(trailers, [("x-lab-bytes".to_owned(), "100000")]);

    let upload = WebPlan::new(3, 3_000_000, Shape::Length);
    let mut body = vec![0u8; upload.bytes as usize];
    balancer_lab::pattern::fill(&mut body, upload.seed, 0);
    let file = scene.dc.directory().join("upload");
    std::fs::write(&file, &body).unwrap();
    let data = format!("@{}", file.display());
    let url = scene.http_url(&upload.path("bin"));
    for headers in [vec![], vec!["-H", "Transfer-Encoding: chunked"]] {
        let arguments = [&["-X", "PUT", "--data-binary", &data][..], &headers].concat();
        assert_eq!(curl(client(&scene), &url, &arguments).unwrap().status(), 200);
    }
    for upload_seen in scene.web[0].wait_uploads(2, SOON).unwrap() {
        assert!(upload_seen.whole && upload_seen.check.is(&upload), "{upload_seen:?}");
    }

    // More than any buffer on the way: were it read ahead, it would be in the balancer's memory.
    let large = WebPlan::new(5, 400_000_000, Shape::Chunked);
    let mut slow = scene.dial_http().unwrap();
    let before = resident_bytes(scene.balancer.pid()).unwrap();
    slow.send(format!("GET {} HTTP/1.1\r\nHost: a\r\n\r\n", large.path("mp4"))).unwrap();
    let head = slow.head().unwrap();
    assert_eq!(head.status(), 200);
    std::thread::sleep(Duration::from_secs(2));
    let grown = resident_bytes(scene.balancer.pid()).unwrap().saturating_sub(before);
    assert!(grown < 32 << 20, "{grown} bytes more");
}

#[test]
fn pages_from_elsewhere_may_ask_where_the_origin_says_nothing() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().web(WebManners::default()).build().unwrap();
    scene.web[0].put("/live/a.m3u8", "application/vnd.apple.mpegurl", "#EXTM3U\n");
    let own = "Access-Control-Allow-Origin: https://player.example\r\n";
    let file = WebFile { content_type: "text/plain", body: b"b".to_vec(), headers: own.into() };
    scene.web[0].put_with("/live/b.m3u8", file);
    let mut keep = scene.dial_http().unwrap();
    let allowed = |answer: &Answer| answer.head.header("access-control-allow-origin").map(str::to_owned);
    let from = "Origin: https://elsewhere.example\r\n";
    assert_eq!(allowed(&keep.request("GET", "/live/a.m3u8", from).unwrap()).as_deref(), Some("*"));
    let said = keep.request("GET", "/live/b.m3u8", from).unwrap();
    assert_eq!(said.head.all("access-control-allow-origin").collect::<Vec<_>>(), ["https://player.example"]);
    let preflight = format!("{from}Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\n");
    let answer = keep.request("OPTIONS", "/live/a.m3u8", &preflight).unwrap();
    assert!([200, 204].contains(&answer.status()), "{:?}", answer.head);
    assert_eq!(allowed(&answer).as_deref(), Some("*"));
}

/// A playlist whose next part is to come, as in LL-HLS; SRS's session that stands in the query.
#[test]
fn blocking_reloads_and_sessions_in_the_query_pass() {
    if !met(NEEDS) {
        return;
    }
    let scene = Plot::default().web(WebManners::default()).build().unwrap();
    let kind = "application/vnd.apple.mpegurl";
    let master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/live/a.m3u8?hls_ctx=q1w2e3\n";
    scene.web[0].put("/live/a.m3u8", kind, master);
    scene.web[0].put("/live/a.m3u8?hls_ctx=q1w2e3", kind, "#EXTM3U\n#EXTINF:1,\na-7.ts?hls_ctx=q1w2e3\n");
    scene.web[0].put("/live/a-7.ts?hls_ctx=q1w2e3", "video/mp2t", "segment");
    let mut keep = scene.dial_http().unwrap();
    let playlist = keep.get("/live/a.m3u8").unwrap().text();
    let next = playlist.lines().last().unwrap().to_owned();
    assert!(next.contains("hls_ctx=q1w2e3"), "{playlist}");
    let playlist = keep.get(&next).unwrap().text();
    let segment = playlist.lines().last().unwrap().to_owned();
    assert_eq!(keep.get(&format!("/live/{segment}")).unwrap().text(), "segment");

    let target = "/live/a.m3u8?_HLS_msn=8&_HLS_part=0";
    keep.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    wait_until("the request at the origin", SOON, || !scene.web[0].arrived_for("_HLS_msn=8").is_empty()).unwrap();
    scene.web[0].put(target, kind, "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:8\n");
    assert!(keep.answer("GET").unwrap().text().contains("SEQUENCE:8"));
}

#[test]
fn a_stream_that_moved_to_another_origin_is_there_on_the_next_reload() {
    if !met(REAL) {
        return;
    }
    let mut scene = Plot::default().origins(2).nginx().build().unwrap();
    let _publisher = publish(&scene, "s1");
    let mut keep = scene.dial_http().unwrap();
    for path in ["/live/s1.m3u8", "/live/s1.mpd"] {
        wait_there(&scene, path);
        assert_eq!(keep.get(path).unwrap().status(), 200);
    }
    let first = scene.balancer.list("streams").unwrap()[0]["origin"].as_str().unwrap().to_owned();
    let lost: usize = first.strip_prefix("origin").unwrap().parse().unwrap();
    scene.registrars[lost] = None;
    scene.nginx[lost].kill();
    wait_until("the stream elsewhere", SOON, || {
        let streams = scene.balancer.list("streams").unwrap_or_default();
        streams.iter().any(|stream| stream["origin"] != first[..] && !stream["publisher"].is_null())
    })
    .unwrap();
    for path in ["/live/s1.m3u8", "/live/s1.mpd"] {
        wait_there(&scene, path);
        // A player goes on reloading over the connection it has.
        wait_until("the old connection's reload", SOON, || match keep.get(path) {
            Ok(answer) => answer.status() == 200,
            Err(_) => {
                keep = scene.dial_http().unwrap();
                false
            }
        })
        .unwrap();
    }
    play(&scene, "moved", &scene.http_url("/live/s1.m3u8")).wait_frames(FRAMES, SOON).unwrap();
}

#[test]
fn a_folder_of_players_is_served_and_nothing_beside_it() {
    if !met(NEEDS) {
        return;
    }
    let folder = std::env::temp_dir().join(format!("lab-{}-players", std::process::id()));
    std::fs::create_dir_all(folder.join("www/sub")).unwrap();
    for (name, text) in [("www/index.html", "<!doctype html>home"), ("www/sub/p.js", "js"), ("secret.txt", "secret")] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let environment = ("PROXY_STATIC_FILES".to_owned(), folder.join("www").display().to_string());
    let plot = Plot::default().web(WebManners::default());
    let scene = plot.settings(move |settings| settings.environment.push(environment.clone())).build().unwrap();
    let home = get(&scene, "/");
    assert_eq!(home.text(), "<!doctype html>home", "{:?}", home.head);
    assert!(home.head.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{:?}", home.head);
    let script = get(&scene, "/sub/p.js");
    assert_eq!(script.text(), "js");
    assert!(script.head.header("content-type").is_some_and(|kind| kind.contains("javascript")), "{:?}", script.head);
    for target in [
        "/../secret.txt",
        "/sub/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/sub/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/..%5csecret.txt",
        "//../secret.txt",
    ] {
        let answer = get(&scene, target);
        assert!([400, 403, 404].contains(&answer.status()), "{target}: {:?}", answer.head);
        assert!(!answer.text().contains("secret"), "{target}: {}", answer.text());
    }
    // A path that names a stream is its origin's in any case.
    let plan = WebPlan::new(1, 100, Shape::Length);
    assert_eq!(get(&scene, &plan.path("m3u8")).body.len(), 100);
    std::fs::remove_dir_all(&folder).unwrap();
}
