//! What forwarding costs, with everything else equal: the same hosts, the same links with the same offloads, the same
//! players of the same streams, and between them each contender in turn. JSON lines to standard output, one per
//! contender, the first with the circumstances; what is going on, to standard error. Arguments name contenders.
//!
//! Costs are those of the whole machine, endpoints included, so that nothing hides in softirqs; the sum over plain
//! routing is what the contender adds. Run it on a machine that does nothing else.

mod contender;
mod figures;

use anyhow::{Context, Result};
use balancer_lab::load::{self, Shape};
use contender::{Contender, Running};
use figures::{Figures, Sample};
use std::time::Duration;

/// 5 Mbit/s each, as a camera sends it.
const SHAPE: Shape = Shape { players: 100, frame_bytes: 25_000, frames_per_second: 25 };
/// Rounds are interleaved, so that what else the machine does falls on everybody.
const ROUNDS: usize = 3;
const WINDOW: Duration = Duration::from_secs(5);
/// Between the last play and the first measurement: hand-overs end, congestion windows open.
const SETTLE: Duration = Duration::from_millis(1500);
/// How long it is looked whether the machine has something else to do.
const QUIET: Duration = Duration::from_millis(500);
const SET_UPS: usize = 1500;
const SET_UPS_AT_ONCE: usize = 16;
/// So many that what a process allocates once does not count.
const IDLE: usize = 2000;

fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let contenders: Vec<_> = Contender::ALL
        .into_iter()
        .filter(|c| wanted.is_empty() || wanted.iter().any(|w| c.name().contains(w.as_str())))
        .collect();
    let mut all: Vec<Figures> = contenders.iter().map(|&contender| Figures::new(contender.name())).collect();
    for round in 0..ROUNDS {
        for (contender, figures) in contenders.iter().zip(&mut all) {
            eprintln!("round {} of {ROUNDS}: {}", round + 1, contender.name());
            if let Err(error) = measure(*contender, round, figures) {
                eprintln!("{}: {error:#}", contender.name());
                figures.failed(&error);
            }
        }
    }
    let routed = all.iter().find(|figures| figures.name == Contender::Routed.name()).cloned();
    for (i, figures) in all.iter().enumerate() {
        let mut line = figures.json(routed.as_ref());
        if i == 0 {
            line["circumstances"] = figures::circumstances(SHAPE, ROUNDS, WINDOW);
        }
        println!("{line}");
    }
    Ok(())
}

fn measure(contender: Contender, round: usize, figures: &mut Figures) -> Result<()> {
    if let Some(missing) = contender.missing() {
        figures.skipped(&missing);
        return Ok(());
    }
    figures.samples.push(stream(&Running::start(contender, Some(SHAPE))?)?);
    if round == 0 {
        let running = Running::start(contender, None)?;
        figures.set_ups = Some(set_up(&running)?);
        // After the set-ups, when every allocator is warm.
        figures.memory = Some(memory(&running)?);
    }
    Ok(())
}

fn stream(running: &Running) -> Result<Sample> {
    let beforehand = running.costs()?;
    std::thread::sleep(QUIET);
    let busy_beforehand = running.costs()?.since(&beforehand).machine_s / QUIET.as_secs_f64();
    if busy_beforehand > figures::QUIET_CPUS {
        eprintln!("  this machine is not idle: {busy_beforehand:.1} CPUs are busy with something else");
    }
    let sink = load::Sink::start(running.players(), running.dial, SHAPE).context("players")?;
    std::thread::sleep(SETTLE);
    let before = running.costs()?;
    sink.begin();
    std::thread::sleep(WINDOW);
    let delivered = sink.end()?;
    let costs = running.costs()?.since(&before);
    Ok(Sample::new(&delivered, costs, busy_beforehand, running.relayed_bytes()))
}

fn set_up(running: &Running) -> Result<figures::SetUps> {
    let before = running.costs()?;
    let elapsed = load::set_ups(running.players(), running.dial, SET_UPS, SET_UPS_AT_ONCE)?;
    Ok(figures::SetUps { count: SET_UPS, elapsed, costs: running.costs()?.since(&before) })
}

fn memory(running: &Running) -> Result<figures::Memory> {
    let before = running.memory()?;
    let held = load::idle(running.players(), running.dial, IDLE)?;
    // Memory that is given back late (sockets left to RCU, arenas) shall not be counted.
    std::thread::sleep(SETTLE);
    let after = running.memory()?;
    drop(held);
    Ok(figures::Memory { connections: IDLE, before, after })
}
