//! From the JSON of a registration to the registry's types: the body that SRS sends, and that of `PUT origins/{id}`.

use super::fields::{FieldError, Fields, bad, need};
use crate::config::text::is_request_path;
use crate::recognize::proxy_header::ProxyVersion;
use crate::registry::{
    Capacity, Endpoints, Incarnation, KINDS, LEASE_MAX, Lease, OriginRole, OriginSpec, ProbeMode, ProbeSpec,
    SrsRegistration, StatusRange, WEIGHTS,
};
use balancer_common::abi::ServiceKind;
use std::time::Duration;

/// `POST /api/v1/srs/register`: `ip`, `server`, `service`, `pid` and a non-empty `rtmp` are mandatory; unknown fields
/// are ignored.
pub fn srs(body: &[u8]) -> Result<SrsRegistration, FieldError> {
    let fields = Fields::parse(body)?;
    let ip = need("ip", fields.ip("ip")?)?;
    let server = need("server", fields.name("server")?)?;
    let service = need("service", fields.name("service")?)?;
    let pid = need("pid", fields.name("pid")?)?;
    let mut endpoints = Endpoints::default();
    if fields.get("rtmp").is_none() {
        return Err(FieldError::Missing("rtmp".into()));
    }
    if !fields.endpoints(ServiceKind::Rtmp, Some(ip), &mut endpoints)? {
        return Err(bad("rtmp", "must not be empty"));
    }
    // SRS says nothing of RTSP yet; what else registers in its manner may.
    for kind in [ServiceKind::Http, ServiceKind::Api, ServiceKind::Srt, ServiceKind::WebRtc, ServiceKind::Rtsp] {
        fields.endpoints(kind, Some(ip), &mut endpoints)?;
    }
    let device_id = fields.name("device_id")?;
    Ok(SrsRegistration { device_id, server, incarnation: Incarnation { service, pid }, ip, endpoints })
}

/// `PUT /api/v1/origins/{id}`. Unknown fields are errors here: the operator who misspells `weight` should know.
pub fn spec(body: &[u8]) -> Result<OriginSpec, FieldError> {
    const KNOWN: [&str; 15] = [
        "device_id",
        "server",
        "service",
        "pid",
        "ip",
        "endpoints",
        "weight",
        "capacity",
        "max_streams",
        "max_bandwidth",
        "role",
        "proxy_protocol",
        "probe",
        "lease_s",
        "id",
    ];
    let fields = Fields::parse(body)?;
    fields.only(&KNOWN)?;
    let ip = fields.ip("ip")?;
    let incarnation = match (fields.name("service")?, fields.name("pid")?) {
        (Some(service), Some(pid)) => Some(Incarnation { service, pid }),
        (None, None) => None,
        (Some(_), None) => return Err(FieldError::Missing("pid".into())),
        (None, Some(_)) => return Err(FieldError::Missing("service".into())),
    };
    let endpoints = match fields.object("endpoints")? {
        None => None,
        Some(lists) => {
            lists.only(&KINDS.map(crate::registry::kind_label))?;
            let mut endpoints = Endpoints::default();
            for kind in KINDS {
                lists.endpoints(kind, ip, &mut endpoints)?;
            }
            if endpoints.is_empty() {
                return Err(bad("endpoints", "must not be empty"));
            }
            Some(endpoints)
        }
    };
    Ok(OriginSpec {
        device_id: fields.name("device_id")?,
        server: fields.name("server")?,
        incarnation,
        ip,
        endpoints,
        weight: weight(&fields)?,
        capacity: capacity(&fields)?,
        role: role(&fields)?,
        proxy_protocol: proxy_protocol(&fields)?,
        probe: probe(&fields)?,
        lease: lease(&fields)?,
    })
}

fn weight(fields: &Fields) -> Result<Option<u32>, FieldError> {
    let Some(weight) = fields.number("weight")? else { return Ok(None) };
    let weight = u32::try_from(weight).ok().filter(|w| WEIGHTS.contains(w));
    let problem = || {
        bad("weight", format!("must be from {} to {}; to keep new streams away, drain", WEIGHTS.start(), WEIGHTS.end()))
    };
    weight.map(Some).ok_or_else(problem)
}

