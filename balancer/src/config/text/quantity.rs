//! Numbers with units: durations as Go writes them (existing deployments do), sizes in bytes, counts.

use super::Codec;
use crate::config::problem::Fault;
use std::time::Duration;

pub const DURATION: Codec<Duration> = Codec {
    parse: |s| {
        duration(s).ok_or_else(|| {
            let remedy = match s.parse::<u64>() {
                Ok(number) => format!("say the unit: {number}s, {number}ms or {number}m"),
                Err(_) => "write a number and a unit: 300s, 1m30s or 500ms".into(),
            };
            Fault::new(format!("{s:?} is not a duration"), remedy)
        })
    },
    show: |d| {
        let ns = d.as_nanos();
        let (unit_ns, unit) = match ns {
            _ if ns.is_multiple_of(1_000_000_000) => (1_000_000_000, "s"),
            _ if ns.is_multiple_of(1_000_000) => (1_000_000, "ms"),
            _ if ns.is_multiple_of(1_000) => (1_000, "us"),
            _ => (1, "ns"),
        };
        format!("{}{unit}", ns / unit_ns)
    },
};

pub const BYTES: Codec<usize> = Codec {
    parse: |s| {
        bytes(s)
            .ok_or_else(|| Fault::new(format!("{s:?} is not a size"), "write bytes or a unit: 65536, 64KiB or 1MiB"))
    },
    show: |n| match *n {
        0 => "0".into(),
        n if n.is_multiple_of(1 << 30) => format!("{}GiB", n >> 30),
        n if n.is_multiple_of(1 << 20) => format!("{}MiB", n >> 20),
        n if n.is_multiple_of(1 << 10) => format!("{}KiB", n >> 10),
        n => n.to_string(),
    },
};

pub const COUNT: Codec<usize> = Codec {
    parse: |s| {
        let digits = s.replace('_', "");
        let number = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        number.ok_or_else(|| Fault::new(format!("{s:?} is not a count"), "write a whole number, such as 10000"))
    },
    show: |n| n.to_string(),
};

/// `1h2m3.5s`; a bare 0 needs no unit.
fn duration(s: &str) -> Option<Duration> {
    if s == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = s;
    let mut total_ns: u64 = 0;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_len);
        let unit_len = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_len);
        let unit_ns = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total_ns = total_ns.checked_add(scaled(number, unit_ns)?)?;
        rest = tail;
    }
    (!s.is_empty()).then(|| Duration::from_nanos(total_ns))
}

/// A decimal number times the unit, in whole nanoseconds: by integers, because 0.1 has no exact float.
fn scaled(number: &str, unit_ns: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut ns = whole.checked_mul(unit_ns)?;
    let mut digit_ns = unit_ns;
    for digit in fraction.chars() {
        digit_ns /= 10;
        ns = ns.checked_add(u64::from(digit.to_digit(10)?).checked_mul(digit_ns)?)?;
    }
    Some(ns)
}

fn bytes(s: &str) -> Option<usize> {
    let digits_len = s.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(s.len());
    let (number, unit) = s.split_at(digits_len);
    let unit_bytes = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.replace('_', "").parse::<usize>().ok()?.checked_mul(unit_bytes)
}
