//! Whom the hook is asked about, and that nothing reaches an origin before it has said yes.

use super::world::{Origin, World, ok, statuses};
use crate::config::{HttpUrl, Settings};
use crate::flow::{Protocol, Role};
use crate::placement::PlaceRequest;
use crate::recognize::StreamKey;
use balancer_common::abi::ServiceKind;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A world of one origin, where a hook allows what is about `live/public` alone.
struct Guarded {
    world: World,
    origin: Origin,
    hook: Origin,
}

impl Guarded {
    async fn new() -> Self {
        let origin = Origin::new(|_| ok("0123456789")).await;
        let hook = Origin::new(|question| ok(if question.contains(r#"/live/public""#) { "0" } else { "1" })).await;
        let url = HttpUrl(format!("http://{}/", hook.address).parse().unwrap());
        let auth_timeout = Duration::from_secs(10);
        let world = World::of(Settings { auth_hook: Some(url), auth_timeout, ..Settings::default() });
        world.add("o0", origin.address).await;
        Self { world, origin, hook }
    }

    async fn publish(&self, key: &str) {
        let key = Arc::new(format!("__defaultVhost__/{key}").parse::<StreamKey>().unwrap());
        let (role, protocol, vip) = (Role::Publish, Protocol::Flv, [127, 0, 0, 1].into());
        let request =
            PlaceRequest { key: &key, role, protocol, vip, client: ([198, 51, 100, 7], 40000).into(), exclude: &[] };
        self.world.proxy.store.place(&request, self.world.proxy.clock.now()).await.unwrap();
    }

    /// A request's status, and `action stream` of each question that it made.
    async fn ask(&self, service: ServiceKind, line: &str, body: &str) -> (u16, Vec<String>) {
        let before = self.hook.heard().len();
        let (mut client, _task) = self.world.connect_by(64 * 1024, service);
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        let request = format!("{line} HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n{length}\r\n{body}");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut heard = String::new();
        tokio::time::timeout(super::world::PATIENCE, client.read_to_string(&mut heard)).await.unwrap().unwrap();
        let asked = self.hook.heard().split_off(before);
        let asked = asked.iter().map(|question| {
            let question: Value = serde_json::from_str(question.split_once("\r\n\r\n").unwrap().1).unwrap();
            let stream = question["stream_url"].as_str().unwrap().replace("__defaultVhost__/", "");
            format!("{} {stream}", question["action"].as_str().unwrap())
        });
        (statuses(&heard)[0], asked.collect())
    }

    async fn http(&self, line: &str) -> (u16, Vec<String>) {
        self.ask(ServiceKind::Http, line, "").await
    }
}

fn denied(question: &str) -> (u16, Vec<String>) {
    (403, vec![question.to_owned()])
}

#[tokio::test]
async fn a_player_that_srs_sends_on_needs_its_token_once() {
    let origin = Origin::new(|_| ok("0123456789")).await;
    let hook = Origin::new(|question| ok(if question.contains("token=x") { "0" } else { "1" })).await;
    let url = HttpUrl(format!("http://{}/", hook.address));
    let world = World::of(Settings { auth_hook: Some(url), ..Settings::default() });
    world.add("o0", origin.address).await;
    let it = Guarded { world, origin, hook };
    it.publish("live/cam").await;
    assert_eq!(it.http("GET /live/cam.m3u8?hls_ctx=1").await.0, 403, "nobody was let in yet");
    let it = Guarded { world: World::of(it.world.proxy.settings.as_ref().clone()), ..it };
    it.world.add("o0", it.origin.address).await;
    it.publish("live/cam").await;
    assert_eq!(it.http("GET /live/cam.m3u8?token=x").await.0, 200);
    for line in ["GET /live/cam.m3u8?hls_ctx=1", "GET /live/cam-1.ts?hls_ctx=1", "GET /live/cam-2.ts"] {
        assert_eq!(it.http(line).await, (200, vec![]), "{line}");
    }
    assert_eq!(it.http("GET /live/cam.m3u8?token=y").await.0, 403);
}

#[tokio::test]
async fn nobody_gets_a_stream_by_naming_another() {
    let it = Guarded::new().await;
    it.publish("live/public").await;
    it.publish("live/secret").await;
    for (line, question) in [
        ("GET /live/secret.m3u8?app=live&stream=public", "on_play live/secret"),
        ("GET /live/secret.m3u8?spbkey=__defaultVhost__/live/public", "on_play live/secret"),
        ("HEAD /live/secret.flv?app=live&stream=public&x", "on_play live/secret"),
        ("GET /live/secret-1.ts?spbkey=__defaultVhost__/live/public", "on_play live/secret"),
        ("GET /live/secret.mpd?stream=public&app=live", "on_play live/secret"),
        ("GET /live/other.m3u8?spbkey=__defaultVhost__/live/public", "on_play live/other"),
    ] {
        // A segment has been judged with its playlist.
        let (status, asked) = it.http(line).await;
        assert!(status == 403 && asked.iter().all(|asked| asked == question), "{line}: {status} {asked:?}");
    }
    let (status, asked) = it.http("GET /live/hidden.webm?app=live&stream=public").await;
    assert_eq!((status, asked.last().unwrap().as_str()), (403, "on_play live/hidden"));
    assert_eq!(it.origin.heard(), [""; 0]);
    assert_eq!(it.http("GET /live/public.m3u8").await.0, 200);
    assert_eq!(
        it.http("GET /elsewhere/0001.ts?spbkey=__defaultVhost__/live/public").await.0,
        200,
        "its playlist's mark"
    );
}

#[tokio::test]
async fn a_neighbour_with_a_longer_name_is_another_stream() {
    let it = Guarded::new().await;
    it.publish("live/public").await;
    it.publish("live/public7").await;
    assert_eq!(it.http("GET /live/public7.ts?hls_ctx=x").await, denied("on_play live/public7"));
    assert_eq!(it.origin.heard(), [""; 0]);
    assert_eq!(it.http("GET /live/public-7.ts?hls_ctx=x").await.0, 200);
}

#[tokio::test]
async fn whatever_a_path_may_be_is_asked_about() {
    let it = Guarded::new().await;
    for (line, question) in [
        ("GET /live/secret.flv/", "on_play live/secret"),
        ("HEAD /live/secret.flv", "on_play live/secret"),
        ("GET /live/secret.webm", "on_play live/secret"),
        ("GET /live%2Fsecret.ogg", "on_play live/secret"),
        ("GET /live/secret", "on_play live/secret"),
        ("DELETE /live/secret-7.ts", "on_publish live/secret"),
        ("PUT /live/secret.m3u8", "on_publish live/secret"),
    ] {
        // Each may have been asked about already: what was said is still true.
        let (status, asked) = it.http(line).await;
        assert_eq!(status, 403, "{line}");
        assert!(asked.iter().all(|asked| asked == question), "{line}: {asked:?}");
    }
    assert_eq!(it.http("GET /live/secret%3Fx.webm").await, (403, vec![]), "what cannot be read is nobody's");
    assert_eq!(it.origin.heard(), [""; 0]);
    assert_eq!(it.http("GET /player.html").await, (200, vec![]));
}

#[tokio::test]
async fn who_writes_is_a_publisher_and_is_asked_each_time() {
    let it = Guarded::new().await;
    for _ in 0..2 {
        let push = it.ask(ServiceKind::Http, "POST /live/public.flv", "FLV").await;
        assert_eq!(push, (200, vec!["on_publish live/public".to_owned()]));
    }
    for line in ["POST /rtc/v1/whip/?app=live&stream=new", "POST /rtc/v1/publish?app=live&stream=new"] {
        for service in [ServiceKind::Api, ServiceKind::Http] {
            assert_eq!(it.ask(service, line, "v=0").await, denied("on_publish live/new"), "{line}");
        }
    }
    assert_eq!(
        it.ask(ServiceKind::Api, "POST /rtc/v1/whep/?app=live&stream=new", "v=0").await,
        denied("on_play live/new")
    );
    assert_eq!(it.ask(ServiceKind::Api, "POST /rtc/v1/whip/", "v=0").await, (403, vec![]));
    assert_eq!(it.origin.heard().len(), 2);
}

#[tokio::test]
async fn two_names_are_none() {
    let it = Guarded::new().await;
    let secret = r#"{"streamurl":"webrtc://h/live/secret?vhost=__defaultVhost__"}"#;
    for (line, body) in [
        ("POST /rtc/v1/play?app=live&stream=public", secret),
        ("POST /rtc/v1/whep/?app=live&stream=public&stream=secret", "v=0"),
        ("POST /rtc/v1/whep/?app=live&stream=public&x=1;stream=secret", "v=0"),
        ("POST /rtc/v1/whep/?app=live&stream=public&%73tream=secret", "v=0"),
    ] {
        for service in [ServiceKind::Api, ServiceKind::Http] {
            assert_eq!(it.ask(service, line, body).await, (400, vec![]), "{line}");
        }
    }
    for line in ["GET /live/public.m3u8?vhost=a&vhost=b", "HEAD /live/a.flv?vhost=a;vhost=b"] {
        assert_eq!(it.http(line).await, (400, vec![]), "{line}");
    }
    assert_eq!(it.ask(ServiceKind::Api, "POST /rtc/v1/play", secret).await, denied("on_play live/secret"));
    assert_eq!(it.origin.heard(), [""; 0]);
}
