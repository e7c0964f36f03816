//! What the players speak, at both ends: how a play is asked for and answered, and what a frame looks like on the wire.

use crate::balancer::{HTTP_PORT, RTMP_PORT};
use crate::client::Client;
use crate::plan::{Plan, Role};
use crate::rtmp_lite::{ChunkWriter, VIDEO};
use crate::synthetic::{self, Manners};
use crate::web::head::Head;
use anyhow::{Context, Result, bail};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Larger than any frame: then a frame is one RTMP chunk.
const CHUNK_SIZE: u32 = 60_000;
const CHUNK_HEADER: usize = 12;
/// What a file of this kind begins with: signature, version, video only, its own length, and the size of no tag.
const FLV_HEADER: [u8; 13] = *b"FLV\x01\x01\0\0\0\x09\0\0\0\0";
const TAG_HEADER: usize = 11;
const TAG_SIZE: usize = 4;
const VIDEO_TAG: u8 = 9;
const WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Rtmp,
    /// FLV as the body of an HTTP response that ends with its connection.
    Flv,
}

impl Protocol {
    pub fn port(self) -> u16 {
        match self {
            Self::Rtmp => RTMP_PORT,
            Self::Flv => HTTP_PORT,
        }
    }

    /// Asks for a play and waits until it is granted; with what was read behind that. The calling thread's namespace
    /// decides where it goes from.
    pub(super) fn open(self, to: SocketAddr, seed: u64) -> Result<(TcpStream, Vec<u8>)> {
        match self {
            Self::Rtmp => Client::new(to, Plan::new(Role::Play, seed, 0, 0)).open()?.wait_status(),
            Self::Flv => open_flv(to, seed),
        }
    }

    /// Takes a player, at the origin: afterwards it waits for frames.
    pub(super) fn greet(self, stream: TcpStream) -> Result<TcpStream> {
        match self {
            Self::Rtmp => {
                let manners = Manners { chunk_size: Some(CHUNK_SIZE), ..Manners::default() };
                Ok(synthetic::greet(stream, &manners)?.stream)
            }
            Self::Flv => greet_flv(stream),
        }
    }

    /// A frame of that many bytes on the wire.
    pub(super) fn frame(self, bytes: usize) -> Vec<u8> {
        match self {
            Self::Rtmp => {
                let mut frame = Vec::new();
                let payload = vec![0x5a; bytes - CHUNK_HEADER];
                ChunkWriter::with_chunk_size(CHUNK_SIZE).write(&mut frame, 6, VIDEO, 1, &payload);
                frame
            }
            Self::Flv => {
                let payload = bytes - TAG_HEADER - TAG_SIZE;
                let mut frame = vec![VIDEO_TAG];
                frame.extend_from_slice(&(payload as u32).to_be_bytes()[1..]);
                // Time stamp and stream: nobody looks.
                frame.resize(TAG_HEADER, 0);
                frame.resize(TAG_HEADER + payload, 0x5a);
                frame.extend_from_slice(&((TAG_HEADER + payload) as u32).to_be_bytes());
                frame
            }
        }
    }

    /// Where in a frame the time stands that it was sent at: the first eight bytes of its payload.
    pub(super) fn stamp_at(self) -> usize {
        match self {
            Self::Rtmp => CHUNK_HEADER,
            Self::Flv => TAG_HEADER,
        }
    }
}

fn prepare(stream: &TcpStream) -> Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(WITHIN))?;
    Ok(stream.set_write_timeout(Some(WITHIN))?)
}

fn open_flv(to: SocketAddr, seed: u64) -> Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect_timeout(&to, WITHIN).with_context(|| format!("connect to {to}"))?;
    prepare(&stream)?;
    let request = format!("GET /live/{seed}.flv HTTP/1.1\r\nHost: {to}\r\nUser-Agent: lab\r\nAccept: */*\r\n\r\n");
    stream.write_all(request.as_bytes()).context("send the request")?;
    let mut reader = BufReader::new(stream);
    let head = Head::read(&mut reader)?.context("closed without an answer")?;
    if head.status() != 200 {
        bail!("answered: {}", head.line);
    }
    // Frames are told apart by their length: nothing may be put between them.
    if head.has("transfer-encoding", "chunked") {
        bail!("the body came in chunks");
    }
    let mut start = FLV_HEADER;
    reader.read_exact(&mut start).context("read the FLV header")?;
    if start != FLV_HEADER {
        bail!("the body begins with {start:?}");
    }
    let behind = reader.buffer().to_vec();
    Ok((reader.into_inner(), behind))
}

fn greet_flv(stream: TcpStream) -> Result<TcpStream> {
    prepare(&stream)?;
    let mut reader = BufReader::new(stream);
    let head = Head::read(&mut reader)?.context("closed without a request")?;
    if head.word(0) != "GET" || !head.path().ends_with(".flv") {
        bail!("asked: {}", head.line);
    }
    let mut stream = reader.into_inner();
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Type: video/x-flv\r\nConnection: close\r\n\r\n".to_vec();
    answer.extend_from_slice(&FLV_HEADER);
    stream.write_all(&answer).context("answer")?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn frames_have_the_length_that_was_asked_for() {
        for protocol in [Protocol::Rtmp, Protocol::Flv] {
            let frame = protocol.frame(25_000);
            assert_eq!(frame.len(), 25_000, "{protocol:?}");
            assert!(frame[protocol.stamp_at()..][..8].iter().all(|&byte| byte == 0x5a), "{protocol:?}");
        }
    }

    #[test]
    fn both_ends_agree_on_where_frames_begin() {
        for protocol in [Protocol::Rtmp, Protocol::Flv] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let to = listener.local_addr().unwrap();
            let origin = std::thread::spawn(move || {
                let mut stream = protocol.greet(listener.accept().unwrap().0).unwrap();
                stream.write_all(&protocol.frame(500)).unwrap();
            });
            let (mut stream, mut frame) = protocol.open(to, 1).unwrap();
            stream.read_to_end(&mut frame).unwrap();
            assert_eq!(frame, protocol.frame(500), "{protocol:?}");
            origin.join().unwrap();
        }
    }
}
