//! The client: as many sessions as wanted, each in a thread of its own with a socket of its own, and a small port where
//! tests look at them and tell them to move.

mod media;
mod session;
mod signal;

use crate::http::{self, Response};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use session::{Session, Shared};
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Publish,
    Play,
}

#[derive(Clone, clap::Args)]
pub struct Arguments {
    /// Where to send the offer: http://VIP:1985/rtc/v1/whip/?app=live&stream=s1, or one of the JSON form
    url: String,
    /// Sessions of this kind, side by side
    #[arg(long, default_value_t = 1)]
    count: usize,
    /// What to publish: VP8 in IVF, again and again; without it, frames that nobody can decode
    #[arg(long)]
    ivf: Option<PathBuf>,
    /// The port for GET /report and POST /move, /rebind, /restart, /end
    #[arg(long)]
    control: Option<u16>,
    /// Ends by itself after so many seconds
    #[arg(long)]
    seconds: Option<u64>,
}

/// What a session may be told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Leaves its address and uses another, which ICE finds out.
    Move,
    /// Gets another address without knowing, as behind a NAT that forgot it.
    Rebind,
    /// New credentials for ICE, by PATCH.
    Restart,
    /// DELETE, and no more.
    End,
    /// Leaves without a word.
    Vanish,
}

const ORDERS: [(&str, Order); 5] = [
    ("/move", Order::Move),
    ("/rebind", Order::Rebind),
    ("/restart", Order::Restart),
    ("/end", Order::End),
    ("/vanish", Order::Vanish),
];
/// So that fifty of them do not knock at the same moment.
const STAGGER: Duration = Duration::from_millis(20);

struct Running {
    orders: mpsc::Sender<Order>,
    shared: Shared,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Default)]
struct All(Arc<Mutex<Vec<Running>>>);

pub fn run(role: Role, arguments: &Arguments) -> Result<()> {
    let all = All::default();
    let over = Arc::new(AtomicBool::new(false));
    if let Some(port) = arguments.control {
        let (all, over) = (all.clone(), over.clone());
        let at = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
        http::serve(at, move |request| {
            if request.method == "GET" {
                return Response::new(200, "application/json", all.report().to_string());
            }
            let Some((_, order)) = ORDERS.iter().find(|(path, _)| *path == request.path()) else {
                return Response::new(404, "text/plain", "no such order");
            };
            all.order(*order);
            if matches!(order, Order::End | Order::Vanish) {
                all.join();
                over.store(true, Relaxed);
            }
            Response::new(200, "application/json", all.report().to_string())
        })?;
    }
    for number in 0..arguments.count {
        let (orders, queue) = mpsc::channel();
        let shared = Shared::default();
        let (mine, arguments) = (shared.clone(), arguments.clone());
        let thread = std::thread::Builder::new().name(format!("session{number}")).spawn(move || {
            let ended = Session::start(role, &arguments, mine.clone()).and_then(|session| session.run(&queue));
            if let Err(error) = ended {
                eprintln!("session {number}: {error:#}");
                mine.change(|report| report.error = Some(format!("{error:#}")));
            }
        });
        let thread = Some(thread.context("a thread for a session")?);
        all.list().push(Running { orders, shared, thread });
        std::thread::sleep(STAGGER);
    }
    wait(&all, arguments.seconds.map(Duration::from_secs), &over);
    println!("{}", all.report());
    Ok(())
}

/// Until the time is up or everything has ended.
fn wait(all: &All, limit: Option<Duration>, over: &AtomicBool) {
    const TICK: Duration = Duration::from_millis(100);
    let mut waited = Duration::ZERO;
    while !over.load(Relaxed) {
        std::thread::sleep(TICK);
        waited += TICK;
        if limit.is_some_and(|limit| waited >= limit) {
            all.order(Order::End);
            return all.join();
        }
    }
    // The answer to the last order is on its way.
    std::thread::sleep(TICK);
}

impl All {
    fn list(&self) -> std::sync::MutexGuard<'_, Vec<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn order(&self, order: Order) {
        for running in self.list().iter() {
            // One that has failed already takes no orders.
            let _ = running.orders.send(order);
        }
    }

    fn join(&self) {
        let threads: Vec<_> = self.list().iter_mut().filter_map(|running| running.thread.take()).collect();
        for thread in threads {
            let _ = thread.join();
        }
    }

    fn report(&self) -> Value {
        let sessions: Vec<Value> = self.list().iter().map(|running| running.shared.json()).collect();
        json!({ "sessions": sessions })
    }
}
