//! The synthetic origin: takes any RTMP client's preamble as nginx-rtmp or SRS would, reads the plan from the stream
//! name, and then sends and checks the planned stream.

use crate::net::Netns;
use crate::plan::Plan;
use crate::proxy_header::Headers;
use crate::pump::Pump;
use crate::rtmp_lite::{
    Amf, COMMAND, ChunkReader, ChunkWriter, ECHO, HELLO, WINDOW_ACK_SIZE, command, object, parse_command,
};
use crate::transfer::{Endpoint, Style, Transfer};
use crate::{pattern, wait};
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const PREAMBLE_WITHIN: Duration = Duration::from_secs(20);
const STACK: usize = 128 * 1024;
const ACCEPT_TICK: Duration = Duration::from_millis(50);

/// What differs between real servers.
#[derive(Clone, Debug)]
pub struct Manners {
    /// Announced with the answer to `connect`: nginx-rtmp 4096, SRS 60000; None leaves it at 128.
    pub chunk_size: Option<u32>,
    /// What `createStream` gives.
    pub message_stream: u32,
    /// The status continues the chunk stream of the answers before it, instead of beginning with a full header.
    pub continued_headers: bool,
    pub style: Style,
    /// A PROXY header comes before anything else, or nothing is answered.
    pub headers: Option<Headers>,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            chunk_size: Some(4096),
            message_stream: 1,
            continued_headers: false,
            style: Style::default(),
            headers: None,
        }
    }
}

#[derive(Default)]
struct Shared {
    transfers: Mutex<Vec<Transfer>>,
    accepted: AtomicU64,
    stop: Arc<AtomicBool>,
}

pub struct SyntheticOrigin {
    shared: Arc<Shared>,
    listeners: Vec<JoinHandle<()>>,
}

impl SyntheticOrigin {
    /// Listens on `port` in both families.
    pub fn start(netns: &Netns, port: u16, manners: Manners) -> Result<Self> {
        let shared = Arc::<Shared>::default();
        let mut listeners = Vec::new();
        for ip in [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)] {
            let listener = netns.run(|| listen(SocketAddr::new(ip, port)))??;
            let (shared, manners) = (shared.clone(), manners.clone());
            listeners.push(std::thread::spawn(move || accept(&listener, &shared, &manners)));
        }
        Ok(Self { shared, listeners })
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Relaxed)
    }

    /// The transfers that have ended, in the order of their ends.
    pub fn transfers(&self) -> Vec<Transfer> {
        self.shared.transfers.lock().expect("no holder panics").clone()
    }

    pub fn wait_transfers(&self, count: usize, within: Duration) -> Result<Vec<Transfer>> {
        let what = format!("{count} transfers to end at the origin");
        wait::wait_for(&what, within, || Some(self.transfers()).filter(|all| all.len() >= count))
            .with_context(|| format!("ended so far: {:#?}", self.transfers()))
    }
}

impl Drop for SyntheticOrigin {
    /// As when a server process dies: its sockets are closed wherever they stand.
    fn drop(&mut self) {
        self.shared.stop.store(true, Relaxed);
        for listener in self.listeners.drain(..) {
            let _ = listener.join();
        }
    }
}

pub fn listen(at: SocketAddr) -> Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if at.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&at.into()).with_context(|| format!("bind {at}"))?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, manners: &Manners) {
    use std::os::fd::AsRawFd;
    while !shared.stop.load(Relaxed) {
        let _ = crate::sys::poll(listener.as_raw_fd(), true, false, ACCEPT_TICK);
        while let Ok((stream, _)) = listener.accept() {
            shared.accepted.fetch_add(1, Relaxed);
            let (in_thread, manners) = (shared.clone(), manners.clone());
            let serve = move || {
                let transfer = serve(stream, &manners, &in_thread.stop)
                    .unwrap_or_else(|error| Transfer::failed(format!("{error:#}")));
                in_thread.transfers.lock().expect("no holder panics").push(transfer);
            };
            if let Err(error) = std::thread::Builder::new().stack_size(STACK).spawn(serve) {
                eprintln!("synthetic origin: no thread: {error}");
            }
        }
    }
}

