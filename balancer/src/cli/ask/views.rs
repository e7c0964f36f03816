//! Which part of an answer stands in which column. What an answer lacks shows as `-`; what it has beyond stays in
//! `--json`.

use crate::cli::output::{self, Align};
use anyhow::Context;
use serde_json::Value;
use std::fmt::Write;
use std::time::Duration;

pub struct View {
    pub command: &'static str,
    pub about: &'static str,
    pub path: &'static str,
    /// The list in the answer; none for a single object.
    list: Option<&'static str>,
    columns: &'static [Column],
    /// Said instead of an empty table.
    empty: &'static str,
}

struct Column {
    head: &'static str,
    /// JSON pointer.
    at: &'static str,
    form: Form,
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Count,
    BitRate,
    Bytes,
    Age,
    /// The values of an object or array, in one cell.
    Joined,
}

const fn column(head: &'static str, at: &'static str, form: Form) -> Column {
    Column { head, at, form }
}

pub static VIEWS: &[View] = &[
    View {
        command: "status",
        about: "Show how a running balancer is",
        path: "/api/v1/status",
        list: None,
        columns: &[],
        empty: "",
    },
    View {
        command: "origins",
        about: "List the origins of a running balancer",
        path: "/api/v1/origins",
        list: Some("origins"),
        columns: &[
            column("ORIGIN", "/id", Form::Text),
            column("STATE", "/state", Form::Text),
            column("PROBES", "/probes", Form::Joined),
            column("WEIGHT", "/weight", Form::Count),
            column("STREAMS", "/streams", Form::Count),
            column("FLOWS", "/flows", Form::Count),
            column("IN", "/bits_per_second_in", Form::BitRate),
            column("OUT", "/bits_per_second_out", Form::BitRate),
            column("LEASE", "/lease_s", Form::Age),
            column("ADDRESS", "/ip", Form::Text),
            column("ENDPOINTS", "/endpoints", Form::Joined),
        ],
        empty: "No origin is registered. SRS registers with `heartbeat { enabled on; ports on; url \
                http://THIS-HOST:12025/api/v1/srs/register; }`; see allow_register.\n",
    },
    View {
        command: "streams",
        about: "List the streams of a running balancer and where they are placed",
        path: "/api/v1/streams",
        list: Some("streams"),
        columns: &[
            column("STREAM", "/key", Form::Text),
            column("ORIGIN", "/origin", Form::Text),
            column("COPIES", "/copies", Form::Joined),
            column("PUBLISHER", "/publisher", Form::Text),
            column("PLAYERS", "/players", Form::Count),
            column("PROTOCOLS", "/protocols", Form::Joined),
            column("IN", "/bits_per_second_in", Form::BitRate),
            column("OUT", "/bits_per_second_out", Form::BitRate),
        ],
        empty: "No streams.\n",
    },
    View {
        command: "flows",
        about: "List the flows of a running balancer: who is connected through it, and who copies the bytes",
        path: "/api/v1/flows",
        list: Some("flows"),
        columns: &[
            column("STREAM", "/stream", Form::Text),
            column("ROLE", "/role", Form::Text),
            column("PROTOCOL", "/protocol", Form::Text),
            column("CLIENT", "/client", Form::Text),
            column("ORIGIN", "/origin", Form::Text),
            column("PATH", "/path", Form::Text),
            column("STATE", "/state", Form::Text),
            column("TO ORIGIN", "/to_origin/bytes", Form::Bytes),
            column("TO CLIENT", "/to_client/bytes", Form::Bytes),
            column("AGE", "/age_s", Form::Age),
            column("IDLE", "/idle_s", Form::Age),
        ],
        empty: "No flows.\n",
    },
];

impl View {
    pub fn render(&self, answer: &Value) -> anyhow::Result<String> {
        let Some(list) = self.list else { return Ok(super::status::render(answer, outline)) };
        let items = answer.get(list).and_then(Value::as_array);
        let items = items.with_context(|| {
            format!("the answer to {} has no list {list:?}: is the balancer of another version?", self.path)
        })?;
        if items.is_empty() {
            return Ok(self.empty.into());
        }
        let cell = |item: &Value, column: &Column| item.pointer(column.at).map_or("-".into(), |v| column.form.show(v));
        let rows: Vec<Vec<String>> =
            items.iter().map(|item| self.columns.iter().map(|column| cell(item, column)).collect()).collect();
        let heads: Vec<(&str, Align)> = self.columns.iter().map(|column| (column.head, column.form.align())).collect();
        Ok(output::table(&heads, &rows))
    }
}

impl Form {
    fn align(self) -> Align {
        match self {
            Self::Text | Self::Joined => Align::Left,
            Self::Count | Self::BitRate | Self::Bytes | Self::Age => Align::Right,
        }
    }

