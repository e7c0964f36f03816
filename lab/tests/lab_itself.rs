//! The lab measured against itself, without a balancer: what goes through plain routing must arrive unharmed, or no
//! other test means anything.

use balancer_lab::client::{Client, Start, run_all};
use balancer_lab::data_centre::{Arms, DataCentre, Family, Layout};
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::loss;
use balancer_lab::origin::NginxOrigin;
use balancer_lab::plan::{Ending, Framing, Plan, Role};
use balancer_lab::process::Process;
use balancer_lab::synthetic::{Manners, SyntheticOrigin};
use balancer_lab::transfer::{End, Endpoint};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const BOTH: [Family; 2] = [Family::V4, Family::V6];

fn origin_address(dc: &DataCentre, family: Family) -> SocketAddr {
    SocketAddr::new(dc.origins[0].ip(family), 1935)
}

/// Runs the clients straight to the origin and expects every byte at both ends.
fn exact(dc: &DataCentre, clients: Vec<Client>, manners: Manners) {
    let origin = SyntheticOrigin::start(&dc.origins[0].netns, 1935, manners).unwrap();
    let count = clients.len();
    let at_clients = run_all(&dc.clients[0].netns, clients, 16).unwrap();
    let at_origin = origin.wait_transfers(count, SOON).unwrap();
    assert_eq!((at_clients.len(), at_origin.len()), (count, count));
    for (transfers, end) in [(at_clients, Endpoint::Client), (at_origin, Endpoint::Origin)] {
        for transfer in transfers {
            assert!(transfer.is_complete(end), "{end:?}: {transfer:#?}");
        }
    }
}

#[test]
fn synthetic_endpoints_are_byte_exact_in_both_families() {
    let dc = DataCentre::build(&Layout::default()).unwrap();
    for family in BOTH {
        let plan = Plan::new(Role::Publish, 1, 40_000_000, 30_000_001);
        exact(&dc, vec![Client::new(origin_address(&dc, family), plan)], Manners::default());
    }
}

#[test]
fn every_start_framing_and_ending_works_directly() {
    let dc = DataCentre::build(&Layout { arms: Arms::One, ..Layout::default() }).unwrap();
    let mut clients = Vec::new();
    for (i, start) in [Start::AfterStatus, Start::Behind(5000), Start::Pipelined(70)].into_iter().enumerate() {
        for (j, ending) in [Ending::Fin, Ending::ClientReset, Ending::OriginReset].into_iter().enumerate() {
            for (k, framing) in [Framing::Raw, Framing::Messages].into_iter().enumerate() {
                for role in [Role::Publish, Role::Play] {
                    let seed = (i * 9 + j * 3 + k) as u64;
                    let plan = Plan { ending, framing, ..Plan::new(role, seed, 300_000, 200_000) };
                    clients.push(Client { start, ..Client::new(origin_address(&dc, Family::V4), plan) });
                }
            }
        }
    }
    exact(&dc, clients, Manners::default());
}

/// A RST that a full link loses comes never again, and whoever waits for it waits in vain.
#[test]
fn a_full_link_makes_its_senders_wait_and_loses_nothing() {
    if kernel() < (6, 16) {
        eprintln!("skipped: a veth makes its queue wait since Linux 6.16");
        return;
    }
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let plan = |seed| Plan { ending: Ending::ClientReset, ..Plan::new(Role::Play, seed, 3_000_000, 5_000_000) };
    let clients = (0..16).map(|seed| Client::new(origin_address(&dc, Family::V4), plan(seed)));
    exact(&dc, clients.collect(), Manners::default());
    let hosts = [&dc.clients[0], &dc.origins[0]].map(|host| (&host.netns, host.device));
    for (netns, device) in dc.lb_devices.iter().map(|device| (&dc.lb, device.as_str())).chain(hosts) {
        assert_eq!(netns.dropped(device).unwrap(), 0, "{device} of {}", netns.name());
    }
}

fn kernel() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn two_hundred_connections_survive_loss_directly() {
    let dc = DataCentre::build(&Layout::default()).unwrap();
    loss::everywhere(&dc, 10).unwrap();
    let plan = |seed| Plan::new(Role::Play, seed, 20_000, 100_000);
    let client = |seed| Client {
        start: Start::Behind(100),
        ..Client::new(origin_address(&dc, BOTH[seed as usize % 2]), plan(seed))
    };
    exact(&dc, (0..200).map(client).collect(), Manners::default());
}

