//! `cargo xtask tidy`: the rules of the house that neither the compiler nor clippy knows. Also a test, so that they
//! hold wherever tests run. It reads source as text; it changes nothing.

mod directions;
mod habits;
mod source;

use crate::repo;
use anyhow::{Context, Result, bail};
use source::Source;
use std::path::{Path, PathBuf};

/// Every finding, each as `file:line: what`.
pub fn run() -> Result<()> {
    let findings = findings()?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if findings.is_empty() {
        return Ok(());
    }
    bail!("{} findings", findings.len())
}

fn findings() -> Result<Vec<String>> {
    let mut files = Vec::new();
    collect(repo::root(), &mut files)?;
    files.sort();
    let mut findings = Vec::new();
    for path in files {
        let name = path.strip_prefix(repo::root()).expect("collected below the root").to_string_lossy().into_owned();
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        findings.extend(habits::of_any_text(&name, &text));
        if name.ends_with(".rs") {
            let source = Source::new(&name, &text);
            findings.extend(habits::of_source(&source));
            findings.extend(directions::of(&source));
        }
    }
    Ok(findings)
}

/// All files but what cargo and git keep for themselves.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type()?;
        if kind.is_dir() && !["target", ".git", "corpus", "artifacts"].iter().any(|skipped| name == *skipped) {
            collect(&entry.path(), files)?;
        } else if kind.is_file() && name != "Cargo.lock" {
            files.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_repository_keeps_its_own_rules() {
        let findings = super::findings().expect("the repository can be read");
        assert!(findings.is_empty(), "\n{}", findings.join("\n"));
    }
}