/// `capacity`, or `max_streams` and `max_bandwidth` (in bits per second) beside the other fields.
fn capacity(fields: &Fields) -> Result<Option<Capacity>, FieldError> {
    let short = Capacity {
        bits_per_second: fields.number("max_bandwidth")?,
        flows: None,
        streams: small(fields, "max_streams")?,
    };
    let Some(limits) = fields.object("capacity")? else {
        return Ok(Some(short).filter(|short| *short != Capacity::default()));
    };
    if short != Capacity::default() {
        return Err(bad("capacity", "says the same as max_streams and max_bandwidth: give one of them"));
    }
    limits.only(&["bits_per_second", "flows", "streams"])?;
    let bits_per_second = limits.number("bits_per_second")?;
    Ok(Some(Capacity { bits_per_second, flows: small(&limits, "flows")?, streams: small(&limits, "streams")? }))
}

fn small(fields: &Fields, field: &str) -> Result<Option<u32>, FieldError> {
    let number = fields.number(field)?;
    number.map(|n| u32::try_from(n).map_err(|_| bad(field, "is too large"))).transpose()
}

fn role(fields: &Fields) -> Result<Option<OriginRole>, FieldError> {
    match fields.text("role")? {
        None => Ok(None),
        Some("origin") => Ok(Some(OriginRole::Origin)),
        Some("edge") => Ok(Some(OriginRole::Edge)),
        Some(_) => Err(bad("role", "must be \"origin\" or \"edge\"")),
    }
}

/// "off" takes back what an earlier registration said.
fn proxy_protocol(fields: &Fields) -> Result<Option<Option<ProxyVersion>>, FieldError> {
    let problem = || bad("proxy_protocol", "must be \"v1\", \"v2\" or \"off\"");
    match fields.text("proxy_protocol")? {
        None => Ok(None),
        Some("off") => Ok(Some(None)),
        Some(version) => ProxyVersion::parse(version).map(|v| Some(Some(v))).ok_or_else(problem),
    }
}

/// How this origin is probed, where that differs from the settings.
fn probe(fields: &Fields) -> Result<Option<ProbeSpec>, FieldError> {
    let Some(probe) = fields.object("probe")? else { return Ok(None) };
    probe.only(&["mode", "http_path", "http_status"])?;
    let mode = match probe.text("mode")? {
        None => None,
        Some(text) => {
            let found = ProbeMode::ALL.into_iter().find(|mode| mode.label() == text);
            Some(found.ok_or_else(|| bad("mode", "must be \"off\", \"connect\" or \"protocol\""))?)
        }
    };
    let http_path = match probe.text("http_path")? {
        None => None,
        Some(path) if is_request_path(path) => Some(path.into()),
        Some(_) => return Err(bad("http_path", "must begin with a slash and hold visible ASCII only")),
    };
    let http_status = match probe.text("http_status")? {
        None => None,
        Some(text) => Some(StatusRange::parse(text).ok_or_else(|| bad("http_status", "must be such as \"200-399\""))?),
    };
    Ok(Some(ProbeSpec { mode, http_path, http_status }))
}

