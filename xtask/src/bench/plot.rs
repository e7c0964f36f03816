//! One kind of plot, because one is enough: horizontal bars with their values, as SVG.

use anyhow::{Result, anyhow};
use plotters::backend::SVGBackend;
use plotters::drawing::IntoDrawingArea;
use plotters::element::{Rectangle, Text};
use plotters::style::{Color, IntoFont, RGBColor, WHITE};
use std::path::Path;

pub struct Bars {
    /// Part of the file's name.
    pub name: &'static str,
    pub title: String,
    pub bars: Vec<Bar>,
}

pub struct Bar {
    pub label: String,
    pub value: f64,
    pub text: String,
    /// Drawn in the colour of the balancer itself.
    pub own: bool,
}

const BARS: u32 = 380;
const ROW: u32 = 26;
const TITLE: u32 = 40;
/// Of the font that browsers take, per letter; a little more than it needs.
const LETTER: u32 = 8;
const VALUES: u32 = 90;
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const OWN: RGBColor = RGBColor(0x1f, 0x77, 0xb4);
const OTHER: RGBColor = RGBColor(0xb0, 0xb7, 0xbf);

impl Bars {
    pub fn draw(&self, path: &Path) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| anyhow!("cannot draw {}: {error}", path.display());
        let rows = u32::try_from(self.bars.len())?;
        let letters = self.bars.iter().map(|bar| bar.label.chars().count()).max().unwrap_or(0);
        let labels = LETTER * u32::try_from(letters)? + 20;
        let area = SVGBackend::new(path, (labels + BARS + VALUES, TITLE + ROW * rows + 10)).into_drawing_area();
        area.fill(&WHITE).map_err(|error| failed(&error))?;
        let font = ("sans-serif", 14).into_font().color(&INK);
        let title = Text::new(self.title.clone(), (10, 12), ("sans-serif", 16).into_font().color(&INK));
        area.draw(&title).map_err(|error| failed(&error))?;
        let longest = self.bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let left = i32::try_from(labels)?;
        for (row, bar) in (0..).zip(&self.bars) {
            let top = i32::try_from(TITLE + ROW * row)?;
            let end = left + (bar.value.max(0.0) / longest * f64::from(BARS)) as i32;
            let colour = if bar.own { OWN } else { OTHER };
            let rectangle = Rectangle::new([(left, top), (end, top + 18)], colour.filled());
            area.draw(&rectangle).map_err(|error| failed(&error))?;
            let label = Text::new(bar.label.clone(), (10, top + 2), font.clone());
            area.draw(&label).map_err(|error| failed(&error))?;
            let value = Text::new(bar.text.clone(), (end + 6, top + 2), font.clone());
            area.draw(&value).map_err(|error| failed(&error))?;
        }
        area.present().map_err(|error| failed(&error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_is_in_the_picture() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.svg");
        let bar = |label: &str, value| Bar { label: label.to_owned(), value, text: format!("{value} ns"), own: false };
        let bars = Bars { name: "a", title: "ns a packet".to_owned(), bars: vec![bar("data", 31.0), bar("none", 0.0)] };
        bars.draw(&path).expect("it can be drawn");
        let picture = std::fs::read_to_string(&path).expect("it is there");
        for text in ["ns a packet", "data", "none", "31 ns", "0 ns"] {
            assert!(picture.contains(text), "{text}");
        }
    }
}
