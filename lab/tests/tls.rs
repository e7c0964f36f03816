//! TLS on the ordinary ports: real clients and hostile ones, names, and certificates that change under running streams.

use balancer_lab::certificates::Certificates;
use balancer_lab::curl::curl;
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::net::Netns;
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait::wait_until;
use balancer_lab::web::client::{Closed, WebClient};
use balancer_lab::web::origin::WebManners;
use balancer_lab::web::plan::{Check, Shape, WebPlan};
use std::net::{Shutdown, SocketAddr};
use std::process::Stdio;

const NEEDS: &[Need] = &[Need::Network, Need::Web, Need::Balancer];
const MEDIA_NEEDS: &[Need] = &[Need::Network, Need::Web, Need::Media, Need::Balancer];
const NAME: &str = "a.test";

/// With one certificate, `a`, for [`NAME`].
fn with_certificate(plot: Plot) -> (Scene, Certificates) {
    with_certificates(plot, &[("a", NAME)])
}

fn with_certificates(plot: Plot, pairs: &[(&str, &str)]) -> (Scene, Certificates) {
    let certificates = Certificates::new().unwrap();
    for (file, name) in pairs {
        certificates.issue(file, &[name]).unwrap();
    }
    let files: Vec<&str> = pairs.iter().map(|(file, _)| *file).collect();
    let config = certificates.config(&files);
    (plot.settings(move |settings| settings.config.push_str(&config)).build().unwrap(), certificates)
}

fn web() -> Plot {
    Plot::default().web(WebManners::default())
}

fn netns(scene: &Scene) -> &Netns {
    &scene.dc.clients[0].netns
}

fn secure(scene: &Scene, certificates: &Certificates) -> WebClient<balancer_lab::certificates::TlsClient> {
    let stream = WebClient::dial(netns(scene), scene.http()).unwrap().stream().try_clone().unwrap();
    WebClient::over(certificates.client("a", NAME, stream).unwrap())
}

