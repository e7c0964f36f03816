//! `cargo xtask demo`: a small data centre on this machine and a live table of what the balancer does in it. The
//! lab makes the hosts, the servers and the clients, and takes them away again however this ends.

mod flows;
mod table;

use crate::{build, repo, setup};
use anyhow::{Context, Result, bail};
use balancer_lab::curl::curl;
use balancer_lab::ffmpeg::{Clip, Player, Publisher, vp8_clip};
use balancer_lab::origin::rtsp::{RTSP_PORT, RTSP_STREAMS};
use balancer_lab::origin::srt;
use balancer_lab::rtc::{RtcClient, RtcRole};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait;
use flows::{Flow, Path};
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};
use table::Table;

#[derive(clap::Args)]
pub struct Arguments {
    /// End after 20 seconds, and fail unless every flow of media was in the kernel and every player decoded video
    #[arg(long)]
    once: bool,
    /// Use what is built already
    #[arg(long, hide = true)]
    no_build: bool,
}

const ORIGINS: u8 = 3;
/// Published by RTMP, and each played by RTMP, FLV and HLS.
const STREAMS: usize = 4;
/// Further streams, which the origins' RTSP servers make themselves: each with its path and how its player gets it.
const RTSP: [(&str, &str); 2] = [(RTSP_STREAMS[0], "tcp"), (RTSP_STREAMS[1], "udp")];
/// Published by SRT, and played by it.
const SRT: &str = "live/distant";
/// One more by WHIP and WHEP.
const RTC_STREAM: &str = "stage";
/// A publisher and two players of each stream, the players of RTSP, both ends of SRT and of WebRTC. Those of HLS are
/// proxied, over as many connections as they like.
const KERNEL_FLOWS: usize = STREAMS * 3 + RTSP.len() + 2 + 2;
const REFRESH: Duration = Duration::from_secs(1);
/// `--once` ends then.
const ONCE: Duration = Duration::from_secs(20);
/// What a player must have decoded by then: four seconds of video, so that a stall is not taken for success.
const FRAMES_MIN: u64 = 100;

pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        setup::ensure(setup::Purpose::Lab)?;
        build::all(true)?;
        repo::run(&mut build::lab_rtc())?;
        repo::run(repo::cargo().args(["build", "--quiet", "--package", "balancer-lab", "--bin", "srt_peer"]))?;
    }
    if !repo::is_root() {
        return Err(as_root(arguments)).context("the demo makes network namespaces, so it wants to be root");
    }
    let mut demo = Demo::start()?;
    demo.watch(arguments.once.then_some(ONCE))
}

/// This program again, through sudo; only returns when that fails. What was built stays its user's.
fn as_root(arguments: &Arguments) -> anyhow::Error {
    let Ok(program) = std::env::current_exe() else {
        return anyhow::anyhow!("cannot find my own program");
    };
    let mut command = Command::new("sudo");
    command.arg("--preserve-env").arg(program).args(["demo", "--no-build"]);
    command.args(arguments.once.then_some("--once"));
    command.exec().into()
}

/// Dropped in this order: clients first, the hosts they live on last.
struct Demo {
    players: Vec<Player>,
    rtc_player: RtcClient,
    _rtc_publisher: RtcClient,
    _publishers: Vec<Publisher>,
    scene: Scene,
}

impl Demo {
    fn start() -> Result<Self> {
        eprintln!("demo: a client host, the balancer's host and {ORIGINS} origin hosts, as network namespaces");
        let scene = Plot::default().origins(ORIGINS).nginx_with_flv().rtsp().srt().rtc().build()?;
        let rtmp = |name: &str| format!("rtmp://{}/live/{name}", scene.dc.vip(scene.family));
        let names: Vec<String> = (1..=STREAMS).map(|number| format!("camera{number}")).collect();
        eprintln!(
            "demo: {STREAMS} publishers dial {}; players of RTMP, FLV, HLS, RTSP, SRT and WebRTC follow",
            rtmp("…")
        );
        let clip = Clip::make(scene.dc.directory())?;
        let (client, logs) = (&scene.dc.clients[0].netns, scene.dc.directory());
        let mut publishers = names
            .iter()
            .map(|name| Publisher::start(client, logs, name, &clip, &rtmp(name)))
            .collect::<Result<Vec<_>>>()?;
        publishers.push(Publisher::start(client, logs, "srt", &clip, &srt::url(scene.srt_vip(), SRT, "publish", ""))?);
        wait::wait_until("every stream to be published", SOON, || {
            flows::of(&scene.balancer).is_ok_and(|flows| flows.iter().filter(|flow| flow.publishes).count() > STREAMS)
        })?;
        let mut players = Vec::new();
        for name in &names {
            let [flv, hls] = ["flv", "m3u8"].map(|kind| scene.http_url(&format!("/live/{name}.{kind}")));
            // The playlist comes with the first segment, and ffmpeg asks but once.
            wait::wait_until(&hls, SOON, || curl(client, &hls, &[]).is_ok_and(|answer| answer.status() == 200))?;
            for (kind, url) in [("rtmp", rtmp(name)), ("flv", flv), ("hls", hls)] {
                players.push(Player::start(client, logs, &format!("{name}-{kind}"), &url)?);
            }
        }
        for (path, transport) in RTSP {
            let url = format!("rtsp://{}{path}", SocketAddr::new(scene.dc.vip(scene.family), RTSP_PORT));
            let options = ["-rtsp_transport", transport];
            players.push(Player::start_with(client, logs, &format!("rtsp-{transport}"), &url, &options)?);
        }
        players.push(Player::start(client, logs, "srt", &srt::url(scene.srt_vip(), SRT, "request", ""))?);
        let (rtc_publisher, rtc_player) = web_rtc(&scene)?;
        Ok(Self { players, rtc_player, _rtc_publisher: rtc_publisher, _publishers: publishers, scene })
    }

