//! A VIP of SRT, origins that behave as they are told, and callers.

use super::*;
use crate::config::Settings;
use crate::slowpath::fixtures;
use balancer_common::abi::ServiceKind;
use std::sync::Mutex;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(250);
/// What comes within it comes at once.
const SOON: Duration = Duration::from_millis(400);

pub struct World {
    pub ctx: Arc<Context>,
    pub listener: Arc<Listener>,
}

impl World {
    pub fn new() -> Self {
        Self::of(Settings::default())
    }

    pub fn of(settings: Settings) -> Self {
        let ctx = fixtures::context(Settings { handshakes_per_client_max: settings.handshakes_max, ..settings });
        let listener = fixtures::serve_udp(&ctx, ServiceKind::Srt);
        Self { ctx, listener }
    }

    pub async fn with_origin(manners: Manners) -> (Self, Origin) {
        let (world, origin) = (Self::new(), Origin::new(manners).await);
        world.add("a", &origin).await;
        (world, origin)
    }

    pub async fn add(&self, id: &str, origin: &Origin) {
        self.ctx.add_origin(id, ServiceKind::Srt, origin.address).await;
    }

    pub async fn caller(&self) -> Caller {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(self.listener.address).await.unwrap();
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(100);
        Caller { socket, id: NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed) }
    }

    /// The answer to a conclusion with this stream id.
    pub async fn call(&self, stream_id: &str) -> (Caller, Said) {
        let caller = self.caller().await;
        let answer = caller.call(stream_id).await;
        (caller, answer)
    }

    pub fn count(&self, reason: Reason) -> u64 {
        self.ctx.counters.get(reason)
    }
}

/// Waits until this holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for {what}"));
}

pub struct Caller {
    pub socket: UdpSocket,
    pub id: u32,
}

impl Caller {
    pub async fn call(&self, stream_id: &str) -> Said {
        let conclusion = self.conclusion(stream_id).await;
        self.ask(&conclusion).await
    }

    /// With a cookie that it got.
    pub async fn conclusion(&self, stream_id: &str) -> Said {
        let answer = self.ask(&Said::induction(self.id)).await;
        assert_eq!((answer.kind, answer.version, answer.extension_field), (INDUCTION, 5, packet::MAGIC));
        Said::conclusion(self.id, answer.cookie, stream_id.as_bytes())
    }

    /// Asks again and again until a handshake comes back.
    pub async fn ask(&self, said: &Said) -> Said {
        let ask = async {
            loop {
                self.say(said).await;
                if let Some(answer) = self.hear(AGAIN).await.as_deref().and_then(Said::parse) {
                    assert_eq!(answer.destination, self.id);
                    return answer;
                }
            }
        };
        tokio::time::timeout(PATIENCE, ask).await.expect("an answer")
    }

    pub async fn say(&self, said: &Said) {
        self.socket.send(&said.bytes()).await.unwrap();
    }

    pub async fn hear(&self, within: Duration) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 2000];
        let len = tokio::time::timeout(within, self.socket.recv(&mut buffer)).await.ok()?.unwrap();
        buffer.truncate(len);
        Some(buffer)
    }

    /// The next datagram of that kind.
    pub async fn hear_kind(&self, kind: Kind) -> Vec<u8> {
        let hear = async {
            loop {
                if let Some(datagram) = self.hear(PATIENCE).await.filter(|d| packet::kind(d) == Some(kind)) {
                    return datagram;
                }
            }
        };
        tokio::time::timeout(PATIENCE, hear).await.expect("a datagram")
    }

    pub async fn hears_nothing(&self) {
        assert_eq!(self.hear(SOON).await, None);
    }
}

#[derive(Clone, Copy, Default)]
pub struct Manners {
    pub silent: bool,
    pub loses_conclusions: bool,
    pub refuses: Option<u32>,
    /// Of its handshake.
    pub old: bool,
    /// Ignores so many datagrams first.
    pub loses: usize,
}

/// Where a datagram came from, and what it was.
type Arrived = (SocketAddr, Vec<u8>);

pub struct Origin {
    pub address: SocketAddr,
    socket: Arc<UdpSocket>,
    heard: Arc<Mutex<Vec<Arrived>>>,
    task: JoinHandle<()>,
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Origin {
    pub const COOKIE: u32 = 0x0515_0515;
    pub const ID: u32 = 0x0a11_0a11;

    pub async fn new(manners: Manners) -> Self {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let heard = Arc::<Mutex<Vec<Arrived>>>::default();
        let (ears, log) = (socket.clone(), heard.clone());
        let task = tokio::spawn(async move {
            let mut buffer = vec![0; 2000];
            loop {
                let Ok((len, from)) = ears.recv_from(&mut buffer).await else { continue };
                let count = {
                    let mut log = log.lock().unwrap();
                    log.push((from, buffer[..len].to_vec()));
                    log.len()
                };
                if count <= manners.loses {
                    continue;
                }
                if let Some(answer) = Said::parse(&buffer[..len]).and_then(|said| Self::answer(manners, &said, from)) {
                    ears.send_to(&answer.bytes(), from).await.unwrap();
                }
            }
        });
        Self { address: socket.local_addr().unwrap(), socket, heard, task }
    }

    fn answer(manners: Manners, said: &Said, from: SocketAddr) -> Option<Said> {
        match said.kind {
            _ if manners.silent => None,
            INDUCTION if manners.old => Some(Said { version: 4, ..said.answer_to_induction(Self::COOKIE) }),
            INDUCTION => Some(said.answer_to_induction(Self::COOKIE)),
            CONCLUSION if manners.loses_conclusions || said.cookie != Self::COOKIE => None,
            CONCLUSION => {
                let answer = said.answer_to_conclusion(Self::ID);
                let SocketAddr::V4(from) = from else { return None };
                let mut peer = [0; 16];
                peer[..4].copy_from_slice(&u32::from(*from.ip()).to_le_bytes());
                Some(manners.refuses.map_or(Said { peer, ..answer }, |reason| said.refusal(reason)))
            }
            _ => None,
        }
    }

    pub fn heard(&self) -> Vec<Arrived> {
        self.heard.lock().unwrap().clone()
    }

    /// From where the conclusions came, each once.
    pub fn callers(&self) -> Vec<SocketAddr> {
        let mut callers: Vec<_> = self.conclusions().into_iter().map(|(from, _)| from).collect();
        callers.sort();
        callers.dedup();
        callers
    }

    pub fn conclusions(&self) -> Vec<(SocketAddr, Said)> {
        let said = |(from, bytes): Arrived| Some((from, Said::parse(&bytes)?));
        self.heard().into_iter().filter_map(said).filter(|(_, said)| said.kind == CONCLUSION).collect()
    }

    pub async fn say(&self, to: SocketAddr, datagram: &[u8]) {
        self.socket.send_to(datagram, to).await.unwrap();
    }
}
