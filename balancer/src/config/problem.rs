//! What can be wrong with a setting, said so that it can be put right: which setting, where its value came from, and
//! what to write instead. Never shows a secret.

use std::fmt;
use std::path::PathBuf;

/// Where a value came from, in the order that wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Flag(String),
    Environment(String),
    File {
        path: PathBuf,
        line: usize,
    },
    /// Found out by looking at the host.
    Host(&'static str),
    Default,
}

impl Source {
    /// Higher wins.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Flag(_) => 4,
            Self::Environment(_) => 3,
            Self::File { .. } => 2,
            Self::Host(_) => 1,
            Self::Default => 0,
        }
    }

    /// Somebody wrote it down.
    pub fn is_explicit(&self) -> bool {
        self.rank() > 1
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "--{name}"),
            Self::Environment(name) => f.write_str(name),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Host(what) => write!(f, "default, {what}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// What is wrong with one text, before it is known where the text came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub what: String,
    pub remedy: String,
}

impl Fault {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

/// What is wrong with one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub setting: String,
    pub source: Option<Source>,
    pub what: String,
    pub remedy: String,
}

impl Problem {
    pub fn new(setting: &str, source: Option<&Source>, fault: Fault) -> Self {
        Self { setting: setting.into(), source: source.cloned(), what: fault.what, remedy: fault.remedy }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.what)?;
        if let Some(source) = &self.source {
            write!(f, " (from {source})")?;
        }
        write!(f, ": {}", self.remedy)
    }
}

/// Everything that is wrong at once, so that one attempt shows all.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError(pub Vec<Problem>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

/// The known name that a mistyped one most likely meant.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this, names have only their prefix in common.
    const SIMILARITY_MIN: f64 = 0.75;
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(unknown, name), name))
        .filter(|(similarity, _)| *similarity >= SIMILARITY_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