/// 0: it stays until it is deleted.
fn lease(fields: &Fields) -> Result<Option<Lease>, FieldError> {
    let max = LEASE_MAX.as_secs();
    match fields.number("lease_s")? {
        None => Ok(None),
        Some(0) => Ok(Some(Lease::Never)),
        Some(seconds) if seconds <= max => Ok(Some(Lease::For(Duration::from_secs(seconds)))),
        Some(_) => Err(bad("lease_s", format!("must be at most {max}; 0 never expires"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// What SRS 7.0.18 sends.
    const SRS7: &str = r#"{"device_id":"origin2","ip":"127.0.0.1","server":"vid-gtnnum3","service":"5gzq451y","pid":"2136","rtmp":["19352"],"http":["8082"],"api":["19853"],"srt":["udp://0.0.0.0:10082"],"rtc":["udp://0.0.0.0:8001"]}"#;

    fn with(field: &str, value: Value) -> Result<SrsRegistration, String> {
        let mut body: Value = serde_json::from_str(SRS7).unwrap();
        body[field] = value;
        srs(body.to_string().as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn what_srs_sends_is_understood() {
        let beat = srs(SRS7.as_bytes()).unwrap();
        assert_eq!((beat.device_id.as_deref(), &*beat.server), (Some("origin2"), "vid-gtnnum3"));
        assert_eq!((&*beat.incarnation.service, &*beat.incarnation.pid), ("5gzq451y", "2136"));
        let endpoints: Vec<String> = beat.endpoints.iter().map(|(k, a)| format!("{} {a}", k as u32)).collect();
        assert_eq!(
            endpoints,
            ["1 127.0.0.1:19352", "2 127.0.0.1:8082", "3 127.0.0.1:19853", "4 127.0.0.1:10082", "5 127.0.0.1:8001"]
        );
    }

    #[test]
    fn every_mandatory_field_is_missed_by_name() {
        for field in ["ip", "server", "service", "pid", "rtmp"] {
            let mut body: Value = serde_json::from_str(SRS7).unwrap();
            body.as_object_mut().unwrap().remove(field);
            assert_eq!(srs(body.to_string().as_bytes()).unwrap_err().to_string(), format!("{field}: missing"));
            assert_eq!(with(field, Value::Null).unwrap_err(), format!("{field}: missing"));
        }
        for field in ["server", "service", "pid"] {
            assert_eq!(with(field, json!("")).unwrap_err(), format!("{field}: missing"));
        }
    }

    #[test]
    fn every_wrong_type_is_refused_by_name() {
        for field in ["device_id", "ip", "server", "service", "pid"] {
            for value in [json!(1), json!(true), json!(["a"]), json!({})] {
                assert_eq!(with(field, value).unwrap_err(), format!("{field}: must be a string"));
            }
        }
        for field in ["rtmp", "http", "api", "srt", "rtc"] {
            for value in [json!(1935), json!("1935"), json!([1935]), json!({}), json!([null])] {
                assert_eq!(with(field, value).unwrap_err(), format!("{field}: must be an array of strings"));
            }
            let nonsense = with(field, json!(["1935", "nonsense"])).unwrap_err();
            assert!(nonsense.starts_with(&format!("{field}: \"nonsense\" is not an endpoint")), "{nonsense}");
            let many: Vec<String> = (1..=17).map(|p| p.to_string()).collect();
            assert_eq!(with(field, json!(many)).unwrap_err(), format!("{field}: more than 16 endpoints"));
        }
        assert_eq!(with("rtmp", json!([])).unwrap_err(), "rtmp: must not be empty");
        assert_eq!(with("ip", json!("localhost")).unwrap_err(), "ip: must be an IP address");
        assert_eq!(with("ip", json!("0.0.0.0")).unwrap_err(), "ip: must be the address of one host");
        assert_eq!(with("server", json!("x".repeat(65))).unwrap_err(), "server: is longer than 64 bytes");
        assert_eq!(with("device_id", json!("a\nb")).unwrap_err(), "device_id: holds a control character");
        for body in ["", "ip=1.2.3.4", "[]", "\"x\"", "{", "null"] {
            assert!(srs(body.as_bytes()).unwrap_err().to_string().starts_with("the body is not"), "{body}");
        }
    }

    #[test]
    fn what_srs_may_leave_out_or_add_does_not_matter() {
        for field in ["device_id", "http", "api", "srt", "rtc"] {
            assert!(with(field, Value::Null).is_ok(), "{field}");
        }
        assert_eq!(with("device_id", json!("")).unwrap().device_id, None);
        assert!(with("summaries", json!({"ok": true})).is_ok());
        assert!(with("http", json!([])).unwrap().endpoints.get(ServiceKind::Http).is_empty());
    }

    #[test]
    fn every_form_works_for_every_protocol() {
        for (field, kind) in [
            ("rtmp", ServiceKind::Rtmp),
            ("http", ServiceKind::Http),
            ("api", ServiceKind::Api),
            ("srt", ServiceKind::Srt),
            ("rtc", ServiceKind::WebRtc),
        ] {
            let forms = json!([
                "7001",
                "tcp://:7002",
                "udp://0.0.0.0:7003",
                "tcp://10.0.0.7:7004",
                "10.0.0.8:7005",
                "[::1]:7006"
            ]);
            let found: Vec<String> =
                with(field, forms).unwrap().endpoints.get(kind).iter().map(ToString::to_string).collect();
            let expected =
                ["127.0.0.1:7001", "127.0.0.1:7002", "127.0.0.1:7003", "10.0.0.7:7004", "10.0.0.8:7005", "[::1]:7006"];
            assert_eq!(found, expected);
        }
    }

    proptest! {
        #[test]
        fn no_body_makes_it_panic(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 0..SRS7.len(), byte: u8) {
            let mut near = SRS7.as_bytes().to_vec();
            near[cut] = byte;
            for body in [&body[..], &SRS7.as_bytes()[..cut], &near] {
                if let Ok(beat) = srs(body) {
                    prop_assert!(!beat.endpoints.get(ServiceKind::Rtmp).is_empty());
                }
                let _ = spec(body);
            }
        }
    }

    fn put(body: Value) -> Result<OriginSpec, String> {
        spec(body.to_string().as_bytes()).map_err(|e| e.to_string())
    }

    #[test]
    fn an_operator_can_say_everything() {
        let spec = put(json!({
            "ip": "10.0.0.7", "endpoints": {"rtmp": ["1935"], "rtsp": ["10.0.0.8:8554"]}, "weight": 200,
            "capacity": {"bits_per_second": 5_000_000_000u64, "flows": 1000}, "role": "edge", "lease_s": 60,
            "proxy_protocol": "v2",
            "probe": {"mode": "protocol", "http_path": "/health", "http_status": "200"},
            "service": "a", "pid": "1",
        }))
        .unwrap();
        assert_eq!(spec.endpoints.unwrap().iter().count(), 2);
        assert_eq!((spec.weight, spec.role), (Some(200), Some(OriginRole::Edge)));
        assert_eq!(spec.proxy_protocol, Some(Some(ProxyVersion::V2)));
        assert_eq!(put(json!({"proxy_protocol": "off"})).unwrap().proxy_protocol, Some(None));
        let http_status = StatusRange::parse("200");
        let probe = ProbeSpec { mode: Some(ProbeMode::Protocol), http_path: Some("/health".into()), http_status };
        assert_eq!(spec.probe, Some(probe));
        assert_eq!(spec.lease, Some(Lease::For(Duration::from_secs(60))));
        let capacity = Capacity { bits_per_second: Some(5_000_000_000), flows: Some(1000), streams: None };
        assert_eq!(spec.capacity, Some(capacity));
        let capacity = Capacity { bits_per_second: Some(2_000_000_000), flows: None, streams: Some(50) };
        assert_eq!(
            put(json!({"max_streams": 50, "max_bandwidth": 2_000_000_000u64})).unwrap().capacity,
            Some(capacity)
        );
        assert_eq!(put(json!({"lease_s": 0})).unwrap().lease, Some(Lease::Never));
        assert_eq!(put(json!({})).unwrap(), OriginSpec::default());
    }

    #[test]
    fn an_operators_mistakes_are_named() {
        for (body, error) in [
            (json!({"wieght": 1}), "wieght: unknown; known are device_id, "),
            (json!({"weight": 0}), "weight: must be from 1 to 1000"),
            (json!({"weight": 1.5}), "weight: must be a whole number"),
            (json!({"endpoints": {}}), "endpoints: must not be empty"),
            (json!({"endpoints": {"hls": ["80"]}}), "hls: unknown; known are rtmp, "),
            (json!({"endpoints": {"rtmp": ["1935"]}}), "rtmp: \"1935\" names no address, and ip is missing"),
            (json!({"capacity": {"flows": 5_000_000_000u64}}), "flows: is too large"),
            (json!({"capacity": 5}), "capacity: must be an object"),
            (json!({"max_streams": 5, "capacity": {}}), "capacity: says the same as max_streams"),
            (json!({"max_streams": 5_000_000_000u64}), "max_streams: is too large"),
            (json!({"probe": {"mode": "on"}}), "mode: must be \"off\", "),
            (json!({"probe": {"http_path": "/a b"}}), "http_path: must begin with a slash"),
            (json!({"probe": {"http_status": "2xx"}}), "http_status: must be such as"),
            (json!({"probe": {"interval": 1}}), "interval: unknown"),
            (json!({"role": "backup"}), "role: must be"),
            (json!({"proxy_protocol": "v3"}), "proxy_protocol: must be \"v1\", "),
            (json!({"proxy_protocol": 2}), "proxy_protocol: must be a string"),
            (json!({"lease_s": 86_401}), "lease_s: must be at most 86400"),
            (json!({"service": "a"}), "pid: missing"),
        ] {
            let found = put(body).unwrap_err();
            assert!(found.starts_with(error), "{found}");
        }
    }
}
