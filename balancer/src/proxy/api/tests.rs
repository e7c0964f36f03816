//! Several origins asked as one: SRS as it answers, and those that are dead, slow, garbled or endless.

use crate::proxy::tests::world::{Origin, World, ok};
use balancer_common::abi::ServiceKind;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// An SRS 7 whose ids begin with `name`, with so many streams, each with a publisher and a player.
async fn srs(name: &'static str, streams: usize) -> Origin {
    Origin::new(move |request| {
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        ok(&said(name, streams, method, target).to_string())
    })
    .await
}

fn said(name: &str, streams: usize, method: &str, target: &str) -> Value {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut said = json!({ "code": 0, "server": format!("vid-{name}"), "service": "5gzq451y", "pid": "2136" });
    let count = query.split("count=").nth(1).map_or(10, |count| count.parse().unwrap());
    let stream = |n: usize| {
        json!({
            "id": format!("vid-{name}{n}"), "name": format!("{name}{n}"), "vhost": "vid-v", "app": "live",
            "tcUrl": "rtmp://10.0.0.1/live", "url": format!("/live/{name}{n}"), "live_ms": 1_725_000_000_000u64,
            "clients": 2, "frames": 250, "send_bytes": 4000, "recv_bytes": 8000,
            "kbps": { "recv_30s": 300, "send_30s": 200 }, "publish": { "active": true, "cid": format!("{name}p{n}") },
            "video": { "codec": "H264", "profile": "High", "level": "3.1", "width": 1280, "height": 720 },
            "audio": { "codec": "AAC", "sample_rate": 44100, "channel": 2, "profile": "LC" },
        })
    };
    let client = |id: String, publish: bool| {
        json!({
            "id": id, "vhost": "vid-v", "stream": format!("vid-{name}0"), "ip": "198.51.100.7", "pageUrl": "",
            "swfUrl": "", "tcUrl": "rtmp://10.0.0.1/live", "url": "/live/a", "name": "a",
            "type": if publish { "fmle-publish" } else { "rtmp-play" }, "publish": publish, "alive": 8.5,
            "send_bytes": 1, "recv_bytes": 2, "kbps": { "recv_30s": 0, "send_30s": 0 },
        })
    };
    let known = |id: &str| id.starts_with(name) || id.starts_with(&format!("vid-{name}"));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, &parts[2..]) {
        ("GET", ["streams"]) => said["streams"] = (0..streams.min(count)).map(stream).collect(),
        ("GET", ["clients"]) => {
            said["clients"] = (0..streams).map(|n| client(format!("{name}p{n}"), true)).take(count).collect();
        }
        ("GET", ["vhosts"]) => {
            said["vhosts"] = json!([{ "id": "vid-v", "name": "__defaultVhost__", "streams": streams }])
        }
        ("GET", ["streams", id]) if known(id) => said["stream"] = stream(0),
        ("GET", ["clients", id]) if known(id) => said["client"] = client((*id).to_owned(), false),
        ("DELETE", ["clients", id]) if known(id) => {}
        ("GET" | "DELETE", ["streams" | "clients", _]) => return json!({ "code": 2048 }),
        ("GET", ["versions"]) => {
            said["data"] = json!({ "major": 7, "minor": 0, "revision": 18, "version": "7.0.18" });
        }
        ("GET", ["summaries"]) => {
            said["data"] = json!({
                "ok": true, "now_ms": 1_725_000_000_000u64 + streams as u64,
                "self": { "version": "7.0.18", "pid": 2136, "ppid": 1, "argv": "srs", "cwd": "/", "mem_kbyte": 1000,
                    "mem_percent": 0.25, "cpu_percent": 0.5, "srs_uptime": 100 * streams },
                "system": { "cpu_percent": 0.5, "cpus": 8, "load_1m": 1.5, "net_recv_bytes": 10, "conn_srs": streams },
            });
        }
        (_, ["raw"]) => {}
        _ => said["path"] = json!(path),
    }
    said
}

