//! Playlists and segments, one request after the other over connections that stay: what a request costs where it is
//! proxied. The number of requests is fixed, not the time, so that whoever is slower is not asked less.

mod contender;
mod figures;
mod origin;
mod tools;

use crate::costs;
use anyhow::{Context, Result};
use contender::{Contender, Running};
use figures::{Figures, Sample};
use origin::File;
use tools::Seen;

const ROUNDS: usize = 3;
/// Before anything counts: connections to the origin are opened, allocators get warm, files into the page cache.
const WARM_UP: usize = 500;

pub fn measure(wanted: &[String]) -> Result<()> {
    let contenders = Contender::ALL.into_iter().filter(|contender| crate::takes_part(contender.name(), wanted));
    let mut all: Vec<_> = contenders.map(|contender| (contender, Figures::default())).collect();
    crate::interleave(ROUNDS, &mut all, Contender::name, |contender, _, figures| {
        if let Err(error) = measure_one(contender, figures) {
            eprintln!("{}: {error:#}", contender.name());
            figures.failed(&error);
        }
    });
    for (i, mut line) in figures::json(&all).into_iter().enumerate() {
        if i == 0 {
            line["circumstances"] = figures::circumstances(ROUNDS);
        }
        println!("{line}");
    }
    Ok(())
}

fn measure_one(contender: Contender, figures: &mut Figures) -> Result<()> {
    if let Some(missing) = contender.missing() {
        figures.skipped(&missing);
        return Ok(());
    }
    let running = Running::start(contender)?;
    for file in File::ALL {
        tools::h2load(&running, file, WARM_UP.min(file.requests())).context("warm-up")?;
    }
    let busy_beforehand = costs::busy_cpus()?;
    for file in File::ALL {
        let sample = sample(&running, busy_beforehand, || tools::h2load(&running, file, file.requests()));
        figures.push_h2load(file, sample.with_context(|| file.name())?);
    }
    figures.push_wrk(sample(&running, busy_beforehand, || tools::wrk(&running, File::Playlist))?);
    Ok(())
}

fn sample(running: &Running, busy_beforehand: f64, ask: impl FnOnce() -> Result<Seen>) -> Result<Sample> {
    let before = running.middle.costs()?;
    let seen = ask()?;
    Ok(Sample { seen, costs: running.middle.costs()?.since(&before), busy_beforehand })
}
