//! Rules that look at one file alone.

use super::source::Source;
use crate::repo;

const LINES_MAX: usize = 400;

/// Longer files, each with the reason why it is better in one piece.
const LONG: [(&str, &str); 0] = [];

/// Never outside tests: a message that names the object and the remedy is owed instead.
const FORBIDDEN: [&str; 5] = [".unwrap()", "todo!(", "unimplemented!(", "dbg!(", ".unwrap_err()"];

/// Where `unsafe` may stand, and why nothing safe does.
const UNSAFE: [(&str, &str); 9] = [
    ("balancer-common/src/abi/", "plain-old-data marks of map values"),
    ("balancer-common/src/packet/", "access to the bytes of a packet"),
    ("balancer-common/src/steer/values", "map values, by the pointers that look-ups return"),
    ("balancer-ebpf/", "everything that the kernel hands to a program is a pointer"),
    ("balancer/src/offload/", "values out of the kernel's ring buffer, locks and clocks of the pin folder"),
    ("balancer/src/slowpath/socket", "socket options that no library has"),
    ("balancer/src/sources", "a socket option that no library has"),
    ("lab/src/sys", "namespaces"),
    ("lab/src/bin/srt_peer/library", "a library of C, loaded when it is wanted"),
];

/// How far above an `unsafe` its reason may stand.
const SAFETY_LINES_MAX: usize = 6;

pub fn of_any_text(name: &str, text: &str) -> Vec<String> {
    // In two pieces, so that this file does not find itself.
    let private = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Use", "rs/")];
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for path in private.iter().filter(|path| line.contains(**path)) {
            found.push(format!("{name}:{}: {path}… is a folder of one machine", number + 1));
        }
        if name.ends_with(".md") {
            let missing = links(line).filter(|link| !leads_somewhere(name, link));
            found.extend(missing.map(|link| format!("{name}:{}: nothing at {link}", number + 1)));
        }
    }
    found
}

/// Targets of Markdown links to files of this repository.
fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    targets.filter(|target| !target.is_empty() && !target.contains("://"))
}

fn leads_somewhere(page: &str, link: &str) -> bool {
    repo::root().join(page).with_file_name("").join(link).exists()
}

pub fn of_source(source: &Source) -> Vec<String> {
    let name = source.name;
    let mut found = Vec::new();
    let first = source.lines.first();
    // The tests of a module, cut off for length, are still that module's.
    let own_tests = name.ends_with("/tests.rs");
    if !own_tests && !first.is_some_and(|line| line.code.is_empty() && line.comment.starts_with("/!")) {
        found.push(format!("{name}:1: opens with `//!`: what this file owns and what it refuses to do"));
    }
    let excused = LONG.iter().any(|(long, _)| *long == name);
    if excused && source.lines.len() <= LINES_MAX {
        found.push(format!("{name}:1: short enough again: take it off the list of long files"));
    }
    if source.lines.len() > LINES_MAX && !excused {
        found.push(format!("{name}:{LINES_MAX}: longer than {LINES_MAX} lines: cut it where one thought ends"));
    }
    for (number, line) in source.product_lines() {
        for word in FORBIDDEN.iter().filter(|word| line.code.contains(**word)) {
            found.push(format!("{name}:{number}: {word} outside of tests"));
        }
        // `#[unsafe(no_mangle)]` promises a name, and runs nothing.
        if has_word(&line.code, "unsafe") && !line.code.contains("#[unsafe(") {
            found.extend(unsafe_rules(source, number).map(|rule| format!("{name}:{number}: {rule}")));
        }
    }
    found
}

fn unsafe_rules(source: &Source, number: usize) -> Option<&'static str> {
    if !UNSAFE.iter().any(|(place, _)| source.name.starts_with(place)) {
        return Some("`unsafe` has no business here (xtask/src/tidy/habits.rs lists the places)");
    }
    let above = &source.lines[number.saturating_sub(SAFETY_LINES_MAX + 1)..number];
    let reasoned = above.iter().any(|line| line.comment.contains("SAFETY:") || line.comment.contains("# Safety"));
    (!reasoned).then_some("`unsafe` without its SAFETY: line")
}

pub fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| !code[..at].ends_with(part) && !code[at + word.len()..].starts_with(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Vec<String> {
        of_source(&Source::new(name, text))
    }

    #[test]
    fn a_file_says_first_what_it_is() {
        assert_eq!(of("a.rs", "//! A.\nfn a() {}\n"), Vec::<String>::new());
        assert_eq!(of("a.rs", "fn a() {}\n").len(), 1);
    }

    #[test]
    fn links_of_a_page_lead_somewhere() {
        assert_eq!(of_any_text("README.md", "[a](xtask/src/main.rs), [b](#b), [c](https://example.org/c)"), [""; 0]);
        assert_eq!(of_any_text("README.md", "[a](LICENSE) and [b](nowhere.md#c)").len(), 1);
        assert_eq!(of_any_text("docs/bench/README.md", "[a](../../LICENSE)"), [""; 0]);
    }

    #[test]
    fn unwrap_is_for_tests() {
        assert_eq!(of("a.rs", "//! A.\nb.unwrap();\n").len(), 1);
        assert_eq!(of("a.rs", "//! A.\n// b.unwrap();\n").len(), 0);
        assert_eq!(of("a.rs", "//! A.\n#[cfg(test)]\nmod tests {\nb.unwrap();\n}\n").len(), 0);
    }

    #[test]
    fn unsafe_has_its_places_and_its_reasons() {
        assert_eq!(of("balancer/src/api/a.rs", "//! A.\n// SAFETY: b\nunsafe { b }\n").len(), 1);
        assert_eq!(of("balancer-ebpf/src/a.rs", "//! A.\nunsafe { b }\n").len(), 1);
        assert_eq!(of("balancer-ebpf/src/a.rs", "//! A.\n// SAFETY: b\nunsafe { b }\n").len(), 0);
        assert_eq!(of("balancer/src/api/a.rs", "//! A.\n#![forbid(unsafe_code)]\n").len(), 0);
    }
}