async fn ask(world: &World, request: &str) -> (u16, Value) {
    let (mut client, task) = world.connect_by(64 * 1024, ServiceKind::Api);
    let (first, body) = request.split_once('\n').unwrap_or((request, ""));
    let request = format!("{first} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    client.write_all(request.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    task.await.unwrap();
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, serde_json::from_str(body).unwrap_or_else(|_| panic!("{heard}")))
}

async fn two() -> (World, Origin, Origin) {
    let (world, a, b) = (World::new(), srs("a", 3).await, srs("b", 2).await);
    world.add("a", a.address).await;
    world.add("b", b.address).await;
    (world, a, b)
}

fn ids(answer: &Value, list: &str) -> Vec<String> {
    let each = |item: &Value| format!("{}:{}", item["origin"].as_str().unwrap(), item["id"].as_str().unwrap());
    answer[list].as_array().unwrap().iter().map(each).collect()
}

#[tokio::test]
async fn lists_are_one_and_each_item_says_where_it_is() {
    let (world, _a, _b) = two().await;
    let (status, answer) = ask(&world, "GET /api/v1/streams").await;
    assert_eq!((status, &answer["code"]), (200, &json!(0)));
    assert_eq!(ids(&answer, "streams"), ["a:vid-a0", "a:vid-a1", "a:vid-a2", "b:vid-b0", "b:vid-b1"]);
    assert_eq!(answer["streams"][0]["video"]["codec"], "H264", "everything else as it was");
    assert!(answer["server"].as_str().unwrap().starts_with("balancer"));
    assert_eq!(answer["pid"], json!(std::process::id().to_string()));
    let origins = json!([
        { "id": "a", "code": 0, "server": "vid-a", "service": "5gzq451y", "pid": "2136" },
        { "id": "b", "code": 0, "server": "vid-b", "service": "5gzq451y", "pid": "2136" },
    ]);
    assert_eq!(answer["origins"], origins);
    assert_eq!(ids(&ask(&world, "GET /api/v1/clients/").await.1, "clients").len(), 5);
    assert_eq!(ids(&ask(&world, "GET /api/v1/vhosts").await.1, "vhosts"), ["a:vid-v", "b:vid-v"]);
}

#[tokio::test]
async fn pages_are_of_the_whole() {
    let (world, a, _b) = two().await;
    for (query, expected) in [
        ("count=2", vec!["a:vid-a0", "a:vid-a1"]),
        ("start=2&count=2", vec!["a:vid-a2", "b:vid-b0"]),
        ("start=4&count=10", vec!["b:vid-b1"]),
        ("start=9", vec![]),
    ] {
        assert_eq!(ids(&ask(&world, &format!("GET /api/v1/streams?{query}")).await.1, "streams"), expected, "{query}");
    }
    assert!(a.heard()[1].starts_with("GET /api/v1/streams/?start=0&count=4 HTTP/1.1"), "{}", a.heard()[1]);
}

#[tokio::test]
async fn summaries_are_summed_where_that_makes_sense() {
    let (world, _a, _b) = two().await;
    let answer = ask(&world, "GET /api/v1/summaries").await.1;
    for (pointer, value) in [
        ("/data/ok", json!(true)),
        ("/data/now_ms", json!(1_725_000_000_003u64)),
        ("/data/self/mem_kbyte", json!(2000)),
        ("/data/self/cpu_percent", json!(0.5)),
        ("/data/self/srs_uptime", json!(200)),
        ("/data/self/version", json!(env!("CARGO_PKG_VERSION"))),
        ("/data/self/cwd", Value::Null),
        ("/data/system/cpus", json!(16)),
        ("/data/system/conn_srs", json!(5)),
        ("/data/system/load_1m", json!(1.5)),
        ("/origins/0/data/self/srs_uptime", json!(300)),
    ] {
        assert_eq!(answer.pointer(pointer).unwrap_or(&Value::Null), &value, "{pointer} in {answer}");
    }
    let versions = ask(&world, "GET /api/v1/versions").await.1;
    assert_eq!(versions["data"]["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(versions["origins"][1]["data"]["version"], "7.0.18");
}

/// Accepts, and says nothing.
async fn silent() -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(accepted) = listener.accept().await {
            kept.push(accepted);
        }
    });
    (address, task)
}

