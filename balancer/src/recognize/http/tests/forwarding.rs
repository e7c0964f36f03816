//! The head that an origin gets.

use super::*;
use std::net::SocketAddr;

fn via(client: &str, trust_forwarded: bool) -> Via {
    Via { client: address(client), tls: false, vip: address("10.0.0.1:8080"), trust_forwarded }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn forwarded_text(bytes: &str, via: &Via) -> String {
    String::from_utf8(forward(&complete(bytes), via)).unwrap()
}

const ADDED: &str = "X-Forwarded-For: 192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\nX-Forwarded-Proto: http\r\n\
    Forwarded: for=192.0.2.7;by=10.0.0.1;proto=http\r\n\r\n";

#[test]
fn the_clients_own_bytes_go_on_and_those_of_the_connection_do_not() {
    let bytes = "GET /live/s1.flv?a=%20 HTTP/1.1\r\nhOST:h\r\nConnection: keep-alive, X-Hop, Host\r\nX-Hop: 1\r\n\
        Keep-Alive: 5\r\nAccept:  */*  \r\nproxy-connection: x\r\nUpgrade: h2c\r\nRange: bytes=0-\r\n\r\n";
    let expected =
        "GET /live/s1.flv?a=%20 HTTP/1.1\r\nhOST:h\r\nAccept:  */*\r\nRange: bytes=0-\r\nConnection: close\r\n";
    assert_eq!(forwarded_text(bytes, &via("192.0.2.7:50000", false)), format!("{expected}{ADDED}"));
}

#[test]
fn an_upgrade_stays_one() {
    let bytes = "GET /live/s1.flv HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Key: k\r\n\r\n";
    let expected = "GET /live/s1.flv HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\
        Connection: Upgrade\r\n";
    assert_eq!(forwarded_text(bytes, &via("192.0.2.7:50000", false)), format!("{expected}{ADDED}"));
}

#[test]
fn an_absolute_target_becomes_its_path_and_its_authority_the_host() {
    let bytes = "GET http://a.b.com:81?x HTTP/1.1\r\nAccept: */*\r\nHost: other\r\n\r\n";
    let expected = "GET /?x HTTP/1.1\r\nHost: a.b.com:81\r\nAccept: */*\r\nConnection: close\r\n";
    assert_eq!(forwarded_text(bytes, &via("192.0.2.7:50000", false)), format!("{expected}{ADDED}"));
}

#[test]
fn what_a_stranger_claims_is_replaced() {
    let bytes = "GET / HTTP/1.0\r\nX-Forwarded-For: 1.1.1.1\r\nx_forwarded_for: 1.1.1.1\r\nX-REAL-IP: 1.1.1.1\r\n\
        X-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\n\r\n";
    let expected = "GET / HTTP/1.0\r\nConnection: close\r\n";
    // A dual-stack socket shows IPv4 so.
    assert_eq!(forwarded_text(bytes, &via("[::ffff:192.0.2.7]:50000", false)), format!("{expected}{ADDED}"));
}

#[test]
fn what_a_proxy_of_ours_claims_is_added_to() {
    let bytes = "GET / HTTP/1.0\r\nX-Forwarded-For: 1.1.1.1\r\nConnection: x-forwarded-for\r\nX-Forwarded-For: 2.2.2.2\r\n\
        X-Real-IP: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\nX-Forwarded-For:\r\n\r\n";
    let expected = "GET / HTTP/1.0\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2, 192.0.2.7\r\n\
        X-Real-IP: 1.1.1.1\r\nX-Forwarded-Proto: https\r\n\
        Forwarded: for=1.1.1.1, for=192.0.2.7;by=10.0.0.1;proto=http\r\n\r\n";
    assert_eq!(forwarded_text(bytes, &via("192.0.2.7:50000", true)), expected);
}

#[test]
fn an_ipv6_address_is_bracketed_where_the_rfc_says_so() {
    let via = Via { tls: true, vip: address("[2001:db8::1]:443"), ..via("[2001:db8::7]:50000", false) };
    let values = forwarded(|_| std::iter::empty(), &via).map(|(name, value)| (name, String::from_utf8(value).unwrap()));
    let expected = [
        ("x-forwarded-for", "2001:db8::7"),
        ("x-real-ip", "2001:db8::7"),
        ("x-forwarded-proto", "https"),
        ("forwarded", "for=\"[2001:db8::7]\";by=\"[2001:db8::1]\";proto=https"),
    ];
    assert_eq!(values, expected.map(|(name, value)| (name, value.to_owned())));
}
