//! Tests of the RTSP recognizer: a client and an origin around one dialogue, neither of them with a socket.

mod captures;
mod confined;
mod dialog;
mod hostile;
mod messages;
mod oracle;
mod properties;
mod values;

use super::*;
use std::net::IpAddr;

const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10));
const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7));
const ORIGIN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 1, 0, 5));

fn config() -> DialogConfig {
    DialogConfig { head_bytes_max: 8192, vip: VIP, client: CLIENT, udp: true }
}

fn pair(rtp: u16) -> PortPair {
    PortPair { rtp, rtcp: rtp + 1 }
}

fn ports(track: u32) -> Ports {
    let offset = track as u16 * 2;
    Ports { to_client: pair(30_000 + offset), to_origin: pair(40_000 + offset) }
}

fn request(line: &str, cseq: u32, headers: &[&str]) -> Vec<u8> {
    let mut text = format!("{line} RTSP/1.0\r\nCSeq: {cseq}\r\n");
    headers.iter().for_each(|header| text += &format!("{header}\r\n"));
    (text + "\r\n").into_bytes()
}

fn response(status: u16, cseq: u32, headers: &[&str]) -> Vec<u8> {
    let mut text = format!("RTSP/1.0 {status} Whatever\r\nCSeq: {cseq}\r\n");
    headers.iter().for_each(|header| text += &format!("{header}\r\n"));
    (text + "\r\n").into_bytes()
}

fn with_body(head: Vec<u8>, kind: &str, body: &str) -> Vec<u8> {
    let head = String::from_utf8(head).unwrap();
    let head = head.strip_suffix("\r\n").unwrap();
    format!("{head}Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn read_all(bytes: &[u8]) -> Vec<Framed> {
    let mut reader = Reader::new(8192);
    reader.push(bytes);
    std::iter::from_fn(|| reader.read().unwrap()).collect()
}

fn messages(bytes: &[u8]) -> Vec<Message> {
    let message = |framed| match framed {
        Framed::Message(message) => Some(message),
        Framed::Interleaved(_) => None,
    };
    read_all(bytes).into_iter().filter_map(message).collect()
}

/// Those that can be read; the bytes may be anything.
fn messages_in(bytes: &[u8]) -> Vec<Message> {
    let mut reader = Reader::new(8192);
    reader.push(bytes);
    std::iter::from_fn(|| match reader.read() {
        Ok(Some(Framed::Message(message))) => Some(message),
        _ => None,
    })
    .collect()
}

fn status(message: &Message) -> u16 {
    match message.start {
        Start::Response { status, .. } => status,
        Start::Request { .. } => panic!("a request: {message:?}"),
    }
}

/// Both ends of one dialogue.
struct Table {
    dialog: Dialog,
    to_client: Vec<u8>,
    to_origin: Vec<u8>,
    events: Vec<Event>,
    /// The origin has heard what came after the OPTIONS that were answered here.
    opened: bool,
    replayed: u32,
}

impl Table {
    fn new() -> Self {
        Self::with(config())
    }

    fn with(config: DialogConfig) -> Self {
        let (to_client, to_origin, events) = Default::default();
        Self { dialog: Dialog::new(config), to_client, to_origin, events, opened: false, replayed: 0 }
    }

    /// Gives every origin and every port that is asked for.
    fn settle(&mut self) -> Result<(), RtspError> {
        while let Some(event) = self.dialog.poll() {
            match &event {
                Event::Recognized(_) => self.dialog.connected(ORIGIN)?,
                Event::NeedPorts { track } => self.dialog.ports(*track, Some(ports(*track)))?,
                _ => {}
            }
            self.events.push(event);
        }
        self.to_client.extend(self.dialog.take_to_client());
        let to_origin = self.dialog.take_to_origin();
        let options = |m: &Message| matches!(m.start, Start::Request { method: Method::Options, .. });
        if let Some(replayed) = messages_in(&to_origin).first().filter(|m| !self.opened && options(m)) {
            // What the client had its answer to: that of the origin goes nowhere.
            assert!(self.dialog.is_replaceable());
            self.replayed += 1;
            self.dialog.origin(&response(200, replayed.cseq().unwrap(), &["Public: NOTHING"]))?;
            return self.settle();
        }
        self.opened |= !to_origin.is_empty();
        self.to_origin.extend(to_origin);
        Ok(())
    }

    fn client(&mut self, bytes: &[u8]) -> Result<(), RtspError> {
        let fed = self.dialog.client(bytes);
        self.settle()?;
        fed
    }

    fn origin(&mut self, bytes: &[u8]) -> Result<(), RtspError> {
        let fed = self.dialog.origin(bytes);
        self.settle()?;
        fed
    }

    /// Says `bytes` for the client; what the origin heard of it.
    fn ask(&mut self, bytes: &[u8]) -> Vec<Message> {
        self.to_origin.clear();
        self.client(bytes).unwrap();
        messages(&self.to_origin)
    }

    /// Says `bytes` for the client, which the balancer answers by itself.
    fn answered(&mut self, bytes: &[u8]) -> Message {
        self.to_client.clear();
        assert_eq!(self.ask(bytes), [], "sent on");
        let mut answers = messages(&self.to_client);
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    /// Says `bytes` for the origin; what the client heard of it.
    fn answer(&mut self, bytes: &[u8]) -> Message {
        self.to_client.clear();
        self.origin(bytes).unwrap();
        let mut heard = messages(&self.to_client);
        assert_eq!(heard.len(), 1);
        heard.remove(0)
    }

    fn happened(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }
}