#[tokio::test]
async fn an_origin_that_fails_is_named_and_hides_nobody() {
    let (world, _a, _b) = two().await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let (slow, slow_task) = silent().await;
    let garbled = Origin::new(|_| ok("<html>It works!</html>")).await;
    let foreign = Origin::new(|_| ok("[1, 2, 3]")).await;
    let huge = Origin::new(|_| ok(&format!("{{\"code\":0,\"x\":\"{}\"}}", "x".repeat(9 << 20)))).await;
    let closing = Origin::new(|_| Vec::new()).await;
    for (id, address) in [
        ("c-dead", dead),
        ("d-slow", slow),
        ("e-garbled", garbled.address),
        ("f-foreign", foreign.address),
        ("g-huge", huge.address),
        ("h-closing", closing.address),
    ] {
        world.add(id, address).await;
    }
    let (status, answer) = ask(&world, "GET /api/v1/streams").await;
    assert_eq!((status, ids(&answer, "streams").len()), (200, 5));
    let errors: Vec<String> = answer["origins"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|origin| Some(format!("{}: {}", origin["id"].as_str()?, origin["error"].as_str()?)))
        .collect();
    let expected = [
        "c-dead: it refused the connection",
        "d-slow: no answer within 2 s",
        "e-garbled: its answer (status 200) is none of SRS's",
        "f-foreign: its answer (status 200) is none of SRS's",
        "g-huge: its answer is larger than 8 MiB",
        "h-closing: it closed the connection instead of answering",
    ];
    assert_eq!(errors, expected);
    assert_eq!(ask(&world, "GET /api/v1/summaries").await.1["data"]["ok"], false, "and it is not all right");
    slow_task.abort();
}

#[tokio::test]
async fn nobody_registered_is_an_empty_list() {
    let (status, answer) = ask(&World::new(), "GET /api/v1/streams").await;
    assert_eq!((status, &answer["streams"], &answer["origins"]), (200, &json!([]), &json!([])));
}

#[tokio::test]
async fn one_thing_is_found_where_it_is_and_thrown_out_there_alone() {
    let (world, a, b) = two().await;
    let answer = ask(&world, "GET /api/v1/streams/vid-b1").await.1;
    assert_eq!(
        (&answer["code"], &answer["origin"], &answer["stream"]["id"]),
        (&json!(0), &json!("b"), &json!("vid-b0"))
    );
    let answer = ask(&world, "DELETE /api/v1/clients/b7").await.1;
    assert_eq!((&answer["code"], &answer["origin"]), (&json!(0), &json!("b")));
    let deleted = |origin: &Origin| origin.heard().iter().filter(|request| request.starts_with("DELETE")).count();
    assert_eq!((deleted(&a), deleted(&b)), (0, 1));
    let answer = ask(&world, "DELETE /api/v1/clients/nobody").await.1;
    assert_eq!((&answer["code"], answer["origins"].as_array().unwrap().len()), (&json!(2048), 2));
    assert_eq!((deleted(&a), deleted(&b)), (0, 1));
}

#[tokio::test]
async fn control_goes_to_all_and_the_rest_to_one() {
    let (world, a, b) = two().await;
    let answer = ask(&world, "POST /api/v1/raw?rpc=reload\n{}").await.1;
    assert_eq!((&answer["code"], answer["origins"].as_array().unwrap().len()), (&json!(0), 2));
    for origin in [&a, &b] {
        assert!(origin.heard()[0].starts_with("POST /api/v1/raw?rpc=reload HTTP/1.1"));
        assert!(origin.heard()[0].ends_with("\r\n\r\n{}"));
        assert!(origin.heard()[0].contains("X-Forwarded-For: 198.51.100.7\r\n"), "{}", origin.heard()[0]);
    }
    for _ in 0..5 {
        assert_eq!(ask(&world, "GET /api/v1/authors").await.1["path"], "/api/v1/authors");
    }
    let counts = [a.heard().len(), b.heard().len()];
    assert!(counts == [1, 6] || counts == [6, 1], "always the same one: {counts:?}");
}

