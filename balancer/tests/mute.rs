//! A client that sends a further request while its one request is under way: the origin never reads it, and both ends
//! are reset, whatever is on its way. Over a client, a balancer and an origin in network namespaces. Needs root.

mod distance;
mod scene;

use balancer::config::IdleTimes;
use balancer::flow::Protocol;
use balancer::flow::splice::{Leg, Plan};
use balancer::live::ResetOrder;
use balancer::offload::{NewHalf, TrackHandle};
use balancer_common::abi::{FlowFlags, FlowKey, Reason, Track};
use balancer_lab::cleanup::unique_name;
use balancer_lab::net::{Netns, link, run};
use balancer_lab::pass_all::PassAll;
use balancer_lab::wait::wait_until;
use distance::Distance;
use scene::{GENERATION, Legs, ORIGIN, Process, SOON, STREAM, Scene, V4, V6, record};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET /live/one.flv HTTP/1.1\r\nHost: example.com\r\n\r\n";
/// Of another length than what the client said.
const SENT_ON: &[u8] = b"GET /live/one.flv HTTP/1.1\r\nHost: example.com\r\nConnection: close\r\n\r\n";
const FURTHER: &[u8] = b"GET /live/another.flv HTTP/1.1\r\nHost: example.com\r\n\r\n";

/// A spliced GET: the balancer's own sockets are gone.
struct Spliced {
    client: TcpStream,
    origin: TcpStream,
    process: Process,
}

impl Spliced {
    fn new(scene: &Scene, family: [&str; 4]) -> Option<Self> {
        // One kernel's connections agree in their window scales, so that these two options are all that differs.
        for option in ["net.ipv4.tcp_timestamps", "net.ipv4.tcp_sack"] {
            scene.host.sysctl(option, "0").unwrap();
        }
        let process = scene.start()?;
        let legs = scene.legs(&process, family, REQUEST);
        let (at_client, at_origin) = (leg(&legs.at_client), leg(&legs.at_origin));
        let plan = Plan::new(&at_client, &at_origin, SENT_ON.len() as u32);
        let addresses = [
            legs.client.local_addr().unwrap(),
            legs.accepted.local_addr().unwrap(),
            legs.connected.local_addr().unwrap(),
            legs.origin.local_addr().unwrap(),
        ];
        let [client, vip, source, origin] = addresses;
        let (from_client, from_origin) = (FlowKey::tcp(client, vip).unwrap(), FlowKey::tcp(origin, source).unwrap());
        let mute = FlowFlags::mute(at_client.copied_seq);
        let half = |ingress, egress: FlowKey, translation, flags, way_out: &TrackHandle| NewHalf {
            ingress,
            egress: egress.reversed(),
            translation,
            flags: flags | Protocol::Flv.number() << FlowFlags::SERVICE_SHIFT,
            origin: ORIGIN,
            origin_generation: GENERATION,
            stream: STREAM,
            way_out: way_out.read(),
        };
        let to_origin = half(from_client, from_origin, plan.to_origin, mute.0, &legs.at_origin);
        let to_client = half(from_origin, from_client, plan.to_client, mute.1, &legs.at_client);
        let id = process.live.open(record(Protocol::Flv, addresses), Arc::new(ResetOrder::default()));
        process.offload.splice(&to_origin, &to_client, true).unwrap();
        process.live.spliced(id, from_client, from_origin);
        Some(leave(process, legs, |process| process.live.left(id, Some(from_client), None)))
    }

    /// Sends the further request and reads until the connection ends.
    fn ask_for_more(&mut self) -> io::Error {
        self.client.write_all(FURTHER).unwrap();
        ending(&mut self.client)
    }
}

/// Nothing was sent yet but what the track shows.
fn leg(track: &TrackHandle) -> Leg {
    let Track { seen, max_end, max_ack, .. } = track.read();
    assert_eq!(seen & (Track::SEEN_END | Track::SEEN_ACK), Track::SEEN_END | Track::SEEN_ACK);
    Leg {
        write_seq: max_ack,
        copied_seq: max_end,
        peer_scale: 0,
        own_scale: 0,
        timestamps: false,
        sack: false,
        own_timestamp: 0,
        peer_timestamp: 0,
    }
}

