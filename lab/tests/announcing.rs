//! The examples for keepalived and bird at work: addresses are where a balancer is ready, and move when it is not any more.

use balancer_lab::bird::{Announced, Bird, Speaker};
use balancer_lab::cleanup::{self, Made};
use balancer_lab::keepalived::{Keepalived, Vrrp};
use balancer_lab::net::{self, Netns};
use balancer_lab::requirements::{Need, met};
use balancer_lab::wait::wait_until;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Announcing];
const SOON: Duration = Duration::from_secs(40);
const API: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 12025);
const VIP: [IpAddr; 2] = both(9);

const fn both(host: u8) -> [IpAddr; 2] {
    [IpAddr::V4(v4(host)), IpAddr::V6(v6(host))]
}

const fn v4(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 71, 1, host)
}

const fn v6(host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd71, 0, 0, 1, 0, 0, 0, host as u16)
}

/// Hosts on one switch; the addresses of number n end in n + 1.
struct Segment {
    hosts: Vec<Netns>,
    directory: PathBuf,
    _switch: Netns,
}

impl Segment {
    fn build(hosts: u8) -> Self {
        let name = cleanup::unique_name();
        let directory = std::env::temp_dir().join(&name);
        cleanup::make(Made::Directory(directory.clone()), || std::fs::create_dir_all(&directory)).unwrap();
        let switch = Netns::create(format!("{name}-sw")).unwrap();
        switch.ip("link add br0 type bridge\nlink set br0 up\n").unwrap();
        let hosts = (0..hosts).map(|i| {
            let host = Netns::create(format!("{name}-h{i}")).unwrap();
            let port = format!("p{i}");
            net::link((&host, "eth0"), (&switch, &port), 1500).unwrap();
            switch.ip(&format!("link set {port} master br0\n")).unwrap();
            let (v4, v6) = (v4(i + 1), v6(i + 1));
            host.ip(&format!("addr add {v4}/24 dev eth0\naddr add {v6}/64 dev eth0 nodad\n")).unwrap();
            host
        });
        Self { hosts: hosts.collect(), directory, _switch: switch }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        cleanup::remove(&Made::Directory(self.directory.clone()));
    }
}

/// Answers `/readyz` as a balancer does.
fn readyz(netns: &Netns) -> Arc<AtomicBool> {
    let ready = Arc::new(AtomicBool::new(true));
    let listener = netns.run(|| TcpListener::bind(API)).unwrap().unwrap();
    let answer = ready.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let (status, body) = if answer.load(Relaxed) { (200, "{}") } else { (503, r#"{"error":"draining"}"#) };
            let len = body.len();
            let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: {len}\r\nConnection: close\r\n\r\n{body}");
        }
    });
    ready
}

fn has(netns: &Netns, ip: IpAddr) -> bool {
    let output = net::run(netns.command("ip").args(["-o", "addr", "show"])).unwrap();
    String::from_utf8_lossy(&output.stdout).contains(&format!(" {ip}/"))
}

#[test]
fn the_vip_and_the_source_address_move_together_to_the_balancer_that_is_ready() {
    if !met(NEEDS) {
        return;
    }
    let segment = Segment::build(2);
    let addresses: Vec<_> = [9, 10].into_iter().flat_map(both).collect();
    let float = |prefix_of: fn(&IpAddr) -> u8| addresses.iter().map(move |ip| (*ip, prefix_of(ip), "eth0".to_owned()));
    let on = |host: usize| addresses.iter().filter(|ip| has(&segment.hosts[host], **ip)).count();
    let mut ready = Vec::new();
    let mut running = Vec::new();
    for (i, netns) in segment.hosts.iter().enumerate() {
        ready.push(readyz(netns));
        let vrrp = Vrrp {
            name: format!("keepalived{i}"),
            interface: "eth0".into(),
            priority: 100 - i as u8,
            addresses: float(|ip| if ip.is_ipv4() { 24 } else { 64 }).collect(),
            system_api: API,
        };
        running.push(Keepalived::start(netns, &segment.directory, &vrrp).unwrap());
        if i == 0 {
            wait_until("the first to have the addresses", SOON, || on(0) == addresses.len()).unwrap();
        }
    }
    wait_until("the second to wait", SOON, || running[1].state() == "BACKUP").unwrap();
    assert_eq!(on(1), 0, "nobody takes the addresses from one that serves");

    ready[0].store(false, Relaxed);
    wait_until("all addresses to be on the second", SOON, || (on(0), on(1)) == (0, addresses.len())).unwrap();
    wait_until("both to know their state", SOON, || (running[0].state(), running[1].state()) == fault_master())
        .unwrap();
    // Ready again, the first waits for its turn.
    ready[0].store(true, Relaxed);
    wait_until("the first to wait", SOON, || running[0].state() == "BACKUP").unwrap();
    assert_eq!((on(0), on(1)), (0, addresses.len()));
    running.pop().unwrap().stop().unwrap();
    wait_until("all addresses to be on the first", SOON, || (on(0), on(1)) == (addresses.len(), 0)).unwrap();
}

