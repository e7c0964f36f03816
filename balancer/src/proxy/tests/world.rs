//! A proxy with its store, origins that answer as they are told, and a client's connection to it.

use crate::auth::Authorizer;
use crate::config::{Policy, Settings};
use crate::counters::Counters;
use crate::live::Live;
use crate::proxy::{Client, Handback, Intake, Judge, Proxy, Refused};
use crate::recognize::http::{Head, Intent, Via, intent};
use crate::registry::{Admission, Endpoints, Lease, Name, OriginSpec};
use crate::rtc::Sessions;
use crate::store::{Clock, Store, StoreSettings};
use crate::telemetry::fixtures::NoFacts;
use crate::telemetry::{Form, Telemetry};
use balancer_common::abi::ServiceKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub proxy: Arc<Proxy>,
}

impl World {
    pub fn new() -> Self {
        Self::with(None)
    }

    pub fn with(static_files: Option<PathBuf>) -> Self {
        let vips = vec!["127.0.0.1".parse().unwrap()];
        Self::of(Settings { static_files, vips, ..Settings::default() })
    }

    pub fn of(settings: Settings) -> Self {
        let (clock, counters) = (Clock::start(), Arc::new(Counters::default()));
        let store = StoreSettings {
            policy: Policy::LeastLoad,
            sharing: Default::default(),
            origin_ttl: Duration::from_secs(30),
            default_origin: None,
            admission: Admission { networks: vec!["127.0.0.0/8".parse().unwrap()], own: vec![] },
        };
        let store = Arc::new(Store::new(store, counters.clone()).unwrap());
        let live = Live::new(store.clone(), None, clock);
        let telemetry = Arc::new(Telemetry::new(store.clone(), counters.clone(), Arc::new(NoFacts), clock));
        let authorizer = Arc::new(Authorizer::new(&settings, counters.clone()));
        let rtc = Sessions::without_kernel(store.clone(), live.clone(), counters, clock);
        Self { proxy: Proxy::new(Arc::new(settings), store, live, telemetry, authorizer, rtc, clock) }
    }

    pub async fn add(&self, id: &str, address: SocketAddr) {
        let mut endpoints = Endpoints::default();
        endpoints.add(ServiceKind::Http, address).unwrap();
        endpoints.add(ServiceKind::Api, address).unwrap();
        self.put(id, OriginSpec { endpoints: Some(endpoints), ..OriginSpec::default() }).await;
    }

    pub async fn put(&self, id: &str, spec: OriginSpec) {
        let spec = OriginSpec { lease: Some(Lease::Never), ..spec };
        self.proxy.store.put_origin(&Name::parse(id).unwrap(), &spec, self.proxy.clock.now()).await.unwrap();
    }

    pub fn judge(&self) -> Judge {
        let store = self.proxy.store.clone();
        Arc::new(move |head: &Head| {
            let intent = intent(head, |key| store.is_placed(key)).map_err(Refused::from)?;
            Ok(matches!(intent, Intent::Other))
        })
    }

    /// A client's connection, served to its end or to the request that is to be spliced.
    pub fn connect(&self) -> (DuplexStream, JoinHandle<Outcome>) {
        self.connect_by(64 * 1024, ServiceKind::Http)
    }

    pub fn connect_by(&self, in_flight: usize, service: ServiceKind) -> (DuplexStream, JoinHandle<Outcome>) {
        let (near, far) = duplex(in_flight);
        let intake = Intake::new(far, &[], self.proxy.limits(), self.judge());
        (near, tokio::spawn(serve(self.proxy.clone(), intake, service)))
    }

    /// Everything that the client hears when it says `bytes` and nothing more.
    pub async fn hear(&self, bytes: &[u8]) -> (String, Outcome) {
        let (mut client, task) = self.connect();
        let mut heard = Vec::new();
        let talk = async {
            client.write_all(bytes).await.unwrap();
            client.shutdown().await.unwrap();
            client.read_to_end(&mut heard).await.unwrap();
        };
        tokio::time::timeout(PATIENCE, talk).await.expect("an answer and an end");
        (String::from_utf8_lossy(&heard).into_owned(), task.await.unwrap())
    }

