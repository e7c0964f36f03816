//! Tests of the resolution: precedence, defaults, and the words of its errors.

use super::*;
use crate::config::fixtures::{environment, file, flags, nothing};
use crate::config::host::HostFacts;
use crate::config::{Listen, Secret, StoreKind};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

fn settings(inputs: &Inputs) -> Settings {
    resolve(inputs).unwrap().settings
}

fn errors(inputs: &Inputs) -> String {
    resolve(inputs).unwrap_err().to_string()
}

#[test]
fn nothing_given_means_the_documented_defaults() {
    let settings = settings(&nothing());
    assert_eq!(settings.interfaces, ["eth0"]);
    assert_eq!(settings.vips, ["192.0.2.10".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(settings.rtmp, [Listen::Port(1935)]);
    assert_eq!(settings.system_api, "127.0.0.1:12025".parse().unwrap());
    assert_eq!(settings.origin_ttl, Duration::from_secs(30));
    assert_eq!(settings.source_ports, 20000..=32767);
    assert_eq!((settings.handshakes_max, settings.handshakes_per_client_max), (10_000, 100));
    assert_eq!((settings.preamble_bytes_max, settings.relay_buffer_bytes), (65_536, 262_144));
    assert_eq!(settings.flows_max, 500_000);
    assert_eq!((settings.token, settings.default_origin, settings.origin_networks), (None, None, None));
}

#[test]
fn a_flag_wins_over_the_environment_that_over_the_file_that_over_the_default() {
    let all = || {
        let mut inputs = file("origin_ttl = \"2s\"");
        inputs.environment.insert("PROXY_ORIGIN_SERVER_TTL".into(), "3s".into());
        inputs.environment.insert("BALANCER_ORIGIN_TTL".into(), "4s".into());
        inputs.flags.insert("origin_ttl", vec!["5s".into()]);
        inputs
    };
    let ttl = |inputs: &Inputs| {
        let resolved = resolve(inputs).unwrap();
        (resolved.settings.origin_ttl.as_secs(), resolved.sources["origin_ttl"].to_string())
    };
    let mut inputs = all();
    assert_eq!(ttl(&inputs), (5, "--origin-ttl".into()));
    inputs.flags.clear();
    assert_eq!(ttl(&inputs), (4, "BALANCER_ORIGIN_TTL".into()));
    inputs.environment.remove("BALANCER_ORIGIN_TTL");
    assert_eq!(ttl(&inputs), (3, "PROXY_ORIGIN_SERVER_TTL".into()));
    inputs.environment.clear();
    assert_eq!(ttl(&inputs), (2, "balancer.toml:1".into()));
    assert_eq!(ttl(&nothing()), (30, "default".into()));
}

#[test]
fn an_srs_proxy_starts_unchanged() {
    let resolved = resolve(&environment(&[
        ("PROXY_RTMP_SERVER", "11935"),
        ("PROXY_HTTP_SERVER", "18080"),
        ("PROXY_HTTP_API", "11985"),
        ("PROXY_WEBRTC_SERVER", "18000"),
        ("PROXY_SRT_SERVER", "20080"),
        ("PROXY_SYSTEM_API", "12026"),
        ("PROXY_STATIC_FILES", "../srs/trunk/research"),
        ("PROXY_LOAD_BALANCER_TYPE", "memory"),
        ("PROXY_REDIS_HOST", "127.0.0.1"),
        ("PROXY_REDIS_PORT", "6379"),
        ("PROXY_REDIS_PASSWORD", ""),
        ("PROXY_REDIS_DB", "0"),
        ("PROXY_DEFAULT_BACKEND_ENABLED", "on"),
        ("PROXY_DEFAULT_BACKEND_IP", "10.0.0.7"),
        ("PROXY_DEFAULT_BACKEND_RTMP", "1936"),
        ("PROXY_DEFAULT_BACKEND_HTTP", ""),
        ("PROXY_ORIGIN_SERVER_TTL", "300s"),
        ("PROXY_GRACE_QUIT_TIMEOUT", "20s"),
        ("PROXY_FORCE_QUIT_TIMEOUT", "1m30s"),
    ]))
    .unwrap();
    let settings = resolved.settings;
    assert_eq!(settings.rtmp, [Listen::Port(11935)]);
    assert_eq!((&settings.http[..], &settings.api[..]), (&[Listen::Port(18080)][..], &[Listen::Port(11985)][..]));
    assert_eq!(settings.static_files, Some("../srs/trunk/research".into()));
    assert_eq!(settings.system_api.port(), 12026);
    assert_eq!(settings.origin_ttl.as_secs(), 300);
    assert_eq!(settings.force_quit_timeout.as_secs(), 90);
    let origin = settings.default_origin.unwrap();
    assert_eq!((origin.ip.to_string(), origin.rtmp, origin.http), ("10.0.0.7".into(), Some(1936), None));
    assert_eq!((origin.api, origin.rtc, origin.srt), (Some(1985), Some(8000), Some(10080)));
}

#[test]
fn one_proxy_port_changes_only_itself() {
    let settings = settings(&environment(&[("PROXY_SYSTEM_API", "12030")]));
    assert_eq!(settings.rtmp, [Listen::Port(1935)]);
    assert_eq!(settings.system_api, "127.0.0.1:12030".parse().unwrap());
}

#[test]
fn an_empty_proxy_variable_means_the_default() {
    assert_eq!(settings(&environment(&[("PROXY_RTMP_SERVER", "")])), settings(&nothing()));
}

#[test]
fn an_srs_proxy_with_redis_starts_unchanged() {
    let variables = [
        ("PROXY_LOAD_BALANCER_TYPE", "redis"),
        ("PROXY_REDIS_HOST", "10.0.0.9"),
        ("PROXY_REDIS_PORT", "6380"),
        ("PROXY_REDIS_PASSWORD", "p@ss:/w d"),
        ("PROXY_REDIS_DB", "2"),
        ("PROXY_REDIS_KEY_PREFIX", "srs-"),
    ];
    let resolved = resolve(&environment(&variables)).unwrap();
    let StoreKind::Redis(url) = &resolved.settings.store else { panic!("{:?}", resolved.settings.store) };
    assert_eq!((&url.hosts[..], url.database), (&[("10.0.0.9".to_owned(), 6380)][..], 2));
    assert_eq!(url.password, Some(Secret("p@ss:/w d".into())));
    assert_eq!(resolved.settings.store_prefix, "srs-");
    let shown = crate::config::show::print_config(&resolved.draft, &resolved.sources);
    assert!(shown.contains("# store = \"redis://:<secret>@10.0.0.9:6380/2\""), "{shown}");
    assert!(!format!("{shown}{resolved:?}").contains("p@ss"));

    let store = |more: &[(&str, &str)]| settings(&environment(more)).store;
    let local = (text::STORE.parse)("redis://127.0.0.1:6379/0").unwrap();
    assert_eq!(store(&variables[..1]), local);
    assert_eq!(store(&variables[1..]), StoreKind::Memory, "parts alone are nothing");
    assert_eq!(store(&[variables[0], variables[1], ("BALANCER_STORE", "memory")]), StoreKind::Memory);
    let link = ("PROXY_REDIS_PORT", "tcp://10.0.0.1:6379");
    assert_eq!(store(&[variables[0], link]), local, "Kubernetes says that");
    let wrong = errors(&environment(&[variables[0], ("PROXY_REDIS_DB", "x")]));
    assert!(wrong.starts_with("store: the database is no number (from PROXY_LOAD_BALANCER_TYPE): write"), "{wrong}");
}

#[test]
fn a_balancer_is_called_like_its_host_or_as_it_is_told() {
    assert_eq!(settings(&nothing()).balancer_id, "lb1.example.net");
    assert_eq!(settings(&flags(&[("balancer_id", "lb2")])).balancer_id, "lb2");
    let nameless = Inputs { host: HostFacts { name: Some("(none)".into()), ..nothing().host }, ..nothing() };
    assert_eq!(settings(&nameless).balancer_id, "balancer");
    assert!(errors(&flags(&[("balancer_id", "a b")])).contains("\"a b\" is not a name"));
}

#[test]
fn the_system_api_is_reachable_when_others_may_register() {
    let api = |inputs: &Inputs| resolve(inputs).unwrap().settings.system_api.to_string();
    assert_eq!(api(&flags(&[("allow_register", "127.0.0.0/8")])), "127.0.0.1:12025");
    assert_eq!(api(&flags(&[("allow_register", "10.0.0.0/8")])), "0.0.0.0:12025");
    assert_eq!(api(&flags(&[("allow_register", "10.0.0.0/8,2001:db8::/32")])), "[::]:12025");
    assert_eq!(api(&flags(&[("allow_register", "10.0.0.0/8"), ("system_api", "10.0.0.1:1")])), "10.0.0.1:1");
    assert_eq!(api(&environment(&[("PROXY_SYSTEM_API", "0.0.0.0:12025")])), "0.0.0.0:12025");
    let warnings = resolve(&environment(&[("PROXY_SYSTEM_API", "12025")])).unwrap().warnings;
    assert!(warnings[0].contains("set allow_register"), "{warnings:?}");
}

#[test]
fn the_vip_follows_the_interface_or_the_addresses_listened_on() {
    let vips = |inputs: &Inputs| {
        let resolved = resolve(inputs).unwrap();
        let vips: Vec<String> = resolved.settings.vips.iter().map(ToString::to_string).collect();
        (vips.join(" "), resolved.sources["vip"].to_string())
    };
    let expect = |inputs: &Inputs, vip: &str, source: &str| assert_eq!(vips(inputs), (vip.into(), source.into()));
    expect(&flags(&[("interface", "eth1")]), "10.0.0.10", "default, the first interface's address");
    expect(&flags(&[("rtmp", "192.0.2.77:1935")]), "192.0.2.77", "default, the addresses that the ports name");
    expect(
        &flags(&[("rtmp", "192.0.2.77:1935,1936")]),
        "192.0.2.77 192.0.2.10",
        "default, the first interface's address",
    );
    expect(&flags(&[("vip", "192.0.2.5")]), "192.0.2.5", "--vip");
}

#[test]
fn without_a_default_route_the_vip_names_the_interface() {
    let mut inputs = flags(&[("vip", "10.0.0.10")]);
    inputs.host.default_route = None;
    let resolved = resolve(&inputs).unwrap();
    assert_eq!(resolved.settings.interfaces, ["eth1"]);

    let mut inputs = nothing();
    inputs.host.default_route = None;
    let error = errors(&inputs);
    assert!(error.contains("interface: the host has no default route"), "{error}");
    assert!(error.contains("--interface eth0"), "{error}");

    let mut inputs = flags(&[("xdp_mode", "off"), ("vip", "192.0.2.1")]);
    inputs.host = Default::default();
    assert!(resolve(&inputs).is_ok(), "relaying needs no interface");
}

#[test]
fn every_error_names_setting_source_and_remedy_and_all_come_at_once() {
    let mut inputs = file("preamble_bytes_max = 1\n\nflows_max = \"many\"");
    inputs.environment.insert("BALANCER_IDLE_TIMEOUT".into(), "5 apples".into());
    inputs.flags.insert("vip", vec!["example.com".into()]);
    inputs.flags.insert("connect_timeout", vec!["1h".into()]);
    assert_eq!(
        errors(&inputs).lines().collect::<Vec<_>>(),
        [
            "vip: \"example.com\" is not an IP address (from --vip): write 192.0.2.10 or 2001:db8::10",
            "connect_timeout: 3600s is out of range (from --connect-timeout): keep it between 10ms and 5m",
            "idle_timeout: \"5 apples\" is not a duration (from BALANCER_IDLE_TIMEOUT): write a number and a unit: \
             300s, 1m30s or 500ms",
            "preamble_bytes_max: 1 is out of range (from balancer.toml:1): keep it between 4KiB and 16MiB",
            "flows_max: \"many\" is not a count (from balancer.toml:3): write a whole number, such as 10000",
        ]
    );
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let refused = |given: &[(&str, &str)], message: &str| {
        let error = errors(&flags(given));
        assert!(error.contains(message), "{error}");
    };
    refused(&[("vip", "192.0.2.1"), ("rtmp", "192.0.2.2:1935")], "add --vip 192.0.2.2, or write the port alone");
    refused(&[("vip", "0.0.0.0")], "not an address that clients can dial");
    refused(&[("rtmp", "1935,192.0.2.10:1935"), ("vip", "192.0.2.10")], "192.0.2.10:1935 is named twice");
    refused(&[("rtmp", "1935,1935")], "\"1935\" is named twice");
    refused(&[("system_api", "0.0.0.0:1935")], "is also a port of rtmp");
    refused(&[("http", "1935")], "192.0.2.10:1935 is also a port of rtmp");
    refused(&[("srt", "8000")], "192.0.2.10:8000 is also a port of srt");
    refused(&[("tls_certificate", "/c.pem")], "name a key for every certificate");
    refused(&[("auth_hook", "ftp://x/")], "is not an http URL");
    refused(&[("source_ports", "80-90")], "start at 1024 or above");
    refused(&[("source_address", "0.0.0.0")], "0.0.0.0 is not an address that an origin can answer to");
    refused(&[("source_address", "10.0.0.1"), ("source_address", "10.0.0.2")], "are of one family");
    refused(&[("handshakes_max", "5")], "100 is more than handshakes_max, 5");
}

#[test]
fn what_is_merely_odd_is_a_warning() {
    let warned = |given: &[(&str, &str)], message: &str| {
        let warnings = resolve(&flags(given)).unwrap().warnings.join("\n");
        assert!(warnings.contains(message), "{warnings}");
    };
    warned(&[("grace_quit_timeout", "60s")], "force_quit_timeout, 30s, ends the process before");
    warned(&[("allow_register", "0.0.0.0/0")], "everybody who reaches 0.0.0.0:12025 may register");
    warned(&[("rtmp", "21935")], "port 21935 lies in source_ports, 20000-32767");
}

#[test]
fn the_host_is_asked_about_ports_and_interfaces_unless_everything_is_relayed() {
    let problems = |given: &[(&str, &str)]| {
        let inputs = flags(given);
        let resolved = resolve(&inputs).unwrap();
        let problems = validate::host_problems(&resolved.settings, &resolved.sources, &inputs.host);
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    assert_eq!(problems(&[]), "");
    let shared = problems(&[("source_ports", "32000-33000")]);
    assert!(shared.contains("port 32768 of 32000-33000 is also in net.ipv4.ip_local_port_range"), "{shared}");
    assert!(shared.contains("(from --source-ports): reserve them, `sysctl -w"), "{shared}");
    assert_eq!(problems(&[("source_ports", "32000-33000"), ("xdp_mode", "off")]), "");
    assert_eq!(
        problems(&[("interface", "eht1"), ("vip", "192.0.2.1")]),
        "interface: there is no interface eht1 (from --interface): did you mean eth1? The host has lo, eth0, eth1"
    );
}

#[test]
fn the_token_comes_from_its_file_and_the_stronger_source_wins() {
    let read = |path: &Path| match path.to_str() {
        Some("/t") => Ok("from-file\nrest\n".to_owned()),
        Some("/empty") => Ok("\n".to_owned()),
        _ => Err(io::ErrorKind::NotFound.into()),
    };
    let token = |environment_: &[(&str, &str)], flags_: &[(&str, &str)]| {
        let inputs = Inputs { read: &read, flags: flags(flags_).flags, ..environment(environment_) };
        resolve(&inputs).map(|r| r.settings.token.unwrap().0).map_err(|e| e.to_string())
    };
    assert_eq!(token(&[("BALANCER_TOKEN_FILE", "/t")], &[]), Ok("from-file".into()));
    assert_eq!(token(&[("BALANCER_TOKEN_FILE", "/t")], &[("token", "flag")]), Ok("flag".into()));
    assert_eq!(token(&[("BALANCER_TOKEN", "env")], &[("token_file", "/t")]), Ok("from-file".into()));
    let both = token(&[("BALANCER_TOKEN", "env"), ("BALANCER_TOKEN_FILE", "/t")], &[]).unwrap_err();
    assert!(both.contains("token is also given, by BALANCER_TOKEN"), "{both}");
    assert!(token(&[], &[("token_file", "/empty")]).unwrap_err().contains("the first line of /empty is empty"));
    assert!(token(&[], &[("token_file", "/none")]).unwrap_err().contains("cannot read /none"));
}

#[test]
fn commands_that_only_ask_do_not_mind_other_settings() {
    let mut inputs = file("idle_timeout = \"nonsense\"\nunknown = 1\nsystem_api = 12030");
    inputs.host = Default::default();
    let (settings, _) = resolve_only(&inputs, &["system_api", "allow_register", "token", "token_file"]).unwrap();
    assert_eq!(settings.system_api, "127.0.0.1:12030".parse::<SocketAddr>().unwrap());
    assert!(resolve_only(&file("a = = b"), &["system_api"]).is_err());
}
