//! Nanoseconds a packet. `balancer/examples/bench_micro.rs` runs the loaded program in the kernel's test-run and prints
//! one JSON object a line:
//!
//! `{"case": "spliced data", "flows": 1, "min_ns": 39.1, "median_ns": 40.2}`
//!
//! The case `empty` is a program that returns at once: what is above it is ours.

use super::Report;
use super::machine::Machine;
use super::plot::{Bar, Bars};
use super::program;
use super::table::{Table, number};
use anyhow::{Context, Result};
use serde_json::{Value, json};

const EMPTY: &str = "empty";

#[derive(Clone, Debug, PartialEq)]
struct Case {
    name: String,
    flows: u64,
    min_ns: f64,
    median_ns: f64,
}

pub fn measure() -> Result<Report> {
    let example = ["balancer", "--example", "bench_micro"];
    let (machine, printed) = program::run(example, &[], "the fast path in the kernel's test-run")?;
    report(machine, &printed)
}

fn report(machine: Machine, printed: &str) -> Result<Report> {
    let objects = program::objects(printed)?;
    let cases = objects.iter().map(|object| parse(object).with_context(|| format!("not a case: {object}")));
    let cases = cases.collect::<Result<Vec<_>>>()?;
    let empty = cases.iter().find(|case| case.name == EMPTY).context("the empty program was not measured")?.clone();
    let row = |case: &Case| {
        let above = |value: f64, base: f64| number(Some(value - base));
        vec![
            case.label(),
            number(Some(case.min_ns)),
            number(Some(case.median_ns)),
            above(case.min_ns, empty.min_ns),
            above(case.median_ns, empty.median_ns),
        ]
    };
    let bar = |case: &Case| {
        let value = case.median_ns - empty.median_ns;
        Bar { label: case.label(), value, text: format!("{} ns", number(Some(value))), own: true }
    };
    let ours = || cases.iter().filter(|case| case.name != EMPTY);
    Ok(Report {
        machine,
        name: "micro",
        json: cases.iter().map(Case::json).collect(),
        table: Table {
            heads: vec!["packet", "min ns", "median ns", "min above empty", "median above empty"],
            rows: cases.iter().map(row).collect(),
        },
        remarks: Vec::new(),
        plots: vec![Bars {
            name: "packet",
            title: "ns a packet above an empty program, median".to_owned(),
            bars: ours().map(bar).collect(),
        }],
    })
}

fn parse(value: &Value) -> Option<Case> {
    Some(Case {
        name: value.get("case")?.as_str()?.to_owned(),
        flows: value.get("flows")?.as_u64()?,
        min_ns: value.get("min_ns")?.as_f64()?,
        median_ns: value.get("median_ns")?.as_f64()?,
    })
}

impl Case {
    fn label(&self) -> String {
        match self.flows {
            0 | 1 => self.name.clone(),
            flows if flows >= 1 << 20 => format!("{}, {} M flows", self.name, flows >> 20),
            flows if flows >= 1 << 10 => format!("{}, {} k flows", self.name, flows >> 10),
            flows => format!("{}, {flows} flows", self.name),
        }
    }

    fn json(&self) -> Value {
        json!({ "case": self.name, "flows": self.flows, "min_ns": self.min_ns, "median_ns": self.median_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::machine;

    #[test]
    fn every_case_is_compared_with_the_empty_program() {
        let printed = "{\"case\":\"empty\",\"flows\":0,\"min_ns\":7,\"median_ns\":8}\nwarming up\n\
                       {\"case\":\"spliced data\",\"flows\":65536,\"min_ns\":90,\"median_ns\":100}\n";
        let report = report(machine::describe(), printed).expect("well formed");
        assert_eq!(report.table.rows[1], ["spliced data, 64 k flows", "90.0", "100", "83.0", "92.0"]);
        assert_eq!(report.plots[0].bars.len(), 1);
    }

    #[test]
    fn figures_without_their_base_are_refused() {
        assert!(report(machine::describe(), "{\"case\":\"miss\",\"flows\":0,\"min_ns\":7,\"median_ns\":8}\n").is_err());
    }
}
