//! A hundred players of live streams: what a Gbit, a play and an idle connection cost, and how long a message takes.

pub mod contender;
pub mod figures;

use crate::costs;
use anyhow::{Context, Result};
use balancer_lab::load::{self, Protocol, Shape};
use contender::{Contender, Running};
use figures::{Figures, Memory, Sample, SetUps};
use std::time::Duration;

/// 5 Mbit/s each, as a camera sends it.
const SHAPE: Shape = Shape { players: 100, frame_bytes: 25_000, frames_per_second: 25 };
const ROUNDS: usize = 3;
const WINDOW: Duration = Duration::from_secs(4);
/// Between the last play and the first measurement: hand-overs end, congestion windows open.
const SETTLE: Duration = Duration::from_millis(1500);
const SET_UPS: usize = 1500;
const SET_UPS_AT_ONCE: usize = 16;
/// So many that what a process allocates once does not count.
const IDLE: usize = 2000;

pub fn measure(protocol: Protocol, wanted: &[String]) -> Result<()> {
    let contenders = Contender::of(protocol).iter().filter(|contender| crate::takes_part(contender.name(), wanted));
    let mut all: Vec<_> = contenders.map(|&contender| (contender, Figures::new(contender.name()))).collect();
    crate::interleave(ROUNDS, &mut all, Contender::name, |contender, round, figures| {
        if let Err(error) = measure_one(contender, protocol, round, figures) {
            eprintln!("{}: {error:#}", contender.name());
            figures.failed(&error);
        }
    });
    let protocol = match protocol {
        Protocol::Rtmp => "RTMP",
        Protocol::Flv => "FLV over HTTP, a body that ends with its connection",
    };
    let routed = all.iter().find(|(contender, _)| *contender == Contender::Routed).map(|(_, figures)| figures.clone());
    for (i, (_, figures)) in all.iter().enumerate() {
        let mut line = figures.json(routed.as_ref());
        if i == 0 {
            line["circumstances"] = figures::circumstances(protocol, SHAPE, ROUNDS, WINDOW);
        }
        println!("{line}");
    }
    Ok(())
}

fn measure_one(contender: Contender, protocol: Protocol, round: usize, figures: &mut Figures) -> Result<()> {
    if let Some(missing) = contender.missing() {
        figures.skipped(&missing);
        return Ok(());
    }
    figures.samples.push(stream(&Running::start(contender, protocol, Some(SHAPE))?)?);
    if round == 0 {
        let running = Running::start(contender, protocol, None)?;
        figures.set_ups = Some(set_up(&running)?);
        // After the set-ups, when every allocator is warm.
        figures.memory = Some(memory(&running)?);
    }
    Ok(())
}

fn stream(running: &Running) -> Result<Sample> {
    let busy_beforehand = costs::busy_cpus()?;
    let sink = load::Sink::start(running.players(), running.protocol, running.dial, SHAPE).context("players")?;
    std::thread::sleep(SETTLE);
    let before = running.middle.costs()?;
    sink.begin();
    std::thread::sleep(WINDOW);
    let delivered = sink.end()?;
    let costs = running.middle.costs()?.since(&before);
    Ok(Sample::new(delivered, costs, busy_beforehand, running.middle.relayed_bytes()))
}

fn set_up(running: &Running) -> Result<SetUps> {
    let before = running.middle.costs()?;
    let (players, protocol) = (running.players(), running.protocol);
    let elapsed = load::set_ups(players, protocol, running.dial, SET_UPS, SET_UPS_AT_ONCE)?;
    Ok(SetUps { count: SET_UPS, elapsed, costs: running.middle.costs()?.since(&before) })
}

fn memory(running: &Running) -> Result<Memory> {
    let before = running.middle.memory()?;
    let held = load::idle(running.players(), running.protocol, running.dial, IDLE)?;
    // Memory that is given back late (sockets left to RCU, arenas) shall not be counted.
    std::thread::sleep(SETTLE);
    let after = running.middle.memory()?;
    drop(held);
    Ok(Memory { connections: IDLE, before, after })
}
