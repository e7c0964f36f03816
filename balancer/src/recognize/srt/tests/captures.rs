//! What real callers conclude with, recorded by `tests/captures/srt/record`.

use super::*;
use crate::flow::Role::{self, Play, Publish};

struct Capture {
    name: &'static str,
    bytes: &'static [u8],
    role: Role,
}

macro_rules! capture {
    ($name:literal, $role:ident) => {
        Capture {
            name: $name,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/srt/", $name, ".bin")),
            role: $role,
        }
    };
}

const CAPTURES: [Capture; 10] = [
    capture!("ffmpeg-passphrase", Publish),
    capture!("ffmpeg-plain", Play),
    capture!("ffmpeg-play", Play),
    capture!("ffmpeg-publish", Publish),
    capture!("gst-play", Play),
    capture!("gst-publish", Publish),
    capture!("transmit-filter", Publish),
    capture!("transmit-passphrase", Publish),
    capture!("transmit-play", Play),
    capture!("transmit-publish", Publish),
];

#[test]
fn every_caller_is_understood_whole_and_at_no_split() {
    for Capture { name, bytes, role } in &CAPTURES {
        let asked = asked(bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!((asked.key.to_string().as_str(), asked.role), ("__defaultVhost__/live/s1", *role), "{name}");
        assert_eq!(asked.query, "", "{name}");
        for cut in 0..bytes.len() {
            // Some say more behind the stream id: key material, a filter.
            if let Ok(cut) = super::asked(&bytes[..cut]) {
                assert!(cut == asked, "{name}");
            }
        }
    }
}

#[test]
fn a_member_of_a_group_names_the_stream_of_all_of_them() {
    let member = |weight| asked(&conclusion(b"#!::r=live/s1,m=publish").in_group(7, weight).bytes()).unwrap().key;
    assert_eq!(member(1), member(2));
}
