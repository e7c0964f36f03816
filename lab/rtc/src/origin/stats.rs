//! What came to the port for media without belonging to any session: a balancer that does its work lets nothing of the
//! kind through.

use super::session::{attributes, is_stun};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;

/// Names and addresses that are remembered; the rest is only counted.
const REMEMBERED_MAX: usize = 64;
const USERNAME: u16 = 6;

#[derive(Default)]
pub struct Strangers {
    stun: u64,
    other: u64,
    names: BTreeSet<String>,
    from: BTreeSet<SocketAddr>,
}

impl Strangers {
    pub fn note(&mut self, bytes: &[u8], from: SocketAddr) {
        if self.from.len() < REMEMBERED_MAX {
            self.from.insert(from);
        }
        if !is_stun(bytes) {
            self.other += 1;
            return;
        }
        self.stun += 1;
        let name = attributes(bytes).find(|(kind, _)| *kind == USERNAME);
        if let Some((_, name)) = name
            && self.names.len() < REMEMBERED_MAX
        {
            self.names.insert(String::from_utf8_lossy(name).into_owned());
        }
    }

    pub fn report(&self) -> Value {
        let from: Vec<String> = self.from.iter().map(ToString::to_string).collect();
        json!({ "stun": self.stun, "other": self.other, "names": self.names, "from": from })
    }
}
