//! Tests of what is shown: `--print-config`, and the example file that reads back as the defaults.

use super::*;
use crate::config::fixtures::{environment, file, nothing};
use crate::config::resolve::resolve;
use crate::config::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

#[test]
fn print_config_says_where_each_value_came_from_and_hides_secrets() {
    let mut inputs = environment(&[("PROXY_RTMP_SERVER", "11935"), ("BALANCER_TOKEN", "hunter2")]);
    inputs.read = file("# mine\npolicy = \"round-robin\"\n").read;
    inputs.flags.insert("vip", vec!["192.0.2.1".into(), "192.0.2.2".into()]);
    let resolved = resolve(&inputs).unwrap();
    let text = print_config(&resolved.draft, &resolved.sources);
    let line = |name: &str| {
        let line = text.lines().find(|l| l.trim_start_matches("# ").starts_with(name)).unwrap();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("rtmp"), "rtmp = 11935 # PROXY_RTMP_SERVER");
    assert_eq!(line("policy"), "policy = \"round-robin\" # balancer.toml:2");
    assert_eq!(line("vip"), "vip = [\"192.0.2.1\", \"192.0.2.2\"] # --vip");
    assert_eq!(line("interface"), "interface = \"eth0\" # default, the default route's interface");
    assert_eq!(line("origin_ttl"), "origin_ttl = \"30s\" # default");
    assert_eq!(line("token"), "# token = <secret> # BALANCER_TOKEN");
    assert_eq!(line("http"), "http = 8080 # default");
    assert!(!text.contains("hunter2") && !format!("{resolved:?}").contains("hunter2"));
    assert_eq!(text.lines().count(), SETTINGS.len());
}

#[test]
fn printed_settings_are_a_file_that_makes_the_same_settings() {
    let resolved = resolve(&nothing()).unwrap();
    let again = resolve(&file(&print_config(&resolved.draft, &resolved.sources))).unwrap();
    assert_eq!(again.settings, resolved.settings);
}

#[test]
fn the_committed_example_is_the_generated_one() {
    let committed = include_str!("../../../../balancer.example.toml");
    assert!(committed == example(), "run: cargo run -p balancer -- example-config > balancer.example.toml");
}

#[test]
fn the_example_makes_the_defaults_also_with_its_settings_uncommented() {
    let defaults = resolve(&nothing()).unwrap().settings;
    assert_eq!(resolve(&file(&example())).unwrap().settings, defaults);
    let uncommented: String = example()
        .lines()
        .map(|line| match line.strip_prefix('#').filter(|l| l.starts_with(|c: char| c.is_ascii_lowercase())) {
            Some(setting) if has_default(setting) => format!("{setting}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(resolve(&file(&uncommented)).unwrap().settings, defaults);
    assert!(uncommented.contains("\norigin_ttl = \"30s\"\n"));
}

fn has_default(assignment: &str) -> bool {
    SETTINGS.iter().any(|row| !row.default.is_empty() && assignment.starts_with(&format!("{} =", row.name)))
}

#[test]
fn every_example_value_is_accepted() {
    for row in SETTINGS.iter().filter(|row| !row.example.is_empty()) {
        let mut draft = Draft::defaults();
        (row.access.set)(&mut draft, row, &[row.example.into()]).unwrap_or_else(|e| panic!("{}: {e:?}", row.name));
    }
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|n| IpAddr::V4(Ipv4Addr::from_bits(n | 0x0100_0000))),
        any::<u128>().prop_map(|n| IpAddr::V6(Ipv6Addr::from_bits(n | 1))),
    ]
}

fn listens() -> impl Strategy<Value = Vec<Listen>> {
    let listen = prop_oneof![
        (1..u16::MAX).prop_map(Listen::Port),
        (address(), 1..u16::MAX).prop_map(|(ip, port)| Listen::Address(SocketAddr::new(ip, port))),
    ];
    distinct(listen)
}

fn distinct<T: PartialEq + std::fmt::Debug>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    proptest::collection::vec(of, 1..4).prop_map(|values| {
        let mut kept: Vec<T> = Vec::new();
        for value in values {
            if !kept.contains(&value) {
                kept.push(value);
            }
        }
        kept
    })
}

fn networks() -> impl Strategy<Value = Vec<IpNet>> {
    distinct((address(), 0u8..=32).prop_map(|(ip, len)| IpNet::new(ip, len).unwrap().trunc()))
}

prop_compose! {
    fn addresses()(
        interfaces in distinct("[a-z][a-z0-9.@_-]{0,13}"),
        vips in distinct(address()),
        rtmp in listens(),
        srt in listens(),
        system_api in (address(), 1..u16::MAX).prop_map(SocketAddr::from),
        allow_register in networks(),
        origin_networks in proptest::option::of(networks()),
        default_origin in proptest::option::of((address(), proptest::option::of(1..u16::MAX))),
    ) -> Settings {
        let default_origin = default_origin.map(|(ip, http)| DefaultOrigin {
            ip, http, rtmp: Some(1), api: Some(2), rtc: Some(3), srt: Some(4),
        });
        Settings {
            interfaces, vips, rtmp, srt, system_api, allow_register, origin_networks, default_origin,
            ..Settings::default()
        }
    }
}

prop_compose! {
    fn any_settings()(
        settings in addresses(),
        modes in (0usize..4, 0usize..3, any::<bool>()),
        pin_path in "/[ -~]{0,20}[!-~]",
        ports in (1024u16.., 1024u16..),
        times_ns in proptest::array::uniform5(1_000_000_000u64..300_000_000_000),
        counts in proptest::array::uniform5(4096usize..500_000),
    ) -> Settings {
        let time = |i: usize| Duration::from_nanos(times_ns[i]);
        Settings {
            xdp_mode: [XdpMode::Auto, XdpMode::Native, XdpMode::Generic, XdpMode::Off][modes.0],
            policy: [Policy::LeastLoad, Policy::Rendezvous, Policy::RoundRobin][modes.1],
            copies: modes.0 + 1,
            second_publisher: [SecondPublisher::Origin, SecondPublisher::Refuse, SecondPublisher::Backup][modes.1],
            log_format: if modes.2 { LogFormat::Json } else { LogFormat::Text },
            pin_path: pin_path.into(),
            source_ports: ports.0.min(ports.1)..=ports.0.max(ports.1),
            origin_ttl: time(0),
            connect_timeout: time(1),
            idle_timeout: time(2),
            preamble_timeout: time(3),
            grace_quit_timeout: time(4),
            handshakes_max: counts[0],
            handshakes_per_client_max: counts[1],
            preamble_bytes_max: counts[2],
            relay_buffer_bytes: counts[3],
            flows_max: counts[4],
            ..settings
        }
    }
}

proptest! {
    #[test]
    fn any_settings_printed_read_back_equal(settings in any_settings()) {
        let text = print_config(&Draft::from(settings.clone()), &Sources::new());
        let layers = layers::Layers::gather(&file(&text));
        prop_assert_eq!(&layers.problems, &[]);
        let mut draft = Draft::defaults();
        for row in SETTINGS {
            if let Some(given) = layers.get(row) {
                prop_assert_eq!((row.access.set)(&mut draft, row, &given.texts), Ok(()), "{}\n{}", row.name, &text);
            }
        }
        prop_assert_eq!(draft.finish(), settings);
    }
}
