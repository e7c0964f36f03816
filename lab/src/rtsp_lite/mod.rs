//! RTSP and RTP, as little of them as it takes to count every packet: a synthetic origin and a synthetic client that
//! play and publish over UDP and interleaved, and check each packet's number, bytes and sender.

pub mod client;
pub mod origin;

use crate::pattern;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};

/// Payload of one RTP packet.
const PAYLOAD: usize = 1000;
/// The sequence number that every sender begins with: it wraps soon.
const FIRST: u16 = 65_500;

/// A message of the control connection, or a frame in between.
#[derive(Debug)]
pub enum Said {
    /// First line, headers in lower case, body.
    Message(Message),
    Frame(u8, Vec<u8>),
}

#[derive(Clone, Debug, Default)]
pub struct Message {
    pub first_line: String,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Message {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    pub fn status(&self) -> u16 {
        self.first_line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// A parameter of the `Transport` header.
    pub fn transport(&self, name: &str) -> Option<&str> {
        let all = self.header("transport")?.split(';');
        all.filter_map(|part| part.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    fn ports(&self, name: &str) -> Result<[u16; 2]> {
        let text = self.transport(name).with_context(|| format!("no {name} in {self:?}"))?;
        let (rtp, rtcp) = text.split_once('-').with_context(|| format!("{name}={text}"))?;
        Ok([rtp.parse()?, rtcp.parse()?])
    }
}

/// Reads the next message or frame.
pub fn read(stream: &mut TcpStream) -> Result<Said> {
    let mut first = [0];
    stream.read_exact(&mut first)?;
    if first[0] == b'$' {
        let mut rest = [0; 3];
        stream.read_exact(&mut rest)?;
        let mut data = vec![0; usize::from(u16::from_be_bytes([rest[1], rest[2]]))];
        stream.read_exact(&mut data)?;
        return Ok(Said::Frame(rest[0], data));
    }
    let mut head = first.to_vec();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > 8192 {
            bail!("a head without an end");
        }
        stream.read_exact(&mut first)?;
        head.extend_from_slice(&first);
    }
    let head = String::from_utf8(head)?;
    let mut lines = head.lines();
    let first_line = lines.next().unwrap_or_default().to_owned();
    let split = |line: &str| line.split_once(':').map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()));
    let headers: Vec<_> = lines.filter_map(split).collect();
    let mut message = Message { first_line, headers, body: String::new() };
    let len = message.header("content-length").map_or(Ok(0), str::parse)?;
    let mut body = vec![0; len];
    stream.read_exact(&mut body)?;
    message.body = String::from_utf8(body)?;
    Ok(Said::Message(message))
}

pub fn say(stream: &mut TcpStream, text: &str) -> Result<()> {
    Ok(stream.write_all(text.as_bytes())?)
}

/// An RTP packet: number `index` of the track `seed`.
pub fn packet(seed: u64, index: u64) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend_from_slice(&FIRST.wrapping_add(index as u16).to_be_bytes());
    packet.extend_from_slice(&(index as u32 * 3000).to_be_bytes());
    packet.extend_from_slice(&(seed as u32).to_be_bytes());
    let mut payload = vec![0; PAYLOAD];
    pattern::fill(&mut payload, seed, index * PAYLOAD as u64);
    packet.extend_from_slice(&payload);
    packet
}

/// What came of one track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    pub received: u64,
    /// Numbers that were left out, so far as a later one shows it.
    pub missing: u64,
    /// Packets that were late, doubled, or not what was sent.
    pub wrong: u64,
    next: u64,
}

impl Sequence {
    pub fn push(&mut self, seed: u64, data: &[u8]) {
        let Some(number) = data.get(2..4).map(|n| u16::from_be_bytes([n[0], n[1]])) else {
            self.wrong += 1;
            return;
        };
        let ahead = number.wrapping_sub(FIRST.wrapping_add(self.next as u16));
        if ahead > 1 << 15 {
            self.wrong += 1;
            return;
        }
        let index = self.next + u64::from(ahead);
        self.missing += u64::from(ahead);
        self.next = index + 1;
        self.received += 1;
        self.wrong += u64::from(data != packet(seed, index));
    }

    /// Every packet from the first one on, in order, as it was sent.
    pub fn is_whole(&self) -> bool {
        self.received > 0 && self.missing == 0 && self.wrong == 0
    }
}

/// A receiver report that says nothing (RFC 3550 section 6.4.2).
pub const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

/// Two sockets with neighbouring ports, in the namespace of the calling thread.
pub fn socket_pair(ip: IpAddr) -> Result<[UdpSocket; 2]> {
    for _ in 0..100 {
        let rtp = UdpSocket::bind((ip, 0))?;
        let port = rtp.local_addr()?.port();
        if port % 2 == 0
            && let Ok(rtcp) = UdpSocket::bind((ip, port + 1))
        {
            return Ok([rtp, rtcp]);
        }
    }
    bail!("no two neighbouring ports on {ip}")
}

pub fn ports(pair: &[UdpSocket; 2]) -> Result<[u16; 2]> {
    Ok([pair[0].local_addr()?.port(), pair[1].local_addr()?.port()])
}

/// As it stands in a URL.
pub fn authority(address: SocketAddr) -> String {
    address.to_string()
}