    fn show(self, value: &Value) -> String {
        match (self, value.as_f64()) {
            (_, None) if value.is_null() => "-".into(),
            (Self::BitRate, Some(number)) => output::bit_rate(number),
            (Self::Bytes, Some(number)) => output::bytes(number),
            (Self::Age, Some(number)) => Duration::try_from_secs_f64(number).map_or("-".into(), output::age),
            (Self::Joined, _) => joined(value),
            _ => plain(value),
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) if text.is_empty() => "-".into(),
        Value::String(text) => output::harmless(text),
        Value::Null => "-".into(),
        Value::Bool(true) => "yes".into(),
        Value::Bool(false) => "no".into(),
        Value::Array(_) | Value::Object(_) => joined(value),
        number => number.to_string(),
    }
}

fn joined(value: &Value) -> String {
    let parts: Vec<String> = match value {
        Value::Array(items) => items.iter().map(plain).collect(),
        Value::Object(fields) => {
            let shown = fields.iter().map(|(key, value)| (key, plain(value))).filter(|(_, text)| text != "-");
            shown.map(|(key, text)| format!("{}={text}", output::harmless(key))).collect()
        }
        other => return plain(other),
    };
    if parts.is_empty() { "-".into() } else { parts.join(" ") }
}

/// An object of whatever fields, one to a line; the unit at a name's end says how to show the number.
fn outline(answer: &Value) -> String {
    let mut lines = Vec::new();
    collect("", answer, &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for (name, text) in lines {
        let _ = writeln!(out, "{name:<width$}  {text}");
    }
    out
}

fn collect(prefix: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let Value::Object(fields) = value else { return lines.push((prefix.to_owned(), plain(value))) };
    for (key, value) in fields {
        let key = output::harmless(&key.replace('_', " "));
        let name = if prefix.is_empty() { key } else { format!("{prefix} {key}") };
        let (short, form) = match name.strip_suffix(" s") {
            Some(short) => (short, Form::Age),
            None if name.contains("bits per second") => (name.as_str(), Form::BitRate),
            None if name.ends_with("bytes") => (name.as_str(), Form::Bytes),
            None => (name.as_str(), Form::Text),
        };
        match value.as_f64() {
            Some(_) => lines.push((short.to_owned(), form.show(value))),
            None => collect(&name, value, lines),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn render(command: &str, answer: Value) -> String {
        VIEWS.iter().find(|view| view.command == command).unwrap().render(&answer).unwrap()
    }

    #[test]
    fn origins_are_a_table_with_units() {
        let text = render(
            "origins",
            json!({"origins": [
                {"id": "o1", "state": "healthy", "weight": 1, "probes": {"rtmp": "up"}, "streams": 2, "flows": 120, "ip": "10.0.0.1",
                 "bits_per_second_in": 4_196_000, "bits_per_second_out": 0, "lease_s": 21.5,
                 "endpoints": {"rtmp": ["10.0.0.1:1935"], "http": []}},
                {"id": "origin-two", "state": "down", "lease_s": null},
            ]}),
        );
        let expected = [
            "ORIGIN      STATE    PROBES   WEIGHT  STREAMS  FLOWS           IN      OUT  LEASE  ADDRESS   ENDPOINTS",
            "o1          healthy  rtmp=up       1        2    120  4.20 Mbit/s  0 bit/s   21 s  10.0.0.1  rtmp=10.0.0.1:1935",
            "origin-two  down     -             -        -      -            -        -      -  -         -",
        ];
        assert_eq!(text.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn flows_show_who_copies_and_how_much() {
        let text = render(
            "flows",
            json!({"flows": [{
                "client": "198.51.100.7:50000", "vip": "192.0.2.10:1935", "origin": "o1", "protocol": "rtmp",
                "role": "play", "stream": "live/\u{1b}x", "path": "kernel", "state": "spliced",
                "to_origin": {"packets": 10, "bytes": 700}, "to_client": {"packets": 9, "bytes": 5_368_709_120u64},
                "age_s": 3720, "idle_s": 0.02,
            }]}),
        );
        let row = text.lines().nth(1).unwrap().split("  ").filter(|s| !s.is_empty()).map(str::trim).collect::<Vec<_>>();
        assert_eq!(
            row,
            [
                "live/\\u{1b}x",
                "play",
                "rtmp",
                "198.51.100.7:50000",
                "o1",
                "kernel",
                "spliced",
                "700 B",
                "5.37 GB",
                "1 h 02 m",
                "0.0 s"
            ]
        );
    }

    #[test]
    fn an_empty_list_is_said_and_a_missing_one_is_an_error() {
        assert_eq!(render("flows", json!({"flows": []})), "No flows.\n");
        let view = &VIEWS[1];
        assert!(view.render(&json!({"items": []})).unwrap_err().to_string().contains("another version"));
    }

    #[test]
    fn the_status_is_whatever_fields_there_are() {
        let text =
            render("status", json!({"version": "0.1.0", "uptime_s": 61, "flows": {"kernel": 5, "relay_bytes": 2000}}));
        assert_eq!(
            text,
            "flows kernel       5\nflows relay bytes  2.00 kB\nuptime             1 m 01 s\nversion            0.1.0\n"
        );
    }
}
