//! The watch on the neighbours against the real kernel: two network namespaces, a veth between them, and slots that
//! only remember. Needs root, no XDP.

use balancer::offload::neighbours::{Mac, Slots, watch};
use balancer_lab::cleanup::unique_name;
use balancer_lab::net::{Netns, link, run};
use balancer_lab::requirements::{Need, met};
use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const PEER: Mac = [2, 0, 0, 0, 0, 0xbb];
const OTHER: Mac = [2, 0, 0, 0, 0, 0xcc];
const OWN: &str = "192.0.2.1";
const FIRST: &str = "192.0.2.2";
const SECOND: &str = "192.0.2.3";
const FIRST6: &str = "2001:db8::2";
const SOON: Duration = Duration::from_secs(60);

/// Next hops without a kernel behind them.
struct Hops {
    ifindex: u32,
    macs: Mutex<BTreeSet<Mac>>,
    moves: Mutex<Vec<(u32, Mac, Mac)>>,
}

impl Slots for Hops {
    fn neighbours(&self) -> Vec<(u32, Mac)> {
        self.macs.lock().unwrap().iter().map(|mac| (self.ifindex, *mac)).collect()
    }

    fn neighbour_moved(&self, ifindex: u32, old: Mac, new: Mac) -> usize {
        let mut macs = self.macs.lock().unwrap();
        let found = macs.remove(&old);
        macs.insert(new);
        self.moves.lock().unwrap().push((ifindex, old, new));
        usize::from(found)
    }
}

/// A balancer's host, its peer, and the watch in a thread of its own.
struct Scene {
    host: Netns,
    peer: Netns,
    hops: Arc<Hops>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    watch: Option<std::thread::JoinHandle<()>>,
}

impl Scene {
    /// The kernel knows `ips`, and the watch has begun to look after them. `None` where that cannot be tried.
    fn watching(ips: &[&str]) -> Option<Self> {
        if !met(&[Need::Network]) {
            return None;
        }
        let mut scene = Self::new();
        ips.iter().for_each(|ip| scene.meet(ip));
        scene.start();
        ips.iter().for_each(|ip| scene.managed(ip));
        Some(scene)
    }

    fn new() -> Self {
        let name = unique_name();
        let host = Netns::create(format!("{name}-host")).unwrap();
        let peer = Netns::create(format!("{name}-peer")).unwrap();
        link((&host, "near"), (&peer, "far"), 1500).unwrap();
        host.ip(&format!("addr add {OWN}/24 dev near\naddr add 2001:db8::1/64 dev near nodad\n")).unwrap();
        peer.ip(&format!(
            "link set far address {}\naddr add {FIRST}/24 dev far\naddr add {SECOND}/24 dev far\n\
             addr add {FIRST6}/64 dev far nodad\n",
            shown(PEER)
        ))
        .unwrap();
        // An interface tells of a new MAC only when it is told to.
        peer.sysctl("net.ipv4.conf.far.arp_notify", "1").unwrap();
        peer.sysctl("net.ipv6.conf.far.ndisc_notify", "1").unwrap();
        // Three unanswered probes in a third of a second.
        host.sysctl("net.ipv4.neigh.near.retrans_time_ms", "100").unwrap();
        let shown = run(host.command("ip").args(["-o", "link", "show", "near"])).unwrap().stdout;
        let ifindex = String::from_utf8(shown).unwrap().split(':').next().unwrap().parse().unwrap();
        let hops = Hops { ifindex, macs: Mutex::new([PEER].into()), moves: Mutex::default() };
        Self { host, peer, hops: Arc::new(hops), stop: None, watch: None }
    }

    /// Sends a datagram, so that the kernel learns the neighbour, and waits for its answer.
    fn meet(&self, ip: &str) {
        let to = (ip.parse::<std::net::IpAddr>().unwrap(), 9);
        let any = if to.0.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        self.host.run(|| UdpSocket::bind(any).unwrap().send_to(b"hello", to).unwrap()).unwrap();
        self.eventually(&format!("{ip} has a MAC"), || self.entry(ip).contains(&shown(PEER)));
    }

