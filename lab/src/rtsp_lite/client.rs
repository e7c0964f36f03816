//! The synthetic RTSP client: one session, driven step by step by a test. Packets count only from the VIP.

use super::{Message, REPORT, Said, Sequence, packet, ports, read, say, socket_pair};
use crate::net::Netns;
use anyhow::{Context, Result, bail, ensure};
use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Between two packets that are published.
const PACE: Duration = Duration::from_millis(2);

pub struct RtspClient {
    stream: TcpStream,
    vip: SocketAddr,
    path: String,
    netns: Netns,
    cseq: u32,
    pub tracks: Vec<ClientTrack>,
}

pub struct ClientTrack {
    /// `None`: interleaved.
    pub sockets: Option<[UdpSocket; 2]>,
    /// The ports on the VIP.
    pub server: [u16; 2],
    pub sequence: Sequence,
    pub reports: u64,
    /// Of what was published.
    sent: u64,
}

impl RtspClient {
    pub fn dial(netns: &Netns, vip: SocketAddr, path: &str) -> Result<Self> {
        let stream = netns.run(|| TcpStream::connect_timeout(&vip, ANSWER_WITHIN))??;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Self { stream, vip, path: path.to_owned(), netns: netns.clone(), cseq: 0, tracks: Vec::new() })
    }

    pub fn local(&self) -> Result<SocketAddr> {
        Ok(self.stream.local_addr()?)
    }

    pub fn url(&self, suffix: &str) -> String {
        format!("rtsp://{}{}{suffix}", self.vip, self.path)
    }

    /// Asks, and waits for the answer; frames before it are counted.
    pub fn ask(&mut self, method: &str, url: &str, headers: &str, body: &str) -> Result<Message> {
        self.cseq += 1;
        let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
        say(
            &mut self.stream,
            &format!("{method} {url} RTSP/1.0\r\nCSeq: {}\r\n{headers}{length}\r\n{body}", self.cseq),
        )?;
        loop {
            match read(&mut self.stream).with_context(|| format!("the answer to {method}"))? {
                Said::Frame(channel, data) => self.take(channel, &data)?,
                Said::Message(message) => {
                    let cseq = message.header("cseq").map(str::to_owned);
                    // A request that could not be read has no number.
                    let last_word = cseq.is_none() && message.header("connection") == Some("close");
                    ensure!(last_word || cseq == Some(self.cseq.to_string()), "{method} was answered by {message:?}");
                    return Ok(message);
                }
            }
        }
    }

    /// Asks, and expects consent.
    pub fn agree(&mut self, method: &str, suffix: &str, headers: &str, body: &str) -> Result<Message> {
        let url = self.url(suffix);
        let message = self.ask(method, &url, headers, body)?;
        ensure!(message.status() == 200, "{method}: {message:?}");
        Ok(message)
    }

    /// OPTIONS, DESCRIBE, and SETUP of so many tracks.
    pub fn prepare_to_play(&mut self, tracks: u8, udp: bool) -> Result<()> {
        self.agree("OPTIONS", "", "", "")?;
        let described = self.agree("DESCRIBE", "", "Accept: application/sdp\r\n", "")?;
        let base = described.header("content-base").context("no Content-Base")?.to_owned();
        ensure!(base == self.url("/"), "led astray by Content-Base: {base}");
        ensure!(described.body.contains(&self.url("/trackID=0")), "led astray by {}", described.body);
        (0..tracks).try_for_each(|track| self.set_up(track, udp, ""))
    }

    /// OPTIONS, ANNOUNCE, and SETUP of so many tracks.
    pub fn prepare_to_publish(&mut self, tracks: u8, udp: bool) -> Result<()> {
        self.agree("OPTIONS", "", "", "")?;
        let sdp = "v=0\r\ns=lab\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n";
        self.agree("ANNOUNCE", "", "Content-Type: application/sdp\r\n", sdp)?;
        (0..tracks).try_for_each(|track| self.set_up(track, udp, ";mode=record"))
    }

    fn set_up(&mut self, track: u8, udp: bool, mode: &str) -> Result<()> {
        let suffix = format!("/trackID={track}");
        let (sequence, reports, sent) = Default::default();
        if !udp {
            let transport =
                format!("Transport: RTP/AVP/TCP;unicast;interleaved={}-{}{mode}\r\n", track * 2, track * 2 + 1);
            self.agree("SETUP", &suffix, &transport, "")?;
            self.tracks.push(ClientTrack { sockets: None, server: [0; 2], sequence, reports, sent });
            return Ok(());
        }
        let own = self.local()?.ip();
        let sockets = self.netns.run(|| socket_pair(own))??;
        for socket in &sockets {
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
        }
        let [rtp, rtcp] = ports(&sockets)?;
        let transport = format!("Transport: RTP/AVP;unicast;client_port={rtp}-{rtcp}{mode}\r\n");
        let answer = self.agree("SETUP", &suffix, &transport, "")?;
        ensure!(answer.ports("client_port")? == [rtp, rtcp], "other ports than ours: {answer:?}");
        let source = answer.transport("source").map(str::parse).transpose()?;
        ensure!(source == Some(self.vip.ip()), "led astray by source: {answer:?}");
        let server = answer.ports("server_port")?;
        self.tracks.push(ClientTrack { sockets: Some(sockets), server, sequence, reports, sent });
        Ok(())
    }

    fn take(&mut self, channel: u8, data: &[u8]) -> Result<()> {
        let number = usize::from(channel / 2);
        let track = self.tracks.get_mut(number).with_context(|| format!("channel {channel}"))?;
        if channel.is_multiple_of(2) {
            track.sequence.push(number as u64, data);
        } else {
            track.reports += 1;
        }
        Ok(())
    }

    /// Receives until every track has so many packets more.
    pub fn receive(&mut self, packets: u64, within: Duration) -> Result<()> {
        let wanted: Vec<u64> = self.tracks.iter().map(|track| track.sequence.received + packets).collect();
        let since = Instant::now();
        while self.tracks.iter().zip(&wanted).any(|(track, wanted)| track.sequence.received < *wanted) {
            if since.elapsed() > within {
                let got: Vec<_> = self.tracks.iter().map(|track| &track.sequence).collect();
                bail!("{packets} packets on every track, within {within:?}: {got:?}");
            }
            self.receive_some()?;
        }
        Ok(())
    }

    fn receive_some(&mut self) -> Result<()> {
        if self.tracks.iter().all(|track| track.sockets.is_none()) {
            match read(&mut self.stream)? {
                Said::Frame(channel, data) => return self.take(channel, &data),
                Said::Message(message) => bail!("an answer to nothing: {message:?}"),
            }
        }
        let mut buffer = [0; 2000];
        for (number, track) in self.tracks.iter_mut().enumerate() {
            let Some(sockets) = &track.sockets else { continue };
            for (channel, socket) in sockets.iter().enumerate() {
                socket.set_nonblocking(channel == 1)?;
                while let Ok((len, from)) = socket.recv_from(&mut buffer) {
                    ensure!(
                        from == SocketAddr::new(self.vip.ip(), track.server[channel]),
                        "a datagram from {from}, not from port {} of the VIP",
                        track.server[channel]
                    );
                    if channel == 0 {
                        track.sequence.push(number as u64, &buffer[..len]);
                        break;
                    }
                    track.reports += 1;
                }
            }
        }
        Ok(())
    }

    /// Publishes so many packets more on every track, and one report for each.
    pub fn send(&mut self, packets: u64) -> Result<()> {
        for _ in 0..packets {
            for (number, track) in self.tracks.iter_mut().enumerate() {
                let data = packet(number as u64, track.sent);
                track.sent += 1;
                match &track.sockets {
                    Some([rtp, _]) => {
                        rtp.send_to(&data, (self.vip.ip(), track.server[0]))?;
                    }
                    None => {
                        let len = (data.len() as u16).to_be_bytes();
                        self.stream.write_all(&[&[b'$', number as u8 * 2, len[0], len[1]], &data[..]].concat())?;
                    }
                }
            }
            std::thread::sleep(PACE);
        }
        self.report()
    }

    /// Sends a datagram of any length to the RTP port of a track.
    pub fn send_datagram(&self, track: usize, data: &[u8]) -> Result<()> {
        let track = &self.tracks[track];
        let [rtp, _] = track.sockets.as_ref().context("interleaved")?;
        rtp.send_to(data, (self.vip.ip(), track.server[0]))?;
        Ok(())
    }

    /// Sends a receiver report on every track.
    pub fn report(&mut self) -> Result<()> {
        for track in &self.tracks {
            if let Some([_, rtcp]) = &track.sockets {
                rtcp.send_to(&REPORT, (self.vip.ip(), track.server[1]))?;
            }
        }
        Ok(())
    }

    /// Sends datagrams from other sockets from now on: what a NAT looks like from behind it.
    pub fn change_ports(&mut self) -> Result<()> {
        let own = self.local()?.ip();
        for track in &mut self.tracks {
            let sockets = self.netns.run(|| socket_pair(own))??;
            for (socket, port) in sockets.iter().zip(track.server) {
                socket.set_read_timeout(Some(Duration::from_millis(20)))?;
                socket.send_to(&REPORT, (self.vip.ip(), port))?;
            }
            track.sockets = Some(sockets);
        }
        Ok(())
    }

    /// Every track came whole so far.
    pub fn check_whole(&self) -> Result<()> {
        for track in &self.tracks {
            ensure!(track.sequence.is_whole(), "{:?}", track.sequence);
        }
        Ok(())
    }

    /// Waits for the end of the control connection.
    pub fn wait_closed(&mut self, within: Duration) -> Result<()> {
        self.stream.set_read_timeout(Some(within))?;
        loop {
            match read(&mut self.stream) {
                Ok(_) => {}
                Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
                    Some(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => bail!("not closed"),
                    _ => return Ok(()),
                },
            }
        }
    }

    /// Closes with a RST, as the kernel of a host does for a process that is killed with unread data.
    pub fn kill(self) -> Result<()> {
        Ok(socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?)
    }
}
