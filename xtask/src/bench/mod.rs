//! `cargo xtask bench`: measures, and writes what it measured under `docs/bench/`: tables, JSON and plots. The tables
//! also replace the marked places of the README, so that no figure there was typed by hand.

mod machine;
mod micro;
mod players;
mod plot;
mod program;
mod requests;
mod scale;
mod table;

use crate::{build, repo, setup};
use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use machine::Machine;
use serde_json::Value;
use std::path::PathBuf;
use table::Table;

#[derive(clap::Args)]
pub struct Arguments {
    /// Only this one
    #[arg(value_enum)]
    only: Option<Kind>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Nanoseconds a packet, in the kernel's test-run
    Micro,
    /// A hundred players of RTMP, against routing, NAT and proxies in the same topology
    Macro,
    /// The same with players of HTTP-FLV
    Flv,
    /// The same with players of SRT, by their datagrams
    Srt,
    /// Requests for playlists and segments, against HAProxy and nginx
    Http,
    /// Ten balancers on one Redis, with more and more streams and flows
    Scale,
}

/// One measurement, ready to be written.
struct Report {
    name: &'static str,
    /// As it was before.
    machine: Machine,
    json: Value,
    table: Table,
    /// How the figures stand to what was aimed for.
    remarks: Vec<String>,
    plots: Vec<plot::Bars>,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    if !repo::is_root() {
        bail!("measuring loads programs and makes network namespaces: run it as root");
    }
    setup::ensure(setup::Purpose::Lab)?;
    build::all(true)?;
    let wanted = |kind| arguments.only.is_none_or(|only| only == kind);
    if wanted(Kind::Micro) {
        micro::measure()?.write()?;
    }
    if wanted(Kind::Macro) {
        players::rtmp()?.write()?;
    }
    if wanted(Kind::Flv) {
        players::flv()?.write()?;
    }
    if wanted(Kind::Srt) {
        players::srt()?.write()?;
    }
    if wanted(Kind::Http) {
        requests::measure()?.write()?;
    }
    if wanted(Kind::Scale) {
        scale::streams()?.write()?;
        scale::flows()?.write()?;
    }
    Ok(())
}

fn folder() -> PathBuf {
    repo::root().join("docs/bench")
}

impl Report {
    fn write(&self) -> Result<()> {
        let folder = folder();
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let file = |end: &str| folder.join(format!("{}{end}", self.name));
        let machine = &self.machine;
        let json = serde_json::json!({ "machine": machine.json(), "measured": self.json });
        write(&file(".json"), &format!("{json:#}\n"))?;
        let lines = self.remarks.iter().cloned().chain([machine.line()]);
        let mut page = format!("{}\n{}\n", self.table.markdown(), lines.collect::<Vec<_>>().join("\n\n"));
        table::replace_marked(&repo::root().join("README.md"), self.name, &page)?;
        for bars in &self.plots {
            let name = format!("{}-{}.svg", self.name, bars.name);
            bars.draw(&folder.join(&name))?;
            page.push_str(&format!("\n![{}]({name})\n", bars.title));
        }
        write(&file(".md"), &page)?;
        println!("\n{}\nwritten to {}", self.table.markdown(), folder.display());
        Ok(())
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
