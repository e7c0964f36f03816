//! Paths to stream keys: each is canonical, and a query counts where the path is no stream's.
#![no_main]

use balancer_fuzz::recognize::http::{
    Kind, MARK, candidates, is_ambiguous, key_of_query, kind, mark, path_key, without_mark,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\n');
    let (Some(host), Some(path), Some(query)) = (parts.next(), parts.next(), parts.next()) else { return };
    let kind = kind(path);
    let named = key_of_query(host, Some(query));
    let keys = candidates(host, path, Some(query));
    assert!(keys.len() <= 12);
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(key.to_string().parse().as_ref(), Ok(key));
        assert!(!keys[..number].contains(key));
    }
    let unmarked = without_mark(query);
    assert!(!unmarked.split('&').any(|pair| pair.starts_with(&format!("{MARK}="))));
    let _ = (is_ambiguous(path, Some(query)), path_key(host, path, Some(query)));
    // Where the path is no stream's, the query's is the only one.
    if kind == Kind::Other && !path.to_ascii_lowercase().ends_with(".flv") {
        assert_eq!(keys, Vec::from_iter(named));
    }
    if let Some(key) = keys.first() {
        let marked = format!("{MARK}={key}");
        assert!(mark(Some(&marked)).is_none_or(|named| named == *key || marked.contains(['&', '%'])));
    }
});
