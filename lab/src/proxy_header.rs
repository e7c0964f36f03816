//! An origin that expects a PROXY header before anything else: reads exactly that, and remembers what it said. Written
//! apart from the balancer's own, so that the two check each other.

use anyhow::{Context, Result, bail};
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};

/// The longest line of version 1.
const LINE_MAX: usize = 107;

/// Of one header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub version: u8,
    pub client: SocketAddr,
    pub dialled: SocketAddr,
}

/// What all connections of an origin have said.
#[derive(Clone, Debug, Default)]
pub struct Headers(Arc<Mutex<Vec<Said>>>);

impl Headers {
    pub fn all(&self) -> Vec<Said> {
        self.0.lock().expect("no holder panics").clone()
    }

    /// Not a byte more than the header is read.
    pub fn take(&self, stream: &mut impl Read) -> Result<()> {
        let mut first = [0; 12];
        stream.read_exact(&mut first).context("no PROXY header")?;
        let said = if first.starts_with(b"PROXY ") {
            line(stream, first.to_vec())?
        } else if first == *b"\r\n\r\n\0\r\nQUIT\n" {
            binary(stream)?
        } else {
            bail!("no PROXY header but {first:?}");
        };
        self.0.lock().expect("no holder panics").push(said);
        Ok(())
    }
}

fn line(stream: &mut impl Read, mut line: Vec<u8>) -> Result<Said> {
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
        if line.len() > LINE_MAX {
            bail!("a PROXY line without end");
        }
    }
    let text = String::from_utf8(line)?;
    let words: Vec<&str> = text.trim_end().split(' ').collect();
    let ["PROXY", family, client, dialled, client_port, dialled_port] = words[..] else { bail!("{text:?}") };
    let said = Said {
        version: 1,
        client: SocketAddr::new(client.parse()?, client_port.parse()?),
        dialled: SocketAddr::new(dialled.parse()?, dialled_port.parse()?),
    };
    if (family == "TCP4") != said.client.is_ipv4() {
        bail!("{text:?}");
    }
    Ok(said)
}

fn binary(stream: &mut impl Read) -> Result<Said> {
    let mut fixed = [0; 4];
    stream.read_exact(&mut fixed)?;
    let mut body = vec![0; usize::from(u16::from_be_bytes([fixed[2], fixed[3]]))];
    stream.read_exact(&mut body)?;
    let ips: Vec<IpAddr> = match (fixed[0], fixed[1], body.len()) {
        (0x21, 0x11, 12) => body[..8].chunks(4).map(|b| Ipv4Addr::new(b[0], b[1], b[2], b[3]).into()).collect(),
        (0x21, 0x21, 36) => {
            let halves = body[..32].chunks_exact(16).filter_map(|half| half.first_chunk::<16>());
            halves.map(|half| Ipv6Addr::from(*half).into()).collect()
        }
        _ => bail!("{fixed:?} {body:?}"),
    };
    let port = |from_end: usize| {
        let at = body.len() - from_end;
        u16::from_be_bytes([body[at], body[at + 1]])
    };
    Ok(Said { version: 2, client: SocketAddr::new(ips[0], port(4)), dialled: SocketAddr::new(ips[1], port(2)) })
}
