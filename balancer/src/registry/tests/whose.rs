//! Who calls a hook.

use crate::registry::*;
use balancer_common::abi::ServiceKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn registry(beats: &[(&str, &str, &str, u16)]) -> Registry {
    let admission = Admission { networks: vec!["0.0.0.0/0".parse().unwrap()], own: vec![] };
    let mut registry = Registry::new(admission, Duration::from_secs(30), None).unwrap();
    for (device, server, ip, port) in beats {
        let ip: IpAddr = ip.parse().unwrap();
        let mut endpoints = Endpoints::default();
        endpoints.add(ServiceKind::Rtmp, SocketAddr::new(ip, *port)).unwrap();
        let incarnation = Incarnation { service: name(&format!("run-{device}")), pid: name("1") };
        let (device_id, server) = (Some(name(device)), name(server));
        let beat = SrsRegistration { device_id, server, incarnation, ip, endpoints };
        registry.register(&beat, Duration::ZERO).unwrap();
    }
    registry
}

fn at(peer: &str) -> Caller {
    Caller { id: None, server: None, service: None, dialled: None, peer: peer.parse().unwrap() }
}

fn found(registry: &Registry, caller: &Caller) -> Result<String, String> {
    let index = registry.whose(caller).map_err(|e| e.to_string())?;
    Ok(registry.get(index).unwrap().id.to_string())
}

#[test]
fn an_origin_is_known_by_what_it_says_before_where_it_is() {
    let r = registry(&[("a", "s1", "10.0.0.1", 1935), ("b", "s2", "10.0.0.2", 1935)]);
    assert_eq!(found(&r, &at("10.0.0.2")).unwrap(), "b");
    let named = Caller { id: Some("a".into()), server: Some(name("s2")), ..at("10.0.0.2") };
    assert_eq!(found(&r, &named).unwrap(), "a");
    let server = Caller { server: Some(name("s1")), ..at("192.0.2.1") };
    assert_eq!(found(&r, &server).unwrap(), "a", "behind an address of the balancer's, or NAT");
    let put = Caller { server: Some(name("unknown")), ..at("10.0.0.1") };
    assert_eq!(found(&r, &put).unwrap(), "a", "registered by an operator, without its server name");
    let nobody = Caller { id: Some("x".into()), ..at("10.0.0.1") };
    assert!(found(&r, &nobody).unwrap_err().starts_with("there is no origin \"x\""));
    assert!(found(&r, &at("10.0.0.9")).unwrap_err().contains("?origin=ID"));
}

#[test]
fn servers_that_share_a_name_are_told_apart_by_their_run() {
    let r = registry(&[("a", "s", "10.0.0.1", 1935), ("b", "s", "10.0.0.1", 1936)]);
    let caller =
        |service: Option<&str>| Caller { server: Some(name("s")), service: service.map(name), ..at("10.0.0.1") };
    assert_eq!(found(&r, &caller(Some("run-b"))).unwrap(), "b");
    assert!(found(&r, &caller(Some("run-c"))).is_err());
    assert!(found(&r, &caller(None)).is_err());
}

#[test]
fn several_origins_at_one_address_need_a_name_or_a_direct_publisher() {
    let r = registry(&[("a", "s1", "10.0.0.1", 1935), ("b", "s2", "10.0.0.1", 1936), ("c", "s3", "10.0.0.3", 1935)]);
    let error = found(&r, &at("10.0.0.1")).unwrap_err();
    assert_eq!(error, "origins a, b are all at 10.0.0.1: name the one by ?origin=ID in the hook's URL");
    let dialled = |address: &str| Caller { dialled: Some(address.parse().unwrap()), ..at("10.0.0.1") };
    assert_eq!(found(&r, &dialled("10.0.0.1:1936")).unwrap(), "b");
    assert_eq!(found(&r, &dialled("192.0.2.10:1935")).unwrap_err(), error, "the VIP says nothing");
    assert_eq!(found(&r, &dialled("10.0.0.3:1935")).unwrap_err(), error, "nor does another host");
}

#[test]
fn a_publisher_that_is_an_origin_hands_its_stream_on() {
    let r = registry(&[("a", "s1", "10.0.0.1", 1935), ("b", "s2", "10.0.0.1", 1936), ("c", "s3", "10.0.0.3", 1935)]);
    let index = |id: &str| r.index_of(id).unwrap();
    let is_another = |id: &str, ip: &str| r.is_another(index(id), ip.parse().unwrap());
    assert!(is_another("a", "10.0.0.3") && is_another("c", "10.0.0.1"));
    assert!(!is_another("a", "10.0.0.9"));
    assert!(!is_another("a", "10.0.0.1"), "encoders on the origin's own host, and everything on one host");
}