    pub fn metrics(&self) -> String {
        self.proxy.telemetry.render(Form::Text)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// What was in the buffer when a request for a stream came.
    Spliced(String),
    Refused(Refused),
    Closed,
}

pub fn client(service: ServiceKind) -> Client {
    let (client, vip) = ("198.51.100.7:5000".parse().unwrap(), "127.0.0.1:8080".parse().unwrap());
    let via = Via { client, tls: false, vip, trust_forwarded: false };
    Client { via, service, peer: client, own: vip }
}

async fn serve(proxy: Arc<Proxy>, mut intake: Intake<DuplexStream>, service: ServiceKind) -> Outcome {
    let media = |head: &Head| matches!(intent(head, |key| proxy.store.is_placed(key)), Ok(Intent::Media { .. }));
    let mut next = intake.next().await;
    loop {
        let head = match next {
            Ok(head) => head,
            Err(refused) => {
                proxy.refuse(&mut intake, refused).await;
                return Outcome::Refused(refused);
            }
        };
        if media(&head) {
            let (stream, buffered) = intake.into_parts();
            drop(stream);
            return Outcome::Spliced(String::from_utf8(buffered).unwrap());
        }
        next = match proxy.serve(&mut intake, &head, client(service)).await {
            Handback::Next(head) => Ok(head),
            Handback::Refuse(refused) => Err(refused),
            Handback::Closed => return Outcome::Closed,
        };
    }
}

/// An origin that answers what `answer` makes of each request, word for word. It closes after one with `X-Cut`, and
/// instead of an empty one.
pub struct Origin {
    pub address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub async fn new(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (heard, connections): (Arc<Mutex<Vec<String>>>, Arc<Mutex<usize>>) = Default::default();
        let (answer, log, count) = (Arc::new(answer), heard.clone(), connections.clone());
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                *count.lock().unwrap() += 1;
                tokio::spawn(converse(stream, answer.clone(), log.clone()));
            }
        });
        Self { address, heard, connections, task }
    }

    /// Answers with the text of each request's first line.
    pub async fn echo() -> Self {
        Self::new(|request| ok(request.lines().next().unwrap_or_default())).await
    }

    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

pub fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Reads requests whose bodies have a length or end in an empty chunk.
async fn converse(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&str) -> Vec<u8>>,
    heard: Arc<Mutex<Vec<String>>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    loop {
        let head = loop {
            if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        };
        let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let chunked = text.contains("transfer-encoding: chunked");
        let whole = |bytes: &[u8]| match length {
            Some(length) => bytes.len() >= head + length,
            None => !chunked || bytes[head..].windows(5).any(|w| w == b"0\r\n\r\n"),
        };
        while !whole(&bytes) {
            if stream.read_buf(&mut bytes).await.ok()? == 0 {
                return None;
            }
        }
        let len = length.map_or(if chunked { bytes.len() } else { head }, |length| head + length);
        let request = String::from_utf8_lossy(&bytes[..len]).into_owned();
        bytes.drain(..len);
        heard.lock().unwrap().push(request.clone());
        let said = answer(&request);
        if said.is_empty() {
            return None;
        }
        stream.write_all(&said).await.ok()?;
        if said.windows(7).any(|w| w == b"X-Cut: ") {
            return None;
        }
        if !said.to_ascii_lowercase().windows(15).any(|w| w == b"content-length:") && !said.ends_with(b"0\r\n\r\n") {
            return None;
        }
    }
}

/// The bodies of answers that have a length.
pub fn bodies(mut heard: &str) -> Vec<String> {
    let mut bodies = Vec::new();
    while let Some((head, rest)) = heard.split_once("\r\n\r\n") {
        let length = head.to_ascii_lowercase();
        let length = length.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
        let length = length.unwrap_or(0);
        bodies.push(rest[..length].to_owned());
        heard = &rest[length..];
    }
    bodies
}

/// Status codes of answers, in order.
pub fn statuses(heard: &str) -> Vec<u16> {
    heard.split("HTTP/1.").skip(1).filter_map(|answer| answer.get(2..5)?.parse().ok()).collect()
}
