//! A whole server on a socket of its own, asked by a client that can say anything.

mod calls;
mod denials;
mod hooks;
mod hostile;

use super::*;
use crate::config::{Policy, Secret};
use crate::flow::{Counter, FlowRecord, FlowState, Path, Protocol, Role};
use crate::recognize::StreamKey;
use crate::registry::Admission;
use crate::store::StoreSettings;
use crate::telemetry::{Forwarded, InterfaceStatus, MapUsage};
use balancer_common::abi::{Reason, ReasonCount};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[derive(Default)]
struct Made {
    flows: Mutex<Vec<FlowRecord>>,
    problem: Mutex<Option<String>>,
}

impl Facts for Made {
    fn flows(&self) -> Vec<FlowRecord> {
        self.flows.lock().unwrap().clone()
    }

    fn reasons(&self) -> Vec<(Reason, ReasonCount)> {
        vec![(Reason::ToOrigin, ReasonCount { packets: 5, bytes: 500 })]
    }

    fn relayed(&self) -> Forwarded {
        Forwarded::default()
    }

    fn interfaces(&self) -> Vec<InterfaceStatus> {
        vec![InterfaceStatus { name: "eth0".into(), mode: "native", problem: None }]
    }

    fn map_usage(&self) -> Vec<MapUsage> {
        vec![MapUsage { name: "FLOWS4", entries: 2, capacity: 100 }]
    }

    fn ready(&self) -> Result<(), String> {
        self.problem.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

/// Who may ask what, as the settings would say it.
fn access(system_api: &str, token: Option<&str>, allow_register: &[&str]) -> Access {
    let networks = allow_register.iter().map(|n| n.parse().unwrap()).collect();
    Access::new(system_api.parse().unwrap(), token.map(|t| Secret(t.into())), networks).unwrap()
}

struct Server {
    address: SocketAddr,
    store: Arc<Store>,
    made: Arc<Made>,
    stop: oneshot::Sender<()>,
    done: JoinHandle<io::Result<()>>,
}

impl Server {
    /// Listens on loopback, whatever address `access` was made for.
    async fn start(access: Access) -> Self {
        let counters = Arc::new(Counters::default());
        let store = StoreSettings {
            policy: Policy::LeastLoad,
            sharing: Default::default(),
            origin_ttl: Duration::from_secs(30),
            default_origin: None,
            admission: Admission {
                networks: vec!["10.0.0.0/8".parse().unwrap(), "127.0.0.0/8".parse().unwrap()],
                own: vec![],
            },
        };
        let store = Arc::new(Store::new(store, counters.clone()).unwrap());
        let made = Arc::new(Made::default());
        let clock = Clock::start();
        let telemetry = Arc::new(Telemetry::new(store.clone(), counters.clone(), made.clone(), clock));
        let api = Api {
            store: store.clone(),
            facts: made.clone(),
            readiness: Arc::default(),
            telemetry,
            counters,
            clock,
            access,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let done = tokio::spawn(api.serve(listener, async { drop(stopped.await) }));
        Self { address, store, made, stop, done }
    }

    /// On loopback, without a token: what most balancers are.
    async fn usual() -> Self {
        Self::start(access("127.0.0.1:12025", None, &[])).await
    }

    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Status and body, as JSON where it is.
    async fn ask_with(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{host}Connection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        );
        let answer = self.raw(&request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.to_owned())))
    }

    async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        self.ask_with(method, path, "", body).await
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, "").await
    }
}

/// A beat of SRS 7.
const BEAT: &str = r#"{"device_id":"origin2","ip":"127.0.0.1","server":"vid-gtnnum3","service":"5gzq451y","pid":"2136","rtmp":["19352"],"http":["8082"],"api":["19853"],"srt":["udp://0.0.0.0:10082"],"rtc":["udp://0.0.0.0:8001"]}"#;

fn key(path: &str) -> Arc<StreamKey> {
    Arc::new(StreamKey::from_path("", path).unwrap())
}

fn flow(stream: &str, origin: &str, made_at_s: u64) -> FlowRecord {
    let address = |text: &str| text.parse().unwrap();
    FlowRecord {
        client: address("198.51.100.7:50000"),
        announced: Some(Box::new(address("203.0.113.9:40000"))),
        vip: address("192.0.2.10:1935"),
        origin: 1,
        origin_generation: 1,
        origin_id: origin.into(),
        origin_address: address("10.0.0.1:1935"),
        source: address("10.0.0.10:40000"),
        protocol: Protocol::Rtmp,
        role: Role::Publish,
        stream: key(stream),
        stream_index: 1,
        path: Path::Kernel,
        state: FlowState::Spliced,
        to_origin: Counter { packets: 10, bytes: 7000 },
        to_client: Counter { packets: 5, bytes: 70 },
        made_at: Duration::from_secs(made_at_s),
        active_at: Duration::from_secs(made_at_s),
    }
}
