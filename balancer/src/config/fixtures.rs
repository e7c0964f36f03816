//! Made-up environments, files and hosts for the tests of this area.

use super::host::{HostFacts, Interface, InterfaceAddress};
use super::layers::Inputs;
use super::table;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

pub fn host() -> HostFacts {
    let address = |interface: &str, ip: &str| InterfaceAddress {
        interface: interface.into(),
        ip: ip.parse().unwrap(),
        prefix_len: 24,
        is_main: true,
    };
    HostFacts {
        name: Some("lb1.example.net".into()),
        interfaces: [(1, "lo"), (2, "eth0"), (3, "eth1")].map(|(index, name)| interface(index, name)).to_vec(),
        addresses: vec![address("lo", "127.0.0.1"), address("eth0", "192.0.2.10"), address("eth1", "10.0.0.10")],
        default_route: Some("eth0".into()),
        local_ports: Some(32768..=60999),
        reserved_ports: Vec::new(),
    }
}

pub fn interface(index: u32, name: &str) -> Interface {
    Interface { index, name: name.into(), mtu: 1500, is_up: true, is_loopback: name == "lo", ..Interface::default() }
}

/// No flags, variables or files.
pub fn nothing() -> Inputs<'static> {
    Inputs {
        config: None,
        flags: BTreeMap::new(),
        environment: BTreeMap::new(),
        read: &|_: &Path| Err(io::ErrorKind::NotFound.into()),
        host: host(),
    }
}

pub fn environment(variables: &[(&str, &str)]) -> Inputs<'static> {
    let environment = variables.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    Inputs { environment, ..nothing() }
}

pub fn flags(given: &[(&str, &str)]) -> Inputs<'static> {
    let mut flags: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    for (name, text) in given {
        flags.entry(table::find(name).expect("a setting").name).or_default().push(text.to_string());
    }
    Inputs { flags, ..nothing() }
}

/// `balancer.toml` in the current directory. Leaks its text: tests are short-lived.
pub fn file(text: &str) -> Inputs<'static> {
    let text = text.to_owned();
    let read = move |path: &Path| match path == Path::new("balancer.toml") {
        true => Ok(text.clone()),
        false => Err(io::ErrorKind::NotFound.into()),
    };
    Inputs { read: Box::leak(Box::new(read)), ..nothing() }
}
