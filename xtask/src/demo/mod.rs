//! `cargo xtask demo`: a small data centre on this machine and a live table of what the balancer does in it. The
//! lab makes the hosts, the servers and the clients, and takes them away again however this ends.

mod flows;
mod table;

use crate::{build, repo, setup};
use anyhow::{Context, Result, bail};
use balancer_lab::ffmpeg::{Clip, Player, Publisher};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::wait;
use flows::{Flow, Path};
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};
use table::Table;

#[derive(clap::Args)]
pub struct Arguments {
    /// End after 20 seconds, and fail unless every flow was in the kernel and every player decoded video
    #[arg(long)]
    once: bool,
    /// Use what is built already
    #[arg(long, hide = true)]
    no_build: bool,
}

const ORIGINS: u8 = 3;
const STREAMS: usize = 6;
const PLAYERS_PER_STREAM: usize = 2;
const FLOWS: usize = STREAMS * (1 + PLAYERS_PER_STREAM);
const REFRESH: Duration = Duration::from_secs(1);
/// `--once` ends then.
const ONCE: Duration = Duration::from_secs(20);
/// What a player must have decoded by then: four seconds of video, so that a stall is not taken for success.
const FRAMES_MIN: u64 = 100;

pub fn run(arguments: &Arguments) -> Result<()> {
    if !arguments.no_build {
        setup::ensure(setup::Purpose::Lab)?;
        build::all(true)?;
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
    _publishers: Vec<Publisher>,
    scene: Scene,
}

impl Demo {
    fn start() -> Result<Self> {
        eprintln!("demo: a client host, the balancer's host and {ORIGINS} origin hosts, as network namespaces");
        let scene = Plot::default().origins(ORIGINS).nginx().build()?;
        let url = |name: &str| format!("rtmp://{}/live/{name}", scene.dc.vip(scene.family));
        let names: Vec<String> = (1..=STREAMS).map(|number| format!("camera{number}")).collect();
        eprintln!("demo: {STREAMS} publishers and {} players dial {}", STREAMS * PLAYERS_PER_STREAM, url("…"));
        let clip = Clip::make(scene.dc.directory())?;
        let (client, logs) = (&scene.dc.clients[0].netns, scene.dc.directory());
        let publishers =
            names.iter().map(|name| Publisher::start(client, logs, name, &clip, &url(name))).collect::<Result<_>>()?;
        wait::wait_until("every stream to be published", SOON, || {
            flows::of(&scene.balancer).is_ok_and(|flows| flows.iter().filter(|flow| flow.publishes).count() >= STREAMS)
        })?;
        let mut players = Vec::new();
        for name in &names {
            for number in 1..=PLAYERS_PER_STREAM {
                players.push(Player::start(client, logs, &format!("{name}-{number}"), &url(name))?);
            }
        }
        Ok(Self { players, _publishers: publishers, scene })
    }

    /// Shows the table once a second; with a limit, ends by itself and judges.
    fn watch(&mut self, limit: Option<Duration>) -> Result<()> {
        let start = Instant::now();
        let mut table = Table::new(std::io::stdout().is_terminal());
        loop {
            std::thread::sleep(REFRESH);
            let flows = flows::of(&self.scene.balancer)?;
            let copied = self.scene.balancer.metric("balancer_forwarded_bytes_total", &["path=\"relay\""])?;
            let frames: Vec<u64> = self.players.iter().map(Player::frames).collect();
            table.show(start.elapsed(), &flows, copied, &frames);
            if limit.is_some_and(|limit| start.elapsed() >= limit) {
                return judge(&flows, &frames);
            }
        }
    }
}

fn judge(flows: &[Flow], frames: &[u64]) -> Result<()> {
    let kernel = flows.iter().filter(|flow| flow.path == Path::Kernel && flow.is_forwarding()).count();
    let decoding = frames.iter().filter(|frames| **frames >= FRAMES_MIN).count();
    println!(
        "\n{kernel} of {FLOWS} flows in the kernel; {decoding} of {} players decoded at least {FRAMES_MIN} frames",
        frames.len()
    );
    if kernel < FLOWS || flows.len() != FLOWS {
        bail!("{} flows, {kernel} of them in the kernel; {FLOWS} were to be there", flows.len());
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
    fn one_flow_outside_of_the_kernel_is_a_failure() {
        let mut flows: Vec<Flow> = (0..FLOWS).map(|_| flow(Path::Kernel, 1)).collect();
        let frames = [FRAMES_MIN; 12];
        assert!(judge(&flows, &frames).is_ok());
        flows[3] = flow(Path::Relay, 1);
        assert!(judge(&flows, &frames).is_err());
        flows[3] = flow(Path::Kernel, 0);
        assert!(judge(&flows, &frames).is_err(), "installed, but nothing goes through it");
    }

    #[test]
    fn one_player_that_sees_nothing_is_a_failure() {
        let flows: Vec<Flow> = (0..FLOWS).map(|_| flow(Path::Kernel, 1)).collect();
        assert!(judge(&flows, &[FRAMES_MIN, FRAMES_MIN - 1]).is_err());
    }
}
