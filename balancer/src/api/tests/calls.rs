//! What each call does and answers.

use super::*;
use crate::placement::PlaceRequest;
use crate::registry::ConnectFailure;
use serde_json::json;

/// Places a publisher, as the slow path does.
async fn publish(server: &Server, stream: &str) -> crate::placement::Placement {
    let k = key(stream);
    let vip = "192.0.2.10".parse().unwrap();
    let request = PlaceRequest {
        key: &k,
        role: Role::Publish,
        protocol: Protocol::Rtmp,
        vip,
        client: ([198, 51, 100, 7], 40000).into(),
        exclude: &[],
    };
    let placement = server.store.place(&request, Duration::ZERO).await.unwrap();
    server.store.connect_succeeded(&placement);
    server.store.flow_opened(placement.ticket(Role::Publish, Protocol::Rtmp));
    placement
}

#[tokio::test]
async fn a_beat_of_srs_registers_an_origin() {
    let server = Server::usual().await;
    let (status, body) = server.ask_with("POST", "/api/v1/srs/register", "Content-Type: text/plain\r\n", BEAT).await;
    assert_eq!((status, body), (200, json!({"code": 0, "pid": std::process::id().to_string()})));
    let (_, all) = server.get("/api/v1/origins").await;
    assert_eq!(all["origins"].as_array().unwrap().len(), 1);
    let (status, origin) = server.get("/api/v1/origins/origin2").await;
    assert_eq!((status, &origin["id"]), (200, &all["origins"][0]["id"]));
    for (field, value) in [
        ("id", json!("origin2")),
        ("device_id", json!("origin2")),
        ("server", json!("vid-gtnnum3")),
        ("ip", json!("127.0.0.1")),
        ("state", json!("healthy")),
        ("weight", json!(100)),
        ("streams", json!(0)),
        ("flows", json!(0)),
        ("bits_per_second_in", json!(0)),
        ("bits_per_second_out", json!(0)),
    ] {
        assert_eq!(origin[field], value, "{field}");
    }
    let endpoints = json!({
        "rtmp": ["127.0.0.1:19352"], "http": ["127.0.0.1:8082"], "api": ["127.0.0.1:19853"],
        "srt": ["127.0.0.1:10082"], "rtc": ["127.0.0.1:8001"],
    });
    assert_eq!(origin["endpoints"], endpoints);
    let lease = origin["lease_s"].as_f64().unwrap();
    assert!((28.0..=30.0).contains(&lease), "{lease}");
}

#[tokio::test]
async fn a_bad_beat_registers_nothing_and_names_the_field() {
    let server = Server::usual().await;
    let mut body: Value = serde_json::from_str(BEAT).unwrap();
    body["rtmp"] = json!(["nonsense"]);
    for (body, names) in [
        (body.to_string(), "rtmp: \"nonsense\""),
        (BEAT.replace("127.0.0.1", "192.0.2.99"), "rtmp: 192.0.2.99:19352 is outside origin_networks"),
        (BEAT.replace("\"pid\"", "\"p\""), "pid: missing"),
        ("{".into(), "the body is not JSON"),
        (String::new(), "the body is not JSON"),
    ] {
        let (status, answer) = server.ask("POST", "/api/v1/srs/register", &body).await;
        assert_eq!((status, &answer["code"]), (400, &json!(400)), "{answer}");
        assert!(answer["error"].as_str().unwrap().starts_with(names), "{answer}");
    }
    assert_eq!(server.get("/api/v1/origins").await.1, json!({"origins": []}));
}

