//! Tests of the notations of single values: durations, sizes, addresses, ranges.

use super::*;
use std::time::Duration;

#[test]
fn durations_are_read_as_go_writes_them() {
    let ms = |s: &str| (DURATION.parse)(s).unwrap().as_millis();
    assert_eq!(ms("300s"), 300_000);
    assert_eq!(ms("5m0s"), 300_000);
    assert_eq!(ms("1m30s"), 90_000);
    assert_eq!(ms("1.5h"), 5_400_000);
    assert_eq!(ms(".5s"), 500);
    assert_eq!(ms("100ms"), 100);
    assert_eq!(ms("0"), 0);
    for wrong in ["", "s", "5 s", "5x", "-5s", "1..5s", "1s2", ".s", "99999999999h", "1e3s"] {
        assert!((DURATION.parse)(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!((DURATION.parse)("300").unwrap_err().remedy, "say the unit: 300s, 300ms or 300m");
    assert_eq!((DURATION.show)(&Duration::from_millis(1500)), "1500ms");
    assert_eq!((DURATION.show)(&Duration::from_secs(300)), "300s");
}

#[test]
fn sizes_are_read_with_binary_and_decimal_units() {
    let bytes = |s: &str| (BYTES.parse)(s).unwrap();
    assert_eq!(bytes("65536"), 65536);
    assert_eq!(bytes("64KiB"), 65536);
    assert_eq!(bytes("64 KiB"), 65536);
    assert_eq!(bytes("1_000"), 1000);
    assert_eq!(bytes("2MB"), 2_000_000);
    for wrong in ["", "KiB", "64K", "1.5MiB", "-1", "99999999999GiB"] {
        assert!((BYTES.parse)(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!((BYTES.show)(&262_144), "256KiB");
    assert_eq!((BYTES.show)(&1_000), "1000");
}

#[test]
fn a_listening_place_is_a_port_or_an_address_with_one() {
    let listen = |s: &str| (LISTEN.parse)(s);
    assert_eq!(listen("1935"), Ok(Listen::Port(1935)));
    assert_eq!(listen(":1935"), Ok(Listen::Port(1935)));
    assert_eq!(listen("0.0.0.0:1935"), Ok(Listen::Port(1935)), "everywhere is every VIP");
    assert_eq!(listen("[::]:1935"), Ok(Listen::Port(1935)));
    assert_eq!(listen("192.0.2.1:1935"), Ok(Listen::Address("192.0.2.1:1935".parse().unwrap())));
    assert_eq!(listen("[2001:db8::1]:1935"), Ok(Listen::Address("[2001:db8::1]:1935".parse().unwrap())));
    for wrong in ["", "0", "65536", "+80", "192.0.2.1", "192.0.2.1:0", "localhost:1935", "2001:db8::1:1935:"] {
        assert!(listen(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!((LISTEN_HOST.parse)("0.0.0.0:1"), Ok(Listen::Address("0.0.0.0:1".parse().unwrap())));
}

#[test]
fn networks_may_be_single_addresses_and_lose_their_host_bits() {
    let network = |s: &str| (NETWORK.parse)(s).map(|n| n.to_string());
    assert_eq!(network("10.1.2.3/8"), Ok("10.0.0.0/8".into()));
    assert_eq!(network("10.1.2.3"), Ok("10.1.2.3/32".into()));
    assert!(network("10.0.0.0/33").is_err());
}

#[test]
fn a_port_range_has_an_order() {
    assert_eq!((PORT_RANGE.parse)("20000-32767"), Ok(20000..=32767));
    assert_eq!((PORT_RANGE.parse)("5000 - 5000"), Ok(5000..=5000));
    for wrong in ["", "5", "6-5", "0-5", "1-65536", "a-b"] {
        assert!((PORT_RANGE.parse)(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn a_wrong_choice_suggests_the_nearest() {
    let fault = (XDP_MODE.parse)("nativ").unwrap_err();
    assert_eq!(fault.remedy, "did you mean native? It can be auto, native, generic, off");
}

#[test]
fn a_store_is_memory_or_redis() {
    assert_eq!((STORE.parse)("memory"), Ok(StoreKind::Memory));
    assert_eq!((STORE.parse)("redis"), (STORE.parse)("redis://127.0.0.1:6379/0"));
    assert!((STORE.parse)("etcd://a").unwrap_err().remedy.contains("redis://"));
}

#[test]
fn a_secret_is_not_repeated() {
    let fault = (SECRET.parse)("hunter2 \u{7}").unwrap_err();
    assert!(!format!("{fault:?}").contains("hunter2"));
    let fault = (STORE.parse)("redis://:hunter2@10.0.0.1/zero").unwrap_err();
    assert!(!format!("{fault:?}").contains("hunter2"));
}
