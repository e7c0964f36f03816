//! `balancer.toml`: the keys of the table, nothing else. Values become the same text as in flags and environment.

use super::Layers;
use crate::config::problem::{Fault, Problem, Source, nearest};
use crate::config::table::{self, SETTINGS};
use std::path::Path;
use toml::de::{DeTable, DeValue};

pub(super) fn read(layers: &mut Layers, path: &Path, text: &str) {
    let line = |offset: usize| 1 + text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count();
    let at = |offset: usize| Source::File { path: path.to_owned(), line: line(offset) };
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let source = at(error.span().map_or(0, |span| span.start));
            let fault = Fault::new(error.message().replace('\n', ", "), "correct the TOML");
            return layers.problems.push(Problem::new("config", Some(&source), fault));
        }
    };
    for (key, value) in table.get_ref() {
        let source = at(key.span().start);
        let name: &str = key.get_ref();
        let Some(row) = table::find(name) else {
            layers.problems.push(unknown(name, value.get_ref(), &source));
            continue;
        };
        match texts(value.get_ref()) {
            Some(texts) => layers.give(row, source, texts.iter().map(String::as_str)),
            None => {
                let kind = value.get_ref().type_str();
                let fault =
                    Fault::new(format!("a TOML {kind} is not a value for it"), format!("write {}", sample(row)));
                layers.problems.push(Problem::new(name, Some(&source), fault));
            }
        }
    }
}

fn unknown(name: &str, value: &DeValue, source: &Source) -> Problem {
    let remedy = match nearest(&name.replace('-', "_"), SETTINGS.iter().map(|row| row.name)) {
        // Headings invite to write [limits]; there are none.
        _ if value.is_table() => "the file has no tables: write the settings at the top level".into(),
        Some(near) => format!("did you mean {near}?"),
        None => "remove it; `balancer example-config` shows all settings".into(),
    };
    Problem::new(name, Some(source), Fault::new("no such setting", remedy))
}

fn sample(row: &table::Setting) -> String {
    let text = if row.default.is_empty() { row.example } else { row.default };
    format!("{} = {:?}", row.name, if text.is_empty() { "..." } else { text })
}

fn texts(value: &DeValue) -> Option<Vec<String>> {
    let scalar = |value: &DeValue| match value {
        DeValue::String(s) => Some(s.to_string()),
        DeValue::Integer(i) if i.radix() == 10 => Some(i.as_str().to_owned()),
        DeValue::Boolean(b) => Some(b.to_string()),
        _ => None,
    };
    match value {
        DeValue::Array(array) => array.iter().map(|v| scalar(v.get_ref())).collect(),
        value => scalar(value).map(|text| vec![text]),
    }
}
