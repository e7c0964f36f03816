//! Standard output, and what makes numbers and foreign text fit for people to read.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::time::Duration;

/// Prints, and takes it quietly when the reader has left (`balancer flows | head`).
pub fn emit(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// `4.20 Mbit/s`: three digits that matter.
pub fn bit_rate(bits_per_second: f64) -> String {
    scaled(bits_per_second, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"])
}

/// `1.23 GB`, decimal as network counters are.
pub fn bytes(bytes: f64) -> String {
    scaled(bytes, &["B", "kB", "MB", "GB", "TB", "PB"])
}

fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    // Rounded to three digits, 999.5 would read 1000.
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = match value {
        _ if unit == 0 => 0,
        v if v < 9.995 => 2,
        v if v < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.digits$} {}", units[unit])
}

/// `0.4 s`, `59 s`, `1 h 02 m`, `3 d 04 h`.
pub fn age(age: Duration) -> String {
    let s = age.as_secs();
    match s {
        0..10 => format!("{:.1} s", age.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => format!("{} m {:02} s", s / 60, s % 60),
        3600..86400 => format!("{} h {:02} m", s / 3600, s / 60 % 60),
        _ => format!("{} d {:02} h", s / 86400, s / 3600 % 24),
    }
}

/// Names come from clients: without their control characters they cannot play with the terminal.
pub fn harmless(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Columns as wide as their widest cell, two spaces apart.
pub fn table(heads: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count());
        cells.chain([heads[i].0.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    let heading: Vec<String> = heads.iter().map(|(head, _)| (*head).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(&heading).chain(rows) {
        let mut line = String::new();
        for ((cell, width), (_, align)) in row.iter().zip(&widths).zip(heads) {
            let _ = match align {
                Align::Left => write!(line, "{cell:<width$}  "),
                Align::Right => write!(line, "{cell:>width$}  "),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_sizes_show_three_digits() {
        assert_eq!(bit_rate(0.0), "0 bit/s");
        assert_eq!(bit_rate(999.0), "999 bit/s");
        assert_eq!(bit_rate(999.9), "1.00 kbit/s");
        assert_eq!(bit_rate(4_196_000.0), "4.20 Mbit/s");
        assert_eq!(bit_rate(42_000_000.0), "42.0 Mbit/s");
        assert_eq!(bit_rate(9_999_999_999.0), "10.0 Gbit/s");
        assert_eq!(bytes(5_368_709_120.0), "5.37 GB");
        assert_eq!(bytes(1e18), "1000 PB");
    }

    #[test]
    fn ages_keep_the_two_largest_units() {
        let text = |s| age(Duration::from_secs_f64(s));
        assert_eq!(
            [text(0.42), text(59.9), text(61.0), text(3720.0), text(273_600.0)],
            ["0.4 s", "59 s", "1 m 01 s", "1 h 02 m", "3 d 04 h"]
        );
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [vec!["a".into(), "1".into()], vec!["bcd".into(), "22".into()]];
        assert_eq!(table(&[("X", Align::Left), ("N", Align::Right)], &rows), "X     N\na     1\nbcd  22\n");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(harmless("live/\u{1b}[2Jx\ny ü"), "live/\\u{1b}[2Jx\\ny ü");
    }
}