#[tokio::test]
async fn a_restart_frees_the_streams_and_an_old_run_is_refused() {
    let server = Server::usual().await;
    let register = async |body: &str| server.ask("POST", "/api/v1/srs/register", body).await;
    register(BEAT).await;
    publish(&server, "live/a").await;
    assert_eq!(server.get("/api/v1/origins/origin2").await.1["streams"], 1);
    assert_eq!(register(&BEAT.replace("2136", "2137")).await.0, 200);
    let origin = server.get("/api/v1/origins/origin2").await.1;
    assert_eq!((&origin["streams"], &origin["pid"], &origin["generation"]), (&json!(0), &json!("2137"), &json!(2)));
    let (status, error) = register(BEAT).await;
    assert_eq!(status, 409, "{error}");
    assert_eq!(server.get("/api/v1/origins").await.1["origins"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_operator_puts_drains_and_deletes() {
    let server = Server::usual().await;
    let body = json!({"ip": "10.0.0.7", "endpoints": {"rtmp": ["1935"]}, "weight": 50, "lease_s": 0}).to_string();
    let (status, origin) = server.ask("PUT", "/api/v1/origins/studio%2Fone", &body).await;
    assert_eq!((status, &origin["id"], &origin["lease_s"]), (200, &json!("studio/one"), &Value::Null));
    let (status, error) = server.ask("PUT", "/api/v1/origins/other", &body).await;
    assert_eq!((status, &error["error"]), (409, &json!("its endpoints belong to origin \"studio/one\" already")));
    assert_eq!(server.ask("PUT", "/api/v1/origins/new", "{}").await.0, 400);
    assert_eq!(server.ask("PUT", "/api/v1/origins/default", &body).await.0, 409);

    let (status, drained) = server.ask("POST", "/api/v1/origins/studio%2Fone/drain", "").await;
    assert_eq!((status, &drained["state"]), (200, &json!("draining")));
    let (status, drained) = server.ask("POST", "/api/v1/origins/studio%2Fone/drain", r#"{"deadline_s": 60}"#).await;
    assert_eq!((status, &drained["draining"]), (200, &json!(true)));
    for wrong in [r#"{"deadline": 60}"#, r#"{"deadline_s": -1}"#, r#"{"deadline_s": 99999999}"#, "now"] {
        assert_eq!(server.ask("POST", "/api/v1/origins/studio%2Fone/drain", wrong).await.0, 400, "{wrong}");
    }
    let (_, undrained) = server.ask("POST", "/api/v1/origins/studio%2Fone/undrain", "").await;
    assert_eq!(undrained["state"], "healthy");

    assert_eq!(server.ask("DELETE", "/api/v1/origins/studio%2Fone", "").await, (200, json!({"code": 0})));
    for (method, path) in [
        ("DELETE", "/api/v1/origins/studio%2Fone"),
        ("GET", "/api/v1/origins/studio%2Fone"),
        ("POST", "/api/v1/origins/nobody/drain"),
        ("POST", "/api/v1/origins/nobody/undrain"),
    ] {
        let (status, error) = server.ask(method, path, "").await;
        assert_eq!(status, 404);
        assert!(error["error"].as_str().unwrap().contains("there is no origin"), "{error}");
    }
}

#[tokio::test]
async fn an_origin_that_is_down_says_why() {
    let server = Server::usual().await;
    server.ask("POST", "/api/v1/srs/register", BEAT).await;
    let placement = publish(&server, "live/a").await;
    server.store.connect_failed(&placement, ConnectFailure::Refused, Duration::from_secs(1));
    let origin = server.get("/api/v1/origins/origin2").await.1;
    assert_eq!((&origin["state"], &origin["why"]), (&json!("down"), &json!("connection refused")));
    assert!(origin["retry_s"].as_f64().unwrap() > 0.0);
    assert_eq!(server.get("/api/v1/streams/live/a").await.1["origin"], Value::Null);
}

#[tokio::test]
async fn streams_are_found_by_their_key_however_it_is_written() {
    let server = Server::usual().await;
    server.ask("POST", "/api/v1/srs/register", BEAT).await;
    publish(&server, "live/a b").await;
    let expected = json!({
        "key": "__defaultVhost__/live/a b", "origin": "origin2", "copies": [], "backup": null, "publisher": true,
        "claimed": false, "players": 0,
        "protocols": ["rtmp"], "bits_per_second_in": 0, "bits_per_second_out": 0,
    });
    assert_eq!(server.get("/api/v1/streams").await, (200, json!({"streams": [expected]})));
    for path in ["__defaultVhost__/live/a%20b", "__defaultVhost__%2Flive%2Fa%20b", "live/a%20b", "live%2fa%20b"] {
        assert_eq!(server.get(&format!("/api/v1/streams/{path}")).await, (200, expected.clone()), "{path}");
    }
    let (status, error) = server.get("/api/v1/streams/live/secret-name").await;
    assert_eq!(status, 404);
    assert!(!error.to_string().contains("secret-name"));
    assert_eq!(server.get("/api/v1/streams/nonsense").await.0, 400);
    assert_eq!(server.ask("DELETE", "/api/v1/streams/live/a%20b", "").await, (200, json!({"code": 0})));
    assert_eq!(server.store.take_changes().resets.len(), 1, "the reconciler ends its flows");
    assert_eq!(server.ask("DELETE", "/api/v1/streams/live/other", "").await.0, 404);
}

#[tokio::test]
async fn flows_have_every_field_of_the_contract() {
    let server = Server::usual().await;
    *server.made.flows.lock().unwrap() = vec![flow("live/b", "o2", 2), flow("live/a", "o1", 1)];
    let (status, answer) = server.get("/api/v1/flows").await;
    assert_eq!((status, &answer["total"]), (200, &json!(2)));
    let mut first = answer["flows"][0].clone();
    for clock in ["age_s", "idle_s"] {
        assert!(first[clock].is_number());
        first.as_object_mut().unwrap().remove(clock);
    }
    let expected = json!({
        "client": "198.51.100.7:50000", "announced": "203.0.113.9:40000", "vip": "192.0.2.10:1935", "origin": "o1",
        "origin_address": "10.0.0.1:1935", "source": "10.0.0.10:40000", "protocol": "rtmp", "role": "publish",
        "stream": "__defaultVhost__/live/a", "path": "kernel", "state": "spliced",
        "to_origin": {"packets": 10, "bytes": 7000}, "to_client": {"packets": 5, "bytes": 70},
    });
    assert_eq!(first, expected);
    for (query, total, shown) in [
        ("limit=1", 2, 1),
        ("origin=o2", 1, 1),
        ("stream=live/a", 1, 1),
        ("stream=__defaultVhost__%2Flive%2Fa", 1, 1),
        ("protocol=srt", 0, 0),
    ] {
        let (_, answer) = server.get(&format!("/api/v1/flows?{query}")).await;
        let found = (answer["total"].as_u64().unwrap(), answer["flows"].as_array().unwrap().len());
        assert_eq!(found, (total, shown), "{query}");
    }
    for wrong in ["limit=all", "origins=o1", "stream=x"] {
        assert_eq!(server.get(&format!("/api/v1/flows?{wrong}")).await.0, 400, "{wrong}");
    }
}

#[tokio::test]
async fn the_status_sums_up() {
    let server = Server::usual().await;
    server.ask("POST", "/api/v1/srs/register", BEAT).await;
    publish(&server, "live/a").await;
    *server.made.flows.lock().unwrap() = vec![flow("live/a", "origin2", 0)];
    let (status, answer) = server.get("/api/v1/status").await;
    assert_eq!(status, 200);
    for (pointer, value) in [
        ("/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/ready", json!(true)),
        ("/interfaces/eth0/xdp", json!("native")),
        ("/origins/healthy", json!(1)),
        ("/streams", json!(1)),
        ("/flows/kernel", json!(1)),
        ("/maps/FLOWS4/capacity", json!(100)),
        ("/reasons/forward/to_origin/packets", json!(5)),
        ("/reasons/forward/to_origin/number", json!(1)),
        ("/reasons/placement/least_load/packets", json!(1)),
    ] {
        assert_eq!(answer.pointer(pointer), Some(&value), "{pointer} in {answer}");
    }
    assert_eq!(answer.pointer("/reasons/drop"), None, "what has not happened is left out");
}

#[tokio::test]
async fn health_readiness_versions_and_metrics() {
    let server = Server::usual().await;
    assert_eq!(server.get("/healthz").await, (200, json!({"code": 0})));
    assert_eq!(server.get("/readyz").await.0, 200);
    *server.made.problem.lock().unwrap() = Some("nothing listens".into());
    assert_eq!(server.get("/readyz").await, (503, json!({"code": 503, "error": "nothing listens"})));
    assert_eq!(server.get("/healthz").await.0, 200);
    let versions = server.get("/api/v1/versions").await.1;
    assert_eq!((&versions["code"], &versions["data"]["version"]), (&json!(0), &json!(env!("CARGO_PKG_VERSION"))));
    let accept = "Accept: application/openmetrics-text; version=1.0.0, text/plain\r\n";
    for (accept, content_type) in
        [(accept, "application/openmetrics-text; version=1.0.0"), ("", "text/plain; version=0.0.4")]
    {
        let request = format!("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{accept}\r\n");
        let answer = server.raw(&request).await;
        assert!(answer.contains(&format!("content-type: {content_type}")), "{answer}");
        assert!(answer.contains("\nbalancer_placements_total{reason=\"sticky\"} 0\n"), "{answer}");
    }
}
