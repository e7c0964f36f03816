//! The synthetic client: a real RTMP preamble, then a checked stream both ways. One connection each, or thousands.

use crate::net::Netns;
use crate::pattern;
use crate::plan::{Framing, Plan, Role};
use crate::pump::Pump;
use crate::rtmp_lite::{Amf, COMMAND, ChunkReader, ChunkWriter, ECHO, HELLO, command, object, parse_command};
use crate::transfer::{Endpoint, Progress, Style, Transfer};
use anyhow::{Context, Result, bail};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const APP: &str = "live";
const CONNECT_WITHIN: Duration = Duration::from_secs(15);
const PREAMBLE_WITHIN: Duration = Duration::from_secs(20);
/// A connection's thread needs little; thousands of them should fit.
const STACK: usize = 128 * 1024;

/// When the client's own bytes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// After the origin's status, as ffmpeg does.
    AfterStatus,
    /// So many bytes in the same write as the trigger, and the rest at once.
    Behind(usize),
    /// `connect`, `createStream`, the trigger and so many bytes in one write, without waiting for any answer.
    Pipelined(usize),
}

#[derive(Clone, Debug)]
pub struct Client {
    pub to: SocketAddr,
    pub plan: Plan,
    pub start: Start,
    pub style: Style,
    /// Chunk size that the client announces with `connect`.
    pub chunk_size: Option<u32>,
    pub from: Option<SocketAddr>,
    pub mss: Option<u32>,
    pub receive_buffer_bytes: Option<usize>,
    /// Sent before the handshake: what a load balancer in front says.
    pub preamble: Vec<u8>,
}

impl Client {
    pub fn new(to: SocketAddr, plan: Plan) -> Self {
        Self {
            to,
            plan,
            start: Start::AfterStatus,
            style: Style::default(),
            chunk_size: None,
            from: None,
            mss: None,
            receive_buffer_bytes: None,
            preamble: Vec::new(),
        }
    }

    /// Starts it in a thread of its own inside `netns`.
    pub fn dial(self, netns: &Netns) -> Result<Running> {
        let (netns, progress, stop) = (netns.clone(), Arc::<Progress>::default(), Arc::<AtomicBool>::default());
        let (watch, flag) = (progress.clone(), stop.clone());
        let thread = std::thread::Builder::new().stack_size(STACK).spawn(move || match netns.enter() {
            Ok(()) => self.run(watch, flag),
            Err(error) => Transfer::failed(format!("{error:#}")),
        })?;
        Ok(Running { thread, progress, stop })
    }

    fn run(self, progress: Arc<Progress>, stop: Arc<AtomicBool>) -> Transfer {
        let opened = match self.open() {
            Ok(opened) => opened,
            Err(error) => return Transfer { plan: Some(self.plan), ..Transfer::failed(format!("{error:#}")) },
        };
        Pump::new(Endpoint::Client, self.plan, self.style, opened.reader, opened.writer)
            .message_stream(opened.message_stream)
            .patient(self.start == Start::AfterStatus)
            .already_sent(opened.early)
            .watched(progress, stop)
            .run(opened.stream)
    }

    fn connect(&self) -> Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(mss) = self.mss {
            socket.set_tcp_mss(mss)?;
        }
        if let Some(bytes) = self.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(from) = self.from {
            socket.set_reuse_address(true)?;
            socket.bind(&from.into()).with_context(|| format!("bind {from}"))?;
        }
        socket.connect_timeout(&self.to.into(), CONNECT_WITHIN).with_context(|| format!("connect to {}", self.to))?;
        socket.set_tcp_nodelay(true)?;
        socket.set_read_timeout(Some(PREAMBLE_WITHIN))?;
        socket.set_write_timeout(Some(PREAMBLE_WITHIN))?;
        Ok(socket.into())
    }

    /// Everything up to the trigger, in the calling thread.
    pub fn open(&self) -> Result<Opened> {
        let mut stream = self.connect()?;
        stream.write_all(&self.preamble).context("send the preamble")?;
        handshake(&mut stream)?;
        let (mut writer, mut reader) = (ChunkWriter::default(), ChunkReader::default());
        let mut out = Vec::new();
        if let Some(size) = self.chunk_size {
            writer.set_chunk_size(&mut out, size);
        }
        writer.write(&mut out, 3, COMMAND, 0, &self.connect_command());
        let pipelined = matches!(self.start, Start::Pipelined(_));
        if !pipelined {
            stream.write_all(&std::mem::take(&mut out)).context("send connect")?;
            wait_result(&mut stream, &mut reader, 1.0).context("answer to connect")?;
        }
        writer.write(&mut out, 3, COMMAND, 0, &command("createStream", 2.0, &[Amf::Null]));
        let mut message_stream = 1;
        if !pipelined {
            stream.write_all(&std::mem::take(&mut out)).context("send createStream")?;
            message_stream = wait_result(&mut stream, &mut reader, 2.0).context("answer to createStream")?;
        }
        writer.write(&mut out, 4, COMMAND, message_stream, &self.trigger());
        let early = self.early(&mut out);
        stream.write_all(&out).context("send the trigger")?;
        Ok(Opened { stream, reader, writer, message_stream, early })
    }

    /// Appends the payload that goes out together with the trigger.
    fn early(&self, out: &mut Vec<u8>) -> u64 {
        let (Start::Behind(bytes) | Start::Pipelined(bytes)) = self.start else { return 0 };
        if self.plan.framing == Framing::Messages {
            return 0;
        }
        let bytes = bytes.min(self.plan.up_bytes as usize);
        let from = out.len();
        out.resize(from + bytes, 0);
        pattern::fill(&mut out[from..], self.plan.up_seed(), 0);
        bytes as u64
    }

    fn connect_command(&self) -> Vec<u8> {
        let url = format!("rtmp://{}/{APP}", self.to);
        let fields = [("app", APP), ("type", "nonprivate"), ("flashVer", "FMLE/3.0 (lab)"), ("tcUrl", &url)];
        command("connect", 1.0, &[object(&fields)])
    }

    fn trigger(&self) -> Vec<u8> {
        let name = self.plan.stream_name();
        match self.plan.role {
            Role::Publish => command("publish", 3.0, &[Amf::Null, name.as_str().into(), "live".into()]),
            Role::Play => command("play", 3.0, &[Amf::Null, name.as_str().into(), Amf::Number(-2000.0)]),
        }
    }
}

