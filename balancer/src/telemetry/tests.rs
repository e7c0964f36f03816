//! Tests of the metrics: names, labels, and the text that a scrape gets.

use super::*;
use crate::config::Policy;
use crate::flow::{self, FlowRecord, Path, Protocol, Role};
use crate::registry::{Admission, Endpoints, Name, OriginSpec};
use crate::store::StoreSettings;
use balancer_common::abi::{Reason, ReasonCount, ServiceKind};
use std::collections::BTreeMap;

struct Fixed;

impl Facts for Fixed {
    fn flows(&self) -> Vec<FlowRecord> {
        vec![]
    }

    fn flow_counts(&self) -> BTreeMap<(Protocol, Role, Path), u64> {
        BTreeMap::from([
            ((Protocol::Rtmp, Role::Play, Path::Kernel), 12),
            ((Protocol::Rtmp, Role::Publish, Path::Relay), 1),
        ])
    }

    fn reasons(&self) -> Vec<(Reason, ReasonCount)> {
        vec![
            (Reason::ToOrigin, ReasonCount { packets: 7, bytes: 700 }),
            (Reason::NoNextHop, ReasonCount { packets: 3, bytes: 300 }),
            (Reason::NewConnection, ReasonCount { packets: 2, bytes: 120 }),
        ]
    }

    fn relayed(&self) -> Forwarded {
        Forwarded { to_client: flow::Counter { packets: 4, bytes: 5000 }, ..Forwarded::default() }
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        vec![]
    }

    fn map_usage(&self) -> Vec<MapUsage> {
        vec![MapUsage { name: "FLOWS4", entries: 24, capacity: 1 << 20 }]
    }

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

async fn telemetry() -> Telemetry {
    let counters = Arc::new(Counters::default());
    counters.count(Reason::PlacedSticky);
    counters.count(Reason::SplicedArmed);
    counters.count(Reason::LimitFlows);
    let settings = StoreSettings {
        policy: Policy::LeastLoad,
        sharing: Default::default(),
        origin_ttl: Duration::from_secs(30),
        default_origin: None,
        admission: Admission { networks: vec!["10.0.0.0/8".parse().unwrap()], own: vec![] },
    };
    let store = Arc::new(Store::new(settings, counters.clone()).unwrap());
    let mut endpoints = Endpoints::default();
    endpoints.add(ServiceKind::Rtmp, "10.0.0.1:1935".parse().unwrap()).unwrap();
    let spec = OriginSpec { endpoints: Some(endpoints), ..OriginSpec::default() };
    store.put_origin(&Name::parse("quote\"back\\slash").unwrap(), &spec, Duration::ZERO).await.unwrap();
    Telemetry::new(store, counters, Arc::new(Fixed), Clock::start())
}

#[tokio::test]
async fn every_metric_of_the_contract_is_there() {
    let telemetry = telemetry().await;
    telemetry.spliced(Duration::from_millis(3));
    telemetry.registered("new");
    let text = telemetry.render(Form::OpenMetrics);
    for line in [
        "balancer_flows{protocol=\"rtmp\",role=\"play\",path=\"kernel\"} 12",
        "balancer_flows{protocol=\"rtmp\",role=\"publish\",path=\"relay\"} 1",
        "balancer_forwarded_packets_total{path=\"kernel\",direction=\"to_origin\"} 7",
        "balancer_forwarded_bytes_total{path=\"kernel\",direction=\"to_origin\"} 700",
        "balancer_forwarded_bytes_total{path=\"relay\",direction=\"to_client\"} 5000",
        "balancer_upcalls_total{reason=\"new_connection\"} 2",
        "balancer_upcalls_total{reason=\"no_flow\"} 0",
        "balancer_drops_total{reason=\"no_next_hop\"} 3",
        "balancer_splices_total{result=\"armed\"} 1",
        "balancer_splice_duration_seconds_bucket{le=\"0.005\"} 1",
        "balancer_splice_duration_seconds_count 1",
        "balancer_placements_total{reason=\"sticky\"} 1",
        "balancer_limits_total{reason=\"flows\"} 1",
        "balancer_origin_up{origin=\"quote\\\"back\\\\slash\"} 1",
        "balancer_origin_streams{origin=\"quote\\\"back\\\\slash\"} 0",
        "balancer_store_up{kind=\"memory\"} 1",
        "balancer_map_entries{map=\"FLOWS4\"} 24",
        "balancer_map_capacity{map=\"FLOWS4\"} 1048576",
        concat!("balancer_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "balancer_registrations_total{result=\"new\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\nin\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

/// What a strict reader of OpenMetrics asks for: help and type before the samples, and no family twice.
#[tokio::test]
async fn every_family_is_declared_once_before_its_samples() {
    let text = telemetry().await.render(Form::OpenMetrics);
    let mut families: Vec<&str> = vec![];
    let mut explained = None;
    for line in text.lines().filter(|l| *l != "# EOF") {
        let mut words = line.split(' ');
        match (words.next(), words.next(), words.next()) {
            (Some("#"), Some("HELP"), Some(name)) => {
                assert!(!families.contains(&name), "{name} twice");
                explained = Some(name);
            }
            (Some("#"), Some("TYPE"), Some(name)) => {
                assert_eq!(explained, Some(name), "{name} without help");
                families.push(name);
            }
            (Some("#"), Some("UNIT"), Some(name)) => assert_eq!(families.last(), Some(&name)),
            _ => assert!(families.last().is_some_and(|name| line.starts_with(name)), "{line}"),
        }
    }
    assert!(families.len() >= 17, "{families:?}");
}

#[tokio::test]
async fn whoever_does_not_ask_for_openmetrics_gets_the_older_form() {
    let telemetry = telemetry().await;
    telemetry.spliced(Duration::from_millis(3));
    let (old, new) = (telemetry.render(Form::Text), telemetry.render(Form::OpenMetrics));
    for line in [
        "# TYPE balancer_upcalls_total counter",
        "# HELP balancer_upcalls_total Packets handed to the slow path.",
        "# TYPE balancer_forwarded_bytes_total counter",
        "# TYPE balancer_flows gauge",
        "# TYPE balancer_splice_duration_seconds histogram",
    ] {
        assert!(old.lines().any(|l| l == line), "{line}\nin\n{old}");
    }
    assert!(!old.contains("# UNIT") && !old.contains("# EOF"));
    let samples = |text: &str| text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(samples(&old), samples(&new));
    let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
    assert_eq!([prometheus, "*/*", ""].map(Form::accepted), [Form::OpenMetrics, Form::Text, Form::Text]);
}
