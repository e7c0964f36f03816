//! A registrar that sends the balancer the heartbeat of SRS from the origin's own address. It speaks for any server on
//! that host.

use crate::balancer::RTMP_PORT;
use crate::data_centre::{DataCentre, Family, Host};
use crate::http::{self, Response};
use crate::net::Netns;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What a heartbeat says.
#[derive(Clone, Debug, Default)]
pub struct Heartbeat {
    pub device_id: String,
    pub ip: String,
    pub server: String,
    pub service: String,
    pub pid: String,
    pub rtmp: Vec<String>,
    pub http: Vec<String>,
    pub api: Vec<String>,
    pub rtsp: Vec<String>,
    pub srt: Vec<String>,
    pub rtc: Vec<String>,
}

impl Heartbeat {
    /// As the SRS of the host `number` would say it; every call is another run of the same server.
    pub fn of(host: &Host, number: usize, family: Family) -> Self {
        static RUN: AtomicU64 = AtomicU64::new(1);
        let run = RUN.fetch_add(1, Relaxed);
        Self {
            device_id: format!("origin{number}"),
            ip: host.ip(family).to_string(),
            server: format!("vid-lab{number}"),
            service: format!("run{run}"),
            pid: run.to_string(),
            rtmp: vec![RTMP_PORT.to_string()],
            http: Vec::new(),
            api: Vec::new(),
            rtsp: Vec::new(),
            srt: Vec::new(),
            rtc: Vec::new(),
        }
    }

    /// Offers HTTP too, on this port.
    pub fn http(self, port: u16) -> Self {
        Self { http: vec![port.to_string()], ..self }
    }

    pub fn api(self, port: u16) -> Self {
        Self { api: vec![port.to_string()], ..self }
    }

    pub fn rtsp(self, port: u16) -> Self {
        Self { rtsp: vec![port.to_string()], ..self }
    }

    pub fn srt(self, port: u16) -> Self {
        Self { srt: vec![port.to_string()], ..self }
    }

    /// As SRS writes it.
    pub fn rtc(self, port: u16) -> Self {
        Self { rtc: vec![format!("udp://0.0.0.0:{port}")], ..self }
    }

    pub fn json(&self) -> String {
        let mut beat = serde_json::json!({
            "device_id": self.device_id, "ip": self.ip, "server": self.server, "service": self.service,
            "pid": self.pid, "rtmp": self.rtmp,
        });
        // What a server does not offer, it does not mention.
        let udp = [("srt", &self.srt), ("rtc", &self.rtc)];
        for (kind, endpoints) in [("http", &self.http), ("api", &self.api), ("rtsp", &self.rtsp)].into_iter().chain(udp)
        {
            if !endpoints.is_empty() {
                beat[kind] = endpoints.clone().into();
            }
        }
        beat.to_string()
    }

    /// Sends it once, from `netns`.
    pub fn send(&self, netns: &Netns, api: SocketAddr) -> Result<Response> {
        netns.run(|| http::request("POST", api, "/api/v1/srs/register", Some(&self.json())))?
    }
}

/// Beats until it is dropped.
pub struct Registrar {
    stop: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Registrar {
    /// The first beat is sent, and must be accepted, before this returns.
    pub fn start(netns: &Netns, api: SocketAddr, heartbeat: Heartbeat, every: Duration) -> Result<Self> {
        let first = heartbeat.send(netns, api)?;
        if first.status != 200 {
            bail!("registration of {}: {} {}", heartbeat.device_id, first.status, first.body);
        }
        let (stop, stopped) = mpsc::channel();
        let netns = netns.clone();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                // A beat that fails is what a balancer restart looks like from here: the next one will do.
                let _ = heartbeat.send(&netns, api);
            }
        });
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }

    /// For the host `number` of the data centre, to its balancer.
    pub fn of(dc: &DataCentre, number: usize, family: Family, every: Duration) -> Result<Self> {
        Self::offering(dc, number, family, every, |beat| beat)
    }

    /// The same, with more in the heartbeat.
    pub fn offering(
        dc: &DataCentre,
        number: usize,
        family: Family,
        every: Duration,
        more: impl FnOnce(Heartbeat) -> Heartbeat,
    ) -> Result<Self> {
        let host = dc.origins.get(number).context("no such origin host")?;
        let api = SocketAddr::new(dc.vip(family), crate::balancer::API_PORT);
        Self::start(&host.netns, api, more(Heartbeat::of(host, number, family)), every)
    }
}

impl Drop for Registrar {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
