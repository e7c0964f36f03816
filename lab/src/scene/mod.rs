//! A data centre with everything running: a balancer, origins that registered themselves, and shorthands for what
//! tests look at. One family at a time, because an origin registers one address.

mod plot;

pub use plot::Plot;

use crate::balancer::{Balancer, HTTP_PORT, ORIGIN_API_PORT, RTMP_PORT};
use crate::client::{self, Client, Running};
use crate::data_centre::{DataCentre, Family};
use crate::host;
use crate::origin::rtsp::{RTSP_PORT, RtspOrigin};
use crate::origin::srt::{SRT_PORT, SrtOrigin};
use crate::origin::{Heartbeat, NginxOrigin, NodeMedia, Registrar};
use crate::plan::Plan;
use crate::rtc::{RTC_PORT, RtcOrigin, RtcRole};
use crate::srt_lite::SrtLite;
use crate::synthetic::{Manners, SyntheticOrigin};
use crate::transfer::{Endpoint, Transfer};
use crate::wait;
use crate::web::client::WebClient;
use crate::web::origin::WebOrigin;
use crate::web::plan::WebPlan;
use crate::web::viewer::Viewer;
use anyhow::{Context, Result, bail};
use plot::Servers;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;

/// For what must happen soon; only a failure takes as long.
pub const SOON: Duration = Duration::from_secs(60);
const BEAT: Duration = Duration::from_secs(1);

/// In the order in which it is taken down.
pub struct Scene {
    pub balancer: Balancer,
    /// By origin; None once it was silenced.
    pub registrars: Vec<Option<Registrar>>,
    pub origins: Vec<SyntheticOrigin>,
    pub web: Vec<WebOrigin>,
    pub nginx: Vec<NginxOrigin>,
    pub flv: Vec<NodeMedia>,
    pub rtsp: Vec<RtspOrigin>,
    pub srt: Vec<SrtOrigin>,
    pub srt_lite: Vec<SrtLite>,
    offers_srt: bool,
    pub rtc: Vec<RtcOrigin>,
    pub apis: Vec<WebOrigin>,
    pub family: Family,
    pub dc: DataCentre,
}

impl Scene {
    /// What clients dial.
    pub fn vip(&self) -> SocketAddr {
        SocketAddr::new(self.dc.vip(self.family), RTMP_PORT)
    }

    /// The same for HTTP.
    pub fn http(&self) -> SocketAddr {
        SocketAddr::new(self.dc.vip(self.family), HTTP_PORT)
    }

    /// The same for SRT.
    pub fn srt_vip(&self) -> SocketAddr {
        SocketAddr::new(self.dc.vip(self.family), SRT_PORT)
    }

