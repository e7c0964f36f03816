//! The synthetic RTSP origin. It knows itself by its own address and writes it wherever an origin may, so that a client
//! that ever follows it is seen: it takes packets from the balancer alone.

use super::{Message, Said, Sequence, authority, packet, ports, read, say, socket_pair};
use crate::net::Netns;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Between two packets of one track.
const PACE: Duration = Duration::from_millis(5);
const TICK: Duration = Duration::from_millis(20);

/// What one session came to.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub methods: Vec<String>,
    /// Of what was published, by track.
    pub tracks: BTreeMap<u64, Sequence>,
    pub reports: u64,
    /// Senders of datagrams.
    pub senders: Vec<SocketAddr>,
    /// The longest datagram.
    pub longest: usize,
    pub peer: Option<SocketAddr>,
    pub sent: u64,
    pub ended: bool,
}

type Shared = Arc<Mutex<Vec<Seen>>>;

pub struct RtspLite {
    sessions: Shared,
    stop: Arc<AtomicBool>,
    address: SocketAddr,
    netns: Netns,
}

impl RtspLite {
    pub fn start(netns: &Netns, address: SocketAddr) -> Result<Self> {
        Self::start_with(netns, address, false)
    }

    /// One that may hang up on every client as soon as it speaks.
    pub fn start_with(netns: &Netns, address: SocketAddr, hangs_up: bool) -> Result<Self> {
        let listener = netns.run(|| TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let (sessions, stop) = (Shared::default(), Arc::new(AtomicBool::new(false)));
        let shared = (sessions.clone(), stop.clone(), netns.clone());
        std::thread::spawn(move || {
            let (sessions, stop, netns) = shared;
            while !stop.load(Relaxed) {
                let Ok((stream, peer)) = listener.accept() else {
                    std::thread::sleep(TICK);
                    continue;
                };
                let mut all = sessions.lock().expect("no holder panics");
                all.push(Seen { peer: Some(peer), ..Seen::default() });
                let number = all.len() - 1;
                drop(all);
                let (sessions, stop, netns) = (sessions.clone(), stop.clone(), netns.clone());
                std::thread::spawn(move || {
                    let mut session = Session { hangs_up, ..Session::new(stream, number, sessions, stop, netns) };
                    // Its end is part of what a test looks at, whatever it was.
                    let _ = session.serve();
                    session.note(|seen| seen.ended = true);
                });
            }
        });
        Ok(Self { sessions, stop, address, netns: netns.clone() })
    }

    pub fn sessions(&self) -> Vec<Seen> {
        self.sessions.lock().expect("no holder panics").clone()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn netns(&self) -> &Netns {
        &self.netns
    }

    /// Every session's connection is reset and nothing listens any more, as when the process is killed.
    pub fn kill(&self) {
        self.stop.store(true, Relaxed);
    }
}

impl Drop for RtspLite {
    fn drop(&mut self) {
        self.kill();
    }
}

enum Way {
    Interleaved(u8),
    Udp { sockets: [UdpSocket; 2], to: [SocketAddr; 2] },
}

struct Session {
    stream: TcpStream,
    number: usize,
    sessions: Shared,
    stop: Arc<AtomicBool>,
    netns: Netns,
    tracks: BTreeMap<u64, Way>,
    playing: bool,
    next: u64,
    hangs_up: bool,
}

impl Session {
    fn new(stream: TcpStream, number: usize, sessions: Shared, stop: Arc<AtomicBool>, netns: Netns) -> Self {
        let (tracks, playing, next, hangs_up) = Default::default();
        Self { stream, number, sessions, stop, netns, tracks, playing, next, hangs_up }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.sessions.lock().expect("no holder panics")[self.number]);
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            if self.stop.load(Relaxed) {
                socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                return Ok(());
            }
            if self.has_said_something()? {
                match read(&mut self.stream)? {
                    Said::Frame(channel, data) => self.take(u64::from(channel / 2), channel % 2 == 1, &data),
                    Said::Message(_) if self.hangs_up => return Ok(()),
                    Said::Message(message) if !self.answer(&message)? => return Ok(()),
                    Said::Message(_) => {}
                }
            }
            self.receive()?;
            if self.playing {
                self.send()?;
            }
        }
    }