fn fault_master() -> (String, String) {
    ("FAULT".into(), "MASTER".into())
}

#[test]
fn the_router_spreads_clients_over_the_balancers_that_are_ready() {
    if !met(NEEDS) {
        return;
    }
    let segment = Segment::build(3);
    let directory = &segment.directory;
    let router = Speaker::router(v4(3), v6(3));
    let speakers = [1, 2].map(|n: u8| Speaker::balancer(n.into(), v4(n), v6(n)));
    let sources = [both(11), both(12)];
    let networks = ("10.71.1.0/24", "fd71:0:0:1::/64");
    let table = Bird::router(&segment.hosts[2], directory, &router, &speakers, networks).unwrap();
    let mut birds: Vec<_> = (0..2)
        .map(|i| {
            let (sources, others) = (sources[i].to_vec(), sources[1 - i].to_vec());
            let announced = Announced { vips: VIP.to_vec(), sources, others };
            Bird::announcer(&segment.hosts[i], directory, &speakers[i], &router, &announced).unwrap()
        })
        .collect();
    let hops = |to: [IpAddr; 2]| to.map(|ip| table.next_hops(ip).unwrap());
    let ways = |hosts: &[u8]| {
        [hosts.iter().map(|n| v4(*n).into()).collect::<Vec<IpAddr>>(), hosts.iter().map(|n| v6(*n).into()).collect()]
    };
    wait_until("each source address to lead to its balancer", SOON, || {
        hops(sources[0]) == ways(&[1]) && hops(sources[1]) == ways(&[2])
    })
    .unwrap();
    assert_eq!(hops(VIP), ways(&[]), "nobody is ready");

    let announce = |i: usize, birds: &[Bird], state: &str| {
        let argv = birds[i].announce_command();
        net::run(segment.hosts[i].command(&argv[0]).args(&argv[1..]).arg(state)).unwrap();
    };
    announce(0, &birds, "up");
    announce(1, &birds, "up");
    announce(1, &birds, "up");
    wait_until("both to be used", SOON, || hops(VIP) == ways(&[1, 2])).unwrap();
    announce(1, &birds, "down");
    wait_until("the first alone to be used", SOON, || hops(VIP) == ways(&[1])).unwrap();
    assert_eq!(hops(sources[1]), ways(&[2]), "flows go on where they are");
    announce(1, &birds, "up");
    wait_until("both to be used again", SOON, || hops(VIP) == ways(&[1, 2])).unwrap();

    // A balancer that does not say anything any more.
    let ready = readyz(&segment.hosts[1]);
    let watch = birds[1].watch(API).unwrap();
    wait_until("the watcher to find it ready", SOON, || watch.log().contains("balancer: up")).unwrap();
    ready.store(false, Relaxed);
    wait_until("the watcher to withdraw it", SOON, || hops(VIP) == ways(&[1])).unwrap();
    assert!(watch.log().contains("draining"), "{}", watch.log());

    // A host that is gone: what its origins send goes where its flows are taken over.
    birds[0].kill();
    wait_until("the second to be all that is left", SOON, || hops(sources[0]) == ways(&[2])).unwrap();
    assert_eq!(hops(VIP), ways(&[]));
    ready.store(true, Relaxed);
    wait_until("the second to be used", SOON, || hops(VIP) == ways(&[2])).unwrap();
}
