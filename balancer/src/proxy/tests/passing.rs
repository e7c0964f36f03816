//! What passes between a client and an origin, and how it is changed.

use super::world::{Origin, World, ok};

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