    /// What each player has decoded so far; the one of WebRTC only receives.
    fn frames(&self) -> Vec<u64> {
        let received = self.rtc_player.one().map(|seen| seen.number("frames")).unwrap_or_default();
        self.players.iter().map(Player::frames).chain([received]).collect()
    }

    /// Shows the table once a second; with a limit, ends by itself and judges.
    fn watch(&mut self, limit: Option<Duration>) -> Result<()> {
        let start = Instant::now();
        let mut table = Table::new(std::io::stdout().is_terminal());
        loop {
            std::thread::sleep(REFRESH);
            let flows = flows::of(&self.scene.balancer)?;
            let copied = self.scene.balancer.metric("balancer_forwarded_bytes_total", &["path=\"relay\""])?;
            let frames = self.frames();
            table.show(start.elapsed(), &flows, copied, &frames);
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                return judge(&flows, &frames);
            }
        }
    }
}

/// One that publishes by WHIP, and one that plays by WHEP.
fn web_rtc(scene: &Scene) -> Result<(RtcClient, RtcClient)> {
    let (host, logs) = (&scene.dc.clients[0], scene.dc.directory());
    let clip = vp8_clip(logs)?.display().to_string();
    let open = |role, more: &[&str]| RtcClient::start(host, logs, role, &scene.rtc_url(role, RTC_STREAM), more);
    let publisher = open(RtcRole::Publish, &["--ivf", &clip])?;
    publisher.wait_connected(SOON)?;
    let player = open(RtcRole::Play, &[])?;
    Ok((publisher, player))
}

fn judge(flows: &[Flow], frames: &[u64]) -> Result<()> {
    let media: Vec<_> = flows.iter().filter(|flow| !flow.is_proxied()).collect();
    let kernel = media.iter().filter(|flow| flow.path == Path::Kernel && flow.is_forwarding()).count();
    let decoding = frames.iter().filter(|frames| **frames >= FRAMES_MIN).count();
    println!(
        "\n{kernel} of {KERNEL_FLOWS} flows of media in the kernel; {decoding} of {} players decoded at least \
         {FRAMES_MIN} frames",
        frames.len()
    );
    if kernel < KERNEL_FLOWS || media.len() != KERNEL_FLOWS {
        bail!("{} flows of media, {kernel} of them in the kernel; {KERNEL_FLOWS} were to be there", media.len());
    }
    if decoding < frames.len() {
        bail!("{} players have not decoded enough video", frames.len() - decoding);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(path: Path, packets: u64) -> Flow {
        Flow { path, packets: [packets, packets], ..flows::fixture() }
    }

    #[test]
    fn one_flow_of_media_outside_of_the_kernel_is_a_failure() {
        let mut flows: Vec<Flow> = (0..KERNEL_FLOWS).map(|_| flow(Path::Kernel, 1)).collect();
        let frames = [FRAMES_MIN; 12];
        flows.push(Flow { protocol: "hls".into(), ..flow(Path::Relay, 1) });
        assert!(judge(&flows, &frames).is_ok(), "playlists and segments are user space's");
        flows[3] = flow(Path::Relay, 1);
        assert!(judge(&flows, &frames).is_err());
        flows[3] = flow(Path::Kernel, 0);
        assert!(judge(&flows, &frames).is_err(), "installed, but nothing goes through it");
    }

    #[test]
    fn one_player_that_sees_nothing_is_a_failure() {
        let flows: Vec<Flow> = (0..KERNEL_FLOWS).map(|_| flow(Path::Kernel, 1)).collect();
        assert!(judge(&flows, &[FRAMES_MIN, FRAMES_MIN - 1]).is_err());
    }
}
