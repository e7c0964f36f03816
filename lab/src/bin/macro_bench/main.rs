//! What forwarding costs, with everything else equal: the same hosts, the same links with the same offloads, the same
//! load, and in the middle each contender in turn. JSON lines to standard output, the first with the circumstances;
//! what is going on, to standard error. Arguments: `rtmp` (the default), `flv`, `srt` or `http`, then parts of the names of
//! the contenders that are to take part.
//!
//! Costs are those of the whole machine, endpoints included, so that nothing hides in softirqs; what is above plain
//! routing is what the contender adds. Run it on a machine that does nothing else.

mod costs;
mod datagrams;
mod middle;
mod players;
mod requests;

use anyhow::Result;
use balancer_lab::load::Protocol;

fn main() -> Result<()> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let kind = arguments.first().filter(|first| ["rtmp", "flv", "srt", "http"].contains(&first.as_str())).cloned();
    if kind.is_some() {
        arguments.remove(0);
    }
    match kind.as_deref() {
        Some("http") => requests::measure(&arguments),
        Some("srt") => datagrams::measure(&arguments),
        Some("flv") => players::measure(Protocol::Flv, &arguments),
        _ => players::measure(Protocol::Rtmp, &arguments),
    }
}

/// Without names, everybody takes part.
fn takes_part(name: &str, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|part| name.contains(part.as_str()))
}

/// Rounds are interleaved, so that what else the machine does falls on everybody.
fn interleave<C: Copy, F>(
    count: usize,
    contenders: &mut [(C, F)],
    name: impl Fn(C) -> &'static str,
    mut measure: impl FnMut(C, usize, &mut F),
) {
    for round in 0..count {
        for (contender, figures) in contenders.iter_mut() {
            eprintln!("round {} of {count}: {}", round + 1, name(*contender));
            measure(*contender, round, figures);
        }
    }
}
