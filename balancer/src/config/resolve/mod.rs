//! From texts to [`Settings`]: the winner of every setting is parsed, the host fills what nobody said, and what does not
//! fit together is refused.

mod draft;
mod fill;

pub use draft::Draft;

use super::layers::{Inputs, Layers};
use super::problem::{ConfigError, Fault, Problem, Source};
use super::table::SETTINGS;
use super::{Listen, Settings};
use super::{text, validate};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// By name of the setting.
pub type Sources = BTreeMap<&'static str, Source>;

/// The settings, and everything there is to say about them.
#[derive(Debug)]
pub struct Resolved {
    pub settings: Settings,
    /// Of every row of the table.
    pub sources: Sources,
    pub file: Option<PathBuf>,
    pub warnings: Vec<String>,
    pub draft: Draft,
}

/// The settings, or everything that is wrong with them.
pub fn resolve(inputs: &Inputs) -> Result<Resolved, ConfigError> {
    let mut layers = Layers::gather(inputs);
    let mut problems = std::mem::take(&mut layers.problems);
    let mut warnings = std::mem::take(&mut layers.warnings);
    let mut draft = Draft::defaults();
    let mut sources = BTreeMap::new();
    for row in SETTINGS {
        let source = match layers.get(row) {
            Some(given) => {
                if let Err(fault) = (row.access.set)(&mut draft, row, &given.texts) {
                    problems.push(Problem::new(row.name, Some(&given.source), fault));
                }
                given.source.clone()
            }
            None => Source::Default,
        };
        sources.insert(row.name, source);
    }
    if let Err(problem) = read_token(&mut draft, &sources, inputs.read) {
        problems.push(problem);
    }
    // A value that failed to parse left its default behind: what follows would only find errors that are none.
    if problems.is_empty() {
        problems.extend(fill::from_host(&mut draft, &mut sources, &inputs.host));
    }
    let settings = draft.clone().finish();
    draft.system_api = Listen::Address(settings.system_api);
    if problems.is_empty() {
        problems.extend(validate::problems(&settings, &sources));
        warnings.extend(validate::warnings(&settings, &sources));
    }
    match problems.is_empty() {
        true => Ok(Resolved { settings, sources, file: layers.file, warnings, draft }),
        false => Err(ConfigError(problems)),
    }
}

/// Some settings alone, for the commands that do not run a balancer: whatever else is wrong is none of their business.
pub fn resolve_only(inputs: &Inputs, rows: &[&str]) -> Result<(Settings, Sources), ConfigError> {
    let layers = Layers::gather(inputs);
    let mut problems: Vec<Problem> = layers.problems.iter().filter(|p| p.setting == "config").cloned().collect();
    let mut draft = Draft::defaults();
    let mut sources = BTreeMap::new();
    for row in SETTINGS.iter().filter(|row| rows.contains(&row.name)) {
        let Some(given) = layers.get(row) else { continue };
        if let Err(fault) = (row.access.set)(&mut draft, row, &given.texts) {
            problems.push(Problem::new(row.name, Some(&given.source), fault));
        }
        sources.insert(row.name, given.source.clone());
    }
    if let Err(problem) = read_token(&mut draft, &sources, inputs.read) {
        problems.push(problem);
    }
    match problems.is_empty() {
        true => Ok((draft.finish(), sources)),
        false => Err(ConfigError(problems)),
    }
}

/// `token` and `token_file` are one setting in two forms: the stronger source wins.
fn read_token(draft: &mut Draft, sources: &Sources, read: &dyn Fn(&Path) -> io::Result<String>) -> Result<(), Problem> {
    let source = |name| sources.get(name).unwrap_or(&Source::Default);
    let (token, file) = (source("token"), source("token_file"));
    let Some(path) = draft.token_file.clone() else { return Ok(()) };
    if draft.settings.token.is_some() {
        match token.rank().cmp(&file.rank()) {
            std::cmp::Ordering::Greater => return Ok(()),
            std::cmp::Ordering::Equal => {
                let fault = Fault::new(format!("token is also given, by {token}"), "keep one of the two");
                return Err(Problem::new("token_file", Some(file), fault));
            }
            std::cmp::Ordering::Less => {}
        }
    }
    let problem = |fault| Problem::new("token_file", Some(file), fault);
    let contents = read(&path).map_err(|error| {
        let what = format!("cannot read {}: {error}", path.display());
        problem(Fault::new(what, "put the token there, readable by this user only"))
    })?;
    let first = contents.lines().next().unwrap_or("").trim();
    if first.is_empty() {
        return Err(problem(Fault::new(
            format!("the first line of {} is empty", path.display()),
            "write the token there",
        )));
    }
    draft.settings.token = Some((text::SECRET.parse)(first).map_err(problem)?);
    Ok(())
}

#[cfg(test)]
mod tests;
