//! How origins are looked after: probes find what no client has tried, newcomers begin with a small share, and who is
//! full says so in the words of each protocol.

use balancer_lab::balancer::{HTTP_PORT, ORIGIN_API_PORT};
use balancer_lab::curl::curl;
use balancer_lab::origin::Registrar;
use balancer_lab::origin::rtsp::RTSP_PORT;
use balancer_lab::origin::srt::SRT_PORT;
use balancer_lab::plan::{Plan, Role};
use balancer_lab::requirements::{Need, met};
use balancer_lab::rtc::RTC_PORT;
use balancer_lab::rtsp_lite::client::RtspClient;
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::srt_lite::{Answer, Caller, SrtManners};
use balancer_lab::transfer::End;
use balancer_lab::wait::wait_until;
use balancer_lab::web::origin::WebManners;
use serde_json::Value;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
/// As libsrt numbers it: "the server is too busy".
const SRT_OVERLOAD: u32 = 1402;
/// Longer than the test takes to place a few streams on a busy machine.
const SLOW_START: Duration = Duration::from_secs(30);

/// Probes several times a second, patient enough for a busy machine.
fn probing(plot: Plot) -> Plot {
    plot.settings(|settings| {
        settings.config =
            "probe = \"protocol\"\nprobe_interval = \"300ms\"\nprobe_timeout = \"1s\"\nslow_start = \"0s\"\n".into();
    })
}

/// The origin of that host, as the API shows it.
fn origin(scene: &Scene, number: usize) -> Value {
    let ip = scene.dc.origins[number].ip(scene.family).to_string();
    let all = scene.balancer.list("origins").unwrap();
    all.into_iter().find(|origin| origin["ip"] == ip.as_str()).unwrap_or_default()
}

fn wait_state(scene: &Scene, number: usize, state: &str) {
    wait_until(&format!("origin {number} to be {state}"), SOON, || origin(scene, number)["state"] == state)
        .unwrap_or_else(|error| panic!("{error:#}: {:#}", origin(scene, number)));
}