#[tokio::test]
async fn what_names_a_stream_goes_to_its_origin_as_it_is() {
    use crate::registry::{Caller, Name};
    use crate::store::Publication;
    let (world, a, b) = two().await;
    let store = &world.proxy.store;
    for (stream, id) in [("s1", "a"), ("s2", "b"), ("s3", "a"), ("s4", "b")] {
        let key = std::sync::Arc::new(format!("__defaultVhost__/live/{stream}").parse().unwrap());
        let peer = "127.0.0.1".parse().unwrap();
        let caller = Caller { id: Some(id.into()), server: None, service: None, dialled: None, peer };
        let client = Name::parse("1").unwrap();
        let publication = Publication { dialled: std::sync::Arc::clone(&key), own: key, client, from: None };
        store.claim(&caller, &publication, false, world.proxy.clock.now()).await.unwrap();
    }
    for stream in ["s1", "s2", "s3", "s4"] {
        ask(&world, &format!("POST /rtc/v1/whep/?app=live&stream={stream}\nv=0 {stream}")).await;
        let offer = format!(r#"{{"sdp":"v=0","streamurl":"webrtc://x/live/{stream}"}}"#);
        ask(&world, &format!("POST /rtc/v1/play/\n{offer}")).await;
    }
    for (origin, streams) in [(&a, ["s1", "s3"]), (&b, ["s2", "s4"])] {
        let heard = origin.heard();
        assert_eq!(heard.len(), 4);
        for (at, stream) in streams.into_iter().enumerate() {
            assert!(heard[2 * at].ends_with(&format!("\r\n\r\nv=0 {stream}")), "{}", heard[2 * at]);
            assert!(heard[2 * at + 1].contains(&format!(r#""streamurl":"webrtc://x/live/{stream}""#)));
        }
    }
    let large = format!("POST /rtc/v1/play/\n{}", "x".repeat(300_000));
    assert_eq!(ask(&world, &large).await.0, 413);
}

#[tokio::test]
async fn a_client_that_sends_slowly_takes_nobodys_turn() {
    let (world, _a, _b) = two().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let (mut client, task) = world.connect_by(1024, ServiceKind::Api);
        client.write_all(b"POST /api/v1/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{").await.unwrap();
        slow.push((client, task));
    }
    assert_eq!(ask(&world, "GET /api/v1/versions").await.0, 200);
    assert!(!world.metrics().contains("\"questions\"} 1"));
}

#[tokio::test]
async fn no_more_questions_than_turns_and_no_more_answers_than_memory() {
    let world = World::new();
    let large = ok(&format!("{{\"code\":0,\"x\":\"{}\"}}", "x".repeat(7 << 20)));
    let mut origins = Vec::new();
    for at in 0..5 {
        let large = large.clone();
        let origin = Origin::new(move |_| large.clone()).await;
        world.add(&format!("o{at}"), origin.address).await;
        origins.push(origin);
    }
    let answer = ask(&world, "GET /api/v1/versions").await.1.to_string();
    assert!(answer.contains("all answers together are larger than 32 MiB"), "one of five");
    let turns = world.proxy.questions.acquire_many(4).await.unwrap();
    assert_eq!(ask(&world, "GET /api/v1/versions").await.0, 503);
    assert!(world.metrics().contains("\"questions\"} 1"), "{}", world.metrics());
    drop(turns);
}

#[tokio::test]
async fn pages_of_other_sites_may_negotiate_and_nothing_else() {
    let silent = Origin::new(|_| b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec()).await;
    let world = World::new();
    world.add("o1", silent.address).await;
    for (path, status) in [("/rtc/v1/whip/?app=live&stream=a", 204), ("/api/v1/clients/7", 403)] {
        let (mut client, task) = world.connect_by(64 * 1024, ServiceKind::Api);
        let asks = "Host: x\r\nOrigin: https://p\r\nAccess-Control-Request-Method: DELETE\r\n\r\n";
        client.write_all(format!("OPTIONS {path} HTTP/1.1\r\n{asks}").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let mut heard = String::new();
        client.read_to_string(&mut heard).await.unwrap();
        task.await.unwrap();
        assert!(heard.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {heard}");
        assert_eq!(heard.to_ascii_lowercase().contains("access-control-allow-origin"), status == 204, "{path}");
    }
}
