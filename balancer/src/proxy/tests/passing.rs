//! What passes between a client and an origin, and how it is changed.

use super::world::{Origin, Outcome, World, bodies, ok, statuses};
use balancer_common::abi::ServiceKind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn world_with(origin: &Origin) -> World {
    let world = World::new();
    world.add("o1", origin.address).await;
    world
}

async fn answered(said: &'static str, asked: &str) -> (String, Vec<String>) {
    let origin = Origin::new(move |_| said.as_bytes().to_vec()).await;
    let world = world_with(&origin).await;
    let (heard, _) = world.hear(asked.as_bytes()).await;
    (heard, origin.heard())
}

#[tokio::test]
async fn the_request_is_the_clients_own_but_for_the_connection() {
    let (_, heard) = answered(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "GET /live/a%20b-1.ts?token=x%2Fy&a=&spbkey=h%2Flive%2Fa%20b HTTP/1.1\r\nHost: A.b.com:81\r\nRange: bytes=0-9\r\n\
         If-None-Match: \"e\"\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nCookie: c\r\n\r\n",
    )
    .await;
    let mut lines: Vec<&str> = heard[0].trim_end().lines().collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /live/a%20b-1.ts?token=x%2Fy&a= HTTP/1.1",
            "Cookie: c",
            "Forwarded: for=198.51.100.7;by=127.0.0.1;proto=http",
            "Host: A.b.com:81",
            "If-None-Match: \"e\"",
            "Range: bytes=0-9",
            "X-Forwarded-For: 198.51.100.7",
            "X-Forwarded-Proto: http",
            "X-Real-Ip: 198.51.100.7",
        ]
    );
}

#[tokio::test]
async fn an_absolute_target_becomes_a_path_and_its_authority_the_host() {
    let (heard, asked) = answered(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "GET http://a.b.com/x?y HTTP/1.1\r\nHost: other\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
    )
    .await;
    assert_eq!(statuses(&heard), [200, 200]);
    assert!(asked[0].starts_with("GET /x?y HTTP/1.1\r\n") && asked[0].contains("Host: a.b.com\r\n"), "{}", asked[0]);
    assert!(asked[1].starts_with("OPTIONS * HTTP/1.1\r\n"), "{}", asked[1]);
}

#[tokio::test]
async fn answers_without_a_body_have_none() {
    let get = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n";
    for (said, asked, expected) in [
        ("HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\nContent-Length: 7\r\n\r\n", get, 304),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", get, 204),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", head, 200),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            get,
            200,
        ),
    ] {
        let (heard, asked) = answered(said, &asked.repeat(2)).await;
        assert_eq!((statuses(&heard), asked.len()), (vec![expected; 2], 2), "{said}");
        assert!(heard.ends_with("\r\n\r\n") && !heard.contains("Early"), "{heard}");
        assert_eq!(heard.contains("1000"), said.contains("1000"), "the length that a GET would have had");
    }
}

#[tokio::test]
async fn a_range_passes_with_its_status_and_extent() {
    let said = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-2/9\r\nAccept-Ranges: bytes\r\n\
                Content-Length: 3\r\nConnection: X-Hop\r\nX-Hop: y\r\n\r\nabc";
    let (heard, _) = answered(said, "GET /x HTTP/1.1\r\nHost: h\r\nRange: bytes=0-2\r\n\r\n").await;
    assert!(heard.starts_with("HTTP/1.1 206 Partial Content\r\n") && heard.ends_with("\r\n\r\nabc"), "{heard}");
    assert!(heard.contains("Content-Range: bytes 0-2/9\r\n") && !heard.contains("X-Hop"), "{heard}");
    assert!(heard.contains("Access-Control-Allow-Origin: *\r\n"), "{heard}");
}

