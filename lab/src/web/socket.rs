//! Both ends of a WebSocket that carries a planned stream: what the origin sends in binary messages, or what a client
//! pushes.

use super::head::Head;
use super::origin::{Shared, Upload};
use super::plan::{Check, WebPlan};
use super::serve::send_paced;
use crate::net::Netns;
use crate::pattern;
use anyhow::{Context, Result, bail};
use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;
use tungstenite::{Message, WebSocket};

const SILENCE_MAX: Duration = Duration::from_secs(60);
const PIECE: usize = 16 * 1024;

/// Takes the upgrade. A path with `push` in its query is a stream that comes from the client.
pub(super) fn serve(reader: BufReader<TcpStream>, head: &Head, shared: &Shared) -> Result<()> {
    let early = reader.buffer().to_vec();
    let mut stream = reader.into_inner();
    let key = derive_accept_key(head.header("sec-websocket-key").context("no key")?.as_bytes());
    let response = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {key}\r\n\r\n"
    );
    stream.write_all(response.as_bytes())?;
    let mut socket = WebSocket::from_partially_read(stream, early, Role::Server, None);
    let plan = WebPlan::of_path(head.path()).context("no plan")?;
    if head.word(1).contains("push") {
        let mut check = Check::new(plan.seed);
        let whole = receive(&mut socket, |piece| check.push(piece)).is_ok();
        shared.note_upload(Upload { path: head.path().to_owned(), check, whole });
        return Ok(());
    }
    let twin = socket.get_ref().try_clone()?;
    send_paced(&plan, shared, &twin, |piece| Ok(socket.send(Message::binary(piece.to_vec()))?))?;
    close(&mut socket);
    Ok(())
}

/// A client's WebSocket.
pub struct Dialled {
    socket: WebSocket<TcpStream>,
}

impl Dialled {
    /// Fails with the status where the upgrade is refused.
    pub fn open(netns: &Netns, to: SocketAddr, target: &str) -> Result<Self> {
        let stream = netns.run(|| TcpStream::connect_timeout(&to, SILENCE_MAX))?.context("connect")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        let (socket, _) = tungstenite::client(format!("ws://{to}{target}"), stream)
            .map_err(|error| anyhow::anyhow!("upgrade of {target}: {error}"))?;
        Ok(Self { socket })
    }

    /// Everything up to the origin's close.
    pub fn receive(&mut self, take: impl FnMut(&[u8])) -> Result<()> {
        receive(&mut self.socket, take)
    }

    /// The first bytes, at least so many.
    pub fn receive_some(&mut self, bytes: usize) -> Result<Vec<u8>> {
        let mut some = Vec::new();
        while some.len() < bytes {
            match self.socket.read().context("read a message")? {
                Message::Binary(piece) => some.extend_from_slice(&piece),
                Message::Close(_) => bail!("closed after {} bytes", some.len()),
                _ => {}
            }
        }
        Ok(some)
    }

    /// Sends the planned stream, and closes.
    pub fn push(&mut self, plan: &WebPlan) -> Result<()> {
        let mut piece = vec![0u8; PIECE];
        let mut sent = 0;
        while sent < plan.bytes {
            let length = (plan.bytes - sent).min(PIECE as u64) as usize;
            pattern::fill(&mut piece[..length], plan.seed, sent);
            self.socket.send(Message::binary(piece[..length].to_vec())).context("send a message")?;
            sent += length as u64;
        }
        close(&mut self.socket);
        Ok(())
    }
}

fn receive(socket: &mut WebSocket<TcpStream>, mut take: impl FnMut(&[u8])) -> Result<()> {
    loop {
        match socket.read().context("read a message")? {
            Message::Binary(piece) => take(&piece),
            Message::Close(_) => {
                let _ = socket.flush();
                return Ok(());
            }
            _ => {}
        }
    }
}

/// The closing handshake.
fn close(socket: &mut WebSocket<TcpStream>) {
    if socket.close(None).is_ok() {
        while socket.read().is_ok() {}
    }
}
