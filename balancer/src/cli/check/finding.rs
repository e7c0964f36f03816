//! What a look at the host comes to: levels, remedies, and how they are printed.

use crate::cli::output;
use crate::config::XdpMode;
use serde::Serialize;
use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warn,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    pub area: &'static str,
    pub what: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remedy: String,
}

/// Findings in the making.
pub struct Findings {
    mode: XdpMode,
    pub all: Vec<Finding>,
}

impl Findings {
    pub fn new(mode: XdpMode) -> Self {
        Self { mode, all: Vec::new() }
    }

    pub fn ok(&mut self, area: &'static str, what: impl Into<String>) {
        self.add(Level::Ok, area, what.into(), "");
    }

    pub fn warn(&mut self, area: &'static str, what: impl Into<String>, remedy: &str) {
        self.add(Level::Warn, area, what.into(), remedy);
    }

    pub fn error(&mut self, area: &'static str, what: impl Into<String>, remedy: &str) {
        self.add(Level::Error, area, what.into(), remedy);
    }

    /// Something without which the kernel cannot forward. An error for who insists on it; in mode `auto` the balancer
    /// starts all the same, and relays.
    pub fn no_fast_path(&mut self, area: &'static str, what: impl Into<String>, remedy: &str) {
        match self.mode {
            XdpMode::Off => {}
            XdpMode::Auto => self.warn(area, format!("{}; all flows would be relayed", what.into()), remedy),
            XdpMode::Native | XdpMode::Generic => self.error(area, what, remedy),
        }
    }

    fn add(&mut self, level: Level, area: &'static str, what: String, remedy: &str) {
        self.all.push(Finding { level, area, what, remedy: remedy.to_owned() });
    }

    pub fn count(&self, level: Level) -> usize {
        self.all.iter().filter(|finding| finding.level == level).count()
    }

    pub fn to_text(&self) -> String {
        let width = self.all.iter().map(|finding| finding.area.len()).max().unwrap_or(0);
        let mut out = String::new();
        for finding in &self.all {
            let level = match finding.level {
                Level::Ok => "ok",
                Level::Warn => "warn",
                Level::Error => "ERROR",
            };
            let _ = writeln!(out, "{level:<5}  {:<width$}  {}", finding.area, output::harmless(&finding.what));
            if !finding.remedy.is_empty() {
                let _ = writeln!(out, "{:<5}  {:<width$}  -> {}", "", "", finding.remedy);
            }
        }
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warn));
        let verdict = match (errors, warnings) {
            (0, 0) => "ready",
            (0, _) => "ready, with warnings",
            _ => "not ready",
        };
        let _ = writeln!(out, "\n{verdict}: errors {errors}, warnings {warnings}");
        out
    }

    pub fn to_json(&self) -> serde_json::Value {
        let (errors, warnings) = (self.count(Level::Error), self.count(Level::Warn));
        serde_json::json!({"ready": errors == 0, "errors": errors, "warnings": warnings, "findings": self.all})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stops_the_fast_path_is_an_error_only_for_who_insists_on_it() {
        let levels = |mode| {
            let mut findings = Findings::new(mode);
            findings.no_fast_path("kernel", "too old", "take a newer one");
            findings.all.iter().map(|finding| finding.level).collect::<Vec<_>>()
        };
        assert_eq!(levels(XdpMode::Native), [Level::Error]);
        assert_eq!(levels(XdpMode::Auto), [Level::Warn]);
        assert_eq!(levels(XdpMode::Off), []);
    }

    #[test]
    fn findings_are_a_table_and_json() {
        let mut findings = Findings::new(XdpMode::Auto);
        findings.ok("kernel", "Linux 6.18");
        findings.error("vip", "192.0.2.1 is not here", "add it");
        let expected = "ok     kernel  Linux 6.18\nERROR  vip     192.0.2.1 is not here\n               -> add it\n\n\
                        not ready: errors 1, warnings 0\n";
        assert_eq!(findings.to_text(), expected);
        let json = findings.to_json();
        assert_eq!(json["ready"], false);
        assert_eq!(json["findings"][1]["level"], "error");
        assert_eq!(json["findings"][0].get("remedy"), None);
    }
}
