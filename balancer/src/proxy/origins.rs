//! The connections to origins: opened when needed, kept for the next request, and no more of them than is sane.
//!
//! Knows addresses and nothing of streams. Ordinary sockets with ephemeral ports: nothing here is ever spliced.

use super::body::{Answer, Outgoing, Relayed};
use super::link::{AskError, BodyResult, Link};
use crate::sources::{Sources, outgoing};
use crate::telemetry::Telemetry;
use balancer_common::abi::Reason;
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// Kept idle for one address.
pub const IDLE_MAX: usize = 256;
/// Shorter than what servers allow (nginx 75 s, Node 5 s), so that it is rarely they who close: a request that meets a
/// connection just being closed is lost to somebody.
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(4);
/// Requests under way to one address. More than any media server answers at once.
pub const IN_FLIGHT_MAX: usize = 4096;
/// Of them, those of one client. More than the players behind one address ask for at once.
pub const IN_FLIGHT_PER_CLIENT_MAX: u32 = 256;

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    /// What a connection begins with, for origins that want a PROXY protocol header. It speaks of one client, so the
    /// connection is that client's alone and not kept.
    pub opening: Option<Bytes>,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Self { address, opening: None }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Times {
    pub connect: Duration,
    /// To the head of the answer.
    pub answer: Duration,
    /// Between two parts of a body.
    pub idle: Duration,
}

#[derive(Debug, thiserror::Error)]
pub enum OriginError {
    #[error("it refused the connection")]
    Refused,
    #[error("it did not accept a connection in time")]
    Unreachable,
    #[error("no connection to it: {0}")]
    Connect(io::Error),
    #[error("this host has no connection left for it: {0}")]
    Local(io::Error),
    #[error("too many requests to it are under way")]
    Busy,
    #[error("it closed the connection instead of answering")]
    Broken,
    #[error("it did not answer in time")]
    Slow,
}

impl OriginError {
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Connect(_) => "connect",
            Self::Local(_) => "local",
            Self::Busy => "busy",
            Self::Broken => "broken",
            Self::Slow => "slow",
        }
    }
}

/// With the request, where nothing of it has left this host: it may be sent elsewhere.
#[derive(Debug)]
pub struct Failed {
    pub error: OriginError,
    pub request: Option<Box<Request<Outgoing>>>,
}

pub struct Asked {
    pub response: Response<Answer>,
    /// This balancer's end of the connection.
    pub own: SocketAddr,
    /// The connection was made for this request.
    pub connected: bool,
}

pub struct Origins {
    times: Times,
    sources: Sources,
    telemetry: Arc<Telemetry>,
    pools: Mutex<HashMap<SocketAddr, Pool>>,
}

#[derive(Default)]
struct Pool {
    /// The one used last is used first: the others grow old and go.
    idle: Vec<(Box<Link>, Instant)>,
    in_flight: usize,
    by_client: HashMap<IpAddr, u32>,
}

