//! What flags, environment and file say, as text, with where each text stands. Pure: files are read through
//! [`Inputs::read`], the environment is a map.
//!
//! An empty text or list is the same as none, in every layer: deployments pass variables through whether set or not.

mod environment;
mod file;

use super::host::HostFacts;
use super::problem::{Fault, Problem, Source};
use super::table::{SETTINGS, Setting, VARIABLE_PREFIX};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Looked for in this order when `--config` is absent.
pub const FILES: [&str; 2] = ["balancer.toml", "/etc/balancer/balancer.toml"];
/// Anything bigger was given by mistake.
const FILE_BYTES_MAX: usize = 1 << 20;

/// All that the settings depend on.
pub struct Inputs<'a> {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// By name of the setting.
    pub flags: BTreeMap<&'static str, Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
    pub host: HostFacts,
}

/// A value that somebody wrote. No `Debug`: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Given {
    pub source: Source,
    pub texts: Vec<String>,
}

/// The winner of each setting, and what was noticed on the way.
#[derive(Default)]
pub struct Layers {
    given: BTreeMap<&'static str, Given>,
    pub file: Option<PathBuf>,
    pub problems: Vec<Problem>,
    pub warnings: Vec<String>,
}

impl Layers {
    pub fn gather(inputs: &Inputs) -> Self {
        let mut layers = Self::default();
        // Weakest first: a stronger layer replaces.
        match open(inputs) {
            Ok(Some((path, text))) => {
                file::read(&mut layers, &path, &text);
                layers.file = Some(path);
            }
            Ok(None) => {}
            Err(problem) => layers.problems.push(problem),
        }
        environment::read(&mut layers, &inputs.environment);
        for row in SETTINGS {
            if let Some(texts) = inputs.flags.get(row.name) {
                layers.give(row, Source::Flag(row.flag().into()), texts.iter().map(String::as_str));
            }
        }
        layers
    }

    pub fn get(&self, row: &Setting) -> Option<&Given> {
        self.given.get(row.name)
    }

    fn give<'t>(&mut self, row: &Setting, source: Source, texts: impl Iterator<Item = &'t str>) {
        let texts: Vec<String> = match row.is_list() {
            true => texts.flat_map(|t| t.split(',')).map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect(),
            false => texts.map(|t| t.trim().to_owned()).filter(|t| !t.is_empty()).collect(),
        };
        if !texts.is_empty() {
            self.given.insert(row.name, Given { source, texts });
        }
    }
}

/// The configuration file that applies, if any.
fn open(inputs: &Inputs) -> Result<Option<(PathBuf, String)>, Problem> {
    let variable = format!("{VARIABLE_PREFIX}CONFIG");
    let named = match (&inputs.config, inputs.environment.get(&variable).filter(|v| !v.is_empty())) {
        (Some(path), _) => Some((path.clone(), Source::Flag("config".into()))),
        (None, Some(path)) => Some((path.into(), Source::Environment(variable))),
        (None, None) => None,
    };
    let candidates = match &named {
        Some((path, _)) => vec![path.clone()],
        None => FILES.map(PathBuf::from).to_vec(),
    };
    for path in candidates {
        let fault = |what: String| Fault::new(what, "correct it, or name another file with --config");
        match (inputs.read)(&path) {
            Ok(text) if text.len() <= FILE_BYTES_MAX => return Ok(Some((path, text))),
            Ok(_) => {
                let what = format!("{} is larger than {FILE_BYTES_MAX} bytes", path.display());
                return Err(Problem::new("config", named.as_ref().map(|n| &n.1), fault(what)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && named.is_none() => {}
            Err(error) => {
                let what = format!("cannot read {}: {error}", path.display());
                return Err(Problem::new("config", named.as_ref().map(|n| &n.1), fault(what)));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
