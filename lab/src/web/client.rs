//! A client that writes any bytes it is told to and reads what comes back, over one connection.

use super::head::{Framing, Head, read_body};
use crate::net::Netns;
use anyhow::{Context, Result, bail};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

/// How the other side left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    InOrder,
    Reset,
    /// Not at all, for as long as the patience lasts.
    StillOpen,
}

/// A response with its whole body.
#[derive(Clone, Debug)]
pub struct Answer {
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
}

impl Answer {
    pub fn status(&self) -> u16 {
        self.head.status()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Any stream will do, so that TLS can be put below.
pub struct WebClient<S = TcpStream> {
    reader: BufReader<S>,
    host: String,
}

impl WebClient {
    pub fn dial(netns: &Netns, to: SocketAddr) -> Result<Self> {
        let stream = netns.run(|| TcpStream::connect_timeout(&to, PATIENCE))?;
        let stream = stream.with_context(|| format!("connect to {to}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self::over(stream).host(&to.to_string()))
    }

    /// How long it waits for a byte.
    pub fn patience(self, patience: Duration) -> Result<Self> {
        self.stream().set_read_timeout(Some(patience))?;
        Ok(self)
    }

    pub fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Says that no more will come.
    pub fn finish(&self) -> Result<()> {
        Ok(self.stream().shutdown(Shutdown::Write)?)
    }
}

impl<S: Read + Write> WebClient<S> {
    pub fn over(stream: S) -> Self {
        Self { reader: BufReader::new(stream), host: "live.example".to_owned() }
    }

    /// What [`Self::request`] names.
    pub fn host(self, host: &str) -> Self {
        Self { host: host.to_owned(), ..self }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> Result<()> {
        self.reader.get_mut().write_all(bytes.as_ref()).context("send a request")?;
        Ok(self.reader.get_mut().flush()?)
    }

    /// The next head, which must come.
    pub fn head(&mut self) -> Result<Head> {
        Head::read(&mut self.reader)?.context("closed before any response")
    }

    /// The body that belongs to a response to `method`.
    pub fn body(&mut self, head: &Head, method: &str, take: impl FnMut(&[u8])) -> Result<Vec<(String, String)>> {
        read_body(&mut self.reader, Framing::of_response(head, method), take)
    }

    /// The next response to `method`; what says 1xx is passed over.
    pub fn answer(&mut self, method: &str) -> Result<Answer> {
        loop {
            let head = self.head()?;
            if !(100..200).contains(&head.status()) {
                let mut body = Vec::new();
                let trailers = self.body(&head, method, |piece| body.extend_from_slice(piece))?;
                return Ok(Answer { head, body, trailers });
            }
        }
    }

    /// Sends a request without a body and reads its response.
    pub fn request(&mut self, method: &str, target: &str, headers: &str) -> Result<Answer> {
        self.send(format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", self.host))?;
        self.answer(method)
    }

    pub fn get(&mut self, target: &str) -> Result<Answer> {
        self.request("GET", target, "")
    }

    /// Everything that is still to come, and how it ended.
    pub fn rest(&mut self) -> Result<(Vec<u8>, Closed)> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Ok(_) => Ok((rest, Closed::InOrder)),
            Err(error) => match error.kind() {
                ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
                    Ok((rest, Closed::Reset))
                }
                ErrorKind::WouldBlock | ErrorKind::TimedOut => Ok((rest, Closed::StillOpen)),
                _ => bail!("read: {error}"),
            },
        }
    }
}