    pub fn http_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http())
    }

    /// Where WHIP or WHEP for a stream of the application `live` goes.
    pub fn rtc_url(&self, role: RtcRole, stream: &str) -> String {
        let api = SocketAddr::new(self.dc.vip(self.family), ORIGIN_API_PORT);
        format!("http://{api}{}", role.path("live", stream))
    }

    /// A client that says what a test wants it to say.
    pub fn dial_http(&self) -> Result<WebClient> {
        WebClient::dial(&self.dc.clients[0].netns, self.http())
    }

    /// A player of a planned stream; its query has to pass as it is.
    pub fn view(&self, plan: WebPlan, extension: &str) -> Result<Viewer> {
        Viewer::start(&self.dc.clients[0].netns, self.http(), plan, extension, "?token=a%20b&x")
    }

    fn start_servers(&mut self, number: usize, servers: &Servers, manners: &Manners) -> Result<()> {
        let netns = &self.dc.origins[number].netns;
        match servers {
            Servers::Synthetic { web } => {
                self.origins.push(SyntheticOrigin::start(netns, RTMP_PORT, manners.clone())?);
                if let Some(web) = web {
                    self.web.push(WebOrigin::start(netns, HTTP_PORT, web.clone())?);
                }
            }
            Servers::Nginx { flv: false } => self.nginx.push(NginxOrigin::start(&self.dc, number)?),
            Servers::Nginx { flv: true } => self.nginx.push(NginxOrigin::with_flv(&self.dc, number)?),
            Servers::NodeMedia => self.flv.push(NodeMedia::origin(&self.dc, number)?),
        }
        Ok(())
    }

    fn serves_http(&self, number: usize) -> bool {
        [self.web.len(), self.nginx.len(), self.flv.len()].into_iter().any(|count| count > number)
    }

    /// Registers an origin (again) with everything that its host serves.
    pub fn register(&mut self, number: usize) -> Result<()> {
        let rtc = self.rtc.len() > number;
        let http = rtc || self.serves_http(number);
        let (rtsp, api) = (self.rtsp.len() > number, rtc || self.apis.len() > number);
        let srt = self.offers_srt;
        let offer = |beat: Heartbeat| {
            let beat = if http { beat.http(HTTP_PORT) } else { beat };
            let beat = if rtsp { beat.rtsp(RTSP_PORT) } else { beat };
            let beat = if srt { beat.srt(SRT_PORT) } else { beat };
            let beat = if rtc { beat.rtc(RTC_PORT) } else { beat };
            if api { beat.api(ORIGIN_API_PORT) } else { beat }
        };
        self.registrars[number] = Some(Registrar::offering(&self.dc, number, self.family, BEAT, offer)?);
        Ok(())
    }

    pub fn client(&self, plan: Plan) -> Client {
        Client::new(self.vip(), plan)
    }

    pub fn dial(&self, client: Client) -> Result<Running> {
        client.dial(&self.dc.clients[0].netns)
    }

    /// Dials all of them, a few at a time so that no limit of the balancer is in the way, and waits for every status.
    pub fn dial_all(&self, clients: Vec<Client>, at_once: usize) -> Result<Vec<Running>> {
        let mut running = Vec::new();
        for client in clients {
            running.push(self.dial(client)?);
            wait::wait_until("earlier clients to get their status", SOON, || {
                running.iter().filter(|r: &&Running| !r.started() && !r.is_finished()).count() < at_once
            })?;
        }
        wait::wait_until("every client to get its status", SOON, || {
            running.iter().all(|running| running.started() || running.is_finished())
        })?;
        if let Some(i) = running.iter().position(|running| running.is_finished() && !running.started()) {
            bail!("no status for a client: {:#?}", running.remove(i).join());
        }
        Ok(running)
    }

    /// Runs all clients to the end and expects every byte of every one, at both ends.
    pub fn run_exact(&self, clients: Vec<Client>, at_once: usize) -> Result<()> {
        let before = self.ended();
        let count = clients.len();
        let transfers = client::run_all(&self.dc.clients[0].netns, clients, at_once)?;
        self.check_exact(transfers, before, count)
    }

    /// The same for connections under way; `before` is what [`Scene::ended`] said before they were dialled.
    pub fn join_exact(&self, running: Vec<Running>, before: usize) -> Result<()> {
        let count = running.len();
        let transfers = running.into_iter().map(Running::join).collect();
        self.check_exact(transfers, before, count)
    }

    /// Transfers that were complete at the origins so far. Others may have ended too: an attempt that the balancer gave
    /// up in favour of another is an end at that origin.
    pub fn ended(&self) -> usize {
        self.at_origins().filter(|transfer| transfer.is_complete(Endpoint::Origin)).count()
    }

    fn at_origins(&self) -> impl Iterator<Item = Transfer> {
        self.origins.iter().flat_map(SyntheticOrigin::transfers)
    }

    fn check_exact(&self, transfers: Vec<Transfer>, before: usize, count: usize) -> Result<()> {
        let broken: Vec<_> = transfers.iter().filter(|transfer| !transfer.is_complete(Endpoint::Client)).collect();
        if let Some(first) = broken.first() {
            let same = self.at_origins().filter(|transfer| transfer.plan == first.plan).collect::<Vec<_>>();
            bail!("{} of {count} broken at the client; the first: {first:#?}, at the origin: {same:#?}", broken.len());
        }
        let what = format!("{count} transfers to be complete at the origins");
        let complete = wait::wait_until(&what, SOON, || self.ended() >= before + count);
        complete.with_context(|| {
            let ended: Vec<_> = self.at_origins().collect();
            let broken: Vec<_> = ended.iter().filter(|transfer| !transfer.is_complete(Endpoint::Origin)).collect();
            let missing: Vec<_> = transfers.iter().filter(|t| ended.iter().all(|other| other.plan != t.plan)).collect();
            format!("broken: {broken:#?}\nnot ended: {missing:#?}\nflows: {:#?}", self.balancer.flows())
        })
    }

    /// Waits until exactly `count` flows are listed and all of them are forwarded in the kernel.
    pub fn wait_kernel(&self, count: usize) -> Result<Vec<Value>> {
        let mut last = Vec::new();
        let all_in_kernel = wait::wait_for(&format!("{count} flows in the kernel"), SOON, || {
            last = self.balancer.flows().ok()?;
            (last.len() == count && last.iter().all(|flow| flow["path"] == "kernel")).then(|| last.clone())
        });
        all_in_kernel.with_context(|| {
            let shown: Vec<_> = last.iter().filter(|flow| flow["path"] != "kernel").take(3).collect();
            let splices = self.balancer.get("/metrics").map(|response| response.body).unwrap_or_default();
            let splices: Vec<_> = splices.lines().filter(|line| line.starts_with("balancer_splices_total")).collect();
            format!("{} flows listed, among them: {shown:#?}\n{splices:#?}", last.len())
        })
    }

    pub fn wait_no_flows(&self) -> Result<()> {
        wait::wait_until("no flow to be left", SOON, || self.balancer.flows().is_ok_and(|flows| flows.is_empty()))
            .with_context(|| format!("{:#?}", self.balancer.flows()))
    }

    /// Established connections of the balancer's host that carry media: while the kernel forwards, none.
    pub fn media_sockets(&self) -> Result<usize> {
        host::established(&self.dc.lb, RTMP_PORT)
    }

    /// Bytes of media that the control plane copied, by its own count.
    pub fn relayed_bytes(&self) -> Result<f64> {
        self.balancer.metric("balancer_forwarded_bytes_total", &["path=\"relay\""])
    }

    pub fn kernel_bytes(&self) -> Result<f64> {
        self.balancer.metric("balancer_forwarded_bytes_total", &["path=\"kernel\""])
    }
}