#[tokio::test]
async fn chunks_and_trailers_pass() {
    let said = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n";
    let origin = Origin::new(move |_| said.as_bytes().to_vec()).await;
    let world = world_with(&origin).await;
    let (heard, _) = world.hear(b"GET /x HTTP/1.1\r\nHost: h\r\nTE: trailers\r\n\r\n").await;
    let (head, body) = heard.split_once("\r\n\r\n").unwrap();
    assert!(head.to_lowercase().contains("transfer-encoding: chunked"), "{head}");
    let data: String = body.split("\r\n").filter(|line| ["abc", "de", "abcde"].contains(line)).collect();
    assert_eq!(data, "abcde");
    assert!(body.to_lowercase().ends_with("0\r\nx-sum: 5\r\n\r\n"), "{body}");
    let (heard, _) = world.hear(b"GET /x HTTP/1.0\r\n\r\n").await;
    assert!(heard.ends_with("abcde") && !heard.to_lowercase().contains("chunked"), "{heard}");
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_passes_to_its_end() {
    let said = "HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\n\r\nFLV...";
    let (heard, asked) = answered(said, "GET /x HTTP/1.1\r\nHost: h\r\n\r\nGET /y HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(
        (statuses(&heard), asked.len()),
        (vec![200, 200], 2),
        "chunked for the client, whose connection goes on"
    );
    assert_eq!(heard.matches("FLV...").count(), 2);
    let (heard, _) = answered(said, "GET /x HTTP/1.0\r\n\r\n").await;
    assert!(heard.ends_with("\r\n\r\nFLV..."), "{heard}");
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_cut_off_for_the_client_too() {
    for said in [
        "HTTP/1.1 200 OK\r\nX-Cut: here\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nX-Cut: here\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
    ] {
        let origin = Origin::new(move |_| said.as_bytes().to_vec()).await;
        let world = world_with(&origin).await;
        let (heard, outcome) = world.hear(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert_eq!(outcome, Outcome::Closed);
        // What is there when it breaks off may be lost with it, but is never made to look whole.
        assert!(heard.is_empty() || heard.ends_with("abc\r\n") || heard.ends_with("abc"), "{heard}");
        let playlist = world.hear(b"GET /live/a.m3u8 HTTP/1.1\r\nHost: h\r\n\r\n").await.0;
        assert_eq!(statuses(&playlist), [502], "it was to be read whole");
    }
}

const PLAYLIST: &str = "#EXTM3U\n#EXTINF:2,\na-1.ts\n#EXTINF:2,\n/elsewhere/0001.ts?x=y\n";

#[tokio::test]
async fn a_playlist_leads_back_to_its_stream() {
    let origin = Origin::new(|request| if request.contains(".m3u8") { ok(PLAYLIST) } else { ok("segment") }).await;
    let world = world_with(&origin).await;
    let asked = "GET /live/a.m3u8?token=t HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n";
    let (heard, _) = world.hear(asked.as_bytes()).await;
    let marked = "/elsewhere/0001.ts?x=y&spbkey=__defaultVhost__/live/a\n";
    assert_eq!(bodies(&heard), [PLAYLIST.replace("/elsewhere/0001.ts?x=y\n", marked)]);
    let asked = format!("GET {} HTTP/1.1\r\nHost: h\r\n\r\n", marked.trim());
    let (heard, _) = world.hear(asked.as_bytes()).await;
    assert_eq!(bodies(&heard), ["segment"]);
    assert!(!origin.heard()[0].to_lowercase().contains("accept-encoding"));
    assert!(origin.heard()[1].starts_with("GET /elsewhere/0001.ts?x=y HTTP/1.1\r\n"), "{}", origin.heard()[1]);
}

#[tokio::test]
async fn a_playlist_that_is_too_large_passes_unread() {
    let text = format!("#EXTM3U\n{}/elsewhere/1.ts\n", "#EXTINF:2,\na-1.ts\n".repeat(80_000));
    let (chunked, plain) = (text.clone(), text.clone());
    let origin = Origin::new(move |request| match request.contains("/live/a") {
        true => ok(&plain),
        false => {
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            format!("{head}{:x}\r\n{chunked}\r\n0\r\n\r\n", chunked.len()).into_bytes()
        }
    })
    .await;
    let world = world_with(&origin).await;
    let (heard, _) = world.hear(b"GET /live/a.m3u8 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!(bodies(&heard), std::slice::from_ref(&text));
    let (heard, _) = world.hear(b"GET /live/b.m3u8 HTTP/1.0\r\n\r\n").await;
    assert!(heard.ends_with(&text), "{} bytes", heard.len());
}

#[tokio::test]
async fn expectations_are_met_here() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let (mut client, _task) = world.connect();
    let head = b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
    client.write_all(head).await.unwrap();
    let mut heard = vec![0; 25];
    client.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"abc").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(bodies(&heard), ["POST /x HTTP/1.1"]);
    assert!(!origin.heard()[0].to_lowercase().contains("expect"));
}

#[tokio::test]
async fn browsers_may_ask_where_the_origin_does_not_know_how() {
    let ask = "OPTIONS /live/a.m3u8 HTTP/1.1\r\nHost: h\r\nOrigin: https://p\r\nAccess-Control-Request-Method: GET\r\n\
               Access-Control-Request-Headers: range\r\n\r\n";
    for said in [
        "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (heard, _) = answered(said, ask).await;
        assert_eq!(statuses(&heard), [204], "{said}");
        assert!(heard.contains("Access-Control-Allow-Headers: range\r\n"), "{heard}");
    }
    let own = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: https://p\r\nContent-Length: 0\r\n\r\n";
    let (heard, _) = answered(own, ask).await;
    assert!(heard.starts_with("HTTP/1.1 200") && heard.contains("Allow-Origin: https://p\r\n"), "{heard}");
}

#[tokio::test]
async fn the_api_port_asks_the_api() {
    let origin = Origin::echo().await;
    let world = world_with(&origin).await;
    let (mut client, _task) = world.connect_by(4096, ServiceKind::Api);
    client.write_all(b"GET /any/thing HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut heard = String::new();
    client.read_to_string(&mut heard).await.unwrap();
    assert_eq!(bodies(&heard), ["GET /any/thing HTTP/1.1"]);
    assert!(world.metrics().contains("balancer_http_requests_total{kind=\"api\",code=\"2xx\"} 1"));
}

#[tokio::test]
async fn requests_are_counted_by_what_they_are_for() {
    let origin = Origin::new(|_| ok("#EXTM3U")).await;
    let world = World::new();
    world.add("o1", origin.address).await;
    let one = "GET /live/a.m3u8 HTTP/1.1\r\nHost: h\r\n\r\n";
    world.hear((one.to_owned() + one + "GET /x HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n").as_bytes()).await;
    let metrics = world.metrics();
    for line in [
        "balancer_http_requests_total{kind=\"playlist\",code=\"2xx\"} 2",
        "balancer_http_requests_total{kind=\"refused\",code=\"4xx\"} 1",
        "balancer_http_requests_total{kind=\"segment\",code=\"5xx\"} 0",
        "balancer_http_origin_requests_total{result=\"connected\"} 1",
        "balancer_http_origin_requests_total{result=\"reused\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
