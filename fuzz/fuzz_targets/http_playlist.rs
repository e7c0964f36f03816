//! Playlists: nothing changes but that URIs are marked, once.
#![no_main]

use balancer_fuzz::recognize::http::{MARK, playlist};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &str| {
    let mut parts = input.splitn(3, '\n');
    let (Some(host), Some(path), Some(text)) = (parts.next(), parts.next(), parts.next()) else { return };
    let key = "a.b.com/live/a b\",1".parse().expect("a key");
    let Some(rewritten) = playlist::rewrite(text, host, path, &key) else { return };
    let mark = format!("{MARK}=a.b.com/live/a%20b%22%2C1");
    assert_eq!(playlist::rewrite(&rewritten, host, path, &key), None);
    if text.contains(MARK) {
        return;
    }
    assert!(rewritten.contains(&mark));
    // Piece by piece the same, up to the question mark or ampersand before each mark.
    let mut rest = text;
    let mut pieces = rewritten.split(&mark).peekable();
    while let Some(piece) = pieces.next() {
        let kept = if rest.starts_with(piece) { piece } else { &piece[..piece.len() - 1] };
        assert!(pieces.peek().is_some() || kept == piece);
        rest = rest.strip_prefix(kept).expect("what the origin wrote");
    }
    assert_eq!(rest, "");
});
