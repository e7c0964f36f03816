//! Tests of the layers: which of them speaks, and what is said of names that none knows.

use super::*;
use crate::config::fixtures::{environment, file, nothing};
use crate::config::table;

fn problems(inputs: &Inputs) -> Vec<String> {
    Layers::gather(inputs).problems.iter().map(ToString::to_string).collect()
}

#[test]
fn an_unknown_key_of_the_file_is_refused_with_its_line_and_the_nearest_name() {
    assert_eq!(
        problems(&file("# first\nidle_timout = \"5s\"\n")),
        ["idle_timout: no such setting (from balancer.toml:2): did you mean idle_timeout?"]
    );
    assert_eq!(
        problems(&file("origin-ttl = \"5s\"")),
        ["origin-ttl: no such setting (from balancer.toml:1): did you mean origin_ttl?"]
    );
    assert_eq!(
        problems(&file("[limits]\nflows_max = 5")),
        ["limits: no such setting (from balancer.toml:1): the file has no tables: write the settings at the top level"]
    );
    assert_eq!(
        problems(&file("interfaces = [\"eth0\"]")),
        ["interfaces: no such setting (from balancer.toml:1): did you mean interface?"]
    );
    assert_eq!(
        problems(&file("zzz = 1")),
        ["zzz: no such setting (from balancer.toml:1): remove it; `balancer example-config` shows all settings"]
    );
}

#[test]
fn a_file_that_is_no_toml_is_refused_with_the_line() {
    let found = problems(&file("rtmp = 1935\n\npolicy = least-load\n"));
    assert_eq!(found.len(), 1);
    assert!(found[0].contains("(from balancer.toml:3)"), "{found:?}");
    assert!(problems(&file("rtmp = 1\nrtmp = 2\n"))[0].contains("balancer.toml:2"));
    assert_eq!(
        problems(&file("origin_ttl = 12:00:00")),
        ["origin_ttl: a TOML datetime is not a value for it (from balancer.toml:1): write origin_ttl = \"30s\""]
    );
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let inputs = Inputs { config: Some("/etc/b.toml".into()), ..nothing() };
    assert_eq!(
        problems(&inputs),
        [
            "config: cannot read /etc/b.toml: entity not found (from --config): correct it, or name another file with --config"
        ]
    );
    let found = problems(&environment(&[("BALANCER_CONFIG", "/b.toml")]));
    assert!(found[0].contains("(from BALANCER_CONFIG)"), "{found:?}");
    assert_eq!(problems(&nothing()), [""; 0], "and one that was not named need not");
}

#[test]
fn a_file_that_cannot_be_read_is_not_passed_over() {
    let denied = |_: &Path| Err(io::ErrorKind::PermissionDenied.into());
    let inputs = Inputs { read: &denied, ..nothing() };
    assert!(problems(&inputs)[0].starts_with("config: cannot read balancer.toml: permission denied"));
}

#[test]
fn an_unknown_variable_of_ours_is_refused_with_the_nearest_name() {
    assert_eq!(
        problems(&environment(&[("BALANCER_IDLE_TIMOUT", "5s")])),
        ["BALANCER_IDLE_TIMOUT: no such setting (from BALANCER_IDLE_TIMOUT): did you mean BALANCER_IDLE_TIMEOUT? \
          Else unset it"]
    );
}

#[test]
fn a_variable_of_the_project_s_own_chores_is_left_alone() {
    assert_eq!(problems(&environment(&[("BALANCER_BIN", "/b"), ("BALANCER_BPF_TOOLCHAIN", "system")])), [""; 0]);
}

#[test]
fn an_unknown_variable_of_theirs_is_only_noted() {
    let layers = Layers::gather(&environment(&[("PROXY_RTMP_SERVR", "11935"), ("PROXY_REDIS_HOST", "127.0.0.1")]));
    assert!(layers.problems.is_empty());
    assert_eq!(layers.warnings, ["PROXY_RTMP_SERVR is not known and has no effect; did you mean PROXY_RTMP_SERVER?"]);
}

#[test]
fn variables_that_kubernetes_makes_of_a_service_of_our_name_are_left_alone() {
    let links = [
        "BALANCER_SERVICE_HOST",
        "BALANCER_SERVICE_PORT",
        "BALANCER_SERVICE_PORT_RTMP",
        "BALANCER_PORT",
        "BALANCER_PORT_1935_TCP",
        "BALANCER_PORT_1935_TCP_ADDR",
        "BALANCER_API_PORT_12025_UDP_PROTO",
        "PROXY_PORT_1935_TCP",
    ];
    let layers = Layers::gather(&environment(&links.map(|name| (name, "tcp://10.0.0.1:1935"))));
    assert!(layers.problems.is_empty() && layers.warnings.is_empty(), "{:?}", layers.problems);
    assert_eq!(problems(&environment(&[("BALANCER_PORT_RANGE", "1-2")])).len(), 1);
}

#[test]
fn an_empty_value_hides_nothing() {
    let mut inputs = file("origin_ttl = \"7s\"\nvip = []\n");
    for name in ["BALANCER_ORIGIN_TTL", "PROXY_ORIGIN_SERVER_TTL"] {
        inputs.environment.insert(name.into(), " ".into());
    }
    let layers = Layers::gather(&inputs);
    let ttl = layers.get(table::find("origin_ttl").unwrap()).unwrap();
    assert_eq!((ttl.source.to_string().as_str(), ttl.texts.as_slice()), ("balancer.toml:1", &["7s".to_owned()][..]));
    assert!(layers.get(table::find("vip").unwrap()).is_none());
}

#[test]
fn lists_are_arrays_repetitions_or_commas() {
    let vips = |inputs: &Inputs| Layers::gather(inputs).get(table::find("vip").unwrap()).unwrap().texts.clone();
    assert_eq!(vips(&file("vip = [\"192.0.2.1\", \"192.0.2.2\"]")), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(vips(&file("vip = \"192.0.2.1\"")), ["192.0.2.1"]);
    assert_eq!(vips(&environment(&[("BALANCER_VIP", "192.0.2.1, 192.0.2.2")])), ["192.0.2.1", "192.0.2.2"]);
}
