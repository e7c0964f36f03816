//! Paths to stream keys: each is canonical, and its mark leads to it and to nothing else.
#![no_main]

use balancer_fuzz::recognize::http::{MARK, candidates, key_of_query, kind, without_mark};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\n');
    let (Some(host), Some(path), Some(query)) = (parts.next(), parts.next(), parts.next()) else { return };
    kind(path);
    let named = key_of_query(host, Some(query));
    let keys = candidates(host, path, Some(query));
    assert!(keys.len() <= 12);
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(key.to_string().parse().as_ref(), Ok(key));
        assert!(!keys[..number].contains(key));
    }
    // The query leaves no choice: with our mark in it, or with a name.
    let unmarked = without_mark(query);
    assert!(!unmarked.split('&').any(|pair| pair.starts_with(&format!("{MARK}="))));
    if let (Some(named), true) = (named, unmarked == query) {
        assert_eq!(keys, [named]);
    }
});