fn serve(stream: TcpStream, manners: &Manners, stop: &Arc<AtomicBool>) -> Result<Transfer> {
    let greeted = greet(stream, manners)?;
    let name = greeted.stream_name;
    let plan = name.parse::<Plan>().map_err(|_| anyhow::anyhow!("stream name {name} is no plan"))?;
    let pump = Pump::new(Endpoint::Origin, plan, manners.style.clone(), greeted.reader, greeted.writer)
        .message_stream(manners.message_stream)
        .watched(Arc::default(), stop.clone());
    Ok(pump.run(greeted.stream))
}

/// A connection whose trigger has been answered.
pub struct Greeted {
    pub stream: TcpStream,
    pub stream_name: String,
    reader: ChunkReader,
    writer: ChunkWriter,
}

/// Takes a client's preamble, in the calling thread.
pub fn greet(mut stream: TcpStream, manners: &Manners) -> Result<Greeted> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PREAMBLE_WITHIN))?;
    stream.set_write_timeout(Some(PREAMBLE_WITHIN))?;
    if let Some(headers) = &manners.headers {
        headers.take(&mut stream)?;
    }
    handshake(&mut stream)?;
    let (mut reader, mut writer) = (ChunkReader::default(), ChunkWriter::default());
    loop {
        let message = read_message(&mut stream, &mut reader)?;
        if message.kind != COMMAND {
            continue;
        }
        let mut out = Vec::new();
        let name = answer(&parse_command(&message.payload)?, manners, &mut writer, &mut out)?;
        stream.write_all(&out).context("answer")?;
        if let Some(stream_name) = name {
            return Ok(Greeted { stream, stream_name, reader, writer });
        }
    }
}

/// The server's half of the simple handshake.
fn handshake(stream: &mut TcpStream) -> Result<()> {
    let mut hello = [0u8; HELLO];
    stream.read_exact(&mut hello).context("read C0 C1")?;
    if hello[0] != 3 {
        bail!("RTMP version {}", hello[0]);
    }
    let mut answer = [0u8; HELLO + ECHO];
    answer[0] = 3;
    pattern::fill(&mut answer[9..HELLO], 98, 0);
    answer[HELLO..].copy_from_slice(&hello[1..]);
    stream.write_all(&answer).context("send S0 S1 S2")?;
    stream.read_exact(&mut [0u8; ECHO]).context("read C2")
}

fn read_message(stream: &mut TcpStream, reader: &mut ChunkReader) -> Result<crate::rtmp_lite::Message> {
    let mut buffer = [0u8; 4096];
    loop {
        if let Some(message) = reader.next_message()? {
            return Ok(message);
        }
        match stream.read(&mut buffer).context("preamble")? {
            0 => bail!("closed in the preamble"),
            n => reader.push(&buffer[..n]),
        }
    }
}

/// Answers a command as servers do; returns the stream name once it was a trigger.
fn answer(values: &[Amf], manners: &Manners, writer: &mut ChunkWriter, out: &mut Vec<u8>) -> Result<Option<String>> {
    let [Amf::String(name), Amf::Number(transaction), arguments @ ..] = values else { bail!("no command: {values:?}") };
    match name.as_str() {
        "connect" => {
            writer.write(out, 2, WINDOW_ACK_SIZE, 0, &2_500_000u32.to_be_bytes());
            if let Some(size) = manners.chunk_size {
                writer.set_chunk_size(out, size);
            }
            let properties = object(&[("fmsVer", "FMS/3,0,1,123")]);
            let information = object(&[("level", "status"), ("code", "NetConnection.Connect.Success")]);
            writer.write(out, 3, COMMAND, 0, &command("_result", *transaction, &[properties, information]));
        }
        "createStream" => {
            let stream = Amf::Number(manners.message_stream.into());
            writer.write(out, 3, COMMAND, 0, &command("_result", *transaction, &[Amf::Null, stream]));
        }
        "publish" | "play" => {
            let code = if name == "play" { "NetStream.Play.Start" } else { "NetStream.Publish.Start" };
            let status = command("onStatus", 0.0, &[Amf::Null, object(&[("level", "status"), ("code", code)])]);
            if manners.continued_headers {
                writer.write_continued(out, 3, COMMAND, &status);
            } else {
                writer.write(out, 5, COMMAND, manners.message_stream, &status);
            }
            let Some(Amf::String(stream)) = arguments.get(1) else { bail!("{name} without a stream name") };
            return Ok(Some(stream.clone()));
        }
        _ => {}
    }
    Ok(None)
}
