//! Hooks of origins, from the request to the stream table.

use super::*;
use crate::placement::{PlaceRequest, Placement};
use serde_json::json;

const NGINX: &str = "/api/v1/hooks/nginx-rtmp";
const SRS: &str = "/api/v1/hooks/srs";

async fn with_origins(ids: &[&str]) -> Server {
    let server = Server::usual().await;
    for (n, id) in ids.iter().enumerate() {
        let ip = format!("10.0.0.{}", n + 1);
        let body = json!({"ip": ip, "endpoints": {"rtmp": ["1935"]}, "lease_s": 0}).to_string();
        assert_eq!(server.ask("PUT", &format!("/api/v1/origins/{id}"), &body).await.0, 200);
    }
    server
}

fn form(call: &str, stream: &str, client: &str) -> String {
    format!(
        "app=live&tcurl=rtmp://10.0.0.1/live&addr=198.51.100.7&clientid={client}&call={call}&name={stream}&token=secret"
    )
}

fn srs(action: &str, stream: &str) -> String {
    json!({
        "server_id": "vid-gtnnum3", "service_id": "5gzq451y", "action": action, "client_id": "c1",
        "ip": "198.51.100.7", "vhost": "__defaultVhost__", "app": "live", "tcUrl": "rtmp://10.0.0.1/live",
        "stream": stream, "param": "?token=secret",
    })
    .to_string()
}

async fn place(server: &Server, stream: &str, role: Role) -> Placement {
    let (k, vip) = (key(stream), "192.0.2.10".parse().unwrap());
    let request = PlaceRequest {
        key: &k,
        role,
        protocol: Protocol::Rtmp,
        vip,
        client: ([198, 51, 100, 7], 40000).into(),
        exclude: &[],
    };
    server.store.place(&request, Duration::ZERO).await.unwrap()
}

#[tokio::test]
async fn nginx_rtmp_keeps_the_stream_table_true() {
    let server = with_origins(&["o1", "o2"]).await;
    let hook = format!("{NGINX}?origin=o2");
    assert_eq!(server.ask("POST", &hook, &form("publish", "a", "1")).await, (200, json!({"code": 0})));
    let stream = server.get("/api/v1/streams/live/a").await.1;
    let found = (&stream["origin"], &stream["publisher"], &stream["claimed"], &stream["players"]);
    assert_eq!(found, (&json!("o2"), &json!(true), &json!(true), &json!(0)));
    assert_eq!(&*place(&server, "live/a", Role::Play).await.origin_id, "o2");

    assert_eq!(server.ask("POST", &hook, &form("update_publish", "a", "1")).await.0, 200);
    for call in ["play", "play_done", "connect", "disconnect", "record_done"] {
        assert_eq!(server.ask("POST", &hook, &form(call, "other", "9")).await.0, 200, "{call}");
    }
    assert_eq!(server.get("/api/v1/streams").await.1["streams"].as_array().unwrap().len(), 1);

    assert_eq!(server.ask("POST", &hook, &form("publish_done", "a", "1")).await.0, 200);
    let stream = server.get("/api/v1/streams/live/a").await.1;
    assert_eq!((&stream["origin"], &stream["publisher"]), (&json!("o2"), &json!(false)));
}

#[tokio::test]
async fn notify_method_get_says_the_same_in_the_url() {
    let server = with_origins(&["o1", "o2"]).await;
    let url = format!("{NGINX}?origin=o1&{}&origin=o2", form("publish", "a", "1"));
    assert_eq!(server.get(&url).await, (200, json!({"code": 0})));
    assert_eq!(server.get("/api/v1/streams/live/a").await.1["origin"], "o1");
}

#[tokio::test]
async fn srs_is_known_by_its_registration() {
    let server = Server::usual().await;
    server.ask("POST", "/api/v1/srs/register", BEAT).await;
    assert_eq!(server.ask("POST", SRS, &srs("on_publish", "a")).await, (200, json!({"code": 0})));
    assert_eq!(server.get("/api/v1/streams/live/a").await.1["origin"], "origin2");
    for action in ["on_connect", "on_close", "on_play", "on_stop"] {
        assert_eq!(server.ask("POST", SRS, &srs(action, "b")).await, (200, json!({"code": 0})), "{action}");
    }
    assert_eq!(server.ask("POST", SRS, &srs("on_unpublish", "a")).await.0, 200);
    assert_eq!(server.get("/api/v1/streams/live/a").await.1["publisher"], false);
    // Without its name, by where it calls from.
    let nameless = srs("on_publish", "c").replace("server_id", "x");
    assert_eq!(server.ask("POST", SRS, &nameless).await.0, 200);
    assert_eq!(server.get("/api/v1/streams/live/c").await.1["origin"], "origin2");
}

