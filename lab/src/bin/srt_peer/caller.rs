//! Players and publishers: a thread each.

use crate::library::{Moved, Option, Socket};
use crate::{Settings, say};
use anyhow::{Context, Result};
use balancer_lab::ts::{Continuity, DATAGRAM, Generator, PACKET};
use serde_json::json;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

const REPORT: Duration = Duration::from_millis(200);
const CONNECT_MILLIS: i32 = 10_000;
/// A moderate stream: about two megabits a second.
const PACE: Duration = Duration::from_millis(5);
const MESSAGE_MAX: usize = 1500;

#[derive(Clone)]
struct Call {
    number: usize,
    to: SocketAddr,
    stream_id: String,
    latency_ms: i32,
    passphrase: std::option::Option<String>,
    packets: u64,
    publishes: bool,
}

pub fn run(settings: &Settings, publishes: bool) -> Result<()> {
    let call = Call {
        number: 0,
        to: settings.to()?,
        stream_id: settings.text("stream").context("stream=")?.to_owned(),
        latency_ms: settings.number("latency")?.unwrap_or(500),
        passphrase: settings.text("passphrase").map(str::to_owned),
        packets: settings.number("packets")?.unwrap_or(u64::MAX),
        publishes,
    };
    let calls = (0..settings.number("count")?.unwrap_or(1)).map(|number| Call { number, ..call.clone() });
    let threads: Vec<_> = calls.map(|call| thread::spawn(move || call.run())).collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a caller panicked"))??;
    }
    Ok(())
}

impl Call {
    fn run(&self) -> Result<()> {
        let socket = Socket::new()?;
        socket.set(Option::Latency, self.latency_ms)?;
        socket.set(Option::ConnectMillis, CONNECT_MILLIS)?;
        socket.set(Option::ReceiveMillis, REPORT.as_millis() as i32)?;
        socket.set_text(Option::StreamId, &self.stream_id)?;
        if let Some(passphrase) = &self.passphrase {
            socket.set_text(Option::Passphrase, passphrase)?;
        }
        let number = self.number;
        if let Err(code) = socket.connect(self.to)? {
            say(&json!({ "event": "rejected", "caller": number, "code": code }));
            return Ok(());
        }
        say(&json!({ "event": "connected", "caller": number }));
        if self.publishes {
            self.publish(&socket)
        } else {
            self.play(&socket)
        };
        Ok(())
    }

    /// In real time, until as much was sent as was wanted or the other end is gone.
    fn publish(&self, socket: &Socket) {
        let (mut generator, began, mut sent) = (Generator::default(), Instant::now(), 0u32);
        while u64::from(sent) * ((DATAGRAM / PACKET) as u64) < self.packets {
            thread::sleep((began + PACE * sent).saturating_duration_since(Instant::now()));
            if matches!(socket.send(&generator.datagram()), Moved::Broken) {
                say(&json!({ "event": "ended", "caller": self.number, "sent": sent }));
                return;
            }
            sent += 1;
        }
        // What is under way shall arrive, again if need be, before the connection is closed. A loss is noticed by what
        // comes behind it.
        let linger = Duration::from_millis(2 * self.latency_ms as u64 + 500);
        for _ in 0..linger.as_millis() / PACE.as_millis() {
            thread::sleep(PACE);
            socket.send(&Generator::filler());
        }
        say(
            &json!({ "event": "sent", "caller": self.number, "packets": u64::from(sent) * (DATAGRAM / PACKET) as u64 }),
        );
    }

    fn play(&self, socket: &Socket) {
        let (mut check, mut message, mut reported) = (Continuity::default(), [0; MESSAGE_MAX], Instant::now());
        let report = |event: &str, check: &Continuity| {
            let errors = check.errors + check.stray_bytes;
            say(&json!({ "event": event, "caller": self.number, "packets": check.packets, "errors": errors }));
        };
        loop {
            match socket.receive(&mut message) {
                Moved::Bytes(length) => check.push(&message[..length]),
                Moved::NotNow => {}
                Moved::Broken => break,
            }
            if reported.elapsed() > REPORT {
                reported = Instant::now();
                report("progress", &check);
            }
        }
        report("ended", &check);
    }
}
