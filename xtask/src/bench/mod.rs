//! `cargo xtask bench`: measures, and writes what it measured under `docs/bench/`: tables, JSON and plots. The tables
//! also replace the marked places of the README, so that no figure there was typed by hand.

mod load;
mod machine;
mod micro;
mod plot;
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
    /// A hundred players, against routing, NAT and proxies in the same topology
    Macro,
}

/// One measurement, ready to be written.
struct Report {
    name: &'static str,
    /// As it was before.
    machine: Machine,
    json: Value,
    table: Table,
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
        load::measure()?.write()?;
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
        let mut page = format!("{}\n{}\n", self.table.markdown(), machine.line());
        for bars in &self.plots {
            let name = format!("{}-{}.svg", self.name, bars.name);
            bars.draw(&folder.join(&name))?;
            page.push_str(&format!("\n![{}]({name})\n", bars.title));
        }
        write(&file(".md"), &page)?;
        table::replace_marked(
            &repo::root().join("README.md"),
            self.name,
            &format!("{}\n{}", self.table.markdown(), machine.line()),
        )?;
        println!("\n{}\nwritten to {}", self.table.markdown(), folder.display());
        Ok(())
    }
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
