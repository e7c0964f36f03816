//! A player of a planned stream over HTTP, in a thread of its own: every byte is checked, and it can be watched.

use super::client::WebClient;
use super::head::Head;
use super::plan::{Check, WebPlan};
use crate::net::Netns;
use anyhow::Result;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

const STACK: usize = 256 * 1024;

/// What came of it.
#[derive(Debug)]
pub struct Seen {
    pub plan: WebPlan,
    pub head: Head,
    pub check: Check,
    pub error: Option<String>,
}

impl Seen {
    /// 200, and the whole body unharmed.
    pub fn is_exact(&self) -> bool {
        self.head.status() == 200 && self.check.is(&self.plan) && self.error.is_none()
    }
}

pub struct Viewer {
    thread: JoinHandle<Seen>,
    received: Arc<AtomicU64>,
    twin: TcpStream,
    pub local: SocketAddr,
}

impl Viewer {
    /// Asks for the plan's stream with this extension; `query` begins with its question mark.
    pub fn start(netns: &Netns, to: SocketAddr, plan: WebPlan, extension: &str, query: &str) -> Result<Self> {
        let client = WebClient::dial(netns, to)?;
        let (twin, local) = (client.stream().try_clone()?, client.stream().local_addr()?);
        let received = Arc::<AtomicU64>::default();
        let counter = received.clone();
        let request = format!("GET {}{query} HTTP/1.1\r\nHost: {to}\r\nUser-Agent: lab\r\n\r\n", plan.path(extension));
        let thread =
            std::thread::Builder::new().stack_size(STACK).spawn(move || watch(client, &request, plan, &counter))?;
        Ok(Self { thread, received, twin, local })
    }

    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Closes it from the client's side.
    pub fn stop(&self) {
        let _ = self.twin.shutdown(Shutdown::Both);
    }

    pub fn join(self) -> Seen {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn watch(mut client: WebClient, request: &str, plan: WebPlan, received: &AtomicU64) -> Seen {
    let (mut head, mut check) = (Head::default(), Check::new(plan.seed));
    let mut play = || -> Result<()> {
        client.send(request)?;
        head = client.head()?;
        client.body(&head, "GET", |piece| {
            check.push(piece);
            received.store(check.received, Relaxed);
        })?;
        Ok(())
    };
    let error = play().err().map(|error| format!("{error:#}"));
    Seen { plan, head, check, error }
}