/// The simple handshake, the client's half.
pub fn handshake(stream: &mut TcpStream) -> Result<()> {
    let mut hello = [0u8; HELLO];
    hello[0] = 3;
    pattern::fill(&mut hello[9..], 99, 0);
    stream.write_all(&hello).context("send C0 C1")?;
    let mut answer = [0u8; HELLO + ECHO];
    stream.read_exact(&mut answer).context("read S0 S1 S2")?;
    if answer[0] != 3 {
        bail!("the server speaks RTMP version {}", answer[0]);
    }
    stream.write_all(&answer[1..HELLO]).context("send C2")
}

/// Reads messages up to the result of this transaction; its last number is a stream id, if there is any.
fn wait_result(stream: &mut TcpStream, reader: &mut ChunkReader, transaction: f64) -> Result<u32> {
    let values = wait_command(stream, reader, |values| values.get(1) == Some(&Amf::Number(transaction)))?;
    if values[0] != "_result".into() {
        bail!("answered {values:?}");
    }
    Ok(if let Some(Amf::Number(stream)) = values.last() { *stream as u32 } else { 0 })
}

fn wait_command(stream: &mut TcpStream, reader: &mut ChunkReader, wanted: impl Fn(&[Amf]) -> bool) -> Result<Vec<Amf>> {
    let mut buffer = [0u8; 4096];
    loop {
        while let Some(message) = reader.next_message()? {
            if message.kind == COMMAND {
                let values = parse_command(&message.payload)?;
                if wanted(&values) {
                    return Ok(values);
                }
            }
        }
        match stream.read(&mut buffer)? {
            0 => bail!("the connection was closed"),
            n => reader.push(&buffer[..n]),
        }
    }
}

/// A connection whose trigger has been sent.
pub struct Opened {
    pub stream: TcpStream,
    reader: ChunkReader,
    writer: ChunkWriter,
    message_stream: u32,
    /// Payload that went out together with the trigger.
    early: u64,
}

impl Opened {
    /// Waits for the origin's status; returns what came behind it.
    pub fn wait_status(mut self) -> Result<(TcpStream, Vec<u8>)> {
        let is_status = |values: &[Amf]| values.first() == Some(&"onStatus".into());
        wait_command(&mut self.stream, &mut self.reader, is_status).context("status")?;
        Ok((self.stream, self.reader.into_rest()))
    }
}

/// A connection under way.
pub struct Running {
    thread: JoinHandle<Transfer>,
    pub progress: Arc<Progress>,
    stop: Arc<AtomicBool>,
}

impl Running {
    pub fn received(&self) -> u64 {
        self.progress.received.load(Relaxed)
    }

    pub fn started(&self) -> bool {
        self.progress.started.load(Relaxed)
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Closes it from the client's side, whatever is still to come.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    pub fn join(self) -> Transfer {
        self.thread.join().unwrap_or_else(|_| Transfer::failed("the client panicked".into()))
    }
}

/// Runs all of them, at most `at_once` at a time; results in the order of `clients`.
pub fn run_all(netns: &Netns, clients: Vec<Client>, at_once: usize) -> Result<Vec<Transfer>> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; clients.len()]);
    std::thread::scope(|scope| -> Result<()> {
        for _ in 0..at_once.min(clients.len()) {
            std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || {
                let entered = netns.enter();
                while let Some((i, client)) = {
                    let i = next.fetch_add(1, Relaxed);
                    clients.get(i).map(|c| (i, c))
                } {
                    let transfer = match &entered {
                        Ok(()) => client.clone().run(Arc::default(), Arc::default()),
                        Err(error) => Transfer::failed(format!("{error:#}")),
                    };
                    results.lock().expect("no holder panics")[i] = Some(transfer);
                }
            })?;
        }
        Ok(())
    })?;
    let results = results.into_inner().expect("no holder panics");
    Ok(results.into_iter().flatten().collect())
}
