//! A browser with a player written in JavaScript, on a page from elsewhere and on a page of the balancer's own folder.

use balancer_lab::browser::{Browser, HLS_JS, PLAYER};
use balancer_lab::ffmpeg::{Clip, Publisher};
use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON};
use balancer_lab::wait::wait_until;
use balancer_lab::web::client::WebClient;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer, Need::Media, Need::Browser];

#[test]
fn chromium_plays_hls_through_the_vip() {
    if !met(NEEDS) {
        return;
    }
    let folder = std::env::temp_dir().join(format!("lab-{}-page", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("player.html"), PLAYER).unwrap();
    std::fs::write(folder.join("hls.js"), HLS_JS).unwrap();
    let environment = ("PROXY_STATIC_FILES".to_owned(), folder.display().to_string());
    let plot =
        Plot::default().origins(2).nginx().settings(move |settings| settings.environment.push(environment.clone()));
    let scene = plot.build().unwrap();
    let (host, directory) = (&scene.dc.clients[0], scene.dc.directory());
    let clip = Clip::make(directory).unwrap();
    let url = format!("rtmp://{}/live/s1", scene.vip());
    let _publisher = Publisher::start(&host.netns, directory, "s1", &clip, &url).unwrap();
    wait_until("the playlist", SOON, || {
        let answer = WebClient::dial(&host.netns, scene.http()).and_then(|mut client| client.get("/live/s1.m3u8"));
        answer.is_ok_and(|answer| answer.status() == 200)
    })
    .unwrap();
    let own = scene.http_url("/player.html");
    for (page, playlist) in [(None, scene.http_url("/live/s1.m3u8")), (Some(&own[..]), "/live/s1.m3u8".to_owned())] {
        let browser = Browser::open(host, scene.family, directory, page, &playlist).unwrap();
        let report = browser.wait_played(3.0, 50, SOON).unwrap();
        assert_eq!((report.width, report.errors.as_str()), (320, ""), "{report:?}");
        let flows = scene.balancer.flows().unwrap();
        let hls = flows.iter().filter(|flow| flow["protocol"] == "hls").collect::<Vec<_>>();
        assert!(!hls.is_empty() && hls.iter().all(|flow| flow["path"] == "relay"), "{flows:#?}");
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