/// Sends the request on; when the origin has it, forgets both sockets.
fn leave(process: Process, legs: Legs, left: impl FnOnce(&Process)) -> Spliced {
    let Legs { client, accepted, at_client, mut connected, mut origin, at_origin } = legs;
    connected.write_all(SENT_ON).unwrap();
    let mut request = vec![0; SENT_ON.len()];
    origin.read_exact(&mut request).unwrap();
    assert_eq!(request, SENT_ON);
    let before = leg(&at_client);
    for socket in [accepted, connected] {
        let on: libc::c_int = 1;
        // SAFETY: a valid descriptor and an integer of the size that is said.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_REPAIR,
                (&raw const on).cast(),
                size_of_val(&on) as libc::socklen_t,
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }
    assert_eq!(leg(&at_client), before, "the client has said nothing meanwhile");
    drop((at_client, at_origin));
    left(&process);
    Spliced { client, origin, process }
}

/// Reads until the connection ends, and says how.
fn ending(stream: &mut TcpStream) -> io::Error {
    let mut buffer = vec![0; 1 << 16];
    let since = Instant::now();
    loop {
        assert!(since.elapsed() < SOON, "still going on");
        match stream.read(&mut buffer) {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[test]
fn both_ends_are_reset_while_media_is_on_its_way() {
    for family in [V4, V6] {
        let Some(scene) = Scene::new() else { return };
        let Some(mut flow) = Spliced::new(&scene, family) else { return };
        let mut origin = flow.origin.try_clone().unwrap();
        let media = std::thread::spawn(move || {
            let chunk = [0x47; 1316];
            loop {
                if let Err(error) = origin.write_all(&chunk) {
                    return error;
                }
            }
        });
        // Live: more than what any buffer holds has gone through.
        let mut received = vec![0; 8 << 20];
        flow.client.read_exact(&mut received).unwrap();
        assert!(received.iter().all(|byte| *byte == 0x47));

        assert_eq!(flow.ask_for_more().kind(), io::ErrorKind::ConnectionReset);
        let error = media.join().unwrap();
        assert!(matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe), "{error}");
        // A reset socket has lost what it had not read: nothing was there.
        assert!(matches!(flow.origin.read(&mut [0; 64]), Ok(0) | Err(_)));
        assert!(flow.process.packets(Reason::AnotherRequest) > 0);
    }
}

/// Whatever the client says is old when it arrives, and the RST that answers it older still: more media has come.
#[test]
fn a_client_far_away_is_reset_though_media_never_ceases() {
    let mut way = None;
    let scene = Scene::with(|client, host| {
        let middle = Netns::create(format!("{}-middle", unique_name())).unwrap();
        link((client, "c0"), (&middle, "m0"), 1500).unwrap();
        link((&middle, "m1"), (host, "front"), 1500).unwrap();
        let pass_all = PassAll::attach(&middle, "m1").unwrap();
        for device in ["m0", "m1"] {
            // Frames as they come, not as the kernel would merge them.
            run(middle.command("ethtool").args(["-K", device, "gro", "off"])).unwrap();
        }
        way = Some((Distance::between(&middle, "m0", "m1", Duration::from_millis(100)), pass_all, middle));
    });
    let Some(scene) = scene else { return };
    let Some(mut flow) = Spliced::new(&scene, V4) else { return };
    let mut origin = flow.origin.try_clone().unwrap();
    let media = std::thread::spawn(move || {
        loop {
            if let Err(error) = origin.write_all(&[0x47; 1316]) {
                return error;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    flow.client.read_exact(&mut vec![0; 1 << 18]).unwrap();

    assert_eq!(flow.ask_for_more().kind(), io::ErrorKind::ConnectionReset);
    media.join().unwrap();
}

#[test]
fn an_origin_that_is_silent_hears_of_it_too() {
    let Some(scene) = Scene::new() else { return };
    let Some(mut flow) = Spliced::new(&scene, V4) else { return };
    flow.origin.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    flow.client.read_exact(&mut [0; 19]).unwrap();
    assert_eq!(flow.ask_for_more().kind(), io::ErrorKind::ConnectionReset);

    wait_until("the table ends the flow", SOON, || {
        scene.host.run(|| flow.process.live.scan(IdleTimes::all(Duration::from_secs(600)))).unwrap();
        flow.process.live.is_empty()
    })
    .unwrap();
    assert_eq!(ending(&mut flow.origin).kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_client_that_closes_is_forwarded() {
    let Some(scene) = Scene::new() else { return };
    let Some(mut flow) = Spliced::new(&scene, V6) else { return };
    flow.client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(ending(&mut flow.origin).kind(), io::ErrorKind::UnexpectedEof);
    flow.origin.write_all(b"the rest").unwrap();
    flow.client.read_exact(&mut [0; 8]).unwrap();
    assert_eq!(flow.process.packets(Reason::AnotherRequest), 0);
}