fn wait_probed(scene: &Scene, number: usize, services: &[&str]) {
    wait_until("answers to the probes", SOON, || {
        let probes = &origin(scene, number)["probes"];
        services.iter().all(|service| probes[service] == "up")
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:#}", origin(scene, number)));
}

/// A publisher that has heard the origin's consent; it lives as long as its connection.
fn publish(scene: &Scene, seed: u64) -> TcpStream {
    let client = scene.client(Plan::new(Role::Publish, seed, 1000, 1000));
    let opened = scene.dc.clients[0].netns.run(|| client.open()).unwrap().unwrap();
    opened.wait_status().unwrap().0
}

/// How many streams are on an origin.
fn streams(scene: &Scene, number: usize) -> u64 {
    origin(scene, number)["streams"].as_u64().unwrap()
}

#[test]
fn a_process_that_hangs_is_found_by_probes_alone_and_gets_streams_again() {
    if !met(NEEDS) {
        return;
    }
    let scene = probing(Plot::default().origins(2).nginx()).build().unwrap();
    (0..2).for_each(|number| wait_probed(&scene, number, &["rtmp", "http"]));
    // Its kernel goes on to accept connections for it.
    scene.nginx[0].signal(libc::SIGSTOP).unwrap();
    wait_state(&scene, 0, "down");
    let down = origin(&scene, 0);
    assert!(down["why"].as_str().unwrap().ends_with("probe: no answer"), "{down:#}");
    assert!(down["retry_s"].as_f64().is_some(), "{down:#}");
    assert_eq!(scene.balancer.metric("balancer_placements_total", &[]).unwrap(), 0.0, "no client was needed");
    let failed = |service: &str| {
        let labels = [format!("service=\"{service}\""), "result=\"no answer\"".into()];
        scene.balancer.metric("balancer_probes_total", &[&labels[0], &labels[1]]).unwrap()
    };
    assert!(failed("rtmp") + failed("http") >= 3.0);
    let _first: Vec<_> = (0..4).map(|seed| publish(&scene, seed)).collect();
    assert_eq!((streams(&scene, 0), streams(&scene, 1)), (0, 4));
    scene.nginx[0].signal(libc::SIGCONT).unwrap();
    wait_state(&scene, 0, "healthy");
    let _second: Vec<_> = (4..8).map(|seed| publish(&scene, seed)).collect();
    assert!(streams(&scene, 0) >= 3, "the one with nothing is the least loaded: {:#}", origin(&scene, 0));
    assert_eq!(streams(&scene, 0) + streams(&scene, 1), 8, "nobody was moved");
}

#[test]
fn a_listener_that_is_not_there_is_set_aside_alone() {
    if !met(NEEDS) {
        return;
    }
    let mut scene = probing(Plot::default()).build().unwrap();
    scene.registrars[0] = Some(
        Registrar::offering(&scene.dc, 0, scene.family, Duration::from_secs(1), |beat| {
            beat.http(HTTP_PORT).srt(SRT_PORT)
        })
        .unwrap(),
    );
    wait_probed(&scene, 0, &["rtmp"]);
    wait_until("what is not there to be set aside", SOON, || {
        origin(&scene, 0)["refusing"] == serde_json::json!(["http", "srt"])
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:#}", origin(&scene, 0)));
    assert_eq!(origin(&scene, 0)["state"], "healthy");
    scene.run_exact(vec![scene.client(Plan::new(Role::Publish, 1, 1000, 1000))], 1).unwrap();
}

#[test]
fn a_newcomer_begins_with_a_small_share() {
    if !met(NEEDS) {
        return;
    }
    let plot = Plot::default().origins(2).settings(|settings| {
        settings.config =
            format!("probe = \"off\"\npolicy = \"round-robin\"\nslow_start = \"{}s\"\n", SLOW_START.as_secs());
    });
    let mut scene = plot.build().unwrap();
    let newcomer = origin(&scene, 1)["id"].as_str().unwrap().to_owned();
    scene.registrars[1] = None;
    let path = format!("/api/v1/origins/{newcomer}");
    assert_eq!(scene.balancer.request("DELETE", &path, None).unwrap().status, 200);
    std::thread::sleep(SLOW_START);
    scene.register(1).unwrap();
    let accepted = |scene: &Scene| (scene.origins[0].accepted(), scene.origins[1].accepted());
    let place = |scene: &Scene, seeds: std::ops::Range<u64>| {
        let before = accepted(scene);
        let clients = seeds.map(|seed| scene.client(Plan::new(Role::Publish, seed, 1000, 1000)));
        scene.run_exact(clients.collect(), 1).unwrap();
        let after = accepted(scene);
        (after.0 - before.0, after.1 - before.1)
    };
    let (old, new) = place(&scene, 0..16);
    // A tenth, and more if the machine took its time; never a half.
    assert!((1..=5).contains(&new) && old + new == 16, "{old} and {new}");
    std::thread::sleep(SLOW_START);
    let (old, new) = place(&scene, 16..32);
    // Half of them. What was earned while the shares were unequal is still paid: one turn at most.
    assert!((7..=9).contains(&new) && old + new == 16, "{old} and {new}");
}

/// A 503 that says when to come again.
fn is_overload(scene: &Scene, url: &str, arguments: &[&str]) {
    let answer = curl(&scene.dc.clients[0].netns, url, arguments).unwrap();
    assert_eq!(answer.status(), 503, "{url}: {}", answer.text());
    assert!(answer.head.header("Retry-After").is_some(), "{url}: {:?}", answer.head);
    assert!(answer.text().contains("capacity"), "{url}: {}", answer.text());
}

#[test]
fn who_is_full_says_so_in_every_protocol_and_serves_the_streams_it_has() {
    if !met(NEEDS) {
        return;
    }
    let plot = Plot::default().web(WebManners::default()).rtsp().srt_lite(|_| SrtManners::default());
    let mut scene = plot.build().unwrap();
    let everything = |beat: balancer_lab::origin::Heartbeat| {
        let beat = beat.http(HTTP_PORT).rtsp(RTSP_PORT).srt(SRT_PORT);
        beat.rtc(RTC_PORT).api(ORIGIN_API_PORT)
    };
    scene.registrars[0] =
        Some(Registrar::offering(&scene.dc, 0, scene.family, Duration::from_secs(1), everything).unwrap());
    let path = format!("/api/v1/origins/{}", origin(&scene, 0)["id"].as_str().unwrap());
    assert_eq!(scene.balancer.request("PUT", &path, Some("{\"max_streams\":1}")).unwrap().status, 200);
    assert_eq!(origin(&scene, 0)["capacity"]["streams"], 1);
    let netns = scene.dc.clients[0].netns.clone();
    let srt = |stream_id: &str| Caller::call(&netns, scene.srt_vip(), stream_id).unwrap();
    let (_publisher, answer) = srt("#!::r=live/s1,m=publish");
    assert!(matches!(answer, Answer::Accepted(_)), "{answer:?}");

    for stream_id in ["#!::r=live/s2,m=publish", "#!::r=live/s3,m=request"] {
        assert_eq!(srt(stream_id).1, Answer::Refused(SRT_OVERLOAD), "{stream_id}");
    }
    for (role, code) in [(Role::Publish, "NetStream.Failed"), (Role::Play, "NetStream.Play.Failed")] {
        let transfer = scene.dial(scene.client(Plan::new(role, 1, 10, 10))).unwrap().join();
        assert!(matches!(&transfer.end, End::Refused(said) if said.contains(code)), "{transfer:?}");
    }
    is_overload(&scene, &scene.http_url("/live/s2.flv"), &[]);
    is_overload(&scene, &scene.http_url("/live/s2.m3u8"), &[]);
    let api = SocketAddr::new(scene.dc.vip(scene.family), ORIGIN_API_PORT);
    for kind in ["whip", "whep"] {
        let url = format!("http://{api}/rtc/v1/{kind}/?app=live&stream=s2");
        is_overload(&scene, &url, &["-H", "Content-Type: application/sdp", "--data-binary", OFFER]);
    }
    let rtsp = SocketAddr::new(scene.dc.vip(scene.family), RTSP_PORT);
    let mut client = RtspClient::dial(&netns, rtsp, "/live/s2").unwrap();
    let url = client.url("");
    let answer = client.ask("DESCRIBE", &url, "Accept: application/sdp\r\n", "").unwrap();
    assert_eq!((answer.status(), answer.header("retry-after")), (503, Some("1")), "{answer:?}");

    // Nobody else has the stream that is there.
    let (_viewer, answer) = srt("#!::r=live/s1,m=request");
    assert!(matches!(answer, Answer::Accepted(_)), "{answer:?}");
    assert!(scene.balancer.reason("at_capacity").unwrap() >= 7.0);
    // Room is made by the API, and counts at once.
    assert_eq!(scene.balancer.request("PUT", &path, Some("{\"max_streams\":2}")).unwrap().status, 200);
    scene.run_exact(vec![scene.client(Plan::new(Role::Publish, 2, 1000, 1000))], 1).unwrap();
}

/// An offer to send VP8.
const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=ice-ufrag:lab1\r\na=ice-pwd:labpasswordlabpassword12\r\n\
    a=fingerprint:sha-256 \
    00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\n";
