//! Players of SRT, by their datagrams: what a Gbit costs, and how long a datagram takes. Nothing is sent again, so that
//! everybody forwards the same, and what is lost on the way is counted.

mod contender;

use crate::costs;
use crate::players::figures::{self, Figures, Sample};
use anyhow::{Context, Result};
use balancer_lab::load::{DatagramSink, Shape};
use contender::{Contender, Running};
use std::time::Duration;

/// 5 Mbit/s each, in bursts of nineteen datagrams.
const SHAPE: Shape = Shape { players: 100, frame_bytes: 25_000, frames_per_second: 25 };
const ROUNDS: usize = 3;
const WINDOW: Duration = Duration::from_secs(4);
const SETTLE: Duration = Duration::from_millis(1500);

pub fn measure(wanted: &[String]) -> Result<()> {
    let contenders = Contender::ALL.iter().filter(|contender| crate::takes_part(contender.name(), wanted));
    let mut all: Vec<_> = contenders.map(|&contender| (contender, Figures::new(contender.name()))).collect();
    crate::interleave(ROUNDS, &mut all, Contender::name, |contender, _, figures| {
        if let Some(missing) = contender.missing() {
            return figures.skipped(&missing);
        }
        match stream(contender) {
            Ok(sample) => figures.samples.push(sample),
            Err(error) => {
                eprintln!("{}: {error:#}", contender.name());
                figures.failed(&error);
            }
        }
    });
    let routed = all.iter().find(|(contender, _)| *contender == Contender::Routed).map(|(_, figures)| figures.clone());
    for (i, (_, figures)) in all.iter().enumerate() {
        let mut line = figures.json(routed.as_ref());
        if i == 0 {
            line["circumstances"] = figures::circumstances("SRT, its datagrams one way", SHAPE, ROUNDS, WINDOW);
        }
        println!("{line}");
    }
    Ok(())
}

fn stream(contender: Contender) -> Result<Sample> {
    let running = Running::start(contender, SHAPE)?;
    let busy_beforehand = costs::busy_cpus()?;
    let hearing = running.dc.hear_answers()?;
    let sink = DatagramSink::start(running.players(), running.dial, SHAPE).context("players")?;
    drop(hearing);
    std::thread::sleep(SETTLE);
    let before = running.middle.costs()?;
    sink.begin();
    std::thread::sleep(WINDOW);
    let received = sink.end();
    let costs = running.middle.costs()?.since(&before);
    let mut sample = Sample::new(received.delivered, costs, busy_beforehand, running.middle.relayed_bytes());
    sample.lost = Some(received.lost);
    Ok(sample)
}
