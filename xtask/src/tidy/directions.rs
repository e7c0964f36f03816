//! Who may know whom: the arrows of `ARCHITECTURE.md`, checked against every path that a file names.

use super::habits::has_word;
use super::source::Source;

struct Rule {
    /// Files whose name starts so …
    place: &'static str,
    /// … but not so.
    except: &'static [&'static str],
    /// Crates, paths of this crate, or single names.
    forbidden: &'static [&'static str],
    why: &'static str,
}

/// Everything that does something to the world or asks it.
const EFFECTS: &[&str] = &[
    "tokio",
    "aya",
    "redis",
    "axum",
    "hyper",
    "clap",
    "rtnetlink",
    "socket2",
    "libc",
    "ureq",
    "serde",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "std::time::SystemTime",
    "std::os",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "SystemTime",
    "Instant::now",
    "crate::api",
    "crate::app",
    "crate::cli",
    "crate::offload",
    "crate::slowpath",
    "crate::store",
    "crate::telemetry",
];
const PURE: &str = "the core is pure: time, bytes and load are arguments, effects are return values";

const RULES: [Rule; 16] = [
    Rule { place: "balancer/src/recognize", except: &[], forbidden: EFFECTS, why: PURE },
    Rule { place: "balancer/src/registry", except: &[], forbidden: EFFECTS, why: PURE },
    Rule { place: "balancer/src/placement", except: &[], forbidden: EFFECTS, why: PURE },
    Rule { place: "balancer/src/flow", except: &[], forbidden: EFFECTS, why: PURE },
    Rule {
        place: "balancer/src/",
        except: &["balancer/src/offload", "balancer/src/telemetry/kernel"],
        forbidden: &["aya"],
        why: "only offload, and the kernel half of telemetry, speak to the kernel's maps",
    },
    Rule {
        place: "balancer/src/",
        except: &["balancer/src/cluster/redis"],
        forbidden: &["redis"],
        why: "only its own store speaks redis",
    },
    Rule {
        place: "balancer/src/api",
        except: &[],
        forbidden: &["crate::offload", "crate::slowpath"],
        why: "the API changes what is wanted; the reconciler makes the maps equal to it",
    },
    Rule {
        place: "balancer/src/slowpath",
        except: &[],
        forbidden: &["crate::api", "axum", "redis"],
        why: "the slow path serves connections and asks offload for half-flows",
    },
    Rule {
        place: "balancer/src/tls",
        except: &[],
        forbidden: &["crate::api", "crate::slowpath", "crate::recognize", "crate::live", "hyper"],
        why: "TLS is a stream of bytes, whatever they say",
    },
    Rule {
        place: "balancer/src/proxy",
        except: &[],
        forbidden: &["crate::api", "crate::offload", "crate::slowpath", "axum"],
        why: "the proxy answers requests: it accepts no connection and splices none",
    },
    Rule {
        place: "balancer/src/offload",
        except: &[],
        forbidden: &["crate::api", "crate::slowpath", "crate::recognize::rtmp", "axum", "tokio::net"],
        why: "offload knows maps and half-flows, no connection and no protocol",
    },
    Rule {
        place: "balancer/src/config",
        except: &["balancer/src/config/host"],
        forbidden: &["crate::api", "crate::app", "crate::offload", "crate::slowpath", "tokio"],
        why: "settings are read before anything runs",
    },
    Rule {
        place: "balancer/src/store",
        except: &[],
        forbidden: &["crate::api", "crate::offload", "crate::slowpath", "axum"],
        why: "a store keeps the desired state and acts on none of it",
    },
    Rule {
        place: "balancer-common/src",
        // Behind the feature `testing`: for the host alone.
        except: &["balancer-common/src/testing"],
        forbidden: &["std", "alloc", "tokio", "libc"],
        why: "the kernel half has neither an allocator nor an operating system below it",
    },
    Rule {
        place: "xtask/",
        except: &[],
        forbidden: &["balancer", "balancer_common", "aya", "tokio"],
        why: "chores start processes; they link nothing of the product",
    },
    Rule {
        place: "lab/",
        except: &["lab/tests"],
        forbidden: &["balancer", "tokio"],
        why: "the lab plays with the binary that users get",
    },
];

