//! Probes over TCP: a connection, and the first words of the protocol. The connection is closed as soon as the answer
//! shows that it is one; nothing is published, played or described.

use super::{Failed, failed, wrong};
use crate::recognize::proxy_header::ProxyVersion;
use crate::recognize::rtmp;
use crate::registry::{Probing, StatusRange};
use balancer_common::abi::ServiceKind;
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// `HTTP/1.1 200`, without what follows.
const STATUS_LEN: usize = 12;
/// A PROXY header that speaks for nobody: the connection is the proxy's own (section 2 of its specification).
const PROXY_V1_UNKNOWN: &[u8] = b"PROXY UNKNOWN\r\n";
const PROXY_V2_LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

pub async fn connect(address: SocketAddr) -> Result<TcpStream, Failed> {
    let stream = TcpStream::connect(address).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(Failed::Local)?;
    Ok(stream)
}

pub async fn ask(probing: &Probing) -> Result<(), Failed> {
    let mut stream = connect(probing.address).await?;
    let mut words = match probing.proxy_protocol {
        None => Vec::new(),
        Some(ProxyVersion::V1) => PROXY_V1_UNKNOWN.to_vec(),
        Some(ProxyVersion::V2) => PROXY_V2_LOCAL.to_vec(),
    };
    match probing.kind {
        ServiceKind::Rtmp => {
            words.extend(rtmp::hello());
            say(&mut stream, &words).await?;
            shaken(&mut stream).await
        }
        ServiceKind::Rtsp => {
            words.extend(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: balancer-probe\r\n\r\n");
            say(&mut stream, &words).await?;
            answered(&mut stream, b"RTSP/1.", StatusRange { first: 100, last: 599 }).await
        }
        ServiceKind::Http | ServiceKind::Api => {
            let (path, host) = (&probing.http_path, probing.address);
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: balancer-probe\r\nConnection: close\r\n\r\n"
            );
            words.extend(request.into_bytes());
            say(&mut stream, &words).await?;
            answered(&mut stream, b"HTTP/1.", probing.http_status).await
        }
        ServiceKind::Srt | ServiceKind::WebRtc => Err(wrong("is no TCP service")),
    }
}

async fn say(stream: &mut TcpStream, words: &[u8]) -> Result<(), Failed> {
    stream.write_all(words).await.map_err(cut)
}

/// S0, S1 and S2.
async fn shaken(stream: &mut TcpStream) -> Result<(), Failed> {
    let mut answer = [0; rtmp::HELLO_LEN + rtmp::PACKET_LEN];
    // A server of something else says so at once, and less.
    stream.read_exact(&mut answer[..1]).await.map_err(cut)?;
    rtmp::check_version(answer[0]).map_err(|_| wrong("does not speak RTMP"))?;
    stream.read_exact(&mut answer[1..]).await.map(drop).map_err(cut)
}

/// A status line with one of these statuses.
async fn answered(stream: &mut TcpStream, protocol: &[u8], good: StatusRange) -> Result<(), Failed> {
    let mut line = [0; STATUS_LEN];
    stream.read_exact(&mut line[..protocol.len()]).await.map_err(cut)?;
    if !line.starts_with(protocol) {
        return Err(wrong("does not speak the protocol"));
    }
    stream.read_exact(&mut line[protocol.len()..]).await.map_err(cut)?;
    let status = line.split(|byte| *byte == b' ').nth(1).and_then(|word| std::str::from_utf8(word).ok());
    match status.and_then(|word| word.parse().ok()) {
        Some(status) if good.contains(status) => Ok(()),
        Some(_) => Err(wrong("answers with another status than probe_http_status has")),
        None => Err(wrong("does not speak the protocol")),
    }
}

/// The end of a connection that stood: somebody is there, and does not answer as it should.
fn cut(error: io::Error) -> Failed {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            wrong("closed the connection before it had answered")
        }
        _ => failed(error),
    }
}