    /// Waits a little while for the client's next word.
    fn has_said_something(&self) -> Result<bool> {
        self.stream.set_nonblocking(false)?;
        self.stream.set_read_timeout(Some(PACE))?;
        let said = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        match said {
            Ok(_) => Ok(true),
            Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }

    fn take(&self, track: u64, report: bool, data: &[u8]) {
        self.note(|seen| {
            if report {
                seen.reports += 1;
            } else {
                seen.tracks.entry(track).or_default().push(track, data);
            }
        });
    }

    fn receive(&mut self) -> Result<()> {
        let mut buffer = [0; 65_535];
        for (track, way) in &self.tracks {
            let Way::Udp { sockets, .. } = way else { continue };
            for (channel, socket) in sockets.iter().enumerate() {
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    self.note(|seen| {
                        seen.senders.push(from);
                        seen.longest = seen.longest.max(len);
                    });
                    self.take(*track, channel == 1, &buffer[..len]);
                }
            }
        }
        Ok(())
    }

    fn send(&mut self) -> Result<()> {
        for (track, way) in &self.tracks {
            let data = packet(*track, self.next);
            match way {
                Way::Interleaved(channel) => {
                    let len = (data.len() as u16).to_be_bytes();
                    self.stream.write_all(&[&[b'$', *channel, len[0], len[1]], &data[..]].concat())?;
                }
                Way::Udp { sockets, to } => {
                    sockets[0].send_to(&data, to[0])?;
                    if self.next.is_multiple_of(50) {
                        sockets[1].send_to(&super::REPORT, to[1])?;
                    }
                }
            }
        }
        self.next += 1;
        let sent = self.next;
        self.note(|seen| seen.sent = sent);
        Ok(())
    }

    /// False when that was the last word.
    fn answer(&mut self, message: &Message) -> Result<bool> {
        let mut words = message.first_line.split(' ');
        let (method, url) = (words.next().unwrap_or_default().to_owned(), words.next().unwrap_or_default().to_owned());
        self.note(|seen| seen.methods.push(method.clone()));
        let cseq = message.header("cseq").context("no CSeq")?.to_owned();
        let own = self.stream.local_addr()?;
        let mut more = String::from("Session: lab;timeout=60\r\n");
        let mut body = String::new();
        match method.as_str() {
            "DESCRIBE" => {
                let path = url.splitn(4, '/').nth(3).unwrap_or_default().to_owned();
                let base = format!("rtsp://{}/{path}", authority(own));
                more += &format!("Content-Base: {base}/\r\nContent-Type: application/sdp\r\n");
                body = format!("v=0\r\ns=lab\r\nm=video 0 RTP/AVP 96\r\na=control:{base}/trackID=0\r\n");
            }
            "SETUP" => {
                let track = url.rsplit('=').next().and_then(|n| n.parse().ok()).unwrap_or(0);
                more += &self.set_up(message, track, own.ip())?;
            }
            "PLAY" => self.playing = true,
            "PAUSE" => self.playing = false,
            "TEARDOWN" => {
                self.playing = false;
                self.tracks.clear();
            }
            _ => {}
        }
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        say(&mut self.stream, &format!("RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{more}{length}\r\n{body}"))?;
        Ok(method != "TEARDOWN")
    }

    fn set_up(&mut self, message: &Message, track: u64, own: IpAddr) -> Result<String> {
        let peer = self.stream.peer_addr()?.ip();
        if let Some(channels) = message.transport("interleaved").map(str::to_owned) {
            let channel = channels.split('-').next().unwrap_or_default().parse()?;
            self.tracks.insert(track, Way::Interleaved(channel));
            return Ok(format!("Transport: RTP/AVP/TCP;unicast;interleaved={channels}\r\n"));
        }
        let client = message.ports("client_port")?;
        let sockets = self.netns.run(|| socket_pair(own))??;
        for socket in &sockets {
            socket.set_nonblocking(true)?;
        }
        let server = ports(&sockets)?;
        self.tracks.insert(track, Way::Udp { sockets, to: client.map(|port| SocketAddr::new(peer, port)) });
        Ok(format!(
            "Transport: RTP/AVP;unicast;source={own};client_port={}-{};server_port={}-{};ssrc=0000000{track}\r\n",
            client[0], client[1], server[0], server[1]
        ))
    }
}
