//! The synthetic HTTP media origin: streams whose name is their plan, files that a test puts there, uploads that are
//! checked; in FLV, TS and WebSocket alike, for it is bytes to it. Every head that it gets is kept as it came, with
//! where it came from. It has the manners that a test gives it, bad ones too.

use super::head::Head;
use super::plan::Check;
use super::serve;
use crate::net::Netns;
use crate::proxy_header::Headers;
use crate::synthetic::listen;
use crate::transfer::Style;
use crate::{sys, wait};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

const STACK: usize = 256 * 1024;
const ACCEPT_TICK: Duration = Duration::from_millis(50);

/// What differs between servers, good and bad.
#[derive(Clone, Debug, Default)]
pub struct WebManners {
    /// How bodies of planned streams are sent.
    pub style: Style,
    /// Accepts, reads, and says nothing.
    pub silent: bool,
    /// Accepts, reads a request, and closes the connection without a word.
    pub hangs_up: bool,
    /// Answers an upgrade with 404, and keeps the connection.
    pub refuses_upgrade: bool,
    /// Does not care for `Connection: close`: goes on reading requests, and serves them.
    pub ignores_close: bool,
    /// Says so before the header of any body: `100 Continue`, whoever asked or not.
    pub always_continues: bool,
    /// A PROXY header comes before anything else, or nothing is answered.
    pub headers: Option<Headers>,
}

/// A file that a test put there.
#[derive(Clone, Debug)]
pub struct WebFile {
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// Further headers, each with its line end.
    pub headers: String,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrived {
    pub head: Head,
    pub peer: SocketAddr,
    /// Counts connections from 1.
    pub connection: u64,
}

/// A body that was sent to the origin, by POST or over a WebSocket.
#[derive(Clone, Debug)]
pub struct Upload {
    pub path: String,
    pub check: Check,
    /// It ended as its framing says.
    pub whole: bool,
}

#[derive(Default)]
pub(super) struct Shared {
    pub manners: WebManners,
    pub stop: AtomicBool,
    accepted: AtomicU64,
    arrived: Mutex<Vec<Arrived>>,
    uploads: Mutex<Vec<Upload>>,
    files: Mutex<BTreeMap<String, WebFile>>,
    open: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Shared {
    pub fn note_arrival(&self, arrived: Arrived) {
        hold(&self.arrived).push(arrived);
    }

    pub fn note_upload(&self, upload: Upload) {
        hold(&self.uploads).push(upload);
    }

    pub fn file(&self, target: &str) -> Option<WebFile> {
        hold(&self.files).get(target).cloned()
    }
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

pub struct WebOrigin {
    shared: Arc<Shared>,
    listeners: Vec<JoinHandle<()>>,
}

impl WebOrigin {
    /// Listens on `port` in both families.
    pub fn start(netns: &Netns, port: u16, manners: WebManners) -> Result<Self> {
        let shared = Arc::new(Shared { manners, ..Shared::default() });
        let mut listeners = Vec::new();
        for ip in [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
            let listener = netns.run(|| listen(SocketAddr::new(ip, port)))??;
            let shared = shared.clone();
            listeners.push(std::thread::spawn(move || accept(&listener, &shared)));
        }
        Ok(Self { shared, listeners })
    }

    /// Serves a file at this target (query included, if there is one to be matched) from now on.
    pub fn put(&self, target: &str, content_type: &'static str, body: impl Into<Vec<u8>>) {
        self.put_with(target, WebFile { content_type, body: body.into(), headers: String::new() });
    }

    pub fn put_with(&self, target: &str, file: WebFile) {
        hold(&self.shared.files).insert(target.to_owned(), file);
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Relaxed)
    }

    /// Every request so far, in the order of arrival.
    pub fn arrived(&self) -> Vec<Arrived> {
        hold(&self.shared.arrived).clone()
    }

    /// Those whose target contains this.
    pub fn arrived_for(&self, target: &str) -> Vec<Arrived> {
        self.arrived().into_iter().filter(|arrived| arrived.head.word(1).contains(target)).collect()
    }

    pub fn uploads(&self) -> Vec<Upload> {
        hold(&self.shared.uploads).clone()
    }

    pub fn wait_uploads(&self, count: usize, within: Duration) -> Result<Vec<Upload>> {
        let what = format!("{count} uploads to end at the origin");
        wait::wait_for(&what, within, || Some(self.uploads()).filter(|all| all.len() >= count))
            .with_context(|| format!("ended so far: {:#?}", self.uploads()))
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        hold(&self.shared.open).len()
    }
}

impl Drop for WebOrigin {
    /// As when a server process dies: its sockets are closed wherever they stand.
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
        for stream in hold(&self.shared.open).values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.stop.load(Relaxed) {
        let _ = sys::poll(listener.as_raw_fd(), true, false, ACCEPT_TICK);
        while let Ok((stream, peer)) = listener.accept() {
            let connection = shared.accepted.fetch_add(1, Relaxed) + 1;
            let Ok(twin) = stream.try_clone() else { continue };
            hold(&shared.open).insert(connection, twin);
            let in_thread = shared.clone();
            let serve = move || {
                // What goes wrong is what the test looks for at the other end, or in what arrived.
                let _ = serve::connection(stream, peer, connection, &in_thread);
                hold(&in_thread.open).remove(&connection);
            };
            if let Err(error) = std::thread::Builder::new().stack_size(STACK).spawn(serve) {
                eprintln!("synthetic HTTP origin: no thread: {error}");
            }
        }
    }
}
