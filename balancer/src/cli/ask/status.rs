//! `balancer status`: what the balancer is, then the numbered reasons as a table, each with what it means.

use crate::cli::output::{self, Align};
use serde_json::{Map, Value};

/// Splits an answer into what is shown line by line and the tables.
pub fn render(answer: &Value, outline: impl Fn(&Value) -> String) -> String {
    let Value::Object(fields) = answer else { return outline(answer) };
    let mut rest = fields.clone();
    let reasons = rest.remove("reasons");
    let mut text = outline(&Value::Object(rest));
    if let Some(Value::Object(kinds)) = reasons {
        let rows = rows(&kinds);
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&output::table(&HEADS, &rows));
        }
    }
    text
}

const HEADS: [(&str, Align); 5] = [
    ("NUMBER", Align::Right),
    ("REASON", Align::Left),
    ("COUNT", Align::Right),
    ("BYTES", Align::Right),
    ("WHAT IT MEANS", Align::Left),
];

/// By number: reasons of one kind stand together.
fn rows(kinds: &Map<String, Value>) -> Vec<Vec<String>> {
    let mut numbered: Vec<(u64, Vec<String>)> = Vec::new();
    for (kind, reasons) in kinds {
        for (label, entry) in reasons.as_object().into_iter().flatten() {
            let number = |name: &str| entry.get(name).and_then(Value::as_u64).unwrap_or(0);
            let bytes = number("bytes");
            numbered.push((
                number("number"),
                vec![
                    number("number").to_string(),
                    format!("{}: {}", output::harmless(kind), output::harmless(label)),
                    number("packets").to_string(),
                    if bytes == 0 { "-".into() } else { output::bytes(bytes as f64) },
                    output::harmless(entry.get("help").and_then(Value::as_str).unwrap_or("-")),
                ],
            ));
        }
    }
    numbered.sort();
    numbered.into_iter().map(|(_, row)| row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reasons_stand_in_the_order_of_their_numbers() {
        let answer = json!({"version": "0.1.0", "reasons": {
            "upcall": {"new_connection": {"number": 16, "packets": 2, "bytes": 148, "help": "A SYN for a service."}},
            "forward": {"to_origin": {"number": 1, "packets": 9, "bytes": 9000, "help": "Forwarded."}},
        }});
        let text = render(&answer, |rest| {
            assert!(rest.get("reasons").is_none());
            "version  0.1.0\n".into()
        });
        let expected = [
            "version  0.1.0",
            "",
            "NUMBER  REASON                  COUNT    BYTES  WHAT IT MEANS",
            "     1  forward: to_origin          9  9.00 kB  Forwarded.",
            "    16  upcall: new_connection      2    148 B  A SYN for a service.",
        ];
        assert_eq!(text.lines().map(str::trim_end).collect::<Vec<_>>(), expected);
    }
}