    fn start(&mut self) {
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (host, hops) = (self.host.clone(), self.hops.clone());
        self.stop = Some(stop);
        self.watch = Some(std::thread::spawn(move || {
            host.enter().unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                tokio::select! {
                    never = watch(hops) => match never {},
                    _ = stopped => {}
                }
            });
        }));
    }

    fn entry(&self, ip: &str) -> String {
        let shown = run(self.host.command("ip").args(["neigh", "show", "to", ip, "dev", "near"])).unwrap();
        String::from_utf8(shown.stdout).unwrap()
    }

    fn eventually(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            let state = format!("{}{}{:?}", self.entry(FIRST), self.entry(SECOND), self.moves());
            assert!(start.elapsed() < SOON, "never: {what}; there is\n{state}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn managed(&self, ip: &str) {
        self.eventually(&format!("{ip} is managed"), || self.entry(ip).contains("managed"));
    }

    /// As a floating address that another host took over.
    fn second_is_elsewhere(&self) {
        let entry = format!("neigh replace {SECOND} dev near lladdr {} nud permanent\n", shown(OTHER));
        self.host.ip(&entry).unwrap();
    }

    fn moved_once_to(&self, mac: Mac) {
        self.eventually("the slot moved", || self.moves() == [(self.hops.ifindex, PEER, mac)]);
    }

    fn moves(&self) -> Vec<(u32, Mac, Mac)> {
        self.hops.moves.lock().unwrap().clone()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        let ended = self.watch.take().map(std::thread::JoinHandle::join);
        // A second panic would hide the first.
        assert!(std::thread::panicking() || ended.is_none_or(|e| e.is_ok()));
    }
}

fn shown(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

#[test]
fn next_hops_are_managed_and_followed_when_the_peer_gets_another_mac() {
    let all = [FIRST, SECOND, FIRST6];
    let Some(scene) = Scene::watching(&all) else { return };
    scene.peer.ip(&format!("link set far address {}\n", shown(OTHER))).unwrap();
    scene.moved_once_to(OTHER);
    all.iter().for_each(|ip| scene.eventually("all moved", || scene.entry(ip).contains(&shown(OTHER))));
    scene.moved_once_to(OTHER);
}

#[test]
fn entries_that_went_with_the_link_are_made_again() {
    let Some(scene) = Scene::watching(&[FIRST]) else { return };
    scene.host.ip("link set near down\n").unwrap();
    assert_eq!(scene.entry(FIRST), "");
    scene.peer.ip(&format!("link set far address {}\n", shown(OTHER))).unwrap();
    scene.host.ip("link set near up\n").unwrap();
    scene.managed(FIRST);
    scene.moved_once_to(OTHER);
}

#[test]
fn a_gateway_that_leaves_a_living_router_takes_the_slot_along() {
    let Some(scene) = Scene::watching(&[FIRST, SECOND]) else { return };
    scene.host.ip(&format!("route add default via {SECOND}\n")).unwrap();
    scene.second_is_elsewhere();
    scene.moved_once_to(OTHER);
    assert!(scene.entry(FIRST).contains(&shown(PEER)));
}

#[test]
fn a_slot_that_others_hold_moves_when_probes_find_them_dead() {
    let Some(scene) = Scene::watching(&[FIRST, SECOND]) else { return };
    // The kernel confirmed the entry a moment ago and would not doubt it for a long time.
    scene.peer.ip("link set far arp off\n").unwrap();
    scene.second_is_elsewhere();
    scene.moved_once_to(OTHER);
}

#[test]
fn a_slot_that_others_hold_stays_when_probes_find_them_alive() {
    let Some(scene) = Scene::watching(&[FIRST, SECOND]) else { return };
    scene.second_is_elsewhere();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(scene.moves(), []);
    scene.managed(FIRST);
    assert!(scene.entry(FIRST).contains(&shown(PEER)));
}
