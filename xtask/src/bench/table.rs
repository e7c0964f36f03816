//! Tables in Markdown, and the marked places where they go.

use anyhow::{Context, Result};
use std::path::Path;

pub struct Table {
    pub heads: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// The first column is text, the others are numbers.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
        let rule = (0..self.heads.len()).map(|column| if column == 0 { "---" } else { "---:" }).collect();
        let mut text = line(self.heads.clone());
        text.push_str(&line(rule));
        for row in &self.rows {
            text.push_str(&line(row.iter().map(String::as_str).collect()));
        }
        text
    }
}

/// A number with so many digits as it deserves, or a dash where nothing was measured.
pub fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 1.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.3}"),
    }
}

/// Replaces what stands between `<!-- measured: NAME -->` and `<!-- /measured -->`. Without such a place, nothing.
pub fn replace_marked(file: &Path, name: &str, text: &str) -> Result<()> {
    let old = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    match with_marked(&old, name, text) {
        Some(new) if new != old => {
            std::fs::write(file, new).with_context(|| format!("cannot write {}", file.display()))
        }
        _ => Ok(()),
    }
}

fn with_marked(old: &str, name: &str, text: &str) -> Option<String> {
    let open = format!("<!-- measured: {name} -->\n");
    let start = old.find(&open)? + open.len();
    let end = start + old[start..].find("<!-- /measured -->")?;
    Some(format!("{}{}\n{}", &old[..start], text.trim_end(), &old[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_place_changes() {
        let page =
            "a\n<!-- measured: micro -->\nold\n<!-- /measured -->\nb\n<!-- measured: macro -->\n<!-- /measured -->\n";
        let new = with_marked(page, "micro", "new\n").expect("it is marked");
        assert_eq!(new, page.replace("old", "new"));
        assert_eq!(with_marked(page, "other", "new"), None);
    }

    #[test]
    fn table_is_markdown() {
        let table = Table { heads: vec!["case", "ns"], rows: vec![vec!["data".to_owned(), number(Some(33.25))]] };
        assert_eq!(table.markdown(), "| case | ns |\n| --- | ---: |\n| data | 33.2 |\n");
        assert_eq!((number(None), number(Some(525.4)), number(Some(0.25))), ("–".into(), "525".into(), "0.250".into()));
    }
}