/// What openssl says of a connection that ends at once.
fn openssl(scene: &Scene, to: SocketAddr, arguments: &[&str]) -> String {
    let mut command = netns(scene).command("timeout");
    command.args(["20", "openssl", "s_client", "-connect", &to.to_string()]).args(arguments);
    let output = command.stdin(Stdio::null()).output().unwrap();
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The names in the certificate that is shown to who asks for `name`.
fn shown(scene: &Scene, to: SocketAddr, name: &str) -> String {
    let text = openssl(scene, to, &["-servername", name]);
    let pem = text.split_once("-----BEGIN CERTIFICATE-----").and_then(|(_, rest)| rest.split_once("-----END"));
    pem.unwrap_or_else(|| panic!("no certificate: {text}")).0.to_owned()
}

fn on_disk(certificates: &Certificates, name: &str) -> String {
    let text = std::fs::read_to_string(certificates.certificate(name)).unwrap().replace('\r', "");
    let pem = text.split_once("-----BEGIN CERTIFICATE-----").and_then(|(_, rest)| rest.split_once("-----END"));
    pem.unwrap().0.to_owned()
}

#[test]
fn flv_over_https_is_exact_and_relayed_and_the_origin_knows() {
    if !met(NEEDS) {
        return;
    }
    let (scene, certificates) = with_certificate(web());
    let plan = WebPlan::new(1, 3_000_000, Shape::Chunked);
    let mut client = secure(&scene, &certificates);
    client.send(format!("GET {} HTTP/1.1\r\nHost: {NAME}\r\n\r\n", plan.path("flv"))).unwrap();
    let head = client.head().unwrap();
    let mut check = Check::new(plan.seed);
    client.body(&head, "GET", |piece| check.push(piece)).unwrap();
    assert!(head.status() == 200 && check.is(&plan), "{head:?} {check:?}");
    let arrived = scene.web[0].arrived();
    assert_eq!(arrived[0].head.header("x-forwarded-proto"), Some("https"), "{arrived:#?}");
    assert_eq!(scene.balancer.metric("balancer_splices_total", &["result=\"tls\""]).unwrap(), 1.0);
    // Counts are brought up to date now and then.
    wait_until("every byte to be counted", SOON, || scene.relayed_bytes().is_ok_and(|n| n >= 3_000_000.0)).unwrap();
    // One certificate serves plain connections beside it.
    let plain = WebPlan::new(2, 1_000_000, Shape::UntilClose);
    let answer = curl(netns(&scene), &scene.http_url(&plain.path("flv")), &[]).unwrap();
    assert_eq!((answer.status(), answer.body.len()), (200, 1_000_000));
}

#[test]
fn curl_trusts_it_by_name_on_the_http_and_api_ports() {
    if !met(NEEDS) {
        return;
    }
    let (scene, certificates) = with_certificate(web().api());
    scene.web[0].put("/page.html", "text/html", "a page");
    let trust = certificates.certificate("a").display().to_string();
    let address = scene.http();
    for (port, path) in [(address.port(), "/page.html"), (1985, "/api/v1/versions")] {
        let resolve = format!("{NAME}:{port}:{}", address.ip());
        let url = format!("https://{NAME}:{port}{path}");
        let answer = curl(netns(&scene), &url, &["--cacert", &trust, "--resolve", &resolve]).unwrap();
        assert_eq!(answer.status(), 200, "{url}: {}", answer.text());
    }
    let arrived = scene.web[0].arrived();
    assert_eq!(arrived[0].head.header("x-forwarded-proto"), Some("https"));
}

#[test]
fn ffmpeg_publishes_and_plays_by_rtmps_and_hls_by_https() {
    if !met(MEDIA_NEEDS) {
        return;
    }
    let (scene, _certificates) = with_certificate(Plot::default().nginx());
    let (directory, clip) = (scene.dc.directory(), Clip::make(scene.dc.directory()).unwrap());
    let url = format!("rtmps://{}/live/cam", scene.vip());
    let _publisher = Publisher::start(netns(&scene), directory, "cam", &clip, &url).unwrap();
    wait_until("the publisher", SOON, || scene.balancer.flows().is_ok_and(|flows| flows.len() == 1)).unwrap();
    let secure = Player::start(netns(&scene), directory, "rtmps", &url).unwrap();
    let plain = Player::start(netns(&scene), directory, "rtmp", &url.replace("rtmps", "rtmp")).unwrap();
    secure.wait_frames(50, SOON).unwrap();
    plain.wait_frames(50, SOON).unwrap();
    let paths = |flows: Vec<serde_json::Value>| {
        flows.iter().map(|flow| flow["path"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    wait_until("two relayed flows and one in the kernel", SOON, || {
        let mut found = paths(scene.balancer.flows().unwrap_or_default());
        found.sort();
        found == ["kernel", "relay", "relay"]
    })
    .unwrap();
    let playlist = scene.http_url("/hls/cam.m3u8").replace("http:", "https:");
    wait_until("a playlist", SOON, || curl(netns(&scene), &playlist, &["-k"]).is_ok_and(|a| a.status() == 200))
        .unwrap();
    let hls = Player::start(netns(&scene), directory, "hls", &playlist).unwrap();
    hls.wait_frames(50, SOON).unwrap();
}

#[test]
fn the_name_picks_the_certificate_and_a_renewed_one_is_served_while_a_stream_runs() {
    if !met(NEEDS) {
        return;
    }
    let (mut scene, certificates) = with_certificates(web(), &[("a", NAME), ("b", "*.b.test")]);
    let (rtmp, http) = (scene.vip(), scene.http());
    for to in [rtmp, http] {
        assert_eq!(shown(&scene, to, NAME), on_disk(&certificates, "a"));
        assert_eq!(shown(&scene, to, "x.b.test"), on_disk(&certificates, "b"));
        assert_eq!(shown(&scene, to, "elsewhere.test"), on_disk(&certificates, "a"), "the first stands in");
    }
    // More than all the buffers on its way hold: it is under way until somebody reads it.
    let plan = WebPlan::new(1, 60_000_000, Shape::Chunked);
    let mut running = secure(&scene, &certificates);
    running.send(format!("GET {} HTTP/1.1\r\nHost: {NAME}\r\n\r\n", plan.path("flv"))).unwrap();
    let head = running.head().unwrap();
    let sent = || scene.relayed_bytes().unwrap();

    // By looking.
    let before = on_disk(&certificates, "a");
    certificates.issue("a", &[NAME]).unwrap();
    assert_ne!(before, on_disk(&certificates, "a"));
    wait_until("the renewed one", SOON, || shown(&scene, http, NAME) == on_disk(&certificates, "a")).unwrap();

    // A broken one changes nothing, by SIGHUP neither.
    let good = on_disk(&certificates, "b");
    std::fs::write(certificates.key("b"), "no key").unwrap();
    scene.balancer.process().signal(HANGUP).unwrap();
    let refused = "holds no private key";
    wait_until("a word about it", SOON, || scene.balancer.process().log().contains(refused)).unwrap();
    assert_eq!(shown(&scene, http, "x.b.test"), good);
    certificates.issue("b", &["*.b.test"]).unwrap();
    wait_until("the mended one", SOON, || shown(&scene, http, "x.b.test") == on_disk(&certificates, "b")).unwrap();

    assert!(sent() < 60_000_000.0, "it is still under way");
    let mut check = Check::new(plan.seed);
    running.body(&head, "GET", |piece| check.push(piece)).unwrap();
    assert!(check.is(&plan), "what ran went on: {check:?}");
    drop(running);
    // SIGHUP has not ended it, and nothing keeps it.
    scene.balancer.stop().unwrap();
}

const HANGUP: i32 = 1;

#[test]
fn old_versions_garbage_and_slow_handshakes_are_refused_and_counted() {
    if !met(NEEDS) {
        return;
    }
    let (scene, _certificates) = with_certificate(web().config("preamble_timeout = \"2s\""));
    let http = scene.http();
    for old in ["-tls1", "-tls1_1"] {
        let text = openssl(&scene, http, &[old, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(text.contains("alert") && !text.contains("BEGIN CERTIFICATE"), "{text}");
    }
    for new in ["-tls1_2", "-tls1_3"] {
        assert!(openssl(&scene, http, &[new]).contains("BEGIN CERTIFICATE"), "{new}");
    }
    wait_until("two to be counted", SOON, || scene.balancer.reason("tls_handshake").is_ok_and(|n| n == 2.0)).unwrap();
    let mut garbage = WebClient::dial(netns(&scene), http).unwrap();
    garbage.send([&[0x16, 3, 1, 0, 100][..], &[0xee; 100]].concat()).unwrap();
    assert_ne!(garbage.rest().unwrap().1, Closed::StillOpen);
    let mut slow = WebClient::dial(netns(&scene), http).unwrap();
    slow.send([0x16, 3, 1]).unwrap();
    assert_ne!(slow.rest().unwrap().1, Closed::StillOpen);
    assert_eq!(scene.balancer.reason("tls_handshake").unwrap(), 3.0);
    assert_eq!(scene.balancer.reason("preamble_time").unwrap(), 1.0);
}

#[test]
fn a_client_that_just_goes_away_leaves_nothing_behind() {
    if !met(NEEDS) {
        return;
    }
    let (scene, certificates) = with_certificate(web());
    let plan = WebPlan::new(1, 1 << 40, Shape::Chunked);
    let stream = WebClient::dial(netns(&scene), scene.http()).unwrap().stream().try_clone().unwrap();
    let twin = stream.try_clone().unwrap();
    let mut client = WebClient::over(certificates.client("a", NAME, stream).unwrap());
    client.send(format!("GET {} HTTP/1.1\r\nHost: {NAME}\r\n\r\n", plan.path("flv"))).unwrap();
    assert_eq!(client.head().unwrap().status(), 200);
    wait_until("its flow", SOON, || scene.balancer.flows().is_ok_and(|flows| flows.len() == 1)).unwrap();
    // Without close_notify.
    twin.shutdown(Shutdown::Both).unwrap();
    drop((client, twin));
    scene.wait_no_flows().unwrap();
}

#[test]
fn without_a_certificate_the_log_names_the_remedy() {
    if !met(NEEDS) {
        return;
    }
    let scene = web().build().unwrap();
    for to in [scene.vip(), scene.http()] {
        let text = openssl(&scene, to, &[]);
        assert!(!text.contains("BEGIN CERTIFICATE"), "{text}");
    }
    assert!(scene.balancer.process().log().contains("set tls_certificate and tls_key"));
}
