//! Tests of the table of settings: its names are unique and its defaults are valid.

use super::*;
use crate::config::resolve::Draft;
use std::collections::HashSet;

#[test]
fn every_default_and_bound_is_accepted_by_its_own_row() {
    for row in SETTINGS {
        let bounds = row.within.map(|(least, greatest)| [least, greatest]);
        for text in bounds.iter().flatten().copied().chain([row.default]).filter(|t| !t.is_empty()) {
            let mut draft = Draft::defaults();
            (row.access.set)(&mut draft, row, &[text.to_owned()]).unwrap_or_else(|e| panic!("{}: {e:?}", row.name));
        }
    }
}

#[test]
fn what_a_row_shows_of_its_default_is_the_default_as_written() {
    let draft = Draft::defaults();
    for row in SETTINGS {
        let shown = (row.access.get)(&draft).join(",");
        assert_eq!(shown, row.default, "{}", row.name);
    }
}

#[test]
fn every_row_is_named_once_and_explained() {
    let mut names = HashSet::new();
    for row in SETTINGS {
        for name in row.proxy.iter().copied().chain([row.name]) {
            assert!(names.insert(name), "{name} twice");
        }
        assert!(!row.help.is_empty() && !row.value.is_empty(), "{}", row.name);
        assert!(row.default.is_empty() != row.unset.is_empty(), "{}: a default, or what none means", row.name);
        assert!(PROXY_REDIS.iter().all(|part| !row.proxy.contains(part)), "{}", row.name);
    }
}

#[test]
fn names_are_derived_from_the_key() {
    let row = find("handshakes_per_client_max").unwrap();
    assert_eq!(row.flag(), "handshakes-per-client-max");
    assert_eq!(row.variable(), "BALANCER_HANDSHAKES_PER_CLIENT_MAX");
}

#[test]
fn the_kernel_has_room_for_both_halves_of_every_flow() {
    let (_, greatest) = find("flows_max").unwrap().within.unwrap();
    assert_eq!(greatest.parse(), Ok(balancer_common::abi::capacity::FLOWS4 / 2));
}
