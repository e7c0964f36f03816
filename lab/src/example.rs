//! The examples under `scripts/` as a test runs them: the documentation's addresses replaced by the lab's, and nothing else.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// A file of an example that is being filled in.
pub struct Example {
    name: String,
    text: String,
}

/// `scripts/` of this checkout.
pub fn scripts() -> PathBuf {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts");
    scripts.canonicalize().unwrap_or(scripts)
}

impl Example {
    pub fn read(name: &str) -> Result<Self> {
        let text = std::fs::read_to_string(scripts().join(name)).with_context(|| format!("scripts/{name}"))?;
        Ok(Self { name: name.to_owned(), text })
    }

    /// Replaces every `old`. That there is none means that the example has changed and the lab has not.
    pub fn put(mut self, old: &str, new: &str) -> Result<Self> {
        if !self.text.contains(old) {
            bail!("scripts/{} has no {old:?} (any more)", self.name);
        }
        self.text = self.text.replace(old, new);
        Ok(self)
    }

    /// Replaces a line by one for each of `items`, which take the place of `placeholder` in it.
    pub fn repeat(self, placeholder: &str, items: &[String]) -> Result<Self> {
        let line = self.text.lines().find(|line| line.contains(placeholder) && !line.trim_start().starts_with('#'));
        let line = line.with_context(|| format!("scripts/{} has no line with {placeholder:?}", self.name))?.to_owned();
        let lines: Vec<String> = items.iter().map(|item| line.replace(placeholder, item)).collect();
        self.put(&line, &lines.join("\n"))
    }

    /// Replaces what stands from `from` (included) up to `to` by what `make` makes of it.
    pub fn rewrite(mut self, from: &str, to: &str, make: impl FnOnce(&str) -> String) -> Result<Self> {
        let start = self.text.find(from).with_context(|| format!("scripts/{} has no {from:?}", self.name))?;
        let rest = &self.text[start..];
        let len = rest.find(to).with_context(|| format!("scripts/{} has no {to:?} behind {from:?}", self.name))?;
        let new = make(&rest[..len]);
        self.text.replace_range(start..start + len, &new);
        Ok(self)
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, &self.text).with_context(|| path.display().to_string())
    }
}