#[tokio::test]
async fn what_came_through_the_vip_keeps_its_name() {
    let server = Server::usual().await;
    server.ask("POST", "/api/v1/srs/register", BEAT).await;
    let (k, vip) = (Arc::new("a.b.com/live/cam".parse().unwrap()), "192.0.2.10".parse().unwrap());
    let request = PlaceRequest {
        key: &k,
        role: Role::Publish,
        protocol: Protocol::Rtmp,
        vip,
        client: ([198, 51, 100, 7], 40000).into(),
        exclude: &[],
    };
    server.store.place(&request, Duration::ZERO).await.unwrap();
    let hook = srs("on_publish", "cam").replace("10.0.0.1", "a.b.com");
    assert_eq!(server.ask("POST", SRS, &hook).await.0, 200);
    let streams = server.get("/api/v1/streams").await.1;
    assert_eq!(streams["streams"].as_array().unwrap().len(), 1, "{streams}");
    assert_eq!(
        (&streams["streams"][0]["key"], &streams["streams"][0]["claimed"]),
        (&json!("a.b.com/live/cam"), &json!(true))
    );
    let hook = hook.replace("on_publish", "on_unpublish");
    assert_eq!(server.ask("POST", SRS, &hook).await.0, 200);
    assert_eq!(server.get("/api/v1/streams/a.b.com/live/cam").await.1["claimed"], false);
}

#[tokio::test]
async fn a_second_publisher_elsewhere_is_refused() {
    let server = with_origins(&["o1", "o2"]).await;
    let placement = place(&server, "live/a", Role::Publish).await;
    server.store.flow_opened(placement.ticket(Role::Publish, Protocol::Rtmp));
    let other = if &*placement.origin_id == "o1" { "o2" } else { "o1" };
    let (status, answer) = server.ask("POST", &format!("{NGINX}?origin={other}"), &form("publish", "a", "1")).await;
    assert_eq!((status, &answer["code"]), (403, &json!(403)));
    assert_eq!(answer["error"], "the stream is being published on another origin");
    let own = format!("{NGINX}?origin={}", placement.origin_id);
    assert_eq!(server.ask("POST", &own, &form("publish", "a", "1")).await.0, 200);
    // Between origins it is no second publisher.
    let handed_on = form("publish", "a", "1").replace("198.51.100.7", &placement.endpoint.ip().to_string());
    assert_eq!(server.ask("POST", &format!("{NGINX}?origin={other}"), &handed_on).await.0, 200);
    assert_eq!(server.get("/api/v1/streams/live/a").await.1["origin"], json!(&*placement.origin_id));
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let server = with_origins(&["o1"]).await;
    let publish = form("publish", "a", "1");
    for (path, body, status, error) in [
        (NGINX, publish.as_str(), 404, "no origin is registered at 127.0.0.1"),
        ("/api/v1/hooks/nginx-rtmp?origin=o9", &publish, 404, "there is no origin \"o9\""),
        (NGINX, "call=publish&app=live", 400, "name: missing"),
        (NGINX, "", 400, "call: missing"),
        (SRS, "call=publish", 400, "the body is not JSON"),
        (SRS, "{}", 400, "action: missing"),
        (SRS, r#"{"action":"on_publish","app":"live"}"#, 400, "stream: missing"),
    ] {
        let (found, answer) = server.ask("POST", path, body).await;
        assert_eq!((found, &answer["code"]), (status, &json!(status)), "{answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(error), "{answer}");
    }
    for (id, port) in [("here1", 1935), ("here2", 1936)] {
        let body = json!({"ip": "127.0.0.1", "endpoints": {"rtmp": [port.to_string()]}, "lease_s": 0}).to_string();
        server.ask("PUT", &format!("/api/v1/origins/{id}"), &body).await;
    }
    let (status, answer) = server.ask("POST", NGINX, &publish).await;
    let error = "origins here1, here2 are all at 127.0.0.1: name the one by ?origin=ID in the hook's URL";
    assert_eq!((status, &answer["error"]), (409, &json!(error)));
    let direct = publish.replace("rtmp://10.0.0.1/live", "rtmp://127.0.0.1:1936/live");
    assert_eq!(server.ask("POST", NGINX, &direct).await.0, 200);
    assert_eq!(server.get("/api/v1/streams/live/a").await.1["origin"], "here2");
    assert_eq!(server.get(SRS).await.0, 405);
    let metrics = server.get("/metrics").await.1;
    let metrics = metrics.as_str().unwrap();
    for line in ["hooks_total{result=\"placed\"} 1", "hooks_total{result=\"malformed\"} 5"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test]
async fn hooks_are_for_those_who_may_register() {
    let server = Server::start(access("127.0.0.1:12025", None, &["10.0.0.0/8"])).await;
    for (method, path) in [("POST", NGINX), ("GET", NGINX), ("HEAD", NGINX), ("POST", SRS)] {
        let answer = server.ask(method, path, &form("publish", "a", "1")).await;
        assert_eq!(answer.0, 403, "{method} {path}");
    }
    let server = Server::start(access("0.0.0.0:12025", Some("t"), &["127.0.0.0/8"])).await;
    let page = "Origin: http://evil.example\r\n";
    assert_eq!(server.ask_with("POST", NGINX, page, &form("publish", "a", "1")).await.0, 403, "a web page");
    assert_eq!(server.ask("POST", NGINX, &form("publish", "a", "1")).await.0, 404, "let in without the token");
}