impl Origins {
    pub fn new(times: Times, sources: Sources, telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self { times, sources, telemetry, pools: Mutex::default() })
    }

    /// Sends a request whose URI is a path (or an asterisk), and waits for the head of the answer.
    pub async fn ask(self: &Arc<Self>, target: &Target, request: Request<Outgoing>) -> Result<Asked, Failed> {
        let (mut borrowed, mut pooled) = match self.borrow_link(target, client_of(&request)) {
            Ok(borrowed) => borrowed,
            Err(Full::Origin) => {
                return Err(Failed { error: OriginError::Busy, request: Some(Box::new(request)) });
            }
            // Another origin would be filled by it just the same.
            Err(Full::Client) => {
                self.telemetry.limited(Reason::LimitRequestsPerClient);
                return Err(Failed { error: OriginError::Busy, request: None });
            }
        };
        let limit = if request.body().is_end_stream() { self.times.answer } else { self.times.idle };
        let mut request = request;
        loop {
            let Some(mut link) = pooled else { break };
            // The origin may close it at this very moment. Whether it has acted on the request by then nobody knows, so
            // only what can be repeated is.
            let again = is_repeatable(&request).then(|| copy(&request));
            match link.ask(request, limit).await {
                Ok(response) => return Ok(self.answered(borrowed, link, response, false)),
                Err(AskError::Unsent(unsent)) => request = *unsent,
                Err(AskError::Broken) => match again {
                    Some(copy) => request = copy,
                    None => return Err(Failed { error: OriginError::Broken, request: None }),
                },
                Err(AskError::Slow) => return Err(Failed { error: OriginError::Slow, request: None }),
            }
            pooled = None;
        }
        let mut link = match self.connect(target).await {
            Ok(link) => link,
            Err(error) => return Err(Failed { error, request: Some(Box::new(request)) }),
        };
        borrowed.keep = target.opening.is_none();
        match link.ask(request, limit).await {
            Ok(response) => Ok(self.answered(borrowed, link, response, true)),
            Err(AskError::Slow) => Err(Failed { error: OriginError::Slow, request: None }),
            Err(AskError::Unsent(_) | AskError::Broken) => Err(Failed { error: OriginError::Broken, request: None }),
        }
    }

    /// Closes what has been idle for long, or was closed by its origin. About once a second.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.pools().retain(|_, pool| {
            pool.idle.retain_mut(|(link, since)| now.duration_since(*since) < IDLE_TIME_MAX && link.is_free());
            pool.in_flight > 0 || !pool.idle.is_empty()
        });
    }

    /// Idle connections, to all origins.
    pub fn idle(&self) -> usize {
        self.pools().values().map(|pool| pool.idle.len()).sum()
    }

    /// A place among the requests in flight, and an idle connection if there is one.
    fn borrow_link(
        self: &Arc<Self>,
        target: &Target,
        client: Option<IpAddr>,
    ) -> Result<(Borrowed, Option<Box<Link>>), Full> {
        let now = Instant::now();
        let mut pools = self.pools();
        let pool = pools.entry(target.address).or_default();
        if pool.in_flight >= IN_FLIGHT_MAX {
            return Err(Full::Origin);
        }
        if let Some(client) = client {
            let count = pool.by_client.entry(client).or_default();
            if *count >= IN_FLIGHT_PER_CLIENT_MAX {
                return Err(Full::Client);
            }
            *count += 1;
        }
        pool.in_flight += 1;
        let mut found = None;
        while target.opening.is_none()
            && found.is_none()
            && let Some((mut link, since)) = pool.idle.pop()
        {
            found = (now.duration_since(since) < IDLE_TIME_MAX && link.is_free()).then_some(link);
        }
        drop(pools);
        let (origins, address) = (self.clone(), target.address);
        let borrowed = Borrowed { origins, address, client, link: None, is_complete: false, keep: true };
        Ok((borrowed, found))
    }

    async fn connect(&self, target: &Target) -> Result<Box<Link>, OriginError> {
        let opened = async {
            let mut stream = self.open(target.address).await?;
            stream.set_nodelay(true)?;
            if let Some(opening) = &target.opening {
                stream.write_all(opening).await?;
            }
            Ok(stream)
        };
        let stream = match tokio::time::timeout(self.times.connect, opened).await {
            Ok(stream) => stream.map_err(not_connected)?,
            Err(_) => return Err(OriginError::Unreachable),
        };
        Ok(Box::new(Link::new(stream).await.map_err(|_| OriginError::Broken)?))
    }

    /// From our own address, if one is set, and from any port: these are ordinary sockets for as long as they live.
    async fn open(&self, address: SocketAddr) -> io::Result<TcpStream> {
        if self.sources.set_for(address).is_none() {
            return TcpStream::connect(address).await;
        }
        let socket = outgoing(self.sources.towards(address)?)?;
        TcpSocket::from_std_stream(socket.into()).connect(address).await
    }

    fn answered(&self, mut borrowed: Borrowed, link: Box<Link>, answer: Response<Incoming>, connected: bool) -> Asked {
        let own = link.own;
        let (head, body) = answer.into_parts();
        let body = if body.is_end_stream() {
            borrowed.link = Some(link);
            borrowed.complete();
            Answer::empty()
        } else {
            let link = borrowed.link.insert(link);
            link.allow_silence(self.times.idle);
            Answer::Origin(Box::new(Relayed { body, link: borrowed, read_ahead: None, witness: None }))
        };
        Asked { response: Response::from_parts(head, body), own, connected }
    }

    fn pools(&self) -> MutexGuard<'_, HashMap<SocketAddr, Pool>> {
        // Each statement leaves it whole.
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection in use. Goes back to the others when the answer was complete, else it is closed.
pub struct Borrowed {
    origins: Arc<Origins>,
    address: SocketAddr,
    client: Option<IpAddr>,
    link: Option<Box<Link>>,
    is_complete: bool,
    keep: bool,
}

impl Borrowed {
    pub fn complete(&mut self) {
        self.is_complete = true;
    }

    pub fn poll_body(&mut self, cx: &mut Context<'_>, body: &mut Incoming) -> Poll<Option<BodyResult>> {
        let Some(link) = &mut self.link else { return Poll::Ready(None) };
        let polled = link.poll_body(cx, body);
        if polled.is_ready() {
            link.allow_silence(self.origins.times.idle);
        }
        polled
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        let (complete, keep) = (self.is_complete, self.keep);
        let free = self.link.take().filter(|_| complete && keep).and_then(|mut link| link.is_free().then_some(link));
        let mut pools = self.origins.pools();
        let Some(pool) = pools.get_mut(&self.address) else { return };
        pool.in_flight = pool.in_flight.saturating_sub(1);
        if let Some(client) = self.client
            && let Entry::Occupied(mut count) = pool.by_client.entry(client)
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
        if let Some(link) = free
            && pool.idle.len() < IDLE_MAX
        {
            pool.idle.push((link, Instant::now()));
        }
    }
}

/// Who has no place left.
enum Full {
    Origin,
    Client,
}

/// As the origin is told ([`super::headers::Forwarded`]): behind a proxy that is believed, the clients are those it names.
fn client_of(request: &Request<Outgoing>) -> Option<IpAddr> {
    request.headers().get("x-real-ip")?.to_str().ok()?.parse().ok()
}

/// RFC 9110 section 9.2.2, for what has no body that would have to be repeated too.
fn is_repeatable(request: &Request<Outgoing>) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) && request.body().is_end_stream()
}

fn copy(request: &Request<Outgoing>) -> Request<Outgoing> {
    let mut copy = Request::new(Outgoing::Empty);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

fn not_connected(error: io::Error) -> OriginError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => OriginError::Refused,
        io::ErrorKind::TimedOut => OriginError::Unreachable,
        // No port or no file is left here: not the origin's fault.
        io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse => OriginError::Local(error),
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => OriginError::Local(error),
        _ => OriginError::Connect(error),
    }
}