pub fn of(source: &Source) -> Vec<String> {
    let rules: Vec<&Rule> = RULES
        .iter()
        .filter(|rule| source.name.starts_with(rule.place))
        .filter(|rule| !rule.except.iter().any(|place| source.name.starts_with(place)))
        .collect();
    let mut found = Vec::new();
    let mut statement = String::new();
    for (number, line) in source.product_lines() {
        // A `use` may run over several lines and open braces: its paths are spelled out before they are compared.
        let code = line.code.trim_start_matches("pub ").trim();
        if !statement.is_empty() || code.starts_with("use ") {
            statement.push_str(code);
            if !code.ends_with(';') {
                continue;
            }
        }
        let used = std::mem::take(&mut statement);
        let paths = match used.strip_prefix("use ") {
            Some(tree) => spell_out(tree.trim_end_matches(';')),
            None => vec![code.to_owned()],
        };
        for rule in &rules {
            let used = rule.forbidden.iter().find(|name| paths.iter().any(|path| names(path, name)));
            found.extend(used.map(|name| format!("{}:{number}: `{name}`: {}", source.name, rule.why)));
        }
    }
    found
}

/// Every full path of a use tree: `a::{b, c::{d, e}}` is `a::b`, `a::c::d` and `a::c::e`.
fn spell_out(tree: &str) -> Vec<String> {
    let Some((prefix, rest)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let mut depth = 0;
    inner
        .split(|c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        })
        .flat_map(spell_out)
        .filter(|path| !path.is_empty())
        .map(|path| format!("{}{path}", prefix.trim()))
        .collect()
}

/// A crate (`aya`) is named at the start of a path, a path or a type (`TcpStream`) anywhere.
fn names(code: &str, name: &str) -> bool {
    let is_crate = name.starts_with(char::is_lowercase) && !name.contains("::");
    if !is_crate {
        return has_word(code, name);
    }
    let path = format!("{name}::");
    let starts = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
    code == name || code.match_indices(&path).any(|(at, _)| starts(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, text: &str) -> Vec<String> {
        super::of(&Source::new(name, text))
    }

    #[test]
    fn use_trees_are_spelled_out() {
        assert_eq!(spell_out("a::{b, c::{d, e as f}, self}"), ["a::b", "a::c::d", "a::c::e as f", "a::self"]);
    }

    #[test]
    fn the_core_names_no_socket_and_no_clock() {
        assert_eq!(of("balancer/src/flow/life.rs", "use std::net::{IpAddr, SocketAddr};\n").len(), 0);
        assert_eq!(of("balancer/src/flow/life.rs", "use std::net::{IpAddr,\n    TcpStream};\n").len(), 1);
        assert_eq!(of("balancer/src/flow/life.rs", "let now = Instant::now();\n").len(), 1);
        assert_eq!(of("balancer/src/registry/mod.rs", "use crate::{flow::FlowId, offload::Maps};\n").len(), 1);
        assert_eq!(of("balancer/src/registry/mod.rs", "pub use tokio::sync::mpsc;\n").len(), 1);
    }

    #[test]
    fn maps_are_for_offload() {
        assert_eq!(of("balancer/src/offload/maps.rs", "use aya::maps::HashMap;\n").len(), 0);
        assert_eq!(of("balancer/src/slowpath/mod.rs", "let map: aya::maps::HashMap<u32, u32>;\n").len(), 1);
        assert_eq!(of("balancer/src/slowpath/mod.rs", "// aya::maps\nlet playa = 1;\n").len(), 0);
    }
}