/// The kernel counts a send that the way out refused.
#[test]
fn no_sender_learns_of_a_loss() {
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let (client, origin) = (&dc.clients[0], &dc.origins[0]);
    let discard = |family| SocketAddr::new(origin.ip(family), 9);
    // Is refused, and leaves neighbours that are known: what waits for one never gets as far as the loss.
    for family in BOTH {
        client.netns.run(|| TcpStream::connect(discard(family))).unwrap().unwrap_err();
    }
    // Nearly all: nft takes no comparison that is always true.
    loss::on_device(&client.netns, client.device, 999).unwrap();
    for family in BOTH {
        let (from, to) = (SocketAddr::new(client.ip(family), 0), discard(family));
        let refused = client.netns.run(|| {
            let socket = UdpSocket::bind(from).unwrap();
            (0..10).for_each(|_| assert_eq!(socket.send_to(b"lost", to).unwrap(), 4));
            let file = if family == Family::V4 { "snmp" } else { "snmp6" };
            std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap()
        });
        assert_eq!(udp_send_errors(&refused.unwrap(), family), 0, "{family:?}");
    }
}

/// `SndbufErrors`: the first file has a line of names and one of values, the other one a line for each.
fn udp_send_errors(counters: &str, family: Family) -> u64 {
    if family == Family::V6 {
        let line = counters.lines().find_map(|line| line.strip_prefix("Udp6SndbufErrors"));
        return line.unwrap().trim().parse().unwrap();
    }
    let mut lines = counters.lines().filter(|line| line.starts_with("Udp:")).map(str::split_whitespace);
    let (mut names, values) = (lines.next().unwrap(), lines.next().unwrap());
    values.clone().nth(names.position(|name| name == "SndbufErrors").unwrap()).unwrap().parse().unwrap()
}

#[test]
fn a_wrong_byte_count_and_a_dead_origin_are_noticed() {
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let origin = SyntheticOrigin::start(&dc.origins[0].netns, 1935, Manners::default()).unwrap();
    let mut client = Client::new(origin_address(&dc, Family::V4), Plan::new(Role::Play, 3, 0, 1 << 30));
    client.style.silence_max = Duration::from_secs(5);
    let running = client.dial(&dc.clients[0].netns).unwrap();
    balancer_lab::wait::wait_until("a megabyte", SOON, || running.received() > 1_000_000).unwrap();
    drop(origin);
    let transfer = running.join();
    assert!(!transfer.is_complete(Endpoint::Client));
    assert!(matches!(transfer.end, End::Eof | End::Reset), "{transfer:?}");
    assert_eq!(transfer.bad_at, None);
}

#[test]
fn ffmpeg_publishes_to_nginx_and_players_decode() {
    let dc = DataCentre::build(&Layout::default()).unwrap();
    let clip = Clip::make(dc.directory()).unwrap();
    let _origin = NginxOrigin::start(&dc, 0).unwrap();
    let netns = &dc.clients[0].netns;
    for family in BOTH {
        let url = format!("rtmp://{}/live/{family:?}", origin_address(&dc, family));
        let name = format!("{family:?}");
        let _publisher = Publisher::start(netns, dc.directory(), &name, &clip, &url).unwrap();
        let player = Player::start(netns, dc.directory(), &name, &url).unwrap();
        player.wait_frames(30, SOON).unwrap();
    }
}

/// Namespaces, directories and pins of a process that uses the lab.
fn left_by(pid: u32) -> Vec<String> {
    let places = ["/run/netns".into(), "/sys/fs/bpf".into(), std::env::temp_dir()];
    let names = places.iter().flat_map(|place: &std::path::PathBuf| std::fs::read_dir(place).into_iter().flatten());
    let names = names.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with(&format!("lab-{pid}-"))).collect()
}

#[test]
fn nothing_is_left_behind_by_a_signal_nor_for_long_by_a_kill() {
    let home = DataCentre::build(&Layout { origins: 0, clients: 0, ..Layout::default() }).unwrap();
    let start = |name: &str| {
        let bench = env!("CARGO_BIN_EXE_macro_bench");
        let mut process = Process::start(&home.lb, home.directory(), name, bench, |command| {
            command.arg("routed");
        })
        .unwrap();
        let pid = process.pid();
        process.wait_ready("its namespaces", SOON, || left_by(pid).len() >= 4).unwrap();
        process
    };
    let mut killed = start("killed");
    killed.kill();
    assert!(!left_by(killed.pid()).is_empty(), "a kill leaves what it leaves");
    let mut terminated = start("terminated");
    assert_eq!(left_by(killed.pid()), [""; 0], "the next process removes it");
    terminated.terminate().unwrap();
    let status = terminated.wait_exit(SOON).unwrap();
    assert!(!status.success());
    assert_eq!(left_by(terminated.pid()), [""; 0]);
}
